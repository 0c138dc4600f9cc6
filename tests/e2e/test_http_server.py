"""test_http_server: http-server through NATS with raw sockets in front and components behind it: http-echo, and
one written here that answers as a test wants. usage: test_http_server.py [NAME-PART]..., BIN=dir."""

import base64
import http.client
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

HANDLE = "wrpc:http/incoming-handler@0.1.0.handle"
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]
nats = e2e.nats_server()
lat = e2e.Lattice(nats.port)
serial = [0]


# --- the component of this file ---


def fields(headers):
    """A list of (name, value) as wRPC's fields, grouped by name."""
    names = {}
    for k, v in headers:
        names.setdefault(k, []).append(v)
    return items([text(k) + items([text(v) for v in vs]) for k, vs in names.items()])


def ok(status=200, headers=(), body=b"", trailers=()):
    """A result that is whole in its first message; body None and trailers None: pending."""
    b = b"\0" if body is None else text(body)
    t = b"\0" if trailers is None else b"\1" + (b"\1" + fields(trailers) if trailers else b"\0")
    return b"\0" + b + t + leb(status) + fields(headers)


class Call:
    def __init__(self, component, m):
        self.nats, self.rc, self.streams = component.nats, m.reply, {}
        self.ended, self.changed = set(), threading.Condition()
        r = Reader(m.data)
        n = r.leb()
        self.inline = n > 0
        self.body = bytes(r.byte() for _ in range(n)) if n else None
        self.trailers = (r.option(lambda: self.fields(r)) or []) if r.byte() else None
        tag = r.leb()
        self.method = METHODS[tag] if tag < 9 else r.text()
        self.path = r.option(r.text)
        self.scheme = r.option(lambda: ["http", "https"][r.leb()])
        self.authority = r.option(r.text)
        self.headers = self.fields(r)
        assert r.at == len(m.data), m.data
        self.rs, self.stop = self.nats.listen(self.on_params)
        self.nats.publish(self.rc, b"", self.rs)

    @staticmethod
    def fields(r):
        return [(name, v) for name, vs in r.list(lambda: (r.text(), r.list(r.text))) for v in vs]

    def on_params(self, m):
        path = m.subject[len(self.rs) + len(".params"):]
        with self.changed:
            if m.data:
                self.streams[path] = self.streams.get(path, b"") + m.data
            else:
                self.ended.add(path)
            self.changed.notify_all()

    def wait(self, path, condition=None, seconds=5):
        """The channel's bytes once they satisfy condition, or the channel has ended."""
        with self.changed:
            good = self.changed.wait_for(
                lambda: path in self.ended or (condition and condition(self.streams.get(path, b""))), seconds)
            assert good, f"{path}: {self.streams.get(path)}"
            return self.streams.get(path, b"")

    def result(self, data):
        self.nats.publish(self.rc + ".results", data)
        self.nats.publish(self.rc + ".results")

    def answer(self, **parts):
        """A whole response. Only a body that is not empty can be inline."""
        self.result(ok(**parts))
        if not parts.get("body"):
            self.send(".0.0", b"\0")
            self.send(".0.0", b"")

    def send(self, path, data):
        self.nats.publish(f"{self.rc}.results{path}", data)

    def chunk(self, data):
        self.send(".0.0", text(data))

    def end(self, trailers=()):
        self.send(".0.0", b"\0")
        self.send(".0.0", b"")
        self.send(".0.1", b"\1" + fields(trailers) if trailers else b"\0")
        self.send(".0.1", b"")


class Component:
    """serve(call) runs on a thread of its own for each request."""

    def __init__(self, serve, component_id=None):
        serial[0] += 1
        self.id = component_id or f"comp{serial[0]}"
        self.nats = e2e.Nats(nats.port)
        self.serve, self.calls = serve, []
        self.nats.subscribe(f"{lat.name}.{self.id}.wrpc.0.0.1.{HANDLE}", self.on_call, f"{lat.name}.{self.id}")
        self.nats.flush()

    def on_call(self, m):
        call = Call(self, m)
        self.calls.append(call)
        threading.Thread(target=self.serve, args=[call], daemon=True).start()


def describe(call):
    """Answers with what it was asked."""
    call.result(ok(headers=[("content-type", "application/json")], body=json.dumps(
        {k: getattr(call, k) for k in ("method", "path", "scheme", "authority", "headers", "trailers", "inline")} |
        {"body": (call.body or b"").decode()}).encode()))


# --- clients ---


class Client:
    """A raw connection."""

    def __init__(self, port, family=socket.AF_INET, host="127.0.0.1"):
        self.s = socket.create_connection((host, port), timeout=5)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got = b""

    def send(self, data):
        self.s.sendall(data.encode() if isinstance(data, str) else data)
        return self

    def until(self, what):
        """Reads until what has come; all up to and with it."""
        what = what.encode() if isinstance(what, str) else what
        while what not in self.got:
            data = self.s.recv(65536)
            assert data, f"closed after {self.got!r}"
            self.got += data
        at = self.got.index(what) + len(what)
        head, self.got = self.got[:at], self.got[at:]
        return head

    def rest(self):
        """Everything until the server closes; a reset is told by "<reset>"."""
        try:
            while data := self.s.recv(65536):
                self.got += data
        except ConnectionResetError:
            self.got += b"<reset>"
        got, self.got = self.got, b""
        return got

    def close(self):
        self.s.close()


def raw(port, request):
    """The whole answer to a request that makes the server close, without its date."""
    c = Client(port).send(request)
    answer = c.rest().decode()
    c.close()
    return re.sub("date: [^\r]*\r\n", "", answer)


def get(port, path="/", method="GET", body=None, headers=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    c.request(method, path, body, headers or {})
    r = c.getresponse()
    data = r.read()
    c.close()
    return r, data


CLOSE = "Host: h\r\nConnection: close\r\n\r\n"


# --- providers ---


def http_link(provider, component, at, name="default", **config):
    if at:
        config["address"] = f"127.0.0.1:{at}"
    return lat.link(provider, component, name=name, package="wasi:http", interfaces=["incoming-handler"],
                    source_config=config)


class Server:
    """http-server with one link to a component."""

    def __init__(self, serve=describe, config=None, **link_config):
        serial[0] += 1
        self.id, self.port = f"http{serial[0]}", e2e.free_port()
        self.component = serve if isinstance(serve, str) else Component(serve)
        self.target = serve if isinstance(serve, str) else self.component.id
        self.link = http_link(self.id, self.target, self.port, **link_config)
        self.provider = lat.provider("http-server", self.id, [self.link], config=config or {})

    def ends_well(self):
        self.provider.terminate()
        assert self.provider.wait() == 0, self.provider.log()


def log_of_failed_link(at, config):
    p = lat.provider("http-server", "httpbadlink", [http_link("httpbadlink", "nobody", at, **config)])
    line = " ".join(str(v) for v in json.loads(p.logged('"error"')).values())
    assert not p.health()["healthy"]
    p.terminate()
    assert p.wait() == 0
    return line


# --- tests ---


def a_request_reaches_the_component_as_it_is():
    s = Server()
    raw_request = ("PROPFIND /a%20b/../c?x=%C3%A4&&y HTTP/1.1\r\nHost: Example.org:81\r\nX-A: 1\r\nx-b: b\r\n"
                   "X-a: 2\r\nCookie: c\r\nConnection: close\r\n\r\n")
    answer = raw(s.port, raw_request)
    assert answer.startswith("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"), answer
    seen = json.loads(answer.split("\r\n\r\n")[1])
    assert seen["method"] == "PROPFIND" and seen["path"] == "/a%20b/../c?x=%C3%A4&&y", seen
    assert seen["scheme"] == "http" and seen["authority"] == "Example.org:81", seen
    assert seen["headers"] == [["host", "Example.org:81"], ["x-a", "1"], ["x-a", "2"], ["x-b", "b"],
                               ["cookie", "c"], ["connection", "close"]], seen
    assert seen["trailers"] == [] and seen["body"] == "", seen
    for m in ("GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "get"):
        assert json.loads(get(s.port, "/", m)[1])["method"] == m
    s.ends_well()


def the_authority_comes_from_where_it_should():
    s = Server()

    def authority(line, headers):
        answer = raw(s.port, f"{line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")
        status = int(answer.split()[1])
        return json.loads(answer.split("\r\n\r\n")[1])["authority"] if status == 200 else status
    host, forwarded = "Host: h\r\n", 'Forwarded: for=1;Host="f:1";proto=http, host=g\r\n'
    proxied = "X-Forwarded-Host: x, y\r\n"
    assert authority("GET /", forwarded + proxied + host) == "f:1"
    assert authority("GET /", "Forwarded: for=1\r\n" + proxied + host) == "x"
    assert authority("GET http://u/", host) == "h"
    assert authority("GET http://u:8/", "") == "u:8"
    assert authority("GET /", "Host: [::1]:80\r\n") == "[::1]:80"
    for bad in ("", "a b", "a@b", "a:x", "a:70000", "[::1", "a/b", ":80"):
        assert authority("GET /", f"Host: {bad}\r\n") == 400, bad
    assert json.loads(raw(s.port, "GET http://u?q HTTP/1.0\r\n\r\n").split("\r\n\r\n")[1])["path"] == "/?q"
    s.ends_well()


def each_row_of_the_table_of_answers():
    def serve(call):
        if call.path == "/error":
            call.result(b"\1" + leb(38) + b"\1" + text("secret internals"))
        elif call.path == "/dns":
            call.result(b"\1" + leb(0))
        elif call.path == "/trap":
            call.nats.publish(call.rc + ".results")
        elif call.path == "/header":
            call.result(ok(headers=[("a b", "c")]))
        elif call.path == "/value":
            call.result(ok(headers=[("a", "b\r\nc: d")]))
        elif call.path == "/lengths":
            call.result(ok(headers=[("content-length", "1"), ("content-length", "2")]))
        elif call.path == "/status":
            call.result(ok(status=99))
        elif call.path == "/garbage":
            call.result(b"\7\7\7")
        elif call.path == "/slow":
            time.sleep(0.5)
            call.result(ok(body=b"late"))
        elif call.path == "/cut":
            call.result(ok(body=None, trailers=None))
            call.chunk(b"part")
            time.sleep(0.05)
            call.send(".0.0", b"")  # without its end mark
        elif call.path == "/trailers":
            call.result(ok(body=None, trailers=None))
            call.chunk(b"part")
            call.send(".0.0", b"\0")
            call.send(".0.1", b"")  # without a value
        else:
            call.result(ok(body=b"hi"))
    s = Server(serve, timeout_ms="250", readonly_mode="true")
    plain = "content-type: text/plain; charset=utf-8"
    answer = raw(s.port, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answer.startswith("HTTP/1.1 400 ") and plain in answer and "no Host" in answer, answer
    answer = raw(s.port, "POST / HTTP/1.1\r\nContent-Length: 3\r\n" + CLOSE + "abc")
    assert answer.startswith("HTTP/1.1 405 ") and plain in answer, answer
    began = time.monotonic()
    answer = raw(s.port, "GET /slow HTTP/1.1\r\n" + CLOSE)
    assert answer.startswith("HTTP/1.1 408 ") and answer.endswith("\r\n\r\n"), answer
    assert "access-control-allow-origin: *\r\n" in answer and "content-length: 0\r\n" in answer, answer
    assert 0.2 < time.monotonic() - began < 0.45
    for path, log in (("/error", "internal-error: secret internals"), ("/dns", "DNS-timeout"), ("/trap", ""),
                      ("/header", "header name 'a b'"), ("/value", "header a"), ("/garbage", ""),
                      ("/lengths", "content-length is there twice"), ("/status", "status 99")):
        answer = raw(s.port, f"GET {path} HTTP/1.1\r\n{CLOSE}")
        assert answer.startswith("HTTP/1.1 500 ") and plain in answer, (path, answer)
        assert "access-control-allow-origin: *\r\n" in answer and "secret" not in answer, answer
        assert "component" in answer.split("\r\n\r\n")[1], answer
        s.provider.logged(f"GET {path}", log)
    for path in ("/cut", "/trailers"):
        answer = raw(s.port, f"GET {path} HTTP/1.1\r\n{CLOSE}")
        assert " 200 " in answer and "part" in answer and not answer.endswith("0\r\n\r\n"), answer
    answer = raw(s.port, "GET /cut HTTP/1.0\r\nHost: h\r\n\r\n")
    assert answer.endswith("<reset>"), answer  # else it would look complete
    assert get(s.port)[1] == b"hi"
    s.ends_well()


def a_component_that_is_not_there_is_a_500_at_once():
    s = Server("nobody")
    began = time.monotonic()
    r, data = get(s.port)
    assert r.status == 500 and b"not running" in data, data
    assert time.monotonic() - began < 1
    s.ends_well()


def responses_are_framed_for_their_client():
    def serve(call):
        if call.path == "/pending":
            call.result(ok(body=None, trailers=None))
            call.chunk(b"one")
            call.chunk(b"two")
            call.end([("x-t", "1"), ("x-t", "2")])
        elif call.path == "/length":
            call.result(ok(headers=[("Content-Length", "3")], body=None, trailers=None))
            call.chunk(b"one")
            call.end([("x-t", "1")])
        elif call.path == "/204":
            call.answer(status=204)
        elif call.path == "/trailers":
            call.result(ok(body=b"x", trailers=[("a", "b")]))
        elif call.path == "/hop":
            call.answer(headers=[("connection", "close"), ("transfer-encoding", "x"), ("date", "d")])
        else:
            call.result(ok(body=b"hello", headers=[("set-cookie", "1"), ("set-cookie", "2")]))
    s = Server(serve)
    cors = ("access-control-allow-origin: *\r\naccess-control-expose-headers: *\r\nvary: origin, "
            "access-control-request-method, access-control-request-headers\r\n")
    end = "connection: close\r\n\r\n"
    one = "GET {} HTTP/1.1\r\n" + CLOSE
    assert raw(s.port, one.format("/")) == (
        f"HTTP/1.1 200 OK\r\nset-cookie: 1\r\nset-cookie: 2\r\n{cors}content-length: 5\r\n{end}hello")
    answer = raw(s.port, one.format("/pending"))
    assert answer.startswith(f"HTTP/1.1 200 OK\r\n{cors}transfer-encoding: chunked\r\n{end}"), answer
    body = answer.split("\r\n\r\n", 1)[1]
    assert body.endswith("0\r\nx-t: 1\r\nx-t: 2\r\n\r\n") and "one" in body and "two" in body, answer
    answer = raw(s.port, "GET /pending HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n")
    assert answer == f"HTTP/1.1 200 OK\r\n{cors}{end}onetwo", answer
    assert raw(s.port, one.format("/length")) == f"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n{cors}{end}one"
    assert raw(s.port, one.format("/204")) == f"HTTP/1.1 204 No Content\r\n{cors}{end}"
    assert raw(s.port, one.format("/trailers")).endswith("\r\n\r\n1\r\nx\r\n0\r\na: b\r\n\r\n")
    assert raw(s.port, "HEAD / HTTP/1.1\r\n" + CLOSE) == (
        f"HTTP/1.1 200 OK\r\nset-cookie: 1\r\nset-cookie: 2\r\n{cors}{end}")
    assert raw(s.port, "HEAD /length HTTP/1.1\r\n" + CLOSE) == (
        f"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n{cors}{end}")
    c = Client(s.port).send("GET /hop HTTP/1.1\r\nHost: h\r\n\r\n")  # the component closes
    answer = c.rest().decode()
    assert "date: d\r\n" in answer and answer.endswith(end + "0\r\n\r\n"), answer
    assert "transfer-encoding: x" not in answer, answer
    s.ends_well()


def a_pipeline_is_answered_in_order_on_one_connection():
    def serve(call):
        time.sleep(0.05 if call.path == "/0" else 0)
        call.result(ok(body=call.path.encode()))
    s = Server(serve)
    c = Client(s.port)
    for i in range(20):
        c.send(f"POST /{i} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
    for i in range(20):
        c.until(f"\r\n\r\n/{i}")
    c.close()
    s.ends_well()


def small_bodies_travel_with_the_call():
    s = Server()
    for size, inline in ((0, False), (5, True), (60000, True)):
        c = Client(s.port).send(f"POST / HTTP/1.1\r\nContent-Length: {size}\r\n{CLOSE}" + "x" * size)
        seen = json.loads(c.rest().split(b"\r\n\r\n")[1])
        assert seen["inline"] == inline and seen["body"] == "x" * size, (size, seen)
    c = Client(s.port).send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                            "2\r\nab\r\n0\r\nX-T: 1\r\nx-t: 2\r\n\r\n")
    c.until("\r\n\r\n")
    seen = json.loads(c.until("}"))
    assert seen["trailers"] == [["x-t", "1"], ["x-t", "2"]] and seen["body"] == "ab", seen
    s.ends_well()


def bodies_of_any_size_come_back_unchanged():
    echo = lat.provider("http-echo", "echo1")
    s = Server("echo1")
    for size in (0, 1, 100, 65536, 1 << 20, (1 << 20) + 1, 5 << 20):
        body = os.urandom(size)
        for chunked in (False, True):
            parts = iter([body[i:i + 70001] for i in range(0, size, 70001)]) if chunked else body
            try:
                r, data = get(s.port, "/", "POST", parts)  # an iterator is sent in chunks
            except OSError as e:
                raise AssertionError(f"{size} bytes, chunked {chunked}: {e} {s.provider.log()}") from e
            assert r.status == 200 and data == body, (size, chunked, r.status, len(data))
    s.ends_well()
    echo.terminate()
    assert echo.wait() == 0, echo.log()


def both_directions_run_at_once_byte_by_byte():
    echo = lat.provider("http-echo", "echo2")
    s = Server("echo2")
    c = Client(s.port).send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    c.until("\r\n\r\n")  # the response's head comes before any of the request's body
    began = time.monotonic()
    for i in range(100):
        c.send(b"1\r\n" + bytes([97 + i % 26]) + b"\r\n")
        assert c.until("\r\n") == b"1\r\n" and c.until("\r\n")[:1] == bytes([97 + i % 26])
    assert time.monotonic() - began < 5
    c.send("0\r\nX-Sum: 7\r\n\r\n")
    assert c.until("\r\n\r\n") == b"0\r\nx-sum: 7\r\n\r\n"
    c.send("GET / HTTP/1.1\r\n" + CLOSE)  # and the connection lives on
    assert b" 200 OK" in c.rest()
    s.ends_well()
    echo.terminate()
    assert echo.wait() == 0, echo.log()


def continue_is_said_when_the_body_is_wanted():
    echo = lat.provider("http-echo", "echo3")
    s = Server("echo3")
    c = Client(s.port).send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert c.until("\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    c.send("ok")
    assert b" 200 OK" in c.until("\r\n\r\n")
    c.close()
    s.ends_well()
    echo.terminate()
    assert echo.wait() == 0, echo.log()


def cors_is_as_in_the_rust_provider():
    def serve(call):
        call.answer(headers=[("Access-Control-Allow-Origin", "mine"), ("vary", "x"), ("cache-control", "a")])
    s = Server(serve, cache_control="max-age=1")
    r, _ = get(s.port)
    assert r.headers.get_all("access-control-allow-origin") == ["*"], r.headers
    assert r.headers.get_all("access-control-expose-headers") == ["*"]
    vary = "origin, access-control-request-method, access-control-request-headers"
    assert r.headers.get_all("vary") == ["x", vary]
    assert r.headers.get_all("cache-control") == ["a", "max-age=1"]
    r, data = get(s.port, "/", "OPTIONS")
    assert r.status == 200 and data == b"" and not s.component.calls[1:], r.status
    assert r.headers["access-control-allow-origin"] == "*" and r.headers["vary"] == vary
    assert r.headers["access-control-allow-methods"] == "GET,POST,PUT,DELETE,HEAD,OPTIONS"
    assert r.headers["access-control-allow-headers"] == "accept,accept-language,content-type,content-language"
    assert r.headers["access-control-max-age"] == "300"
    s.ends_well()
    s = Server(describe, cors_allowed_origins='["http://a.example/", "https://b.example:8"]',
               cors_allowed_methods='["GET","PUT"]', cors_allowed_headers="[]", CORS_MAX_AGE_SECS="7",
               cors_exposed_headers='["x-a", "x-b"]')
    for origin, want in (("http://a.example", "http://a.example"), ("https://b.example:8", "https://b.example:8"),
                         ("http://c.example", None), ("http://a.example/", None)):
        assert get(s.port, headers={"Origin": origin})[0].headers["access-control-allow-origin"] == want, origin
    r, _ = get(s.port)
    assert r.headers["access-control-allow-origin"] is None
    assert r.headers["access-control-expose-headers"] == "x-a,x-b"
    r, _ = get(s.port, "/", "OPTIONS", headers={"Origin": "http://a.example"})
    assert r.headers["access-control-allow-methods"] == "GET,PUT" and r.headers["access-control-allow-headers"] == "*"
    assert r.headers["access-control-max-age"] == "7"
    s.ends_well()


def all_forms_of_configuration_are_read():
    port = e2e.free_port()
    settings = {"address": f"127.0.0.1:{port}", "readonly_mode": True, "timeout_ms": 700, "unknown": 1,
                "cors": {"allowed_methods": ["PUT"], "max_age_secs": 9}}
    as_json = json.dumps(settings)
    b64 = base64.b64encode((as_json + " " * (3 - len(as_json) % 3 + 1)).encode()).decode()
    assert b64.endswith("=")
    for config in ({"config_json": as_json, "address": "1.2.3.4:1"}, {"CONFIG_B64": b64, "config_json": "x"},
                   {"config_b64": b64.rstrip("=")}):
        serial[0] += 1
        c = Component(describe)
        link = http_link(f"http{serial[0]}", c.id, 0, **config)
        p = lat.provider("http-server", f"http{serial[0]}", [link])
        assert get(port)[0].status == 200
        assert get(port, "/", "POST")[0].status == 405
        r, _ = get(port, "/", "OPTIONS")
        assert r.headers["access-control-allow-methods"] == "PUT" and r.headers["access-control-max-age"] == "9"
        p.terminate()
        assert p.wait() == 0
    c = Component(describe)
    p = lat.provider("http-server", "httpdefault", [http_link("httpdefault", c.id, 0)],
                     config={"default_address": f"127.0.0.1:{port}"})
    assert get(port)[0].status == 200
    p.terminate()
    assert p.wait() == 0
    c = Component(describe)
    p = lat.provider("http-server", "httpv6", [http_link("httpv6", c.id, 0, ADDRESS=f"[::1]:{port}", port="1")])
    p.logged("'port' has no effect")
    s = socket.create_connection(("::1", port))
    s.sendall(b"GET / HTTP/1.0\r\nHost: h\r\n\r\n")
    assert b" 200 " in s.recv(1000)
    s.close()
    p.terminate()
    assert p.wait() == 0


def bad_settings_are_told_in_one_line():
    for key, value, why in (
            ("address", "localhost:80", "address 'localhost:80': expected IP:port or [IPv6]:port"),
            ("port", "x", "port: found 'x', expected a number from 0 to 65535"),
            ("timeout_ms", "1s", "timeout_ms: found '1s', expected a number"),
            ("readonly_mode", "yes", "readonly_mode: found 'yes', expected true or false"),
            ("disable_keepalive", "1", "disable_keepalive: found '1', expected true or false"),
            ("tls_cert_file", "/x", "TLS is not there yet"),
            ("cache_control", "a\nb", "cache_control: is not a header value"),
            ("cors_allowed_origins", '["ftp://a"]', "cors_allowed_origins: entry 0 is 'ftp://a'"),
            ("cors_allowed_origins", '["http://a/b"]', "without a path"),
            ("cors_allowed_origins", '[null]', "entry 0 is 'null'"),
            ("cors_allowed_origins", 'http://a', "expected a JSON array"),
            ("cors_allowed_methods", '["a b"]', "cors_allowed_methods: entry 0 is 'a b', expected a name"),
            ("cors_allowed_headers", '{}', "cors_allowed_headers: found '{ }', expected a JSON array"),
            ("cors_max_age_secs", '-1', "cors_max_age_secs: found '-1'"),
            ("config_json", "[1]", "config_json: expected a JSON object"),
            ("config_json", "{", "config_json: expected a JSON object"),
            ("config_json", '{"address": 5}', "address '5': expected IP:port"),
            ("config_json", '{"tls": {"cert_file": "x"}}', "TLS is not there yet"),
            ("config_json", '{"cors_allowed_methods": [1]}', "entry 0 is '1', expected a name"),
            ("config_b64", "%%%", "config_b64: is not base64")):
        line = log_of_failed_link(0 if key in ("address", "config_json") else e2e.free_port(), {key: value})
        assert why in line, (key, line)
    for config, why in (({"routing_mode": "path"}, "routing_mode: found 'path', but only 'address' is supported"),
                        ({"default_address": "x"}, "default_address: address 'x': expected IP:port"),
                        ({"max_connections": "many"}, "max_connections: found 'many'")):
        p = e2e.Provider(lat, "http-server", "httpbad", config=config)
        assert p.wait() == 1
        p.logged(why)


def a_taken_address_fails_the_link():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        link = http_link("httptaken", "nobody", port)
        p = lat.provider("http-server", "httptaken", [link])
        p.logged(f"address '127.0.0.1:{port}': cannot listen: address already in use")
        assert not p.health()["healthy"]
    p.put(link)  # free now: a repeated put retries
    wait_for("the address to open", lambda: get_status(port) == 500)
    p.terminate()
    assert p.wait() == 0


def get_status(port):
    try:
        return get(port)[0].status
    except OSError:
        return None


def links_at_one_address_take_over_in_order():
    a, b, c = (Component(lambda call, n=n: call.result(ok(body=n))) for n in (b"a", b"b", b"c"))
    port, pid = e2e.free_port(), "httporder"
    links = [http_link(pid, x.id, port, name) for x, name in ((a, "default"), (b, "default"), (c, "other"))]
    p = lat.provider("http-server", pid, links)
    assert get(port)[1] == b"a"
    p.delete(links[1])
    time.sleep(0.1)
    assert get(port)[1] == b"a"
    p.delete(links[0])
    wait_for("the next to take over", lambda: get(port)[1] == b"c")
    p.put(links[0])
    time.sleep(0.1)
    assert get(port)[1] == b"c"
    p.delete(links[2])
    wait_for("the first again", lambda: get(port)[1] == b"a")
    p.delete(links[0])
    wait_for("the address to close", lambda: get_status(port) is None)
    p.put(links[2])
    wait_for("the address to open again", lambda: get_status(port) == 200)
    p.terminate()
    assert p.wait() == 0


def links_of_one_name_at_two_addresses_work():
    a, b = (Component(lambda call, n=n: call.result(ok(body=n))) for n in (b"a", b"b"))
    one, two = e2e.free_port(), e2e.free_port()
    p = lat.provider("http-server", "httptwo", [http_link("httptwo", a.id, one), http_link("httptwo", b.id, two)])
    assert get(one)[1] == b"a" and get(two)[1] == b"b"
    p.terminate()
    assert p.wait() == 0


def a_changed_link_moves_without_losing_a_request():
    hold = threading.Event()

    def serve(call):
        if call.path == "/hold":
            hold.wait(5)
        call.result(ok(body=call.path.encode()))
    s = Server(serve)
    c = Client(s.port).send("GET /hold HTTP/1.1\r\nHost: h\r\n\r\n")
    wait_for("the call", lambda: s.component.calls)
    other = e2e.free_port()
    s.provider.put(http_link(s.id, s.target, other))
    wait_for("the new address", lambda: get_status(other) == 200)
    wait_for("the old to close", lambda: get_status(s.port) is None)
    hold.set()
    answer = c.rest()
    assert answer.endswith(b"connection: close\r\n\r\n/hold"), answer
    # The same address with other settings: no gap at all.
    stop, statuses = threading.Event(), []

    def ask():
        while not stop.is_set():
            statuses.append(get_status(other))
    t = threading.Thread(target=ask)
    t.start()
    for i in range(10):
        s.provider.put(http_link(s.id, s.target, other, cache_control=f"max-age={i}"))
        time.sleep(0.03)
    stop.set()
    t.join()
    assert set(statuses) == {200}, set(statuses)
    assert get(other)[0].headers["cache-control"] == "max-age=9"
    s.ends_well()


def deleting_a_link_lets_its_requests_finish():
    hold = threading.Event()

    def serve(call):
        hold.wait(5)
        call.result(ok(body=b"done"))
    s = Server(serve)
    idle = Client(s.port)
    busy = Client(s.port).send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    wait_for("the call", lambda: s.component.calls)
    s.provider.delete(s.link)
    wait_for("the address to close", lambda: get_status(s.port) is None)
    assert idle.rest() == b""
    hold.set()
    assert busy.rest().endswith(b"connection: close\r\n\r\ndone")
    s.ends_well()


def leaving_under_load_fails_no_request():
    s = Server(lambda call: call.result(ok(body=b"x")))
    results, stop = [], threading.Event()

    def ask():
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=5)
        while not stop.is_set():
            try:
                c.connect() if c.sock is None else None
            except OSError:
                return  # closed: as it should be
            sent = False
            try:
                c.request("GET", "/", headers={"Host": "h"})
                sent = True
                r = c.getresponse()
                r.read()
                results.append(r.status)
            except (http.client.RemoteDisconnected, ConnectionError):
                c.close()  # an idle connection was closed as we wrote: clients retry these
                results.append("closed") if sent else None
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for t in threads:
        t.start()
    time.sleep(0.5)
    s.provider.terminate()
    assert s.provider.wait() == 0, s.provider.log()
    stop.set()
    for t in threads:
        t.join()
    assert results.count(200) > 20
    assert set(results) <= {200, "closed"} and results.count("closed") <= 4, set(results)


def a_client_that_leaves_ends_its_call():
    gone = []

    def serve(call):
        if call.path == "/stream":
            call.result(ok(body=None, trailers=None))
            for _ in range(100):
                call.chunk(b"x" * 1000)
                time.sleep(0.01)
            call.end()
            return
        call.wait(".0.0")  # ends when the client is gone
        gone.append(call.streams.get(".0.0", b""))
    s = Server(serve)
    c = Client(s.port).send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
    wait_for("the call", lambda: s.component.calls)
    time.sleep(0.05)
    c.close()
    wait_for("the end of the stream", lambda: gone)
    assert gone == [text(b"abc")], gone  # broken off: no end mark
    for path in ("/wait", "/stream"):
        c = Client(s.port).send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
        time.sleep(0.1)
        c.close()
    time.sleep(0.1)
    s.component.serve = describe
    assert get(s.port)[0].status == 200
    s.ends_well()


def a_slow_reader_holds_the_stream_not_the_memory():
    size = 40 << 20

    def serve(call):
        call.result(ok(body=None, trailers=None))
        for _ in range(size >> 16):
            call.chunk(b"y" * 65536)
        call.end()
    s = Server(serve)
    slow = Client(s.port).send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    slow.until("\r\n\r\n")
    time.sleep(1)
    # NATS cannot be slowed down: 16 MiB are kept for one paused stream, then the response is broken off.
    total = len(slow.rest())
    assert total < size, total
    s.provider.logged("a response broke off")
    s.ends_well()


def limits_of_the_provider_are_settable():
    s = Server(config={"max_body_bytes": "10", "max_connections": "2", "head_timeout_ms": "200",
                       "idle_timeout_ms": "300"})
    assert raw(s.port, "POST / HTTP/1.1\r\nContent-Length: 11\r\n" + CLOSE).startswith("HTTP/1.1 413 ")
    answer = raw(s.port, "GET / HT")
    assert answer.startswith("HTTP/1.1 408 "), answer
    assert raw(s.port, "") == ""
    assert raw(s.port, "GET / HTTP/1.1\r\n" + "".join(f"a{i}: b\r\n" for i in range(101)) + CLOSE).startswith(
        "HTTP/1.1 431 ")
    assert raw(s.port, "GET / HTTP/1.1\r\nA: " + "b" * 65536 + "\r\n" + CLOSE).startswith("HTTP/1.1 431 ")
    assert raw(s.port, f"GET /{'u' * 32768} HTTP/1.1\r\n{CLOSE}").startswith("HTTP/1.1 414 ")
    time.sleep(0.1)  # until the connections above are gone
    a, b = Client(s.port), Client(s.port)
    time.sleep(0.05)
    answer = raw(s.port, "")
    assert answer.startswith("HTTP/1.1 503 "), answer
    a.close()
    b.close()
    s.ends_well()


def smuggling_is_refused_and_never_reaches_a_component():
    s = Server()
    chunked = "Transfer-Encoding: chunked\r\n"
    for request in ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n" + chunked + "\r\n0\r\n\r\n",
                    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
                    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
                    "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", "GET / HTTP/1.1\nHost: h\n\n",
                    "GET / HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n"):
        answer = raw(s.port, request + "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
        assert answer.startswith("HTTP/1.1 400 ") and answer.count("HTTP/1.1 ") == 1, (request, answer)
    assert not s.component.calls
    s.ends_well()


def keep_alive_can_be_turned_off():
    s = Server(disable_keepalive="true")
    assert Client(s.port).send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").rest().count(b"connection: close") == 1
    s.ends_well()


def thousands_of_requests_at_once_are_all_answered():
    echo = lat.provider("http-echo", "echo9")
    s = Server("echo9")

    def ask(n):
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=20)
        bad = 0
        for i in range(150):
            body = b"%d" % (i * 1000003 * n) * (1, 10, 1000)[i % 3]
            c.request("POST" if i % 2 else "GET", "/", body if i % 2 else None)
            r = c.getresponse()
            bad += r.status != 200 or r.read() != (body if i % 2 else b"")
        c.close()
        return bad
    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(ask, range(16))) == 0
    s.ends_well()
    echo.terminate()
    assert echo.wait() == 0, echo.log()


e2e.run([v for v in list(globals().values()) if callable(v) and getattr(v, "__module__", "") == "__main__"
         and not isinstance(v, type) and v.__code__.co_argcount == 0 and v.__name__[0] != "_"])
