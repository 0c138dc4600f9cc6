#!/usr/bin/python3
"""demo.py: the driver of `make demo`: a counter behind HTTP, and its key-value store swapped under load.

It plays the host: it starts the processes, gives each its HostData, and makes the links with wcp.
Python is the driver only; everything between the HTTP client and the store is Outrigger's. BIN is the
folder with the executables (default build/bin).
"""
import atexit
import http.client
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
sys.dont_write_bytecode = True
from processes import APART, BIN, FOLDER, free_port, nats_server, redis, redis_server, start, temporary_path

CONNECTIONS = 8
BEFORE = 1000  # requests from all connections before the swap begins
AFTER = 1000  # and after it is done
ANSWER_S = 10  # a request without an answer by then has failed
TERMINAL = sys.stdin.isatty() and sys.stdout.isatty()
SERVERS = ("nats-server", "redis-server")  # not ours


class Failure(Exception):
    """What went wrong, for the person who watches."""


# --- what the person sees ---

def title(text):
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def say(text=""):
    print(f"  {text}" if text else "", flush=True)


# --- processes ---

class Processes:
    """Everything that runs, each with a log of its own; all of it ends with us, whatever happens."""

    def __init__(self):
        self.running = {}  # name: Popen, in the order of their start

    def start(self, name, stdin):
        # Hosts start providers with an empty environment.
        self.running[name] = start([BIN / name], stdin, temporary_path(name + ".log"), cwd=FOLDER, env={}, **APART)

    def start_servers(self):
        """Their ports."""
        nats, redis = nats_server(jetstream=True), redis_server()
        self.running.update({"nats-server": nats.process, "redis-server": redis.process})
        return nats.port, redis.port

    def check(self):
        for name, p in self.running.items():
            if p.poll() is not None:
                raise Failure(f"{name} has ended with status {p.returncode}")

    def wait_listening(self, name, port):
        deadline = time.monotonic() + 5
        while True:
            self.check()
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise Failure(f"{name} does not listen on port {port}") from None
                time.sleep(0.01)

    def show_logs(self):
        for name, p in self.running.items():
            if p.poll() is not None:
                print(f"{name} has ended with status {p.returncode}", file=sys.stderr)
            elif name in SERVERS:
                continue  # they have nothing to say about us
            with open(temporary_path(name + ".log"), errors="replace") as f:
                lines = f.read().splitlines()[-15:]
            if lines:
                print(f"--- the last lines of {name}'s log", *lines, sep="\n", file=sys.stderr)

    def end(self):
        """Ends all, and tells which of ours did not end well."""
        bad = []
        for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(s, signal.SIG_IGN)  # this is short, and must be whole
        for name, p in reversed(list(self.running.items())):
            if p.poll() is None:
                p.terminate()
                try:
                    p.wait(5)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()
            if p.returncode and name not in SERVERS:
                bad.append(f"{name} has ended with status {p.returncode}")
        if bad:
            self.show_logs()
        self.running.clear()
        return bad


class Identity:
    """Which process it is: a number can come again, with its start time it cannot."""

    def __init__(self, p):
        with open(f"/proc/{p.pid}/stat") as f:
            start = int(f.read().rpartition(")")[2].split()[19])
        with open("/proc/uptime") as f:
            self.age = float(f.read().split()[0]) - start / os.sysconf("SC_CLK_TCK")
        self.key = (p.pid, start)


# --- the programs ---

def wcp(*words, stdin=None, show=True):
    """Runs the operator's tool as a person would."""
    if show:
        say("$ wcp " + " ".join(shlex.quote(w) for w in words))
    r = subprocess.run([BIN / "wcp", *words], stdin=subprocess.DEVNULL,
                       capture_output=True, timeout=30)
    if r.returncode:
        raise Failure(r.stderr.decode(errors="replace").strip() or f"wcp ended with {r.returncode}")
    if show:
        for line in r.stdout.decode().splitlines():
            say("  " + line)
    return r.stdout


def redis_get(port, key):
    """What Redis itself says, asked without any of our code."""
    value = redis(port, "GET", key)
    return None if value is None else value.decode()


# --- requests ---

def get(connection, path):
    """The answer's text and the count at its end."""
    connection.request("GET", path)
    r = connection.getresponse()
    body = r.read().decode(errors="replace").strip()
    number = re.search(r"(\d+)$", body)
    if r.status != 200 or not number:
        raise Failure(f"GET {path}: {r.status} '{body[:200]}' found, 200 and a count expected")
    return body, int(number.group(1))


class Load:
    """Several connections, each counting up a name of its own and checking every answer: the next
    number, or 1 once after the swap has begun, from the other store, which is empty."""

    def __init__(self, port):
        self.port = port
        self.lock = threading.Lock()
        self.done = self.failed = self.from_new = 0
        self.slowest = 0.0
        self.swapping = self.stop = False
        self.problems = []
        self.threads = [threading.Thread(target=self.run, args=(n,), daemon=True)
                        for n in range(1, CONNECTIONS + 1)]
        for t in self.threads:
            t.start()

    def run(self, n):
        connection, last, switched = None, 0, False
        while not self.stop:
            swapping = self.swapping
            began = time.monotonic()
            problem = None
            try:
                connection = connection or http.client.HTTPConnection(
                    "127.0.0.1", self.port, timeout=ANSWER_S)
                _, count = get(connection, f"/visitor-{n}")
                # The swap may have begun while this request was on its way.
                if count == 1 and last > 0 and not switched and (swapping or self.swapping):
                    switched = True
                elif count != last + 1:
                    problem = f"GET /visitor-{n}: {count} found, {last + 1} expected"
                last = count
            except (OSError, http.client.HTTPException, Failure) as e:
                problem = str(e) or type(e).__name__
                if connection:
                    connection.close()
                connection = None
            with self.lock:
                self.done += 1
                self.from_new += switched and not problem
                self.slowest = max(self.slowest, time.monotonic() - began)
                if problem:
                    self.failed += 1
                    self.problems.append(problem)
            if problem:
                time.sleep(0.05)  # a broken server is not to be hammered
        if connection:
            connection.close()

    def wait(self, count, processes):
        deadline = time.monotonic() + 20
        while self.done < count and self.failed < 100:
            processes.check()
            if time.monotonic() > deadline:
                break
            time.sleep(0.005)

    def end(self):
        self.stop = True
        for t in self.threads:
            t.join(ANSWER_S + 1)


def show(processes):
    """The whole demo. Returns how many requests were sent, how many failed, and the URL."""
    print("Outrigger: a component counts visitors in a key-value store that it reaches through a link.\n"
          "Redis is swapped for another store while requests keep coming.")

    title("1. A NATS server and a Redis server, on free ports")
    nats, redis = processes.start_servers()
    say(f"nats-server   nats://127.0.0.1:{nats}")
    say(f"redis-server  redis://127.0.0.1:{redis}")
    os.environ["WCP_NATS_URL"] = f"nats://127.0.0.1:{nats}"
    for name in ("WCP_LATTICE", "WCP_NATS_CREDS"):
        os.environ.pop(name, None)
    say(f"$ export WCP_NATS_URL=nats://127.0.0.1:{nats}")

    title("2. Four processes; each reads on its standard input who it is, as under a wasmCloud host")
    what = {"http-server": "takes HTTP requests, hands them to a component",
            "counter": "the component: counts in whatever key-value store it is linked to",
            "keyvalue-redis": "a key-value store, kept in Redis",
            "keyvalue-memory": "another one, kept in its own memory"}
    began = time.monotonic()
    for name in what:
        say(f"$ wcp host-data --id {name} | {name} &")
        line = wcp("host-data", "--id", name, show=False)
        processes.start(name, line)
    for name in what:
        wcp("health", name, "--wait", "5000", show=False)
    took = time.monotonic() - began
    for name, text in what.items():
        say(f"{name:16} pid {processes.running[name].pid:<8} {text}")
    say(f"All four healthy {took * 1000:.0f} ms after the first was started (`wcp health ID`).")

    title("3. Two links: http-server calls counter, counter calls keyvalue-redis")
    port = free_port()
    wcp("link", "put", "--direct", "--source", "counter", "--target", "keyvalue-redis",
        "--interface", "wasi:keyvalue/store,atomics", "--target-config", f"URL=redis://127.0.0.1:{redis}")
    wcp("link", "put", "--direct", "--source", "http-server", "--target", "counter",
        "--interface", "wasi:http/incoming-handler", "--source-config", f"address=127.0.0.1:{port}")
    processes.wait_listening("http-server", port)
    for name in what:
        wcp("health", name, "--wait", "5000", show=False)

    title("4. Requests")
    url = f"http://127.0.0.1:{port}"
    sent = 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    for path in ("/apples", "/apples", "/apples", "/pears"):
        body, _ = get(connection, path)
        sent += 1
        say(f"GET {url}{path:8} -> 200  {body}")
    say(f"Redis itself says: apples = {redis_get(redis, 'apples')}, pears = {redis_get(redis, 'pears')}")

    title(f"5. The swap, under load: {CONNECTIONS} connections, every answer checked")
    component = processes.running["counter"]
    before = Identity(component)
    say(f"counter is pid {component.pid}, running for {before.age:.2f} s")
    load = Load(port)
    try:
        load.wait(BEFORE, processes)
        say(f"{load.done} requests answered from Redis, {load.failed} failed; now the swap:")
        load.swapping = True
        began = time.monotonic()
        at = load.done
        wcp("swap", "counter", "wasi:keyvalue/store,atomics", "--direct", "--from", "keyvalue-redis",
            "--to", "keyvalue-memory")
        took = time.monotonic() - began
        meanwhile = load.done - at
        load.wait(load.done + AFTER, processes)
    finally:
        load.end()
    sent += load.done
    if load.done < BEFORE + AFTER and not load.failed:
        raise Failure(f"only {load.done} requests were answered in 40 s")
    say(f"That took {took * 1000:.0f} ms; {meanwhile} requests were answered meanwhile. The slowest of all "
        f"took {load.slowest * 1000:.0f} ms.")
    say(f"{load.done - load.from_new - load.failed} answers came from Redis, {load.from_new} from "
        f"keyvalue-memory, {load.failed} requests failed.")
    for problem in load.problems[:5]:
        say(f"  {problem}")

    after = Identity(component)
    if after.key != before.key:
        raise Failure("the component was restarted")
    say(f"counter is still pid {component.pid}, running for {after.age:.2f} s: it was not restarted.")
    body, count = get(connection, "/apples")
    sent += 1
    say(f"GET {url}/apples  -> 200  {body}")
    in_redis = redis_get(redis, "apples")
    if count != 1 or in_redis != "3":
        raise Failure(f"apples is {count} in the new store and {in_redis} in Redis; 1 and 3 expected")
    say("It counts from 1 again: data stays where it was stored, and the other store was empty. "
        "Redis still has apples = 3.")
    connection.close()
    processes.check()
    return sent, load.failed, url


def main():
    processes = Processes()
    atexit.register(processes.end)
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(1))
    try:
        sent, failed, url = show(processes)
        if failed:
            processes.show_logs()
        bad = [] if TERMINAL else processes.end()
        print(*bad, sep="\n", end="\n" if bad else "", file=sys.stderr, flush=True)
        print(f"\n{sent} requests, {failed} failed", flush=True)
        if TERMINAL and not failed:
            print(f"\nStill running, until Ctrl-C. Try:  curl {url}/your-name", flush=True)
            try:
                while True:
                    processes.check()
                    time.sleep(0.5)
            except KeyboardInterrupt:
                print()
        return 1 if failed or bad else 0
    except (Failure, subprocess.TimeoutExpired, OSError, http.client.HTTPException) as e:
        sys.stdout.flush()
        processes.show_logs()
        print(f"\ndemo: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: stopped", file=sys.stderr)
        return 130


sys.exit(main())
