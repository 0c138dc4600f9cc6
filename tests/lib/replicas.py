"""replicas: standalone providers that come and go, and callers that count what fails meanwhile."""

import threading
import time

import lattice as l

STORE = "wrpc:keyvalue/store@0.2.0-draft"
KEY = l.text("") + l.text("key")


class Replica(l.Provider):
    """A standalone one of several with the same id; redis_port is for keyvalue-redis."""

    def __init__(self, lattice, provider_id, redis_port, *args, name="keyvalue-redis"):
        self.lattice, self.id, self.name = lattice, provider_id, name
        self.log_path = l.temporary_path(f"{provider_id}-{time.monotonic_ns()}.log")
        config = ["--config", f"URL=redis://127.0.0.1:{redis_port}"] if name == "keyvalue-redis" else []
        self.process = l.start([l.BIN / name, "--lattice", lattice.name, "--provider-id", provider_id, "--nats",
                                f"nats://127.0.0.1:{lattice.port}", *config, *args], log=self.log_path, env=l.ENVIRONMENT)

    def serving(self):
        self.logged('"msg":"ready"', seconds=20)
        return self

    def leave(self):
        self.terminate()
        self.ended()

    def ended(self):
        assert self.wait(20) == 0, (self.process.returncode, self.log())
        assert "cut off" not in self.log(), self.log()


class Callers:
    """Threads that call store.exists one call after the other, each as a source of its own connection; close() says how
    many calls there were, and fails if one of them did."""

    def __init__(self, lattice, target, sources):
        self.target, self.lattice = target, lattice
        self.stop, self.calls, self.failures, self.lock = False, 0, [], threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(s,), daemon=True) for s in sources]
        for t in self.threads:
            t.start()

    def run(self, source):
        while not self.stop:
            problem = self.call(source)
            with self.lock:
                self.calls += 1
                self.failures += [problem] if problem else []
            time.sleep(0.002)

    def call(self, source):
        """What went wrong, or None."""
        try:
            result = self.lattice.call(self.target, STORE, "exists", KEY, source=source, timeout=4)
            return None if result[:2] in (b"\0\0", b"\0\1") else f"{source}: {result}"
        except Exception as e:  # noqa: BLE001: any is a failed call
            return f"{source}: {e!r}"

    def wait(self, count):
        """Until so many more calls have been made."""
        until = self.calls + count
        l.wait_for(f"{count} more calls: {self.failures[:3]}", lambda: self.calls >= until, 20)

    def close(self):
        self.stop = True
        for t in self.threads:
            t.join(10)
        assert not self.failures, f"{len(self.failures)} of {self.calls} calls failed: {self.failures[:3]}"
        return self.calls
