"""The rig of check-host: nats-server, redis-server and the host, and the ways to run a provider."""

import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path

import keys
from lattice import Lattice
from nats import NatsError
from processes import (APART, BIN, FOLDER, ROOT, end_process, free_port, keep_folder, nats_server, redis_server,
                       start, started)

LATTICE = "check"
DEADLINE_S = 10  # of one request
SHUTDOWN_S = 0.3  # what a host leaves a provider
IMAGE = "localhost/outrigger/keyvalue-redis:check"
CONTAINER = f"outrigger-check-{os.getpid()}"


class Wrong(Exception):
    """A check found something else than it expects."""


class Results:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, case, *args):
        """Runs one case and says how it went."""
        try:
            case(*args)
        except (Wrong, NatsError, OSError, http.client.HTTPException,
                subprocess.SubprocessError) as error:
            why = str(error) if isinstance(error, (Wrong, NatsError)) else repr(error)
            print(f"FAILED {name}: {why}", flush=True)
            self.failed += 1
            return False
        print(f"ok {name}", flush=True)
        self.passed += 1
        return True


def peers_paths(check, *names):
    """Where the peers of these names are; they are built if need be. Ends the process when they cannot be."""
    build = subprocess.run([str(ROOT / "tests/peers/build.sh"), *names], stdout=subprocess.PIPE, text=True)
    if build.returncode == 3:
        print(f"{check}: skipped: it needs the peers, see above")
        sys.exit(3)
    if build.returncode:
        sys.exit(f"{check}: the peers could not be built, see above")
    return build.stdout.split()


def run_checks(check, rig, results, checks):
    """Runs checks(), ends what runs, says how it went and ends the process."""
    try:
        checks()
    except (Wrong, NatsError, OSError) as error:
        print(f"FAILED {check}: {error}", flush=True)
        results.failed += 1
    except KeyboardInterrupt:
        sys.exit(f"{check}: interrupted")
    finally:
        rig.end()
        complete = sys.exc_info()[0] is None
        if not complete or results.failed:
            keep_folder()
            print("logs:", *sorted(str(log) for log in FOLDER.glob("*.log")), sep="\n  ")
    print(f"{results.passed} passed, {results.failed} failed")
    sys.exit(1 if results.failed else 0)


def expect(what, found, expected):
    if found != expected:
        raise Wrong(f"{what}: {shorten(found)}, expected {shorten(expected)}")


def shorten(value):
    text = repr(value)
    return text if len(text) < 300 else f"{text[:200]}... ({len(text)} characters)"


def until(what, attempt, timeout=DEADLINE_S):
    """Repeats an attempt until it does not raise; gives back what it returns."""
    end = time.monotonic() + timeout
    while True:
        try:
            return attempt()
        except (Wrong, OSError, NatsError, http.client.HTTPException) as error:
            if time.monotonic() > end:
                raise Wrong(f"{what}: not within {timeout} s: {error}") from None
        time.sleep(0.05)


def link_document(source, target, package, interfaces, name="default", source_config=(),
                  target_config=()):
    return {"source_id": source, "target": target, "name": name, "wit_namespace": "wasi",
            "wit_package": package, "interfaces": interfaces,
            "source_config": list(source_config), "target_config": list(target_config)}


class Rig:
    """nats-server, redis-server and the host, and what it takes to talk to them."""

    def __init__(self, host_exe):
        self.host_exe = host_exe
        self.nats = self.host = None

    def start(self):
        nats, self.redis_server, self.http_port = nats_server(jetstream=True), redis_server(), free_port()
        self.nats_url = f"nats://127.0.0.1:{nats.port}"
        self.redis_url = f"redis://127.0.0.1:{self.redis_server.port}"
        self.lattice = Lattice(nats.port, LATTICE)
        self.nats = self.lattice.nats
        self.events = queue.Queue()
        self.nats.subscribe(f"wasmbus.evt.{LATTICE}.>", self.events.put)
        # The host unpacks provider archives into TMPDIR.
        self.host = self.run("host", [self.host_exe, self.nats_url, LATTICE],
                             env={**os.environ, "TMPDIR": str(FOLDER), "RUST_LOG": "info"},
                             stdout=subprocess.PIPE)
        self.host_id = self.host.stdout.readline().decode().strip()
        if not self.host_id:
            raise Wrong("the host did not start")

    def run(self, name, command, line=None, **options):
        """Starts a process that ends with this one; its output goes to NAME.log."""
        return start(command, line, self.log(name), **APART, **options)

    def log(self, name):
        return FOLDER / f"{name}.log"

    def redis(self, *words):
        """What redis-cli prints, without the line's end."""
        done = subprocess.run(["redis-cli", "-p", str(self.redis_server.port), *words],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise Wrong(f"redis-cli: {done.stdout.decode().strip()}")
        return done.stdout[:-1]

    def end(self):
        children = self.host_children() if self.host else {}
        if self.nats:
            self.nats.close()
        for process in reversed(started):
            end_process(process)
        for pid in children.values():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    # The control interface

    def control(self, tail, document=None):
        payload = b"" if document is None else json.dumps(document).encode()
        answer = json.loads(self.nats.request(f"wasmbus.ctl.v1.{LATTICE}.{tail}", payload).data)
        if not answer["success"]:
            raise Wrong(f"{tail}: {answer['message']}")
        return answer.get("response")

    def event(self, wanted, failed, component_or_provider, timeout=60):
        """Waits for one of two events about a component or provider."""
        end = time.monotonic() + timeout
        while True:
            try:
                message = self.events.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise Wrong(f"no {wanted} for {component_or_provider} in {timeout} s") from None
            name = message.subject.rsplit(".", 1)[1]
            data = json.loads(message.data)["data"]
            if component_or_provider not in (data.get("provider_id"), data.get("component_id")):
                continue
            if name == failed:
                raise Wrong(f"{name}: {data.get('error')}")
            if name == wanted:
                return

    def put_config(self, name, values):
        self.control(f"config.put.{name}", values)

    def put_link(self, link):
        self.control("link.put", link)

    def del_link(self, link):
        names = ("source_id", "name", "wit_namespace", "wit_package")
        self.control("link.del", {name: link[name] for name in names})

    def links_of(self, provider):
        """The links of a provider as HostData has them: with the values of their configs."""
        def values(names):
            merged = {}
            for name in names:
                merged.update(self.control(f"config.get.{name}"))
            return merged

        links = self.control("link.get")
        return [{**link, "source_config": values(link["source_config"]),
                 "target_config": values(link["target_config"]),
                 "source_secrets": None, "target_secrets": None}
                for link in links if provider in (link["source_id"], link["target"])]

    def host_children(self):
        """The providers that the host runs: pid by the path of the executable."""
        children = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
                if parent == self.host.pid:
                    children[os.readlink(stat.parent / "exe")] = int(stat.parent.name)
            except OSError:
                pass  # gone meanwhile
        return children

    # HTTP

    def call(self, method, path, body=b""):
        """One request on a connection of its own. Gives status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=DEADLINE_S)
        try:
            connection.request(method, path, body=body or None)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except TimeoutError:
            raise Wrong(f"{method} {path}: no answer within {DEADLINE_S} s") from None
        finally:
            connection.close()

    def ok(self, method, path, body=b""):
        """The body of an answer that must be 200."""
        status, answer = self.call(method, path, body)
        if status != 200:
            raise Wrong(f"{method} {path}: {status} {shorten(answer)}")
        return answer

    def fails(self, method, path, body=b""):
        """The body of an answer that must be an error, at once."""
        started = time.monotonic()
        status, answer = self.call(method, path, body)
        took = time.monotonic() - started
        if status < 500:
            raise Wrong(f"{method} {path}: {status} {shorten(answer)}, expected an error")
        if took > 5:
            raise Wrong(f"{method} {path}: the error took {took:.1f} s")
        return answer


class Way:
    """A way to run a provider. Each has start, kill, restart, and stop, which asks it to end and
    raises when it does not do that properly."""

    config = "redis"  # the name of the config that a key-value link has

    def deliver(self):
        """Brings a link that was just put to the provider, where the host does not."""


class ByHost(Way):
    """Started by the host from a provider archive."""

    name = "host"

    def __init__(self, rig, provider, exe="keyvalue-redis"):
        self.rig, self.provider, self.exe = rig, provider, exe
        self.archive = FOLDER / f"{provider}.par"

    def start(self):
        keys.pack(BIN / self.exe, self.archive, self.exe)
        self.rig.control(f"provider.start.{self.rig.host_id}", {
            "provider_id": self.provider, "provider_ref": f"file://{self.archive}",
            "host_id": self.rig.host_id, "config": [], "annotations": {}})
        self.rig.event("provider_started", "provider_start_failed", self.provider)

    def pid(self):
        unpacked = "_" + self.archive.name.replace("-", "_").replace(".", "_")
        for exe, pid in self.rig.host_children().items():
            if exe.endswith(unpacked):
                return pid
        raise Wrong(f"the host runs no {self.provider}")

    def kill(self):
        os.kill(self.pid(), signal.SIGKILL)

    def restart(self):
        """The host does that by itself."""

    def stop(self):
        pid = self.pid()
        asked, replies = queue.Queue(), queue.Queue()
        subscriptions = [
            self.rig.nats.subscribe(f"wasmbus.rpc.{LATTICE}.{self.provider}.default.shutdown", asked.put),
            self.rig.nats.subscribe("_INBOX.>", replies.put)]
        self.rig.nats.flush()
        self.rig.control(f"provider.stop.{self.rig.host_id}",
                         {"host_id": self.rig.host_id, "provider_id": self.provider})
        self.rig.event("provider_stopped", None, self.provider, 5)
        try:
            inbox = asked.get(timeout=1).reply
            while replies.get(timeout=0.2).subject != inbox:
                pass
        except queue.Empty:
            raise Wrong("it did not answer the shutdown message, so the host killed it") from None
        finally:
            for subscription in subscriptions:
                self.rig.nats.unsubscribe(subscription)

        def gone():
            if Path(f"/proc/{pid}").exists():
                raise Wrong(f"process {pid} is still there")

        until("after provider.stop", gone, 2)


class Beside(Way):
    """Beside the host, as someone else's child: HostData on stdin."""

    name = "beside"
    host_data = {}  # members that are not the usual ones

    def __init__(self, rig, provider, exe="keyvalue-redis"):
        self.rig, self.provider, self.exe = rig, provider, exe
        self.starter = keys.Key("N").public

    def links(self):
        """What HostData says about links."""
        return self.rig.links_of(self.provider)

    def start(self):
        line = self.rig.lattice.host_data(self.provider, self.links(), host_id=self.starter,
                                          structured_logging=False, **self.host_data)
        self.process = self.rig.run(self.provider, [BIN / self.exe], line, env={})

    def kill(self):
        self.process.kill()
        self.process.wait()

    def restart(self):
        self.start()

    def stop(self):
        subject = f"wasmbus.rpc.{LATTICE}.{self.provider}.default.shutdown"
        self.rig.nats.publish(subject, json.dumps({"host_id": keys.Key("N").public}).encode(),
                              "_INBOX.nobody")
        started = time.monotonic()
        self.rig.nats.request(subject, json.dumps({"host_id": self.starter}).encode(), SHUTDOWN_S)
        left = max(0.0, SHUTDOWN_S - (time.monotonic() - started))
        expect_end(self.process, left)


class Sealed(Beside):
    """The same with xkeys, and the Redis URL as the link's sealed secret."""

    name = "sealed"
    config = "SECRET_redis"  # the host sends no plain copy of links with such a name in them

    def __init__(self, rig, provider):
        super().__init__(rig, provider)
        self.xkeys = host, own = keys.Key("X"), keys.Key("X")
        self.host_data = {"host_xkey_public_key": host.public, "provider_xkey_private_key": own.seed}
        rig.put_config(self.config, {"type": "secret.wasmcloud.dev/v1alpha1", "name": "url",
                                     "backend": "the harness", "key": "redis"})

    def links(self):
        host, provider = self.xkeys
        secrets = {"url": {"kind": "String", "value": self.rig.redis_url}}
        sealed = list(host.seal(json.dumps(secrets).encode(), provider))
        return [{**link, "target_config": {}, "target_secrets": sealed} for link in super().links()]

    def deliver(self):
        for link in self.links():
            self.rig.nats.publish(
                f"wasmbus.rpc.{LATTICE}.{self.xkeys[1].public}.linkdefs.put",
                json.dumps(link).encode())


class Standalone(Beside):
    """A plain process that is told its lattice by arguments. Ends on SIGTERM."""

    name = "standalone"
    flags = ()

    def start(self):
        self.process = self.rig.run(self.provider, [
            BIN / self.exe, "--lattice", LATTICE, "--provider-id", self.provider,
            "--nats", self.rig.nats_url, *self.flags])

    def stop(self):
        self.process.terminate()
        expect_end(self.process, 2)


def expect_end(process, timeout):
    try:
        expect("exit code", process.wait(timeout), 0)
    except subprocess.TimeoutExpired:
        raise Wrong(f"it still runs {timeout:.1f} s after it was asked to end") from None


class Container(Way):
    """In a container beside the host, told its lattice by the environment."""

    name = "container"
    # podman's default limits are above what a container of our own may set, as in a CI sandbox.
    flags = ["--network", "host", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]

    def __init__(self, rig, provider):
        self.rig, self.provider = rig, provider

    def start(self):
        build = [str(ROOT / "images/build.sh"), str(BIN / "keyvalue-redis"), IMAGE]
        output = self.command(build)
        environment = {"WCP_LATTICE": LATTICE, "WCP_PROVIDER_ID": self.provider,
                       "WCP_NATS_URL": self.rig.nats_url}
        run = ["run", "--detach", "--name", CONTAINER, *self.flags]
        for name, value in environment.items():
            run += ["--env", f"{name}={value}"]
        # crun, podman's usual runtime, refuses cgroups v1 beside v2; runc takes both.
        errors = []
        for runtime in ([], ["--runtime", "runc"]):
            self.remove()
            try:
                output = self.command(["podman", *runtime, *run, IMAGE])
                self.runtime = runtime
                return output
            except Wrong as error:
                errors.append(str(error))
        raise Wrong("; ".join(errors))

    def command(self, words, timeout=60):
        with open(self.rig.log(self.provider), "ab") as log:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=timeout)
            log.write(done.stdout + done.stderr)
        if done.returncode:
            raise Wrong(f"{words[0]}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode().strip()

    def podman(self, *words):
        return self.command(["podman", *self.runtime, *words])

    def kill(self):
        self.podman("kill", "--signal", "KILL", CONTAINER)
        self.podman("wait", CONTAINER)

    def restart(self):
        self.podman("start", CONTAINER)

    def stop(self):
        self.podman("stop", "--time", "3", CONTAINER)
        code = self.podman("inspect", "--format", "{{.State.ExitCode}}", CONTAINER)
        expect("exit code after podman stop", code, "0")

    def remove(self):
        if subprocess.run(["podman", "container", "exists", CONTAINER]).returncode == 0:
            self.command(["podman", "logs", CONTAINER])
            self.command(["podman", "rm", "--force", "--time", "0", CONTAINER])
