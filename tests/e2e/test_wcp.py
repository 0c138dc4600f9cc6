#!/usr/bin/python3
"""test_wcp.py: the operator's tool against a real nats-server, with providers and a host played by this file."""
import base64
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lattice
from checks import check, finish

WCP = lattice.BIN / "wcp"
LINK = ("--source", "comp", "--interface", "wasi:keyvalue/store,atomics")
SWAP = ("comp", "wasi:keyvalue/store,atomics")


def run(*words):
    return subprocess.run([WCP, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)


class Others:
    """Everybody in the lattice but wcp: providers with their state of health, and perhaps a host."""

    def __init__(self, port, health=None, host=False):
        self.nats = lattice.Nats(port)
        self.kv = lattice.Nats(port)  # what the played host reads and writes with
        self.health = health or {}  # id: "ok", a reason, or a function of the links it has
        self.has = {i: [] for i in self.health}
        self.log = []  # (subject without its beginning, document)
        self.config, self.deleted = {}, []
        self.listen("wasmbus.rpc.default.*.linkdefs.*")
        for i in self.health:
            self.listen(f"wasmbus.rpc.default.{i}.health")
        if host:
            self.listen("wasmbus.ctl.v1.default.>")
        self.nats.flush()

    def listen(self, subject):
        self.nats.subscribe(subject, lambda m: self.answer(m))

    def key(self, bucket, key):
        answer = json.loads(self.kv.request(f"$JS.API.STREAM.MSG.GET.KV_{bucket}_default", json.dumps(
            {"last_by_subj": f"$KV.{bucket}_default.{key}"}).encode()).data)
        return None if "error" in answer else json.loads(base64.b64decode(answer["message"]["data"]))

    def links(self, source):
        return self.key("LATTICEDATA", f"COMPONENT_{source}") or {"url": "", "links": []}

    def store(self, source, document):
        self.kv.request(f"$KV.LATTICEDATA_default.COMPONENT_{source}", json.dumps(document).encode())

    def ctl(self, operation, data):
        if operation.startswith("config.put."):
            self.config[operation[11:]] = json.loads(data)
        elif operation.startswith("config.del."):
            self.config.pop(operation[11:], None)
            self.deleted.append(operation[11:])
        elif operation.startswith("config.get."):
            found = self.config.get(operation[11:])
            return {"success": True, "message": "", **({"response": found} if found is not None else {})}
        elif operation == "link.put":
            link = json.loads(data)
            document = self.links(link["source_id"])
            for other in document["links"]:
                if other["target"] != link["target"]:
                    return {"success": False, "message": "link conflict"}
            document["links"] = [link]
            self.store(link["source_id"], document)
        elif operation == "link.get":
            return {"success": True, "message": "", "response": self.links("comp")["links"]}
        elif operation == "link.del":
            self.store(json.loads(data)["source_id"], {"url": "", "links": []})
        return {"success": True, "message": ""}

    def answer(self, m):
        subject, reply, data = m.subject, m.reply, m.data
        parts = subject.split(".")
        if parts[1] == "ctl":
            operation = subject[len("wasmbus.ctl.v1.default."):]
            self.log.append((operation, data.decode()))
            self.nats.publish(reply, json.dumps(self.ctl(operation, data)).encode())
        elif parts[4] == "health":
            state = self.health[parts[3]]
            state = state(self.has[parts[3]]) if callable(state) else state
            if isinstance(state, bytes):
                self.nats.publish(reply, state)
            else:
                self.nats.publish(reply, json.dumps({"healthy": state == "ok", "message": state}).encode())
        else:
            link = json.loads(data)
            self.log.append((f"{parts[3]} {parts[5]}", link))
            if parts[3] in self.has:
                self.has[parts[3]] += [link["target"]] if parts[5] == "put" else []
                if parts[5] == "del":
                    self.has[parts[3]] = [t for t in self.has[parts[3]] if t != link["target"]]

    def wcp(self, *words):
        """(status, stdout, stderr); what wcp sent has been handled."""
        r = run(*words)
        self.nats.flush()
        return r.returncode, r.stdout, r.stderr

    def close(self):
        self.nats.close()
        self.kv.close()


def run_tests(port):
    os.environ["WCP_NATS_URL"] = f"nats://127.0.0.1:{port}"

    def others(**more):
        return Others(port, **more)

    # usage
    for words, status, part in [
            ([], 2, "a command is missing"),
            (["link", "gibberish"], 2, "no command 'link gibberish'"),
            (["link", "put", "--source", "a"], 2, "--target ID is missing"),
            (["health"], 2, "ID is missing"),
            (["health", "a b"], 2, "'a b' found"),
            (["health", "x", "--timeout", "soon"], 2, "'soon' found, a number"),
            (["health", "x", "--nonsense"], 2, "--nonsense: no such option"),
            (["link", "put", "--source", "a", "--target", "b", "--interface", "wasi:keyvalue"], 2, "are missing"),
            (["link", "put", "--source", "a", "--target", "b", "--interface", "w:k/s@1"], 2, "no version"),
            (["swap", *SWAP, "--from", "a", "--to", "a"], 2, "both 'a'"),
            (["swap", *SWAP], 2, "one of --to ID and --rollback"),
            (["swap", *SWAP, "--rollback", "--from", "a"], 2, "no --from"),
            (["swap", *SWAP, "--direct", "--to", "a"], 2, "--from ID is missing"),
            (["swap", "a b", "w:k", "--to", "a"], 2, "SOURCE: 'a b'"),
            (["drain", "x", "--host", "N", "--all"], 2, "both found"),
            (["drain", "x"], 1, "none of 0 hosts"),
            (["health", "x", "--nats", "http://x"], 2, "http://"),
            (["host-data", "--id", "kv", "--link", "{}"], 1, "source_id"),
            (["health", "x", "--nats", "nats://127.0.0.1:1", "--timeout", "200"], 1, "connection refused"),
            (["health", "x"], 1, "nobody answers on wasmbus.rpc.default.x.health"),
            (["link", "put", *LINK, "--target", "x"], 1, "no host is in lattice 'default'"),
            (["link", "put", *LINK, "--target", "x", "--direct"], 1, "neither 'x' nor 'comp' runs"),
            (["swap", *SWAP, "--from", "x", "--to", "y"], 1, "no bucket LATTICEDATA_default")]:
        r = run(*words)
        check("error of: wcp " + " ".join(words), r.returncode == status and part in r.stderr
              and r.stderr.startswith("wcp: ") and r.stderr.rstrip().splitlines()[0:] == [r.stderr.strip()]
              , f"{r.returncode} {r.stderr}")
    for words in (["--help"], ["link", "put", "--help"], ["host-data", "-h"]):
        r = run(*words)
        check("help: wcp " + " ".join(words), r.returncode == 0 and "usage: wcp" in r.stdout and not r.stderr, r.stderr)

    # host-data
    link = {"source_id": "a", "target": "kv", "wit_namespace": "wasi", "wit_package": "keyvalue", "interfaces": ["store"]}
    r = run("host-data", "--id", "kv", "--lattice", "l2", "--config", "a=b=c", "--link", json.dumps(link))
    data = json.loads(base64.b64decode(r.stdout)) if r.returncode == 0 else {}
    check("host-data holds what was asked for", r.stdout.endswith("\n") and data.get("provider_key") == "kv"
          and data["lattice_rpc_prefix"] == "l2" and data["config"] == {"a": "b=c"} and data["link_definitions"] == [link]
          and data["lattice_rpc_url"] == os.environ["WCP_NATS_URL"], r.stderr or data)

    # health
    l = others(health={"good": "ok", "bad": "redis: connection refused", "odd": b"[1]\n2", "late": "not yet"})
    check("health of a healthy one", l.wcp("health", "good") == (0, "good: healthy\n", ""))
    s, _, e = l.wcp("health", "bad")
    check("health says why not", s == 1 and e == "wcp: bad is not healthy: redis: connection refused\n", e)
    s, _, e = l.wcp("health", "odd")
    check("an answer that is none", s == 1 and "'[1]?2' found" in e, e)
    began = time.monotonic()
    l.health["late"] = lambda _: "ok" if time.monotonic() > began + 0.5 else "not yet"
    s, _, e = l.wcp("health", "late", "--wait", "5000")
    check("health waits", s == 0 and time.monotonic() - began < 3, e)
    l.close()

    # direct put and del
    l = others(health={"comp": "ok", "kv": "ok"})
    s, o, e = l.wcp("link", "put", "--direct", *LINK, "--target", "kv", "--target-config", "URL=redis://x?a=b")
    check("direct put tells both ends, the target first", s == 0 and [w for w, _ in l.log] == ["kv put", "comp put"], (e, l.log))
    check("... in the form for providers", l.log and l.log[0][1]["target_config"] == {"URL": "redis://x?a=b"}
          and l.log[0][1]["interfaces"] == ["store", "atomics"] and l.log[0][1]["name"] == "default", l.log)
    l.log.clear()
    s, o, e = l.wcp("link", "del", "--direct", *LINK, "--target", "kv")
    check("direct del tells both ends", s == 0 and sorted(w for w, _ in l.log) == ["comp del", "kv del"]
          and not l.log[0][1].get("target_config"), (e, l.log))
    l.health["kv"] = "link 'default' from 'comp': URL: no"
    s, o, e = l.wcp("link", "put", "--direct", *LINK, "--target", "kv")
    check("direct put shows the target's complaint", s == 1 and "URL: no" in e, e)
    l.close()

    # direct swap
    l = others(health={"comp": "ok", "old": "ok", "new": lambda has: "ok" if "new" in has else "no link"})
    s, o, e = l.wcp("swap", "--direct", *SWAP, "--from", "old", "--to", "new")
    check("direct swap: new target, source, then away from the old", s == 0 and
          [w for w, _ in l.log] == ["new put", "comp put", "comp del", "old del"]
          and [d["target"] for _, d in l.log] == ["new", "new", "old", "old"], (e, l.log))
    l.log.clear()
    l.health["new"] = "no store"
    s, o, e = l.wcp("swap", "--direct", *SWAP, "--from", "old", "--to", "new", "--wait", "300")
    check("direct swap to a sick target changes nothing", s == 1 and "nothing is changed" in e and "no store" in e
          and [w for w, _ in l.log] == ["new put", "new del"], (e, l.log))
    l.log.clear()
    l.health["new"] = "ok"
    l.health["comp"] = lambda has: "new is no good" if "new" in has else "ok"
    l.has["comp"] = []
    s, o, e = l.wcp("swap", "--direct", *SWAP, "--from", "old", "--to", "new")
    check("direct swap that the source refuses is taken back", s == 1 and "swapped back" in e and "new is no good" in e
          and [w for w, _ in l.log] == ["new put", "comp put", "comp del", "new del"], (e, l.log))
    l.close()

    # a host
    l = lattice.Lattice(port)
    l.make_bucket("LATTICEDATA_default")
    l.make_bucket("CONFIGDATA_default")
    l.nats.close()

    l = others(health={"old": "ok", "new": "ok"}, host=True)
    l.config["shared"] = {"BOTH": "1", "URL": "x"}
    s, o, e = l.wcp("swap", *SWAP, "--from", "old", "--to", "new")
    check("swap of what is not stored", s == 1 and "LATTICEDATA_default has no key COMPONENT_comp" in e, e)
    s, o, e = l.wcp("link", "put", *LINK, "--target", "old", "--target-config", "shared", "--target-config", "URL=redis://x",
                    "--source-config", "k=v")
    stored = l.links("comp")["links"]
    names = ["shared", "wcp-comp-wasi-keyvalue-default-old-target"]
    check("put through a host: config first, then the link", s == 0 and [w.split(".wcp")[0] for w, _ in l.log]
          == ["config.put", "config.put", "link.put"] and stored[0]["target_config"] == names
          and l.config[names[1]] == {"URL": "redis://x"}, (e, l.log, stored))
    s, o, e = l.wcp("link", "put", *LINK, "--target", "new")
    check("the host's refusal is shown", s == 1 and "the host says: link conflict" in e, e)
    s, o, e = l.wcp("swap", *SWAP, "--from", "wrong", "--to", "new")
    check("swap from where it does not go", s == 1 and "goes to 'old', not to 'wrong'" in e, e)
    l.log.clear()
    s, o, e = l.wcp("swap", "comp", "wasi:keyvalue", "--to", "new",
                    "--target-config", "shared", "--target-config", "URL=mem")
    stored = l.links("comp")["links"]
    puts = [(w, d) for w, d in l.log if w.endswith((" put", " del"))]
    check("swap in the bucket", s == 0 and stored[0]["target"] == "new" and len(stored) == 1
          and stored[0]["target_config"] == ["shared", "wcp-comp-wasi-keyvalue-default-new-target"]
          and stored[0]["source_config"] == ["wcp-comp-wasi-keyvalue-default-old-source"], (e, stored))
    check("... the new target was told before, resolved; the old one after", [w for w, _ in puts] == ["new put", "old del"]
          and puts[0][1]["target_config"] == {"BOTH": "1", "URL": "mem"} and puts[0][1]["interfaces"] == ["store", "atomics"], l.log)
    check("... the old target's config is kept for a rollback", names[1] in l.config
          and l.key("CONFIGDATA", "wcp-comp-wasi-keyvalue-default-swap") == {"from": "old", "to": "new",
                                                                             "target-config": ",".join(names)}, l.config)

    l.log.clear()
    s, o, e = l.wcp("swap", *SWAP, "--rollback")
    stored = l.links("comp")["links"]
    check("rollback: the former target, with its config", s == 0 and "swapped back" in o and stored[0]["target"] == "old"
          and stored[0]["target_config"] == names and [w for w, _ in l.log if w.endswith((" put", " del"))] == ["old put", "new del"]
          and next(d for w, d in l.log if w == "old put")["target_config"] == {"BOTH": "1", "URL": "redis://x"}, (e, stored, l.log))
    s, o, e = l.wcp("swap", *SWAP, "--rollback")
    check("... and back again", s == 0 and l.links("comp")["links"][0]["target"] == "new", (e, l.links("comp")))
    l.health["third"] = "ok"
    l.listen("wasmbus.rpc.default.third.health")
    l.nats.flush()
    s, o, e = l.wcp("swap", *SWAP, "--to", "third")
    check("the swap before the last needs its configs no longer", s == 0 and names[1] not in l.config and "shared" in l.config
          and "wcp-comp-wasi-keyvalue-default-new-target" in l.config, (e, l.config))
    document = l.links("comp")
    document["links"][0]["target"] = "elsewhere"
    l.store("comp", document)
    s, o, e = l.wcp("swap", *SWAP, "--rollback")
    check("rollback of what others have changed since", s == 1 and "goes to 'elsewhere', not to 'third'" in e, e)
    document["links"].append(dict(document["links"][0], target="more"))
    l.store("comp", document)
    s, o, e = l.wcp("swap", *SWAP, "--to", "new")
    check("a link with two targets", s == 2 and "'elsewhere' and to 'more': choose one with --from" in e, e)

    s, o, e = l.wcp("link", "del", *LINK)
    check("del through a host takes its configs along", s == 0 and not l.links("comp")["links"] and list(l.config) == ["shared"]
          and "wcp-comp-wasi-keyvalue-default-swap" in l.deleted, (e, l.config, l.deleted))
    l.close()


class Bucket(Others):
    """Plays JetStream too, on a server without it: the first `lose` writes find that another writer
    was faster."""

    def __init__(self, port, lose, document, **more):
        super().__init__(port, **more)
        self.lose, self.document, self.revision, self.writes = lose, document, 7, 0
        for subject in ("$JS.API.STREAM.MSG.GET.*", "$KV.*.*"):
            self.listen(subject)
        self.nats.flush()

    def answer(self, m):
        subject, reply, data = m.subject, m.reply, m.data
        if subject.startswith("$KV.CONFIGDATA"):
            self.nats.publish(reply, b'{"stream":"KV_CONFIGDATA_default","seq":1}')
        elif subject.endswith("KV_CONFIGDATA_default"):
            self.nats.publish(reply, b'{"error":{"code":404,"err_code":10037,"description":"no message found"}}')
        elif subject.startswith("$JS"):
            message = {"seq": self.revision, "data": base64.b64encode(json.dumps(self.document).encode()).decode()}
            self.nats.publish(reply, json.dumps({"message": message}).encode())
        elif subject.startswith("$KV"):
            self.writes += 1
            if self.lose or m.headers.get("Nats-Expected-Last-Subject-Sequence") != str(self.revision):
                self.lose -= 1
                self.revision += 1
                self.document["others"] = self.revision
                error = {"code": 400, "err_code": 10071, "description": f"wrong last sequence: {self.revision}"}
                self.nats.publish(reply, json.dumps({"error": error}).encode())
            else:
                self.document = json.loads(data)
                self.nats.publish(reply, b'{"stream":"KV_LATTICEDATA_default","seq":99}')
        else:
            super().answer(m)


def run_tests_of_losing(port):
    os.environ["WCP_NATS_URL"] = f"nats://127.0.0.1:{port}"
    link = lambda target: {"source_id": "comp", "target": target, "name": "default", "wit_namespace": "wasi",
                           "wit_package": "keyvalue", "interfaces": ["store"], "source_config": [], "target_config": []}
    swap = ("swap", *SWAP, "--from", "old", "--to", "new")
    health = {"old": "ok", "new": "ok"}
    l = Bucket(port, 3, {"url": "", "links": [link("old")]}, health=health)
    s, o, e = l.wcp(*swap)
    check("swap tries again when others write", s == 0 and l.writes == 4 and l.document["links"] == [link("new")]
          and l.document["others"] == 10, (e, l.writes, l.document))
    l.close()
    l = Bucket(port, 1000, {"url": "", "links": [link("old")]}, health=health)
    s, o, e = l.wcp(*swap)
    check("... but not for ever, and takes the link back", s == 1 and l.writes == 10 and "others keep changing" in e
          and [w for w, _ in l.log] == ["new put", "new del"], (e, l.writes, l.log))
    l.close()
    l = Bucket(port, 0, {"url": "", "links": [link("old"), link("new")]}, health=health)
    s, o, e = l.wcp(*swap)
    check("swap to where a second link goes", s != 0 and "goes to 'new' as well" in e and not l.log, (e, l.log))
    l.document = {"url": 7, "links": [{"target": 1}, None, "x", link("old")]}
    s, o, e = l.wcp(*swap)
    check("swap among strange links", s == 0 and l.document["links"][3]["target"] == "new", (e, l.document))
    l.document = []
    s, o, e = l.wcp(*swap)
    check("a document that is none", s == 1 and "holds no links" in e, e)
    l.close()


def main():
    run_tests(lattice.nats_server(jetstream=True).port)
    run_tests_of_losing(lattice.nats_server().port)
    finish()


main()
