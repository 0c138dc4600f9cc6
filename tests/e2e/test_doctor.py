#!/usr/bin/python3
"""test_doctor.py: wcp doctor against each thing that can be wrong, made wrong for real: real servers with and without
JetStream, logins, permissions and TLS, and real providers. Hosts are played, where a lattice needs one."""
import json
import os
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lattice
from lattice import text

WCP = lattice.BIN / "wcp"


def doctor(port, *words, url=None, **options):
    r = subprocess.run([WCP, "doctor", *map(str, words), "--nats", url or f"nats://127.0.0.1:{port}", "--timeout", "1500"],
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, **options)
    assert not r.stderr, r.stderr
    lines = r.stdout.splitlines()
    for line in lines:
        assert line.split()[0] in ("ok", "WRONG", "skipped", "cure:"), r.stdout
    assert r.returncode == (1 if any(line.startswith("WRONG") for line in lines) else 0), (r.returncode, r.stdout)
    return r.stdout


def wrong(out, step, *parts):
    """It stops at that step, and says these parts in the complaint or its cure."""
    lines = out.splitlines()
    assert lines[-2].split()[:2] == ["WRONG", step] and lines[-1].split()[0] == "cure:", out
    assert sum(line.startswith("WRONG") for line in lines) == 1, out
    for p in parts:
        assert p in lines[-2] + lines[-1], (p, out)


def well(out, *parts):
    assert "WRONG" not in out, out
    for p in parts:
        assert p in out, (p, out)


def configured(config):
    """A nats-server with that configuration; port and address are added."""
    port = lattice.free_port()
    path = lattice.temporary_path(f"nats-{port}.conf")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"listen: 127.0.0.1:{port}\n{config}\n")
    return lattice.Server(["nats-server", "-c", path], port)


def make_bucket(n, name):
    bucket = {"name": "KV_" + name, "subjects": [f"$KV.{name}.>"], "max_msgs_per_subject": 1, "storage": "memory",
              "retention": "limits", "discard": "new", "num_replicas": 1, "allow_direct": True, "allow_rollup_hdrs": True,
              "deny_delete": True, "max_msgs": -1, "max_bytes": -1, "max_consumers": -1}
    answer = json.loads(n.request(f"$JS.API.STREAM.CREATE.KV_{name}", json.dumps(bucket).encode()).data)
    assert "error" not in answer, answer


class World:
    """A lattice with JetStream, its buckets, and a host that answers what doctor asks."""

    def __init__(self, name="default", server=None):
        self.server = server or lattice.nats_server(jetstream=True)
        self.port, self.name = self.server.port, name
        self.lattice = lattice.Lattice(self.port, name)
        self.nats = self.lattice.nats
        self.providers = []  # of the host's inventory
        for kind in ("LATTICEDATA", "CONFIGDATA"):
            make_bucket(self.nats, f"{kind}_{name}")
        self.nats.subscribe(f"wasmbus.ctl.v1.{name}.host.>", self.host)
        self.nats.flush()

    def host(self, m):
        if m.subject.endswith(".ping"):
            response = {"id": "NHOST", "friendly_name": "played-host", "version": "1.9.2", "lattice": self.name}
        else:
            response = {"host_id": "NHOST", "components": [], "providers": [{"id": i} for i in self.providers]}
        self.nats.publish(m.reply, json.dumps({"success": True, "message": "", "response": response}).encode())

    def store(self, source, *links):
        self.nats.request(f"$KV.LATTICEDATA_{self.name}.COMPONENT_{source}",
                          json.dumps({"url": "", "links": list(links)}).encode())

    def link(self, source, target, package="wasi:keyvalue", interfaces=("store",), configs=(), name="default"):
        namespace, package = package.split(":")
        return {"source_id": source, "target": target, "name": name, "wit_namespace": namespace, "wit_package": package,
                "interfaces": list(interfaces), "source_config": [], "target_config": list(configs)}

    def config(self, name, **values):
        self.nats.request(f"$KV.CONFIGDATA_{self.name}.{name}", json.dumps(values).encode())


# --- NATS ---


def no_server():
    wrong(doctor(lattice.free_port()), "server", "connection refused", "start nats-server")
    wrong(doctor(0, url="nats://no-such-host.invalid:4222"), "server", "no-such-host.invalid", "right name")
    wrong(doctor(0, url="http://x"), "server", "http://", "nats://HOST:PORT")


def what_answers_is_something_else():
    redis = lattice.redis_server()
    with socket.socket() as s:  # accepts, and never says anything
        s.bind(("127.0.0.1", 0))
        s.listen()
        wrong(doctor(s.getsockname()[1]), "server", "no answer", "firewall")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()

        def greet():
            c, _ = s.accept()
            c.sendall(b"220 mail.example ESMTP\r\n")
            c.close()
        threading.Thread(target=greet, daemon=True).start()
        wrong(doctor(s.getsockname()[1]), "server", "not a NATS server", "another program")
    wrong(doctor(redis.port), "server")


def a_server_with_a_small_payload():
    s = configured("max_payload: 1000")
    wrong(doctor(s.port), "server", "max_payload 1000 found", "1MB")


def logins():
    s = configured('authorization { user: "u", password: "secret" }')
    wrong(doctor(s.port), "login", "uthorization", "--creds FILE")
    wrong(doctor(s.port, url=f"nats://u:wrong@127.0.0.1:{s.port}"), "login", "uthorization")
    out = doctor(s.port, url=f"nats://u:secret@127.0.0.1:{s.port}")
    assert "ok       login" in out and "secret" not in out, out
    out = doctor(s.port, "--creds", "/nowhere")
    wrong(out, "login", "/nowhere")


def tls():
    folder = lattice.temporary_path("tls")
    os.mkdir(folder)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=localhost", "-keyout",
                    f"{folder}/key", "-out", f"{folder}/cert", "-days", "2"], check=True, capture_output=True)
    s = configured(f'tls {{ cert_file: "{folder}/cert", key_file: "{folder}/key" }}')
    wrong(doctor(s.port), "login", "tls://")
    wrong(doctor(s.port, url=f"tls://127.0.0.1:{s.port}"), "login", "authorities")


def permissions():
    def server(permissions):
        return configured('authorization { users: [{ user: "u", password: "p", permissions: { %s } }] }\n'
                          'jetstream { store_dir: "%s" }' % (permissions, lattice.temporary_path(f"js{time.monotonic_ns()}")))
    s = server('publish: ">", subscribe: "wasmbus.>"')
    wrong(doctor(0, url=f"nats://u:p@127.0.0.1:{s.port}"), "login", "ermissions", "_INBOX")
    s = server('publish: { deny: "$JS.>" }, subscribe: ">"')
    wrong(doctor(0, url=f"nats://u:p@127.0.0.1:{s.port}"), "jetstream", "ermissions", "permit this user")
    s = server('publish: { deny: "wasmbus.>" }, subscribe: ">"')
    wrong(doctor(0, "kv", "--direct", url=f"nats://u:p@127.0.0.1:{s.port}"), "provider", "ermissions", "permit this user")


# --- the lattice ---


def standalone(port):
    log = lattice.temporary_path(f"alone-{port}.log")
    p = lattice.start([lattice.BIN / "keyvalue-memory", "--provider-id", "alone", "--nats", f"nats://127.0.0.1:{port}"],
                      log=log, env=lattice.ENVIRONMENT)

    def is_ready():
        with open(log, encoding="utf-8") as f:
            return '"msg":"ready"' in f.read()
    lattice.wait_for("a standalone provider", is_ready)
    return p


def no_jetstream():
    s = lattice.nats_server()
    wrong(doctor(s.port), "jetstream", "nobody answers for JetStream", "-js")
    well(doctor(s.port, "--direct"), "skipped  jetstream")


def no_bucket_and_the_wrong_lattice():
    s = lattice.nats_server(jetstream=True)
    wrong(doctor(s.port), "buckets", "no bucket LATTICEDATA_default", "start a wasmCloud host")
    n = lattice.Nats(s.port)
    make_bucket(n, "LATTICEDATA_default")
    wrong(doctor(s.port), "buckets", "no bucket CONFIGDATA_default")
    wrong(doctor(s.port, "--lattice", "prod"), "buckets", "no bucket LATTICEDATA_prod", "another --lattice? there is: default")


def no_host():
    s = lattice.nats_server(jetstream=True)
    n = lattice.Nats(s.port)
    for kind in ("LATTICEDATA", "CONFIGDATA"):
        make_bucket(n, kind + "_default")
    wrong(doctor(s.port), "hosts", "no host answers", "start a wasmCloud host")
    alone = standalone(s.port)  # which answers as a host, and is none that could run a component
    wrong(doctor(s.port), "hosts", "no host answers", "but 1 standalone provider", "start a wasmCloud host")
    alone.kill()


def the_lattice_alone():
    w = World()
    alone = standalone(w.port)
    well(doctor(w.port), "hosts     1: played-host (NHOST", "and 1 standalone provider")
    alone.kill()
    well(doctor(w.port), "nats-server", "0 keys", "hosts     1: played-host (NHOST", "skipped  provider")


# --- the provider ---


def no_provider():
    w = World()
    wrong(doctor(w.port, "kv"), "provider", "nobody answers on wasmbus.rpc.default.kv.health", "start it")
    w.providers.append("kv")
    wrong(doctor(w.port, "kv"), "provider", "host NHOST lists it, but it does not run", "wash stop provider kv")
    other = World("prod", w.server)
    kv = other.lattice.provider("keyvalue-memory", "kv")
    wrong(doctor(w.port, "kv"), "provider", "runs in lattice 'prod'", "--lattice prod")
    kv.kill()
    w.nats.subscribe("wasmbus.rpc.default.kv.health", lambda m: None)  # it hangs
    w.nats.flush()
    wrong(doctor(w.port, "kv"), "provider", "no answer comes", "does not answer")
    r = subprocess.run([WCP, "doctor", "a b"], capture_output=True, text=True)
    assert r.returncode == 2 and "'a b' found" in r.stderr, r


def two_of_one_id():
    w = World()
    link = w.lattice.link("comp", "kv")
    a, b = (w.lattice.provider("keyvalue-memory", "kv", [link]) for _ in "ab")
    w.store("comp", w.link("comp", "kv"))
    well(doctor(w.port, "kv"), "2 instances of 'kv' answer", "store@0.2.0-draft.exists is answered", "ok       backend")
    a.kill()
    well(doctor(w.port, "kv"), "1 instance of 'kv' answers")


# --- links ---


def links_are_missing_or_go_elsewhere():
    w = World()
    w.lattice.provider("keyvalue-memory", "kv", [w.lattice.link("comp", "kv")])
    wrong(doctor(w.port, "kv"), "links", "has no such link in lattice 'default', and 0 others",
          "wcp link put --source ID --target kv --interface NS:PKG/IFACE")
    w.store("comp", w.link("comp", "other"))
    wrong(doctor(w.port, "kv", "--source", "comp", "--interface", "wasi:keyvalue/store"), "links",
          "links of 'comp' go to 'other' (wasi:keyvalue, link 'default'), not to 'kv'",
          "wcp link move --source comp --interface wasi:keyvalue/store --from ... --to kv")
    w.store("comp", w.link("comp", "kv"))
    well(doctor(w.port, "kv"), "links     1: comp -> kv (wasi:keyvalue, link 'default')")
    for words in (("--source", "comp2"), ("--interface", "wasi:keyvalue/batch"), ("--interface", "wasi:blobstore"),
                  ("--name", "second")):
        wrong(doctor(w.port, "kv", *words), "links", "no such link", "and 1 others", words[1])
    well(doctor(w.port, "kv", "--source", "comp", "--interface", "wasi:keyvalue", "--name", "default"))
    wrong(doctor(w.port, "kv", "--interface", "wasi:keyvalue/store@1"), "links", "no version")
    w.nats.request("$KV.LATTICEDATA_default.COMPONENT_bad", b"{")
    wrong(doctor(w.port, "kv"), "links", "malformed")


def named_configs():
    w = World()
    w.lattice.provider("keyvalue-memory", "kv", [w.lattice.link("comp", "kv")])
    w.store("comp", w.link("comp", "kv", configs=["there", "gone"]))
    w.config("there", a="b")
    wrong(doctor(w.port, "kv"), "configs", "config 'gone' is not in CONFIGDATA_default", "wash config put")
    w.config("gone", a="b")
    well(doctor(w.port, "kv"), "ok       configs")
    w.store("comp", w.link("comp", "kv", configs=["SECRET_x"]))
    well(doctor(w.port, "kv"), "1 have secrets")


def the_provider_has_not_got_the_link():
    w = World()
    kv = w.lattice.provider("keyvalue-memory", "kv", [w.lattice.link("comp", "kv")])
    w.store("comp", w.link("comp", "kv"), w.link("comp", "kv", name="second"))
    wrong(doctor(w.port, "kv"), "calls", "'kv' refuses link 'second' from 'comp': it has not got it", "wcp link put")
    kv.put(w.lattice.link("comp", "kv", name="second"))
    well(doctor(w.port, "kv"))


def functions_that_are_not_served():
    w = World()
    w.lattice.provider("keyvalue-memory", "kv", [w.lattice.link("comp", "kv")])
    w.store("comp", w.link("comp", "kv", package="wasi:blobstore", interfaces=["blobstore"]))
    wrong(doctor(w.port, "kv"), "calls", "nobody serves wrpc:blobstore/blobstore@0.2.0.container-exists for 'kv'", "exports")
    w.store("comp", w.link("comp", "kv", package="a:b", interfaces=["c"]))
    well(doctor(w.port, "kv"), "skipped  calls     a:b/c: no call is known")


def without_hosts():
    s = lattice.nats_server()
    l = lattice.Lattice(s.port, "default")
    kv = l.provider("keyvalue-memory", "kv", [l.link("comp", "kv")])
    well(doctor(s.port, "kv", "--direct"), "skipped  links", "ok       backend")
    well(doctor(s.port, "kv", "--direct", "--source", "comp", "--interface", "wasi:keyvalue/store,atomics"),
         "store@0.2.0-draft.exists is answered", "atomics@0.2.0-draft.increment is served")
    wrong(doctor(s.port, "kv", "--direct", "--source", "comp", "--interface", "wasi:keyvalue/batch"), "calls",
          "nobody serves wrpc:keyvalue/batch@0.2.0-draft.get-many for 'kv'")
    assert kv.health()["healthy"]
    wrong(doctor(s.port, "kv", "--direct", "--source", "other", "--interface", "wasi:keyvalue/store"), "calls",
          "refuses link 'default' from 'other'")


# --- the backend ---


def redis_is_gone():
    redis = lattice.redis_server()
    w = World()
    config = {"URL": f"redis://127.0.0.1:{redis.port}"}
    kv = w.lattice.provider("keyvalue-redis", "kv", [w.lattice.link("comp", "kv", config)])
    w.store("comp", w.link("comp", "kv", interfaces=["store", "atomics"], configs=["url"]))
    w.config("url", **config)
    well(doctor(w.port, "kv"), "ok       backend")
    assert lattice.redis(redis.port, "DBSIZE") == 0  # it wrote nothing
    redis.kill()
    wrong(doctor(w.port, "kv"), "backend", str(redis.port), "the provider tries again by itself")
    redis.start()
    lattice.wait_for("health", lambda: kv.health()["healthy"])
    well(doctor(w.port, "kv"))
    kv.terminate()
    kv.wait()
    # a link whose configuration is wrong
    kv = w.lattice.provider("keyvalue-redis", "kv", [w.lattice.link("comp", "kv", {"URL": "nonsense://x"})])
    wrong(doctor(w.port, "kv"), "calls", "refuses link 'default' from 'comp'", "URL")


def a_recorder_hides_that_nobody_serves():
    w = World()
    w.lattice.provider("keyvalue-memory", "kv", [w.lattice.link("comp", "kv")])
    w.store("comp", w.link("comp", "kv", package="wasi:blobstore", interfaces=["blobstore"]))
    w.nats.subscribe("default.kv.wrpc.0.0.1.>", lambda m: None)
    w.nats.flush()
    wrong(doctor(w.port, "kv"), "calls", "is not answered within 1500 ms", "wcp record")


lattice.run([no_server, what_answers_is_something_else, a_server_with_a_small_payload, logins, tls, permissions, no_jetstream,
             no_bucket_and_the_wrong_lattice, no_host, the_lattice_alone, no_provider, two_of_one_id,
             links_are_missing_or_go_elsewhere, named_configs, the_provider_has_not_got_the_link,
             functions_that_are_not_served, without_hosts, redis_is_gone, a_recorder_hides_that_nobody_serves])
