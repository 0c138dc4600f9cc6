"""postgres: a PostgreSQL server of a test's own: a new cluster on a free port and a Unix socket, that can be killed,
paused and started again."""

import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

import processes
from processes import free_port, start, temporary_path

PASSWORD = "gehe1m \\'pass"  # of every role
USER = "postgres"


def _folder():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda p: int(p.split("/")[4]))
    if not found:
        raise RuntimeError("no PostgreSQL in /usr/lib/postgresql: run tests/deps.sh")
    return os.path.dirname(found[-1])


def _as_postgres(args):
    """It refuses to run as root."""
    if os.getuid() != 0:
        return args
    return ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--pdeathsig", "KILL", "--"] + args


class Postgres:
    def __init__(self, *options, tls=False):
        self.bin = _folder()
        self.port = free_port()
        os.chmod(processes.FOLDER, 0o711)
        self.folder = tempfile.mkdtemp(prefix="pg", dir=processes.FOLDER)
        if os.getuid() == 0:
            owner = pwd.getpwnam(USER)
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        self.data = os.path.join(self.folder, "data")
        password = os.path.join(self.folder, "password")
        self.write(password, PASSWORD + "\n")
        self.run("initdb", "-D", self.data, "-U", USER, "--auth-local=trust", "--auth-host=scram-sha-256",
                 f"--pwfile={password}", "--no-sync", "--encoding=UTF8", "--locale=C", "--no-instructions")
        settings = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=16MB",
                    "-c", f"unix_socket_directories={self.folder}"]
        if tls:
            settings += ["-c", "ssl=on"]
            self.make_certificate()
        self.args = _as_postgres([os.path.join(self.bin, "postgres"), "-D", self.data, "-p", str(self.port)] +
                                 settings + list(options))
        self.start()

    def write(self, path, text):
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        if os.getuid() == 0:
            shutil.chown(path, USER, USER)
        os.chmod(path, 0o600)

    def run(self, *args):
        p = subprocess.run(_as_postgres([os.path.join(self.bin, args[0])] + list(args[1:])), cwd=self.folder,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if p.returncode:
            raise RuntimeError(f"{args[0]} ended with {p.returncode}: {p.stdout}")
        return p.stdout

    def make_certificate(self):
        """For localhost and 127.0.0.1; it is its own authority."""
        cert, key = os.path.join(self.data, "server.crt"), os.path.join(self.data, "server.key")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
        for path in (cert, key):
            if os.getuid() == 0:
                shutil.chown(path, USER, USER)
            os.chmod(path, 0o600)
        self.certificate = temporary_path("server.crt")
        shutil.copy(cert, self.certificate)

    def start(self):
        self.process = start(self.args, log=temporary_path(f"postgres-{self.port}.log"), start_new_session=True)
        end = time.monotonic() + 30
        while True:
            p = subprocess.run([os.path.join(self.bin, "pg_isready"), "-q", "-h", self.folder, "-p", str(self.port)])
            if p.returncode == 0:
                return
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"postgres does not start, status {self.process.poll()}: {self.log()}")
            time.sleep(0.05)

    def log(self):
        with open(temporary_path(f"postgres-{self.port}.log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def sql(self, statement, database="postgres"):
        """What psql prints, over the Unix socket."""
        return self.run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", self.folder, "-p", str(self.port), "-U", USER,
                        "-d", database, "-c", statement).strip()

    def kill(self):
        """At once: connections break, and nothing is answered."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    def _processes(self):
        """The server and its backends, which each have a session of their own."""
        found = [self.process.pid]
        for path in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(path, encoding="utf-8", errors="replace") as f:
                    stat = f.read()
            except OSError:
                continue
            if int(stat[stat.rindex(")") + 2:].split()[1]) == self.process.pid:
                found.append(int(path.split("/")[2]))
        return found

    def pause(self):
        self.paused = self._processes()
        for pid in self.paused:
            os.kill(pid, signal.SIGSTOP)

    def resume(self):
        for pid in self.paused:
            os.kill(pid, signal.SIGCONT)

    def link_config(self, **changes):
        """For a link: POSTGRES_ keys without that, and others as they are."""
        config = {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": str(self.port), "POSTGRES_USERNAME": USER,
                  "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DATABASE": "postgres"}
        config.update(changes)
        return {k: v for k, v in config.items() if v is not None}
