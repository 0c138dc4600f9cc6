"""client: every function of wrpc:blobstore/blobstore@0.2.0, called over NATS as a 1.9 host does, with streams both ways."""

import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../lib"))
from lattice import Incomplete, Reader, leb, text
from nats import NoResponders, Timeout

INSTANCE = "wrpc:blobstore/blobstore@0.2.0"
MAX = 2**64 - 1


class StoreError(Exception):
    """The interface's error."""


class BrokenOff(Exception):
    """A stream or a future ended before it was whole."""


class Running:
    """A call whose channels are collected: "" is the result, "0.0" the stream in it, which on_chunk gets instead."""

    def __init__(self, lattice, target, function, params, source, link, timeout, on_chunk=None):
        self.nats, self.what, self.timeout = lattice.nats, function, timeout
        self.changed, self.reply, self.refused = threading.Condition(), None, False
        self.data, self.ended, self.on_chunk = {}, set(), on_chunk
        self.subject, self.stop = self.nats.listen(self._on_message)
        self.nats.publish(f"{lattice.name}.{target}.wrpc.0.0.1.{INSTANCE}.{function}", params, self.subject,
                          {"source-id": source, "link-name": link})

    def _on_message(self, m):
        with self.changed:
            if m.subject == self.subject:
                self.refused |= m.status == 503
                if m.reply and not self.reply:
                    self.reply = m.reply
                    self.nats.publish(m.reply + ".params")
            elif m.subject.startswith(self.subject + ".results"):
                channel = m.subject[len(self.subject) + len(".results"):].lstrip(".")
                if channel in self.ended:
                    return
                if not m.data:
                    self.ended.add(channel)
                elif channel == "0.0" and self.on_chunk:
                    self.on_chunk(m.data)
                else:  # a result may come again, until it is known to be heard: only the first is read
                    self.data.setdefault(channel, bytearray()).extend(m.data)
            self.changed.notify_all()

    def until(self, what, condition):
        with self.changed:
            if not self.changed.wait_for(lambda: self.refused or condition(), self.timeout):
                raise Timeout(f"{self.what}: {what} is not there within {self.timeout} s")
            if self.refused:
                raise NoResponders(self.what)

    def value(self, channel, read):
        """One value of a channel; read(Reader) raises IndexError while it is not whole."""
        got = []

        def is_whole():
            if channel == "0.0" and channel not in self.ended:
                return False  # its end comes behind the empty chunk
            try:
                r = Reader(bytes(self.data.get(channel, b"")))
                got[:] = [(read(r), r)]
            except IndexError:
                return channel in self.ended
            return True
        self.until(f"a value on '{channel}'", is_whole)
        if not got:
            raise Incomplete(f"{self.what}: the end of '{channel}' without a value")
        return got[0]

    def send(self, data):
        """A piece of the stream that is parameter 1."""
        self.until("the accept", lambda: self.reply)
        size = self.nats.info["max_payload"] - 64
        for at in range(0, len(data), size):
            piece = data[at:at + size]
            self.nats.publish(self.reply + ".params.1", leb(len(piece)) + piece)

    def end(self, cut=False):
        if not cut:
            self.nats.publish(self.reply + ".params.1", b"\0")
        self.nats.publish(self.reply + ".params.1")


def outcome(ok):
    """Reads result<ok, string>; its error is an exception."""
    def read(r):
        if r.byte():
            raise StoreError(r.text())
        return ok(r)
    return read


def nothing(r):
    return None


def chunks(r, item):
    """A stream's elements, in chunks up to the empty one; bytes (item None) as a list of pieces."""
    out = []
    while n := r.leb():
        if item is None:
            out.append(r.data[r.at:r.at + n])
            r.at += n
        else:
            out += [item(r) for _ in range(n)]
        if r.at > len(r.data):
            raise IndexError
    return out


class Upload:
    """write-container-data, answered or not yet."""

    def __init__(self, running):
        self.running, self.status_is_inline = running, None
        self.send, self.end = running.send, running.end

    def answer(self):
        """The answer; the data may all come after it."""
        pending, r = self.running.value("", outcome(Reader.byte))
        self.status_is_inline = r if pending else None
        return self

    def status(self):
        self.answer()
        try:
            if self.status_is_inline:
                outcome(nothing)(self.status_is_inline)
            else:
                self.running.value("0", outcome(nothing))
        except Incomplete as e:
            raise BrokenOff(str(e)) from e
        finally:
            self.running.stop()


class Client:
    """The calls of a component over one link."""

    def __init__(self, lattice, target, source="comp", link="default", timeout=30):
        self.lattice, self.target, self.source, self.link, self.timeout = lattice, target, source, link, timeout

    def start(self, function, *params, on_chunk=None):
        return Running(self.lattice, self.target, function, b"".join(params), self.source, self.link, self.timeout, on_chunk)

    def call(self, function, ok, *params):
        running = self.start(function, *params)
        try:
            return running.value("", outcome(ok))[0]
        finally:
            running.stop()

    def clear(self, name):
        self.call("clear-container", nothing, text(name))

    def exists(self, name):
        return self.call("container-exists", lambda r: r.byte() == 1, text(name))

    def create(self, name):
        self.call("create-container", nothing, text(name))

    def delete_container(self, name):
        self.call("delete-container", nothing, text(name))

    def container_info(self, name):
        """created-at"""
        return self.call("get-container-info", Reader.leb, text(name))

    def copy(self, container, name, to_container, to_name):
        self.call("copy-object", nothing, *map(text, (container, name, to_container, to_name)))

    def move(self, container, name, to_container, to_name):
        self.call("move-object", nothing, *map(text, (container, name, to_container, to_name)))

    def delete(self, container, name):
        self.call("delete-object", nothing, text(container), text(name))

    def delete_many(self, container, names):
        self.call("delete-objects", nothing, text(container), leb(len(names)), *map(text, names))

    def info(self, container, name):
        """created-at, size"""
        return self.call("get-object-info", lambda r: (r.leb(), r.leb()), text(container), text(name))

    def has(self, container, name):
        return self.call("has-object", lambda r: r.byte() == 1, text(container), text(name))

    def upload(self, container, name):
        """Starts write-container-data; send() and end() the data."""
        return Upload(self.start("write-container-data", text(container), text(name), b"\0"))

    def write(self, container, name, data, pieces=None):
        up = self.upload(container, name)
        up.answer()
        for piece in pieces or ([data] if data else []):
            up.send(piece)
        up.end()
        up.status()

    def _stream(self, running, item):
        """The elements of stream 0.0, after which status 0.1 must be ok."""
        def answer(r):
            """What is inline: the stream (None: it follows), and whether the status follows."""
            n = r.leb()
            if n and item is None:
                r.at += n
                if r.at > len(r.data):
                    raise IndexError
            inline = None if not n else [r.data[r.at - n:r.at]] if item is None else [item(r) for _ in range(n)]
            follows = r.byte() == 0
            if not follows:
                outcome(nothing)(r)
            return inline, follows
        try:
            out, follows = running.value("", outcome(answer))[0]
            broken = None
            if out is None:
                try:
                    out = running.value("0.0", lambda r: chunks(r, item))[0]
                except Incomplete as e:
                    broken = BrokenOff(str(e))
            if follows:
                running.value("0.1", outcome(nothing))
            if broken:
                raise broken
            return out
        finally:
            running.stop()

    def read(self, container, name, start=0, end=MAX):
        running = self.start("get-container-data", text(container), text(name), leb(start), leb(end))
        return b"".join(self._stream(running, None))

    def list(self, container, limit=None, offset=None):
        def option(n):
            return b"\0" if n is None else b"\1" + leb(n)
        running = self.start("list-container-objects", text(container), option(limit), option(offset))
        return self._stream(running, Reader.text)
