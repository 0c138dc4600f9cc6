#!/usr/bin/python3
"""test_secrets.py: secrets and configuration in mounted folders and when they change, sealed ones, and that a secret
is nowhere to be seen: not in logs, answers or core dumps."""

import base64
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../host"))
import lattice as l
from keys import Key

STORE = "wrpc:keyvalue/store@0.2.0-draft"
LOCAL = "local"
nats = l.nats_server(jetstream=True)
lattice = l.Lattice(nats.port)
lattice.make_bucket("LATTICEDATA_test")
lattice.make_bucket("CONFIGDATA_test")
NOBODY = 65534


class Mount:
    """A folder as the kubelet makes it: the names are links through ..data, which is swapped."""

    def __init__(self, **files):
        self.path, self.version = l.temporary_path(f"mount-{time.monotonic_ns()}"), 0
        os.mkdir(self.path)
        self.swap(**files)

    def swap(self, **files):
        self.version += 1
        version = f"..{self.version}"
        os.mkdir(f"{self.path}/{version}")
        for name, text in files.items():
            with open(f"{self.path}/{version}/{name}", "w") as f:
                f.write(text)
        os.symlink(version, f"{self.path}/..data_tmp")
        os.rename(f"{self.path}/..data_tmp", f"{self.path}/..data")
        for name in files:
            if not os.path.lexists(f"{self.path}/{name}"):
                os.symlink(f"..data/{name}", f"{self.path}/{name}")
        for name in os.listdir(self.path):
            if not name.startswith(".") and name not in files:
                os.unlink(f"{self.path}/{name}")


class Alone(l.Provider):
    def __init__(self, name, provider_id, *args, log="info", user=None):
        self.lattice, self.id = lattice, provider_id
        self.log_path = l.temporary_path(f"{provider_id}-{time.monotonic_ns()}.log")
        self.process = l.start([l.BIN / name, "--provider-id", provider_id, "--lattice", "test", "--nats",
                                f"nats://127.0.0.1:{nats.port}", "--log", log, *args],
                               log=self.log_path, env=l.ENVIRONMENT, user=user)

    def ready(self, seconds=10):
        self.logged('"msg":"ready', seconds=seconds)  # health is answered before the links are read
        return self

    def end(self):
        self.terminate()
        assert self.wait() == 0, self.log()
        assert "Sanitizer" not in self.log(), self.log()


def get(provider_id, key="k", source="comp"):
    r = l.Reader(lattice.call(provider_id, STORE, "get", l.text("") + l.text(key), source=source))
    return r.option(r.bytes) if r.byte() == 0 else f"error {r.byte()} {r.text()}"


def redis_with(password):
    server = l.redis_server("--requirepass", password)
    return server, f"redis://:{password}@127.0.0.1:{server.port}"


# --- folders that change ---


def a_rotated_secret_reaches_links_without_a_restart():
    """The mounted URL changes: the link is made anew. A link with a URL of its own keeps that one."""
    server, url = redis_with("first-password-31f")
    mount = Mount(URL=url + "\n")
    other = l.redis_server()
    l.redis(other.port, "SET", "k", "other")
    lattice.store_links("comp", [lattice.link("comp", "rotated")])
    p = Alone("keyvalue-redis", "rotated", "--secrets-dir", mount.path).ready()
    p.put(lattice.link("comp2", "rotated", {"URL": f"redis://127.0.0.1:{other.port}"}))
    p.logged("link is up", "comp2")
    assert get("rotated") is None
    assert get("rotated", source="comp2") == b"other"
    second = l.redis_server("--requirepass", "second-password-31f")
    mount.swap(URL=f"redis://:second-password-31f@127.0.0.1:{second.port}")
    p.logged("the secrets have changed")
    subprocess.run(["redis-cli", "-p", str(second.port), "-a", "second-password-31f", "SET", "k", "new"], check=True,
                   capture_output=True)
    assert get("rotated") == b"new"
    assert get("rotated", source="comp2") == b"other"
    # The same again is no change, and what cannot be read changes nothing.
    with open(f"{mount.path}/TOO-BIG", "wb") as f:
        f.truncate(2 << 20)
    p.logged("cannot be read", "TOO-BIG: 2097152 bytes found")
    assert get("rotated") == b"new"
    os.unlink(f"{mount.path}/TOO-BIG")
    p.end()
    assert p.log().count("the secrets have changed") == 1 and "-password-31f" not in p.log(), p.log()


def changed_configuration_is_told():
    """keyvalue-memory does not care; its links are made anew, those over a socket have the provider's configuration."""
    config, secrets = Mount(a="1"), Mount(s="1")
    p = Alone("keyvalue-memory", "configured", "--config-dir", config.path, "--secrets-dir", secrets.path,
              "--listen", f"unix:{l.temporary_path('configured.sock')}").ready()

    def ups():
        return [sum("link is up" in line and f'"from":"{source}"' in line for line in p.log().splitlines())
                for source in (LOCAL, "comp")]
    p.put(lattice.link("comp", "configured"))
    l.wait_for("both links", lambda: ups() == [1, 1])
    config.swap(a="2", b="3")
    p.logged("the configuration has changed")
    l.wait_for("both links again", lambda: ups() == [2, 2])
    secrets.swap(s="2")
    p.logged("the secrets have changed")
    l.wait_for("both links again", lambda: ups() == [3, 3])
    secrets.swap(s="2")  # nothing new, and looked at together with what follows
    config.swap()
    l.wait_for("both links again", lambda: ups() == [4, 4])
    assert p.log().count("the secrets have changed") == 1, p.log()
    p.end()


# --- never to be seen ---


def seen(secret, text):
    """In clear, or as base64 or hexadecimal digits have it."""
    forms = [secret, base64.b64encode(secret.encode()).decode()[:-4], secret.encode().hex()]
    return [form for form in forms if form in text]


def no_secret_is_seen_anywhere():
    """A password of its own through every way, good and bad, and everything that a provider says."""
    n, secrets, said = 0, [], []

    def secret():
        nonlocal n
        n += 1
        secrets.append(f"S3cr3t-{n}-{os.urandom(6).hex()}")
        return secrets[-1]
    server = l.redis_server("--requirepass", "right")
    there, dead = f"127.0.0.1:{server.port}", f"127.0.0.1:{l.free_port()}"
    ours, host = Key("X"), Key("X")

    def sealed(url):
        return list(host.seal(json.dumps({"URL": {"kind": "String", "value": url}}).encode(), ours))
    urls = [lambda: f"redis://app:{secret()}@{there}", lambda: f"redis://:{secret()}@{dead}",
            lambda: f"redis://:{secret()}@{there}:port", lambda: f"redis:/{secret()}", lambda: f"rediss://x:{secret()}@{there}",
            lambda: f"unix:///nowhere?pass={secret()}", lambda: f"redis://:{secret()}%zz@{there}", secret]
    keys = {"host_xkey_public_key": host.public, "provider_xkey_private_key": ours.seed}
    for kind in ("link config", "link secret", "provider secret", "provider config"):
        links, members = [], dict(keys)
        if kind.startswith("provider"):
            value = urls[0]()
            members["config" if "config" in kind else "secrets"] = {
                "URL": value if "config" in kind else {"kind": "String", "value": value}}
            links = [lattice.link("comp", "leak", {})]
        else:
            for i, url in enumerate(urls):
                links.append(lattice.link(f"comp{i}", "leak", {"URL": url()} if "config" in kind else {},
                                          target_secrets=sealed(url()) if "secret" in kind else None))
        # A secret that is sealed for somebody else, and HostData that is none.
        p = l.Provider(lattice, "keyvalue-redis", "leak", links, log_level="debug", **members).ready()
        p.put(lattice.link("stranger", "leak", target_secrets=list(host.seal(secret().encode(), host))))
        p.logged("stranger", "cannot be decrypted")
        for link in links:
            said.append(str(get("leak", source=link["source_id"]) if link["source_id"] in ("comp", "comp0", "comp1") else ""))
        l.wait_for("not healthy", lambda: not p.health()["healthy"])
        said.append(json.dumps(p.health()))
        p.terminate()
        assert p.wait() == 0, p.log()
        said.append(p.log())
    for arguments in (["--secrets-dir", Mount(URL=urls[0]()).path], ["--secrets-dir", Mount(URL=urls[2]()).path],
                      ["--config-dir", Mount(URL=urls[0]()).path], ["--config-dir", Mount(URL=urls[3]()).path]):
        lattice.store_links("comp", [lattice.link("comp", "leak")])
        p = Alone("keyvalue-redis", "leak", *arguments, log="debug").ready()
        said.append(str(l.wait_for("an answer", lambda: get_or_why("leak"))))
        l.wait_for("not healthy", lambda: not p.health()["healthy"])
        said.append(json.dumps(p.health()))
        p.end()
        said.append(p.log())
    # What cannot even start.
    def malformed(**members):
        return base64.b64encode(json.dumps({"lattice_rpc_prefix": "x", "provider_key": "y", **members}).encode())
    for arguments, stdin in (([], malformed(provider_xkey_private_key="SX" + secret())), ([], malformed(a=secret())[:-7]),
                             ([], malformed(secrets={"a": {"kind": "Bytes", "value": secret()}})),
                             ([], malformed(secrets={"a": secret()})),
                             ([], malformed(lattice_rpc_user_seed="SU" + secret())), (["--provider-id", "x", "--nats", f"nats://u:{secret()}@h:port"], b""),
                             (["--provider-id", "x", "--nats", f"nats://u:{secret()}@"], b""),
                             (["--provider-id", "x", "--nkey", write_secret(secret())], b"")):
        r = subprocess.run([l.BIN / "keyvalue-redis", *arguments], input=stdin, capture_output=True, timeout=10,
                           env=l.ENVIRONMENT)
        assert r.returncode in (1, 2) and len(r.stderr.splitlines()) == 1, r
        said.append((r.stdout + r.stderr).decode())
    text = "\n".join(said)
    for s in secrets:
        assert not seen(s, text), (s, [line for line in text.splitlines() if seen(s, line)])
    assert "WRONGPASS" in text and "refuse" in text, text[-3000:]  # the errors were made indeed


def get_or_why(provider_id):
    try:
        return get(provider_id) or "none"
    except (IndexError, l.Timeout) as e:  # no link works: no result
        return repr(e)


def write_secret(text):
    path = l.temporary_path("seed")
    with open(path, "w") as f:
        f.write(text)
    return path


def no_core_dump_and_no_debugger():
    """A process that is not dumpable belongs to root in /proc, whoever runs it."""
    user = NOBODY if os.geteuid() == 0 else None
    os.chmod(l.temporary_path(""), 0o711)
    exe = os.path.join(l.BIN, "keyvalue-memory")
    other = l.start(["sleep", "60"], user=user)
    mine = os.stat(f"/proc/{other.pid}/mem").st_uid
    other.kill()
    other.wait()
    assert mine == (user or os.geteuid())
    p = Alone(exe, "dumpable", user=user).ready()
    assert os.stat(f"/proc/{p.process.pid}/mem").st_uid == 0 != mine or os.geteuid() != 0, "it can be dumped"
    if user:
        r = subprocess.run(["cat", f"/proc/{p.process.pid}/environ"], user=user, capture_output=True)
        assert r.returncode != 0 and b"denied" in r.stderr, r
    p.end()  # with leaks looked for, where sanitizers are: they need to trace us


l.run([a_rotated_secret_reaches_links_without_a_restart, changed_configuration_is_told, no_secret_is_seen_anywhere,
       no_core_dump_and_no_debugger])
