#!/usr/bin/python3
"""test_register.py: a standalone provider as a member of the lattice: it answers as a host, and obeys as one."""

import json
import os
import queue
import re
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lattice as l

NAME = "keyvalue-memory"
SERVER = l.nats_server(jetstream=True)
LATTICE = l.Lattice(SERVER.port, "reg")
LATTICE.make_bucket("LATTICEDATA_reg")
STORE = "wrpc:keyvalue/store@0.2.0-draft"
ANNOTATIONS = {"wasmcloud.dev/managed-by": "wadm", "wasmcloud.dev/scaler": "5f0c", "a b": "\u00fc"}


class Alone(l.Provider):
    """Started with flags; serving when it has been made."""

    def __init__(self, provider_id, *args, env=None):
        self.lattice, self.id = LATTICE, provider_id
        self.seen = queue.Queue()
        LATTICE.nats.subscribe("wasmbus.evt.reg.>", self.seen.put)
        LATTICE.nats.flush()
        self.log_path = l.temporary_path(f"{provider_id}-{len(l.started)}.log")
        self.process = l.start([l.BIN / NAME, "--lattice", "reg", "--provider-id", provider_id, "--nats",
                                f"nats://127.0.0.1:{SERVER.port}", *args], log=self.log_path,
                               env={**l.ENVIRONMENT, **(env or {})})
        self.host = re.search(r'"host":"(N[A-Z2-7]{55})"', self.logged("answers as a host"))[1]
        self.logged('"msg":"ready"')

    def event(self, name):
        """The data of our host's next event, which must have that name."""
        while True:
            e = json.loads(self.seen.get(timeout=5).data)
            if e["source"] == self.host:
                assert e["type"] == f"com.wasmcloud.lattice.{name}", (e, name)
                return e["data"]

    def no_more_events(self):
        """After an answer of the provider: what it published before has come."""
        while not self.seen.empty():
            e = json.loads(self.seen.get().data)
            assert e["source"] != self.host, e

    def command(self, what, data=None):
        return ask(f"{what}.{self.host}", data)

    def end(self):
        """By itself, and in order."""
        assert self.wait() == 0, self.log()

    def finish(self):
        self.terminate()
        self.end()


def ask(tail, data=None):
    payload = b"" if data is None else data if isinstance(data, bytes) else json.dumps(data).encode()
    return json.loads(LATTICE.nats.request(f"wasmbus.ctl.v1.reg.{tail}", payload).data)


def ping(count):
    """What that many hosts answer, by their ids."""
    answers = []
    reply, end = LATTICE.nats.listen(answers.append)
    LATTICE.nats.publish("wasmbus.ctl.v1.reg.host.ping", b"", reply)
    l.wait_for(f"{count} answers to a ping", lambda: len(answers) == count, 5)
    end()
    answers = [json.loads(a.data)["response"] for a in answers]
    return {a["id"]: a for a in answers}


def done(answer, message):
    assert answer == {"success": True, "message": message}, answer


def refused(answer, words):
    assert answer["success"] is False and words in answer["message"] and "response" not in answer, answer


def replicas_are_hosts_of_their_own_and_share_the_calls():
    p = [Alone("kv", "--label", "zone=a", "--label", "rack=1,disk=ssd", "--image", "x/kv:1"),
         Alone("kv", env={"WCP_LABELS": "zone=b"})]
    hosts = ping(2)
    assert set(hosts) == {p[0].host, p[1].host} and p[0].host != p[1].host, hosts
    first = hosts[p[0].host]
    assert first["lattice"] == "reg" and first["friendly_name"] == f"kv-{os.uname().nodename}", first
    assert re.fullmatch(r"\d+\.\d+\.\d+", first["version"]) and first["uptime_seconds"] < 60, first
    assert first["labels"] == {"hostcore.arch": os.uname().machine, "hostcore.os": "linux", "hostcore.osfamily": "unix",
                               "outrigger.dev/provider": "kv", "zone": "a", "rack": "1", "disk": "ssd"}, first
    assert hosts[p[1].host]["labels"]["zone"] == "b"
    shown = [{"id": "kv", "image_ref": ref, "name": NAME, "revision": 0, "annotations": {}}
             for ref in ("x/kv:1", f"outrigger/{NAME}:{first['version']}")]
    for provider, want in zip(p, shown):
        got = provider.command("host.get")["response"]
        assert got["providers"] == [want] and got["components"] == [] and got["host_id"] == provider.host, got
    p[0].put(LATTICE.link("comp", "kv"))
    for provider in p:
        provider.logged("link is up")
    key = l.text("") + l.text("key")
    LATTICE.call("kv", STORE, "set", key + l.text("here"))  # in the memory of one of them
    seen = set()
    l.wait_for("answers of both", lambda: seen.add(LATTICE.call("kv", STORE, "exists", key)) or len(seen) == 2)
    p[0].finish()
    assert ping(1).keys() == {p[1].host}
    p[1].finish()


def labels_are_put_and_deleted():
    p = Alone("labelled")
    assert p.event("provider_started")["annotations"] == {}
    assert p.event("health_check_passed") == {"host_id": p.host, "provider_id": "labelled"}
    done(p.command("label.put", {"key": "zone", "value": "b"}), "successfully put label")
    assert p.event("labels_changed")["labels"]["zone"] == "b"
    assert ping(1)[p.host]["labels"]["zone"] == "b"
    done(p.command("label.del", {"key": "zone"}), "successfully deleted label")
    assert "zone" not in p.event("labels_changed")["labels"]
    done(p.command("label.del", {"key": "zone"}), "successfully deleted label (no such label)")
    for key in ("hostcore.os", "outrigger.dev/provider"):
        refused(p.command("label.put", {"key": key, "value": "x"}), f"{key} says what this host is")
        refused(p.command("label.del", {"key": key}), f"{key} says what this host is")
    p.no_more_events()
    p.finish()


def a_start_of_its_own_id_adopts_it():
    p = Alone("adopted", "--image", "x/kv:1")
    p.event("provider_started")
    p.event("health_check_passed")
    start = {"provider_id": "adopted", "provider_ref": "oci://x/kv:1", "host_id": p.host, "config": [],
             "annotations": ANNOTATIONS}
    done(p.command("provider.start", start), "successfully started provider")
    assert p.event("provider_started") == {"host_id": p.host, "provider_id": "adopted", "image_ref": "oci://x/kv:1",
                                           "annotations": ANNOTATIONS}
    p.event("health_check_passed")
    refused(p.command("provider.start", start), "already running")
    shown = p.command("host.get")["response"]["providers"][0]
    assert shown["annotations"] == ANNOTATIONS and shown["image_ref"] == "oci://x/kv:1", shown
    p.terminate()
    assert p.event("provider_stopped") == {"host_id": p.host, "provider_id": "adopted", "annotations": ANNOTATIONS,
                                           "reason": "stop"}
    p.end()
    p.no_more_events()


def what_it_cannot_do_is_refused():
    p = Alone("alone")
    refused(p.command("component.scale", {"component_ref": "x", "component_id": "c", "count": 1, "host_id": p.host}),
            "this host runs no components, only the provider alone")
    refused(p.command("provider.start", {"provider_id": "other", "provider_ref": "x"}), "can start no other: other")
    refused(p.command("provider.stop", {"provider_id": "other"}), "provider with that ID is not running")
    refused(p.command("provider.stop", {"provider_id": "alone", "host_id": "N" * 56}), "host_id")
    refused(p.command("provider.start", b"{"), "the JSON text ends too early")
    refused(p.command("label.put", b""), "")
    refused(p.command("provider.fly"), "unsupported subject")
    for tail in ("link.get", "claims.get", "config.get.x", "component.auction"):
        try:
            ask(tail)
            raise AssertionError(f"{tail} was answered")
        except l.NoResponders:
            pass
    p.finish()


def a_stop_is_honoured():
    for command, data, message in (
            ("provider.stop", {"provider_id": "stopped"}, "successfully stopped provider"),
            ("host.stop", {"host_id": "", "timeout": 3000}, "successfully handled stop host"),
            ("host.stop", None, "successfully handled stop host")):
        p = Alone("stopped")
        p.event("provider_started")
        p.event("health_check_passed")
        done(p.command(command, data), message)
        assert p.event("provider_stopped")["reason"] == "stop"
        p.end()
    p = Alone("stopped")
    p.lattice.nats.publish(p.control("default.shutdown"), json.dumps({"host_id": "N" * 56}).encode(), "_INBOX.x")
    got = LATTICE.nats.request(p.control("default.shutdown"), json.dumps({"host_id": p.host}).encode()).data
    assert got == b"shutting down", got
    p.end()


def the_host_key_lasts_and_is_used_once():
    path = l.temporary_path("host.key")
    p = Alone("keyed", "--host-key", path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with open(path, encoding="ascii") as f:
        seed = f.read()
    assert re.fullmatch(r"SN[A-Z2-7]{56}\n", seed)
    other = Alone("keyed", "--host-key", path)
    other.logged("another process uses this host key", path)
    assert other.host != p.host
    assert seed.strip() not in p.log() + other.log()
    other.finish()
    host = p.host
    p.kill()  # the lock goes with the process
    again = Alone("keyed", env={"WCP_HOST_KEY": path})
    assert again.host == host
    again.finish()


def host_events_come_only_when_asked_for():
    p = Alone("wadm", "--wadm-host", "--label", "zone=a")
    assert p.event("host_started")["labels"]["zone"] == "a"
    beat = p.event("host_heartbeat")
    assert [x["id"] for x in beat["providers"]] == ["wadm"] and beat["host_id"] == p.host, beat
    p.event("provider_started")
    p.event("health_check_passed")
    p.terminate()
    p.event("provider_stopped")
    assert p.event("host_stopped")["labels"]["zone"] == "a"
    p.end()
    p = Alone("wadm", env={"WCP_WADM_HOST": "0"})
    p.event("provider_started")
    p.event("health_check_passed")
    p.finish()
    p.event("provider_stopped")
    p.no_more_events()


def a_provider_of_a_host_is_no_host():
    p = LATTICE.provider(NAME, "hosted")
    try:
        ask("host.ping")
        raise AssertionError("a ping was answered")
    except l.NoResponders:
        pass
    p.terminate()
    assert p.wait() == 0


l.run([replicas_are_hosts_of_their_own_and_share_the_calls, labels_are_put_and_deleted,
       a_start_of_its_own_id_adopts_it, what_it_cannot_do_is_refused, a_stop_is_honoured,
       the_host_key_lasts_and_is_used_once, host_events_come_only_when_asked_for, a_provider_of_a_host_is_no_host])
