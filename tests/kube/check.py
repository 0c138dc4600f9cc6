"""check: keyvalue-redis as a pod of a real kubelet, called from outside. Started by run.py, in its namespaces.

NATS and Redis run beside the cluster, on the node's address. The link is in the lattice's bucket, as a host leaves it.
"""
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from lattice import Incomplete, Lattice, run as run_tests, text
from nats import NatsError, NoResponders
from node import ADDRESS, Node, run, write
from processes import BIN, FOLDER, ROOT, keep_folder, nats_server, redis_server, wait_for

ID, LATTICE, SOURCE = "kv-redis", "pods", "wcp"  # the first two as provider.yaml has them
STORE = "wrpc:keyvalue/store@0.2.0-draft"
MEMORY_MAX = 32 << 20  # as provider.yaml has it
PASSWORD = secrets.token_hex(8)
nats = nats_server("--addr", "0.0.0.0", jetstream=True)
redis = redis_server("--bind", "0.0.0.0", "--requirepass", PASSWORD)
lattice = Lattice(nats.port, LATTICE)
node = None


def expect(what, found, expected):
    if found != expected:
        raise AssertionError(f"{what}: {found!r} found, {expected!r} expected")


def until(what, attempt, seconds=30):
    """Seconds until attempt() does not raise."""
    began, why = time.monotonic(), []

    def works():
        try:
            attempt()
            return True
        except (AssertionError, NatsError, Incomplete, RuntimeError) as error:
            why[:] = [error]
            return False
    try:
        wait_for(what, works, seconds)
    except TimeoutError as error:
        raise AssertionError(f"{error}: {why}") from None
    return time.monotonic() - began


# --- the pod ---

def pods():
    """All but those that are being deleted."""
    return [p for p in node.get("pods", "--selector", f"app={ID}")["items"] if "deletionTimestamp" not in p["metadata"]]


def pod():
    found = pods()
    expect("pods", len(found), 1)
    return found[0]


def container(of):
    status = of["status"]["containerStatuses"]
    expect("containers", len(status), 1)
    return status[0]


def cgroup(of):
    """The container's folder in the hierarchy that has memory."""
    number = container(of)["containerID"].split("//")[1]
    top = Path("/sys/fs/cgroup/memory")
    return next((top if top.is_dir() else top.parent).glob(f"{os.environ['CGROUP'][1:]}/**/{number}"))


def process(of):
    """Its id here; there it is 1."""
    return int((cgroup(of) / "cgroup.procs").read_text().split()[0])


def memory_of(of, *names):
    """The value of the first file there is: versions of cgroups name it differently."""
    return int(next(p for p in (cgroup(of) / n for n in names) if p.exists()).read_text())


def log_file(of):
    """Where the runtime writes what the container prints."""
    meta, now = of["metadata"], container(of)
    return Path("/var/log/pods", f"{meta['namespace']}_{meta['name']}_{meta['uid']}", now["name"], f"{now['restartCount']}.log")


def log_lines(log):
    """Every line is JSON, none has the password."""
    if PASSWORD in log:
        raise AssertionError("the password is in the log")
    lines = [json.loads(line) for line in log.splitlines()]
    if not lines or any(not line.get("level") or not line.get("msg") for line in lines):
        raise AssertionError(f"lines with level and msg expected: {log}")
    return lines


# --- calls ---

def wcp_call(function, *values):
    """As a person calls: exit status, and what it printed."""
    done = subprocess.run([BIN / "wcp", "call", ID, function, *values, "--text", "--nats", f"nats://127.0.0.1:{nats.port}",
                           "--lattice", LATTICE, "--wit", ROOT / "sdk/interfaces"], capture_output=True, text=True, timeout=60)
    return done.returncode, (done.stdout + done.stderr).strip()


def call(function, params, ok, timeout=5):
    """With the tests' own client, for many calls. ok is the value expected."""
    found = lattice.call(ID, STORE, function, text("") + params, SOURCE, timeout=timeout)
    if not found.startswith(b"\0" + ok):  # it may be there more than once, see lattice.Call
        raise AssertionError(f"{function}: {found!r} found, {ok!r} expected")


class Callers:
    """Callers who ask again as soon as they are answered, each for a value of its own."""

    def __init__(self, count=4):
        self.answered, self.refused, self.failed, self.end = 0, 0, [], False
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(count)]

    def run(self, number):
        key, value = text(f"caller-{number}"), os.urandom(64).hex()
        while not self.end:
            try:
                call("set", key + text(value), b"")
                call("get", key, b"\1" + text(value))
                self.answered += 2
            except NoResponders:
                self.refused += 1
                time.sleep(0.01)
            except (AssertionError, NatsError, Incomplete) as error:
                self.failed.append(error)

    def __enter__(self):
        for t in self.threads:
            t.start()
        time.sleep(0.5)
        return self

    def __exit__(self, *_):
        time.sleep(0.5)
        self.end = True
        for t in self.threads:
            t.join()

    def check(self):
        print(f"   {self.answered} calls answered, {self.refused} refused, {len(self.failed)} failed", flush=True)
        if self.answered < 100 or self.failed:
            raise AssertionError(f"{self.answered} calls answered, {len(self.failed)} failed, the first: {self.failed[:1]}")


# --- tests ---

def deployed():
    lattice.make_bucket(f"LATTICEDATA_{LATTICE}")
    lattice.store_links(SOURCE, [lattice.link(SOURCE, ID)])
    node.kubectl("create", "secret", "generic", ID, f"--from-literal=url=redis://:{PASSWORD}@redis:{redis.port}/1")
    manifest = (ROOT / "tests/kube/provider.yaml").read_text()
    node.kubectl("apply", "--filename", "-", input=manifest.replace("nats:4222", f"nats:{nats.port}"))
    node.kubectl("rollout", "status", f"deployment/{ID}", "--timeout=60s")


def answers_from_outside():
    set_fruit = "wrpc:keyvalue/store.set", '""', '"fruit"', '"quince"'
    until("a call", lambda: expect("set", wcp_call(*set_fruit), (0, "ok")))
    expect("get", wcp_call("wrpc:keyvalue/store.get", '""', '"fruit"'), (0, 'ok(some("quince"))'))
    expect("get of nothing", wcp_call("wrpc:keyvalue/store.get", '""', '"stone"'), (0, "ok(none)"))
    expect("increment of a word", wcp_call("wrpc:keyvalue/atomics.increment", '""', '"fruit"', "1")[0], 1)
    stored = run("redis-cli", "-p", str(redis.port), "-n", "1", "get", "fruit", env=dict(os.environ, REDISCLI_AUTH=PASSWORD))
    expect("in Redis", stored.strip(), "quince")


def enclosed():
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process(pod())}/status").read_text().splitlines()
                  if ":\t" in line)
    expect("user", status["Uid"].split(), ["65532"] * 4)
    expect("capabilities", {status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapInh")}, {"0" * 16})
    expect("no new privileges", status["NoNewPrivs"], "1")
    expect("seccomp's filter", status["Seccomp"], "2")
    expect("process id in the pod", status["NSpid"].split()[-1], "1")
    mounts = [line.split() for line in Path(f"/proc/{process(pod())}/mountinfo").read_text().splitlines()]
    expect("root", [m[5].split(",")[0] for m in mounts if m[4] == "/"], ["ro"])


def probed():
    """The kubelet asks the admin port: ready as long as the link works, and never killed for its backend."""
    def ready():
        return {c["type"]: c["status"] for c in pod()["status"]["conditions"]}["Ready"]
    expect("ready", ready(), "True")
    before = container(pod())["restartCount"]
    redis.kill()
    until("not ready without Redis", lambda: expect("ready", ready(), "False"))
    redis.start()
    until("ready again", lambda: expect("ready", ready(), "True"))
    expect("restarts", container(pod())["restartCount"], before)


def logs():
    log_lines(node.kubectl("logs", f"deployment/{ID}"))


def killed():
    before = pod()
    expect("restarts", container(before)["restartCount"], 0)
    os.kill(process(before), 9)
    # What NATS sends before it knows of the end is lost, so the first call may have no answer.
    took = until("a call after the restart", lambda: call("get", text(""), b"\0", 0.5))
    print(f"   a call is answered again after {took:.1f} s", flush=True)
    until("the kubelet says so", lambda: expect("restarts", container(pod())["restartCount"], 1))
    after = pod()
    expect("pod", after["metadata"]["uid"], before["metadata"]["uid"])
    expect("how it ended", container(after)["lastState"]["terminated"]["exitCode"], 137)


def rolled():
    before = pod()
    with Callers() as callers:
        node.kubectl("rollout", "restart", f"deployment/{ID}")
        node.kubectl("rollout", "status", f"deployment/{ID}", "--timeout=60s")
        until("one pod", lambda: expect("pods", len(node.get("pods")["items"]), 1))
    callers.check()
    expect("refused calls", callers.refused, 0)
    if pod()["metadata"]["uid"] == before["metadata"]["uid"]:
        raise AssertionError("the pod is still the same")


def memory():
    with Callers() as callers:
        time.sleep(2)
    callers.check()
    now = memory_of(pod(), "memory.usage_in_bytes", "memory.current")
    most = memory_of(pod(), "memory.max_usage_in_bytes", "memory.peak")
    expect("limit", memory_of(pod(), "memory.limit_in_bytes", "memory.max"), MEMORY_MAX)
    print(f"   the container takes {now / 1e6:.1f} MB, at most {most / 1e6:.1f} MB", flush=True)
    if most > MEMORY_MAX / 2:
        raise AssertionError(f"{most} bytes found, at most half of the limit expected")


def stopped():
    name = pod()["metadata"]["name"]
    node.kubectl("patch", "pod", name, "--patch", '{"metadata": {"finalizers": ["outrigger.test/look"]}}')  # it stays to be seen
    # Opened now: the kubelet removes the file some time after the end, and what kubectl has then is the kubelet's complaint.
    with open(log_file(pod()), encoding="utf-8") as log, Callers() as callers:
        began = time.monotonic()
        node.kubectl("scale", f"deployment/{ID}", "--replicas=0")

        def ended():
            return container(node.get("pod", name))["state"].get("terminated")
        end = wait_for("the container's end", ended)
        took = time.monotonic() - began
        lines = log_lines("".join(entry.split(" ", 3)[3] for entry in log))  # time, stream, whole or part, text
    callers.check()
    print(f"   it has ended {took:.1f} s after the deployment was scaled to none", flush=True)
    expect("exit code", end["exitCode"], 0)  # killed at the end of its grace period, it would be 137
    if not [line for line in lines if line["msg"] == "told to end"]:
        raise AssertionError("the log does not say that it was told to end")
    status, why = wcp_call("wrpc:keyvalue/store.get", '""', '"fruit"')
    expect("a call after the end", (status, "nobody serves" in why), (3, True))
    node.kubectl("patch", "pod", name, "--patch", '{"metadata": {"finalizers": null}}')
    until("no pod", lambda: expect("pods", node.get("pods")["items"], []))


def certificates():
    """A certificate mounted in the place of the image's is what TLS is checked with."""
    certificate, key = FOLDER / "nats.crt", FOLDER / "nats.key"
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=nats", "-addext", f"subjectAltName=IP:{ADDRESS}", "-out", certificate, "-keyout", key)
    server = nats_server("--addr", "0.0.0.0", "--tls", "--tlscert", certificate, "--tlskey", key)
    node.kubectl("create", "configmap", "tls", f"--from-file=ca={certificate}")
    node.kubectl("create", "--filename", "-", input=json.dumps({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tls"}, "spec": {
            "containers": [{
                "name": "provider", "image": os.environ["PROVIDER"], "imagePullPolicy": "Never",
                "args": ["--provider-id", "tls", "--nats", f"tls://{ADDRESS}:{server.port}"],
                "volumeMounts": [{"name": "tls", "subPath": "ca", "mountPath": "/etc/ssl/certs/ca-certificates.crt"}]}],
            "volumes": [{"name": "tls", "configMap": {"name": "tls"}}]}}))

    def ready():
        log = node.kubectl("logs", "tls")
        if '"msg":"ready"' not in log:
            raise AssertionError(log)
    until("ready", ready)
    node.kubectl("delete", "pod", "tls")


def main():
    global node
    began = time.monotonic()
    try:
        node = Node(os.environ["K8SLAB"], os.environ["ARCHIVE"], os.environ["PAUSE"], os.environ["CGROUP"])
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        keep_folder()
        print(f"FAILED the node: {error}\n0 passed, 1 failed", flush=True)
        sys.exit(1)
    print(f"the node is ready after {time.monotonic() - began:.0f} s", flush=True)
    try:
        run_tests([deployed, answers_from_outside, enclosed, probed, logs, killed, rolled, memory, stopped, certificates])
    except SystemExit as end:
        if end.code:
            keep_folder()
            write("pods.log", node.kubectl("describe", "pods") + node.kubectl("logs", "--selector", f"app={ID}"))
        raise


main()
