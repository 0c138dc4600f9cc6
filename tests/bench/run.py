#!/usr/bin/python3
"""run.py: `make bench`: what one key-value get costs a provider, and what it holds and takes to start.

Starts nats-server, redis-server and a provider, and drives it with build/bin/bench (a component on
the SDK): 1, 16 and 64 calls of wrpc:keyvalue/store.get in flight, one key, 64 bytes. keyvalue-redis
asks Redis each time; keyvalue-memory, the SDK alone, asks nobody, as the floor.

Environment:
    BIN            folder with our executables (default build/bin)
    PROVIDER       executable to measure (default BIN/keyvalue-redis, and BIN/keyvalue-memory)
    PEER           another provider executable, to compare with: they run in turn. Default: BIN/floor, which does
                   nothing but answer (floor.c)
    PEER_ARGS      its arguments, {nats} is the server's URL (none: HostData on stdin, as ours)
    BENCH_ROUNDS   default 3
    BENCH_SECONDS  measured per setting (default 4)

Then each of ours alone, listening on a Unix socket besides: the same calls over NATS and over the socket, in
turn, in one process of it. keyvalue-memory shows the transports; with keyvalue-redis both hold a round trip to Redis.

All figures are medians over the rounds. CPU is the provider's alone, all its threads. Memory is its
own (anonymous): idle half a second after the first answer, load at the end of each measurement
with the provider running since the first. Ready is from spawn to the first served get.
"""
import json
import os
import shlex
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.dont_write_bytecode = True
import lattice
from processes import BIN, accepts, anonymous_kib, end_process, start

IN_FLIGHT = (1, 16, 64)
SECONDS = float(os.environ.get("BENCH_SECONDS", "4"))
WARMUP = 0.7
STARTS = 5  # per round, for the time to ready
ID, KEY = "KV", "bench"
INTERFACE = "wrpc:keyvalue/store@0.2.0-draft"


class Failure(Exception):
    """Why there is no figure."""


# --- what the kernel says about a process ---

def cpu_ns(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                total += int(f.read().split()[0])
        except FileNotFoundError:
            pass  # a thread has ended in between
    return total


# --- measuring ---

class Bench:
    def __init__(self):
        self.log = lattice.temporary_path("log")
        self.redis = lattice.redis_server()
        self.nats = lattice.nats_server()
        self.lattice = lattice.Lattice(self.nats.port, "default")

    def link(self, **source_config):
        return self.lattice.link("bench", ID, {"URL": f"redis://127.0.0.1:{self.redis.port}"},
                                 interfaces=["store"], source_config=source_config)

    def is_served(self):
        try:
            result = self.lattice.call(ID, INTERFACE, "get", lattice.text("") + lattice.text(KEY), "bench",
                                       timeout=0.1)
        except (lattice.NoResponders, lattice.Timeout):
            return False
        return result[:1] == b"\0"  # else: taken, but there is no link yet, or no Redis

    def start(self, argv):
        """The provider, serving, and how many ms that took."""
        # As a host: no environment, and no word on what is not wrong.
        line = self.lattice.host_data(ID, [self.link()], log_level="error")
        began = time.monotonic()
        p = start(argv, line, self.log, env={})
        while not self.is_served():
            if p.poll() is not None:
                raise Failure(f"{argv[0]} has ended with status {p.returncode}")
            if time.monotonic() > began + 10:
                raise Failure(f"{argv[0]} serves no {INTERFACE}.get within 10 s")
            time.sleep(0.0003)
        return p, (time.monotonic() - began) * 1000

    def load(self, p, in_flight, **source_config):
        """The line of bench, with what the provider took for it."""
        link = self.link(inflight=str(in_flight), seconds=str(SECONDS), warmup=str(WARMUP), key=KEY, **source_config)
        b = start([BIN / "bench"], self.lattice.host_data("bench", [link], log_level="error"), self.log,
                  stdout=subprocess.PIPE)
        figures = None
        watchdog = threading.Timer(WARMUP + SECONDS + 15, b.kill)
        watchdog.daemon = True
        watchdog.start()
        for line in b.stdout:
            if line == b"start\n":
                before = cpu_ns(p.pid)
            elif line == b"end\n":
                cpu = cpu_ns(p.pid) - before
                anonymous = anonymous_kib(p.pid)
            else:
                figures = json.loads(line)
        watchdog.cancel()
        end_process(b, 3)
        if not figures or not figures["calls"]:
            raise Failure(f"bench has counted no call with {in_flight} in flight")
        figures.update(cpu_us=cpu / 1000 / figures["calls"], anonymous_kib=anonymous)
        return figures

    def socket_rounds(self, argv, count):
        """Rounds over NATS and over a Unix socket of one provider."""
        path, config = lattice.temporary_path("provider.sock"), lattice.temporary_path("provider.json")
        with open(config, "wb") as f:
            f.write(self.lattice.host_data(ID, [self.link()], log_level="error",
                                           config={"URL": f"redis://127.0.0.1:{self.redis.port}"}))
        p = start([*argv, "--host-data", config, "--listen", "unix:" + path], log=self.log, env={})
        lattice.wait_for("an answer over NATS", self.is_served)
        lattice.wait_for("the socket", lambda: accepts(path))
        nats, unix = [], []
        for _ in range(count):
            nats.append({n: self.load(p, n) for n in IN_FLIGHT})
            unix.append({n: self.load(p, n, socket="unix:" + path) for n in IN_FLIGHT})
        end_process(p, 3)
        return nats, unix

    def round(self, argv):
        figures = {"ready_ms": []}
        for _ in range(STARTS):
            p, ms = self.start(argv)
            figures["ready_ms"].append(ms)
            end_process(p, 3)
        p, ms = self.start(argv)
        figures["ready_ms"] = statistics.median(figures["ready_ms"] + [ms])
        time.sleep(0.5)
        figures["idle_anonymous_kib"] = anonymous_kib(p.pid)
        for n in IN_FLIGHT:
            figures[n] = self.load(p, n)
        end_process(p, 3)
        return figures


def middle(rounds, *path):
    values = []
    for r in rounds:
        for step in path:
            r = r[step]
        values.append(r)
    return statistics.median(values)


def table(name, rounds):
    loads(name, rounds)
    print(f"  idle: {middle(rounds, 'idle_anonymous_kib'):.0f} KiB anonymous; "
          f"ready in {middle(rounds, 'ready_ms'):.1f} ms", flush=True)


def loads(name, rounds):
    print(f"\n{name}")
    print(f"  {'in flight':>9} {'calls/s':>9} {'p50 µs':>9} {'p99 µs':>9} {'CPU µs/call':>12} "
          f"{'anon KiB':>9} {'calls':>9} {'failed':>7}")
    for n in IN_FLIGHT:
        m = lambda key: middle(rounds, n, key)
        print(f"  {n:>9} {m('calls_per_s'):>9.0f} {m('p50_us'):>9.1f} {m('p99_us'):>9.1f} {m('cpu_us'):>12.2f} "
              f"{m('anonymous_kib'):>9.0f} {sum(r[n]['calls'] for r in rounds):>9} "
              f"{sum(r[n]['failed'] + r[n]['warmup_failed'] for r in rounds):>7}", flush=True)


def ratios(name, ours, peers):
    def ratio(*path):
        theirs = middle(peers, *path)
        return f"{middle(ours, *path) / theirs:.2f}" if theirs else "-"

    print(f"\nratios, {name} / peer")
    print(f"  {'in flight':>9} {'calls/s':>9} {'p50':>9} {'p99':>9} {'CPU/call':>12} {'anon':>9}")
    for n in IN_FLIGHT:
        print(f"  {n:>9} {ratio(n, 'calls_per_s'):>9} {ratio(n, 'p50_us'):>9} {ratio(n, 'p99_us'):>9} "
              f"{ratio(n, 'cpu_us'):>12} {ratio(n, 'anonymous_kib'):>9}")
    print(f"  idle: anonymous {ratio('idle_anonymous_kib')}; ready {ratio('ready_ms')}")


def transports(name, nats, unix):
    loads(f"{name}, one process, over NATS", nats)
    loads("the same process, over a Unix socket (a connection per call)", unix)
    print("  p50, NATS / socket: " + ", ".join(
        f"{middle(nats, n, 'p50_us') / middle(unix, n, 'p50_us'):.2f} at {n} in flight" for n in IN_FLIGHT))
    calls = [sum(r[n]["calls"] for n in IN_FLIGHT for r in rounds) for rounds in (nats[:1], nats + unix)]
    print(f"  its anonymous memory: {nats[0][IN_FLIGHT[-1]]['anonymous_kib']} KiB after {calls[0]} calls, "
          f"{unix[-1][IN_FLIGHT[-1]]['anonymous_kib']} KiB after {calls[1]}")


def main():
    given = os.environ.get("PROVIDER")
    ours = [[os.path.abspath(p)] for p in ([given] if given else [BIN / "keyvalue-redis", BIN / "keyvalue-memory"])]
    peer = os.environ.get("PEER") or os.path.join(BIN, "floor")
    peer_args = os.environ.get("PEER_ARGS", "") if os.environ.get("PEER") else "{nats}"
    count = int(os.environ.get("BENCH_ROUNDS", "3"))
    bench = Bench()
    measured, peers = [[] for _ in ours], []
    try:
        words = shlex.split(peer_args.replace("{nats}", f"nats://127.0.0.1:{bench.nats.port}"))
        for i in range(count):
            # Who goes first changes, so that neither gets the warmer machine each time.
            turns = [*zip(measured, ours), (peers, [os.path.abspath(peer), *words])]
            for rounds, argv in turns if i % 2 == 0 else turns[::-1]:
                rounds.append(bench.round(argv))
                print(f"round {i + 1}: {os.path.basename(argv[0])} done", flush=True)
        sockets = [bench.socket_rounds(argv, count) for argv in ours]
    except (Failure, OSError) as e:
        with open(bench.log, errors="replace") as f:
            print(*f.read().splitlines()[-15:], sep="\n", file=sys.stderr)
        print(f"bench: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    names = [os.path.basename(argv[0]) for argv in ours]
    for name, rounds in zip(names, measured):
        table(f"{name}: wrpc:keyvalue/store.get, {count} round(s) of {SECONDS:g} s", rounds)
    table(f"{os.path.basename(peer)} (peer)", peers)
    for name, rounds in zip(names, measured):
        ratios(name, rounds, peers)
    for name, (nats, unix) in zip(names, sockets):
        transports(name, nats, unix)
    return 0


sys.exit(main())
