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

ROLLS = int(os.environ.get("ROLLS", "100"))
SERVER = l.nats_server(jetstream=True)
REDIS = l.redis_server()
LATTICE = l.Lattice(SERVER.port)
LATTICE.make_bucket("LATTICEDATA_test")
LATTICE.make_bucket("CONFIGDATA_test")
STORE = "wrpc:keyvalue/store@0.2.0-draft"
KEY = l.text("") + l.text("key")


class Replica(l.Provider):
    """A standalone one of several with the same id."""

    def __init__(self, provider_id, name="keyvalue-redis", *args, lattice=LATTICE):
        self.lattice, self.id, self.name = lattice, provider_id, name
        self.log_path = l.temporary_path(f"{provider_id}-{time.monotonic_ns()}.log")
        config = ["--config", f"URL=redis://127.0.0.1:{REDIS.port}"] if name == "keyvalue-redis" else []
        self.process = l.start([l.BIN / name, "--lattice", lattice.name, "--provider-id", provider_id, "--nats",
                                f"nats://127.0.0.1:{lattice.port}", *config, *args], log=self.log_path, env=l.ENVIRONMENT)

    def serving(self):
        self.logged('"msg":"ready"', seconds=20)
        return self

    def leave(self):
        self.terminate()
        self.ended()

    def ended(self):
        assert self.wait(20) == 0, (self.process.returncode, self.log())
        assert "cut off" not in self.log(), self.log()


class Callers:
    """Threads that call store.exists one call after the other, each as a source of its own connection; close() says how
    many calls there were, and fails if one of them did."""

    def __init__(self, target, sources, lattice=LATTICE):
        self.target, self.lattice = target, lattice
        self.stop, self.calls, self.failures, self.lock = False, 0, [], threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(s,), daemon=True) for s in sources]
        for t in self.threads:
            t.start()

    def run(self, source):
        while not self.stop:
            problem = self.call(source)
            with self.lock:
                self.calls += 1
                self.failures += [problem] if problem else []
            time.sleep(0.002)

    def call(self, source):
        """What went wrong, or None."""
        try:
            result = self.lattice.call(self.target, STORE, "exists", KEY, source=source, timeout=4)
            return None if result[:2] in (b"\0\0", b"\0\1") else f"{source}: {result}"
        except Exception as e:  # noqa: BLE001: any is a failed call
            return f"{source}: {e!r}"

    def wait(self, count):
        """Until so many more calls have been made."""
        until = self.calls + count
        l.wait_for(f"{count} more calls: {self.failures[:3]}", lambda: self.calls >= until, 20)

    def close(self):
        self.stop = True
        for t in self.threads:
            t.join(10)
        assert not self.failures, f"{len(self.failures)} of {self.calls} calls failed: {self.failures[:3]}"
        return self.calls


def rolling_replicas_loses_no_call():
    """The oldest of two is replaced, again and again, under calls of the SDK's own client."""
    LATTICE.store_links("bench", [LATTICE.link("bench", "kv")])
    replicas = [Replica("kv").serving() for _ in range(2)]
    bench = l.Provider(LATTICE, "bench", "bench", [LATTICE.link("bench", "kv", source_config={
        "inflight": "4", "warmup": "0.1", "seconds": "3600"})])
    bench.logged("start")
    began = time.monotonic()
    for _ in range(ROLLS):
        replicas.append(Replica("kv").serving())
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
    old = Replica("image").serving()
    callers = Callers("image", sources)
    for name in ("keyvalue-memory", "keyvalue-redis", "keyvalue-memory"):
        new = Replica("image", name).serving()
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

    replicas = [Replica("fresh").serving() for _ in range(2)]
    callers = Fresh("fresh", ["a", "b"])
    for _ in range(10):
        replicas.append(Replica("fresh").serving())
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
        p = Replica("away", "keyvalue-redis", lattice=lattice).serving()
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
        p = Replica("slow", "keyvalue-redis", *options).serving()
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
