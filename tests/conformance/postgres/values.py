"""values: the values of wasmcloud:postgres@0.1.1-draft to and from bytes. A pg-value is (case, value) here, "null" is
("null", None); variants are (case, value) likewise, records and tuples are tuples, and none is None."""

import math
import struct

F64 = ("tuple", "u64", "s16", "u8s")
POINT = ("tuple", F64, F64)
TWO = ("tuple", POINT, POINT)
DATE = ("variant", [("positive-infinity", None), ("negative-infinity", None), ("ymd", ("tuple", "s32", "u32", "u32"))])
TIME = ("tuple", "u32", "u32", "u32", "u32")
TIMESTAMP = ("tuple", DATE, TIME)
OFFSET = ("variant", [("eastern", "s32"), ("western", "s32")])
SIZED, LIMITED = ("tuple", "u32", "bytes"), ("tuple", ("option", "u32"), "bytes")


def _cases():
    def both(name, t):
        return [(name, t), (name + "-array", ("list", t))]

    def alike(t, *names):
        return [(n, t) for n in names]
    return (
        [("null", None), ("big-int", "s64")] + both("int8", "s64") + alike("s64", "big-serial", "serial8") +
        [("bool", "bool"), ("boolean", "bool"), ("bool-array", ("list", "bool"))] +
        [("double", F64)] + both("float8", F64) + [("real", F64)] + both("float4", F64) +
        alike("s32", "integer", "int") + both("int4", "s32") +
        [("numeric", "text"), ("decimal", "text"), ("numeric-array", ("list", "text"))] +
        alike("u32", "serial", "serial4") + [("small-int", "s16")] + both("int2", "s16") +
        both("int2-vector", ("list", "s16")) + alike("s16", "small-serial", "serial2") +
        both("bit", SIZED) + [("bit-varying", LIMITED)] + both("varbit", LIMITED) + both("bytea", "bytes") +
        both("char", SIZED) + both("varchar", LIMITED) + both("cidr", "text") + both("inet", "text") +
        both("macaddr", ("raw", 6)) + both("macaddr8", ("raw", 8)) + both("box", TWO) +
        both("circle", ("tuple", POINT, F64)) + both("line", TWO) + both("lseg", TWO) +
        both("path", ("list", POINT)) + both("point", POINT) + both("polygon", ("list", POINT)) + both("date", DATE) +
        both("interval", ("tuple", DATE, "bool", DATE, "bool")) + both("time", TIME) +
        both("time-tz", ("tuple", "text", TIME)) + both("timestamp", TIMESTAMP) +
        both("timestamp-tz", ("tuple", TIMESTAMP, OFFSET)) + both("json", "text") + both("jsonb", "text") +
        both("money", "text") + both("pg-lsn", "u64") +
        [("pg-snapshot", ("tuple", "s64", "s64", ("list", "s64"))), ("txid-snapshot", "s64")] +
        both("name", "text") + both("text", "text") + both("xml", "text") + [("ts-query", "text")] +
        [("ts-vector", ("list", ("tuple", ("option", "u16"), ("option", "u8"), "text")))] + both("uuid", "text") +
        [("hstore", ("list", ("tuple", "text", ("option", "text"))))])


CASES = _cases()
PG_VALUE = ("variant", CASES)
ROWS = ("list", ("list", ("tuple", "text", PG_VALUE)))
QUERY_ERROR = ("variant", [("invalid-params", "text"), ("invalid-query", "text"), ("unexpected", "text")])
PREPARE_ERROR = ("variant", [("unexpected", "text")])
EXEC_ERROR = ("variant", [("unknown-prepared-query", None), ("query-error", QUERY_ERROR), ("unexpected", "text")])
assert len(CASES) == 97 and CASES[94][0] == "uuid"


def _uleb(n):
    out = bytearray()
    while n > 0x7f:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    return bytes(out) + bytes([n])


def _sleb(n):
    out = bytearray()
    while True:
        byte, n = n & 0x7f, n >> 7
        if n == -(byte >> 6):
            return bytes(out) + bytes([byte])
        out.append(byte | 0x80)


def encode(t, v):
    if isinstance(t, tuple):
        kind = t[0]
        if kind == "list":
            return _uleb(len(v)) + b"".join(encode(t[1], x) for x in v)
        if kind == "option":
            return b"\0" if v is None else b"\1" + encode(t[1], v)
        if kind == "tuple":
            assert len(v) == len(t) - 1, (t, v)
            return b"".join(encode(x, y) for x, y in zip(t[1:], v))
        if kind == "raw":
            assert len(v) == t[1]
            return v
        at = [name for name, _ in t[1]].index(v[0])
        return _uleb(at) + (encode(t[1][at][1], v[1]) if t[1][at][1] else b"")
    if t == "text":
        v = v.encode()
    if t in ("text", "bytes"):
        return _uleb(len(v)) + v
    if t == "u8s":
        return struct.pack("b", v)
    if t in ("bool", "u8"):
        return bytes([v])
    return _uleb(v) if t[0] == "u" else _sleb(v)


class Decoder:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise IndexError("ends too early")
        self.at += n
        return self.data[self.at - n:self.at]

    def leb(self, signed):
        value = shift = 0
        while True:
            b = self.take(1)[0]
            value |= (b & 0x7f) << shift
            shift += 7
            if b < 0x80:
                return value - (1 << shift) if signed and b & 0x40 else value

    def value(self, t):
        if isinstance(t, tuple):
            kind = t[0]
            if kind == "list":
                return [self.value(t[1]) for _ in range(self.leb(False))]
            if kind == "option":
                return self.value(t[1]) if self.take(1)[0] else None
            if kind == "tuple":
                return tuple(self.value(x) for x in t[1:])
            if kind == "raw":
                return self.take(t[1])
            name, inner = t[1][self.leb(False)]
            return name, self.value(inner) if inner else None
        if t in ("text", "bytes"):
            v = self.take(self.leb(False))
            return v.decode() if t == "text" else v
        if t == "u8s":
            return struct.unpack("b", self.take(1))[0]
        if t in ("bool", "u8"):
            return bool(self.take(1)[0]) if t == "bool" else self.take(1)[0]
        return self.leb(t[0] == "s")


# --- floats: mantissa, exponent, sign, as their bits have them ---


def f64(v):
    bits, = struct.unpack(">Q", struct.pack(">d", v))
    exponent, fraction = bits >> 52 & 0x7ff, bits & (1 << 52) - 1
    return (fraction | 1 << 52 if exponent else fraction << 1, exponent - 1075, -1 if bits >> 63 else 1)


def f32(v):
    bits, = struct.unpack(">I", struct.pack(">f", v))
    exponent, fraction = bits >> 23 & 0xff, bits & (1 << 23) - 1
    return (fraction | 1 << 23 if exponent else fraction << 1, exponent - 150, -1 if bits >> 31 else 1)


def number(f):
    """The float of such a tuple."""
    if f[1] == 972:
        return math.nan if f[0] > 1 << 52 else math.inf * f[2]
    return f[2] * math.ldexp(f[0], f[1])


def point(x, y):
    return f64(x), f64(y)


def ymd(year, month, day):
    return "ymd", (year, month, day)
