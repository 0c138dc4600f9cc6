"""test_admin: the admin port of real providers, /livez, /readyz, /metrics and /links, with everything around them that
comes and goes; and traces from an HTTP request to the last provider. usage: test_admin.py [NAME-PART]..., BIN=dir."""

import http.client
import json
import os
import queue
import re
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import framed
import lattice as e2e
from framed import Listener
from lattice import leb, text, wait_for

STORE, ATOMICS = "wrpc:keyvalue/store@0.2.0-draft", "wrpc:keyvalue/atomics@0.2.0-draft"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACE = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01", "tracestate": "congo=t61rcWkgMzE"}
nats = e2e.nats_server()
redis = e2e.redis_server()
lat = e2e.Lattice(nats.port)


def ask(port, path, method="GET"):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        c.request(method, path)
        r = c.getresponse()
        return r.status, r.read().decode(), r.headers
    finally:
        c.close()


def ready(port):
    status, body, _ = ask(port, "/readyz")
    return status, body.splitlines()


def when_ready(port, *parts):
    """Waits until /readyz says 503 with a line that has these parts; without parts: 200."""
    def is_so():
        try:
            status, lines = ready(port)
        except ConnectionError:
            return False  # it is still starting
        return status == 503 and any(all(p in line for p in parts) for line in lines) if parts else status == 200
    wait_for(f"/readyz with {parts or 200}", is_so)


# --- a strict reader of the text format (0.0.4) ---

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\d+(?:\.\d+)?)")


def parse(body):
    """{name: {labels: value}}; labels are a frozenset of (name, value) pairs. Raises whatever is wrong."""
    families, samples, current = {}, {}, None
    assert body.endswith("\n"), "the last line has no end"
    helped = None
    for line in body[:-1].split("\n"):
        if m := re.fullmatch(rf"# HELP ({NAME}) (.+)", line):
            helped = m[1]
            assert helped not in families, f"{helped} is there twice"
        elif m := re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|histogram)", line):
            assert m[1] == helped, f"TYPE of {m[1]} behind HELP of {helped}"
            families[m[1]] = current = m[2]
            assert (m[2] == "counter") == m[1].endswith("_total"), f"{m[1]} is a {m[2]}"
        else:
            m = SAMPLE.fullmatch(line)
            assert m, f"not a sample: {line!r}"
            family = re.sub("_(bucket|sum|count)$", "", m[1]) if current == "histogram" else m[1]
            assert family == helped, f"{m[1]} in the family {helped}"
            labels = frozenset((pair.split("=", 1)[0], pair.split("=", 1)[1][1:-1])
                               for pair in re.findall(LABEL, m[2] or ""))
            values = samples.setdefault(m[1], {})
            assert labels not in values, f"{line!r} is there twice"
            values[labels] = float(m[3])
    for family in (f for f, kind in families.items() if kind == "histogram"):
        check_histogram(samples, family)
    return samples


def check_histogram(samples, family):
    buckets = {}
    for labels, value in samples.get(f"{family}_bucket", {}).items():
        le = float(dict(labels)["le"])
        buckets.setdefault(frozenset(p for p in labels if p[0] != "le"), []).append((le, value))
    assert set(buckets) == set(samples.get(f"{family}_count", {})) == set(samples.get(f"{family}_sum", {})), family
    for labels, pairs in buckets.items():
        values = [v for _, v in sorted(pairs)]
        assert values == sorted(values), f"{family}{set(labels)} is not cumulative: {values}"
        assert sorted(pairs)[-1] == (float("inf"), samples[f"{family}_count"][labels]), f"{family}: +Inf is not the count"


def metrics(port):
    status, body, headers = ask(port, "/metrics")
    assert status == 200 and headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8", (status, str(headers))
    return parse(body)


def value(samples, name, /, **labels):
    """The value of the one sample that has these labels."""
    found = [v for k, v in samples[name].items() if set(labels.items()) <= k]
    assert len(found) == 1, f"{name}{labels}: {found}, of {samples[name]}"
    return found[0]


# --- providers ---


class hosted:
    """keyvalue-redis as a host starts it, which empties the environment: the port is in its configuration."""

    def __init__(self, *links, name="keyvalue-redis", provider_id="kv", **members):
        self.port = e2e.free_port()
        members.setdefault("config", {})["wcp-admin"] = f"127.0.0.1:{self.port}"
        self.provider = lat.provider(name, provider_id, links, **members)

    def __enter__(self):
        return self

    def __exit__(self, kind, exception, trace):
        p = self.provider
        if kind:
            print("# " + "\n# ".join(p.log().splitlines()[-15:]), file=sys.stderr)
            p.kill()
            return
        if p.process.poll() is None:
            p.terminate()
        assert p.wait() == 0, f"{p.id} ended with {p.process.returncode}: {p.log()[-3000:]}"
        assert "Sanitizer" not in p.log() and "still keeps the loop" not in p.log(), p.log()

    def metric(self, name, /, **labels):
        return value(metrics(self.port), name, **labels)

    def when_metric(self, wanted, name, /, **labels):
        wait_for(f"{name}{labels} is {wanted}, not {self.metric(name, **labels)}",
                 lambda: self.metric(name, **labels) == wanted)


def link(source="comp", port=None, name="default"):
    return lat.link(source, "kv", {"URL": f"redis://127.0.0.1:{port or redis.port}"}, name=name)


def get(key="key", **options):
    return lat.call("kv", STORE, "get", text("") + text(key), **options)


# --- ready or not ---


def check_ready_as_redis_comes_and_goes():
    other = e2e.redis_server()
    other.kill()
    with hosted(link(), link("other", other.port)) as kv:
        when_ready(kv.port, "link 'default' from 'other' has failed", f"127.0.0.1:{other.port}")
        status, lines = ready(kv.port)
        assert status == 503 and len(lines) == 1, lines
        assert ask(kv.port, "/livez")[:2] == (200, "ok\n")
        assert kv.metric("wcp_link_state", source="other", state="failed") == 1
        assert kv.metric("wcp_link_state", source="comp", state="ready") == 1
        other.start()
        when_ready(kv.port)
        assert kv.metric("wcp_link_state", source="other", state="failed") == 0
        assert kv.metric("wcp_links", state="ready") == 2
        states = {(link["source_id"], link["state"]) for link in json.loads(ask(kv.port, "/links")[1])["links"]}
        assert states == {("comp", "ready"), ("other", "ready")}, states
        kv.provider.delete(link("other"))
        wait_for("one link", lambda: len(json.loads(ask(kv.port, "/links")[1])["links"]) == 1)
        assert not any(("source", "other") in k for k in metrics(kv.port)["wcp_link_state"])
    other.kill()


def check_ready_as_nats_comes_and_goes():
    port, server = e2e.free_port(), e2e.nats_server()
    server.kill()
    p = Listener("keyvalue-redis", "--provider-id", "alone", "--nats", f"nats://127.0.0.1:{server.port}",
                 env={"WCP_ADMIN": f":{port}"})
    when_ready(port, "NATS is not connected")
    assert ask(port, "/livez")[:2] == (200, "ok\n")
    assert json.loads(ask(port, "/links")[1]) == {"links": [], "omitted": 0}
    assert value(metrics(port), "wcp_nats_connected") == 0
    server.start()
    when_ready(port)
    with p:
        assert value(metrics(port), "wcp_nats_connected") == 1
        assert value(metrics(port), "wcp_nats_reconnects_total") == 0
        server.kill()
        when_ready(port, "NATS is not connected")
        server.start()
        when_ready(port)
        assert value(metrics(port), "wcp_nats_reconnects_total") == 1
    server.kill()


def check_leaving_is_not_ready_and_the_port_closes_last():
    with hosted(link()) as kv:
        when_ready(kv.port)
        idle = socket.create_connection(("127.0.0.1", kv.port), 10)
        idle.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 200 ")
        redis.pause()
        call = lat.start_call("kv", STORE, "get", text("") + text("key"))
        kv.when_metric(1, "wcp_calls_in_flight", function="get")
        kv.provider.terminate()
        when_ready(kv.port, "leaving")
        assert kv.metric("wcp_calls_in_flight", function="get") == 1
        assert kv.metric("wcp_oldest_call_age_seconds") > 0
        redis.resume()
        call.result()
        began = time.monotonic()
        assert kv.provider.wait() == 0
        assert time.monotonic() - began < 1, "an idle client must not hold it up"
        idle.close()


# --- metrics ---


def check_calls_are_counted():
    with hosted(link()) as kv:
        when_ready(kv.port)
        e2e.redis(redis.port, "SET", "key", "word")
        before = kv.metric("wcp_nats_received_bytes_total")
        for _ in range(3):
            get()
        lat.call("kv", ATOMICS, "increment", text("") + text("key") + leb(1))  # it is not a number
        get(source="nobody")
        lat.call("kv", STORE, "get", b"\xff\xff\xff\xff\xff\xff")
        kv.when_metric(3, "wcp_calls_total", function="get", outcome="ok")
        kv.when_metric(1, "wcp_calls_total", function="increment", outcome="error")
        kv.when_metric(1, "wcp_calls_total", function="get", outcome="no_link")
        kv.when_metric(1, "wcp_calls_total", function="get", outcome="malformed")
        all_of = metrics(kv.port)
        assert sum(all_of["wcp_calls_total"].values()) == 6, all_of["wcp_calls_total"]
        assert value(all_of, "wcp_call_duration_seconds_count", function="get") == 3
        assert 0 < value(all_of, "wcp_call_duration_seconds_sum", function="get") < 3
        assert value(all_of, "wcp_call_duration_seconds_bucket", function="get", le="0.0001") < 3, "over a socket?"
        assert sum(all_of["wcp_calls_in_flight"].values()) == 0
        assert value(all_of, "wcp_nats_received_bytes_total") > before
        assert abs(value(all_of, "process_start_time_seconds") - time.time()) < 60
        with open(f"/proc/{kv.provider.process.pid}/statm", encoding="ascii") as f:
            resident = int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")
        assert 0.5 < value(all_of, "process_resident_memory_bytes") / resident < 2
        assert value(all_of, "wcp_provider_info", provider="keyvalue-redis", id="kv", lattice="test") == 1


def check_without_nats_connections_are_counted():
    port, address = e2e.free_port(), f"unix:{e2e.temporary_path('admin.sock')}"
    with Listener("keyvalue-redis", "--listen", address, "--config", f"url=redis://127.0.0.1:{redis.port}",
                  "--admin", f"127.0.0.1:{port}"):
        when_ready(port)
        assert "wcp_nats_connected" not in metrics(port)
        params = text("") + text("key")
        framed.call(address, STORE, "get", params)
        wait_for("the call", lambda: value(metrics(port), "wcp_calls_total", function="get", outcome="ok") == 1)
        with framed.connect(address) as s:
            s.sendall(framed.header(STORE, "git"))
            framed.until_closed(s)
        after = metrics(port)
        assert value(after, "wcp_connections_dropped_total") == 1
        sent = framed.header(STORE, "get") + framed.frame(params) + framed.header(STORE, "git")
        assert value(after, "wcp_connection_received_bytes_total") == len(sent)
        assert value(after, "wcp_connection_sent_bytes_total") > 0


def check_names_of_links_may_be_anything():
    with hosted(link(name='a"b\\c')) as kv:
        when_ready(kv.port)
        assert kv.metric("wcp_link_state", name='a\\"b\\\\c', state="ready") == 1


# --- as an HTTP server ---


def raw(port, data):
    with socket.create_connection(("127.0.0.1", port), 10) as s:
        s.sendall(data)
        out = b""
        while got := s.recv(65536):
            out += got
        return out


def check_only_get_and_head_and_four_pages():
    with hosted() as kv:
        status, body, headers = ask(kv.port, "/metrics", "HEAD")
        assert status == 200 and body == "" and int(headers["content-length"]) > 1000, (status, body, str(headers))
        assert ask(kv.port, "/readyz?verbose")[0] == 200
        for path in ("/", "/livez/", "/metricsx"):
            assert ask(kv.port, path)[0] == 404, path
        status, _, headers = ask(kv.port, "/livez", "POST")
        assert status == 405 and headers["allow"] == "GET, HEAD", (status, str(headers))
        assert raw(kv.port, b"\x16\x03\x01 nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        long = b"GET /" + b"x" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
        assert raw(kv.port, long).startswith(b"HTTP/1.1 414 ")
        many = b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 100 + b"\r\n"
        assert raw(kv.port, many).startswith(b"HTTP/1.1 431 ")
        twice = raw(kv.port, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert re.findall(rb"HTTP/1.1 (\d+)", twice) == [b"200", b"404"], twice


def check_many_and_slow_clients_are_bounded():
    with hosted() as kv:
        clients = [socket.create_connection(("127.0.0.1", kv.port), 10) for _ in range(100)]
        for s in clients[:50]:
            s.sendall(b"GET /livez HT")  # and no more
        wait_for("a refusal", lambda: ask(kv.port, "/livez")[0] == 503)
        for s in clients[50:]:
            s.close()
        wait_for("room again", lambda: ask(kv.port, "/livez")[0] == 200)
        began = time.monotonic()
        for s in clients[:50]:
            assert s.recv(1000).startswith(b"HTTP/1.1 408 ")
            s.close()
        assert time.monotonic() - began < 8, "5 s for a head"
        assert ask(kv.port, "/livez")[0] == 200


def check_addresses_that_cannot_be_had():
    port = e2e.free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        for address, status, words in (("nonsense", 2, "admin port: address 'nonsense': expected IP:port"),
                                       (f"127.0.0.1:{port}", 2, "cannot listen: address already in use")):
            p = Listener("keyvalue-redis", "--provider-id", "p", "--nats", f"nats://127.0.0.1:{nats.port}", "--admin", address)
            assert p.process.wait(10) == status, p.process.returncode
            lines = p.log().splitlines()
            assert len(lines) == 1 and words in lines[0], p.log()
        # From the configuration, which other replicas on this machine have, too: it serves all the same.
        kv = lat.provider("keyvalue-redis", "kv", [link()], config={"wcp-admin": f"127.0.0.1:{port}"})
        kv.logged("admin port: address", "cannot listen", '"config":"wcp-admin"')
        get()
        kv.terminate()
        assert kv.wait() == 0


# --- traces ---


def check_a_trace_goes_from_http_to_the_last_provider():
    at, nowhere = e2e.free_port(), e2e.free_port()
    seen = queue.Queue()
    chain = [lat.link("counter", "kv", {"URL": f"redis://127.0.0.1:{redis.port}"}, interfaces=["atomics"])]
    front = [lat.link("http", c, package="wasi:http", interfaces=["incoming-handler"], name=c,
                      source_config={"address": f"127.0.0.1:{port}"}) for port, c in ((at, "counter"), (nowhere, "nobody"))]
    sids = [lat.nats.subscribe(f"test.{who}.wrpc.>", seen.put) for who in ("counter", "kv")]
    lat.nats.flush()

    def request(port, headers):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        c.request("GET", "/traced", headers=headers)
        status = c.getresponse().status
        c.close()
        return status
    with hosted(*chain), hosted(*chain, name="counter", provider_id="counter"), \
            hosted(*front, name="http-server", provider_id="http") as server:
        when_ready(server.port)
        for headers, goes_on in ((TRACE, True), ({}, False), ({"traceparent": "00-nonsense-01", "tracestate": "a=b"}, False)):
            assert request(at, headers) == 200
            for _ in range(2):
                m = seen.get(timeout=5)
                assert {k: m.headers.get(k) for k in TRACE} == (TRACE if goes_on else dict.fromkeys(TRACE)), m.headers
        assert request(nowhere, TRACE) == 500
        server.provider.logged("a request was not served", f'"trace_id":"{TRACE_ID}"')
        assert server.metric("wcp_outgoing_calls_total", function="handle", outcome="no_responder") == 1
        server.when_metric(3, "wcp_outgoing_calls_total", function="handle", outcome="ok")
        assert server.metric("wcp_outgoing_call_duration_seconds_count", function="handle") == 3
    for sid in sids:
        lat.nats.unsubscribe(sid)


e2e.run([v for k, v in list(globals().items()) if k.startswith("check_") and k != "check_histogram"])
