"""framed: wRPC over connections (wrpc.md §3), by hand: frames, and providers that listen."""

import os
import socket
import time
import uuid

from lattice import ENVIRONMENT, Reader, leb, text
from processes import BIN, start, temporary_path, wait_for

STORE = "wrpc:keyvalue/store@0.2.0-draft"


def header(instance, function):
    return b"\0" + text(instance) + text(function)


def frame(data, path=()):
    return leb(len(path)) + b"".join(leb(i) for i in path) + leb(len(data)) + data


def channels(data):
    """What came on each path; the bytes must be whole frames."""
    out, r = {}, Reader(data)
    while r.at < len(data):
        path = tuple(r.leb() for _ in range(r.leb()))
        out[path] = out.get(path, b"") + r.bytes()
    return out


def connect(address, timeout=10):
    kind, _, where = address.partition(":")
    if kind == "unix":
        s = socket.socket(socket.AF_UNIX)
        s.connect(where)  # while it blocks: with a time limit it would fail when too many wait to be accepted
        s.settimeout(timeout)
        return s
    host, _, port = where.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout)


def read_all(s):
    out = b""
    while True:
        data = s.recv(65536)
        if not data:
            return out
        out += data


def call(address, instance, function, params, half_close=True):
    """The result's bytes."""
    with connect(address) as s:
        s.sendall(header(instance, function) + frame(params))
        if half_close:
            s.shutdown(socket.SHUT_WR)
        return channels(read_all(s)).get((), b"")


class Listener:
    """A provider that listens, without NATS if none is told."""

    def __init__(self, name, *args, env=None, **options):
        self.log_path = temporary_path(f"{name}-{uuid.uuid4().hex[:6]}.log")
        self.process = start([BIN / name, *args], None, self.log_path, env={**ENVIRONMENT, **(env or {})}, **options)

    def ready(self):
        def is_ready():
            assert self.process.poll() is None, self.log()
            return '"msg":"ready"' in self.log()
        wait_for(f"ready: {self.log()}", is_ready)
        return self

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def logged(self, text, seconds=5):
        wait_for(f"{text} in {self.log()}", lambda: text in self.log(), seconds)

    def addresses(self):
        """Where it listens, as it says."""
        return [line.split('listening on ')[1].split('"')[0] for line in self.log().splitlines()
                if "listening on " in line]

    def end(self):
        """SIGTERM; it must leave in good order."""
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(20)
        assert status == 0, f"ended with {status}: {self.log()[-3000:]}"
        assert "Sanitizer" not in self.log(), self.log()

    def __enter__(self):
        return self.ready()

    def __exit__(self, kind, value, trace):
        if kind:
            self.process.kill()
            print("# " + "\n# ".join(self.log().splitlines()[-15:]), flush=True)
        else:
            self.end()

    def memory_kib(self):
        with open(f"/proc/{self.process.pid}/smaps_rollup", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("Anonymous:"))

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def until_closed(s, seconds=5):
    """Reads until the peer closes or resets; how long that took."""
    began = time.monotonic()
    s.settimeout(seconds)
    try:
        while s.recv(65536):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - began
