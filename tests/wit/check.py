#!/usr/bin/python3
"""check.py: witc against the published WIT parser (wasm-tools): over the WIT of published crates, of that parser's own tests and of
this repository, both resolve the same packages, functions and types, or both refuse; and the C that witc makes of it compiles.

check.py [WORDS...] takes only the crates whose name holds one of the words ("here": this repository). SEED is of the mutations.
"""
import glob
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from checks import check, finish
from compilers import compile_c
from processes import BIN, FOLDER, ROOT
from resolved import Resolved, differences, lost_docs

WITC = BIN / "witc"
# Crates that carry WIT; and whether C is made of it.
CRATES = [
    ("wasi", "0.13.3+wasi-0.2.2", True),
    ("wasip2", "1.0.4+wasi-0.2.12", True),
    ("wasip3", "0.10.0+wasi-0.3.2", True),
    ("wasmtime-wasi", "38.0.4", False),
    ("wasmtime-wasi-http", "38.0.4", True),
    ("wasmtime-wasi-keyvalue", "38.0.4", True),
    ("wasmtime-wasi-config", "38.0.4", True),
    ("wasmtime-wasi-tls", "38.0.4", True),
    ("wasmcloud-component", "0.2.0", True),
    ("wasmcloud-runtime", "0.12.0", True),
    ("wasmcloud-secrets-types", "0.8.0", True),
    ("wrpc-interface-blobstore", "0.21.0", True),
    ("wrpc-interface-http", "0.34.0", True),
    ("wrpc-interface-keyvalue", "0.13.0", True),
    ("wrpc-runtime-wasmtime", "0.30.0", True),
    ("wit-bindgen", "0.57.1", True),
    ("wit-component", "0.263.0", False),
    ("wit-parser", "0.263.0", True),
]
MUTATIONS = 1000
# Where the two differ, and are meant to: wRPC's own peers are built with parsers that took empty records and more flags; witc has bounds;
# and a version that ends in - or + is none.
ONLY_WITC = re.compile(r"empty record|cannot have more than 32 flags")
ONLY_WASM_TOOLS = re.compile(r"packages in binary form are not read|deeper than 100|more than 100 deep|more than 65535 members"
                             r"|expected a version like .*\n.*[0-9a-z][-+][^0-9a-z-]")
# What has no C form.
NO_C = re.compile(r"no encoding in wRPC|wRPC has no name for|the package has no interface to generate")


def output(*command):
    return subprocess.run(["nice", *command], stdin=subprocess.DEVNULL, capture_output=True, text=True)


def wasm_tools():
    run = subprocess.run([os.path.join(ROOT, "tests/peers/build.sh"), "wasm-tools"], stdout=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(run.returncode)
    return run.stdout.strip()


def crate_folder(name, version):
    """The sources as cargo unpacks them, whose client checks their hash."""
    home = os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo"))
    pattern = f"{home}/registry/src/*/{name}-{version}"
    for attempt in range(2):
        found = glob.glob(pattern)
        if found or attempt:
            return found[0] if found else None
        output("cargo", "info", "--quiet", f"{name}@{version}")


def packages(top):
    """The folders of .wit files, and each file alone."""
    for folder, _, files in sorted(os.walk(top)):
        wits = sorted(f for f in files if f.endswith(".wit"))
        if wits:
            yield folder
        yield from (os.path.join(folder, f) for f in wits)


def repository(tmp):
    """This repository's folders, each with all our interfaces in deps/."""
    interfaces = os.path.join(ROOT, "sdk/interfaces")
    folders = {os.path.dirname(f) for f in output("git", "-C", ROOT, "ls-files", "*.wit").stdout.split()}
    for k, folder in enumerate(sorted(folders)):
        copy = os.path.join(tmp, f"here{k}")
        shutil.copytree(os.path.join(ROOT, folder), copy)
        for name in os.listdir(interfaces):
            if os.path.join("sdk/interfaces", name) != folder:
                shutil.copytree(os.path.join(interfaces, name), os.path.join(copy, "deps", name), dirs_exist_ok=True)
        yield copy
        yield from sorted(glob.glob(copy + "/*.wit"))


def compare(tool, path, *options):
    """What is not the same: a text, or "" if all is; and how it ended: both accept, both refuse, one of them is meant to."""
    theirs, ours = output(tool, "component", "wit", "--json", *options, path), output(WITC, "--json", *options, path)
    if ours.returncode not in (0, 1) or (ours.returncode == 1) != ("error: " in ours.stderr):
        return f"{path}: witc ended with {ours.returncode}: {ours.stderr}", "failed"
    if theirs.returncode and ours.returncode:
        return "", "refused"
    if theirs.returncode:
        return ("", "meant") if ONLY_WITC.search(theirs.stderr) else (f"{path}: only wasm-tools refuses: {theirs.stderr}", "failed")
    if ours.returncode:
        return ("", "meant") if ONLY_WASM_TOOLS.search(ours.stderr) else (f"{path}: only witc refuses: {ours.stderr}", "failed")
    theirs, ours = Resolved(json.loads(theirs.stdout)), Resolved(json.loads(ours.stdout))
    found = [*differences(ours.packages, theirs.packages), *lost_docs(ours.docs, theirs.docs)]
    return ("\n".join([path, *found[:5]]), "failed") if found else ("", "accepted")


def compare_all(name, tool, paths, at_least):
    count = {"accepted": 0, "refused": 0, "meant": 0, "failed": 0}
    wrong = []
    runs = [(p, *o) for p in paths for o in ((), ("--all-features",))]
    with ThreadPoolExecutor(2) as pool:
        for text, how in pool.map(lambda r: compare(tool, *r), runs):
            count[how] += 1
            wrong += [text] if text else []
    print(f"{name}: {count['accepted']} times the same, {count['refused']} refused by both, {count['meant']} meant to differ")
    check(f"{name}: as wasm-tools has it", not wrong, f"{len(wrong)} of {len(runs)}:\n" + "\n".join(wrong[:20]))
    check(f"{name}: there is something to compare", count["accepted"] >= at_least, count)


TOKEN = re.compile(r'//[^\n]*|\s+|[\w%-]+|"[^"]*"|.', re.DOTALL)


def mutated(text, rnd):
    """The text with one word, sometimes two, replaced by another of its words, left out or doubled."""
    tokens = TOKEN.findall(text)
    words = [k for k, t in enumerate(tokens) if re.match(r"[\w%]", t)]
    for _ in range(rnd.choice((1, 1, 2)) if words else 0):
        k = rnd.choice(words)
        tokens[k] = rnd.choice((tokens[rnd.choice(words)],) * 6 + ("", f"{tokens[k]} {tokens[k]}"))
    return "".join(tokens)


def mutations(tool, tmp, files, seed):
    """Texts that are nearly right."""
    rnd = random.Random(seed)
    texts = [t for t in (open(f).read() for f in files) if len(t) < 4000]
    paths = []
    for k in range(MUTATIONS):
        paths.append(os.path.join(tmp, f"mutated-{seed}-{k}.wit"))
        with open(paths[-1], "w") as f:
            f.write(mutated(rnd.choice(texts), rnd))
    compare_all(f"{MUTATIONS} mutations of wit-parser's texts, seed {seed}", tool, paths, MUTATIONS // 20)


compiled = set()


def hash_of(folder, files):
    return hashlib.sha256(b"\0".join(open(os.path.join(folder, f), "rb").read() for f in files)).digest()


def compile_all(name, tmp, top, paths):
    """C for each package that is accepted; what is the same as before is not compiled again."""
    for k, path in enumerate(paths):
        label = f"{name}: {os.path.relpath(path, top)}"
        out = os.path.join(tmp, f"{name}-{k}")
        if output(WITC, "--json", path).returncode:
            continue
        run = output(WITC, "-o", out, path)
        if run.returncode:
            check(f"{label}: no C for it", NO_C.search(run.stderr), run.stderr)
            continue
        headers = sorted(f for f in os.listdir(out) if f.endswith(".h"))
        all_headers = hash_of(out, headers)
        if all_headers in compiled:
            continue
        done = {f[:-2] + ".c" for f in headers if hash_of(out, [f, f[:-2] + ".c"]) in compiled}
        compile_c(label, out, levels=["-O2"], skip=done)
        compiled.update([all_headers, *(hash_of(out, [f, f[:-2] + ".c"]) for f in headers)])
        shutil.rmtree(out)


def main(words):
    def wanted(name):
        return not words or any(w in name for w in words)

    tool, tmp = wasm_tools(), str(FOLDER)
    if wanted("here"):
        paths = list(repository(tmp))
        compare_all("here", tool, paths, 2)
        compile_all("here", tmp, tmp, paths)
    for name, version, make_c in CRATES:
        if not wanted(name):
            continue
        folder = crate_folder(name, version)
        check(f"{name} {version} is here", folder, "cargo info did not fetch it")
        if folder:
            paths = list(packages(folder))
            compare_all(name, tool, paths, 1)
            compile_all(name, tmp, folder, paths if make_c else [])
            if name == "wit-parser":
                mutations(tool, tmp, [p for p in paths if p.endswith(".wit")], int(os.environ.get("SEED", 1)))


main(sys.argv[1:])
finish()
