"""test_stream: 1 GiB through a provider (http-echo) in constant memory; a quarter of it with sanitizers. usage:
test_stream.py [NAME-PART]..., BIN=dir, MIB=number."""

import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"  # freed is freed here
import lattice as e2e
from bulk import CHUNK, Chunks
from lattice import leb, text, wait_for
from processes import SANITIZED

MIB = int(os.environ.get("MIB") or (256 if SANITIZED else 1024))
WINDOW = 4 << 20  # sent and not echoed yet: NATS itself cannot slow a sender down
GROWTH_MAX = 16 << 10  # KiB; the window, twice, with room for how allocators round
HEAD = b"\0\0" + leb(2) + b"\1" + text("/") + b"\0" + b"\1" + text("localhost") + leb(0)  # both streams pending; POST


def memory_kib(pid, what):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(what + ":"))


def grew(pid, before):
    peak = memory_kib(pid, "VmHWM")
    print(f"    {MIB} MiB: resident memory was {before} KiB before, at most {peak} KiB", flush=True)
    assert peak - before < GROWTH_MAX, f"{peak - before} KiB more than before"


def a_stream_over_nats_takes_constant_memory():
    nats = e2e.nats_server()
    lattice = e2e.Lattice(nats.port)
    p = lattice.provider("http-echo", "ECHO")
    echoed, changed, accepted = Chunks(), threading.Condition(), []

    def on_message(m):
        with changed:
            if m.subject == rc and m.reply and not accepted:
                accepted.append(m.reply)
            elif m.subject == rc + ".results.0.0":
                echoed.add(m.data)
            changed.notify()

    rc, _ = lattice.nats.listen(on_message)
    before = memory_kib(p.process.pid, "VmRSS")
    lattice.nats.publish("test.ECHO.wrpc.0.0.1.wrpc:http/incoming-handler@0.1.0.handle", HEAD, rc)
    wait_for("the accept", lambda: accepted)
    rs, sent = accepted[0] + ".params", 0
    lattice.nats.publish(rs)
    for _ in range(MIB << 20 >> 18):
        with changed:
            assert changed.wait_for(lambda: sent - echoed.count < WINDOW, 20), f"{echoed.count} of {sent} came back"
        lattice.nats.publish(rs + ".0.0", leb(len(CHUNK)) + CHUNK)
        sent += len(CHUNK)
    lattice.nats.publish(rs + ".0.0", b"\0")
    lattice.nats.publish(rs + ".0.0")
    with changed:
        assert changed.wait_for(lambda: echoed.ended, 20), f"{echoed.count} of {sent} came back"
    assert echoed.count == sent
    grew(p.process.pid, before)
    p.terminate()
    assert p.wait() == 0


def a_stream_over_a_socket_takes_constant_memory_however_slow_its_reader():
    path = e2e.temporary_path("echo.sock")
    p = e2e.start([e2e.BIN / "http-echo", "--listen", "unix:" + path], log=e2e.temporary_path("echo.log"))
    s = socket.socket(socket.AF_UNIX)
    wait_for("the socket", lambda: s.connect_ex(path) == 0)
    before = memory_kib(p.pid, "VmRSS")
    s.settimeout(20)
    body = leb(len(CHUNK)) + CHUNK
    frame = leb(2) + leb(0) + leb(0) + leb(len(body)) + body
    sent = [0]

    def send():
        s.sendall(b"\0" + text("wrpc:http/incoming-handler@0.1.0") + text("handle") + b"\0" + text(HEAD))
        for _ in range(MIB << 20 >> 18):
            s.sendall(frame)
            sent[0] += len(CHUNK)
        s.sendall(b"\2\0\0\1\0\2\0\1\2\1\0")  # the body's end; trailers: none
        s.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    wait_for("the sender to be held up", lambda: sent[0] and (sent[0], time.sleep(0.5))[0] == sent[0])
    held = sent[0]
    file = s.makefile("rb", 1 << 20)

    def number():
        value = shift = 0
        while (b := file.read(1)[0]) > 0x7f:
            value |= (b & 0x7f) << shift
            shift += 7
        return value | b << shift

    echoed = Chunks()
    while not echoed.ended:
        frame_path = [number() for _ in range(number())]
        data = file.read(number())
        if frame_path == [0, 0]:
            echoed.add(data)
    sender.join(20)
    assert echoed.count == sent[0] == MIB << 20, (echoed.count, sent[0])
    print(f"    held up after {held >> 10} KiB", flush=True)
    assert held < 8 << 20
    grew(p.pid, before)
    p.terminate()
    assert p.wait(5) == 0


e2e.run([a_stream_over_nats_takes_constant_memory,
         a_stream_over_a_socket_takes_constant_memory_however_slow_its_reader])
