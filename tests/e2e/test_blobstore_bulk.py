"""test_blobstore_bulk: 1 GiB to and from blobstore-fs in constant memory, over connections, which slow a sender down. usage:
test_blobstore_bulk.py [NAME-PART]..., BIN=dir, MIB=number."""

import os
import re
import sys
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../conformance/blobstore"), os.path.join(HERE, "../lib")]
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"  # freed is freed here
import lattice as l
from bulk import CHUNK, MEMORY_MAX, Chunks, Peak
from client import INSTANCE, MAX
from framed import Listener, connect, frame, header
from lattice import free_port, leb, temporary_path, text, wait_for

MIB = int(os.environ.get("MIB") or 1024)


def folder(name):
    path = temporary_path(name)
    os.mkdir(path)
    os.mkdir(path + "/c")
    return path


def read_frames(s, on_frame):
    file = s.makefile("rb", 1 << 20)

    def number():
        value = shift = 0
        while True:
            b = file.read(1)
            if not b:
                raise EOFError
            value |= (b[0] & 0x7f) << shift
            shift += 7
            if b[0] < 0x80:
                return value
    try:
        while True:
            path = [number() for _ in range(number())]
            on_frame(path, file.read(number()))
    except EOFError:
        pass


def open_files(admin):
    """As its admin port says: others cannot count the files of who is not dumpable."""
    with urllib.request.urlopen(f"http://{admin}/metrics", timeout=10) as answer:
        return int(re.search(r"^process_open_fds (\d+)$", answer.read().decode(), re.M).group(1))


def objects_of_any_size_take_constant_memory_both_ways():
    root, path, admin = folder("root"), temporary_path("blob.sock"), f"127.0.0.1:{free_port()}"
    with Listener("blobstore-fs", "--listen", "unix:" + path, "--config", "ROOT=" + root, "--admin", admin) as p:
        body = leb(len(CHUNK)) + CHUNK
        piece, got, size = frame(body, (1,)), [], MIB << 20
        began = time.monotonic()
        with Peak(p.process.pid) as up, connect("unix:" + path, 60) as s:
            s.sendall(header(INSTANCE, "write-container-data") + frame(text("c") + text("big") + b"\0"))
            for _ in range(size // len(CHUNK)):
                s.sendall(piece)
            s.sendall(frame(b"\0", (1,)))
            read_frames(s, lambda at, data: got.append((at, data)))
        uploaded = time.monotonic()
        assert got == [([], b"\0\0"), ([0], b"\0")], got
        assert os.path.getsize(root + "/c/big") == size
        down, rest = Chunks(), {}

        def on_frame(at, data):
            if at == [0, 0]:
                down.add(data)
            else:
                rest[tuple(at)] = rest.get(tuple(at), b"") + data
        with Peak(p.process.pid) as peak, connect("unix:" + path, 60) as s:
            s.sendall(header(INSTANCE, "get-container-data") + frame(text("c") + text("big") + leb(0) + leb(MAX)))
            read_frames(s, on_frame)
        assert down.count == size and down.ended and rest == {(): b"\0\0\0", (0, 1): b"\0"}, (down.count, rest)
        print(f"    {MIB} MiB: up {uploaded - began:.1f} s, down {time.monotonic() - uploaded:.1f} s; "
              f"anonymous memory at most {up.kib} and {peak.kib} KiB", flush=True)
        assert max(up.kib, peak.kib) < MEMORY_MAX
        files = open_files(admin)
        with connect("unix:" + path) as s:  # a reader that loses interest
            s.sendall(header(INSTANCE, "get-container-data") + frame(text("c") + text("big") + leb(0) + leb(MAX)))
            assert s.recv(1 << 20)
        wait_for("its file to be closed", lambda: open_files(admin) <= files)


def a_reader_keeps_the_object_that_it_began_with():
    root, path = folder("kept"), temporary_path("kept.sock")
    with Listener("blobstore-fs", "--listen", "unix:" + path, "--config", "ROOT=" + root) as p:
        with open(root + "/c/x", "wb") as f:
            f.write(CHUNK * 64)
        down = Chunks()
        with connect("unix:" + path, 60) as s:
            s.sendall(header(INSTANCE, "get-container-data") + frame(text("c") + text("x") + leb(0) + leb(MAX)))
            wait_for("the answer", lambda: s.recv(1, 2))  # MSG_PEEK
            with connect("unix:" + path, 60) as w:
                w.sendall(header(INSTANCE, "write-container-data") + frame(text("c") + text("x") + leb(3) + b"new"))
                read_frames(w, lambda at, data: None)
            with open(root + "/c/x", "rb") as f:
                assert f.read() == b"new"
            read_frames(s, lambda at, data: down.add(data) if at == [0, 0] else None)
        assert down.count == 64 * len(CHUNK) and down.ended
        assert p.process.poll() is None


l.run([objects_of_any_size_take_constant_memory_both_ways, a_reader_keeps_the_object_that_it_began_with])
