#!/usr/bin/python3
"""test_call.py: wcp call against real providers, over NATS, Unix sockets and TCP. usage: test_call.py [NAME-PART]..."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lattice as l
from lattice import BIN, temporary_path, wait_for
from processes import ROOT, SANITIZED, accepts, start

WCP = BIN / "wcp"
WIT = str(ROOT / "tests/wit")
MIB = 1 << 20

nats = l.nats_server()
lattice = l.Lattice(nats.port, "default")
URL = f"nats://127.0.0.1:{nats.port}"
VEC_SOCKET, VEC_PORT = temporary_path("vec.sock"), l.free_port()


# libnats forgets the message that it was in the middle of when its connection is closed.
SUPPRESSIONS = temporary_path("suppressions")
with open(SUPPRESSIONS, "w", encoding="utf-8") as suppressions:
    suppressions.write("leak:natsBuf_Create\n")


def environment(**more):
    # Freed memory goes back at once, so that a sanitized wcp shows what it really needs.
    asan = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=0:thread_local_quarantine_size_kb=0"
    return {**os.environ, "WCP_NATS_URL": URL, "WCP_WIT": WIT, "ASAN_OPTIONS": asan,
            "LSAN_OPTIONS": f"suppressions={SUPPRESSIONS}:print_suppressions=0", **more}


def wcp(*words, data=b"", env=None, **options):
    p = subprocess.run([WCP, "call", *words], input=data, capture_output=True, timeout=120, env=env or environment(), **options)
    return p.returncode, p.stdout.decode(errors="replace"), p.stderr.decode(errors="replace")


def expect(words, status=0, out="", err="", **more):
    """All of the output; err is only a part of it, unless it is empty."""
    got = wcp(*words, **more)
    assert got[0] == status and got[1] == out and (err in got[2] if err else not got[2]), (words, got)


def standalone(name, *args):
    return start([BIN / name, "--log", "warn", *args], log=temporary_path(f"{name}.log"), env=l.ENVIRONMENT)


def ready(provider_id):
    wait_for(f"health of {provider_id}", lambda: subprocess.run(
        [WCP, "health", provider_id, "--timeout", "500"], env=environment(), capture_output=True).returncode == 0, 20)


vec = standalone("vec", "--nats", URL, "--provider-id", "vec", "--listen", f"unix:{VEC_SOCKET}", "--listen", f"tcp:127.0.0.1:{VEC_PORT}")
ready("vec")
OVER = {"NATS": ("vec",), "a Unix socket": ("--unix", VEC_SOCKET), "TCP": ("--tcp", f"127.0.0.1:{VEC_PORT}")}


def each_transport(test):
    """The test with the words that come before the function, for each transport."""
    def run():
        for words in OVER.values():
            test(words)
    run.__name__ = test.__name__
    return run


# --- values in and out ---


def values_go_there_and_come_back(over):
    expect([*over, "test:vec/api@0.1.0.add", "1", "2"], out="3\n")
    expect([*over, "test:vec/api.describe", '"Ann \\u{e9}"', "{y: -2, x: 1}", "true"], out='ok("Ann é at 1,-2!")\n')
    expect([*over, "api.describe", '""', "{x: 1, y: 1}", "false"], 1, out='err("no name")\n')
    expect([*over, "api.nothing"], out="")
    expect([*over, "echo.check", "0"], 1, out="err\n")
    expect([*over, "echo.check", "1"], out="ok\n")
    expect([*over, "test:vec/tests.ping", "{v: 4}"], out="4\n")  # directly in the world
    expect([*over, "api.blob-len", "[1, 2, 3]"], out="3\n")
    expect([*over, "api.blob-len", '"ab\\xff"'], out="3\n")
    expect([*over, "api.blob-len", "-"], out="5\n", data=b"hello")
    expect([*over, "api.blob-len", f"@{WIT}/test.wit"], out=f"{os.path.getsize(WIT + '/test.wit')}\n")
    expect([*over, "api.big-result", "3"], out="[0, 0, 0]\n")
    expect([*over, "api.big-result", "3", "--text"], out='"\\u{0}\\u{0}\\u{0}"\n')
    got = wcp(*over, "api.big-result", "3000000", "--text")
    assert got[0] == 0 and len(got[1]) == 5 * 3000000 + 3, (got[0], len(got[1]), got[2])


def an_answer_is_not_waited_out(over):
    began = time.monotonic()
    expect([*over, "api.add", "1", "2", "--timeout", "30000"], out="3\n")
    assert time.monotonic() - began < 10, "the answer was there, and yet it took the time of --timeout"


def resources_are_handles(over):
    status, handle, _ = wcp(*over, "api.counter", "5")
    assert status == 0 and handle.startswith('handle("'), handle
    expect([*over, "test:vec/api.counter.incr", handle.strip(), "3"], out="8\n")
    expect([*over, "api.use-counter", handle.strip()], out="8\n")
    status, other, _ = wcp(*over, "api.counter.make", "1")
    assert status == 0 and other.startswith('handle("') and other != handle, (other, handle)
    expect([*over, "api.counter.incr", "3"], 2, err='counter.incr: func(by: u32) -> u32\nThe first is the handle of the counter.')


# --- streams ---


def streams_go_in_from_everywhere(over):
    path = temporary_path("stream")
    with open(path, "wb") as f:
        f.write(b"\0\1" * 200000)
    expect([*over, "api.upload", '"n"', "@" + path], out="400000\n")
    expect([*over, "api.upload", '"n"', f'@"{path}"'], out="400000\n")
    expect([*over, "api.upload", '"n"', "-"], out="11\n", data=b"hello\nthere")
    expect([*over, "api.upload", '"n"', "-"], out="0\n")
    expect([*over, "api.upload", '"n"', "[1, 2, 3]"], out="3\n")
    expect([*over, "api.upload", '"n"', '"text"'], out="4\n")
    with open(path, "rb") as f:
        got = subprocess.run([WCP, "call", *over, "api.upload", '"n"', "-"], stdin=f, capture_output=True, env=environment(), timeout=60)
    assert got.stdout == b"400000\n", got
    expect([*over, "api.nums", "[1, 22]"], out='"#1"\n"#22"\n')
    expect([*over, "api.nums", "-"], out='"#1"\n"#2"\n"#3"\n', data=b"1\n 2 // two\n\n3")
    expect([*over, "echo.echo-stream", '[(1, "a"), (2, "b")]'], out='(1, "a")\n(2, "b")\n')
    expect([*over, "api.delay", "7"], out='"#7"\n')
    expect([*over, "api.delay", "-"], out='"#8"\n', data=b"\n 8\n")
    expect([*over, "echo.echo-moment", "()"], out="ok\n")


def streams_come_out_everywhere(over):
    expect([*over, "api.pipe", "-"], out="abc\n", data=b"abc\n")  # the result is nothing but that stream
    expect([*over, "api.take-rec", "{a: -, b: 6}"], out="abc", err="(6, @0.1)\n", data=b"abc")
    path = temporary_path("out")
    for option in (path, f"0.1={path}"):
        expect([*over, "api.take-rec", '{a: "xyz", b: 6}', "--out", option], out="(6, @0.1)\n")
        with open(path, "rb") as f:
            assert f.read() == b"xyz"
        os.unlink(path)
    expect([*over, "api.take-rec", '{a: "xyz", b: 6}', "--out", "-"], out="xyz", err="(6, @0.1)\n")
    expect([*over, "api.nums", "[1, 2]", "--out", path], out="")
    with open(path, "rb") as f:
        assert f.read() == b'"#1"\n"#2"\n'
    expect([*over, "api.take-rec", '{a: "x", b: 6}', "--out", "0.2=" + path], 2, err="--out 0.2=")
    expect([*over, "api.add", "1", "2", "--out", path], 2, err="the result has no such stream")
    expect([*over, "api.take-rec", '{a: "x", b: 6}', "--out", "/nowhere/x"], 2, err="/nowhere/x: No such file or directory")
    expect([*over, "api.pipe", '"longer"', "--out", path])
    expect([*over, "api.pipe", '"short"', "--out", path])
    with open(path, "rb") as f:
        assert f.read() == b"short"
    expect([*over, "api.pipe", '"text"', "--out", "/dev/full"], 3, err="/dev/full: No space left on device")
    status, out, err = wcp(*over, "api.fail-late", "100000")
    assert status == 3 and len(out) == 100000 and "the stream @0 of the result broke off: closed" in err, (status, len(out), err)


def streams_that_cannot_be_read_break_off(over):
    expect([*over, "api.nums", "-"], 2, err="the standard input, value 2:1:1: error: expected an integer", data=b"1\nx\n3\n")
    expect([*over, "api.upload", '"n"', "@/nowhere"], 2, err="/nowhere: No such file or directory")
    expect([*over, "api.upload", '"n"', "@/"], 3, err="/: Is a directory")
    expect([*over, "api.add", "1", "@/nowhere"], 2, err="/nowhere: No such file or directory")
    expect([*over, "api.upload", '"n"', "pending"], 2, err="a call needs what is in it")
    expect([*over, "api.delay", "-"], 2, err="expected an integer", data=b"x")


def http_is_called_by_hand():
    """A request with body and trailers, echoed: bytes on one side, everything else on the other."""
    echo = standalone("http-echo", "--nats", URL, "--provider-id", "echo", "--listen", f"unix:{temporary_path('echo.sock')}")
    ready("echo")
    request = '{body: -, trailers: [("t", ["1"])], method: post, path-with-query: "/x", headers: [("a", ["b", "c"])]}'
    for over in (("echo",), ("--unix", temporary_path("echo.sock"))):
        status, out, err = wcp(*over, "wrpc:http/incoming-handler.handle", request, data=b"body")
        assert (status, out) == (0, "body") and err.startswith("ok({body: @0.0, trailers: @0.1, status: 200, headers: [") \
            and "\n@0.1: " in err, (out, err)
        body = temporary_path("body")
        status, out, err = wcp(*over, "incoming-handler.handle", request, "--out", "0.0=" + body, "--text", data=b"body")
        assert status == 0 and out.startswith("ok({body: @0.0") and out.endswith("\n") and not err, (out, err)
        with open(body, "rb") as f:
            assert f.read() == b"body"
    echo.terminate()
    echo.wait()


# --- large streams ---


def peak_kib(p):
    """Of memory, until now; 0 if p has ended."""
    with open(f"/proc/{p.pid}/status", encoding="utf-8") as f:
        return next((int(line.split()[1]) for line in f if line.startswith("VmHWM")), 0)


# Sanitizers make a gigabyte take minutes, and add tens of MiB of their own.
LARGE = (300 if SANITIZED else 1024) * MIB
PEAK_KIB = (150 if SANITIZED else 40) * 1024


def download(over, size, *words, pauses=0):
    with subprocess.Popen([WCP, "call", *over, *words], stdout=subprocess.PIPE, env=environment()) as p:
        got = peak = parts = 0
        while data := p.stdout.read(MIB):
            got += len(data)
            parts += 1
            if parts % 20 == 0:
                peak = max(peak, peak_kib(p))
            if pauses and got > 10 * MIB:  # a reader that takes its time
                pauses -= 1
                time.sleep(0.2)
        p.wait()
    assert got == size and p.returncode == 0 and 0 < peak < PEAK_KIB, (got, p.returncode, peak)


def upload(over, size):
    with subprocess.Popen([WCP, "call", *over, "api.upload", '""', "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          env=environment()) as p:
        for _ in range(size // MIB):
            p.stdin.write(bytes(MIB))
        peak = peak_kib(p)
        p.stdin.close()
        out = p.stdout.read()
        p.wait()
    assert out == b"%d\n" % size and p.returncode == 0 and 0 < peak < PEAK_KIB, (out, p.returncode, peak)


def a_large_stream_moves_in_constant_memory():
    download(OVER["a Unix socket"], LARGE, "api.download", '""', str(LARGE), pauses=5)
    upload(OVER["a Unix socket"], LARGE)
    # NATS cuts off who is more than 64 MB behind, and cannot slow its senders down: less than that.
    download(OVER["NATS"], 32 * MIB, "api.download", '""', str(32 * MIB), pauses=5)
    upload(OVER["NATS"], 32 * MIB)


def a_large_stream_goes_through_a_provider_and_back():
    path, size = temporary_path("large"), LARGE
    with open(path, "wb") as f:
        f.truncate(size)
    download(OVER["a Unix socket"], size, "api.pipe", "@" + path)
    os.unlink(path)


def a_stream_keeps_its_bytes():
    data = os.urandom(20 * MIB)
    for over in (OVER["a Unix socket"], OVER["TCP"], OVER["NATS"]):
        path = temporary_path("random")
        with open(path, "wb") as f:
            f.write(data[:MIB if over == OVER["NATS"] else None])
        p = subprocess.run([WCP, "call", *over, "api.pipe", "@" + path], capture_output=True, env=environment(), timeout=120)
        want = data[:MIB] if over == OVER["NATS"] else data
        assert p.returncode == 0 and hashlib.sha256(p.stdout).digest() == hashlib.sha256(want).digest(), (over, p.returncode, p.stderr)


# --- how it ends ---


def nobody_answers():
    expect(["nobody", "store.get", '""', '"k"'], 3, err="nobody serves wrpc:keyvalue/store@0.2.0-draft.get as 'nobody' in lattice 'default'")
    expect(["vec", "api.not-served", "1"], 3, err="nobody serves test:vec/api@0.1.0.not-served as 'vec'")
    expect(["vec", "api.add", "1", "2", "--lattice", "other"], 3, err="in lattice 'other'")
    expect(["vec", "api.add", "1", "2", "--nats", "nats://127.0.0.1:1", "--timeout", "300"], 3, err="no connection to NATS within 300 ms")
    expect(["--unix", temporary_path("no.sock"), "api.add", "1", "2"], 3, err="no such file or directory")
    expect(["--unix", VEC_SOCKET, "api.not-served", "1"], 3, err=VEC_SOCKET)
    port = l.free_port()
    expect(["--tcp", f"127.0.0.1:{port}", "api.add", "1", "2"], 3,
           err=f"nobody serves test:vec/api@0.1.0.add at 127.0.0.1:{port}: connection refused")


def the_callee_breaks_off(over):
    expect([*over, "api.fail", "3"], 3, err="ended" if over[0] == "vec" else over[1])


def time_runs_out():
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as s:  # accepts, and says nothing
        path = temporary_path("mute.sock")
        s.bind(path)
        s.listen()
        expect(["--unix", path, "api.add", "1", "2", "--timeout", "400"], 3, err="timed out")
    lattice.nats.subscribe("default.mute.wrpc.0.0.1.test:vec/api@0.1.0.add", lambda m: None)
    lattice.nats.flush()
    expect(["mute", "api.add", "1", "2", "--timeout", "400"], 3, err="mute: timed out: nobody accepted it for 400 ms")
    assert time.monotonic() - began < 10


def the_connection_is_lost():
    other = l.nats_server()
    called = threading.Event()
    peer = l.Nats(other.port)
    peer.subscribe("default.mute.wrpc.0.0.1.test:vec/api@0.1.0.add", lambda m: called.set())
    peer.flush()
    p = subprocess.Popen([WCP, "call", "mute", "api.add", "1", "2"], stderr=subprocess.PIPE,
                         env=environment(WCP_NATS_URL=f"nats://127.0.0.1:{other.port}"))
    assert called.wait(10)
    other.kill()
    err = p.stderr.read()
    assert p.wait(10) == 3 and b"mute: closed: the connection to NATS was lost" in err, (p.returncode, err)


def interrupting_tells_the_peer(over):
    for sig, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        p = subprocess.Popen([WCP, "call", *over, "api.upload", '"n"', "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, env=environment())
        p.stdin.write(b"x" * 100000)
        p.stdin.flush()
        time.sleep(0.5)
        before = open(temporary_path("vec.log"), encoding="utf-8").read().count("the upload broke off")
        p.send_signal(sig)
        err = p.stderr.read()
        assert p.wait(10) == status and b"wcp: interrupted" in err, (p.returncode, err)
        wait_for("the provider hears of it", lambda: open(temporary_path("vec.log"), encoding="utf-8").read()
                 .count("the upload broke off") > before)


def a_reader_that_leaves_ends_the_call(over):
    p = subprocess.Popen([WCP, "call", *over, "api.download", '""', str(200 * MIB)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         env=environment())
    p.stdout.read(MIB)
    p.stdout.close()
    err = p.stderr.read()
    assert p.wait(20) == 3 and b"the standard output: Broken pipe" in err, (p.returncode, err)


def the_standard_streams_keep_blocking():
    """libuv makes what it watches non-blocking, for all who share it."""
    a, b = socket.socketpair()
    with a, b:
        p = subprocess.Popen([WCP, "call", *OVER["a Unix socket"], "api.pipe", "-"], stdin=b, stdout=b, env=environment())
        a.sendall(b"hello")
        assert a.recv(5) == b"hello" and os.get_blocking(b.fileno()) and os.get_blocking(a.fileno())
        a.shutdown(socket.SHUT_WR)
        assert p.wait(10) == 0


# --- links, names, usage ---


def a_provider_serves_who_is_linked():
    redis = l.redis_server()
    kv = lattice.provider("keyvalue-redis", "kv-redis")
    expect(["kv-redis", "store.get", '""', '"k"'], 3, err="perhaps it has no link 'default' from 'wcp'")
    for source, name in (("wcp", "default"), ("comp", "second")):
        kv.put(lattice.link(source, "kv-redis", {"URL": f"redis://127.0.0.1:{redis.port}"}, name, "wrpc:keyvalue"))
    kv.logged("comp")
    expect(["kv-redis", "store.set", '""', '"key"', '"some \\xff"'], out="ok\n")
    assert l.redis(redis.port, "GET", "key") == b"some \xff"
    expect(["kv-redis", "wrpc:keyvalue/store.get", '""', '"key"'], out="ok(some([115, 111, 109, 101, 32, 255]))\n")
    expect(["kv-redis", "store.get", '""', '"key"', "--text", "--source", "comp", "--name", "second"], out='ok(some("some \\xff"))\n')
    expect(["kv-redis", "store.get", '""', '"key"', "--source", "comp"], 3, err="no link 'default' from 'comp'")
    expect(["kv-redis", "store.get", '""', '"other"'], out="ok(none)\n")
    status, out, _ = wcp("kv-redis", "atomics.increment", '""', '"key"', "1")
    assert status == 1 and out.startswith('err(other("redis: the value is not a number'), (status, out)
    expect(["kv-redis", "store.list-keys", '""'], out='ok({keys: ["key"]})\n')  # an option at the end may be missing
    expect(["kv-redis", "store.list-keys", '""', "none"], out='ok({keys: ["key"]})\n')
    expect(["kv-redis", "batch.get-many", '""', '["key", "x"]', "--text"], out='ok([some(("key", "some \\xff")), none])\n')
    kv.terminate()
    kv.wait()


def providers_answer_on_sockets():
    kv = standalone("keyvalue-memory", "--listen", f"unix:{temporary_path('kv.sock')}")
    over = ("--unix", temporary_path("kv.sock"))
    wait_for("its socket", lambda: accepts(over[1]))
    expect([*over, "store.set", '""', '"k"', f"@{ROOT}/LICENSE"], out="ok\n")
    status, out, _ = wcp(*over, "store.get", '""', '"k"', "--text")
    assert status == 0 and "License" in out, out
    counter = standalone("counter", "--nats", URL, "--provider-id", "counter", "--listen", f"unix:{temporary_path('counter.sock')}")
    ready("counter")
    status, out, err = wcp("--unix", temporary_path("counter.sock"), "incoming-handler.handle",
                           '{body: [], trailers: none, method: get, path-with-query: "/c", headers: []}')
    assert status == 0 and "status: 50" in err and out, (status, out, err)  # it has no store
    for p in (kv, counter):
        p.terminate()
        p.wait()


def functions_are_found_by_name():
    for name, err in [
            ("foo", "wcp: 'foo' found, INTERFACE.FUNCTION expected; the interfaces are\n  test:vec/api@0.1.0\n"),
            ("test:vec/api.ad", "wcp: there is no function 'test:vec/api.ad'; test:vec/api@0.1.0 has\n  counter: constructor(start: u32)\n"),
            ("test:vec/api", "\n  add: func(a: u32, b: u32) -> u32\n"),
            ("test:vec/api@0.2.0.add", "INTERFACE.FUNCTION expected")]:
        expect(["vec", name, "1", "2"], 2, err=err)
    expect(["vec", "api.add", "1"], 2, err="wcp: 1 value found, 2 expected:\n  add: func(a: u32, b: u32) -> u32\n")
    expect(["vec", "api.add", "1", "2", "3"], 2, err="wcp: 3 values found, 2 expected")
    expect(["vec", "api.add", "1", "x"], 2, err="wcp: b:1:1: error: expected an integer from 0 to 4294967295, found 'x'\nx\n^\n")
    expect(["vec", "api.describe", '"n"', "{x: 1, y: 2, z: 3}", "true"], 2, err="wcp: p:1:14: error: expected a field: x, y, found 'z'")
    expect(["vec"], 2, err="FUNCTION is missing")
    expect(["a b", "api.add", "1", "2"], 2, err="ID: 'a b' found")
    expect(["--unix", "a", "--tcp", "b:1", "api.add", "1", "2"], 2, err="--unix and --tcp")
    expect(["--unix", "a", "--source", "b", "api.add", "1", "2"], 2, err="--source: a call over a socket comes without a link")
    expect(["--tcp", "here", "api.add", "1", "2"], 2, err="here")
    with open(temporary_path("two.wit"), "w", encoding="utf-8") as f:
        f.write("package a:b; interface i { f: func(); } package a:c { interface i { f: func(); } }")
    expect(["--unix", "a", "--wit", temporary_path("two.wit"), "i.f"], 2, err="'i.f' is a function of a:b/i and of a:c/i")


def the_wit_of_a_provider_is_enough():
    for wit in ("providers/keyvalue-redis/wit", "sdk/interfaces", "sdk/interfaces/wrpc-keyvalue", "sdk/interfaces/wrpc-keyvalue/keyvalue.wit"):
        expect(["nobody", "store.get", '""', '"k"', "--wit", str(ROOT / wit)], 3, err="nobody serves wrpc:keyvalue/store@0.2.0-draft.get")
    env = environment()
    del env["WCP_WIT"]
    expect(["nobody", "store.get", '""', '"k"'], 3, err="nobody serves", env=env)


if __name__ == "__main__":
    l.run([each_transport(values_go_there_and_come_back), each_transport(an_answer_is_not_waited_out), each_transport(resources_are_handles),
           each_transport(streams_go_in_from_everywhere), each_transport(streams_come_out_everywhere),
           each_transport(streams_that_cannot_be_read_break_off), http_is_called_by_hand,
           a_large_stream_moves_in_constant_memory, a_large_stream_goes_through_a_provider_and_back, a_stream_keeps_its_bytes,
           nobody_answers, each_transport(the_callee_breaks_off), time_runs_out, the_connection_is_lost, each_transport(interrupting_tells_the_peer),
           each_transport(a_reader_that_leaves_ends_the_call), the_standard_streams_keep_blocking,
           a_provider_serves_who_is_linked, providers_answer_on_sockets, functions_are_found_by_name,
           the_wit_of_a_provider_is_enough])
