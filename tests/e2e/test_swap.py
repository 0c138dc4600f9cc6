#!/usr/bin/python3
"""test_swap.py: a link gets another target while calls keep coming, and none of them fails; wcp drain. The host that
follows the links is played by this file."""

import base64
import json
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lattice as l
from replicas import STORE, Callers, Replica

SERVER = l.nats_server(jetstream=True)
REDIS = l.redis_server()
LATTICE = l.Lattice(SERVER.port)
LATTICE.make_bucket("LATTICEDATA_test")
LATTICE.make_bucket("CONFIGDATA_test")
HOST_IS_SLOW_S = 0.3  # to follow a change


def wcp(*words):
    return subprocess.run([l.BIN / "wcp", *words, "--nats", f"nats://127.0.0.1:{SERVER.port}", "--lattice", "test"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)


def did(r):
    assert r.returncode == 0, (r.stdout, r.stderr)
    return r


def replica(provider_id, name="keyvalue-redis"):
    return Replica(LATTICE, provider_id, REDIS.port, name=name).serving()


def stored(source):
    answer = json.loads(LATTICE.nats.request("$JS.API.STREAM.MSG.GET.KV_LATTICEDATA_test", json.dumps(
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


def a_swap_and_its_rollback_lose_no_call():
    old = replica("old")
    component = Component("comp", "old")
    old.put(LATTICE.link("comp", "old"))
    new = replica("new", "keyvalue-memory")
    component.wait(50)
    r = did(wcp("swap", "comp", "wasi:keyvalue", "--to", "new"))
    assert "comp -> new (wasi:keyvalue, link 'default'): swapped" in r.stdout, r.stdout
    assert component.target == "new" and stored("comp")[0]["target"] == "new", component.target
    old.logged("link is deleted")
    component.wait(50)
    did(wcp("swap", "comp", "wasi:keyvalue", "--rollback"))
    assert component.target == "old"
    new.logged("link is deleted")
    component.wait(50)
    component.close()
    old.leave()
    new.leave()


def a_target_that_is_not_there_or_not_well_changes_nothing():
    old = replica("old")
    component = Component("comp", "old")
    old.put(LATTICE.link("comp", "old"))
    r = wcp("swap", "comp", "wasi:keyvalue", "--to", "nobody")
    assert r.returncode == 1 and "nothing is changed: nobody answers" in r.stderr, r.stderr
    bad = Replica(LATTICE, "bad", 1).serving()
    r = wcp("swap", "comp", "wasi:keyvalue", "--to", "bad", "--wait", "300")
    assert r.returncode == 1 and "nothing is changed: bad is not healthy" in r.stderr, r.stderr
    bad.logged("link is deleted")
    assert stored("comp")[0]["target"] == "old"
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


l.run([a_swap_and_its_rollback_lose_no_call, a_target_that_is_not_there_or_not_well_changes_nothing,
       a_recording_decides])
