"""cases: what the callers of check-peers ask, and what they must get, whoever serves.

What the functions do: blob-len and upload count bytes, big-result and download send n zeros; pipe, take-rec and echo.*
send back what comes; delay and nums make texts of numbers; fail... fail, fail-late behind n zeros; many adds up.
Key-value: each key but "missing" has its name as value, the buckets "nowhere", "locked" and "broken" are errors.
HTTP: the request comes back as the response. Blob store: data are the pattern, "bad" names are errors, "missing" ones are not there.
"""

import json
import os

from lattice import items, leb, text

VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../vectors/values.json")
MIB = 1 << 20
LOAD = "calls, 64 at a time, each fourth with streams"
SOME, NONE, OK, ERR, PENDING = b"\1", b"\0", b"\0", b"\1", b"\0"


def pattern(n):
    return (bytes((i * 31 + 7) & 0xff for i in range(256)) * (n // 256 + 1))[:n]


class Case:
    """One line of a script (tests/peers/wrpc/script.rs), in the group that it is counted with.

    data: what is sent on which channel; channels: what must come on which. Bytes are encoded elements.
    params: bytes, or the words of the script themselves. result: bytes or a text; None: whatever it is.
    error: what must come instead, "failed" or "not served". broken: a channel that breaks off behind what it brings.
    """

    def __init__(self, group, function, params=b"", result=b"", data=None, channels=None, error=None, broken=None):
        self.group, self.function, self.params, self.result = group, function, params, result
        self.data, self.channels, self.error, self.broken = data or {}, channels or {}, error, broken
        self.name = None

    def script(self):
        words = self.params if isinstance(self.params, str) else self.params.hex() or "-"
        return " ".join([self.name, self.function, words] + [f"{path}={value}" for path, value in self.data.items()])


# --- values: the golden encodings of tests/vectors, each there and back ---

# The members of the record "all", in their order, with a value that is right for each.
ALL = {"bool": b"\1", "char": b"a", "string": b"\0", "list<u8>": b"\0", "u8": b"\0", "u16": b"\0", "u32": b"\0",
       "u64": b"\0", "s8": b"\0", "s16": b"\0", "s32": b"\0", "s64": b"\0", "f32": bytes(4), "f64": bytes(8)}


def values():
    with open(VECTORS, encoding="utf-8") as f:
        vectors = [(v["wit"], bytes.fromhex(v["hex"])) for v in json.load(f) if v.get("hex")]
    for wit, data in vectors:
        if wit in ALL:
            record = b"".join((ALL | {wit: data}).values())
            yield Case(f"values of {wit}", "echo.echo-all", record, ERR + b"\1" if data == NONE and wit == "bool" else OK + record)
        elif wit.startswith("variant shape "):
            yield Case("values of variants", "echo.echo-shape", data, OK + data if data != NONE else ERR)
        elif wit.startswith("record nested "):
            yield Case("values of records", "echo.echo-nested", data, data)
    bits = [b"", b"\1", b"\0\0\0\0\0\0\0\0\x20", b"\xff" * 8 + b"\x3f", b"\x55" * 8]
    for data in (b.ljust(9, b"\0") for b in bits):
        yield Case("values of 70 flags", "echo.echo-flags", data, data)
    pairs = items([text("") + NONE, text("a") + SOME + NONE, text("Grüße") + SOME + SOME + leb(2**32 - 1)])
    for data in (items([]), pairs, items([text("k" * 200) + NONE] * 1000)):
        yield Case("values of lists of tuples of options", "echo.echo-list", data, data)
    for data in (NONE, SOME + b"\x7f\xc0\0"):
        yield Case("values of options", "echo.echo-spot", data, data)
    matrix = items([items([]), items([bytes(8), b"\0\0\0\0\0\0\xf8\x3f"])])
    for data in (OK + matrix, ERR + b"\0", ERR + b"\x06" + items([leb(65535), leb(0)])):
        yield Case("values of results", "echo.echo-outcome", data, data)
    word = b"\1\1" + text("as it is") + b"\3" + text(b"\0\xff") + b"\5"
    for tag, default in ((b"\0\x2a", "42"), (b"\1", "as it is"), (b"\2" + text("new"), "new")):
        matrix = items([items([b"\0\0\0\0\0\0\x08\x40"] * 2)])  # 3.0 + 3.0
        yield Case("four parameters", "echo.echo-words", word + tag + matrix + b"\x63",
                   b"\1\1" + text(default) + b"\6" + text(b"\0\xff") + b"\x63")
    for n in (0, 1):
        yield Case("a result of nothing", "echo.check", leb(n), OK if n else ERR)


# --- calls ---


def calls():
    for a, b in ((2, 300), (0, 0), (2**32 - 1, 2)):
        yield Case("unary", "api.add", leb(a) + leb(b), leb((a + b) % 2**32))
    yield Case("a function of the world", "tests.ping", leb(300), leb(300))
    for name, point, loud, answer in (("Ada", b"\x03\x7d", 1, OK + text("Ada at 3,-3!")),
                                      ("世界", b"\0\0", 0, OK + text("世界 at 0,0")), ("", b"\0\0", 1, ERR + text("no name"))):
        yield Case("result<string, string>", "api.describe", text(name) + point + bytes([loud]), answer)
    yield Case("no parameters, no result", "api.nothing")
    yield Case("no result", "api.one-way", leb(7))
    for n in (0, 1, 127, 128, 65536, MIB - 60, MIB - 52, MIB, MIB + 1, 3 * MIB):
        yield Case("big parameters", "api.blob-len", leb(n) + bytes(n), leb(n))
        yield Case("big results", "api.big-result", leb(n), leb(n) + bytes(n))
        both = b"".join((ALL | {"list<u8>": leb(n) + pattern(n)}).values())
        yield Case("big parameters and results", "echo.echo-all", both, OK + both)
    yield Case("a handler's error", "api.fail", leb(1), error="failed")
    yield Case("a handler's error without a result: nobody sees it", "api.fail-void", leb(1))
    yield Case("a function that is not served", "api.not-served", leb(1), error="not served")
    yield Case("and the next call works", "api.add", leb(1) + leb(1), leb(2))


def resources():
    group = "resources"
    yield Case(group, "api.counter", leb(5), result=None)
    yield Case(group, "api.counter.make", leb(1000), result=None)
    for handle, by, answer in ((0, 2, 7), (1, 1, 1001), (0, 300, 307)):
        yield Case(group, "api.counter.incr", "{%s.%d}%s" % (group, handle, leb(by).hex()), leb(answer))
    yield Case(group, "api.use-counter", "{%s.0}" % group, leb(307))
    yield Case("a handle that nobody has given", "api.use-counter", text("no counter"), error="failed")


# --- streams and futures ---


def streams():
    for n in (0, 1, 4, 60_000, 100_000, MIB + 1, 64 * MIB):
        group = "64 MiB as a stream" if n == 64 * MIB else "streams of bytes"
        data, raw = (f"pattern:{n}", f"pattern:{n}") if n > 64 else (pattern(n).hex(), pattern(n))
        yield Case(group, "api.upload", text("name") + PENDING, leb(n), {"1": data})
        yield Case(group, "api.download", text("name") + leb(n), PENDING, channels={"0": f"zeros:{n}" if n > 64 else bytes(n)})
        yield Case(group, "api.pipe", PENDING, PENDING, {"0": data}, {"0": raw})
    for now in ("", "now:"):
        group = "streams and futures that are whole before the call" if now else "streams of values"
        for n in (0, 1, 2, 3, 300):
            numbers = b"".join(leb(i * 1000) for i in range(n))
            yield Case(group, "api.nums", PENDING, PENDING, {"0": now + numbers.hex()},
                       {"0": b"".join(text(f"#{i * 1000}") for i in range(n))})
            pairs = b"".join(bytes([i & 0xff]) + text("é" * i) for i in range(n))
            yield Case(group, "echo.echo-stream", PENDING, PENDING, {"0": now + pairs.hex()}, {"0": pairs})
        group = "streams and futures that are whole before the call" if now else "futures"
        yield Case(group, "api.delay", PENDING, PENDING, {"0": now + leb(70000).hex()}, {"0": text("#70000")})
        yield Case(group, "echo.echo-moment", PENDING, PENDING, {"0": now}, {"0": OK})
        group = "streams and futures that are whole before the call" if now else "a stream in a record, and in a tuple"
        yield Case(group, "api.take-rec", PENDING + leb(6), leb(6) + PENDING, {"0.0": f"{now}pattern:100000"},
                   {"0.1": "pattern:100000"})
        group = "streams and futures that are whole before the call" if now else "streams and futures in records and variants"
        for vs, data, back in ((b"\0", {}, {}), (b"\1" + PENDING + leb(9), {"1.0": now + b"some bytes".hex()}, {"0.1.0": b"some bytes"})):
            yield Case(group, "echo.echo-async", PENDING * 3 + b"\4" + vs, PENDING * 3 + b"\4" + vs,
                       {"0.0": now + leb(300).hex(), "0.1": now + "010203", "0.2": now + (SOME + text("late")).hex()} | data,
                       {"0.0.0": leb(300), "0.0.1": b"\1\2\3", "0.0.2": SOME + text("late")} | back)
    yield Case("a stream that breaks off", "api.fail-late", leb(100_000), PENDING, channels={"0": "zeros:100000"}, broken="0")
    yield Case("futures in a stream", "api.many", PENDING, leb(60), {"0": "000000", "0.0": "0a", "0.1": "14", "0.2": "1e"})
    yield Case("and the next call works after all that", "api.add", leb(1) + leb(2), leb(3))


# --- wasmCloud's interfaces ---


def fields(*pairs):
    return items([text(name) + items([text(v) for v in all_of_them]) for name, *all_of_them in pairs])


def http():
    headers = fields(("accept", "a", "b"), ("x", ""))
    trailers = SOME + fields(("x-sum", "7"))
    ends = {"get": b"\0", "post": b"\2", "delete": b"\4", "other": b"\x09" + text("BREW")}
    target = SOME + text("/a?b=c") + SOME + b"\1" + SOME + text("localhost:8080") + headers
    for method, status, body, end in (("get", 200, "", NONE), ("post", 201, "pattern:100000", trailers),
                                      ("post", 201, f"pattern:{8 * MIB}", NONE), ("delete", 405, b"ping".hex(), trailers),
                                      ("other", 404, "", trailers)):
        for now in ("", "now:"):
            yield Case("HTTP with body and trailers", "incoming-handler.handle", PENDING * 2 + ends[method] + target,
                       OK + PENDING * 2 + leb(status) + headers, {"0.0": now + body, "0.1": now + end.hex()},
                       {"0.0": body if ":" in body else bytes.fromhex(body), "0.1": end})
    for options, status in ((NONE, 204), (SOME + SOME + leb(299) + NONE + NONE, 299)):
        yield Case("outgoing HTTP", "outgoing-handler.handle", PENDING * 2 + b"\0" + target + options,
                   OK + PENDING * 2 + leb(status) + headers, {"0.0": "70696e67", "0.1": "00"}, {"0.0": b"ping", "0.1": NONE})
    error = SOME + text("/error") + NONE + NONE + items([])
    for function, options in (("incoming", b""), ("outgoing", NONE)):
        yield Case("HTTP errors", f"{function}-handler.handle", PENDING * 2 + b"\0" + error + options,
                   ERR + b"\x26" + SOME + text("/error"), {"0.0": "", "0.1": "00"})


def key_value():
    group = "key-value"
    for bucket, answer in (("", None), ("nowhere", ERR + b"\0"), ("locked", ERR + b"\1"),
                           ("broken", ERR + b"\2" + text("it is broken"))):
        b = text(bucket)
        keys = items([text("a"), text("missing"), text("ß")])
        pairs = items([text("a") + text("a"), text("b") + text("b")])
        for function, rest, good in (
                ("store.get", text("key"), SOME + text("key")), ("store.get", text("missing"), NONE),
                ("store.set", text("k") + text("k"), b""), ("store.delete", text("k"), b""), ("store.exists", text("k"), b"\1"),
                ("store.exists", text("missing"), b"\0"), ("store.list-keys", NONE, items([b, text("0")]) + NONE),
                ("store.list-keys", SOME + leb(2**40), items([b, text(str(2**40))]) + SOME + leb(2**40 + 1)),
                ("atomics.increment", text("four") + leb(2**64 - 5), leb(2**64 - 1)),
                ("batch.get-many", keys, items([SOME + text("a") + text("a"), NONE, SOME + text("ß") + text("ß")])),
                ("batch.set-many", pairs, b""), ("batch.delete-many", keys, b"")):
            yield Case(group, function, b + rest, answer or OK + good)
    yield Case(group, "store.set", text("") + text("k") + text("v"), ERR + b"\2" + text("k"))
    yield Case(group, "batch.set-many", text("") + items([text("k") + text("v")]), ERR + b"\2" + text("k"))
    yield Case(group, "watcher.on-set", text("b") + text("k") + text("v"))
    yield Case(group, "watcher.on-delete", text("b") + text("k"))


def blob_store():
    group, bad = "blob store", ERR + text("bad is bad")

    def ids(*names):
        return b"".join(text("ctr") + text(name) for name in names)
    for function, good in (("clear-container", b""), ("container-exists", b"\1"), ("create-container", b""),
                           ("delete-container", b""), ("get-container-info", leb(4))):
        yield Case(group, f"blobstore.{function}", text("name"), OK + good)
        yield Case(group, f"blobstore.{function}", text("bad"), bad)
    for function, good in (("delete-object", b""), ("get-object-info", leb(3) + leb(7)), ("has-object", b"\0")):
        yield Case(group, f"blobstore.{function}", ids("missing"), OK + good)
        yield Case(group, f"blobstore.{function}", ids("bad"), bad)
    for function in ("copy-object", "move-object"):
        yield Case(group, f"blobstore.{function}", ids("a", "b"), OK)
        yield Case(group, f"blobstore.{function}", ids("a", "bad"), bad)
    yield Case(group, "blobstore.delete-objects", text("ctr") + items([text("a"), text("b")]), OK)
    yield Case(group, "blobstore.delete-objects", text("ctr") + items([text("a"), text("bad")]), bad)
    for limit, offset, names in ((NONE, NONE, (0, 1, 2)), (SOME + leb(2), SOME + leb(9), (9, 10)), (SOME + leb(0), NONE, ())):
        yield Case(group, "blobstore.list-container-objects", text("ctr") + limit + offset, OK + PENDING * 2,
                   channels={"0.0": b"".join(text(f"ctr-{i}") for i in names), "0.1": OK})
    yield Case(group, "blobstore.list-container-objects", text("bad") + NONE + NONE, bad)
    for n in (0, 1, 3 * MIB):
        yield Case(group, "blobstore.get-container-data", ids("o") + leb(10) + leb(10 + n), OK + PENDING * 2,
                   channels={"0.0": f"pattern:{n}" if n > 64 else pattern(n), "0.1": OK})
        data = f"pattern:{n}" if n > 64 else pattern(n).hex()
        yield Case(group, "blobstore.write-container-data", ids("o") + PENDING, OK + PENDING, {"1": data}, {"0": OK})
        yield Case(group, "blobstore.write-container-data", ids("bad") + PENDING, OK + PENDING, {"1": data},
                   {"0": ERR + text(str(n))})
    yield Case(group, "blobstore.get-container-data", ids("bad") + leb(0) + leb(3), OK + PENDING * 2,
               channels={"0.0": pattern(3), "0.1": bad})
    yield Case(group, "blobstore.get-container-data", text("bad") + text("o") + leb(0) + leb(3), bad)


def load(calls):
    streams = calls // 4
    yield Case(LOAD, "load", f"{calls} 64", counts(calls - streams), channels={"streams": counts(streams)})


def counts(right):
    return f"{right} right, 0 wrong, 0 failed, 0 hung"


def cases(count):
    numbers = {}
    for case in (*values(), *calls(), *resources(), *streams(), *http(), *key_value(), *blob_store(), *load(count)):
        word = case.group.replace(" ", "-")
        case.name = f"{word}.{numbers.setdefault(word, 0)}"
        numbers[word] += 1
        yield case
