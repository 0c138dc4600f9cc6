#!/usr/bin/python3
"""test_witc.py: the WIT to C compiler: its output and errors to the byte, and what C compilers say to the output.

test_witc.py --update writes what witc says now into tests/golden, to be read in the diff.
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from checks import check, finish
from compilers import compile_c
from processes import BIN, ROOT

WITC = BIN / "witc"
GOLDEN = os.path.join(ROOT, "tests/golden")
INTERFACES = os.path.join(ROOT, "sdk/interfaces")
UPDATE = "--update" in sys.argv


def witc(*words, cwd=ROOT):
    return subprocess.run([WITC, *words], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def read_dir(path):
    return {f: open(os.path.join(path, f)).read() for f in sorted(os.listdir(path))}


def test_output(tmp):
    """The keyvalue and http interfaces, and a text with everything, both sides, to the byte."""
    for package, wit in (("keyvalue", INTERFACES + "/wrpc-keyvalue"), ("http", INTERFACES + "/wrpc-http"),
                         ("shapes", GOLDEN + "/shapes.wit")):
        out, golden = os.path.join(tmp, package), os.path.join(GOLDEN, package)
        run = witc("-o", out, wit)
        check(f"{package} compiles", run.returncode == 0 and not run.stderr, run.stderr)
        if UPDATE:
            shutil.rmtree(golden, ignore_errors=True)
            shutil.copytree(out, golden)
        got, want = read_dir(out), read_dir(golden)
        check(f"{package} makes the files it should", list(got) == list(want), f"{list(got)}, expected {list(want)}")
        for name in want:
            check(f"{name} is as in tests/golden", got.get(name) == want[name], "differs (--update to accept)")


def test_json(tmp):
    """The resolved packages of the text with everything, to the byte; and what a feature adds."""
    path = os.path.join(GOLDEN, "shapes.json")
    run = witc("--json", GOLDEN + "/shapes.wit")
    if UPDATE:
        with open(path, "w") as f:
            f.write(run.stdout)
    check("--json is as in tests/golden", run.returncode == 0 and run.stdout == open(path).read(), run.stderr)
    hidden = ["hidden" in json.loads(witc("--json", *words, GOLDEN + "/shapes.wit").stdout)["interfaces"][1]["functions"]
              for words in ((), ("--features", "sooner,later"), ("--features=sooner",), ("--all-features",))]
    check("--features", hidden == [False, True, False, True], hidden)
    write_files(tmp + "/gated", "--> w/a.wit\npackage a:b;\ninterface i {\n  @unstable(feature = x) use c:d/j.{r};\n"
                "  @unstable(feature = x) f: func(v: borrow<r>);\n}\n"
                "--> w/deps/d/d.wit\npackage c:d;\ninterface j { resource r; }\n")
    run = witc("--json", tmp + "/gated/w")
    check("a function and its use behind a gate", run.returncode == 0 and "borrow" not in run.stdout, run)


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


SAYS = re.compile(r"\b(wit_fail|parse_unexpected|parse_name|parse_no_gate|parse_no_external_id|hidden|bad_usage|gate_key)\("
                  r"|return (?=\"[a-z '-]*no encoding)")
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')


def statement(text, start):
    """The statement from start on, up to its ';' outside of quotes."""
    return re.match(r'(?:[^";]|"(?:[^"\\]|\\.)*")*', text[start:])[0]


def error_texts(source):
    """The texts in calls that end with an error, as lists of the pieces between their conversions; C joins adjacent literals."""
    for m in SAYS.finditer(source):
        call = re.sub(r'"\s*"', "", statement(source, m.start()))
        for literal in LITERAL.findall(call):
            text = literal.encode().decode("unicode_escape").encode("latin-1").decode()
            pieces = [p for p in re.split(r"%(?:\.\*)?(?:z?[a-z])|%02x", text.replace("%%", "%")) if p.strip()]
            if " " in text.strip():
                yield text, pieces


def test_every_error_is_seen():
    """Each text of an error in the sources is in tests/golden/wit-errors.txt, or in a test of ours."""
    said = "\n".join(re.findall("error: .*", open(os.path.join(GOLDEN, "wit-errors.txt")).read()))
    said += "\n".join(re.sub(r'"\s*"', "", open(p).read()) for p in (*glob.glob(str(ROOT) + "/tests/unit/test_[wt]*.c"), __file__))
    for path in sorted(glob.glob(os.path.join(ROOT, "sdk/wit/*.c")) + glob.glob(os.path.join(ROOT, "sdk/witc/*.c"))):
        source = open(path).read()
        texts = list(error_texts(source))
        unseen = [t for t, pieces in texts if not re.search(".*".join(map(re.escape, pieces)), said)]
        check(f"{os.path.basename(path)}: each of its {len(texts)} error texts is seen in a test", not unseen, "\n".join(unseen))


def test_command_line(tmp):
    run = witc("--help")
    check("--help", run.returncode == 0 and run.stdout.startswith("usage: witc ") and not run.stderr, run)
    for words, why in (((), "WIT is missing"), (("w",), "-o OUTDIR or --json is missing"), (("-x",), "unknown option -x"),
                       (("-o",), "a folder must follow -o"), (("-o", "o", "a", "b"), "more than one WIT: b"),
                       (("--features=", "w"), "a list must follow --features"),
                       (("--features", ",".join("f" * 65)), "too many features with --features"),
                       (["-Ix"] * 65, "too many folders with -I"),
                       (("-o", "o", "--json", "w"), "-o OUTDIR and --json exclude each other")):
        run = witc(*words)
        check(f"witc {' '.join(words)[:40]}", run.returncode == 2 and run.stderr.startswith(f"witc: error: {why}\n"), run)
    run = witc("-o", tmp + "/none", tmp + "/nowhere")
    check("a missing folder", run.returncode == 1 and
          run.stderr == f"witc: error: {tmp}/nowhere: No such file or directory\n", run)
    large = os.path.join(tmp, "large.wit")
    with open(large, "w") as f:
        f.truncate(16 * 1024 * 1024 + 1)
    run = witc("--json", large)
    check("a file that is too large", run.returncode == 1 and
          run.stderr == f"witc: error: {large}: larger than 16777216 bytes\n", run)
    os.remove(large)
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


def test_compiles(tmp):
    for name in sorted(os.listdir(INTERFACES)):
        out = os.path.join(tmp, "gen-" + name)
        run = witc("-I", INTERFACES, "-o", out, os.path.join(INTERFACES, name))
        check(f"{name}", run.returncode == 0, run.stderr)
        compile_c(name, out)
    compile_c("shapes", os.path.join(tmp, "shapes"))
    out = os.path.join(tmp, "world-id")
    run = witc("--world-id", "-o", out, GOLDEN + "/shapes.wit")
    check("--world-id", run.returncode == 0 and not any(".in_world" in text for text in read_dir(out).values()), run.stderr)
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
    test_json(folder)
    test_errors(folder)
    test_every_error_is_seen()
    test_command_line(folder)
    test_compiles(folder)
finish()
