#!/usr/bin/python3
"""test_rolling.py: replicas leave and others take their place while calls keep coming: none of them fails.

ROLLS (default 100) says how often a replica is replaced under the load generator's calls."""

import json
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lattice as l
from processes import SANITIZED
from replicas import KEY, STORE, Callers, Replica

ROLLS = int(os.environ.get("ROLLS", "100"))
SERVER = l.nats_server(jetstream=True)
REDIS = l.redis_server()
LATTICE = l.Lattice(SERVER.port)
LATTICE.make_bucket("LATTICEDATA_test")
LATTICE.make_bucket("CONFIGDATA_test")


def replica(provider_id, *args, name="keyvalue-redis", lattice=LATTICE):
    return Replica(lattice, provider_id, REDIS.port, *args, name=name).serving()


def rolling_replicas_loses_no_call():
    """The oldest of two is replaced, again and again, under calls of the SDK's own client."""
    LATTICE.store_links("bench", [LATTICE.link("bench", "kv")])
    replicas = [replica("kv") for _ in range(2)]
    bench = l.Provider(LATTICE, "bench", "bench", [LATTICE.link("bench", "kv", source_config={
        "inflight": "4", "warmup": "0.1", "seconds": "3600"})])
    bench.logged("start")
    began = time.monotonic()
    for _ in range(ROLLS):
        replicas.append(replica("kv"))
        replicas.pop(0).leave()
    took = time.monotonic() - began
    bench.terminate()
    assert bench.wait() == 0, bench.log()
    report = json.loads(bench.logged('"failed"'))
    print(f"{ROLLS} rolls in {took:.1f} s, {report['calls']} calls")
    assert report["failed"] == report["warmup_failed"] == 0, report
    assert report["calls"] > 10 * ROLLS, report
    for r in replicas:
        r.leave()


def another_image_under_the_same_id_takes_over():
    """Swapping without touching the link: calls are shared meanwhile."""
    sources = [f"comp-{i}" for i in range(4)]
    for s in sources:
        LATTICE.store_links(s, [LATTICE.link(s, "image")])
    old = replica("image")
    callers = Callers(LATTICE, "image", sources)
    for name in ("keyvalue-memory", "keyvalue-redis", "keyvalue-memory"):
        new = replica("image", name=name)
        callers.wait(50)
        old.leave()
        callers.wait(50)
        old = new
    callers.close()
    old.leave()


def links_put_while_a_replica_leaves_are_served():
    """Each call comes right behind the put of its link, in the bucket and as a message."""
    lock, count = threading.Lock(), 0

    def linked(thread):
        nonlocal count
        with lock:
            count += 1
            source = f"{thread}-{count}"
        link = LATTICE.link(source, "fresh")
        LATTICE.store_links(source, [link])
        LATTICE.nats.publish("wasmbus.rpc.test.fresh.linkdefs.put", json.dumps(link).encode())
        return source

    class Fresh(Callers):
        def call(self, source):
            return super().call(linked(source))

    replicas = [replica("fresh") for _ in range(2)]
    callers = Fresh(LATTICE, "fresh", ["a", "b"])
    for _ in range(10):
        replicas.append(replica("fresh"))
        replicas.pop(0).leave()
    callers.wait(20)
    callers.close()
    for r in replicas:
        r.leave()


def it_leaves_while_nats_is_away_or_comes_back():
    """With calls on their way, and the connection lost before, at, and after SIGTERM."""
    for step in range(4):
        server = l.nats_server()
        lattice = l.Lattice(server.port)
        p = replica("away", lattice=lattice)
        p.put(lattice.link("comp", "away"))
        p.logged("link is up")
        l.redis(REDIS.port, "CLIENT", "PAUSE", "200", "ALL")
        calls = [lattice.start_call("away", STORE, "exists", KEY) for _ in range(10)]
        lattice.nats.flush()
        if step == 0:
            p.terminate()
            server.kill()
        elif step == 1:
            server.kill()
            p.terminate()
        else:
            server.kill()
            p.logged("connection lost")
            server.start()
            if step == 3:
                p.logged("connected again")
            p.terminate()
        assert p.wait(5) == 0, (step, p.log())
        assert all(not c.result_bytes for c in calls)
        server.kill()


def slow_call(p, source="comp"):
    """A call that runs until Redis goes on."""
    p.put(p.lattice.link(source, p.id))
    p.logged("link is up")
    assert p.lattice.call(p.id, STORE, "exists", KEY, source=source)[:1] == b"\0"
    REDIS.pause()
    call = p.lattice.start_call(p.id, STORE, "exists", KEY, source=source)
    l.wait_for("the accept", lambda: call.accepted)
    return call


def the_deadline_and_a_second_signal_end_a_drain():
    """... in order: the caller hears the end of its results, what came before is answered, the status is 0."""
    for options, second in ((["--drain-ms", "300"], False), ([], True)):
        p = replica("slow", *options)
        try:
            call = slow_call(p)
            began = time.monotonic()
            p.terminate()
            p.logged('"msg":"leaving"')
            if second:
                p.terminate()
            assert p.wait(8) == 0, p.log()
            took = time.monotonic() - began
            assert took < 3 and (second or took >= 0.3), took
            assert call.result(1) == b""
            p.logged("1 calls did not end in time")
        finally:
            REDIS.resume()
    for value in ("0", "x", "86400001"):
        r = subprocess.run([l.BIN / "keyvalue-redis", "--drain-ms", value], capture_output=True, stdin=subprocess.DEVNULL)
        assert r.returncode == 2 and b"--drain-ms" in r.stderr and b"milliseconds expected" in r.stderr, r


def a_host_has_its_answer_in_300_ms():
    p = LATTICE.provider("keyvalue-redis", "hosted", config={"URL": f"redis://127.0.0.1:{REDIS.port}"})
    try:
        call = slow_call(p)
        began = time.monotonic()
        assert p.shutdown() == b"shutting down"
        took = time.monotonic() - began
        assert 0.24 < took < (1 if SANITIZED else 0.3), took
        assert call.result(1) == b""
    finally:
        REDIS.resume()
    assert p.wait() == 0, p.log()


l.run([rolling_replicas_loses_no_call, another_image_under_the_same_id_takes_over,
       links_put_while_a_replica_leaves_are_served, it_leaves_while_nats_is_away_or_comes_back,
       the_deadline_and_a_second_signal_end_a_drain, a_host_has_its_answer_in_300_ms])
