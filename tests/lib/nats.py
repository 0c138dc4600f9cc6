"""nats: a small NATS client."""

import json
import socket
import sys
import threading
import uuid


class NatsError(Exception):
    pass


class Timeout(NatsError):
    pass


class NoResponders(NatsError):
    pass


class Message:
    def __init__(self, subject, reply, headers, status, data):
        self.subject, self.reply, self.headers, self.status, self.data = subject, reply, headers, status, data


class Nats:
    """A connection whose reader thread gives each message to the function of its subscription."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.settimeout(None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.info = json.loads(self.file.readline().split(b" ", 1)[1])
        self.lock = threading.Lock()
        self.subscriptions, self.sids = {}, 0
        self._send(b"CONNECT " + json.dumps(
            {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, "lang": "python",
             "version": "0"}).encode() + b"\r\n")
        self.inbox = "_INBOX." + uuid.uuid4().hex
        self.waiting, self.pongs = {}, []
        threading.Thread(target=self._read, daemon=True).start()
        self.subscribe(self.inbox + ".>", self._answered)

    def _send(self, data):
        with self.lock:
            self.socket.sendall(data)

    def _read(self):
        try:
            while line := self.file.readline():
                words = line.split()
                verb = words[0] if words else b""
                if verb in (b"MSG", b"HMSG"):
                    self._message(verb == b"HMSG", [w.decode() for w in words[1:]])
                elif verb == b"PING":
                    self._send(b"PONG\r\n")
                elif verb == b"PONG":
                    self.pongs.pop(0).set()
                elif verb == b"-ERR":
                    print("nats-server says", line, file=sys.stderr)
        except (OSError, ValueError):
            pass  # closed

    def _message(self, with_headers, words):
        total = int(words[-1])
        head = int(words[-2]) if with_headers else 0
        fixed = 2 if with_headers else 1
        reply = words[2] if len(words) == 3 + fixed else None
        data = self.file.read(total + 2)[:total]
        lines = data[:head].decode("utf-8", "replace").split("\r\n")
        status = int(lines[0].split()[1]) if len(lines[0].split()) > 1 else 0
        headers = dict(line.split(":", 1) for line in lines[1:] if ":" in line)
        fn = self.subscriptions.get(int(words[1]))
        if fn:
            fn(Message(words[0], reply, {k: v.strip() for k, v in headers.items()}, status, data[head:]))

    def _answered(self, m):
        number = m.subject[len(self.inbox) + 1:].split(".", 1)[0]
        fn = self.waiting.get(number)
        if fn:
            fn(m)

    def subscribe(self, subject, fn, queue=""):
        """fn(message) runs on the reader thread; a queue's put will do. The return value is for unsubscribe."""
        with self.lock:
            self.sids += 1
            sid = self.sids
        self.subscriptions[sid] = fn
        self._send(f"SUB {subject} {queue} {sid}\r\n".encode())
        return sid

    def unsubscribe(self, sid):
        self._send(f"UNSUB {sid}\r\n".encode())
        self.subscriptions.pop(sid, None)

    def publish(self, subject, data=b"", reply="", headers=None):
        if headers:
            head = b"NATS/1.0\r\n" + b"".join(f"{k}: {v}\r\n".encode() for k, v in headers.items()) + b"\r\n"
            line = f"HPUB {subject} {reply} {len(head)} {len(head) + len(data)}\r\n".encode()
            self._send(line + head + data + b"\r\n")
        else:
            self._send(f"PUB {subject} {reply} {len(data)}\r\n".encode() + data + b"\r\n")

    def flush(self, timeout=5):
        """Until the server has taken in all that was sent."""
        done = threading.Event()
        self.pongs.append(done)
        self._send(b"PING\r\n")
        if not done.wait(timeout):
            raise Timeout("nats-server: no PONG")

    def listen(self, fn):
        """A fresh reply subject, below which everything goes to fn; and the function that ends it."""
        number = uuid.uuid4().hex[:12]
        self.waiting[number] = fn
        return f"{self.inbox}.{number}", lambda: self.waiting.pop(number, None)

    def request(self, subject, data=b"", timeout=5, headers=None):
        answer, done = [], threading.Event()

        def on_answer(m):
            answer.append(m)
            done.set()
        reply, end = self.listen(on_answer)
        try:
            self.publish(subject, data, reply, headers)
            if not done.wait(timeout):
                raise Timeout(f"{subject}: no answer within {timeout} s")
        finally:
            end()
        if answer[0].status == 503:
            raise NoResponders(subject)
        if answer[0].status:
            raise NatsError(f"{subject}: status {answer[0].status}")
        return answer[0]

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the server was first
        self.socket.close()
