#!/usr/bin/python3
"""test_record.py: wcp record and wcp replay: real providers, a real nats-server, and callers whose messages are given."""
import os
import signal
import stat
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lattice
from lattice import leb, text

WCP = lattice.BIN / "wcp"
STORE = "wrpc:keyvalue/store@0.2.0-draft"
nats = lattice.nats_server()
l = lattice.Lattice(nats.port, "default")
os.environ["WCP_NATS_URL"] = f"nats://127.0.0.1:{nats.port}"
# The types are not known, and bytes compared, where --wit does not say otherwise.
OTHER_WIT = lattice.temporary_path("other.wit")
with open(OTHER_WIT, "w", encoding="utf-8") as f:
    f.write("package other:other;\ninterface other { other: func(); }\n")
os.environ["WCP_WIT"] = OTHER_WIT
LINK = l.link("comp", "kv")


def wcp(*words, timeout=60):
    return subprocess.run([WCP, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout)


class Recorder:
    """wcp record, which listens when this returns."""

    def __init__(self, provider_id, *words):
        self.file = lattice.temporary_path(f"{provider_id}-{time.monotonic_ns()}.wcprec")
        self.process = subprocess.Popen([WCP, "record", provider_id, "-o", self.file, *map(str, words)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, **lattice.APART)
        lattice.started.append(self.process)
        self.first = self.process.stdout.readline()

    def stop(self, signal_=signal.SIGINT):
        """(status, what it printed)"""
        if signal_:
            self.process.send_signal(signal_)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out + err

    def calls(self):
        return decode(open(self.file, "rb").read())


def unpack(data, at=0):
    """One MessagePack value and where it ends; what recordings are made of."""
    b = data[at]
    at += 1

    def number(n):
        return int.from_bytes(data[at:at + n], "big"), at + n

    def pairs(count, at):
        out = []
        for _ in range(count):
            k, at = unpack(data, at)
            v, at = unpack(data, at)
            out.append((k, v))
        return out, at
    if b < 0x80:
        return b, at
    if b < 0x90:
        return pairs(b & 0x0f, at)
    if 0xa0 <= b < 0xc0:
        return data[at:at + (b & 0x1f)].decode(), at + (b & 0x1f)
    if b in (0xc4, 0xc5, 0xc6, 0xd9, 0xda, 0xdb):
        n, at = number(1 << (b - 0xc4 if b < 0xd0 else b - 0xd9))
        return (data[at:at + n] if b < 0xd0 else data[at:at + n].decode()), at + n
    if 0xcc <= b <= 0xcf:
        return number(1 << (b - 0xcc))
    if b in (0xde, 0xdf):
        n, at = number(2 << (b - 0xde))
        return pairs(n, at)
    raise ValueError(f"0x{b:02x} at {at - 1}")


def decode(data):
    """(head, calls) in the order of the file, maps as dicts."""
    out, at = [], 0
    while at < len(data):
        pairs, at = unpack(data, at)
        out.append({k: dict(v) if isinstance(v, list) else v for k, v in pairs})
    return out[0], out[1:]


def pack(value):
    if isinstance(value, int):
        return b"\xcf" + value.to_bytes(8, "big")
    if isinstance(value, bytes):
        return b"\xc6" + len(value).to_bytes(4, "big") + value
    if isinstance(value, str):
        return b"\xdb" + len(value.encode()).to_bytes(4, "big") + value.encode()
    return b"\xdf" + len(value).to_bytes(4, "big") + b"".join(pack(k) + pack(v) for k, v in value.items())


def write_recording(calls, **head):
    path = lattice.temporary_path(f"made-{time.monotonic_ns()}.wcprec")
    with open(path, "wb") as f:
        f.write(pack({"wcp-recording": 1, "tool": "test", "lattice": "default", "id": "kv", "time_us": 1, **head}))
        for number, call in enumerate(calls, 1):
            f.write(call if isinstance(call, bytes) else pack({
                "call": number, "function": STORE + ".get", "time_us": 1, "answer_us": 100,
                "headers": {"source-id": "comp", "link-name": "default"}, "params": b"", "params_channels": {},
                "results": b"", "results_channels": {}, "ended": "complete", **call}))
    return path


def store(target, function, *params, **options):
    return l.call(target, STORE, function, text("") + b"".join(params), **options)


def drive(target):
    store(target, "set", text("one"), text("1"))
    store(target, "get", text("one"))
    store(target, "get", text("two"))
    store(target, "exists", text("one"))
    store(target, "delete", text("one"))
    store(target, "get", text("one"))


def a_provider_is_recorded_and_replayed():
    kv = l.provider("keyvalue-memory", "kv", [LINK])
    r = Recorder("kv")
    assert "recording the calls of 'kv' in lattice 'default'" in r.first, r.first
    assert stat.S_IMODE(os.stat(r.file).st_mode) == 0o600
    drive("kv")
    status, out = r.stop()
    assert status == 0 and "6 calls in" in out and "6 complete" in out, (status, out)
    head, calls = r.calls()
    assert (head["wcp-recording"], head["id"], head["lattice"]) == (1, "kv", "default"), head
    calls.sort(key=lambda c: c["call"])
    assert [c["function"].rsplit(".", 1)[1] for c in calls] == ["set", "get", "get", "exists", "delete", "get"], calls
    assert calls[1]["results"] == b"\0\1" + text("1") and calls[2]["results"] == b"\0\0", calls
    assert calls[0]["params"] == text("") + text("one") + text("1"), calls[0]
    assert calls[0]["headers"] == {"source-id": "comp", "link-name": "default"}, calls[0]
    assert all(c["answer_us"] > 0 and abs(c["time_us"] / 1e6 - time.time()) < 60 for c in calls), calls

    # to another one that is new, and so has the same state
    new = l.provider("keyvalue-memory", "new", [l.link("comp", "new")])
    r2 = wcp("replay", r.file, "--to", "new")
    assert r2.returncode == 0 and "6 same, 0 different" in r2.stdout and "now:" in r2.stdout, (r2.stdout, r2.stderr)
    store("new", "set", text("two"), text("2"))
    r2 = wcp("replay", r.file, "--to", "new")
    assert r2.returncode == 1 and "5 same, 1 different" in r2.stdout, r2
    line = r2.stdout.splitlines()[0]
    assert line == f"call 3 {STORE}.get: results differ at byte 1: 00 recorded, 010132 came (2 and 4 bytes in all)", line
    r2 = wcp("replay", r.file, "--to", "new", "--wit", lattice.ROOT / "sdk/interfaces")
    line = r2.stdout.splitlines()[0]
    assert r2.returncode == 1 and line == f'call 3 {STORE}.get: ok(none) recorded, ok(some("2")) came', (line, r2.stderr)
    # another source has no link: those calls fail where an answer was recorded
    r2 = wcp("replay", r.file, "--to", "new", "--source", "stranger", "--only", "exists")
    assert r2.returncode == 1 and "an answer recorded, the end without an answer came" in r2.stdout, r2
    # only some
    r2 = wcp("replay", r.file, "--to", "new", "--only", "store@0.2.0-draft.get", "--concurrency", "4")
    assert "1 same, 2 different" in r2.stdout, r2  # nothing sets "one" any more
    r2 = wcp("replay", r.file, "--to", "new", "--only", "et")
    assert "0 same, 0 different" in r2.stdout, r2
    new.terminate()
    new.wait()
    began = time.monotonic()
    r2 = wcp("replay", r.file, "--to", "new", "--timeout", "5000")
    assert r2.returncode == 3 and "nobody serves it for 'new'" in r2.stdout and "6 not sent" in r2.stdout, r2
    assert time.monotonic() - began < 3
    assert len(r2.stdout.splitlines()) == 5, r2.stdout  # a line per function, and the sum
    kv.terminate()
    kv.wait()
    r3 = wcp("record", "kv", "-o", r.file)
    assert r3.returncode == 1 and "File exists" in r3.stderr and "--output" in r3.stderr, r3


def streams_are_recorded_and_replayed():
    echo = l.provider("http-echo", "echo", [l.link("front", "echo", package="wasi:http", interfaces=["incoming-handler"])])
    r = Recorder("echo")
    parts = [os.urandom(70000), b"x", b"yz" * 3000]
    request = (b"\0\0" + b"\2" + b"\1" + text("/a") + b"\1\0" + b"\1" + text("h") + b"\0")
    # body and trailers are pending, and come in chunks
    done, channels = threading.Event(), {}

    def on_message(m):
        if m.subject == reply and m.reply and not channels.get("accepted"):
            channels["accepted"] = m.reply
            for p in parts:
                l.nats.publish(m.reply + ".params.0.0", leb(len(p)) + p)
            l.nats.publish(m.reply + ".params.0.0", b"\0")
            l.nats.publish(m.reply + ".params.0.0")
            l.nats.publish(m.reply + ".params.0.1", b"\0")
            l.nats.publish(m.reply + ".params.0.1")
            l.nats.publish(m.reply + ".params")
        elif m.subject.startswith(reply + ".results"):
            channels[m.subject] = channels.get(m.subject, b"") + m.data
            if not m.data and m.subject.endswith(".results.0.0"):
                done.set()
    reply, end = l.nats.listen(on_message)
    l.nats.publish("default.echo.wrpc.0.0.1.wrpc:http/incoming-handler@0.1.0.handle", request, reply,
                   {"source-id": "front", "traceparent": "00-1-2-03"})
    assert done.wait(10), channels.keys()
    end()
    status, out = r.stop()
    assert status == 0 and "1 complete" in out, out
    _, (call,) = r.calls()
    body = call["params_channels"]["0.0"]
    assert body == b"".join(leb(len(p)) + p for p in parts) + b"\0", len(body)
    assert call["headers"]["traceparent"] == "00-1-2-03", call["headers"]
    assert sum(len(p) for p in parts) <= len(call["results_channels"]["0.0"]), call["results_channels"].keys()
    r2 = wcp("replay", r.file, "--to", "echo", "--source", "front")
    assert r2.returncode == 0 and "1 same" in r2.stdout, (r2.stdout, r2.stderr)
    # one byte of the body is another
    head, calls = r.calls()
    was = calls[0]["results_channels"]["0.0"]
    at = len(was) // 2
    calls[0]["results_channels"]["0.0"] = was[:at] + bytes([was[at] ^ 1]) + was[at + 1:]
    r2 = wcp("replay", write_recording(calls), "--to", "echo")
    assert r2.returncode == 1 and "channel 0.0 differs at byte" in r2.stdout, (r2.stdout, r2.stderr)
    r2 = wcp("replay", write_recording(calls), "--to", "echo", "--wit", lattice.ROOT / "sdk/interfaces")
    assert r2.returncode == 1 and "the values of 0.0 differ at byte" in r2.stdout, (r2.stdout, r2.stderr)
    # the same in other chunks, and with other trailers
    joined = b"".join(parts)
    calls[0]["results_channels"] = {"0.0": leb(5) + joined[:5] + leb(len(joined) - 5) + joined[5:] + b"\0", "0.1": b"\0"}
    for words in ((), ("--wit", lattice.ROOT / "sdk/interfaces")):
        r2 = wcp("replay", write_recording(calls), "--to", "echo", *words)
        assert r2.returncode == 0 and "1 same" in r2.stdout, (r2.stdout, r2.stderr)
    r2 = wcp("replay", write_recording(calls), "--to", "echo", "--wit", OTHER_WIT)
    assert "is not in" in r2.stderr and "compared as bytes" in r2.stderr, r2
    echo.terminate()
    echo.wait()


class Wire:
    """A caller and a provider whose every message is given."""

    def __init__(self, provider_id):
        self.prefix = f"default.{provider_id}.wrpc.0.0.1."
        self.n = lattice.Nats(nats.port)
        self.count = 0

    def begin(self, function="a:b/c.d", params=b"p", inbox="_INBOX", rs=None):
        self.count += 1
        rc, rs = f"{inbox}.caller.{id(self)}.{self.count}", rs or f"{inbox}.server.{id(self)}.{self.count}"
        self.n.publish(self.prefix + function, params, rc)
        self.n.publish(rc, b"", rs)
        return rc, rs

    def send(self, *messages):
        for subject, data in messages:
            self.n.publish(subject, data)
        self.n.flush()


def repeats_are_not_recorded_twice():
    w = Wire("w1")
    r = Recorder("w1", "--count", 4)
    rc, rs = w.begin()
    w.send((rc + ".results", b"\0same"))
    w.n.publish(rc, b"", rs)
    w.send((rc + ".results", b"\0same"))
    w.n.publish(rc, b"", rs)
    w.send((rc + ".results", b"\0same"), (rs + ".params", b""), (rc + ".results", b""), (rc + ".results", b"late"))
    # two messages that are the same, without an accept between them, are two
    rc, rs = w.begin()
    w.send((rs + ".params", b"q"), (rs + ".params", b""), (rc + ".results", b"\0a"), (rc + ".results", b"\0a"), (rc + ".results", b""))
    # an accept repeated before the result changes nothing
    rc, rs = w.begin()
    w.n.publish(rc, b"", rs)
    w.send((rc + ".results", b"\0b"), (rc + ".results", b"\0b"), (rc + ".results", b""), (rs + ".params", b""))
    # the ends of an empty stream are repeated by clients of ours
    rc, rs = w.begin()
    w.send((rs + ".params.0", b"\0"), (rs + ".params.0", b""), (rs + ".params.0", b"\0"), (rs + ".params.0", b""),
           (rs + ".params", b""), (rc + ".results", b"\0"), (rc + ".results", b""))
    status, out = r.stop(None)
    assert status == 0 and "4 complete" in out, out
    calls = sorted(r.calls()[1], key=lambda c: c["call"])
    assert [c["results"] for c in calls] == [b"\0same", b"\0a\0a", b"\0b\0b", b"\0"], calls
    assert [c["params"] for c in calls] == [b"p", b"pq", b"p", b"p"], calls
    assert calls[3]["params_channels"] == {"0": b"\0"}, calls[3]


def how_calls_end_is_recorded():
    w = Wire("w2")
    r = Recorder("w2", "--max-bytes", 1000)
    rc, rs = w.begin()  # too large, in the result
    w.send((rs + ".params", b""), (rc + ".results", b"x" * 600), (rc + ".results", b"y" * 600), (rc + ".results", b""))
    rc, rs = w.begin(params=b"x" * 1001)  # in the parameters
    w.send((rs + ".params", b""), (rc + ".results", b"r"), (rc + ".results", b""))
    rc, rs = w.begin(params=b"x" * 998)  # with the one of the result that is the most
    w.send((rs + ".params", b""), (rc + ".results", b"ab"), (rc + ".results", b""))
    rc, rs = w.begin()  # it is going on when the recorder ends
    rc, rs = w.begin()  # a stream of it is
    w.send((rs + ".params", b""), (rc + ".results", b"\0"), (rc + ".results", b""), (rc + ".results.0", b"\2ab"))
    rc, rs = w.begin()  # two servers
    w.n.publish(rc, b"", rs + "2")
    w.send((rs + ".params", b""), (rc + ".results", b"\0"), (rc + ".results", b""))
    rc, rs = w.begin()  # a handler failed
    w.send((rs + ".params", b""), (rc + ".results", b""))
    w.n.publish(w.prefix + "a:b/c.d", b"no reply subject")
    w.n.flush()
    status, out = r.stop(signal.SIGTERM)
    assert status == 0 and "7 calls" in out and "2 complete, 3 cut, 2 truncated" in out, out
    assert "1 invocations could not be recorded" in out, out
    calls = sorted(r.calls()[1], key=lambda c: c["call"])
    assert [c["ended"] for c in calls] == ["truncated", "truncated", "complete", "cut", "cut", "cut", "complete"], calls
    assert calls[0]["params"] == b"" and calls[0]["results"] == b"", calls[0]
    r2 = wcp("replay", r.file, "--to", "nobody")
    assert r2.returncode == 3 and "2 not sent" in r2.stdout and "5 left out" in r2.stdout, r2


def a_killed_recorder_leaves_a_good_file():
    kv = l.provider("keyvalue-memory", "kv3", [l.link("comp", "kv3")])
    r = Recorder("kv3")
    for i in range(20):
        store("kv3", "set", text(f"k{i}"), text("v"))
    lattice.wait_for("20 calls in the file", lambda: len(r.calls()[1]) == 20)
    r.process.kill()
    r.process.wait()
    r2 = wcp("replay", r.file, "--to", "kv3")
    assert r2.returncode == 0 and "20 same" in r2.stdout, r2
    # in the middle of the last one
    with open(r.file, "r+b") as f:
        f.truncate(os.path.getsize(r.file) - 3)
    r2 = wcp("replay", r.file, "--to", "kv3")
    assert r2.returncode == 0 and "19 same" in r2.stdout and "ends within a call, at byte" in r2.stderr, r2
    kv.terminate()
    kv.wait()


def other_inboxes_are_told_and_listened_to():
    w = Wire("w4")
    r = Recorder("w4")
    rc, rs = w.begin(inbox="_CUSTOM")
    w.send((rs + ".params", b""), (rc + ".results", b"r"), (rc + ".results", b""))
    status, out = r.stop()
    assert status == 0 and "1 cut" in out and "--inbox" in out and "_CUSTOM." in out, out
    r = Recorder("w4", "--inbox", "_CUSTOM", "--inbox", "_INBOX", "--count", "2")
    for inbox in ("_CUSTOM", "_INBOX"):
        rc, rs = w.begin(inbox=inbox)
        w.send((rs + ".params", b""), (rc + ".results", b"r"), (rc + ".results", b""))
    status, out = r.stop(None)
    assert status == 0 and "2 complete" in out and "--inbox" not in out, out


def a_lost_connection_cuts_what_runs():
    server = lattice.nats_server()
    n = lattice.Nats(server.port)
    r = Recorder("w5", "--nats", f"nats://127.0.0.1:{server.port}", "--seconds", "60")
    n.publish("default.w5.wrpc.0.0.1.a:b/c.d", b"", "_INBOX.x.1")
    n.flush()
    time.sleep(0.2)
    server.kill()
    lattice.wait_for("the call in the file", lambda: len(r.calls()[1]) == 1)
    server.start()
    time.sleep(1)
    n = lattice.Nats(server.port)

    def again():
        rc = f"_INBOX.x.{time.monotonic_ns()}"
        n.publish("default.w5.wrpc.0.0.1.a:b/c.d", b"", rc)
        for subject, reply, data in ((rc, "_INBOX.y.2", b""), ("_INBOX.y.2.params", "", b""), (rc + ".results", "", b"r"),
                                     (rc + ".results", "", b"")):
            n.publish(subject, data, reply)
        n.flush()
        time.sleep(0.1)
        return r.stop() if r.process.poll() is None and time.monotonic() > begin + 3 else None
    begin = time.monotonic()
    status, out = lattice.wait_for("the second call", again, 20)
    assert status == 0 and "1 cut" in out and "complete" in out and "was lost 1 times" in out, out


def a_recording_that_is_none_is_refused():
    def refused(path, *parts, status=1):
        r = wcp("replay", path, "--to", "x")
        assert r.returncode == status and all(p in r.stderr for p in parts) and r.stderr.count("\n") == 1, (r.stderr, parts)

    def made(data):
        path = lattice.temporary_path(f"bad-{time.monotonic_ns()}")
        with open(path, "wb") as f:
            f.write(data)
        return path
    refused("/nowhere/x", "No such file")
    refused(made(b""), "it ends at byte 0")
    refused(made(b"hello"), "byte 0: 0x68 found, a MessagePack map expected")
    refused(made(b"\xdf\xff\xff\xff\xff"), "things found")
    refused(made(pack({"wcp-recording": 2})), "version 2 found, 1 expected")
    refused(made(pack({"x": 2})), "wcp-recording is missing")
    head = len(pack({"wcp-recording": 1, "tool": "test", "lattice": "default", "id": "kv", "time_us": 1}))
    for call, part in [({"function": 3}, "function: a number found, a text expected"),
                       ({"function": "a b"}, "function: 0x20 found"),
                       ({"function": "x" * 513}, "at most 512"),
                       ({"headers": {"a\r\nb": "c"}}, "headers: a name: 0x0d found"),
                       ({"headers": {"a": "c\n"}}, "headers: a value: 0x0a found"),
                       ({"params": "text"}, "params: a text found, bytes expected"),
                       ({"results_channels": {"a": b""}}, "results_channels: an index path"),
                       ({"ended": "well"}, "'well' found")]:
        refused(write_recording([call]), f"what begins at byte {head}", part)
    refused(write_recording([{}, b"\x81\xc6\x7f\xff\xff\xff"]), "a value of 2147483647 bytes found")
    refused(write_recording([{}, b"\xc1"]), "0xc1 found")
    refused(write_recording([{}, b"\x81" * 20]), "levels")


def answers_that_do_not_come_are_told():
    w = Wire("w6")
    path = write_recording([{"function": "a:b/c.d", "results": b"abc"}, {"function": "a:b/c.d", "results": b"xyz"},
                            {"function": "a:b/c.d", "ended": "no answer"}])
    seen = []
    # it accepts the first, answers half of the second, says nothing to the third

    def on_call(m):
        seen.append(m)
        if len(seen) < 3:
            w.n.publish(m.reply, b"", f"_INBOX.w6.{len(seen)}")
        if len(seen) == 2:
            w.n.publish(m.reply + ".results", b"xy")
    w.n.subscribe(w.prefix + ">", on_call)
    w.n.flush()
    r = wcp("replay", path, "--to", "w6", "--timeout", "500")
    lines = r.stdout.splitlines()
    assert r.returncode == 1 and "1 same, 2 different" in r.stdout, (r.stdout, r.stderr)
    assert "an answer recorded, nothing more came in time" in lines[0], lines
    assert "results differ at byte 2" in lines[1] and "its end came" in lines[1] and "nothing more came in time" in lines[1], lines


def it_stops_at_a_lost_connection():
    server = lattice.nats_server()
    n = lattice.Nats(server.port)
    n.subscribe("default.w7.wrpc.0.0.1.>", lambda m: server.kill())
    n.flush()
    r = wcp("replay", write_recording([{"function": "a:b/c.d"}] * 3), "--to", "w7", "--nats", f"nats://127.0.0.1:{server.port}")
    assert r.returncode == 3 and "3 not sent" in r.stdout and "connection to NATS was lost" in r.stderr, (r.stdout, r.stderr)
    r = wcp("replay", write_recording([{}]), "--to", "w7", "--nats", f"nats://127.0.0.1:{server.port}", "--timeout", "300")
    assert r.returncode == 3 and "connection refused" in r.stderr, (r.stdout, r.stderr)


lattice.run([a_provider_is_recorded_and_replayed, streams_are_recorded_and_replayed, repeats_are_not_recorded_twice,
             how_calls_end_is_recorded, a_killed_recorder_leaves_a_good_file, other_inboxes_are_told_and_listened_to,
             a_lost_connection_cuts_what_runs, a_recording_that_is_none_is_refused, answers_that_do_not_come_are_told,
             it_stops_at_a_lost_connection])
