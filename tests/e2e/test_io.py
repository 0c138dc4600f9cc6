#!/usr/bin/python3
"""test_io.py: a provider as a process: how it is told what to do, connects, loses the server, and ends. Any
provider will do; keyvalue-memory needs no backend."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../host"))
import lattice as l
from keys import Key

NAME = "keyvalue-memory"
EXE = os.path.join(l.BIN, NAME)
SERVER = l.nats_server(jetstream=True)
URL = f"nats://127.0.0.1:{SERVER.port}"
LATTICE = l.Lattice(SERVER.port)


def run(*args, stdin=b"", env=None, seconds=15):
    """Status, stdout and stderr of a start that is expected to end by itself."""
    p = subprocess.run([EXE, *args], input=stdin, capture_output=True, env=env or {}, timeout=seconds)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def refused(status, text, *args, **options):
    got, out, err = run(*args, **options)
    assert got == status, (got, out, err)
    assert text in err, (text, err)
    assert len(err.splitlines()) == 1, err


class Alone(l.Provider):
    """Started with flags and environment instead of HostData."""

    def __init__(self, *args, lattice=LATTICE, provider_id="alone", env=None, stdin=subprocess.DEVNULL):
        self.lattice, self.id = lattice, provider_id
        self.log_path = l.temporary_path(f"alone-{time.monotonic_ns()}.log")
        with open(self.log_path, "wb") as log:
            self.process = l.start([EXE, *args], stdin=stdin, stderr=log, env=env or {})


def memory_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Anonymous:"))


# --- being told ---


def usage_errors_are_one_line_and_status_2():
    for text, args in (
            ('"--bogus" is no option of this provider; see --help', ["--bogus"]),
            ("--nats: nothing found behind it, URL expected", ["--nats"]),
            ("--help takes no value", ["--help=x"]),
            ("--provider-id (or WCP_PROVIDER_ID) is missing", ["--lattice", "x"]),
            ('--provider-id: "a.b" found, one or more of A-Z a-z 0-9 _ - expected', ["--provider-id", "a.b"]),
            ('--provider-id: "" found', ["--provider-id="]),
            ('--lattice: "x y" found', ["--provider-id", "p", "--lattice", "x y"]),
            ("--provider-id: 128 characters found, at most 127 expected", ["--provider-id", "p" * 128]),
            ('--config: "novalue" found, KEY=VALUE expected', ["--provider-id", "p", "--config", "novalue"]),
            ('--log: "loud" found', ["--provider-id", "p", "--log", "loud"]),
            ("--config-dir: /nonexistent: No such file", ["--provider-id", "p", "--config-dir", "/nonexistent"]),
            ("--host-data: /nonexistent: No such file", ["--host-data", "/nonexistent"]),
            ('http://\\" found, nats:// or tls:// expected', ["--provider-id", "p", "--nats", "http://x"]),
            ("NATS login: --creds /nonexistent: No such file",
             ["--provider-id", "p", "--creds", "/nonexistent"])):
        refused(2, text, *args)
    refused(2, 'WCP_LATTICE: "a.b" found', env={"WCP_LATTICE": "a.b", "WCP_PROVIDER_ID": "p"})


def help_and_version_go_to_stdout():
    status, out, err = run("--help")
    assert (status, err) == (0, "") and out.startswith(f"usage: {NAME}") and "WCP_SECRETS_DIR" in out, out
    status, out, err = run("--version")
    assert (status, err) == (0, "") and out.startswith(NAME + " "), out


def a_terminal_on_stdin_gets_the_usage_text():
    master, slave = os.openpty()
    try:
        p = subprocess.run([EXE], stdin=slave, capture_output=True, env={}, timeout=5)
    finally:
        os.close(master)
        os.close(slave)
    assert p.returncode == 2 and b"usage: " in p.stderr, p


def bad_host_data_is_one_line_and_status_1():
    refused(1, "host data: nothing found on stdin, a line of base64 expected")
    refused(1, "host data: byte 2 is not base64", stdin=b"ab!\n")
    refused(1, "host data: ", stdin=b"e30K\n")  # {}
    refused(1, "host data: ", stdin=LATTICE.host_data("x")[:-9] + b"\n")
    refused(1, "NATS URL 1: \\\"gopher://\\\" found", stdin=LATTICE.host_data("x", lattice_rpc_url="gopher://x"))
    refused(1, "NATS login: a user JWT found without its seed",
            stdin=LATTICE.host_data("x", lattice_rpc_user_jwt="ey"))


def stdin_without_a_line_is_given_up_after_10_seconds():
    r, w = os.pipe()
    try:
        p = l.start([EXE], stdin=r, stderr=subprocess.PIPE, env={})
        os.write(w, b"abc")
        begin = time.monotonic()
        _, err = p.communicate(timeout=14)
    finally:
        os.close(r)
        os.close(w)
    assert p.returncode == 1 and 9.5 < time.monotonic() - begin < 12, p.returncode
    assert b"3 bytes found on stdin within 10 s, a line of base64 expected" in err, err


def host_data_may_come_in_pieces_and_stdin_may_stay_open():
    line = LATTICE.host_data("pieces", config={"filler": "x" * 400000})
    r, w = os.pipe()
    log = open(l.temporary_path("pieces.log"), "wb")
    p = l.start([EXE], stdin=r, stderr=log, env={})
    os.close(r)
    for at in range(0, len(line), 50000):
        os.write(w, line[at:at + 50000])
    l.wait_for("health", lambda: healthy("pieces"))
    p.terminate()
    assert p.wait(5) == 0
    os.close(w)


def healthy(provider_id, lattice=LATTICE):
    try:
        return lattice.nats.request(f"wasmbus.rpc.{lattice.name}.{provider_id}.health", timeout=0.5).data
    except (l.NoResponders, l.Timeout):
        return None


# --- running alone ---


def flags_make_it_run_alone():
    p = Alone("--lattice", "test", "--provider-id=alone", "--nats", URL).ready()
    assert p.health()["healthy"] is True
    p.terminate()
    assert p.wait() == 0, p.log()


def environment_makes_it_run_alone():
    p = Alone(env={"WCP_LATTICE": "test", "WCP_PROVIDER_ID": "alone", "WCP_NATS_URL": URL,
                   "WCP_LOG": "debug"}).ready()
    p.terminate()
    assert p.wait() == 0, p.log()


def host_data_in_a_file_may_be_base64_or_json():
    import base64
    line = LATTICE.host_data("from-file")
    for text in (line, b" \n" + base64.b64decode(line)):
        path = l.temporary_path("host-data")
        with open(path, "wb") as f:
            f.write(text)
        p = Alone("--host-data", path, provider_id="from-file").ready()
        p.terminate()
        assert p.wait() == 0, p.log()


# --- the connection ---


def the_first_connect_waits_for_the_server_and_says_why_once():
    server = l.nats_server()
    server.kill()
    p = Alone("--lattice", "test", "--provider-id", "early", "--nats", f"nats://127.0.0.1:{server.port}")
    time.sleep(1.5)
    assert p.process.poll() is None
    lines = [x for x in p.log().splitlines() if "no connection" in x]
    assert len(lines) == 1 and "connection refused" in lines[0], lines
    server.start()
    p.logged('"msg":"ready')
    p.lattice = l.Lattice(server.port)
    p.id = "early"
    p.ready()
    p.terminate()
    assert p.wait() == 0
    server.kill()


def it_ends_at_once_while_it_cannot_connect():
    p = Alone("--provider-id", "p", "--nats", f"nats://127.0.0.1:{l.free_port()}")
    p.logged("no connection")
    p.terminate()
    assert p.wait(2) == 0


def a_server_that_hangs_does_not_hang_us():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        p = Alone("--provider-id", "p", "--nats", f"nats://127.0.0.1:{s.getsockname()[1]}")
        p.logged("no connection", "no answer")
        p.terminate()
        assert p.wait(2) == 0


def a_server_that_hangs_after_its_greeting_does_not_hang_us():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        p = Alone("--provider-id", "p", "--nats", f"nats://127.0.0.1:{s.getsockname()[1]}")
        greeted = s.accept()[0]
        greeted.sendall(b'INFO {"server_id":"x","version":"2.9.10","proto":1,"headers":true,"max_payload":1048576}\r\n')
        p.logged("no connection", "no answer")
        p.terminate()
        assert p.wait(2) == 0
        greeted.close()


def the_second_of_two_servers_will_do():
    p = Alone("--lattice", "test", "--provider-id", "alone", "--nats",
              f"nats://127.0.0.1:{l.free_port()},{URL}").ready()
    p.terminate()
    assert p.wait() == 0


def a_lost_server_is_waited_for():
    server = l.nats_server()
    lattice = l.Lattice(server.port)
    p = lattice.provider(NAME, "comeback")
    server.kill()
    p.logged("connection lost")
    time.sleep(0.5)
    server.start()
    p.logged("connected again")
    p.lattice = l.Lattice(server.port)
    p.ready()
    p.lattice.nats.flush()
    assert p.shutdown() == b"shutting down"
    assert p.wait() == 0, p.log()
    server.kill()


def it_ends_while_the_server_is_away():
    server = l.nats_server()
    p = l.Lattice(server.port).provider(NAME, "away")
    server.kill()
    p.logged("connection lost")
    p.terminate()
    assert p.wait(15) == 0, p.log()


def a_server_that_stands_still_does_not_keep_it_from_ending():
    server = l.nats_server()
    p = l.Lattice(server.port).provider(NAME, "still")
    server.pause()
    p.terminate()
    begin = time.monotonic()
    assert p.wait(20) == 0, p.log()
    assert time.monotonic() - begin < 16
    server.resume()
    server.kill()


def credentials_in_a_file_and_in_host_data_are_used():
    port = l.free_port()
    server = l.Server(["nats-server", "-a", "127.0.0.1", "-p", str(port), "--auth", "opensesame"], port)
    p = Alone("--provider-id", "auth", "--nats", f"nats://opensesame@127.0.0.1:{port}")
    p.logged('"msg":"ready')
    assert "opensesame" not in p.log()
    p.terminate()
    assert p.wait() == 0
    p = Alone("--provider-id", "auth", "--nats", f"nats://wrong@127.0.0.1:{port}")
    p.logged("Authorization Violation")
    assert "wrong" not in p.log()
    p.terminate()
    assert p.wait(3) == 0
    server.kill()


def nkeys_log_in():
    user, port, path = Key("U"), l.free_port(), l.temporary_path("nkeys.conf")
    with open(path, "w") as f:
        f.write(f"listen: 127.0.0.1:{port}\nauthorization {{ users = [ {{ nkey: {user.public} }} ] }}\n")
    server = l.Server(["nats-server", "-c", path], port)
    for seed, text in ((user.seed, '"msg":"ready'), (Key("U").seed, "Authorization Violation")):
        line = LATTICE.host_data("nkey", lattice_rpc_url=f"nats://127.0.0.1:{port}", lattice_rpc_user_seed=seed)
        p = l.Provider(LATTICE, NAME, "nkey", stdin=line)
        p.logged(text)
        assert seed not in p.log()
        p.terminate()
        assert p.wait(5) == 0
    server.kill()


def certificates_are_checked():
    """A certificate authority of our own, known through OpenSSL's variable."""
    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=os.path.dirname(l.temporary_path("")))
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca")
    ca = {"SSL_CERT_FILE": l.temporary_path("ca.pem")}
    for name, env, text in (("IP:127.0.0.1", ca, '"msg":"ready'),
                            ("IP:127.0.0.1", {}, "unable to get local issuer certificate"),
                            ("DNS:elsewhere.example", ca, "mismatch")):
        with open(l.temporary_path("ext"), "w") as f:
            f.write(f"subjectAltName={name}")
        openssl("req", *curve, "-keyout", "key", "-out", "csr", "-subj", "/CN=server")
        openssl("x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-out", "cert", "-extfile", "ext")
        port = l.free_port()
        server = l.Server(["nats-server", "-a", "127.0.0.1", "-p", str(port), "--tls", "--tlscert",
                           l.temporary_path("cert"), "--tlskey", l.temporary_path("key")], port)
        p = Alone("--provider-id", "tls", "--nats", f"tls://127.0.0.1:{port}", env=env)
        p.logged(text)
        p.terminate()
        assert p.wait(5) == 0
        server.kill()


def a_server_that_throws_it_out_each_time_is_not_hammered():
    port, path = l.free_port(), l.temporary_path("few.conf")
    with open(path, "w") as f:
        f.write(f"listen: 127.0.0.1:{port}\nmax_subscriptions: 3\n")
    server = l.Server(["nats-server", "-c", path], port)
    p = Alone("--provider-id", "few", "--nats", f"nats://127.0.0.1:{port}")
    p.logged("maximum subscriptions exceeded")
    time.sleep(2)
    assert p.log().count("connected again") < 20, p.log()[:3000]
    p.terminate()
    assert p.wait(5) == 0
    server.kill()


# --- what it was started with ---


def few_descriptors_are_told():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    for n, text in ((5, b"ulimit -n is 5, at least 16 expected"), (15, b"ulimit -n is 15, at least 16")):
        p = subprocess.run([EXE, "--provider-id", "p"], capture_output=True, env=l.ENVIRONMENT, timeout=15,
                           preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (n, limits[1])))
        assert p.returncode == 1 and text in p.stderr, p


def closed_standard_files_do_no_harm():
    p = l.start([EXE, "--lattice", "test", "--provider-id", "closed", "--nats", URL], env=l.ENVIRONMENT,
                preexec_fn=lambda: os.closerange(0, 3))
    l.wait_for("health", lambda: healthy("closed"))
    p.terminate()
    assert p.wait(5) == 0


def a_log_that_nobody_reads_does_not_stop_it():
    r, w = os.pipe()
    p = l.start([EXE, "--lattice", "test", "--provider-id", "mute", "--nats", URL], env=l.ENVIRONMENT,
                stdin=subprocess.DEVNULL, stderr=w)
    l.wait_for("health", lambda: healthy("mute"))
    for _ in range(1000):
        LATTICE.nats.publish("wasmbus.rpc.test.mute.linkdefs.put", b"not JSON")
    l.wait_for("health", lambda: healthy("mute"))
    os.read(r, 1 << 20)
    LATTICE.nats.publish("wasmbus.rpc.test.mute.linkdefs.put", b"not JSON")
    l.wait_for("health", lambda: healthy("mute"))
    assert b" log lines are lost: stderr was full" in os.read(r, 1 << 20)
    p.terminate()
    assert p.wait(5) == 0


# --- ending ---


def the_shutdown_message_is_answered_before_the_end():
    p = LATTICE.provider(NAME, "shut")
    begin = time.monotonic()
    assert p.shutdown() == b"shutting down"
    assert time.monotonic() - begin < 0.25
    status = p.wait(3)
    assert status == 0, (status, p.log())


def sigint_and_repeated_sigterm_end_it():
    p = LATTICE.provider(NAME, "sig")
    p.process.send_signal(signal.SIGINT)
    assert p.wait(5) == 0, p.log()
    p = LATTICE.provider(NAME, "sig")
    for _ in range(5):
        p.terminate()
    assert p.wait(5) == 0, p.log()


def leaving_loses_no_call():
    """Calls keep coming while one of two instances leaves; each is answered."""
    link = LATTICE.link("comp", "pair")
    a, b = (LATTICE.provider(NAME, "pair", [link]) for _ in range(2))
    errors, count, stop = [], [0], threading.Event()

    def caller():
        while not stop.is_set():
            try:
                LATTICE.call("pair", "wrpc:keyvalue/store@0.2.0-draft", "get", l.text("b") + l.text("k"),
                             timeout=5)
                count[0] += 1
            except Exception as e:  # noqa: BLE001
                errors.append(repr(e))
    threads = [threading.Thread(target=caller) for _ in range(4)]
    for t in threads:
        t.start()
    time.sleep(0.5)
    a.terminate()
    assert a.wait(15) == 0, a.log()
    time.sleep(0.3)
    stop.set()
    for t in threads:
        t.join()
    b.terminate()
    b.wait()
    assert count[0] > 50 and not errors, (count, errors[:3])


# --- being small and quick ---


def it_is_ready_soon_and_small():
    """Generous bounds: the machine may be busy. The figures are printed."""
    ready = []
    for _ in range(5):
        p = LATTICE.provider(NAME, "quick")
        line = p.logged('"msg":"ready"', '"ms"')
        ready.append(float(line.split('"ms":"')[1].split('"')[0]))
        time.sleep(0.1)
        memory = memory_kib(p.process.pid)
        p.terminate()
        assert p.wait() == 0
    print(f"   ready in {sorted(ready)[2]} ms, {memory} KiB anonymous")
    assert min(ready) < 150, ready


l.run([f for f in list(globals().values())
       if callable(f) and getattr(f, "__module__", "") == "__main__" and not isinstance(f, type)
       and f.__name__ not in ("run", "refused", "memory_kib", "healthy")])
