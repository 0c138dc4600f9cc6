"""bulk: a lot of bytes that tell where they belong (CHUNK over and over), and what they cost in memory."""

import threading

from lattice import Reader
from processes import SANITIZED, anonymous_kib

CHUNK = bytes(i * 31 % 251 for i in range(256 << 10))
MEMORY_MAX = (160 if SANITIZED else 64) << 10  # KiB, anonymous; sanitizers need some themselves


class Chunks:
    """The bytes of a stream<u8> channel, checked against CHUNK over and over, and counted; not kept."""

    def __init__(self):
        self.rest, self.count, self.ended = b"", 0, False

    def add(self, data):
        self.rest += data
        while self.rest and not self.ended:
            r = Reader(self.rest)
            try:
                got = r.bytes()
            except IndexError:
                return  # the rest of the chunk has not come
            self.rest, self.ended = self.rest[r.at:], not got
            while got:
                place = self.count % len(CHUNK)
                n = min(len(got), len(CHUNK) - place)
                assert got[:n] == CHUNK[place:place + n], f"other bytes at {self.count}"
                self.count, got = self.count + n, got[n:]


class Peak:
    """The most anonymous memory of a process while this is open."""

    def __init__(self, pid):
        self.pid, self.kib, self.over = pid, 0, threading.Event()
        self.thread = threading.Thread(target=self._watch)

    def _watch(self):
        while not self.over.wait(0.02):
            self.kib = max(self.kib, anonymous_kib(self.pid))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
