#!/usr/bin/python3
"""test_faults.py: what callers see of faults of the lattice and of a provider's process, and how it recovers.

Two replicas of a standalone keyvalue-redis under callers, each fault for real. What docs/failures.md says, and with figures."""

import os
import re
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lattice as l
from replicas import KEY, STORE, Replica

REDIS = l.redis_server()


class Caller(threading.Thread):
    """Asks store.exists again and again, with a connection of its own that it makes anew; notes how each call ended."""

    def __init__(self, port, timeout=1):
        super().__init__(daemon=True)
        self.port, self.timeout, self.lattice, self.stop = port, timeout, None, False
        self.ends = []  # (when, what): None is an answer
        self.start()

    def run(self):
        while not self.stop:
            try:
                if not self.lattice:
                    self.lattice = l.Lattice(self.port)
                result = self.lattice.call("kv", STORE, "exists", KEY, timeout=self.timeout)
                end = None if result[:1] == b"\0" else f"answered {result!r}"
            except Exception as e:  # noqa: BLE001: any is the end of a call
                end = repr(e)
                if isinstance(e, OSError):
                    self.lattice = None
            self.ends.append((time.monotonic(), end))
            time.sleep(0.005)

    def counted(self):
        ends = list(self.ends)
        return sum(e is None for _, e in ends), [e for _, e in ends if e]

    def answered(self, count=20, seconds=20):
        """Waits for so many answers from now on without any other end between them; says after how many seconds they began."""
        began, at = time.monotonic(), len(self.ends)

        def good():
            row = self.ends[at:]
            bad = max((i for i, (_, e) in enumerate(row) if e), default=-1)
            return row[bad + 1:] if len(row) - bad > count else None
        return l.wait_for(f"{count} answers: {self.counted()[1][-3:]}", good, seconds)[0][0] - began

    def close(self):
        self.stop = True
        self.join(10)


class Setting:
    """NATS with a link in its bucket, two replicas and a caller."""

    def __init__(self, *nats_options):
        self.server = l.nats_server(*nats_options, jetstream=True)
        self.lattice = l.Lattice(self.server.port)
        self.lattice.make_bucket("LATTICEDATA_test")
        self.lattice.store_links("comp", [self.lattice.link("comp", "kv")])
        self.replicas = [Replica(self.lattice, "kv", REDIS.port).serving() for _ in range(2)]
        self.caller = Caller(self.server.port)
        self.caller.answered()

    def close(self):
        self.caller.close()
        for r in self.replicas:
            r.kill()
        self.server.kill()


def tell(what, after, caller):
    good, bad = caller.counted()
    print(f"   {what}: answered again after {after:.1f} s; {good} calls answered, {len(bad)} not", flush=True)


def nats_is_killed_and_restarted():
    s = Setting()
    s.server.kill()
    s.replicas[0].logged("connection lost")
    l.wait_for("a call that fails", lambda: s.caller.counted()[1])
    s.server.start()
    after = s.caller.answered()
    tell("nats-server killed and started again", after, s.caller)
    assert after < 5, after
    for r in s.replicas:
        r.logged("connected again")
        assert r.process.poll() is None
    s.close()


def a_provider_is_killed():
    """The other one answers. What was on its way to the killed one is not answered, nor repeated."""
    s = Setting()
    s.replicas[0].kill()
    after = s.caller.answered()
    tell("a replica killed", after, s.caller)
    assert len(s.caller.counted()[1]) <= 1 and after < 3, s.caller.counted()[1]
    s.close()


def the_last_provider_is_killed():
    """Callers hear at once that nobody serves; the next process serves with the links of the bucket."""
    s = Setting()
    for r in s.replicas:
        r.kill()
    l.wait_for("no responders", lambda: any("NoResponders" in e for e in s.caller.counted()[1]))
    s.replicas = [Replica(s.lattice, "kv", REDIS.port).serving()]
    after = s.caller.answered()
    tell("all replicas killed, one started", after, s.caller)
    s.close()


def a_provider_stands_still():
    """Its share of the calls waits for it, each until its caller's deadline; the others are answered."""
    s = Setting()
    still = s.replicas[0]
    still.process.send_signal(signal.SIGSTOP)
    before = s.caller.counted()[0]
    l.wait_for("calls that wait in vain, and others that do not",
               lambda: len(s.caller.counted()[1]) >= 2 and s.caller.counted()[0] > before + 2, 30)
    assert all("Timeout" in e for e in s.caller.counted()[1]), s.caller.counted()[1]
    still.process.send_signal(signal.SIGCONT)
    after = s.caller.answered()
    tell("a replica standing still, and going on", after, s.caller)
    assert after < 3, after
    s.close()


def a_slow_consumer_is_cut_off_and_comes_back():
    """nats-server drops who does not read. Here it is a provider that stands still while 8 MiB are sent to it."""
    with open(l.temporary_path("slow.conf"), "w", encoding="utf-8") as f:
        f.write("max_pending: 2097152\n")
    s = Setting("-c", l.temporary_path("slow.conf"))
    still = s.replicas[0]
    still.process.send_signal(signal.SIGSTOP)
    flood = l.Lattice(s.server.port)
    for _ in range(64):  # its own health subject: calls would go to the other one, too
        flood.nats.publish("wasmbus.rpc.test.kv.health", bytes(512 << 10))
    flood.nats.flush(20)
    with open(l.temporary_path(f"nats-server-{s.server.port}.log"), encoding="utf-8") as f:
        l.wait_for("the server's word", lambda: "Slow Consumer" in (f.seek(0) or "") + f.read())
    s.caller.answered()  # by the other one, as long as it is away
    still.process.send_signal(signal.SIGCONT)
    still.logged("connected again", seconds=15)
    after = s.caller.answered()
    tell("a replica cut off as slow, and back", after, s.caller)
    s.replicas[1].leave()
    s.caller.answered()  # by the one that came back, alone
    s.close()


def each_row_of_the_document_has_its_tests():
    with open(l.ROOT / "docs/failures.md", encoding="utf-8") as f:
        rows = [line for line in f if line.startswith("| ") and not line.startswith("| fault ")]
    assert len(rows) > 20, len(rows)
    for row in rows:
        tests = re.findall(r"`(test_\w+)\.(\w+)`", row.rsplit(" | ", 1)[1])
        assert tests, f"no test: {row}"
        for name, function in tests:
            with open(l.ROOT / f"tests/e2e/{name}.py", encoding="utf-8") as f:
                assert f"def {function}():" in f.read(), f"{name}.py has no {function}: {row}"


l.run([each_row_of_the_document_has_its_tests, nats_is_killed_and_restarted, a_provider_is_killed, the_last_provider_is_killed,
       a_provider_stands_still, a_slow_consumer_is_cut_off_and_comes_back])
