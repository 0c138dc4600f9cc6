"""suite: what a provider of wasmcloud:postgres query and prepared has to do, whoever made it: each value both ways, errors,
transactions, prepared statements. Prints a table of cases.

usage: suite.py EXECUTABLE    which takes HostData, with a PostgreSQL server and a nats-server of this run's own;
                              values that it has otherwise than the interface says are told as different
test_postgres.py runs it, too."""

import math
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../../lib"), HERE]
import values
from values import EXEC_ERROR, PG_VALUE, PREPARE_ERROR, QUERY_ERROR, ROWS, f32, f64, point, ymd

QUERY, PREPARED = (f"wasmcloud:postgres/{i}@0.1.1-draft" for i in ("query", "prepared"))


class Failure(Exception):
    """The interface's error: .value is the variant."""

    def __init__(self, value):
        super().__init__(str(value))
        self.value = value


class Broken(Exception):
    """No value came."""


class Database:
    """The functions of a provider as Python's."""

    def __init__(self, lattice, target, source="comp", link="default"):
        self.lattice, self.target, self.source, self.link = lattice, target, source, link

    def start(self, instance, function, params):
        return self.lattice.start_call(self.target, instance, function, params, self.source, self.link)

    @staticmethod
    def read(data, ok, error):
        if not data:
            raise Broken("the results ended without a value")
        d = values.Decoder(data)
        if d.take(1)[0]:
            raise Failure(d.value(error))
        return d.value(ok) if ok else None

    def start_query(self, sql, *params):
        call = self.start(QUERY, "query", values.encode("text", sql) + values.encode(("list", PG_VALUE), params))
        return lambda timeout=30: self.read(call.result(timeout), ROWS, QUERY_ERROR)

    def rows(self, sql, *params, timeout=30):
        """[[(column name, pg-value)]]"""
        return self.start_query(sql, *params)(timeout)

    def values(self, sql, *params):
        return [[v for _, v in row] for row in self.rows(sql, *params)]

    def one(self, sql, *params):
        (value,), = self.values(sql, *params)
        return value

    def batch(self, sql, timeout=30):
        data = self.start(QUERY, "query-batch", values.encode("text", sql)).result(timeout)
        return self.read(data, None, QUERY_ERROR)

    def prepare(self, sql):
        return self.read(self.start(PREPARED, "prepare", values.encode("text", sql)).result(30), "text", PREPARE_ERROR)

    def exec(self, token, *params):
        data = self.start(PREPARED, "exec", values.encode("text", token) +
                          values.encode(("list", PG_VALUE), params)).result(30)
        return self.read(data, "u64", EXEC_ERROR)


def same(got, want):
    assert got == want, f"got {got!r:.300}, expected {want!r:.300}"


def fails(fn, *args):
    try:
        value = fn(*args)
    except Failure as e:
        return e.value
    raise AssertionError(f"gave {value!r:.200}, expected an error")


# --- values ---

NOW = (10, 20, 30, 123456)
TS = (ymd(2024, 2, 29), NOW)
INF, MINUS_INF = ("positive-infinity", None), ("negative-infinity", None)
UTC = ("western", 0)
PTS = [point(0, 0), point(1.5, -2), point(3, 1e300)]

# (type, its text for the server, the pg-value that it is). Both ways: the text as that value, the value as that text.
VALUES = [
    ("bool", "true", ("bool", True)), ("bool", "false", ("bool", False)),
    ("int2", "-32768", ("int2", -32768)), ("int4", "2147483647", ("int4", 2**31 - 1)),
    ("int8", "-9223372036854775808", ("int8", -2**63)), ("oid", "4294967295", ("serial4", 2**32 - 1)),
    ("float4", "1.5", ("float4", f32(1.5))), ("float4", "0.1", ("float4", f32(0.1))),
    ("float4", "Infinity", ("float4", f32(math.inf))), ("float4", "NaN", ("float4", f32(math.nan))),
    ("float4", "1e-45", ("float4", f32(1e-45))), ("float4", "3.4028235e+38", ("float4", f32(3.4028235e38))),
    ("float8", "1", ("float8", (2**52, -52, 1))), ("float8", "-0.1", ("float8", f64(-0.1))),
    ("float8", "5e-324", ("float8", f64(5e-324))), ("float8", "1.7976931348623157e+308", ("float8", f64(sys.float_info.max))),
    ("float8", "-Infinity", ("float8", f64(-math.inf))), ("float8", "NaN", ("float8", f64(math.nan))),
    ("float8", "-0", ("float8", f64(-0.0))),
    ("numeric", "0", ("numeric", "0")), ("numeric", "123456789012345678901234567890.0001", ("numeric", "123456789012345678901234567890.0001")),
    ("numeric", "-0.00000123", ("numeric", "-0.00000123")), ("numeric", "10000", ("numeric", "10000")),
    ("numeric", "1.500", ("numeric", "1.500")), ("numeric", "NaN", ("numeric", "NaN")), ("numeric", "0.5", ("numeric", "0.5")),
    ("numeric", "100000000", ("numeric", "100000000")), ("numeric", "-99999999.99999", ("numeric", "-99999999.99999")),
    ("numeric", "1" + "0" * 300, ("numeric", "1" + "0" * 300)), ("numeric", "0." + "0" * 300 + "1", ("numeric", "0." + "0" * 300 + "1")),
    ("money", "$1,234.56", ("money", "1234.56")), ("money", "-$0.05", ("money", "-0.05")),
    ("text", "gr\u00fc\u00dfe \U0001f600", ("text", "gr\u00fc\u00dfe \U0001f600")), ("text", "", ("text", "")),
    ("varchar(9)", "abc", ("varchar", (None, b"abc"))), ("char(5)", "ab", ("char", (5, b"ab   "))),
    ('"char"', "x", ("char", (1, b"x"))), ("name", "nom", ("name", "nom")), ("xml", "<a>b</a>", ("xml", "<a>b</a>")),
    ("bytea", "\\x00ff10", ("bytea", b"\0\xff\x10")), ("bytea", "\\x", ("bytea", b"")),
    ("bit(10)", "1010101011", ("bit", (10, b"\xaa\xc0"))), ("varbit", "101", ("varbit", (3, b"\xa0"))), ("varbit", "", ("varbit", (0, b""))),
    ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
    ("json", '{"b": 1, "a": [2,  null]}', ("json", '{"b": 1, "a": [2,  null]}')),
    ("jsonb", '{"a": [2, null], "b": 1}', ("jsonb", '{"a": [2, null], "b": 1}')),
    ("inet", "192.168.1.5", ("inet", "192.168.1.5")), ("inet", "10.0.0.1/8", ("inet", "10.0.0.1/8")),
    ("inet", "2001:db8::1", ("inet", "2001:db8::1")), ("inet", "::1/64", ("inet", "::1/64")),
    ("cidr", "10.0.0.0/8", ("cidr", "10.0.0.0/8")), ("cidr", "2001:db8::/32", ("cidr", "2001:db8::/32")),
    ("macaddr", "08:00:2b:01:02:03", ("macaddr", b"\x08\0\x2b\1\2\3")),
    ("macaddr8", "08:00:2b:01:02:03:04:05", ("macaddr8", b"\x08\0\x2b\1\2\3\4\5")),
    ("point", "(1.5,-2)", ("point", point(1.5, -2))), ("box", "(3,4),(1,2)", ("box", (point(1, 2), point(3, 4)))),
    ("lseg", "[(0,0),(1.5,-2)]", ("lseg", (PTS[0], PTS[1]))), ("circle", "<(1.5,-2),3>", ("circle", (PTS[1], f64(3)))),
    ("line", "{2,-1,1}", ("line", (point(0, 1), point(1, 3)))), ("line", "{-1,0,2}", ("line", (point(2, 0), point(2, 1)))),
    ("path", "[(0,0),(1.5,-2),(3,1e+300)]", ("path", PTS)), ("path", "((0,0),(1.5,-2),(3,1e+300))", ("path", PTS + PTS[:1])),
    ("polygon", "((0,0),(1.5,-2),(3,1e+300))", ("polygon", PTS)),
    ("date", "2024-02-29", ("date", ymd(2024, 2, 29))), ("date", "0044-03-15 BC", ("date", ymd(-43, 3, 15))),
    ("date", "5874897-12-31", ("date", ymd(5874897, 12, 31))), ("date", "4714-11-24 BC", ("date", ymd(-4713, 11, 24))),
    ("date", "infinity", ("date", INF)), ("date", "-infinity", ("date", MINUS_INF)), ("date", "1999-12-31", ("date", ymd(1999, 12, 31))),
    ("time", "10:20:30.123456", ("time", NOW)), ("time", "24:00:00", ("time", (24, 0, 0, 0))), ("time", "00:00:00", ("time", (0, 0, 0, 0))),
    ("timetz", "10:20:30.123456+05:30", ("time-tz", ("+05:30", NOW))), ("timetz", "10:20:30.123456-08", ("time-tz", ("-08:00", NOW))),
    ("timestamp", "2024-02-29 10:20:30.123456", ("timestamp", TS)),
    ("timestamp", "1969-07-20 20:17:40.000001", ("timestamp", (ymd(1969, 7, 20), (20, 17, 40, 1)))),
    ("timestamp", "0001-01-01 00:00:00 BC", ("timestamp", (ymd(0, 1, 1), (0, 0, 0, 0)))),
    ("timestamp", "infinity", ("timestamp", (INF, (0, 0, 0, 0)))), ("timestamp", "-infinity", ("timestamp", (MINUS_INF, (0, 0, 0, 0)))),
    ("timestamptz", "2024-02-29 10:20:30.123456+00", ("timestamp-tz", (TS, UTC))),
    ("timestamptz", "infinity", ("timestamp-tz", ((INF, (0, 0, 0, 0)), UTC))),
    ("daterange", "[2024-01-01,2024-02-01)", ("interval", (ymd(2024, 1, 1), True, ymd(2024, 2, 1), False))),
    ("daterange", "(,2024-02-01)", ("interval", (MINUS_INF, False, ymd(2024, 2, 1), False))),
    ("daterange", "[2024-01-01,infinity]", ("interval", (ymd(2024, 1, 1), True, INF, True))),
    ("interval", "1 year 2 mons -3 days +04:05:06.7", ("text", "P1Y2M-3DT4H5M6.700000S")), ("interval", "00:00:00", ("text", "PT0S")),
    ("interval", "-00:00:00.5", ("text", "PT-0.500000S")),
    ("pg_lsn", "16/B374D848", ("pg-lsn", 0x16B374D848)), ("pg_snapshot", "10:20:10,14,15", ("pg-snapshot", (10, 20, [10, 14, 15]))),
    ("txid_snapshot", "10:20:", ("pg-snapshot", (10, 20, []))), ("xid8", "12345678901", ("txid-snapshot", 12345678901)),
    ("int2vector", "1 2 3", ("int2-vector", [1, 2, 3])),
    ("tsvector", "'a':1A,5B,7 'it''s' 'z':2C", ("ts-vector", [(1, 0, "a"), (5, 1, "a"), (7, 3, "a"), (None, None, "it's"), (2, 2, "z")])),
    ("tsquery", "'a' & !( 'b':*AB | 'c' ) <-> 'it''s'", ("ts-query", "( 'a' & ( !( ( 'b':*AB | 'c' ) ) <-> 'it''s' ) )")),
    ("hstore", '"a"=>"1", "b"=>NULL, "c\\"\\\\"=>"x y"', ("hstore", [("a", "1"), ("b", None), ('c"\\', "x y")])),
    ("mood", "happy", ("text", "happy")),
    # arrays
    ("bool[]", "{t,f}", ("bool-array", [True, False])), ("int2[]", "{1,-2}", ("int2-array", [1, -2])), ("int4[]", "{}", ("int4-array", [])),
    ("int4[]", "{1,-2,3}", ("int4-array", [1, -2, 3])), ("int8[]", "{9223372036854775807}", ("int8-array", [2**63 - 1])),
    ("float4[]", "{1.5,NaN}", ("float4-array", [f32(1.5), f32(math.nan)])), ("float8[]", "{0.1,-Infinity}", ("float8-array", [f64(0.1), f64(-math.inf)])),
    ("numeric[]", "{1.50,-2}", ("numeric-array", ["1.50", "-2"])), ("money[]", '{$1.00,"$1,000.00"}', ("money-array", ["1.00", "1000.00"])),
    ("text[]", '{"a b","c\\"d\\\\",NULL_,"{}"}', ("text-array", ["a b", 'c"d\\', "NULL_", "{}"])),
    ("text[]", '{NuLl,""}' .replace("NuLl", '"NULL"'), ("text-array", ["NULL", ""])),
    ("varchar[]", "{ab,c}", ("varchar-array", [(None, b"ab"), (None, b"c")])), ("char(3)[]", '{"ab ","c  "}', ("char-array", [(3, b"ab "), (3, b"c  ")])),
    ("name[]", "{x,y}", ("name-array", ["x", "y"])), ("xml[]", "{<a/>}", ("xml-array", ["<a/>"])),
    ("bytea[]", '{"\\\\x00ff","\\\\x"}', ("bytea-array", [b"\0\xff", b""])), ("bit(3)[]", "{101,010}", ("bit-array", [(3, b"\xa0"), (3, b"\x40")])),
    ("varbit[]", "{1,0101}", ("varbit-array", [(1, b"\x80"), (4, b"\x50")])),
    ("uuid[]", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", ("uuid-array", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"])),
    ("json[]", '{"{\\"a\\": 1}"}', ("json-array", ['{"a": 1}'])), ("jsonb[]", '{"{\\"a\\": 1}"}', ("jsonb-array", ['{"a": 1}'])),
    ("inet[]", "{10.0.0.1,10.0.0.0/8}", ("inet-array", ["10.0.0.1", "10.0.0.0/8"])), ("cidr[]", "{10.0.0.0/8}", ("cidr-array", ["10.0.0.0/8"])),
    ("macaddr[]", "{08:00:2b:01:02:03}", ("macaddr-array", [b"\x08\0\x2b\1\2\3"])),
    ("macaddr8[]", "{08:00:2b:01:02:03:04:05}", ("macaddr8-array", [b"\x08\0\x2b\1\2\3\4\5"])),
    ("point[]", '{"(1.5,-2)"}', ("point-array", [point(1.5, -2)])), ("box[]", "{(3,4),(1,2);(1,1),(0,0)}", ("box-array", [(point(1, 2), point(3, 4)), (point(0, 0), point(1, 1))])),
    ("lseg[]", '{"[(0,0),(1.5,-2)]"}', ("lseg-array", [(PTS[0], PTS[1])])), ("circle[]", '{"<(1.5,-2),3>"}', ("circle-array", [(PTS[1], f64(3))])),
    ("line[]", '{"{2,-1,1}"}', ("line-array", [(point(0, 1), point(1, 3))])), ("path[]", '{"[(0,0),(1.5,-2)]"}', ("path-array", [PTS[:2]])),
    ("polygon[]", '{"((0,0),(1.5,-2))"}', ("polygon-array", [PTS[:2]])),
    ("date[]", "{2024-02-29,infinity}", ("date-array", [ymd(2024, 2, 29), INF])), ("time[]", "{10:20:30.123456}", ("time-array", [NOW])),
    ("timetz[]", "{10:20:30.123456+00}", ("time-tz-array", [("+00:00", NOW)])), ("timestamp[]", '{"2024-02-29 10:20:30.123456"}', ("timestamp-array", [TS])),
    ("timestamptz[]", '{"2024-02-29 10:20:30.123456+00"}', ("timestamp-tz-array", [(TS, UTC)])),
    ("daterange[]", '{"[2024-01-01,2024-02-01)"}', ("interval-array", [(ymd(2024, 1, 1), True, ymd(2024, 2, 1), False)])),
    ("pg_lsn[]", "{0/1}", ("pg-lsn-array", [1])), ("int2vector[]", '{"1 2","3"}', ("int2-vector-array", [[1, 2], [3]])),
    ("mood[]", "{sad,happy}", ("text-array", ["sad", "happy"])),
]

# Cases that no result has, each into a type and as its text.
ALIASES = [
    (("big-int", 5), "int8", "5"), (("big-serial", 5), "int8", "5"), (("serial8", -5), "int8", "-5"), (("boolean", True), "bool", "true"),
    (("double", f64(2.5)), "float8", "2.5"), (("real", f32(0.1)), "float4", "0.1"), (("integer", 7), "int4", "7"), (("int", -7), "int4", "-7"),
    (("decimal", "1.50"), "numeric", "1.50"), (("serial", 9), "int4", "9"), (("small-int", 3), "int2", "3"), (("small-serial", 3), "int2", "3"),
    (("serial2", -3), "int2", "-3"), (("bit-varying", (None, b"\xf0")), "varbit", "11110000"),
    # into other types than their own
    (("int4", 5), "int8", "5"), (("int4", 5), "numeric", "5"), (("int8", 5), "int2", "5"), (("text", "12"), "int4", "12"), (("numeric", "1.5"), "float8", "1.5"),
    (("json", '{"a": 1}'), "jsonb", '{"a": 1}'), (("varchar", (10, b"x")), "text", "x"), (("text", "happy"), "mood", "happy"),
    (("char", (2, b"ab")), "text", "ab"), (("timestamp-tz", (TS, ("eastern", 19800))), "timestamptz", "2024-02-29 04:50:30.123456+00"),
    (("timestamp-tz", (TS, ("western", 3600))), "timestamptz", "2024-02-29 11:20:30.123456+00"), (("time-tz", ("+02", NOW)), "timetz", "10:20:30.123456+02"),
    (("money", "12.34"), "money", "$12.34"), (("numeric", "-1.5"), "money", "-$1.50"), (("bytea", b"\0a"), "text", "\\x0061"),
    (("int2-vector", [1, 2]), "int2[]", "{1,2}"), (("uuid", "A0EEBC999C0B4EF8BB6D6BB9BD380A11"), "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
]


def value_comes(db, kind, text, value):
    # As text first, in the statement, so that no parameter is needed.
    same(db.one("SELECT '" + text.replace("'", "''") + "'::" + kind), value)


def value_goes(db, kind, text, value):
    got = db.one(f"SELECT ($1::{kind})::text = ($2::text::{kind})::text AND ($1::{kind})::text IS NOT NULL", value, ("text", text))
    if got != ("bool", True):
        same(db.one(f"SELECT ($1::{kind})::text", value), ("text", text))


def alias_goes(db, value, kind, text):
    same(db.one(f"SELECT ($1::{kind})::text", value), ("text", text))


# --- functions ---


def names_and_nulls(db):
    same(db.rows('SELECT 1::int4 AS c, NULL::text AS "d \u00e9", NULL::int4[]'),
         [[("c", ("int4", 1)), ("d \u00e9", ("null", None)), ("int4", ("null", None))]])
    same(db.values("SELECT $1::int4, $2::text", ("null", None), ("null", None)), [[("null", None), ("null", None)]])


def statements_without_rows(db):
    db.batch("DROP TABLE IF EXISTS t1; CREATE TABLE t1 (a int4 PRIMARY KEY, b text)")
    same(db.rows("INSERT INTO t1 VALUES ($1, $2)", ("int4", 1), ("text", "x")), [])
    same(db.values("INSERT INTO t1 VALUES (2, 'y') RETURNING a"), [[("int4", 2)]])
    same(db.values("SELECT * FROM t1 WHERE a > 5"), [])
    same(db.values("SELECT a, b FROM t1 ORDER BY a"), [[("int4", 1), ("text", "x")], [("int4", 2), ("text", "y")]])


def many_rows_and_parameters(db):
    rows = db.values("SELECT i::int4, repeat('x', 10) FROM generate_series(1, 20000) i")
    same((len(rows), rows[0], rows[-1]), (20000, [("int4", 1), ("text", "x" * 10)], [("int4", 20000), ("text", "x" * 10)]))
    n = 2000
    sql = "SELECT " + " + ".join(f"${i}::int8" for i in range(1, n + 1))
    same(db.one(sql, *[("int8", i) for i in range(n)]), ("int8", n * (n - 1) // 2))
    same(db.one("SELECT length($1)", ("text", "\u00e9" * 3_000_000)), ("int4", 3_000_000))
    same(db.one("SELECT $1::bytea", ("bytea", bytes(range(256)) * 10000)), ("bytea", bytes(range(256)) * 10000))


def batches(db):
    same(db.batch("DROP TABLE IF EXISTS t2; CREATE TABLE t2 (a int); INSERT INTO t2 VALUES (1), (2); SELECT * FROM t2"), None)
    same(db.one("SELECT count(*) FROM t2"), ("int8", 2))
    error = fails(db.batch, "INSERT INTO t2 VALUES (3); INSERT INTO t2 VALUES ('x')")
    assert "22P02" in error[1], error
    same(db.one("SELECT count(*) FROM t2"), ("int8", 2))  # a batch is one transaction
    same(db.batch("BEGIN; INSERT INTO t2 VALUES (3); COMMIT; BEGIN; INSERT INTO t2 VALUES (4); ROLLBACK"), None)
    same(db.one("SELECT count(*) FROM t2"), ("int8", 3))


def prepared_statements(db):
    db.batch("DROP TABLE IF EXISTS t3; CREATE TABLE t3 (a int4, b text)")
    insert = db.prepare("INSERT INTO t3 VALUES ($1, $2)")
    for i in range(20):
        same(db.exec(insert, ("int4", i), ("text", f"row {i}")), 1)
    update = db.prepare("UPDATE t3 SET b = $1 WHERE a < $2")
    same(db.exec(update, ("text", "z"), ("int4", 7)), 7)
    same(db.one("SELECT count(*) FROM t3 WHERE b = 'z'"), ("int8", 7))
    same(db.exec(db.prepare("SELECT * FROM t3")), 20)
    same(db.exec(db.prepare("CREATE TABLE IF NOT EXISTS t3 (a int)")), 0)
    same(fails(db.exec, "nonsense"), ("unknown-prepared-query", None))
    error = fails(db.exec, insert, ("int4", 1))
    same((error[0], error[1][0]), ("query-error", "invalid-params"))
    error = fails(db.prepare, "SELEC 1")
    assert error[0] == "unexpected" and error[1].startswith("42601: "), error


def errors_have_sqlstate_and_message(db):
    def check(want, *args):
        error = fails(db.rows, *args)
        assert error[0] == want[0] and want[1] in error[1], f"{error}, expected {want}"
    check(("invalid-query", '42P01: relation "nowhere" does not exist'), "SELECT * FROM nowhere")
    check(("invalid-query", "42601: syntax error"), "SELEC 1")
    check(("invalid-query", "42601: "), "SELECT 1; SELECT 2")
    check(("unexpected", "22012: division by zero"), "SELECT 1/0")
    check(("invalid-params", "22P02: invalid input syntax for type integer"), "SELECT $1::int4", ("text", "x"))
    check(("invalid-params", "2 parameters, and 1 were given"), "SELECT $1::int4, $2::int4", ("int4", 1))
    check(("invalid-params", "22003: "), "SELECT $1::int2", ("int4", 70000))
    db.batch("DROP TABLE IF EXISTS t4; CREATE TABLE t4 (a int4 PRIMARY KEY); INSERT INTO t4 VALUES (1)")
    check(("unexpected", "23505: duplicate key value violates unique constraint"), "INSERT INTO t4 VALUES (1)")
    # Not before the rows have come, and not before the transaction ends.
    check(("unexpected", "22012: "), "SELECT 1 / (5000 - i) FROM generate_series(1, 6000) i")
    db.batch("DROP TABLE IF EXISTS t8; CREATE TABLE t8 (a int4 UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO t8 VALUES (1)")
    check(("unexpected", "23505: "), "INSERT INTO t8 VALUES (1) RETURNING a")
    same(db.one("SELECT count(*) FROM t8"), ("int8", 1))
    same(db.one("SELECT 1"), ("int4", 1))


def what_no_value_can_hold_is_an_error(db):
    def check(part, *args):
        error = fails(db.rows, *args)
        assert part in error[1], f"{error} has no {part!r}"
    check("int4range", "SELECT '[1,2)'::int4range")
    check("has a NULL among its elements", "SELECT ARRAY[1, NULL]")
    check("more than one dimension", "SELECT ARRAY[[1, 2], [3, 4]]")
    check("row", "SELECT ROW(1, 2) AS row")
    check("NUL", "SELECT $1", ("text", "a\0b"))
    check("number of bits", "SELECT $1::bit(3)", ("bit", (3, b"\1\2")))
    check("char", "SELECT $1::text", ("char", (3, b"a")))
    check("varchar", "SELECT $1::text", ("varchar", (1, b"ab")))
    check("no time of a day", "SELECT $1::time", ("time", (25, 0, 0, 0)))
    check("month or day", "SELECT $1::date", ("date", ymd(2024, 13, 1)))
    check("22008", "SELECT $1::date", ("date", ymd(2023, 2, 29)))
    # It is known before anything is executed.
    db.batch("DROP TABLE IF EXISTS t5; CREATE TABLE t5 (a int4range)")
    check("int4range", "INSERT INTO t5 VALUES ('[1,2)') RETURNING a")
    same(db.one("SELECT count(*) FROM t5"), ("int8", 0))
    same(db.one("SELECT '[1,2)'::int4range::text"), ("text", "[1,2)"))
    same(db.one("SELECT pg_sleep(0)"), ("null", None))


def transactions_do_not_leak(db):
    db.batch("DROP TABLE IF EXISTS t6; CREATE TABLE t6 (a int4)")
    for _ in range(3):
        db.rows("BEGIN")
        db.rows("INSERT INTO t6 VALUES (1)")
        db.rows("ROLLBACK")  # of nothing: each call is a transaction of its own
    same(db.one("SELECT count(*) FROM t6"), ("int8", 3))
    db.batch("BEGIN; DELETE FROM t6")
    same(db.one("SELECT count(*) FROM t6"), ("int8", 3))
    error = fails(db.batch, "BEGIN; SELECT 1/0; COMMIT")
    assert "22012" in error[1], error
    same(db.one("SELECT 1"), ("int4", 1))


def sessions_do_not_leak(db):
    db.rows("SET search_path TO nowhere")
    db.rows("SELECT set_config('outrigger.x', 'leaked', false)")
    db.rows("CREATE TEMPORARY TABLE leaked (a int4)")
    db.rows("SELECT pg_advisory_lock(42)")
    for _ in range(4):
        same(db.values("SELECT current_setting('search_path'), current_setting('outrigger.x', true), to_regclass('leaked')::text, "
                       "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')")[0][2:], [("null", None), ("int8", 0)])
        assert db.one("SELECT current_setting('search_path')") != ("text", "nowhere")
        assert db.one("SELECT current_setting('outrigger.x', true)") in (("null", None), ("text", ""))


def changed_tables_are_seen(db):
    db.batch("DROP TABLE IF EXISTS t7; CREATE TABLE t7 (a int4); INSERT INTO t7 VALUES (1)")
    for _ in range(5):
        same(db.values("SELECT * FROM t7"), [[("int4", 1)]])
    db.batch("ALTER TABLE t7 ALTER a TYPE text; ALTER TABLE t7 ADD b bool")
    for _ in range(5):
        same(db.values("SELECT * FROM t7"), [[("text", "1"), ("null", None)]])


FUNCTIONS = [names_and_nulls, statements_without_rows, many_rows_and_parameters, batches, prepared_statements,
             errors_have_sqlstate_and_message, what_no_value_can_hold_is_an_error, transactions_do_not_leak,
             sessions_do_not_leak, changed_tables_are_seen]
PREPARATION = """CREATE EXTENSION IF NOT EXISTS hstore; SET client_min_messages TO warning;
DROP TYPE IF EXISTS mood; CREATE TYPE mood AS ENUM ('sad', 'happy'); ALTER ROLE CURRENT_USER SET timezone TO 'UTC';
ALTER ROLE CURRENT_USER SET lc_monetary TO 'C'"""


def cases():
    """(group, name, function of a Database)"""
    for kind, text, value in VALUES:
        short = text if len(text) < 40 else text[:37] + "..."
        yield "value comes", f"{kind} {short}", lambda db, v=(kind, text, value): value_comes(db, *v)
        yield "value goes", f"{kind} {short}", lambda db, v=(kind, text, value): value_goes(db, *v)
    for value, kind, text in ALIASES:
        yield "value goes", f"{value[0]} as {kind}", lambda db, v=(value, kind, text): alias_goes(db, *v)
    covered = {v[2][0] for v in VALUES} | {v[0][0] for v in ALIASES} | {"null"}
    missing = [name for name, _ in values.CASES if name not in covered]
    assert not missing, f"no case covers {missing}"
    for f in FUNCTIONS:
        yield "function", f.__name__.replace("_", " "), f


def run(db, out=print):
    """Prints what failed, and a table of sums. Returns how many failed."""
    sums = {}
    for group, name, case in cases():
        good = sums.setdefault(group, [0, 0])
        try:
            case(db)
            good[0] += 1
        except Exception as e:  # noqa: BLE001: the next case runs
            good[1] += 1
            out(f"  {group:12} {name:50} {type(e).__name__}: {str(e)[:300]}")
    for group, (good, bad) in sums.items():
        out(f"{group:12} {good:4} passed {bad:4} failed")
    return sum(bad for _, bad in sums.values())


def main(executable):
    import lattice
    from pathlib import Path
    from postgres import Postgres
    server, nats = Postgres(), lattice.nats_server()
    server.sql(PREPARATION)
    lat = lattice.Lattice(nats.port)
    lattice.BIN = Path(os.path.dirname(os.path.abspath(executable)))
    link = lat.link("comp", "pg", server.link_config(), package="wasmcloud:postgres", interfaces=("query", "prepared"))
    lat.provider(os.path.basename(executable), "pg", [link])
    sys.exit(1 if run(Database(lat, "pg")) else 0)


if __name__ == "__main__":
    main(sys.argv[1])
