"""check-lattice: our providers as members of a real lattice, which wadm and wash see and command.

    check.py [--calls N] [--only WORD[,WORD...]]

There are a nats-server that is newer than Debian's, a real wasmCloud 1.9 host, wadm, and standalone providers that are
told to be hosts to it (--wadm-host). Checked is, in this order:

    application  wadm deploys one: our http-server and keyvalue-redis by label, a component on the real host, links and
                 config; calls go through it, a new version changes a config, undeploying ends it
    replicas     three providers of one id: wadm adopts them; N calls (default 10,000) are shared, none answered twice
    wash         the published tool lists them, puts and deletes link and config, and stops a provider; skipped unless
                 `make peers-wash` has built it

--only picks among these words. The executables are taken from $BIN (default build/bin). Everything is started here, on
free loopback ports, and ended here. The logs are kept when something failed. Exit codes: 0 all passed, 1 not, 3 the
peers are not built and cannot be.
"""

import argparse
import collections
import json
import os
import queue
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../lib"), os.path.join(HERE, "../host")]
from lattice import Call, Reader, text
from processes import BIN, FOLDER, ROOT
from rig import LATTICE, Results, Rig, Standalone, Wrong, expect, expect_end, link_document, peers_paths, run_checks, until

HEARTBEAT_S = 30  # of the real host
WASM_LABEL = "wasm"  # what only the real host has
IN_FLIGHT = 64
LISTEN_S = 2  # after the last answer, for another one
ATOMICS = "wrpc:keyvalue/atomics@0.2.0-draft"
INCREMENT = text("") + text("counter") + b"\x01"  # bucket, key, by how much


class Registered(Standalone):
    """A standalone provider that is a host of its own, and one to wadm."""

    name = "registered"

    def __init__(self, rig, provider, exe="keyvalue-redis", number=1):
        super().__init__(rig, provider, exe)
        self.image = f"localhost/outrigger/{exe}:1"
        self.flags = ["--wadm-host", "--host-key", FOLDER / f"{provider}-{number}.key", "--label", f"outrigger={provider}",
                      "--image", self.image]

    def inventories(self):
        """What it says of itself, and those of the same id do."""
        found = [i for i in inventories(self.rig) if i["labels"].get("outrigger") == self.provider]
        if not found:
            raise Wrong(f"no host has the label outrigger={self.provider}")
        return found

    def ended(self):
        """After something told it to end."""
        expect_end(self.process, 5)


def gather(rig, subject, seconds):
    """All answers to one request."""
    answers = queue.Queue()
    reply, end = rig.nats.listen(answers.put)
    rig.nats.publish(f"wasmbus.ctl.v1.{LATTICE}.{subject}", b"", reply)
    time.sleep(seconds)
    end()
    documents = [json.loads(answers.get().data) for _ in range(answers.qsize())]
    for document in documents:
        expect(f"{subject}: success", document["success"], True)
    return [document["response"] for document in documents]


def inventories(rig):
    return [rig.control(f"host.get.{host['id']}") for host in gather(rig, "host.ping", 0.3)]


# --- wadm ---


def start_wadm(rig, exe):
    rig.run("wadm", [exe, rig.nats_url], env={**os.environ, "RUST_LOG": "info"})
    until("wadm answers", lambda: wadm(rig, "get"), 30)


def wadm(rig, operation, document=None):
    payload = b"" if document is None else json.dumps(document).encode()
    answer = json.loads(rig.nats.request(f"wadm.api.{LATTICE}.model.{operation}", payload).data)
    if answer.get("result") == "error":
        raise Wrong(f"{operation}: {answer['message']}")
    return answer


def capability(provider, instances=1):
    """A part of an application: this provider, on hosts with its label."""
    return {"name": provider.provider, "type": "capability",
            "properties": {"image": provider.image, "id": provider.provider},
            "traits": [spread(instances, {"outrigger": provider.provider})]}


def spread(instances, labels):
    return {"type": "spreadscaler",
            "properties": {"instances": instances, "spread": [{"name": "by-label", "requirements": labels}]}}


def link(to, package, interfaces, source=(), target=()):
    """A link to a part of the application, with configs of its two sides."""
    return {"type": "link", "properties": {
        "namespace": "wasi", "package": package, "interfaces": interfaces, "source": {"config": list(source)},
        "target": {"name": to, "config": list(target)}}}


def deploy(rig, name, version, *parts):
    """Puts an application and deploys it, without waiting."""
    wadm(rig, "put", {"apiVersion": "core.oam.dev/v1beta1", "kind": "Application",
                      "metadata": {"name": name, "annotations": {"version": version}}, "spec": {"components": parts}})
    expect("deploy", wadm(rig, f"deploy.{name}", {"version": version})["result"], "acknowledged")


def deployed(rig, name, seconds=150):
    """Waits. wadm itself waits a minute for what it has got already, when it came while it was looking elsewhere."""
    def look():
        status = wadm(rig, f"status.{name}")["status"]
        if status["status"]["type"] != "deployed":
            raise Wrong(json.dumps(status))
    until(f"{name} is deployed", look, seconds)


def undeploy(rig, name):
    expect("undeploy", wadm(rig, f"undeploy.{name}", {})["result"], "acknowledged")


def label_real_host(rig):
    """wadm learns of the label by the next heartbeat."""
    rig.control(f"label.put.{rig.host_id}", {"key": WASM_LABEL, "value": "yes"})
    end = time.monotonic() + HEARTBEAT_S + 5
    while time.monotonic() < end:
        message = rig.events.get(timeout=HEARTBEAT_S + 5)
        event = json.loads(message.data)
        if message.subject.endswith(".host_heartbeat") and event["source"] == rig.host_id and \
                WASM_LABEL in event["data"]["labels"]:
            return
    raise Wrong("no heartbeat of the real host with its label")


def check_application(rig, results, component):
    http, kv = Registered(rig, "http", "http-server"), Registered(rig, "kv")

    def deploy_version(version, database):
        front, store = capability(http), capability(kv)
        front["traits"].append(link(
            "component", "http", ["incoming-handler"],
            source=[{"name": "http", "properties": {"address": f"127.0.0.1:{rig.http_port}"}}]))
        deploy(rig, "shop", version, front, store, {
            "name": "component", "type": "component",
            "properties": {"image": f"file://{component}", "id": "component"},
            "traits": [spread(20, {WASM_LABEL: "yes"}), link(
                "kv", "keyvalue", ["store", "atomics", "batch"],
                target=[{"name": "redis", "properties": {"url": f"{rig.redis_url}/{database}"}}])]})
        deployed(rig, "shop")

    def first():
        http.start()
        kv.start()
        deploy_version("1", 0)

    def called():
        until("a request", lambda: rig.ok("GET", "/echo"))
        rig.ok("POST", "/kv/fruit", b"quince")
        expect("in database 0", rig.redis("GET", "fruit"), b"quince")

    def second():
        deploy_version("2", 1)

        def moved():
            rig.ok("POST", "/kv/tree", b"medlar")
            expect("in database 1", rig.redis("-n", "1", "GET", "tree"), b"medlar")
        until("the new config is used", moved)
        expect("the provider runs on", kv.process.poll(), None)

    def ended():
        undeploy(rig, "shop")
        kv.ended()
        http.ended()

    label_real_host(rig)
    if results.check("application: deployed", first):
        results.check("application: called", called)
        results.check("application: a new version with another config", second)
    results.check("application: undeployed, its providers end", ended)


# --- three of one id ---


class Watched(Call):
    """A call that goes on listening, and keeps who accepted it."""

    def __init__(self, *args):
        self.acceptors, self.answers = set(), set()
        super().__init__(*args)

    def _on_message(self, m):
        if m.subject == self.subject and m.reply:
            self.acceptors.add(m.reply)
        elif m.subject == self.subject + ".results" and m.data:
            self.answers.add(m.data)
        super()._on_message(m)


def check_replicas(rig, results, calls):
    replicas = [Registered(rig, "many", number=n) for n in (1, 2, 3)]
    headers = {"source-id": "caller", "link-name": "default"}

    def start():
        rig.put_config("many-redis", {"url": rig.redis_url})
        rig.put_link(link_document("caller", "many", "keyvalue", ["atomics"], target_config=["many-redis"]))
        for replica in replicas:
            replica.start()
        until("three hosts", lambda: expect("hosts", len(replicas[0].inventories()), 3))
        deploy(rig, "many", "1", capability(replicas[0], 3))
        deployed(rig, "many")

    def load():
        rig.redis("DEL", "counter")
        made, running = [], collections.deque()
        for _ in range(calls):
            if len(running) == IN_FLIGHT:
                running.popleft().done.wait(10)
            call = Watched(rig.nats, f"{LATTICE}.many", ATOMICS, "increment", INCREMENT, headers)
            made.append(call)
            running.append(call)
        for call in running:
            call.done.wait(10)
        time.sleep(LISTEN_S)
        for call in made:
            call.stop()
        unanswered = sum(not call.done.is_set() or call.error is not None for call in made)
        expect("calls without an answer", unanswered, 0)
        expect("calls that more than one has accepted", sum(len(c.acceptors) != 1 for c in made), 0)
        expect("calls with different answers", sum(len(c.answers) != 1 for c in made), 0)
        values = sorted(value_of(c) for c in made)
        if values != list(range(1, calls + 1)):
            raise Wrong(f"the answers are not the numbers 1 to {calls}, each once")
        expect("the counter", rig.redis("GET", "counter"), b"%d" % calls)
        shares = collections.Counter(next(iter(c.acceptors)).split(".")[1] for c in made)
        expect("providers that answered", len(shares), 3)
        if min(shares.values()) < calls / 10:
            raise Wrong(f"shared as {list(shares.values())}")

    def value_of(call):
        reader = Reader(call.result_bytes)
        expect("ok", reader.byte(), 0)
        return reader.leb()

    def restarted():
        replicas[0].kill()
        replicas[0].start()

        def owned():
            owners = [i["providers"][0]["annotations"].get("wasmcloud.dev/appspec") for i in replicas[0].inventories()]
            expect("whose the three are", owners, ["many"] * 3)
        until("it is adopted again", owned)

    def ended():
        undeploy(rig, "many")
        for replica in replicas:
            replica.ended()

    if results.check("replicas: three of one id are deployed", start):
        results.check(f"replicas: {calls:,} calls are shared, none is answered twice", load)
    results.check("replicas: one is killed and started again", restarted)
    results.check("replicas: undeployed, all three end", ended)


# --- wash ---


def check_wash(rig, results, exe):
    provider = Registered(rig, "tool")

    def wash(*words):
        done = subprocess.run([exe, *words, "--output", "json"], capture_output=True, text=True, timeout=30, env={
            **os.environ, "HOME": str(FOLDER), "WASMCLOUD_CTL_HOST": "127.0.0.1",
            "WASMCLOUD_CTL_PORT": rig.nats_url.rsplit(":", 1)[1], "WASMCLOUD_LATTICE": LATTICE})
        if done.returncode:
            raise Wrong(f"wash {' '.join(words)}: {done.stdout} {done.stderr}")
        return json.loads(done.stdout)

    def hosts():
        provider.start()
        ours = until("it answers as a host", provider.inventories)[0]
        found = [host["id"] for host in wash("get", "hosts")["hosts"]]
        for host in (rig.host_id, ours["host_id"]):
            if host not in found:
                raise Wrong(f"{host} is not among {found}")

    def inventory():
        listed = [p for i in wash("get", "inventory")["inventories"] for p in i["providers"]]
        found = [p for p in listed if p["id"] == provider.provider]
        expect("providers of this id", len(found), 1)
        expect("its image", found[0]["image_ref"], provider.image)

    def call():
        return rig.lattice.call(provider.provider, ATOMICS, "increment", INCREMENT, source="wash-caller")

    def linked():
        wash("config", "put", "tool-redis", f"url={rig.redis_url}")
        wash("link", "put", "wash-caller", provider.provider, "wasi", "keyvalue", "--interface", "atomics",
             "--target-config", "tool-redis")
        rig.redis("SET", "counter", "41")
        until("a call through the link", lambda: expect("the answer", call()[:2], b"\0\x2a"))
        expect("in Redis", rig.redis("GET", "counter"), b"42")

    def unlinked():
        wash("link", "del", "wash-caller", "wasi", "keyvalue")

        until("a call without the link fails", lambda: expect("the answer", call(), b""))

    def stopped():
        wash("stop", "provider", provider.provider)
        provider.ended()

    if results.check("wash: get hosts", hosts):
        results.check("wash: get inventory", inventory)
        results.check("wash: config put, link put", linked)
        results.check("wash: link del", unlinked)
        results.check("wash: stop provider", stopped)


def check_all(rig, results, peers, options):
    _, wadm_exe, host, component = peers
    wanted = options.only.split(",") if options.only else []
    rig.start()
    start_wadm(rig, wadm_exe)
    if not wanted or "application" in wanted:
        check_application(rig, results, component)
    if not wanted or "replicas" in wanted:
        check_replicas(rig, results, options.calls)
    if not wanted or "wash" in wanted:
        built = subprocess.run([ROOT / "tests/peers/build.sh", "--check", "wash"], stdout=subprocess.PIPE, text=True)
        if built.returncode:
            print("skipped wash: it is not built (make peers-wash)")
        else:
            check_wash(rig, results, built.stdout.strip())


def main():
    parser = argparse.ArgumentParser(description="our providers in a real lattice, with wadm and wash")
    parser.add_argument("--calls", type=int, default=10_000, metavar="N", help="shared by three providers")
    parser.add_argument("--only", metavar="WORDS", help="of application,replicas,wash")
    options = parser.parse_args()
    peers = peers_paths("check-lattice", "nats-server", "wadm-server", "lattice-host", "component")
    os.environ["PATH"] = f"{os.path.dirname(peers[0])}:{os.environ['PATH']}"
    results = Results()
    rig = Rig(peers[2])
    run_checks("check-lattice", rig, results, lambda: check_all(rig, results, peers, options))


if __name__ == "__main__":
    main()
