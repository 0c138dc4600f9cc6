#!/usr/bin/python3
"""test_links.py: what a standalone provider says of its links while their backends and ports come and go."""

import json
import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lattice as l

SERVER = l.nats_server(jetstream=True)
REDIS = l.redis_server("--requirepass", "hunter2")
URL = f"redis://:hunter2@127.0.0.1:{REDIS.port}"
LATTICE = l.Lattice(SERVER.port)
LATTICE.make_bucket("LATTICEDATA_test")
LATTICE.make_bucket("CONFIGDATA_test")
STORE = "wrpc:keyvalue/store@0.2.0-draft"
KEY = l.text("") + l.text("key")
LINK = LATTICE.link("comp", "kv", {"URL": URL}, interfaces=["store"])


class Standalone(l.Provider):
    def __init__(self, provider_id, name="keyvalue-redis", *args):
        self.lattice, self.id = LATTICE, provider_id
        self.log_path = l.temporary_path(f"{provider_id}-{time.monotonic_ns()}.log")
        self.process = l.start([l.BIN / name, "--lattice", "test", "--provider-id", provider_id, "--nats",
                                f"nats://127.0.0.1:{SERVER.port}", *args], log=self.log_path, env=l.ENVIRONMENT)

    def __enter__(self):
        self.logged('"msg":"ready"', seconds=20)
        return self

    def __exit__(self, *_):
        assert "hunter2" not in self.log(), self.log()
        self.terminate()
        assert self.wait() == 0, self.log()


class Events:
    """The states of links that the lattice was told, in order."""

    def __init__(self):
        self.all, self.nats = [], l.Nats(SERVER.port)
        self.nats.subscribe("wasmbus.evt.test.link_state_changed", lambda m: self.all.append(json.loads(m.data)))
        self.nats.flush()

    def states(self):
        return [e["data"]["state"] for e in self.all]

    def wait(self, *states):
        l.wait_for(f"{states} in {self.all}", lambda: self.states()[-len(states):] == list(states))


def links(*words):
    """(status, stdout, stderr) of wcp links."""
    r = subprocess.run([l.BIN / "wcp", "links", *words, "--lattice", "test", "--nats", f"nats://127.0.0.1:{SERVER.port}",
                        "--timeout", "3000"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert "hunter2" not in r.stdout + r.stderr, r
    return r.returncode, r.stdout, r.stderr


def cells(line):
    return [c.strip() for c in line.split("  ") if c.strip()]


def a_backend_that_goes_and_comes_back():
    events = Events()
    with Standalone("kv") as p:
        p.put(LINK)
        events.wait("connecting", "ready")
        assert events.all[-1]["data"] == {
            "host_id": events.all[-1]["source"], "provider_id": "kv", "source_id": "comp", "target": "kv", "name": "default",
            "wit_namespace": "wasi", "wit_package": "keyvalue", "interfaces": ["store"], "state": "ready"}, events.all[-1]
        status, out, _ = links("kv")
        assert status == 0, out
        title, line = out.splitlines()
        assert title.split() == ["STATE", "SINCE", "PROVIDER", "LINK", "INTERFACES", "HOST", "REASON"], title
        state, since, provider, link, interfaces, host = cells(line)
        assert (state, provider, link, interfaces) == ("ready", "kv", "default from comp", "wasi:keyvalue/store"), line
        assert since == "0s" and host == f"kv-{socket.gethostname()}", line

        REDIS.kill()
        events.wait("ready", "failed")
        l.wait_for("the reason", lambda: "refused" in links("kv")[1])
        status, out, _ = links("kv")
        assert status == 1 and out.splitlines()[1].startswith("failed"), out
        assert f"redis 127.0.0.1:{REDIS.port}/0: Connection refused" in out, out
        assert p.health()["healthy"] is False
        assert LATTICE.call("kv", STORE, "get", KEY)[:1] == b"\1", "the provider answers what it is"

        REDIS.start()
        events.wait("failed", "ready")
        assert p.health() == {"healthy": True}
        p.delete(LINK)
        events.wait("ready", "draining")
        l.wait_for("no links", lambda: links("kv")[1] == "no links\n")
    assert events.states() == ["connecting", "ready", "failed", "ready", "draining"], events.states()


def a_backend_that_is_not_there_yet():
    events = Events()
    REDIS.kill()
    with Standalone("kv") as p:
        p.put(LINK)
        events.wait("connecting", "failed")
        assert "refused" in p.health()["message"], p.health()
        REDIS.start()
        events.wait("failed", "ready")
        assert LATTICE.call("kv", STORE, "get", KEY) == b"\0\0"


def a_link_that_cannot_come_up_is_tried_again():
    events = Events()
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    address = "127.0.0.1:%d" % taken.getsockname()[1]
    with Standalone("web", "http-server") as p:
        bad = LATTICE.link("web", "comp", package="wasi:http", interfaces=["incoming-handler"], source_config={"address": address})
        good = dict(bad, target="comp2", source_config={"address": "127.0.0.1:%d" % l.free_port()})
        p.put(bad)
        events.wait("failed")
        p.put(good)
        events.wait("failed", "ready")
        status, out, _ = links()
        line = out.splitlines()[1]
        assert status == 1 and line.startswith("failed") and "default to comp " in line, out
        assert "in use" in line and "; again in 1 s)" in line, out
        taken.close()
        events.wait("failed", "ready", "ready")
        assert p.health() == {"healthy": True}
        assert [e["data"]["target"] for e in events.all] == ["comp", "comp2", "comp"], events.all
        assert p.log().count("in use") == 1, p.log()


def a_call_that_comes_before_its_link():
    with Standalone("kv", "keyvalue-redis", "--config", f"URL={URL}"):
        LATTICE.store_links("late", [LATTICE.link("late", "kv", interfaces=["store"])])  # nobody says so to the provider
        assert LATTICE.call("kv", STORE, "get", KEY, "late")[:2] == b"\0\0"
    LATTICE.store_links("late", [])
    with Standalone("kv", "keyvalue-redis", "--link-wait-ms", "20") as p:
        before = time.monotonic()
        assert LATTICE.call("kv", STORE, "get", KEY, "late") == b"", "its end is all that comes"
        assert time.monotonic() - before < 0.4
        p.logged("no link 'default' from 'late' to 'kv' for wrpc:keyvalue/store@0.2.0-draft came within 20 ms",
                 "wcp link put")


def every_replica_answers():
    with Standalone("kv") as p, Standalone("kv"):
        p.put(LINK)
        l.wait_for("both", lambda: links("kv")[1].count("ready") == 2)
        status, out, _ = links("--json")
        answers = [json.loads(line) for line in out.splitlines()]
        assert status == 0 and len(answers) == 2, out
        assert len({a["host_id"] for a in answers}) == 2 and {a["provider_id"] for a in answers} == {"kv"}, out
        assert [x["state"] for a in answers for x in a["links"]] == ["ready", "ready"], out
    status, out, err = links("kv")
    assert (status, out) == (1, "") and "'kv' does not run in lattice 'test'" in err, (out, err)


l.run([a_backend_that_goes_and_comes_back, a_backend_that_is_not_there_yet, a_link_that_cannot_come_up_is_tried_again,
       a_call_that_comes_before_its_link, every_replica_answers])
