"""Runs every test of a build folder. usage: run.py BUILD [NAME-PART...]

The test executables, the fuzz targets over their corpus, then the end-to-end scripts.

Each prints its failures and closes on "N passed, N failed"; the sum is this script's last line.
"""
import glob, os, re, subprocess, sys, time

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
passed = failed = 0
for command in tests:
    name = os.path.basename(command[0] if command[0] != sys.executable else command[1])
    if "/replay/" in command[0]:
        name = "fuzz/" + name
    if wanted and not any(w in name for w in wanted):
        continue
    start = time.monotonic()
    try:
        run = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             errors="replace", timeout=300)
        output, status = run.stdout, run.returncode
    except subprocess.TimeoutExpired as e:
        output, status = (e.stdout or b"").decode(errors="replace") + "\nstill running after 300 s", -1
    count = re.findall(r"^(\d+) passed, (\d+) failed$", output, re.M)
    good, bad = map(int, count[-1]) if count else (0, 1)
    if status and not bad:
        bad = 1
    passed, failed = passed + good, failed + bad
    print(f"{name}: {good} passed, {bad} failed ({time.monotonic() - start:.1f} s)", flush=True)
    if bad or not count:
        print(output[-6000:], flush=True)
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed or not passed else 0)
