#!/usr/bin/python3
"""test_partition.py: two providers with one id on two machines, cut apart and joined again.

The machines are network namespaces, wired to a bridge in a third one, where this script runs, with NATS and its JetStream.
Each machine has a nats-server of its own, a leaf of that, as sites far from their lattice have.
"""

import ctypes
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lattice as l
from nats import Nats, NatsError

CLONE_NEWNET = 0x40000000
NETWORK = "198.18.7"  # from a range for tests (RFC 2544); of the bridge and the machines
STORE = "wrpc:keyvalue/store@0.2.0-draft"
libc = ctypes.CDLL(None, use_errno=True)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def enter(namespace):
    if libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def config_file(name, text):
    path = l.temporary_path(name)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


class Machine:
    """A network namespace with a nats-server and a provider, and connections made from within it."""

    def __init__(self, number, name):
        self.name, self.cable = name, f"cable{number}"
        holder = l.start(["unshare", "--net", "sh", "-c", "ip link set lo up && echo && exec sleep 1000"],
                         stdout=subprocess.PIPE, **l.APART)
        holder.stdout.readline()
        self.namespace = os.open(f"/proc/{holder.pid}/ns/net", os.O_RDONLY)
        ip("link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        ip("link", "set", self.cable, "master", "wires", "up")
        self.within("ip", "address", "add", f"{NETWORK}.{1 + number}/24", "dev", "eth0")
        self.within("ip", "link", "set", "eth0", "up")
        self.server = self.start(["nats-server", "-c", config_file(f"{name}.conf", f"""
            listen: "127.0.0.1:4222", server_name: "{name}", ping_interval: "1s", ping_max: 2
            leafnodes {{ remotes: [{{ url: "nats-leaf://{NETWORK}.1:7422" }}], reconnect: 1 }}""")], "nats-server")
        self.nats = l.wait_for(f"nats-server of {name}", self.connect)
        self.lattice = l.Lattice.__new__(l.Lattice)
        self.lattice.port, self.lattice.name, self.lattice.nats = 4222, "test", self.nats
        self.start_provider()

    def within(self, *words):
        subprocess.run(words, check=True, preexec_fn=lambda: enter(self.namespace))

    def start(self, args, what):
        return l.start(args, log=l.temporary_path(f"{self.name}-{what}.log"), start_new_session=True,
                       preexec_fn=lambda: (enter(self.namespace), l.APART["preexec_fn"]()))

    def start_provider(self):
        self.provider = self.start([l.BIN / "keyvalue-memory", "--provider-id", "kv", "--lattice", "test",
                                    "--js-domain", "hub"], "provider")

    def connect(self):
        own = os.open("/proc/self/ns/net", os.O_RDONLY)
        enter(self.namespace)
        try:
            return Nats(4222)
        except OSError:
            return None
        finally:
            enter(own)
            os.close(own)

    def log(self):
        with open(l.temporary_path(f"{self.name}-provider.log"), encoding="utf-8") as f:
            return f.read()

    def call(self, function, *values, source="comp", timeout=3):
        params = b"".join(l.text(v) for v in ("", *values))
        return self.lattice.call("kv", STORE, function, params, source, timeout=timeout)

    def answers(self, source="comp", value=None):
        """Whether a call of source is answered, with this machine's own value or another's."""
        try:
            want = b"\0\1" + l.text(value or self.name)
            return self.call("get", "where", source=source).startswith(want)
        except (NatsError, l.Incomplete):
            return False

    def cut(self):
        ip("link", "set", self.cable, "down")

    def join(self):
        ip("link", "set", self.cable, "up")


def build():
    """The network, both machines, and a link in the lattice's bucket."""
    ip("link", "set", "lo", "up")
    ip("link", "add", "wires", "type", "bridge")
    ip("address", "add", f"{NETWORK}.1/24", "dev", "wires")
    ip("link", "set", "wires", "up")
    hub = l.nats_server("-c", config_file("hub.conf", f"""
        server_name: "hub", ping_interval: "1s", ping_max: 2
        jetstream {{ domain: "hub", store_dir: "{l.temporary_path("jetstream")}" }}
        leafnodes {{ listen: "{NETWORK}.1:7422" }}"""))
    global lattice, one, two
    lattice = l.Lattice(hub.port, "test")
    lattice.make_bucket("LATTICEDATA_test")
    lattice.store_links("comp", [lattice.link("comp", "kv")])
    one, two = Machine(1, "one"), Machine(2, "two")
    for m in (one, two):
        l.wait_for(f"a link on {m.name}: {m.log()}", lambda m=m: '"msg":"link is up"' in m.log(), 20)


# --- tests ---


def each_machine_asks_its_own_provider():
    for m in (one, two):
        l.wait_for(f"a call on {m.name}", lambda m=m: m.call("set", "where", m.name)[:1] == b"\0")
    for m in (one, two):
        assert m.answers(), m.log()


def a_provider_that_is_gone_is_stood_in_for():
    two.provider.kill()
    two.provider.wait()
    l.wait_for("the other one's answer", lambda: two.answers(value="one"))
    two.start_provider()
    l.wait_for("its own again", lambda: two.call("get", "where")[:2] == b"\0\0")  # it has forgotten all
    two.call("set", "where", "two")


def cut_apart_both_serve_and_joined_both_know():
    two.cut()
    began = time.monotonic()
    lattice.store_links("late", [lattice.link("late", "kv")])
    l.wait_for("the new link on this side", lambda: one.call("get", "x", source="late")[:1] == b"\0", 20)
    calls = 0
    while time.monotonic() - began < 8:  # longer than the servers take to see that they are apart
        for m in (one, two):
            assert m.answers(), f"{m.name} after {calls} calls: {m.log()}"
            calls += 1
    assert '"link":"default","from":"late"' not in two.log(), two.log()
    print(f"   {calls} calls on both sides of the cut, 0 failed", flush=True)
    two.join()
    began = time.monotonic()
    l.wait_for(f"the new link on the other side, too: {two.log()}",
               lambda: two.log().count('"link":"default","from":"late"') == 1, 40)
    print(f"   joined, the other side knows the new link after {time.monotonic() - began:.1f} s", flush=True)
    assert two.call("set", "where", "late", source="late")[:1] == b"\0"
    for m in (one, two):
        assert m.answers(), m.log()


def main():
    if "WIRES" not in os.environ:
        root = [] if os.geteuid() == 0 else ["--map-root-user"]
        os.execvpe("unshare", ["unshare", "--net", *root, sys.executable, *sys.argv], dict(os.environ, WIRES="made"))
    build()
    l.run([each_machine_asks_its_own_provider, a_provider_that_is_gone_is_stood_in_for,
           cut_apart_both_serve_and_joined_both_know])


main()
