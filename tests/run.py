"""Runs every test of a build folder. usage: run.py BUILD [NAME-PART...]

The test executables, the fuzz targets over their corpus, then the end-to-end scripts. If NEWER_NATS is the path of
another nats-server, those that are about what servers do run once more with it.

Each prints its failures and closes on "N passed, N failed"; the sum is this script's last line.
"""
import glob, os, re, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor

LIMIT = 400  # seconds, for each

build, wanted = sys.argv[1], sys.argv[2:]
root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.chdir(root)
env = dict(os.environ, BIN=os.path.join(build, "bin"), PYTHONDONTWRITEBYTECODE="1",
           ASAN_OPTIONS="detect_leaks=1:abort_on_error=0", UBSAN_OPTIONS="print_stacktrace=1")
tests = sorted(glob.glob(build + "/test/test_*"))
tests = [[t] for t in tests if os.access(t, os.X_OK) and not t.endswith((".o", ".d"))]
tests += [[t] + sorted(glob.glob(f"tests/fuzz/corpus/{os.path.basename(t)}/*"))
          for t in sorted(glob.glob(build + "/replay/*"))]
tests += [[sys.executable, t] for t in sorted(glob.glob("tests/e2e/test_*.py"))]
newer = os.environ.get("NEWER_NATS")
ABOUT_NATS = {"test_io_nats", *(f"test_{n}.py" for n in (
    "faults", "io", "lattice", "links", "logins", "partition", "register", "rolling", "stream", "swap", "wcp"))}


def name_of(test):
    command, nats = test
    name = os.path.basename(command[1] if command[0] == sys.executable else command[0])
    return ("fuzz/" if "/replay/" in command[0] else "") + name + (" with newer nats-server" if nats else "")


def run(test):
    """What it printed, its exit status, and the seconds that it took."""
    command, nats = test
    start = time.monotonic()
    path = f"{os.path.dirname(nats)}:{os.environ['PATH']}" if nats else os.environ["PATH"]
    try:
        p = subprocess.run(command, env=dict(env, PATH=path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           errors="replace", timeout=LIMIT)
        return p.stdout, p.returncode, time.monotonic() - start
    except subprocess.TimeoutExpired as e:
        return (e.stdout or b"").decode(errors="replace") + f"\nstill running after {LIMIT} s", -1, LIMIT


tests = [(t, None) for t in tests] + [(t, newer) for t in tests if newer and os.path.basename(t[-1]) in ABOUT_NATS]
tests = [t for t in tests if not wanted or any(w in name_of(t) for w in wanted)]
passed = failed = 0
# Two at once: each waits for its servers, clocks and children for a good part of its time.
with ThreadPoolExecutor(2) as pool:
    for test, (output, status, seconds) in zip(tests, pool.map(run, tests)):
        count = re.findall(r"^(\d+) passed, (\d+) failed$", output, re.M)
        good, bad = map(int, count[-1]) if count else (0, 1)
        if status and not bad:
            bad = 1
        passed, failed = passed + good, failed + bad
        print(f"{name_of(test)}: {good} passed, {bad} failed ({seconds:.1f} s)", flush=True)
        if bad or not count:
            print(output[-6000:], flush=True)
if newer == "":
    print("skipped: the same with a newer nats-server, which is not there (see above)")
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed or not passed else 0)
