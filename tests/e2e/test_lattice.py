#!/usr/bin/python3
"""test_lattice.py: standalone providers and the lattice's buckets on a real nats-server: links and configs made before,
after and during outages, changed, deleted, lost with their bucket. usage: test_lattice.py [NAME-PART]..."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lattice as l
from lattice import Reader, text, wait_for

STORE = "wrpc:keyvalue/store@0.2.0-draft"


class Buckets(l.Lattice):
    """A lattice of its own, and what hosts and tools write into its buckets."""

    def __init__(self, server, name, make=("LATTICEDATA", "CONFIGDATA")):
        super().__init__(server.port, name)
        for kind in make:
            self.make_bucket(f"{kind}_{name}", storage="file")

    def connect(self):
        self.nats = l.Nats(self.port)

    def write(self, bucket, key, value, headers=None):
        answer = json.loads(self.nats.request(f"$KV.{bucket}_{self.name}.{key}", value, headers=headers).data)
        assert "error" not in answer, answer

    def config(self, name, values):
        self.write("CONFIGDATA", name, json.dumps(values).encode())

    def links(self, source, *links):
        self.write("LATTICEDATA", f"COMPONENT_{source}", json.dumps({"url": "", "links": list(links)}).encode())

    def stored(self, source, target="kv", names=(), **members):
        return {**self.link(source, target, **members), "source_config": [], "target_config": list(names)}

    def delete_bucket(self, kind):
        answer = json.loads(self.nats.request(f"$JS.API.STREAM.DELETE.KV_{kind}_{self.name}").data)
        assert answer.get("success"), answer

    def alone(self, *args, name="keyvalue-memory", provider_id="kv", url=None):
        return Alone(self, name, provider_id, "--lattice", self.name, "--provider-id", provider_id, "--nats",
                     url or f"nats://127.0.0.1:{self.port}", *args)

    def get(self, source, key="k", target="kv", timeout=3):
        """The value of a key over the link of source; None: absent. Raises without a link."""
        data = self.call(target, STORE, "get", text("") + text(key), source, timeout=timeout)
        if not data:
            raise l.Incomplete(f"no link of {source}")
        r = Reader(data)
        assert r.byte() == 0, data
        return r.option(r.bytes)

    def linked(self, source):
        try:
            self.get(source)
            return True
        except l.Incomplete:
            return False

    def wait_linked(self, *sources, seconds=5):
        for s in sources:
            wait_for(f"a link of {s}", lambda s=s: self.linked(s), seconds)

    def wait_unlinked(self, source, seconds=5):
        wait_for(f"no link of {source}", lambda: not self.linked(source), seconds)


class Alone(l.Provider):
    def __init__(self, lattice, name, provider_id, *args):
        self.lattice, self.id = lattice, provider_id
        self.log_path = l.temporary_path(f"{lattice.name}-{time.monotonic_ns()}.log")
        with open(self.log_path, "wb") as log:
            self.process = l.start([l.BIN / name, *args], stdin=subprocess.DEVNULL, stderr=log, env=l.ENVIRONMENT)

    def __enter__(self):
        self.logged('"msg":"ready"', seconds=10)
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            print("# " + "\n# ".join(self.log().splitlines()[-15:]), file=sys.stderr)
            self.kill()
            return
        self.process.send_signal(signal.SIGCONT)
        self.terminate()
        assert self.wait() == 0, self.log()
        assert "Sanitizer" not in self.log(), self.log()

    def count(self, part):
        return self.log().count(part)


server = l.nats_server(jetstream=True)


def links_made_before_and_after_the_start_changed_and_deleted():
    lat = Buckets(server, "life")
    lat.links("before", lat.stored("before"), lat.stored("before", "other"))
    with lat.alone() as p:
        assert lat.linked("before")
        assert not lat.linked("after")
        lat.links("after", lat.stored("after"))
        lat.wait_linked("after")
        lat.links("before", lat.stored("before", "other"))  # another provider's now
        lat.wait_unlinked("before")
        lat.write("LATTICEDATA", "COMPONENT_after", b"", {"KV-Operation": "PURGE", "Nats-Rollup": "sub"})
        lat.wait_unlinked("after")
        lat.write("LATTICEDATA", "COMPONENT_x", b"nonsense")
        p.logged("a malformed value in the lattice is ignored", "COMPONENT_x")
        lat.links("y", lat.stored("y"))
        lat.wait_linked("y")


def configs_made_changed_and_deleted_make_new_links():
    lat, redis = Buckets(server, "configs"), l.redis_server()
    for db, value in ((1, "one"), (2, "two")):
        l.redis(redis.port, "EVAL", "redis.call('select', ARGV[1]) redis.call('set', 'k', ARGV[2])", 0, db, value)
    url = f"redis://127.0.0.1:{redis.port}/"
    lat.config("base", {"URL": url + "0"})
    lat.links("comp", lat.stored("comp", names=["base", "later"]))
    with lat.alone(name="keyvalue-redis") as p:
        assert "config 'later' is not in CONFIGDATA_configs" in p.health()["message"]
        lat.config("later", {"URL": url + "1"})
        wait_for("db 1", lambda: lat.linked("comp") and lat.get("comp") == b"one")
        lat.config("later", {"URL": url + "2"})
        wait_for("db 2", lambda: lat.get("comp") == b"two")
        ups = p.count('"msg":"link is up"')
        lat.config("other", {"URL": url + "1"})
        lat.config("later", {"unknown": "x"})  # later wins only what it has
        wait_for("db 0", lambda: lat.get("comp") is None)
        assert p.count('"msg":"link is up"') == ups + 1, p.log()
        lat.write("CONFIGDATA", "later", b"", {"KV-Operation": "DEL", "Nats-Rollup": "sub"})
        wait_for("no config", lambda: not p.health()["healthy"])
    redis.kill()


def an_outage_of_nats():
    """It is killed; links change before the provider is back; the store survives."""
    s = l.nats_server(jetstream=True)
    lat = Buckets(s, "outage")
    lat.config("c", {"x": "1"})
    lat.links("stays", lat.stored("stays", names=["c"]))
    lat.links("goes", lat.stored("goes"))
    with lat.alone() as p:
        lat.wait_linked("stays", "goes")
        p.process.send_signal(signal.SIGSTOP)
        s.kill()
        s.start()
        lat.connect()
        lat.links("goes")
        lat.links("comes", lat.stored("comes"))
        lat.config("c", {"x": "2"})
        p.process.send_signal(signal.SIGCONT)
        p.logged("connected again")
        lat.wait_linked("stays", "comes", seconds=10)
        lat.wait_unlinked("goes")
        wait_for("a new link for the new config", lambda: p.count('"msg":"link is up"') == 4)
        # The watch of now: what comes afterwards is seen, too.
        lat.links("late", lat.stored("late"))
        lat.wait_linked("late")
    s.kill()


def a_wiped_store():
    """The server comes back without its buckets: what is known is served; then they are made anew."""
    s = l.nats_server(jetstream=True)
    lat = Buckets(s, "wiped")
    lat.config("c", {"x": "1"})
    lat.links("known", lat.stored("known", names=["c"]))
    with lat.alone() as p:
        lat.wait_linked("known")
        s.kill()
        shutil.rmtree(s.args[s.args.index("-sd") + 1])
        s.start()
        lat.connect()
        p.logged("the lattice's links are gone with their bucket", "stream not found", seconds=10)
        assert lat.linked("known")
        lat.make_bucket("LATTICEDATA_wiped", storage="file")
        lat.links("known", lat.stored("known", names=["c"]))
        lat.links("new", lat.stored("new"))
        lat.nats.publish(p.control("linkdefs.put"), json.dumps(lat.link("new", "kv")).encode())  # a hint
        p.logged("has lost writes, or was made anew")
        lat.wait_linked("known", "new")
        assert p.health()["healthy"], p.health()
    s.kill()


def a_bucket_that_is_deleted_and_made_anew_is_noticed():
    """After three missed heartbeats, so it is begun first and looked at last."""
    lat = slow["lattice"]
    p = slow["provider"]
    p.logged("has lost writes, or was made anew", seconds=25)
    lat.wait_linked("stays", "comes")
    with p:
        assert lat.linked("goes")  # for now


slow = {}


def begin_slow():
    lat = Buckets(server, "anew")
    lat.links("goes", lat.stored("goes"))
    lat.links("stays", lat.stored("stays"))
    slow.update(lattice=lat, provider=lat.alone().__enter__())
    lat.wait_linked("stays", "goes")
    lat.delete_bucket("LATTICEDATA")
    lat.make_bucket("LATTICEDATA_anew", storage="file")
    lat.links("comes", lat.stored("comes"))


def buckets_that_are_made_later():
    lat = Buckets(server, "later", make=())
    with lat.alone() as p:
        p.logged("the lattice's links cannot be read", "stream not found")
        for kind in ("LATTICEDATA", "CONFIGDATA"):
            lat.make_bucket(f"{kind}_later", storage="file")
        lat.links("comp", lat.stored("comp"))
        lat.wait_linked("comp")


def without_jetstream_files_and_puts_serve():
    s = l.nats_server()
    lat = Buckets(s, "none", make=())
    path = l.temporary_path("links.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump([lat.link("file", "kv", {"x": "1"})], f)
    with lat.alone("--links", path) as p:
        p.logged("the lattice's links cannot be read", "nobody answers for JetStream", "nats-server -js")
        assert lat.linked("file")
        p.put(lat.link("put", "kv"))
        lat.wait_linked("put")
        p.delete(lat.link("put", "kv"))
        lat.wait_unlinked("put")
        p.delete(lat.link("file", "kv"))
        lat.nats.flush()
        assert p.health()["healthy"] and lat.linked("file")
        assert p.count("the lattice's links cannot be read") == 1, p.log()
    s.kill()


def a_links_file_that_is_wrong_is_refused_in_one_line():
    path = l.temporary_path("bad.json")
    good = l.Lattice.link(None, "a", "kv")
    for content, *parts in (
            ("", "nothing found, a JSON list expected"),
            ("{}", "object found, a JSON list expected"),
            ("[1]", "item 0", "number found, object expected"),
            ("[{]", "byte 2: not JSON"),
            (json.dumps([good, {**good, "target": 5}]), "item 1", "target: number found, text expected"),
            (json.dumps([{**good, "target": "other"}]), "item 0", "target 'other' found, 'kv' expected"),
            (json.dumps([{**good, "target_config": ["a"]}]), "item 0", "target_config: list found, object expected"),
            (json.dumps([{**good, "target_secrets": [1]}]), "item 0", "sealed secrets found", "--secrets-dir")):
        with open(path, "w", encoding="utf-8") as f:
            f.write(content)
        for args, env in ((["--links", path], {}), ([], {"WCP_LINKS": path})):
            run = subprocess.run([l.BIN / "keyvalue-memory", "--provider-id", "kv", *args], env={**l.ENVIRONMENT, **env},
                                 capture_output=True, text=True, timeout=20)
            assert run.returncode and len(run.stderr.splitlines()) == 1, run
            for part in (path, *parts):
                assert part in run.stderr, (part, run.stderr)
    run = subprocess.run([l.BIN / "keyvalue-memory", "--provider-id", "kv", "--links", "/nowhere"], env=l.ENVIRONMENT,
                         capture_output=True, text=True, timeout=20)
    assert run.returncode == 2 and "/nowhere: No such file" in run.stderr, run


begin_slow()
l.run([
    links_made_before_and_after_the_start_changed_and_deleted,
    configs_made_changed_and_deleted_make_new_links,
    an_outage_of_nats,
    a_wiped_store,
    buckets_that_are_made_later,
    without_jetstream_files_and_puts_serve,
    a_links_file_that_is_wrong_is_refused_in_one_line,
    a_bucket_that_is_deleted_and_made_anew_is_noticed,
])
