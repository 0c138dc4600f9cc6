#!/usr/bin/python3
"""test_framed.py: providers that listen on Unix sockets and TCP ports, called by hand-made frames. There is no
NATS server here, but for the tests that say so. usage: test_framed.py [NAME-PART]..."""

import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lattice as l
from framed import (STORE, Listener, call, channels, connect, connections, frame, header, read_all, until_closed)
from lattice import BIN, Reader, leb, text, wait_for

HTTP = "wrpc:http/incoming-handler@0.1.0"
REQUEST = b"\0\0" + bytes(5)  # body and trailers pending; GET, and nothing else
MIB = 1 << 20
# Freed memory that a sanitizer keeps would be counted.
LEAN = {"ASAN_OPTIONS": l.ENVIRONMENT.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"}
count = 0


def unix():
    global count
    count += 1
    return "unix:" + l.temporary_path(f"{count}.sock")


def get(address, key, **options):
    r = Reader(call(address, STORE, "get", text("") + text(key), **options))
    assert r.byte() == 0
    return r.option(r.bytes)


def put(address, key, value):
    got = call(address, STORE, "set", text("") + text(key) + text(value))
    assert got == b"\0", got


def refused(text, *args, env=None):
    p = subprocess.run([BIN / "keyvalue-memory", *args], capture_output=True, timeout=15,
                       env={**l.ENVIRONMENT, **(env or {})}, stdin=subprocess.DEVNULL)
    err = p.stderr.decode()
    assert p.returncode and text in err, (p.returncode, err)


# --- calls ---


def redis_is_served_without_nats_by_two_flags():
    redis, at = l.redis_server(), unix()
    with Listener("keyvalue-redis", "--listen", at, "--config", f"url=redis://127.0.0.1:{redis.port}") as p:
        put(at, "k", "hello")
        assert get(at, "k") == b"hello"
        assert l.redis(redis.port, "GET", "k") == b"hello"
        assert '"from":"local"' in p.log(), p.log()
        assert p.process.poll() is None
        wait_for("no connections", lambda: connections(at) == 0)


def a_secret_of_the_provider_is_one_of_the_link():
    redis, at = l.redis_server("--requirepass", "geheim"), unix()
    folder = l.temporary_path("secrets")
    os.mkdir(folder)
    with open(folder + "/url", "w", encoding="ascii") as f:
        f.write(f"redis://:geheim@127.0.0.1:{redis.port}\n")
    with Listener("keyvalue-redis", "--listen", at, "--secrets-dir", folder) as p:
        put(at, "k", "v")
        assert get(at, "k") == b"v"
        assert "geheim" not in p.log(), p.log()


def several_addresses_are_one_provider():
    at = unix()
    with Listener("keyvalue-memory", "--listen", f"{at},tcp:127.0.0.1:0", "--listen=tcp:[::1]:0") as p:
        addresses = p.addresses()
        assert len(addresses) == 3 and addresses[0] == at, addresses
        for i, a in enumerate(addresses):
            put(a, f"k{i}", a)
        for a in addresses:
            assert [get(a, f"k{i}") for i in range(3)] == [b.encode() for b in addresses]


def the_environment_tells_where_to_listen_too():
    at = unix()
    with Listener("keyvalue-memory", env={"WCP_LISTEN": at}):
        put(at, "k", "v")


def a_host_name_is_resolved():
    with Listener("keyvalue-memory", "--listen", "tcp:localhost:0") as p:
        put(p.addresses()[0], "k", "v")


def callers_need_not_half_close():
    at = unix()
    with Listener("keyvalue-memory", "--listen", at):
        assert get(at, "none", half_close=False) is None


def a_header_may_come_byte_by_byte():
    at = unix()
    with Listener("keyvalue-memory", "--listen", at), connect(at) as s:
        for b in header(STORE, "get") + frame(text("") + text("k")):
            s.sendall(bytes([b]))
            time.sleep(0.001)
        assert channels(read_all(s)) == {(): b"\0\0"}


def a_large_value_goes_both_ways():
    with Listener("keyvalue-memory", "--listen", "tcp:127.0.0.1:0") as p:
        value = os.urandom(40 * MIB)
        put(p.addresses()[0], "k", value)
        assert get(p.addresses()[0], "k") == value


def streams_go_both_ways_at_once():
    at = unix()
    with Listener("http-echo", "--listen", at), connect(at) as s:
        s.sendall(header(HTTP, "handle") + frame(REQUEST))
        got = s.recv(100)
        assert channels(got)[()][:3] == b"\0\0\0", got
        for i in range(20):
            piece = text(f"piece {i}")
            s.sendall(frame(piece, (0, 0)))
            assert channels(s.recv(1000)) == {(0, 0): piece}
        s.sendall(frame(b"\0", (0, 0)) + frame(b"\1" + b"\1" + text("t") + b"\1" + text("v"), (0, 1)))
        s.shutdown(socket.SHUT_WR)
        assert channels(read_all(s)) == {(0, 0): b"\0", (0, 1): b"\1\1\1t\1\1v"}


def nats_and_sockets_are_served_by_one_process():
    at, server = unix(), l.nats_server(jetstream=True)
    lattice = l.Lattice(server.port)
    with Listener("keyvalue-memory", "--listen", at, "--nats", f"nats://127.0.0.1:{server.port}",
                  "--provider-id", "kv", "--lattice", lattice.name) as p:
        link = lattice.link("comp", "kv")
        lattice.nats.publish(f"wasmbus.rpc.{lattice.name}.kv.linkdefs.put", json.dumps(link).encode())
        p.logged('"from":"comp"')
        put(at, "k", "v")
        assert get(at, "k") == b"v"
        assert lattice.call("kv", STORE, "get", text("") + text("k"))[:1] == b"\0"
        # Its server goes, and calls over the socket do not notice.
        server.kill()
        p.logged("nats: connection lost")
        assert get(at, "k") == b"v"


# --- what a peer can do wrong ---


def garbage_is_dropped_and_nobody_suffers():
    at = unix()
    with Listener("keyvalue-memory", "--listen", at) as p:
        put(at, "k", "v")
        good = header(STORE, "get") + frame(text("") + text("k"))
        for bad in (b"GET / HTTP/1.1\r\n\r\n", b"\1", b"\0\xff\xff\xff\xff\x0f", b"\0\xff\xff\xff\xff\xff",
                    header(STORE, "nope"), header("x", "get"), header(STORE, "get") + b"\x11",
                    header(STORE, "get") + frame(b"x", (7,)), header(STORE, "get") + b"\0\xff\xff\xff\xff\x0fx",
                    header(STORE, "get") + frame(b"\xff\xff\xff\xff\x0f"), os.urandom(5000)):
            with connect(at) as s:
                try:
                    s.sendall(bad)
                except ConnectionError:
                    pass
                assert until_closed(s) < 3, bad[:40]
            assert get(at, "k") == b"v"
        for n in range(len(good)):  # cut at each byte
            with connect(at) as s:
                s.sendall(good[:n])
                s.shutdown(socket.SHUT_WR)
                assert channels(read_all(s)) == {}, n
            with connect(at) as s:
                s.sendall(good[:n])
        assert get(at, "k") == b"v"
        wait_for("closed connections", lambda: connections(at) == 0)


class SlowCallers:
    """A header and parameters that come byte by byte, for ever; they run beside the other tests, since the deadline is
    30 s."""

    def __init__(self):
        self.at = unix()
        self.provider = Listener("keyvalue-memory", "--listen", self.at).ready()
        self.pool = ThreadPoolExecutor(2)
        whole = header(STORE, "get") + frame(text("") + text("k" * 100))
        self.lasted = [self.pool.submit(self.drip, b"\0" + leb(500)), self.pool.submit(self.drip, whole[:50])]

    def drip(self, start):
        with connect(self.at, 0.5) as s:
            s.sendall(start)
            began = time.monotonic()
            while time.monotonic() < began + 40:
                try:
                    s.sendall(b"w")
                    if not s.recv(1):
                        break
                except TimeoutError:
                    pass
                except ConnectionError:
                    break
            return time.monotonic() - began


def slow_callers_have_a_deadline():
    for lasted in slow.lasted:
        assert 28 < lasted.result() < 34, lasted.result()
    slow.provider.logged("its header did not come in time")
    slow.provider.logged("its parameters are incomplete")
    put(slow.at, "k", "v")
    slow.provider.end()


def a_caller_that_resets_is_not_waited_for():
    with Listener("http-echo", "--listen", "tcp:127.0.0.1:0") as p:
        call(p.addresses()[0], HTTP, "nope", b"")  # so that libuv has all that it wants
        for _ in range(20):
            s = connect(p.addresses()[0])
            s.sendall(header(HTTP, "handle") + frame(REQUEST) + frame(text("x" * 1000), (0, 0)))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            s.close()
        wait_for(f"no connections: {p.log()}", lambda: connections(p.addresses()[0]) == 0)


def an_answer_reaches_a_caller_that_still_sends():
    """Closing with unread bytes would reset the connection and destroy the answer."""
    at = unix()
    with Listener("keyvalue-memory", "--listen", at, "--listen", "tcp:127.0.0.1:0") as p:
        put(at, "k", "v" * 1000)
        for a in p.addresses():
            with connect(a) as s:
                s.sendall(header(STORE, "get") + frame(text("") + text("k")))
                time.sleep(0.05)  # it has answered
                try:
                    s.sendall(bytes(100000))
                except ConnectionError:
                    raise AssertionError("reset") from None
                assert len(channels(read_all(s))[()]) == 1004


# --- many ---


def many_connections_are_served():
    at = unix()
    with Listener("keyvalue-memory", "--listen", at, env=LEAN) as p:
        put(at, "k", "v")
        kib = []

        def some(_):
            return all(get(at, "k") == b"v" for _ in range(250))
        for _ in range(3):
            began = time.monotonic()
            with ThreadPoolExecutor(8) as pool:
                assert all(pool.map(some, range(16)))
            kib.append(p.memory_kib())
        print(f"# {4000 / (time.monotonic() - began):.0f} connections/s by Python")
        assert kib[2] < kib[1] + 500, kib


def idle_connections_are_bounded_by_descriptors_and_the_others_wait():
    at = unix()
    limit = 64

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with Listener("keyvalue-memory", "--listen", at, preexec_fn=few) as p:
        idle = [connect(at) for _ in range(limit + 20)]
        p.logged("connections cannot be accepted now; they wait")
        waiting = ThreadPoolExecutor(1).submit(get, at, "k")
        time.sleep(0.5)
        assert not waiting.done()
        with open(f"/proc/{p.process.pid}/stat", encoding="ascii") as f:
            before = sum(map(int, f.read().split()[13:15]))
        time.sleep(1)
        with open(f"/proc/{p.process.pid}/stat", encoding="ascii") as f:
            assert sum(map(int, f.read().split()[13:15])) - before < 20  # ticks of 10 ms: it does not spin
        for s in idle:
            s.close()
        assert waiting.result(5) is None
        assert p.log().count("connections cannot be accepted now") == 1, p.log()


def ten_thousand_idle_connections_cost_little():
    at = unix()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with Listener("keyvalue-memory", "--listen", at) as p:
        before = p.memory_kib()
        idle = []
        for _ in range(min(10000, most - 200)):
            idle.append(connect(at))
        put(at, "k", "v")
        each = (p.memory_kib() - before) / len(idle)
        print(f"# {each:.1f} KiB per idle connection")
        assert each < (8 if "san" not in str(BIN) else 30), each
        for s in idle:
            s.close()
        assert get(at, "k") == b"v"


# --- back-pressure ---


def a_reader_that_stops_stalls_the_sender_and_nothing_grows():
    """http-echo sends back what it gets; who does not read that cannot send for ever. Then all of it comes."""
    at = unix()
    with Listener("http-echo", "--listen", at, "--listen", "tcp:127.0.0.1:0", env=LEAN) as p:
        for a in p.addresses():
            total = 1 << 30
            chunk = leb(MIB) + bytes(range(256)) * (MIB // 256)
            piece = frame(chunk, (0, 0))
            sent = [0]
            with connect(a, 60) as s:
                s.sendall(header(HTTP, "handle") + frame(REQUEST))

                def send():
                    for _ in range(total // MIB):
                        s.sendall(piece)
                        sent[0] += 1
                    s.sendall(frame(b"\0", (0, 0)) + frame(b"\0", (0, 1)))
                    s.shutdown(socket.SHUT_WR)
                sender = threading.Thread(target=send, daemon=True)
                sender.start()
                last = -1
                while last != sent[0]:
                    last = sent[0]
                    time.sleep(0.5)
                assert last < 32, f"{last} MiB were taken though nobody reads"
                stalled = p.memory_kib()
                limit = 6000 if "san" not in str(BIN) else 60000
                assert stalled < limit, f"{stalled} KiB"
                got, most = 0, 0
                while data := s.recv(MIB):
                    got += len(data)
                    if got % 97 == 0:
                        most = max(most, p.memory_kib())
                sender.join()
                assert got > total, got
                assert max(most, p.memory_kib()) < limit, f"{most} KiB, {p.memory_kib()} KiB"
                print(f"# {a.split(':')[0]}: stalled after {last} MiB at {stalled} KiB, {most} KiB at most")


# --- ends ---


def what_runs_is_finished_at_sigterm():
    at = unix()
    p = Listener("http-echo", "--listen", at).ready()
    with connect(at) as s:
        s.sendall(header(HTTP, "handle") + frame(REQUEST) + frame(text("one"), (0, 0)))
        assert s.recv(1000)
        idle = connect(at)
        p.process.send_signal(signal.SIGTERM)
        wait_for("the socket file is gone", lambda: not os.path.exists(at[5:]))
        assert until_closed(idle) < 2  # it has not said what it wants
        s.sendall(frame(text("two") + b"\0", (0, 0)) + frame(b"\0", (0, 1)))
        s.shutdown(socket.SHUT_WR)
        rest = read_all(s)
        assert b"\3two" in rest and rest.endswith(frame(b"\0", (0, 1))), rest
        assert p.process.wait(5) == 0, p.log()
        assert "cut off" not in p.log(), p.log()


def calls_at_the_moment_of_sigterm_are_answered_or_refused():
    at = unix()
    for _ in range(5):
        p = Listener("keyvalue-memory", "--listen", at).ready()
        broken, answered, stop = [], [0], threading.Event()

        def work():
            while not stop.is_set():
                try:
                    s = connect(at)
                except (ConnectionError, FileNotFoundError):
                    return
                with s:
                    try:
                        s.sendall(header(STORE, "get") + frame(text("") + text("k")))
                        s.shutdown(socket.SHUT_WR)
                        got = channels(read_all(s))
                    except ConnectionError as e:
                        broken.append(repr(e))
                        return
                    if got != {(): b"\0\0"}:
                        broken.append(repr(got))
                    answered[0] += 1
        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads:
            t.start()
        wait_for("some answers", lambda: answered[0] > 50)
        p.process.terminate()
        assert p.process.wait(5) == 0
        stop.set()
        for t in threads:
            t.join()
        assert not broken, broken


def a_stale_socket_is_replaced_and_one_that_answers_is_not():
    at = unix()
    first = Listener("keyvalue-memory", "--listen", at).ready()
    assert stat.S_IMODE(os.stat(at[5:]).st_mode) == 0o660
    refused("in use: somebody answers there", "--listen", at)
    put(at, "k", "v")
    first.process.kill()
    first.process.wait()
    assert os.path.exists(at[5:])
    with Listener("keyvalue-memory", "--listen", at):
        put(at, "k", "v")
        # Another takes the path over by hand: it is not ours to remove then.
        os.unlink(at[5:])
        other = socket.socket(socket.AF_UNIX)
        other.bind(at[5:])
    assert os.path.exists(at[5:])
    other.close()
    plain = l.temporary_path("plain")
    with open(plain, "w", encoding="ascii"):
        pass
    refused("it is no socket", "--listen", "unix:" + plain)
    assert os.path.exists(plain)


def wrong_addresses_are_one_line():
    for text, address in (("unix:PATH or tcp:HOST:PORT expected", "/tmp/x"), ("PORT expected", "tcp:x"),
                          ("PORT expected", "tcp::1"), ("PORT expected", "tcp:x:"), ("PORT expected", "tcp:x:70000"),
                          ("PORT expected", "tcp:::1:80"), ("PORT expected", "unix:"), ("PORT expected", "udp:x:1"),
                          ("at most 107 expected", "unix:/" + "x" * 107), ("No such file", "unix:/nonexistent/x"),
                          ("Address already in use", "tcp:127.0.0.1:%d" % BUSY.getsockname()[1])):
        refused(text, "--listen", address)
    refused("WCP_LISTEN: ", env={"WCP_LISTEN": "x"})


slow = SlowCallers()
BUSY = socket.socket()
BUSY.bind(("127.0.0.1", 0))
BUSY.listen()

l.run([
    redis_is_served_without_nats_by_two_flags,
    a_secret_of_the_provider_is_one_of_the_link,
    several_addresses_are_one_provider,
    the_environment_tells_where_to_listen_too,
    a_host_name_is_resolved,
    callers_need_not_half_close,
    a_header_may_come_byte_by_byte,
    a_large_value_goes_both_ways,
    streams_go_both_ways_at_once,
    nats_and_sockets_are_served_by_one_process,
    garbage_is_dropped_and_nobody_suffers,
    a_caller_that_resets_is_not_waited_for,
    an_answer_reaches_a_caller_that_still_sends,
    many_connections_are_served,
    idle_connections_are_bounded_by_descriptors_and_the_others_wait,
    ten_thousand_idle_connections_cost_little,
    a_reader_that_stops_stalls_the_sender_and_nothing_grows,
    what_runs_is_finished_at_sigterm,
    calls_at_the_moment_of_sigterm_are_answered_or_refused,
    a_stale_socket_is_replaced_and_one_that_answers_is_not,
    wrong_addresses_are_one_line,
    slow_callers_have_a_deadline,
])
