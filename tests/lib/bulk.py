"""bulk: a lot of bytes that tell where they belong: CHUNK over and over."""

from lattice import Reader

CHUNK = bytes(i * 31 % 251 for i in range(256 << 10))


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
