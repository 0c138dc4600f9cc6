"""processes: what tests start: servers on free loopback ports, and others. When the test ends, what still runs is
killed, and the folder of all temporary files removed."""

import atexit
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("BIN", ROOT / "build/bin")).resolve()  # the executables
SANITIZED = "san" in BIN.parts  # several times slower, and with memory that is not given back
FOLDER = Path(tempfile.mkdtemp(prefix="outrigger-"))
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)
# Options of start(): away from our terminal's Ctrl-C, so that we end it in order; and never longer than us, even if
# we are killed.
APART = {"start_new_session": True, "preexec_fn": lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)}

started = []
_keep = False


def _clean_up():
    for p in started:
        if p.poll() is None:
            p.kill()
            p.wait()
    if not _keep:
        shutil.rmtree(FOLDER, ignore_errors=True)


atexit.register(_clean_up)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that _clean_up runs


def keep_folder():
    global _keep
    _keep = True


def temporary_path(name):
    return os.path.join(FOLDER, name)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, condition, seconds=10):
    """condition() until it is true; its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def start(args, line=None, log=None, **options):
    """A process. line is all that it has on stdin; log is the file that its output is added to."""
    with open(log or os.devnull, "ab") as f:
        if log:
            options = {"stdout": f, "stderr": f, **options}
        options.setdefault("stdin", subprocess.DEVNULL if line is None else subprocess.PIPE)
        p = subprocess.Popen(args, **options)
    started.append(p)
    if line is not None:
        try:
            p.stdin.write(line)
            p.stdin.close()
        except BrokenPipeError:
            pass  # it has ended already: its status and log tell
    return p


def end_process(p, seconds=5):
    """Asks it to end, and kills it if it does not."""
    if p.poll() is None:
        p.terminate()
        try:
            p.wait(seconds)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()


# --- servers ---


def _listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def anonymous_kib(pid):
    """Its own memory. Unlike smaps, status may be read of who has made itself not dumpable."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon:"))


def accepts(path):
    """Whether somebody listens on that Unix socket. Its file is there a moment earlier."""
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(path) == 0


class Server:
    """A nats-server or redis-server that can be killed, paused and started again on its port."""

    def __init__(self, args, port):
        self.args, self.port = args, port
        self.start()

    def start(self):
        self.process = start(self.args, log=temporary_path(f"{self.args[0]}-{self.port}.log"), **APART)
        wait_for(f"{self.args[0]} on port {self.port}", lambda: _listens(self.port))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)


def nats_server(*options, jetstream=False):
    port = free_port()
    args = ["nats-server", "-a", "127.0.0.1", "-p", str(port)]
    if jetstream:
        args += ["-js", "-sd", tempfile.mkdtemp(dir=FOLDER)]
    return Server(args + list(options), port)


def redis_server(*options, unix=None):
    port = free_port()
    args = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
            "--dir", str(FOLDER)]
    if unix:
        args += ["--unixsocket", unix]
    return Server(args + list(options), port)


def redis(port, *words):
    """One command to a Redis server; its reply in Python's types."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        def data(word):
            return word if isinstance(word, bytes) else str(word).encode()
        s.sendall(b"*%d\r\n" % len(words) + b"".join(
            b"$%d\r\n%s\r\n" % (len(data(w)), data(w)) for w in words))
        f = s.makefile("rb")

        def reply():
            line = f.readline()[:-2]
            kind, rest = line[:1], line[1:]
            if kind == b"$":
                return None if rest == b"-1" else f.read(int(rest) + 2)[:-2]
            if kind == b"*":
                return [reply() for _ in range(int(rest))]
            return int(rest) if kind == b":" else line.decode()
        return reply()
