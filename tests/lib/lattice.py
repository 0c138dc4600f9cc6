"""lattice: providers with HostData on stdin, the values of wRPC and calls over NATS, and what runs the tests of a file.
The names of nats and processes that such tests need are here, too."""

import base64
import json
import os
import signal
import sys
import threading
import uuid

from nats import Nats, NoResponders, Timeout
from processes import APART, BIN, ROOT, Server, free_port, nats_server, redis, redis_server, start, started, temporary_path, wait_for

HOST_ID = "NTESTHOST"
# Hosts start providers with nothing in the environment; sanitizers may need something.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}

# --- values (wrpc.md §1) ---


def leb(n):
    out = bytearray()
    while n > 0x7f:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    return bytes(out) + bytes([n])


def text(s):
    data = s if isinstance(s, bytes) else s.encode()
    return leb(len(data)) + data


def items(values):
    """A list of values that are already encoded."""
    return leb(len(values)) + b"".join(values)


class Reader:
    """Takes values off the front of bytes; IndexError when there are too few."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def byte(self):
        self.at += 1
        return self.data[self.at - 1]

    def leb(self):
        value, shift = 0, 0
        while True:
            b = self.byte()
            value |= (b & 0x7f) << shift
            shift += 7
            if b < 0x80:
                return value

    def bytes(self):
        n = self.leb()
        if self.at + n > len(self.data):
            raise IndexError
        self.at += n
        return self.data[self.at - n:self.at]

    def text(self):
        return self.bytes().decode()

    def list(self, item):
        return [item() for _ in range(self.leb())]

    def option(self, item):
        return item() if self.byte() else None


# --- wRPC (wrpc.md §2) ---


class Incomplete(Exception):
    """The callee ended without a (whole) result."""


class Call:
    """One call, running. result() waits for its bytes; a result may be there more than once, as servers
    of ours repeat it until they know that it can be heard (wrpc.md 2.8a)."""

    def __init__(self, nats, prefix, instance, function, params, headers):
        self.nats, self.what = nats, f"{instance}.{function}"
        self.result_bytes, self.error, self.accepted = b"", None, False
        self.done = threading.Event()
        self.rest = params[nats.info["max_payload"] - 4096:]
        self.subject, self.stop = nats.listen(self._on_message)
        nats.publish(f"{prefix}.wrpc.0.0.1.{instance}.{function}", params[:len(params) - len(self.rest)],
                     self.subject, headers)

    def _on_message(self, m):
        if m.subject == self.subject:
            if m.status == 503:
                self.error = NoResponders(self.what)
                self.done.set()
            elif m.reply and not self.accepted:  # the accept; it may be repeated
                self.accepted = True
                size = self.nats.info["max_payload"]
                for at in range(0, len(self.rest), size):
                    self.nats.publish(m.reply + ".params", self.rest[at:at + size])
                self.nats.publish(m.reply + ".params")
        elif m.subject == self.subject + ".results" and not self.done.is_set():
            if m.data:
                self.result_bytes += m.data
            else:
                self.done.set()

    def result(self, timeout=10):
        try:
            if not self.done.wait(timeout):
                raise Timeout(f"{self.what}: no end of the results within {timeout} s, "
                              f"{'accepted' if self.accepted else 'not accepted'}")
        finally:
            self.stop()
        if self.error:
            raise self.error
        return self.result_bytes


# --- a lattice with its host ---


class Provider:
    """A provider or component of ours, as a host would start it."""

    def __init__(self, lattice, name, provider_id, links=(), stdin=None, **members):
        self.lattice, self.id = lattice, provider_id
        self.log_path = temporary_path(f"{provider_id}-{uuid.uuid4().hex[:6]}.log")
        line = stdin if stdin is not None else lattice.host_data(provider_id, links, **members)
        self.process = start([BIN / name], line, self.log_path, env=ENVIRONMENT)

    def control(self, what):
        return f"wasmbus.rpc.{self.lattice.name}.{self.id}.{what}"

    def health(self, timeout=2):
        return json.loads(self.lattice.nats.request(self.control("health"), timeout=timeout).data)

    def ready(self, seconds=10):
        """Answers health, and is therefore subscribed."""
        def asks():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.id} ended with {self.process.returncode}: {self.log()}")
            try:
                return self.health(0.5)
            except (NoResponders, Timeout):
                return None
        wait_for(f"health of {self.id}: {self.log()}", asks, seconds)
        return self

    def put(self, link):
        self.lattice.nats.publish(self.control("linkdefs.put"), json.dumps(link).encode())

    def delete(self, link):
        plain = dict(link, source_config={}, target_config={}, source_secrets=None, target_secrets=None)
        self.lattice.nats.publish(self.control("linkdefs.del"), json.dumps(plain).encode())

    def shutdown(self):
        """The host's message; the answer. The process ends by itself, see wait()."""
        return self.lattice.nats.request(self.control("default.shutdown"),
                                         json.dumps({"host_id": HOST_ID}).encode()).data

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds=15):
        return self.process.wait(seconds)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def logged(self, *parts, seconds=5):
        """The first log line with all of these parts; waits for it."""
        return wait_for(f"log line with {parts} in {self.log()}",
                        lambda: next((line for line in self.log().splitlines()
                                      if all(p in line for p in parts)), None), seconds)


class Lattice:
    def __init__(self, nats_port, name="test"):
        self.port, self.name = nats_port, name
        self.nats = Nats(nats_port)

    def host_data(self, provider_id, links=(), **members):
        """The base64 line of HostData; members replace the usual ones."""
        data = {
            "host_id": HOST_ID, "lattice_rpc_prefix": self.name, "link_name": "default",
            "lattice_rpc_user_jwt": "", "lattice_rpc_user_seed": "",
            "lattice_rpc_url": f"nats://127.0.0.1:{self.port}", "provider_key": provider_id, "env_values": {},
            "instance_id": str(uuid.uuid4()), "link_definitions": list(links), "cluster_issuers": [],
            "config": {}, "secrets": {}, "host_xkey_public_key": "", "provider_xkey_private_key": "",
            "default_rpc_timeout_ms": 2000, "structured_logging": True, "log_level": "info",
            "otel_config": {"enable_observability": False, "protocol": "Http", "additional_ca_paths": [],
                            "trace_level": "info"},
        }
        data.update(members)
        return base64.b64encode(json.dumps(data).encode()) + b"\r\n"

    def provider(self, name, provider_id=None, links=(), **members):
        """Starts BIN/<name> and waits until it is ready."""
        return Provider(self, name, provider_id or name, links, **members).ready()

    def link(self, source, target, config=None, name="default", package="wasi:keyvalue",
             interfaces=("store", "atomics", "batch"), source_config=None, **members):
        namespace, package = package.split(":")
        link = {"source_id": source, "target": target, "name": name, "wit_namespace": namespace,
                "wit_package": package, "interfaces": list(interfaces), "source_config": source_config or {},
                "target_config": config or {}, "source_secrets": None, "target_secrets": None}
        link.update(members)
        return link

    def make_bucket(self, name, storage="memory"):
        """A bucket as hosts make theirs: LATTICEDATA_<lattice> has the links."""
        answer = json.loads(self.nats.request(f"$JS.API.STREAM.CREATE.KV_{name}", json.dumps({
            "name": f"KV_{name}", "subjects": [f"$KV.{name}.>"], "max_msgs_per_subject": 1, "storage": storage,
            "retention": "limits", "discard": "new", "num_replicas": 1, "allow_direct": True, "allow_rollup_hdrs": True,
            "deny_delete": True, "max_msgs": -1, "max_bytes": -1, "max_consumers": -1}).encode()).data)
        if "error" in answer:
            raise RuntimeError(f"bucket {name}: {answer['error']}")

    def store_links(self, source, links):
        """What a host leaves in the bucket: links of source, with names of configs, here none, instead of their values."""
        links = [{**link, "source_config": [], "target_config": []} for link in links]
        answer = json.loads(self.nats.request(f"$KV.LATTICEDATA_{self.name}.COMPONENT_{source}",
                                              json.dumps({"url": "", "links": links}).encode()).data)
        if "error" in answer:
            raise RuntimeError(f"links of {source}: {answer['error']}")

    def start_call(self, target, instance, function, params=b"", source="comp", link="default", headers=None):
        if headers is None:
            headers = {"source-id": source, "link-name": link}
        return Call(self.nats, f"{self.name}.{target}", instance, function, params, headers)

    def call(self, target, instance, function, params=b"", source="comp", link="default", headers=None,
             timeout=10):
        """The result's bytes; raises NoResponders, Timeout."""
        return self.start_call(target, instance, function, params, source, link, headers).result(timeout)


# --- running tests ---


def run(tests):
    """Runs each (a function without parameters) and prints the outcome. Ends the process."""
    passed = failed = 0
    wanted = sys.argv[1:]
    for test in tests:
        if wanted and not any(w in test.__name__ for w in wanted):
            continue
        try:
            test()
            print(f"ok {test.__name__}", flush=True)
            passed += 1
        except Exception as e:  # noqa: BLE001: whatever it is, the next test runs
            where = e.__traceback__
            while where.tb_next:
                where = where.tb_next
            lines = []
            at = e.__traceback__
            while at:
                if at.tb_frame.f_code.co_filename == test.__code__.co_filename:
                    lines.append(str(at.tb_lineno))
                at = at.tb_next
            print(f"FAILED {test.__name__}: {type(e).__name__}: {str(e)[:2000]} (line {' > '.join(lines)})",
                  flush=True)
            failed += 1
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed or not passed else 0)
