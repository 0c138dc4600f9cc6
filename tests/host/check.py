"""check-host: our providers under a real wasmCloud 1.9 host, with a real component and Redis.

    check.py [--requests N] [--only WORD[,WORD...]]

The chain is HTTP, http-server, the host, a component (tests/peers/component), the host again,
keyvalue-redis, Redis. http-server runs under the host, keyvalue-redis in each way that a user has:

    host        started by the host from a provider archive
    beside      beside the host, HostData on stdin, no xkeys: links arrive under its own id
    sealed      the same with xkeys, and the Redis URL as a sealed secret of the link
    standalone  beside the host, told its lattice by arguments; links read from its buckets
    container   the same in a container, told by the environment

Links and config are put through the control interface. At the end comes the load: N requests
(default 100,000), each answer compared. --only picks among these words, http, swap and load.

The executables are taken from $BIN (default build/bin). Everything is started here, on free
loopback ports, and ended here. The logs are kept when something failed. Exit codes: 0 all passed,
1 not, 3 the peers are not built and cannot be.
"""

import argparse
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from processes import BIN, end_process
from rig import (DEADLINE_S, LATTICE, Beside, ByHost, Container, Results, Rig, Sealed, Standalone, Wrong, expect,
                 link_document, peers_paths, run_checks, shorten, until)


def value_cases(rig):
    """What a component can do with a key-value store: name and case."""

    def get():
        rig.redis("SET", "known", "from redis")
        expect("get", rig.ok("GET", "/kv/known"), b"from redis")
        expect("get of a missing key", rig.call("GET", "/kv/missing")[0], 404)

    def set_():
        rig.ok("POST", "/kv/fruit", b"quince")
        expect("in Redis", rig.redis("GET", "fruit"), b"quince")
        rig.ok("POST", "/kv/fruit", b"medlar")
        expect("after a second set", rig.ok("GET", "/kv/fruit"), b"medlar")

    def delete():
        rig.redis("SET", "doomed", "x")
        rig.ok("DELETE", "/kv/doomed")
        expect("in Redis", rig.redis("EXISTS", "doomed"), b"0")
        rig.ok("DELETE", "/kv/doomed")

    def exists():
        rig.redis("SET", "present", "")
        expect("exists", rig.ok("GET", "/exists/present"), b"true")
        expect("exists of a missing key", rig.ok("GET", "/exists/absent"), b"false")

    def binary():
        every_byte = bytes(range(256)) * 3
        rig.ok("POST", "/kv/binary", every_byte)
        expect("value", rig.ok("GET", "/kv/binary"), every_byte)
        rig.ok("POST", "/kv/empty", b"")
        expect("empty value", rig.ok("GET", "/kv/empty"), b"")

    def large():
        value = os.urandom(2_500_000)  # three NATS messages
        rig.ok("POST", "/kv/large", value)
        if rig.ok("GET", "/kv/large") != value:
            raise Wrong("a value of 2,500,000 bytes comes back changed")

    def list_keys():
        rig.redis("FLUSHDB")
        expected = {f"key-{i}" for i in range(3000)}
        lines = "\n".join(f"{key} {key.encode().hex()}" for key in expected)
        rig.ok("POST", "/batch", lines.encode())
        found, cursor, pages = set(), "", 0
        while pages == 0 or cursor:
            page = rig.ok("GET", f"/keys?cursor={cursor}" if cursor else "/keys").decode()
            cursor, *keys = page.split("\n")
            found.update(key for key in keys if key)
            pages += 1
        expect("keys that are missing or too many", found ^ expected, set())
        if pages < 2:
            raise Wrong("3,000 keys came in one page, so the cursor was not tried")

    def increment():
        rig.redis("DEL", "counter")
        expect("first", rig.ok("POST", "/incr/counter"), b"1")
        expect("second", rig.ok("POST", "/incr/counter?by=41"), b"42")
        expect("in Redis", rig.redis("GET", "counter"), b"42")

    def increment_text():
        rig.redis("SET", "word", "seven")
        answer = rig.fails("POST", "/incr/word")
        if not answer.startswith(b"other: ") or len(answer) < 12:
            raise Wrong(f"no error text: {shorten(answer)}")
        expect("the next call", rig.ok("POST", "/incr/counter2"), b"1")

    def wrong_type():
        rig.redis("RPUSH", "queue", "a")
        answer = rig.fails("GET", "/kv/queue")
        if not answer.startswith(b"other: ") or len(answer) < 12:
            raise Wrong(f"no error text: {shorten(answer)}")
        rig.redis("SET", "known", "from redis")
        expect("the next call", rig.ok("GET", "/kv/known"), b"from redis")

    def batch():
        rig.ok("POST", "/batch", b"one 01\ntwo 0002\nthree ")
        expect("in Redis", rig.redis("MGET", "one", "two"), b"\x01\n\x00\x02")
        expect("get-many", rig.ok("GET", "/batch?keys=three,nothing,two,one"),
               b"three \n-\ntwo 0002\none 01")
        rig.ok("DELETE", "/batch?keys=one,two,nothing")
        expect("after delete-many", rig.ok("GET", "/batch?keys=one,two,three"), b"-\n-\nthree ")

    return [("get", get), ("set", set_), ("delete", delete), ("exists", exists),
            ("binary values", binary), ("a value above NATS' message size", large),
            ("list-keys over many pages", list_keys), ("increment", increment),
            ("increment of a word is an error, the next call works", increment_text),
            ("get of a list is an error, the next call works", wrong_type),
            ("batch get, set and delete", batch)]


def key_value_link(provider, config, name="default"):
    return link_document("component", provider, "keyvalue", ["store", "atomics", "batch"], name,
                         target_config=[config])


def works(rig):
    until("a call through the link", lambda: rig.ok("GET", "/exists/anything"))


def health(rig, provider):
    return json.loads(rig.nats.request(f"wasmbus.rpc.{LATTICE}.{provider}.health", b"", 2).data)


def healthy(rig, provider):
    expect("health", health(rig, provider), {"healthy": True})


def check_way(rig, results, way):
    """All checks of keyvalue-redis run in one way."""
    provider = way.provider
    link = key_value_link(provider, way.config)
    values = value_cases(rig)
    rig.redis("FLUSHALL")

    def check(name, case, *args):
        return results.check(f"{way.name}: {name}", case, *args)

    def start_after_link():
        rig.put_link(link)
        way.start()
        works(rig)

    def link_after_start():
        rig.del_link(link)
        until("without link", lambda: rig.fails("GET", "/exists/anything"))
        rig.put_link(link)
        way.deliver()
        works(rig)

    def second_link():
        other = key_value_link(provider, "redis-1", "other")
        rig.put_link(other)
        until("the link other", lambda: rig.ok("POST", "/kv/where?link=other", b"database 1"))
        rig.ok("POST", "/kv/where", b"database 0")
        expect("in database 1", rig.redis("-n", "1", "GET", "where"), b"database 1")
        expect("in database 0", rig.redis("GET", "where"), b"database 0")
        rig.del_link(other)
        until("the link other deleted", lambda: rig.fails("GET", "/kv/where?link=other"))
        expect("through default", rig.ok("GET", "/kv/where"), b"database 0")

    def killed():
        way.kill()
        time.sleep(0.2)  # until NATS knows: what it sends to the dead socket before that is lost
        rig.call("GET", "/exists/anything")  # any answer will do, but there must be one
        way.restart()
        until("after the restart", lambda: rig.ok("GET", "/exists/anything"), 20)
        rig.redis("SET", "known", "from redis")
        expect("get", rig.ok("GET", "/kv/known"), b"from redis")

    def redis_gone():
        end_process(rig.redis_server.process)
        try:
            rig.fails("GET", "/kv/known")
            answer = health(rig, provider)
            expect("healthy without Redis", answer["healthy"], False)
            if not answer.get("message"):
                raise Wrong("unhealthy, but no message says why")
        finally:
            rig.redis_server.start()
        until("with Redis back", lambda: rig.ok("POST", "/kv/known", b"again"))
        until("health with Redis back", lambda: healthy(rig, provider))

    def stopped():
        rig.redis("SET", "known", "from redis")
        rig.redis("CLIENT", "PAUSE", "150", "ALL")
        answers = []

        def slow_call():
            try:
                answers.append(rig.call("GET", "/kv/known"))
            except (Wrong, OSError, http.client.HTTPException) as error:
                answers.append(error)

        caller = threading.Thread(target=slow_call)
        caller.start()
        time.sleep(0.05)
        way.stop()
        caller.join()
        expect("a call that ran at the time", answers, [(200, b"from redis")])

    if check("link before start", start_after_link):
        check("health", healthy, rig, provider)
        for name, case in values:
            check(name, case)
        check("link after start", link_after_start)
        check("a second link by name", second_link)
        check("killed and restarted", killed)
        check("Redis gone and back", redis_gone)
        check("told to stop, finishes what runs", stopped)
    rig.del_link(link)


def http_cases(rig):
    def echo():
        for size in (0, 1, 100, 100_000, 3_000_000):
            body = os.urandom(size)
            if rig.ok("POST", "/echo", body) != body:
                raise Wrong(f"{size} bytes come back changed")

    def chunked():
        pieces = [os.urandom(n) for n in (1, 1000, 70_000, 3)]
        status, body = rig.call("POST", "/echo", iter(pieces))  # no length, so http.client chunks
        expect("status", status, 200)
        if body != b"".join(pieces):
            raise Wrong("the body comes back changed")

    def keep_alive():
        connection = http.client.HTTPConnection("127.0.0.1", rig.http_port, timeout=DEADLINE_S)
        connection.connect()
        before = connection.sock
        for i in range(20):
            connection.request("POST", "/echo", body=b"%d" % i)
            expect("answer", connection.getresponse().read(), b"%d" % i)
        expect("same connection", connection.sock is before, True)
        connection.close()

    def full_duplex():
        with socket.create_connection(("127.0.0.1", rig.http_port), timeout=DEADLINE_S) as s:
            s.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            seen = b""
            for word in (b"first", b"second", b"third"):
                s.sendall(b"%x\r\n%s\r\n" % (len(word), word))
                while word not in seen:
                    seen += s.recv(1000) or b"(the connection ended) " + word
            s.sendall(b"0\r\n\r\n")
            while not seen.endswith(b"0\r\n\r\n"):
                more = s.recv(1000)
                if not more:
                    raise Wrong("the connection ended before the answer did")
                seen += more
        expect("connection ended early", b"(the connection" in seen, False)

    def not_found():
        expect("status", rig.call("GET", "/nowhere")[0], 404)

    return [("bodies of many sizes", echo), ("chunked body", chunked), ("keep-alive", keep_alive),
            ("answers while the request goes on", full_duplex),
            ("the component's status", not_found)]


def check_http(rig, results, way, link):
    def link_again():
        rig.del_link(link)

        def closed():
            try:
                socket.create_connection(("127.0.0.1", rig.http_port), timeout=1).close()
            except ConnectionRefusedError:
                return
            raise Wrong(f"port {rig.http_port} still accepts")

        until("without link", closed)
        rig.put_link(link)
        until("with the link again", lambda: rig.ok("GET", "/echo"))

    def killed():
        way.kill()
        until("after the restart", lambda: rig.ok("GET", "/echo"), 20)

    results.check("http: health", healthy, rig, way.provider)
    for name, case in http_cases(rig):
        results.check(f"http: {name}", case)
    results.check("http: link removed and put again", link_again)
    results.check("http: killed and restarted", killed)


def wcp(rig, *words):
    run = subprocess.run([BIN / "wcp", *words, "--nats", rig.nats_url, "--lattice", LATTICE],
                         capture_output=True, text=True, timeout=30)
    if run.returncode:
        raise Wrong(f"wcp {' '.join(words)}: {run.stderr.strip()}")


def check_swap(rig, results):
    """The example provider takes the place of keyvalue-redis under load, Redis comes back, and it again."""
    redis = Standalone(rig, "kv-before")
    memory = Standalone(rig, "kv-memory", "keyvalue-memory")
    link = ["--source", "component", "--interface", "wasi:keyvalue/store,atomics,batch"]

    def start():
        redis.start()
        memory.start()
        wcp(rig, "link", "put", *link, "--target", redis.provider,
            "--target-config", f"URL={rig.redis_url}")
        works(rig)

    def swap():
        answers, stop = [], threading.Event()

        def caller():
            while not stop.is_set():
                try:
                    answers.append(rig.call("GET", "/exists/anything")[0])
                except (Wrong, OSError, http.client.HTTPException) as error:
                    answers.append(repr(error))

        callers = [threading.Thread(target=caller) for _ in range(4)]
        for thread in callers:
            thread.start()
        try:
            for change in (["--to", memory.provider], ["--rollback"], ["--to", memory.provider]):
                time.sleep(0.3)
                wcp(rig, "swap", "component", "wasi:keyvalue/store,atomics,batch", *change)
            time.sleep(0.3)
        finally:
            stop.set()
            for thread in callers:
                thread.join()
        bad = [a for a in answers if a != 200]
        if bad or len(answers) < 100:
            raise Wrong(f"{len(bad)} of {len(answers)} requests failed, the first: {bad[:1]}")
        redis.stop()

    def values():
        rig.ok("POST", "/kv/fruit", b"quince")
        expect("get", rig.ok("GET", "/kv/fruit"), b"quince")
        expect("in Redis", rig.redis("EXISTS", "fruit"), b"0")
        rig.ok("DELETE", "/kv/fruit")
        expect("exists", rig.ok("GET", "/exists/fruit"), b"false")

    if results.check("swap: start, link put by wcp", start):
        results.check("swap: swapped in, back and in again under load", swap)
        results.check("swap: get, set, delete, exists", values)
        results.check("swap: health", healthy, rig, memory.provider)
        results.check("swap: told to stop", memory.stop)
    wcp(rig, "link", "del", *link)


def check_load(rig, results, load_exe, requests):
    way = ByHost(rig, "kv-load")
    link = key_value_link(way.provider, "redis")
    value = os.urandom(32)

    def load():
        rig.put_link(link)
        way.start()
        works(rig)
        rig.ok("POST", "/kv/load", value)
        command = [load_exe, f"127.0.0.1:{rig.http_port}", str(requests), "8", "load", value.hex()]
        process = rig.run("load", command, stdout=subprocess.PIPE)
        with open(rig.log("load"), "ab") as log:
            for line in process.stdout:
                log.write(line)
                print(line.decode().rstrip(), flush=True)
        expect("exit code of the load", process.wait(), 0)

    results.check(f"load: {requests:,} requests, 8 in flight", load)


def check_all(rig, results, peers, options):
    _, component, load_exe = peers
    wanted = options.only.split(",") if options.only else []

    def asked(name):
        return not wanted or name in wanted

    rig.start()
    rig.put_config("redis", {"url": rig.redis_url})
    rig.put_config("redis-1", {"url": rig.redis_url + "/1"})
    rig.put_config("http", {"address": f"127.0.0.1:{rig.http_port}"})
    server = ByHost(rig, "http", "http-server")
    link = link_document("http", "component", "http", ["incoming-handler"], source_config=["http"])

    def front():
        rig.control(f"component.scale.{rig.host_id}", {
            "component_ref": f"file://{component}", "component_id": "component",
            "host_id": rig.host_id, "annotations": {}, "count": 100, "config": []})
        rig.event("component_scaled", "component_scale_failed", "component")
        rig.put_link(link)
        server.start()
        until("a request", lambda: rig.ok("GET", "/echo"))

    if not results.check("http: link before start", front):
        return
    if asked("http"):
        check_http(rig, results, server, link)
    for way in (ByHost, Beside, Sealed, Standalone):
        if asked(way.name):
            check_way(rig, results, way(rig, f"kv-{way.name}"))
    if asked("container"):
        if shutil.which("podman"):
            container = Container(rig, "kv-container")
            try:
                check_way(rig, results, container)
            finally:
                container.remove()
        else:
            print("skipped container: podman is not installed")
    if asked("swap"):
        check_swap(rig, results)
    if asked("load") and options.requests:
        check_load(rig, results, load_exe, options.requests)
    if asked("http"):
        results.check("http: told to stop", server.stop)


def main():
    parser = argparse.ArgumentParser(description="our providers under a real wasmCloud host")
    parser.add_argument("--requests", type=int, default=100_000, metavar="N", help="of the load")
    parser.add_argument("--only", metavar="WORDS",
                        help="of http,host,beside,sealed,standalone,container,swap,load")
    options = parser.parse_args()
    for exe in ("keyvalue-redis", "http-server", "keyvalue-memory"):
        if not os.access(BIN / exe, os.X_OK):
            sys.exit(f"check-host: {BIN / exe} is not there: run make first")
    for tool in ("nats-server", "redis-server", "redis-cli"):
        if not shutil.which(tool):
            sys.exit(f"check-host: {tool} is not installed")
    peers = peers_paths("check-host", "lattice-host", "component", "load")
    results = Results()
    rig = Rig(peers[0])
    run_checks("check-host", rig, results, lambda: check_all(rig, results, peers, options))


if __name__ == "__main__":
    main()
