"""test_keyvalue: keyvalue-redis and keyvalue-memory through NATS, with a real Redis that fails in every way
it can, and counter on top of them. usage: test_keyvalue.py [NAME-PART]..., BIN=dir for the executables."""

import json
import os
import re
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lattice as e2e
from lattice import Reader, items, leb, text, wait_for

STORE, ATOMICS, BATCH = (f"wrpc:keyvalue/{i}@0.2.0-draft" for i in ("store", "atomics", "batch"))
nats = e2e.nats_server()
redis = e2e.redis_server()
lat = e2e.Lattice(nats.port)


class Error(Exception):
    """The interface's error."""


class Store:
    """The functions of a provider as Python's."""

    def __init__(self, target, source="comp", link="default", bucket=""):
        self.target, self.source, self.link, self.bucket = target, source, link, bucket

    def start(self, instance, function, params):
        return lat.start_call(self.target, instance, function, text(self.bucket) + params, self.source, self.link)

    def call(self, instance, function, params, ok=lambda r: None, timeout=10):
        return self.read(self.start(instance, function, params).result(timeout), ok)

    @staticmethod
    def read(data, ok):
        if not data:
            raise e2e.Incomplete("the results ended without a value")
        r = Reader(data)
        if r.byte():
            tag = r.leb()
            raise Error(r.text() if tag == 2 else ["no-such-store", "access-denied"][tag])
        return ok(r)  # what follows is the same again: answers may be repeated (wrpc.md 2.8a)

    def get(self, key, timeout=10):
        return self.call(STORE, "get", text(key), lambda r: r.option(r.bytes), timeout)

    def set(self, key, value):
        return self.call(STORE, "set", text(key) + text(value))

    def delete(self, key):
        return self.call(STORE, "delete", text(key))

    def exists(self, key):
        return self.call(STORE, "exists", text(key), lambda r: bool(r.byte()))

    def list_keys(self, cursor=None):
        at = b"\0" if cursor is None else b"\1" + leb(cursor)
        return self.call(STORE, "list-keys", at, lambda r: (r.list(r.text), r.option(r.leb)))

    def increment(self, key, delta=1):
        return self.call(ATOMICS, "increment", text(key) + leb(delta), lambda r: r.leb())

    def get_many(self, keys):
        return self.call(BATCH, "get-many", items([text(k) for k in keys]),
                         lambda r: r.list(lambda: r.option(lambda: (r.text(), r.bytes()))))

    def set_many(self, pairs):
        return self.call(BATCH, "set-many", items([text(k) + text(v) for k, v in pairs]))

    def delete_many(self, keys):
        return self.call(BATCH, "delete-many", items([text(k) for k in keys]))


def fails(kind, fn, *args):
    """The message of the exception of that kind that fn raises."""
    try:
        value = fn(*args)
    except kind as e:
        return str(e)
    raise AssertionError(f"{fn.__name__}{args} gave {value!r}, expected {kind.__name__}")


def same(got, want):
    assert got == want, f"{got!r:.300}, expected {want!r:.300}"


def has(got, *parts):
    for part in parts:
        assert part in got, f"{got!r:.600} has no {part!r}"


class running:
    """A provider in a with statement; at the end it must leave in good order."""

    def __init__(self, name="keyvalue-redis", provider_id="kv", links=(), **members):
        self.provider = lat.provider(name, provider_id, links, **members)

    def __enter__(self):
        return self.provider

    def __exit__(self, kind, value, trace):
        p = self.provider
        if kind:
            if p.process.poll() is not None:
                print(f"# {p.id} ended with {p.process.returncode}", file=sys.stderr)
            print("# " + "\n# ".join(p.log().splitlines()[-15:]), file=sys.stderr)
            p.kill()
            return
        if p.process.poll() is None:
            p.terminate()
        assert p.wait() == 0, f"{p.id} ended with {p.process.returncode}: {p.log()[-3000:]}"
        assert "Sanitizer" not in p.log(), p.log()


def url(db=0, port=None):
    return f"redis://127.0.0.1:{port or redis.port}/{db}"


def link(source="comp", db=0, name="default", target="kv", **config):
    return lat.link(source, target, {"URL": url(db), **config}, name=name)


def flush():
    e2e.redis(redis.port, "FLUSHALL")


def when_healthy(provider, healthy=True):
    wait_for(f"health {healthy}, is {provider.health()}", lambda: provider.health()["healthy"] == healthy)


# --- the functions ---


def check_store(s):
    same(s.get("none"), None)
    same(s.exists("none"), False)
    s.set("a", "1")
    same(s.get("a"), b"1")
    same(s.exists("a"), True)
    s.set("a", b"")
    same(s.get("a"), b"")
    binary = bytes(range(256)) * 3 + b"\r\n$-1\r\n\0"
    s.set("bin\u00e4r \U0001f600", binary)
    same(s.get("bin\u00e4r \U0001f600"), binary)
    s.set("", "no name")
    same(s.get(""), b"no name")
    keys, cursor = s.list_keys()
    same((sorted(keys), cursor), (["", "a", "bin\u00e4r \U0001f600"], None))
    s.delete("")
    s.delete("a")
    s.delete("a")
    same(s.exists("a"), False)


def store_functions():
    flush()
    with running(links=[link()]):
        check_store(Store("kv", bucket="any"))
        same(e2e.redis(redis.port, "EXISTS", "bin\u00e4r \U0001f600"), 1)


def large_values_come_back_whole():
    flush()
    with running(links=[link()]):
        for size in (100_000, 1_048_576, 5_000_000):
            value = os.urandom(1000) * (size // 1000)
            Store("kv").set("big", value)
            same(Store("kv").get("big"), value)
        keys = [f"k{i}" for i in range(20_000)]
        Store("kv").set_many([(k, k) for k in keys])
        same(Store("kv").get_many(keys), [(k, k.encode()) for k in keys])


def list_keys_goes_on_at_the_cursor():
    flush()
    want = {f"key-{i}" for i in range(1000)}
    with running(links=[link()]):
        s = Store("kv")
        s.set_many([(k, "v") for k in want])
        got, cursor, steps = set(), None, 0
        while True:
            keys, cursor = s.list_keys(cursor)
            got.update(keys)
            steps += 1
            if cursor is None:
                break
        same(got, want)
        assert 5 <= steps <= 20, f"{steps} steps"
        s.list_keys(2**64 - 1)  # any cursor is Redis' to judge: it answers


def list_keys_leaves_out_what_is_not_utf8():
    flush()
    e2e.redis(redis.port, "SET", b"\xff\xfe", "x")
    e2e.redis(redis.port, "SET", "fine", "x")
    with running(links=[link()]) as p:
        same(Store("kv").list_keys(), (["fine"], None))
        p.logged("not UTF-8")


def increments():
    flush()
    with running(links=[link()]):
        s = Store("kv")
        same(s.increment("n"), 1)
        same(s.increment("n", 41), 42)
        same(s.get("n"), b"42")
        same(s.increment("n", 0), 42)
        same(s.increment("n", 2**63 - 1 - 42), 2**63 - 1)
        has(fails(Error, s.increment, "n"), "redis: the sum is out of range")
        has(fails(Error, s.increment, "m", 2**63), "redis: delta 9223372036854775808")
        e2e.redis(redis.port, "SET", "negative", -5)
        same(s.increment("negative", 2), 2**64 - 3)
        s.set("word", "abc")
        has(fails(Error, s.increment, "word"), "redis: the value is not a number")


def batches():
    flush()
    with running(links=[link()]):
        s = Store("kv")
        same(s.get_many([]), [])
        s.set_many([])
        s.delete_many([])
        s.set_many([("a", "1"), ("b", b"\0\xff"), ("c", ""), ("a", "2")])
        same(s.get_many(["c", "none", "a", "b", "a"]),
             [("c", b""), None, ("a", b"2"), ("b", b"\0\xff"), ("a", b"2")])
        e2e.redis(redis.port, "LPUSH", "list", "x")
        same(s.get_many(["list", "a"]), [None, ("a", b"2")])
        s.delete_many(["a", "none", "b"])
        same(s.get_many(["a", "b", "c"]), [None, None, ("c", b"")])


def errors_of_redis_are_short_and_typed():
    flush()
    e2e.redis(redis.port, "LPUSH", "list", "x")
    with running(links=[link()]) as p:
        s = Store("kv")
        same(fails(Error, s.get, "list"), "redis: the key holds another kind of value")
        same(fails(Error, s.increment, "list"), "redis: the key holds another kind of value")
        same(s.get("none"), None)
        same(p.health(), {"healthy": True})


def memory_functions():
    with running("keyvalue-memory", "mem", [lat.link("comp", "mem"), lat.link("other", "mem")]):
        s = Store("mem")
        check_store(s)
        same(s.increment("n", 41), 41)
        same(s.increment("n"), 42)
        same(s.get("n"), b"42")
        s.set("n", "x")
        has(fails(Error, s.increment, "n"), "not a number")
        same(Store("mem", "other").get("n"), None)
        fails(e2e.NoResponders, s.get_many, [])


# --- links ---


def links_have_their_own_store():
    flush()
    with running(links=[link(db=1), link(db=2, name="second"), link("other", db=3)]) as p:
        first, second, other = Store("kv"), Store("kv", link="second"), Store("kv", "other")
        first.set("k", "1")
        second.set("k", "2")
        other.set("k", "3")
        same([s.get("k") for s in (first, second, other)], [b"1", b"2", b"3"])
        p.delete(link(db=2, name="second"))
        lat.nats.flush()
        time.sleep(0.2)
        fails(e2e.Incomplete, second.get, "k")
        same(first.get("k"), b"1")
        same(other.get("k"), b"3")


def link_is_put_changed_and_deleted():
    flush()
    with running() as p:
        s = Store("kv")
        fails(e2e.Incomplete, s.get, "k")
        p.put(link(db=4))
        s.set("k", "four")
        p.put(link(db=4))  # the same again: nothing happens
        p.put(link(db=5))
        wait_for("the changed link", lambda: s.get("k") is None)
        s.set("k", "five")
        same(e2e.redis(redis.port, "DBSIZE"), 0)
        p.delete(link())
        wait_for("the link to go", lambda: s.start(STORE, "get", text("k")).result() == b"")
        p.put(link(db=4))
        same(s.get("k"), b"four")
        same(p.health(), {"healthy": True})


def call_before_its_link_waits():
    flush()
    with running() as p:
        call = Store("kv", "late").start(STORE, "exists", text("k"))
        time.sleep(0.2)
        p.put(link("late"))
        same(call.result()[:2], b"\0\0")


def calls_run_through_a_change_of_links():
    flush()
    with running(links=[link(db=0)]) as p:
        stop, count, bad = threading.Event(), [0], []

        def load():
            while not stop.is_set():
                try:
                    Store("kv").increment("n")
                    count[0] += 1
                except Exception as e:
                    bad.append(e)
        threads = [threading.Thread(target=load) for _ in range(4)]
        for t in threads:
            t.start()
        for i in range(20):
            p.put(link(db=i % 2))
            time.sleep(0.02)
        stop.set()
        for t in threads:
            t.join()
        same(bad, [])
        total = 0
        for db in (0, 1):
            s = socket.create_connection(("127.0.0.1", redis.port))
            s.sendall(b"SELECT %d\r\nGET n\r\n" % db)
            f = s.makefile("rb")
            f.readline()
            f.readline()
            total += int(f.readline())
            s.close()
        same(total, count[0])


def urls_come_from_the_nearest_place():
    flush()
    bare = lat.link("comp", "kv", {})
    secret = {"URL": {"kind": "String", "value": url(6)}}

    def db_of(s):
        s.set("here", "x")
        info = e2e.redis(redis.port, "INFO", "keyspace").decode()
        flush()
        return re.findall(r"db(\d+):", info)
    with running(links=[bare, lat.link("own", "kv", {"url": url(7)})], secrets=secret,
                 config={"URL": url(8)}):
        same(db_of(Store("kv")), ["6"])
        same(db_of(Store("kv", "own")), ["7"])
    with running(links=[bare], config={"Url": url(8)}):
        same(db_of(Store("kv")), ["8"])
    with running(links=[lat.link("comp", "kv", {"disable_default_connection": ""})], config={"URL": url(8)}) as p:
        p.logged("DISABLE_DEFAULT_CONNECTION is set", "comp")
        fails((e2e.Incomplete, Error), Store("kv").get, "k")
        same(p.health()["healthy"], False)


def connections_are_shared_by_url_when_asked():
    def clients():
        return len([line for line in e2e.redis(redis.port, "CLIENT", "LIST").decode().splitlines()
                    if "cmd=client" not in line])
    shared = [link(f"c{i}", SHARE_CONNECTIONS_BY_URL="") for i in range(5)]
    own = [link(f"d{i}") for i in range(3)]
    with running(links=shared) as p:
        wait_for("one connection", lambda: clients() == 1)
        for i in range(4):
            Store("kv", f"c{i}").set("k", "v")
            p.delete(shared[i])
        same(Store("kv", "c4").get("k"), b"v")
        same(clients(), 1)
        p.delete(shared[4])
        wait_for("no connection", lambda: clients() == 0)
    with running(links=own):
        wait_for("three connections", lambda: clients() == 3)
    wait_for("no connection", lambda: clients() == 0)


def bad_configuration_is_told_in_one_line():
    secret = "s3cr3t"
    bad = {
        "foo": "URL: does not start with redis:// or unix://",
        "http://h": "URL: scheme 'http', expected redis or unix",
        "rediss://h": "URL: rediss:// needs TLS",
        f"redis://:{secret}@h:99999": "URL: the port is no number from 1 to 65535",
        f"redis://u:{secret}": "URL: the port is no number",
        f"redis://u:{secret}/x@h": "written %2F",
    }
    with running(links=[lat.link(f"c{i}", "kv", {"URL": u}) for i, u in enumerate(bad)] +
                 [link("numbers", BACKEND_RESPONSE_TIMEOUT_MS="soon", BACKEND_CONNECTION_TIMEOUT_MS="-1",
                       BACKEND_RECONNECT_NUM_RETRIES="99999999999999999999")]) as p:
        for i, message in enumerate(bad.values()):
            line = json.loads(p.logged(message, f"c{i}"))
            same(line["level"].lower() in ("error", "warn"), True)
            fails((e2e.Incomplete, Error), Store("kv", f"c{i}").get, "k")
        for key, value in (("BACKEND_RESPONSE_TIMEOUT_MS", "soon"), ("BACKEND_CONNECTION_TIMEOUT_MS", "-1"),
                           ("BACKEND_RECONNECT_NUM_RETRIES", "99999999999999999999")):
            p.logged("expected a whole number", f'"{key}"', f'"{value}"')
        Store("kv", "numbers").get("k")  # with the defaults
        same(p.health()["healthy"], False)
        assert secret not in p.log(), p.log()
        assert secret not in json.dumps(p.health())
        p.put(lat.link("c0", "kv", {"URL": url()}))  # repaired
        Store("kv", "c0").get("k")


def watcher_links_are_refused():
    with running(links=[lat.link("kv", "comp", interfaces=["watcher"]), link()]) as p:
        p.logged("watcher")
        Store("kv").get("k")


def passwords_and_sockets():
    path = e2e.temporary_path("redis.sock")
    server = e2e.redis_server("--requirepass", "p@ss/w", unix=path)
    with running(links=[
            lat.link("tcp", "kv", {"URL": f"redis://:p%40ss%2Fw@localhost:{server.port}/1"}),
            lat.link("user", "kv", {"URL": f"redis://default:p%40ss%2Fw@127.0.0.1:{server.port}/1"}),
            lat.link("unix", "kv", {"URL": f"unix://{path}?db=1&pass=p%40ss%2Fw"}),
            lat.link("wrong", "kv", {"URL": f"redis://:s3cr3t@127.0.0.1:{server.port}"}),
            lat.link("none", "kv", {"URL": f"redis://127.0.0.1:{server.port}"}),
            lat.link("db", "kv", {"URL": f"redis://:p%40ss%2Fw@127.0.0.1:{server.port}/77"})]) as p:
        Store("kv", "tcp").set("k", "v")
        same(Store("kv", "user").get("k"), b"v")
        same(Store("kv", "unix").get("k"), b"v")
        for source, why in (("wrong", "AUTH: WRONGPASS"), ("none", "PING: NOAUTH"), ("db", "SELECT: ERR")):
            has(fails(Error, Store("kv", source).set, "k", "v"), "redis: not connected")
            p.logged(why)
        same(p.health()["healthy"], False)
        assert "p@ss" not in p.log() and "s3cr3t" not in p.log(), p.log()
    server.kill()


# --- a backend that fails ---


def redis_is_killed_and_restarted_under_load():
    flush()
    server = e2e.redis_server()
    with running(links=[lat.link("victim", "kv", {"URL": url(port=server.port)}), link("other")]) as p:
        stop, outcomes, slowest = threading.Event(), [], [0]

        def load(source):
            while not stop.is_set():
                before = time.monotonic()
                try:
                    Store("kv", source).set("k", "v")
                    outcomes.append((source, "ok"))
                except Error as e:
                    outcomes.append((source, str(e)))
                    time.sleep(0.001)
                except Exception as e:
                    outcomes.append((source, repr(e)))
                slowest[0] = max(slowest[0], time.monotonic() - before)
        threads = [threading.Thread(target=load, args=(s,)) for s in ("victim", "victim", "other", "other")]
        for t in threads:
            t.start()
        time.sleep(0.3)
        server.kill()
        when_healthy(p, False)
        has(p.health()["message"], "victim")
        time.sleep(1.5)
        before = time.monotonic()
        has(fails(Error, Store("kv", "victim").get, "k"), "redis: not connected")
        assert time.monotonic() - before < 0.2, "a call to a server that is known to be away fails at once"
        server.start()
        when_healthy(p)
        mark = len(outcomes)
        wait_for("recovery", lambda: ("victim", "ok") in outcomes[mark:])
        stop.set()
        for t in threads:
            t.join()
        same({o for s, o in outcomes if s == "other"}, {"ok"})
        bad = {o for s, o in outcomes if s == "victim"} - {"ok"}
        assert bad and bad <= {"redis: not connected", "redis: the connection was lost"}, bad
        assert slowest[0] < 2, slowest
        assert len(p.log().splitlines()) < 20, p.log()  # no line for each call
    server.kill()


def redis_is_paused_under_load():
    server = e2e.redis_server()
    with running(links=[lat.link("victim", "kv", {"URL": url(port=server.port),
                                                   "backend_response_timeout_ms": "300"}), link("other")]) as p:
        v = Store("kv", "victim")
        same(v.increment("n"), 1)
        server.pause()
        with ThreadPoolExecutor(20) as pool:
            before = time.monotonic()
            calls = [pool.submit(fails, Error, v.increment, "n") for _ in range(20)]
            for c in calls:
                has(c.result(), "redis: no answer within 300 ms")
            assert 0.25 < time.monotonic() - before < 1.5
        same(p.health()["healthy"], False)
        Store("kv", "other").get("k")
        time.sleep(2)  # long enough for the connection to be given up
        server.resume()
        when_healthy(p)
        # Those 20 may have been executed, but never twice.
        same(v.increment("n"), 22)
    server.kill()


def redis_refuses():
    server = e2e.redis_server()
    with running(links=[lat.link("comp", "kv", {"URL": url(port=server.port)})]) as p:
        s = Store("kv")
        s.set("k", "v")
        e2e.redis(server.port, "CONFIG", "SET", "maxmemory", "1")
        for _ in range(20):
            same(fails(Error, s.set, "k", "v" * 1000), "redis: refused the command: OOM")
        same(s.get("k"), b"v")
        p.logged("redis refuses 'set': OOM command not allowed")
        same(p.log().count("redis refuses"), 1)
        has(p.health()["message"], "OOM")
        e2e.redis(server.port, "CONFIG", "SET", "maxmemory", "0")
        s.set("k", "w")
        e2e.redis(server.port, "REPLICAOF", "127.0.0.1", "1")
        same(fails(Error, s.set, "k", "v"), "redis: refused the command: READONLY")
        e2e.redis(server.port, "REPLICAOF", "NO", "ONE")
        time.sleep(5.1)
        s.set("k", "v")
        same(p.health(), {"healthy": True})
    server.kill()


def redis_answers_garbage():
    """Servers that are none: each answers what it reads with the next of its lines."""
    flush()
    def serve(lines):
        listener = socket.create_server(("127.0.0.1", 0))

        def run():
            while True:
                peer, _ = listener.accept()
                with peer:
                    for line in lines:
                        if not peer.recv(65536):
                            break
                        peer.sendall(line)
        threading.Thread(target=run, daemon=True).start()
        return f"redis://127.0.0.1:{listener.getsockname()[1]}"
    acts = {
        "http": [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
        "garbage": [b"+PONG\r\n", b"\0\1\2garbage\r\n"],
        "unasked": [b"+PONG\r\n", b"$-1\r\n+more\r\n+more\r\n"],
        "kind": [b"+PONG\r\n", b":5\r\n", b":5\r\n"],
        "huge": [b"+PONG\r\n", b"*2147483647\r\n"],
        "deep": [b"+PONG\r\n", b"*1\r\n" * 20],
        "closes": [b""],
    }
    with running(links=[lat.link(k, "kv", {"URL": serve(v)}) for k, v in acts.items()] + [link()]) as p:
        for name in acts:
            for _ in range(3):
                try:
                    Store("kv", name).get("k")
                except Error as e:
                    has(str(e), "redis: ")
        has(fails(Error, Store("kv", "kind").get, "k"), "redis: ")
        same(Store("kv").exists("k"), False)
        same(p.health()["healthy"], False)


# --- the lattice ---


def wire_bytes_that_are_no_call():
    flush()
    with running(links=[link()]) as p:
        for params in (b"", b"\xff\xff\xff\xff\x0f", text("") + b"\x05ab", text("") + text(b"\xff\xfe"),
                       b"\x80\x80\x80\x80\x80\x80\x01"):
            call = lat.start_call("kv", STORE, "get", params)
            same(call.result(), b"")
        p.logged("get")
        for headers in ({"source-id": "stranger"}, {"source-id": "comp", "link-name": "unknown"}, {"x": "y"}):
            same(lat.call("kv", STORE, "get", text("") + text("k"), headers=headers), b"")
        lat.nats.publish(f"test.kv.wrpc.0.0.1.{STORE}.get", b"\0\0")  # no reply subject
        for what in ("linkdefs.put", "linkdefs.del", "default.shutdown", "config.update"):
            for junk in (b"", b"{", b"[]", b"{}", b"\xff", b'{"source_id":1}', b"null"):
                lat.nats.publish(p.control(what), junk)
        same(Store("kv").get("k"), None)
        same(p.health(), {"healthy": True})


def functions_that_are_not_there():
    with running(links=[link()]):
        for instance, function in ((STORE, "nope"), ("wrpc:keyvalue/watcher@0.2.0-draft", "on-set"),
                                   ("wrpc:keyvalue/store@0.9.0", "get")):
            fails(e2e.NoResponders, lat.call, "kv", instance, function)


def host_data_that_is_none():
    for stdin, part in ((b"", "nothing"), (b"!!!\n", "base64"), (b"e30=\n", "missing"), (b"eyJ4Ijo=\n", "JSON")):
        p = e2e.Provider(lat, "keyvalue-redis", "kv", stdin=stdin)
        assert p.wait(5) not in (0, None) and p.process.returncode > 0, p.process.returncode
        lines = p.log().splitlines()
        same(len(lines), 1)
        has(lines[0].lower(), part.lower())


def leaving_loses_no_call():
    """One of two that serve under the same id leaves, in both ways, while eight callers go on."""
    for leave in (lambda p: has(p.shutdown().decode(), ""), e2e.Provider.terminate):
        flush()
        with running(links=[link()], host_id="NANOTHER"):
            goes = lat.provider("keyvalue-redis", "kv", [link()])
            stop, lost, counted = threading.Event(), [], []

            def load():
                while not stop.is_set():
                    try:
                        counted.append(Store("kv").increment("n"))
                    except Exception as e:
                        lost.append(e)
            threads = [threading.Thread(target=load) for _ in range(8)]
            for t in threads:
                t.start()
            time.sleep(0.3)
            leave(goes)
            same(goes.wait(), 0)
            time.sleep(0.3)
            stop.set()
            for t in threads:
                t.join()
            same(lost, [])
            same(sorted(counted), list(range(1, len(counted) + 1)))


def running_calls_end_before_it_leaves():
    server = e2e.redis_server()
    slow = lat.link("comp", "kv", {"URL": url(port=server.port), "BACKEND_RESPONSE_TIMEOUT_MS": "10000"})
    with running(links=[slow]) as p:
        Store("kv").set("k", "v")
        server.pause()
        calls = [Store("kv").start(STORE, "get", text("k")) for _ in range(10)]
        wait_for("the calls to be accepted", lambda: all(c.accepted for c in calls))
        p.terminate()
        time.sleep(0.3)
        server.resume()
        for c in calls:
            same(c.result()[:4], b"\0\1" + text("v"))
        same(p.wait(), 0)
    server.kill()


# --- the counter ---

HANDLER = "wrpc:http/incoming-handler@0.1.0"


def http_get(path, target="counter", method=0):
    """(status, body) of a request with an empty inline trailers future and no body."""
    request = (b"\0" + b"\1\0" + leb(method) + b"\1" + text(path) + b"\1\0" + b"\1" + text("h") + items([]))
    r = Reader(lat.call(target, HANDLER, "handle", request, headers={"source-id": "test"}))
    same(r.byte(), 0)
    body = r.bytes()  # inline
    same((r.byte(), r.byte()), (1, 0))
    status = r.leb()
    r.list(lambda: (r.text(), r.list(r.bytes)))
    return status, body.decode()


def counter_counts_and_its_store_is_swapped():
    flush()
    to_redis = lat.link("counter", "kv", {"URL": url()})
    to_memory = lat.link("counter", "mem")
    with running(links=[to_redis]), running("keyvalue-memory", "mem", [to_memory]), \
            running("counter", "counter") as counter:
        same(http_get("/a"), (503, "no key-value store is linked\n"))
        counter.put(to_redis)
        wait_for("the link", lambda: http_get("/a")[0] == 200)
        same(http_get("/a"), (200, "a: 2\n"))
        same(http_get("/b?x=1"), (200, "b: 1\n"))
        same(http_get("/")[0], 404)
        same(http_get("/a", method=2)[0], 405)
        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(http_get, "/many") for _ in range(400)]
        same(sorted(int(a.result()[1].split()[1]) for a in answers), list(range(1, 401)))
        e2e.redis(redis.port, "SET", "word", "x")
        has(http_get("/word")[1], "the key-value store says: redis: the value is not a number")
        counter.put(to_memory)
        wait_for("the other store", lambda: http_get("/a") == (200, "a: 1\n"))
        counter.delete(to_memory)
        wait_for("the first store again", lambda: http_get("/a") == (200, "a: 3\n"))


e2e.run([store_functions, large_values_come_back_whole, list_keys_goes_on_at_the_cursor,
         list_keys_leaves_out_what_is_not_utf8, increments, batches, errors_of_redis_are_short_and_typed,
         memory_functions, links_have_their_own_store, link_is_put_changed_and_deleted,
         call_before_its_link_waits, calls_run_through_a_change_of_links, urls_come_from_the_nearest_place,
         connections_are_shared_by_url_when_asked, bad_configuration_is_told_in_one_line,
         watcher_links_are_refused, passwords_and_sockets, redis_is_killed_and_restarted_under_load,
         redis_is_paused_under_load, redis_refuses, redis_answers_garbage, wire_bytes_that_are_no_call,
         functions_that_are_not_there, host_data_that_is_none, leaving_loses_no_call,
         running_calls_end_before_it_leaves,
         counter_counts_and_its_store_is_swapped])
