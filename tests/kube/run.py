#!/usr/bin/python3
"""run.py: make kube: check.py in namespaces of its own, where the kubelet and its pods are, too.

    run.py            builds what is missing, runs the checks, leaves nothing behind
    run.py --check    says only whether it could: 0 yes, 1 yes, but Kubernetes has to be built first, 3 no

Exit codes: 0 all passed, 1 not, 3 this machine lacks something, which is named. BIN is the folder with the
executables (default build/bin).
"""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from processes import APART, BIN, FOLDER, ROOT, keep_folder, start

HERE = ROOT / "tests/kube"
CGROUP = f"/outrigger-kube-{os.getpid()}"
IMAGES = {"PROVIDER": "localhost/outrigger/keyvalue-redis:kube", "PAUSE": "localhost/outrigger/pause:kube"}
# Whoever kills the first process in there ends all of them, and with them their mounts, links and rules.
ENCLOSED = ["unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"]
TRIAL = "! command -v ip >/dev/null || { ip link add pods type bridge && ip link add v0 type veth peer name v1; }"
PRELUDE = """set -e
ip link set lo up
for folder in run var/lib var/log; do mount -t tmpfs tmpfs /$folder; done
exec "$@"
"""


def skip(why):
    print(f"kube: skipped: {why}", file=sys.stderr)
    sys.exit(3)


def hierarchies():
    """Where cgroups are mounted: one place, or with version 1 one for each controller and perhaps one of version 2."""
    with open("/proc/mounts", encoding="utf-8") as f:
        mounts = [line.split() for line in f]
    return [path for _, path, kind, *_ in mounts if kind in ("cgroup", "cgroup2") and path.startswith("/sys/fs/cgroup")]


def make_cgroups():
    for path in hierarchies():
        os.mkdir(path + CGROUP)
        if path == "/sys/fs/cgroup":  # version 2 alone: the kubelet wants what the top has in our group, too
            controllers = "".join(f"+{c} " for c in Path(path, "cgroup.controllers").read_text().split())
            for group in (path, path + CGROUP):
                Path(group, "cgroup.subtree_control").write_text(controllers)


def remove_cgroups(seconds=10):
    """Deepest first. The kernel may still be ending what was in them."""
    end = time.monotonic() + seconds
    for path in hierarchies():
        for folder, _, _ in os.walk(path + CGROUP, topdown=False):
            while os.path.isdir(folder):
                try:
                    os.rmdir(folder)
                except OSError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.05)


def look_round():
    """Ends with 3 where the machine, whatever is installed on it, cannot run this."""
    if os.geteuid():
        skip("it needs root: sudo make kube")
    if not hierarchies():
        skip("no cgroups are mounted below /sys/fs/cgroup; in a container: run it with --privileged")
    tried = subprocess.run([*ENCLOSED, "sh", "-c", TRIAL], capture_output=True, text=True)
    if tried.returncode:
        skip(f"no namespaces or network can be made ({tried.stderr.strip()}); in a container: run it with --privileged")
    try:
        make_cgroups()
    except OSError as error:
        skip(f"no cgroup can be made ({error}); in a container: run it with --privileged")
    finally:
        remove_cgroups()


def build(*options):
    """Path of k8slab, or the exit code of what could not build it."""
    done = subprocess.run([HERE / "build.sh", *options], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout.strip()


def make_images():
    """An archive of all images that the node needs."""
    def run(*words, **options):
        done = subprocess.run(words, capture_output=True, **options)
        if done.returncode:
            sys.exit(f"kube: {words[0]}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    archive = FOLDER / "images.tar"
    run("cc", "-Os", "-static", "-s", "-o", FOLDER / "pause", HERE / "pause.c")
    try:
        run("podman", "import", "--change", 'ENTRYPOINT ["/pause"]', "-", IMAGES["PAUSE"],
            input=run("tar", "-C", FOLDER, "-c", "pause"))
        run(ROOT / "images/build.sh", BIN / "keyvalue-redis", IMAGES["PROVIDER"])
        run("podman", "save", "--quiet", "--format", "docker-archive", "--multi-image-archive", "--output", archive,
            *IMAGES.values())
    finally:
        subprocess.run(["podman", "rmi", *IMAGES.values()], capture_output=True)  # not all, when it was interrupted
    return archive


def enclosed(k8slab, archive):
    """Runs check.py in the namespaces; its exit code."""
    environment = dict(os.environ, TMPDIR=str(FOLDER), K8SLAB=k8slab, CGROUP=CGROUP, ARCHIVE=str(archive),
                       PYTHONDONTWRITEBYTECODE="1", **IMAGES)
    outer = start([*ENCLOSED, "sh", "-c", PRELUDE, "sh", sys.executable, HERE / "check.py"], env=environment,
                  stdout=None, stderr=None, **APART)
    try:
        return outer.wait()
    finally:
        for s in (signal.SIGINT, signal.SIGTERM):
            signal.signal(s, signal.SIG_IGN)  # what follows is short, and must be whole
        if outer.poll() is None:
            first = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
            os.kill(int(first[0]) if first else outer.pid, signal.SIGKILL)
            outer.wait()  # it returns when the first process does, and that is the last of them to go


def main():
    look_round()
    if sys.argv[1:] == ["--check"]:
        build("--check")
        return 0
    k8slab = build()
    archive = make_images()
    try:
        make_cgroups()
        status = enclosed(k8slab, archive)
    finally:
        remove_cgroups()
    if status:
        keep_folder()
        print(f"logs: {FOLDER}")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("kube: interrupted")
