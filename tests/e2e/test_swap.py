#!/usr/bin/python3
"""test_swap.py: a link gets another target while calls keep coming, and none of them fails; wcp drain. The host that
follows the links is played by this file."""

import base64
import json
import os
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lattice as l
from replicas import KEY, STORE, Callers, Replica

SERVER = l.nats_server(jetstream=True)
REDIS = l.redis_server()
LATTICE = l.Lattice(SERVER.port)
LATTICE.make_bucket("LATTICEDATA_test")
LATTICE.make_bucket("CONFIGDATA_test")
HOST_IS_SLOW_S = 0.3  # to follow a change


def wcp(*words, port=SERVER.port):
    return subprocess.run([l.BIN / "wcp", *words, "--nats", f"nats://127.0.0.1:{port}", "--lattice", "test"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)


def did(r):
    assert r.returncode == 0, (r.stdout, r.stderr)
    return r


def replica(provider_id, name="keyvalue-redis"):
    return Replica(LATTICE, provider_id, REDIS.port, name=name).serving()


def stored(source, lattice=LATTICE):
    answer = json.loads(lattice.nats.request("$JS.API.STREAM.MSG.GET.KV_LATTICEDATA_test", json.dumps(
        {"last_by_subj": f"$KV.LATTICEDATA_test.COMPONENT_{source}"}).encode()).data)
    return json.loads(base64.b64decode(answer["message"]["data"]))["links"]


class Component(Callers):
    """Calls where the stored link of source goes, as its host follows it: some time after the change."""

    def __init__(self, source, target):
        LATTICE.store_links(source, [LATTICE.link(source, target)])
        self.nats = l.Nats(SERVER.port)
        self.nats.subscribe(f"$KV.LATTICEDATA_test.COMPONENT_{source}", self.changed)
        super().__init__(LATTICE, target, [source] * 3)

    def changed(self, m):
        target = json.loads(m.data)["links"][0]["target"]
        threading.Timer(HOST_IS_SLOW_S, lambda: setattr(self, "target", target)).start()


def gone(replica_):
    """Its link is, by whatever told it first: the bucket or wcp."""
    l.wait_for(replica_.log(), lambda: any(x in replica_.log() for x in ("link is deleted", "link is no longer in")))


def a_swap_and_its_rollback_lose_no_call():
    old = replica("old")
    component = Component("comp", "old")
    old.put(LATTICE.link("comp", "old"))
    new = replica("new", "keyvalue-memory")
    component.wait(50)
    r = did(wcp("swap", "comp", "wasi:keyvalue", "--to", "new"))
    assert "comp -> new (wasi:keyvalue, link 'default'): swapped" in r.stdout, r.stdout
    assert component.target == "new" and stored("comp")[0]["target"] == "new", component.target
    gone(old)
    component.wait(50)
    did(wcp("swap", "comp", "wasi:keyvalue", "--rollback"))
    assert component.target == "old"
    gone(new)
    component.wait(50)
    component.close()
    old.leave()
    new.leave()


def server_of_domain(name, leafnodes):
    path = l.temporary_path(f"{name}.conf")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f'jetstream {{ domain: {name}, store_dir: "{l.temporary_path(name)}" }}\nleafnodes {{ {leafnodes} }}\n')
    return l.nats_server("-c", path)


def in_another_jetstream_domain():
    """The lattice's buckets are at a hub; the providers and wcp are at a leaf node that has a JetStream of its own."""
    port = l.free_port()
    hub = server_of_domain("hub", f'listen: "127.0.0.1:{port}"')
    leaf = server_of_domain("leaf", f'remotes: [{{ url: "nats://127.0.0.1:{port}" }}]')
    stores, lattice = l.Lattice(hub.port), l.Lattice(leaf.port)
    stores.make_bucket("LATTICEDATA_test")
    stores.make_bucket("CONFIGDATA_test")
    stores.store_links("comp", [stores.link("comp", "old")])
    old, new = (Replica(lattice, i, REDIS.port, "--js-domain", "hub", name="keyvalue-memory") for i in ("old", "new"))
    old.logged("link is up", seconds=20)
    new.serving()
    out = wcp("doctor", "--js-domain", "hub", port=leaf.port).stdout
    assert "LATTICEDATA_test has 1 keys" in out, out
    r = wcp("swap", "comp", "wasi:keyvalue", "--to", "new", port=leaf.port)
    assert r.returncode == 1 and "no host has been in lattice" in r.stderr, (r.stdout, r.stderr)
    did(wcp("swap", "comp", "wasi:keyvalue", "--to", "new", "--js-domain", "hub", port=leaf.port))
    assert stored("comp", stores)[0]["target"] == "new"
    gone(old)
    for one in (old, new):
        one.leave()
    for one in (leaf, hub):
        one.kill()


def a_target_that_is_not_there_or_not_well_changes_nothing():
    old = replica("stays")
    component = Component("comp-2", "stays")
    old.put(LATTICE.link("comp-2", "stays"))
    r = wcp("swap", "comp-2", "wasi:keyvalue", "--to", "nobody")
    assert r.returncode == 1 and "nothing is changed: nobody answers" in r.stderr, r.stderr
    bad = Replica(LATTICE, "bad", 1).serving()
    r = wcp("swap", "comp-2", "wasi:keyvalue", "--to", "bad", "--wait", "300")
    assert r.returncode == 1 and "nothing is changed: the link at 'bad' is " in r.stderr, r.stderr
    bad.logged("link is deleted")
    assert stored("comp-2")[0]["target"] == "stays"
    component.wait(20)
    component.close()
    old.leave()
    bad.leave()


def set_and_get(target, key, value, source="comp"):
    for function, more in (("set", l.text(value)), ("get", b"")):
        LATTICE.call(target, STORE, function, l.text("") + l.text(key) + more, source=source)


def a_recording_decides():
    """Only the calls of the link count, and an answer that differs stops the swap."""
    old = replica("old", "keyvalue-memory")
    for source in ("comp", "other"):
        LATTICE.store_links(source, [LATTICE.link(source, "old")])
        old.put(LATTICE.link(source, "old"))
    set_and_get("old", "before", "1")
    path = l.temporary_path("old.wcprec")
    recorder = l.start([l.BIN / "wcp", "record", "old", "-o", path, "--count", "5", "--nats",
                        f"nats://127.0.0.1:{SERVER.port}", "--lattice", "test"], stdout=subprocess.PIPE)
    recorder.stdout.readline()
    set_and_get("old", "a", "1")
    set_and_get("old", "b", "2", source="other")
    LATTICE.call("old", STORE, "get", l.text("") + l.text("before"))
    assert recorder.wait(20) == 0
    new = replica("new", "keyvalue-memory")
    swap = ("swap", "comp", "wasi:keyvalue", "--to", "new", "--check", path, "--wit", l.ROOT / "sdk/interfaces")
    r = wcp(*swap)
    assert r.returncode == 1 and 'ok(some("1")) recorded, ok(none) came' in r.stdout, r
    assert "2 same, 1 different" in r.stdout and "nothing is changed: 'new' does not answer as 'old' did" in r.stderr, r
    assert stored("comp")[0]["target"] == "old"
    new.logged("link is deleted")
    new.put(LATTICE.link("comp", "new"))
    new.logged("link is up")
    LATTICE.call("new", STORE, "set", l.text("") + l.text("before") + l.text("1"))
    r = did(wcp(*swap))
    assert "3 same, 0 different" in r.stdout and stored("comp")[0]["target"] == "new", r
    r = wcp("swap", "comp", "wasi:keyvalue", "--to", "old", "--check", l.ROOT / "README.md")
    assert r.returncode == 1 and "README.md" in r.stderr and stored("comp")[0]["target"] == "new", r
    r = wcp("swap", "other", "wasi:keyvalue", "--to", "new", "--name", "second", "--check", path)
    assert r.returncode == 1 and "no whole call of 'other' over link 'second'" in r.stderr, r
    old.leave()
    new.leave()


def leaving_by_wcp_finishes_what_runs():
    """One of several replicas, then all; other providers stay."""
    def one():
        r = replica("many")
        r.host = re.search(r'"host":"(N\w+)"', r.log())[1]
        r.put(LATTICE.link("comp", "many", {"BACKEND_RESPONSE_TIMEOUT_MS": "8000"}))
        r.logged("link is up")
        return r
    LATTICE.store_links("comp", [LATTICE.link("comp", "many")])
    other, a, b = replica("other"), one(), one()
    r = wcp("drain", "many")
    assert r.returncode == 2 and "'many' runs on 2 hosts: give --all, or --host" in r.stderr and a.host in r.stderr, r
    r = wcp("drain", "many", "--host", "Nnone")
    assert r.returncode == 1 and "host Nnone does not answer in lattice 'test'" in r.stderr, r
    callers = Callers(LATTICE, "many", ["comp"] * 4)
    callers.wait(50)
    r = did(wcp("drain", "many", "--host", b.host))
    assert r.stdout == f"many on host {b.host}: left\n", r.stdout
    b.ended()
    callers.wait(50)
    callers.close()

    c = one()
    REDIS.pause()
    calls = [LATTICE.start_call("many", STORE, "exists", KEY) for _ in range(10)]
    l.wait_for("the accepts", lambda: all(c.accepted for c in calls))

    def resume():
        l.wait_for("the first to be told", lambda: any("told to end" in r.log() for r in (a, c)), 20)
        time.sleep(1.2)  # longer than provider.stop waits with its answer
        REDIS.resume()
    thread = threading.Thread(target=resume)
    thread.start()
    r = did(wcp("drain", "many", "--all"))
    thread.join()
    assert all(f"many on host {x.host}: left\n" in r.stdout for x in (a, c)), r.stdout
    assert all(c.result()[:1] == b"\0" for c in calls)
    a.ended()
    c.ended()
    assert other.process.poll() is None
    did(wcp("drain", "other"))
    other.ended()
    r = wcp("drain", "other")
    assert r.returncode == 1 and "hosts in lattice 'test' lists 'other'" in r.stderr, r


l.run([a_swap_and_its_rollback_lose_no_call, in_another_jetstream_domain,
       a_target_that_is_not_there_or_not_well_changes_nothing, a_recording_decides, leaving_by_wcp_finishes_what_runs])
