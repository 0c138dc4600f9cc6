#!/usr/bin/python3
"""test_witc.py: the WIT to C compiler: its output and errors to the byte, and what C compilers say to the output.

test_witc.py --update writes what witc says now into tests/golden, to be read in the diff.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from checks import check, finish
from processes import BIN, ROOT

WITC = BIN / "witc"
GOLDEN = os.path.join(ROOT, "tests/golden")
INTERFACES = os.path.join(ROOT, "sdk/interfaces")
UPDATE = "--update" in sys.argv
STRICT = """-Wall -Wextra -Wno-unused-parameter -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
    -Wpointer-arith -Wcast-qual -Wwrite-strings -Wimplicit-fallthrough -Wformat=2 -Werror""".split()


def witc(*words, cwd=ROOT):
    return subprocess.run([WITC, *words], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def read_dir(path):
    return {f: open(os.path.join(path, f)).read() for f in sorted(os.listdir(path))}


def test_output(tmp):
    """The keyvalue and http interfaces, both sides, to the byte."""
    for package in "keyvalue", "http":
        out, golden = os.path.join(tmp, package), os.path.join(GOLDEN, package)
        run = witc("-o", out, os.path.join(INTERFACES, "wrpc-" + package))
        check(f"{package} compiles", run.returncode == 0 and not run.stderr, run.stderr)
        if UPDATE:
            shutil.rmtree(golden, ignore_errors=True)
            shutil.copytree(out, golden)
        got, want = read_dir(out), read_dir(golden)
        check(f"{package} makes the files it should", list(got) == list(want), f"{list(got)}, expected {list(want)}")
        for name in want:
            check(f"{name} is as in tests/golden", got.get(name) == want[name], "differs (--update to accept)")


def write_files(top, text):
    """'--> path' starts a file; without one it is all w/a.wit. \\u{…} is that character."""
    text = re.sub(r"\\u\{(\w+)\}", lambda m: chr(int(m[1], 16)), text)
    parts = re.split(r"^--> (.*)\n", text, flags=re.M)
    files = list(zip(parts[1::2], parts[2::2])) or [("w/a.wit", text)]
    os.makedirs(os.path.join(top, "w"))
    for path, content in files:
        os.makedirs(os.path.join(top, os.path.dirname(path)), exist_ok=True)
        if content:
            with open(os.path.join(top, path), "w") as f:
                f.write(content)


def test_errors(tmp):
    """Each case of wit-errors.txt: WIT in, one exact error out, and no output folder."""
    path = os.path.join(GOLDEN, "wit-errors.txt")
    head, *cases = re.split(r"^=== ", open(path).read(), flags=re.M)
    updated = head
    for k, case in enumerate(cases):
        title, rest = case.split("\n", 1)
        text, want = rest.split("---\n", 1)
        top = os.path.join(tmp, f"error{k}")
        write_files(top, text)
        run = witc("-I", "i", "-o", "out", "w", cwd=top) if os.path.isdir(top + "/i") else witc("-o", "out", "w", cwd=top)
        updated += f"=== {title}\n{text}---\n{run.stderr}\n"
        check(f"error: {title}", run.returncode == 1 and (UPDATE or run.stderr.rstrip("\n") == want.rstrip("\n")),
              f"status {run.returncode}\n{run.stderr}expected\n{want}")
        check(f"error: {title}: no output", not os.path.exists(os.path.join(top, "out")))
    if UPDATE:
        with open(path, "w") as f:
            f.write(updated.rstrip("\n") + "\n")


def test_command_line(tmp):
    run = witc("--help")
    check("--help", run.returncode == 0 and run.stdout.startswith("usage: witc ") and not run.stderr, run)
    for words, why in (((), "WIT is missing"), (("w",), "-o OUTDIR or --json is missing"), (("-x",), "unknown option -x"),
                       (("-o",), "a folder must follow -o"), (("-o", "o", "a", "b"), "more than one WIT: b")):
        run = witc(*words)
        check(f"witc {' '.join(words)}", run.returncode == 2 and run.stderr.startswith(f"witc: error: {why}\n"), run)
    run = witc("-o", tmp + "/none", tmp + "/nowhere")
    check("a missing folder", run.returncode == 1 and
          run.stderr == f"witc: error: {tmp}/nowhere: No such file or directory\n", run)
    run = witc("-o", "/proc/none", os.path.join(INTERFACES, "wrpc-keyvalue"))
    check("an output folder that cannot be", run.returncode == 1 and
          run.stderr.startswith("witc: error: /proc/none: "), run)


# Two versions of a package in one world, interfaces whose names meet, and two that differ in upper case.
CLASHES = """--> w/a.wit
package x:app@1.0.0;
interface a-b { enum c { d } type s = list<string>; get: func(v: s) -> result<_, c>; set: func() -> result<s, string>; }
interface a { enum b-c { d } get-ok: func(); get: func() -> u8; fail: func() -> result<_, b-c>; }
world both {
    import x:kv/store@0.1.0;
    export x:kv/store@0.2.0;
    export a;
    export a-b;
    import inline: interface { use x:kv/store@0.1.0.{item}; take: func(i: item) -> option<list<item>>; }
}
--> w/deps/kv1/kv.wit
package x:kv@0.1.0;
interface store { record item { key: string, value: option<item-value> } type item-value = list<u8>; get: func(i: item); }
--> w/deps/kv2/kv.wit
package x:kv@0.2.0;
interface store { resource item { constructor(); size: func() -> u64; } get: func() -> own<item>; put: func(i: item); }
"""


def compile_c(name, folder):
    include = ["-I", os.path.join(ROOT, "sdk/include"), "-I", folder]
    files = sorted(os.listdir(folder))
    for cc in [c for c in ("gcc", "clang", "clang-14") if shutil.which(c)]:
        for opt in "-O0", "-O2":
            command = [cc, "-std=c11", opt, *STRICT, *include, "-c"]
            run = subprocess.run(command + [os.path.join(folder, f) for f in files if f.endswith(".c")],
                                 cwd=os.path.dirname(folder), capture_output=True, text=True)
            check(f"{name}: {cc} {opt} is silent", run.returncode == 0 and not run.stderr, run.stderr[-2000:])
    if shutil.which("g++"):
        source = os.path.join(folder + ".cpp")
        with open(source, "w") as f:
            f.writelines(f'#include "{h}"\n' for h in files if h.endswith(".h"))
        run = subprocess.run(["g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", *include, "-fsyntax-only", source],
                             capture_output=True, text=True)
        check(f"{name}: the headers are C++ too, and get along", run.returncode == 0, run.stderr[-2000:])


def test_compiles(tmp):
    for name in sorted(os.listdir(INTERFACES)):
        out = os.path.join(tmp, "gen-" + name)
        run = witc("-I", INTERFACES, "-o", out, os.path.join(INTERFACES, name))
        check(f"{name}", run.returncode == 0, run.stderr)
        compile_c(name, out)
    out = os.path.join(tmp, "gen-tests")
    run = witc("-I", INTERFACES, "-o", out, "tests/wit")
    check("tests/wit", run.returncode == 0, run.stderr)
    compile_c("tests/wit", out)

    top = os.path.join(tmp, "clashes")
    write_files(top, CLASHES)
    out = os.path.join(top, "gen")
    run = witc("-o", out, "w", cwd=top)
    check("clashing names", run.returncode == 0, run.stderr)
    want = ["app_a", "app_a_b", "app_inline", "kv_store_0_1_0", "kv_store_0_2_0"]
    check("versions are in names when two meet", sorted({f[:-2] for f in os.listdir(out)}) == want, os.listdir(out))
    compile_c("clashing names", out)


with tempfile.TemporaryDirectory(prefix="witc-") as folder:
    test_output(folder)
    test_errors(folder)
    test_command_line(folder)
    test_compiles(folder)
finish()
