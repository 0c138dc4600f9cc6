#!/usr/bin/python3
"""test_logins.py: how a provider and wcp log in to a real nats-server, what they say when it refuses, files that change,
several servers, and the least permissions (docs/nats.md)."""

import base64
import json
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../host"))
import lattice as l
from keys import Key, segment

NAME = "keyvalue-memory"
STORE = "wrpc:keyvalue/store@0.2.0-draft"
REFUSED = "the server refuses the login"


def write(name, text):
    """A file that is replaced in one step, as rotations do it."""
    path = l.temporary_path(name)
    with open(path + ".new", "w") as f:
        f.write(text)
    os.rename(path + ".new", path)
    return path


class Server(l.Server):
    """A nats-server with a configuration file, which may change."""

    def __init__(self, config):
        self.port = l.free_port()
        self.path = l.temporary_path(f"nats-{self.port}.conf")
        self.configure(config)
        super().__init__(["nats-server", "-c", self.path], self.port)

    def configure(self, config):
        with open(self.path, "w") as f:
            f.write(f"listen: 127.0.0.1:{self.port}\n{config}\n")

    def log(self):
        with open(l.temporary_path(f"nats-server-{self.port}.log")) as f:
            return f.read()


class Alone(l.Provider):
    """A standalone provider; nothing can be asked on NATS but by its log."""

    def __init__(self, server, *args, scheme="nats", provider_id="kv", env=None):
        self.id, self.log_path = provider_id, l.temporary_path(f"login-{time.monotonic_ns()}.log")
        at = [] if "--nats" in args else ["--nats", f"{scheme}://localhost:{server.port}"]
        self.process = l.start([l.BIN / NAME, "--provider-id", provider_id, "--lattice", "test", *at, *args],
                               log=self.log_path, env={**l.ENVIRONMENT, **(env or {})})

    def end(self):
        self.terminate()
        assert self.wait() == 0, self.log()
        assert "Sanitizer" not in self.log(), self.log()


# --- each way to log in ---


def jwt(kind, name, subject, issuer, **nats):
    body = {"jti": "x", "iat": int(time.time()), "iss": issuer.public, "name": name, "sub": subject.public,
            "nats": {"type": kind, "version": 2, **nats}}
    text = b".".join(segment(json.dumps(p, separators=(",", ":")).encode())
                     for p in ({"typ": "JWT", "alg": "ed25519-nkey"}, body))
    return (text + b"." + segment(issuer.sign(text))).decode()


LIMITS = {k: -1 for k in ("subs", "data", "payload", "imports", "exports", "conn", "leaf")}
operator, account = Key("O"), Key("A")
OPERATOR_CONFIG = f"""operator: {jwt("operator", "op", operator, operator)}
resolver: MEMORY
resolver_preload: {{ {account.public}: {jwt("account", "acc", account, operator, limits={**LIMITS, "wildcards": True})} }}"""


def user_jwt(user, issuer=account):
    return jwt("user", "kv", user, issuer, subs=-1, data=-1, payload=-1)


def creds(user, issuer=account):
    return (f"-----BEGIN NATS USER JWT-----\n{user_jwt(user, issuer)}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n")


def certificates(*names):
    """Two authorities, ca and other-ca, and a certificate for each name, as <name>.pem with <name>.key."""
    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=os.path.dirname(l.temporary_path("")))
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    for ca in ("ca", "other-ca"):
        openssl("req", "-x509", *curve, "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-days", "2", "-subj", f"/CN={ca}")
    write("ext", "subjectAltName=DNS:localhost")
    for name in names:
        ca = "other-ca" if name.startswith("other") else "ca"
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", "csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", "csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", "2",
                "-out", f"{name}.pem", "-extfile", "ext")


def content(name):
    with open(l.temporary_path(name)) as f:
        return f.read()


def tls(users, server="server"):
    users = ", ".join(f'{{user: "CN={u}"}}' for u in users)
    return (f'tls {{ cert_file: "{l.temporary_path(f"{server}.pem")}", key_file: "{l.temporary_path(f"{server}.key")}",'
            f' ca_file: "{l.temporary_path("ca.pem")}", verify_and_map: true }}\nauthorization {{ users: [{users}] }}')


def each_way(way, options, login, config, put, secrets, scheme="nats"):
    """put(n) makes the files of user n; config(n) lets in user n only. Refused, cured by other files; after a loss
    of the server, which now has another user, cured again."""
    put(0)
    server = Server(config(1))
    p = Alone(server, *options, scheme=scheme)
    line = json.loads(p.logged(REFUSED if scheme == "nats" else "no connection, trying on"))
    if scheme == "nats":
        assert line["level"] == "error" and login(0) in line["login"], line
        assert line["why"] == "Authorization Violation" and str(server.port) in line["server"], line
    put(1)
    p.logged('"msg":"ready')
    wcp = subprocess.run([l.BIN / "wcp", "health", "kv", "--lattice", "test", "--nats", f"{scheme}://localhost:{server.port}", *options],
                         capture_output=True, text=True, timeout=20)
    assert wcp.returncode == 0, wcp
    server.kill()
    server.configure(config(2))
    put(2)
    server.start()
    p.logged("connected again")
    p.end()
    for secret in secrets:
        assert secret not in p.log(), (way, p.log())
    assert p.log().count(REFUSED) <= 2, p.log()
    server.kill()


def user_and_password():
    passwords = [f"password-{n}-f3a9" for n in range(3)]
    options = ["--nats-user", "kv", "--nats-password-file", l.temporary_path("password")]
    each_way("password", options, lambda n: "user 'kv' with the password in " + options[3],
             lambda n: f"authorization {{ user: kv, password: {passwords[n]} }}",
             lambda n: write("password", passwords[n] + "\n"), passwords)


def token():
    tokens = [f"token-{n}-77b1" for n in range(3)]
    options = ["--nats-token-file", l.temporary_path("token")]
    each_way("token", options, lambda n: "the token in " + options[1],
             lambda n: f"authorization {{ token: {tokens[n]} }}", lambda n: write("token", tokens[n]), tokens)


def nkey():
    users = [Key("U") for _ in range(3)]
    options = ["--nkey", l.temporary_path("nkey")]
    each_way("nkey", options, lambda n: f"nkey {users[n].public} of {options[1]}",
             lambda n: f"authorization {{ users: [ {{ nkey: {users[n].public} }} ] }}",
             lambda n: write("nkey", users[n].seed + "\n"), [u.seed for u in users])


def credentials():
    """The server trusts the account; user 0 is another account's."""
    users, stranger = [Key("U") for _ in range(3)], Key("A")
    options = ["--creds", l.temporary_path("user.creds")]
    each_way("creds", options, lambda n: "the credentials in " + options[1], lambda n: OPERATOR_CONFIG,
             lambda n: write("user.creds", creds(users[n], account if n else stranger)),
             [u.seed for u in users] + [user_jwt(users[1])])


def certificate():
    certificates("server", "other-server", "user0", "user1", "user2")
    options = ["--nats-ca", l.temporary_path("ca.pem"), "--nats-cert", l.temporary_path("client.pem"),
               "--nats-key", l.temporary_path("client.key")]

    def put(n):
        write("client.key", content(f"user{n}.key"))
        write("client.pem", content(f"user{n}.pem"))
    each_way("certificate", options, lambda n: "the certificate in " + options[3], lambda n: tls([f"user{n}"]), put, [])
    # An authority that did not sign it: never connected, whatever the scheme says.
    server = Server(tls(["user2"]))
    for scheme in ("nats", "tls"):
        p = Alone(server, *options[2:], "--nats-ca", l.temporary_path("other-ca.pem"), scheme=scheme)
        p.logged("no connection", "certificate")
        p.end()
        assert '"nats: connected' not in p.log(), p.log()
    # The server gets a certificate by another authority, and we the news while libnats tries with the former one.
    write("trust.pem", content("ca.pem"))
    p = Alone(server, *options[2:], "--nats-ca", l.temporary_path("trust.pem"))
    p.logged('"msg":"ready')
    server.kill()
    server.configure(tls(["user2"], "other-server"))
    server.start()
    l.wait_for("a refused try", lambda: server.log().split("Starting nats-server")[-1].count("handshake error") > 2)
    write("trust.pem", content("other-ca.pem"))
    p.logged("connected again")
    p.end()
    server.kill()
    # With --nats-ca nothing is said to a server in clear.
    plain = l.nats_server()
    p = Alone(plain, "--nats-ca", l.temporary_path("ca.pem"))
    p.logged("no connection", "ecure")
    p.end()
    plain.kill()


def host_data_and_url():
    """What hosts give: JWT with seed, and a password in the URL. The options of the environment do as well."""
    user, stranger = Key("U"), Key("U")
    server = Server(OPERATOR_CONFIG)
    lattice = type("", (), {"port": server.port, "name": "test", "host_data": l.Lattice.host_data})()
    for seed, text in ((user.seed, '"msg":"ready'), (stranger.seed, f"the user JWT with nkey {stranger.public}")):
        p = l.Provider(lattice, NAME, "kv", stdin=lattice.host_data("kv", lattice_rpc_user_jwt=user_jwt(user),
                                                                   lattice_rpc_user_seed=seed))
        p.logged(text)
        p.terminate()
        assert p.wait() == 0 and seed not in p.log() and user_jwt(user) not in p.log(), p.log()
    server.kill()
    server = Server("authorization { user: kv, password: url-secret-41d }")
    for url, text in (("kv:url-secret-41d@", '"msg":"ready'), ("kv:wrong-secret-41d@", "user 'kv' of the URL"),
                      ("token-secret-41d@", "the token of the URL"), ("", '"login":"none"')):
        p = Alone(server, "--nats", f"nats://{url}localhost:{server.port}")
        p.logged(text)
        p.end()
        assert "secret-41d" not in p.log(), p.log()
    env = {"WCP_NATS_USER": "kv", "WCP_NATS_PASSWORD_FILE": write("env-password", "url-secret-41d")}
    p = Alone(server, "--nats", f"nats://other:wrong@localhost:{server.port}", env=env)  # the options win
    p.logged('"msg":"ready')
    p.end()
    server.kill()


def one_server_of_two_is_enough():
    first, second = Server(""), Server("")
    first.kill()
    p = Alone(None, "--nats", f"localhost:{first.port},localhost:{second.port}")
    p.logged("connected", str(second.port))
    p.logged('"msg":"ready')
    first.start()
    second.kill()
    p.logged("connected again", str(first.port))
    p.lattice = l.Lattice(first.port)
    p.ready()
    p.end()
    first.kill()


def a_cluster_tells_its_other_servers():
    """One of three is configured; when it is gone, the user goes on to one of those that it has told of."""
    ports = [l.free_port() for _ in range(3)]
    routes = ", ".join(f"nats://127.0.0.1:{p}" for p in ports)
    users = "authorization { user: kv, password: cluster-41d }"
    servers = [Server(f"""{users}\nserver_name: s{p}
        cluster {{ name: c, listen: "127.0.0.1:{p}", routes: [{routes}] }}""") for p in ports]
    p = Alone(None, "--nats", f"nats://kv:cluster-41d@127.0.0.1:{servers[0].port}")
    p.logged('"msg":"ready')
    l.wait_for("two routes", lambda: servers[0].log().count("Route connection created") >= 2)
    servers[0].kill()
    line = p.logged("connected again")
    assert any(str(s.port) in line for s in servers[1:]), line
    assert "cluster-41d" not in p.log(), p.log()
    p.end()
    for s in servers[1:]:
        s.kill()


# --- permissions ---


def documented(without=None):
    """The permissions of docs/nats.md, with the names of this test."""
    with open(os.path.join(l.ROOT, "docs/nats.md")) as f:
        text = re.search(r"```\n(permissions: .*?)```", f.read(), re.S).group(1)
    lines = text.replace("default", "test").splitlines()
    kept = [line for line in lines if not without or without not in line]
    assert without is None or len(kept) < len(lines), without
    return "\n".join(kept)


def guarded(without=None):
    config = f"""authorization {{ users: [
      {{user: admin, password: admin}}
      {{user: kv, password: least, {documented(without)} }}
    ] }}
    no_auth_user: admin
    jetstream {{ store_dir: "{l.temporary_path(f"js-{time.monotonic_ns()}")}" }}"""
    server = Server(config)
    lattice = l.Lattice(server.port)
    for bucket in ("LATTICEDATA_test", "CONFIGDATA_test"):
        lattice.make_bucket(bucket)
    return server, lattice


def the_documented_permissions_are_enough():
    server, lattice = guarded()
    put = {**lattice.link("comp", "kv"), "source_config": [], "target_config": ["conf"]}
    lattice.nats.request("$KV.CONFIGDATA_test.conf", b'{"a":"1"}')
    for i in range(8):  # so much that it comes with flow control
        lattice.nats.request(f"$KV.LATTICEDATA_test.COMPONENT_large{i}", b'{"links":[],"x":"%s"}' % (b"x" * 600_000))
    lattice.nats.request("$KV.LATTICEDATA_test.COMPONENT_comp", json.dumps({"url": "", "links": [put]}).encode())
    p = Alone(server, "--nats-user", "kv", "--nats-password-file", write("least", "least"), "--log", "debug")
    p.lattice = lattice
    p.ready()
    p.logged("link is up")
    lattice.call("kv", STORE, "set", l.text("") + l.text("k") + l.text("v" * 3_000_000))
    r = l.Reader(lattice.call("kv", STORE, "get", l.text("") + l.text("k")))
    assert (r.byte(), len(r.option(r.bytes))) == (0, 3_000_000)
    p.put(lattice.link("comp2", "kv"))
    p.logged("link is up", "comp2")
    p.end()
    for who, log in (("the server", server.log()), ("the provider", p.log())):
        assert "ermissions Violation" not in log and "does not permit" not in log, f"{who}: {log[-3000:]}"
    server.kill()


def what_is_not_permitted_is_told():
    for without, text in (("default.kv.wrpc".replace("default", "test"), 'Subscription to \\"test.kv.wrpc.0.0.1'),
                          ("CREATE.KV_LATTICEDATA", 'Publish to \\"$JS.API.CONSUMER.CREATE.KV_LATTICEDATA_test')):
        server, lattice = guarded(without)
        p = Alone(server, "--nats-user", "kv", "--nats-password-file", write("least", "least"))
        line = json.loads(p.logged("does not permit", text))
        assert line["level"] == "error" and "user 'kv'" in line["login"], line
        p.end()
        server.kill()


l.run([user_and_password, token, nkey, credentials, certificate, host_data_and_url, one_server_of_two_is_enough,
       a_cluster_tells_its_other_servers,
       the_documented_permissions_are_enough, what_is_not_permitted_is_told])
