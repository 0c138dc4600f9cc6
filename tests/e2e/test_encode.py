#!/usr/bin/python3
"""test_encode.py: wcp encode and decode: all of tests/vectors/values.json, files, and what is wrong. And the help and
the manual pages of every command. usage: test_encode.py [NAME-PART]..."""

import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lattice as l
from processes import BIN, FOLDER, ROOT

WCP = BIN / "wcp"


def wcp(*words, data=b"", env=None):
    """(status, stdout, stderr), as bytes."""
    p = subprocess.run([WCP, *words], input=data, capture_output=True, timeout=60, env={**os.environ, **(env or {})})
    return p.returncode, p.stdout, p.stderr


def expect(words, status, out=None, err=None, **more):
    got = wcp(*words, **more)
    assert got[0] == status and (out is None or got[1] == out) and (err is None or err.encode() in got[2]), (words, got)


# --- the vectors ---

# What the vectors name without saying it; an enum/3 is one of three cases, flags/9 of nine flags.
DEFINITIONS = {
    "point": "record point { x: s32, y: s32 }",
    "fl9": "flags fl9 { " + ", ".join(f"b{i}" for i in range(9)) + " }",
    "shape": "variant shape { none, circle(f64), rect(tuple<u32, u32>), named(string), pt(point), opt(option<u8>), "
             "lst(list<u16>) }",
    "withstream": "record withstream { a: stream<u8>, b: u32 }",
    "res": "resource res;",
    "big": "variant big { " + ", ".join(f"v{i}(u32)" if i % 2 else f"v{i}" for i in range(300)) + " }",
}


def definition(wit):
    """The type's own definition, if its WIT is one: its kind, name and members as [(name, type or None)]."""
    m = re.match(r"(record|variant|enum|flags) ([\w-]+) \{(.*)\}", wit)
    if not m:
        return None
    members = [x.strip() for x in re.split(r",(?![^<(]*[>)])", m[3]) if x.strip()]
    out = []
    for x in members:
        name, _, inner = x.partition(": " if m[1] == "record" else "(")
        out.append((name, (inner if m[1] == "record" else inner.rstrip(")")) or None))
    return m[1], m[2], out


def arguments(wit):
    """list<a<b, c>, d> to list, [a<b, c>, d]"""
    head, _, rest = wit.partition("<")
    out, depth, part = [], 0, ""
    for c in rest[:-1]:
        depth += (c == "<") - (c == ">")
        if c == "," and depth == 0:
            out.append(part.strip())
            part = ""
        else:
            part += c
    return head, out + ([part.strip()] if part else [])


def string(s):
    escaped = "".join(f"\\u{{{ord(c):x}}}" if ord(c) < 32 or ord(c) == 127 else "\\" + c if c in "\\\"'" else c for c in s)
    return '"' + escaped + '"'


def number(wit, v):
    names = {"Infinity": "inf", "-Infinity": "-inf", "NaN": "nan"}
    if isinstance(v, str):
        return names.get(v, v)
    if wit not in ("f32", "f64"):
        return str(v)
    # The fewest digits that mean v.
    kind = {"f32": ctypes.c_float, "f64": ctypes.c_double}[wit]
    digits = next(f"{v:.{n}g}" for n in range(1, 18) if kind(float(f"{v:.{n}g}")).value == v)
    return format(Decimal(digits), "f")


def wave(wit, v):
    """The JSON value v of the vector as WAVE. In the form that wcp prints."""
    if wit in DEFINITIONS:
        wit = DEFINITIONS[wit]
    d = definition(wit)
    if isinstance(v, dict) and "pending" in v:
        return "pending"
    if isinstance(v, dict) and "ready" in v:
        v = v["ready"]
        head, args = arguments(wit)
        return "()" if not args else wave(args[0] if head == "future" else f"list<{args[0]}>", v)
    if d and d[0] == "record":
        shown = [(n, t, v[n]) for n, t in d[2] if not (t.startswith("option<") and "none" in v[n])]
        return "{" + ", ".join(f"{n}: {wave(t, x)}" for n, t, x in shown) + "}"
    if d and d[0] == "variant":
        (case, payload), = v.items()
        t = dict(d[2])[case]
        return ("%" if case == "none" else "") + case + (f"({wave(t, payload)})" if t else "")
    if d and d[0] == "flags":
        return "{" + ", ".join(v) + "}"
    if d:  # enum
        return v
    if isinstance(v, dict) and "bytes_hex" in v:
        return "[" + ", ".join(str(b) for b in bytes.fromhex(v["bytes_hex"])) + "]"
    if isinstance(v, dict) and "handle_hex" in v:
        return f'handle("{v["handle_hex"]}")'
    head, args = arguments(wit)
    if head == "list":
        return "[" + ", ".join(wave(args[0], x) for x in v) + "]"
    if head == "tuple":
        return "(" + ", ".join(wave(t, x) for t, x in zip(args, v)) + ")"
    if head in ("option", "result"):
        (case, payload), = v.items()
        types = {"some": args[0] if args else "_", "none": "_", "ok": args[0] if args else "_",
                 "err": args[1] if len(args) > 1 else "_"}
        return case + (f"({wave(types[case], payload)})" if types[case] != "_" else "")
    if head == "string":
        return string(v)
    if head == "char":
        return "'" + string(v)[1:-1] + "'"
    if head == "bool":
        return "true" if v else "false"
    return number(wit, v)


def type_text(wit):
    """The vector's WIT as wcp takes it: with all definitions."""
    m = re.match(r"(enum|flags)/(\d+)$", wit)
    if m:
        prefix = "c" if m[1] == "enum" else "b"
        wit = f"{m[1]} t {{ " + ", ".join(f"{prefix}{i}" for i in range(int(m[2]))) + " }"
    if wit.startswith("variant big"):
        wit = DEFINITIONS["big"]
    d = definition(wit)
    used = {n for n in DEFINITIONS if re.search(rf"(?<![\w-]){n}(?![\w-])", wit) and not (d and d[1] == n)}
    if "shape" in used or (d and d[1] == "shape"):
        used.add("point")
    order = [DEFINITIONS[n] for n in DEFINITIONS if n in used]
    return " ".join(order + [wit]), wit


def every_vector_is_encoded_and_decoded():
    with open(ROOT / "tests/vectors/values.json", encoding="utf-8") as f:
        vectors = json.load(f)

    def check(vector):
        wcp_type, wit = type_text(vector["wit"])
        if "value_repeat" in vector:
            r = vector["value_repeat"]
            text, digits = string(r["text"] * r["count"]), vector["hex_prefix"] + r["text"].encode().hex() * r["count"]
        else:
            text, digits = wave(wit, vector["value"]), vector["hex"]
        padded = vector["wit"].startswith("flags/") and vector.get("trap")  # older peers' form: read, not written
        options = ["--codec", "padded-flags"] if padded else []
        got = wcp("decode", wcp_type, digits, *options)
        assert got == (0, text.encode() + b"\n", b""), (vector, got)
        if not padded and text != "nan":  # of which there are many
            got = wcp("encode", wcp_type, text)
            assert got == (0, digits.encode() + b"\n", b""), (vector, text, got)
        return 1
    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(check, vectors)) == len(vectors) > 220


def cut_forms_are_encoded_on_demand():
    expect(["encode", "s32", "-2147483648"], 0, b"8080808078\n")
    got = wcp("encode", "s32", "-2147483648", "--codec", "cut-signed")
    assert got[0] == 0 and got[1] != b"8080808078\n", got
    expect(["decode", "s32", got[1].decode()], 0, b"-2147483648\n")
    expect(["encode", "s32", "1", "--codec", "old"], 2, err="'old' found, cut-signed or padded-flags expected")


# --- types ---


def types_come_from_wit():
    wit = str(ROOT / "tests/wit")
    expect(["encode", "point", "{x: 1, y: -1}", "--wit", wit], 0, b"017f\n")
    expect(["decode", "point", "017f"], 0, b"{x: 1, y: -1}\n", env={"WCP_WIT": wit})
    expect(["encode", "store.error", 'other("x")', "--wit", wit], 0, b"020178\n")
    expect(["encode", "key-response", '{keys: ["a"]}'], 0, b"01016100\n")  # of the installed ones
    expect(["encode", "object-id", '{container: "a", object: "b"}', "--wit",
            str(ROOT / "sdk/interfaces/wrpc-blobstore/blobstore.wit")], 0, b"01610162\n")
    expect(["encode", "pointy", "1", "--wit", wit], 2, b"", "wcp: TYPE:1:1: error: unknown type 'pointy'\npointy\n^")
    expect(["encode", "list<", "1"], 2, b"", "expected a type, found the end of the file")
    expect(["encode", "stream", "1"], 2, b"", "a stream without a type has no encoding in wRPC")
    expect(["encode", "u8", "1", "--wit", "/nowhere"], 2, b"", "/nowhere: No such file or directory")
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        expect(["encode", "u8", "1", "--wit", folder], 2, b"", "no .wit files")
        with open(folder + "/a.wit", "w", encoding="utf-8") as f:
            f.write("package a:b;\ninterface i {\n  type t = nothing;\n}\n")
        expect(["encode", "u8", "1", "--wit", folder], 2, b"", "a.wit:3:12: error: unknown type 'nothing'")


def without_interfaces_wcp_still_encodes():
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        copy = folder + "/wcp"
        with open(WCP, "rb") as f, open(copy, "wb") as t:
            t.write(f.read())
        os.chmod(copy, 0o755)
        p = subprocess.run([copy, "encode", "u8", "7"], capture_output=True, timeout=20)
        assert (p.returncode, p.stdout) == (0, b"07\n"), p
        p = subprocess.run([copy, "call", "id", "a:b/c.d"], capture_output=True, timeout=20)
        assert p.returncode == 2 and b"no interfaces: neither --wit nor WCP_WIT" in p.stderr, p


# --- values and bytes ---


def values_come_from_files_and_go_to_pipes():
    path = l.temporary_path("value")
    with open(path, "wb") as f:
        f.write(b"[1,\n 2, // two\n 300]")
    expect(["encode", "list<u32>", "@" + path], 0, b"030102ac02\n")
    expect(["encode", "list<u32>", "-"], 0, b"0105\n", data=b"[5]")
    expect(["encode", "list<u8>", "@" + path, "--raw"], 0, b"\x14[1,\n 2, // two\n 300]")
    expect(["encode", "tuple<list<u8>, u8>", '(-, 1)'], 0, b"02616201\n", data=b"ab")
    expect(["encode", "tuple<list<u8>, list<u8>>", '(-, -)'], 2, b"", "the standard input is one operand's already", data=b"ab")
    expect(["encode", "option<list<u8>>", "@/nowhere"], 2, b"", "/nowhere: No such file or directory")
    expect(["encode", "u32", "@/nowhere"], 2, b"", "/nowhere: No such file or directory")
    expect(["decode", "list<u8>", "-", "--text"], 0, b'"ab\\xff"\n', data=b"03 61\n62 FF\n")
    expect(["decode", "list<u8>", "-", "--raw"], 0, b"[97, 98]\n", data=b"\x02ab")
    expect(["decode", "list<u8>", "02", "--raw"], 2, b"", "with --raw, - or @FILE expected")
    big = b"x" * (20 << 20)
    got = wcp("encode", "list<u8>", "-", "--raw", data=big)
    assert got[0] == 0 and got[1] == b"\x80\x80\x80\x0a" + big, (got[0], len(got[1]), got[2])


def what_is_wrong_has_its_place():
    for type_, text, err in [
            ("u8", "256", "wcp: VALUE:1:1: error: expected an integer from 0 to 255, found '256'\n256\n^\n"),
            ("tuple<u8, string>", '(1,\n  x)', "wcp: VALUE:2:3: error: 1: expected a string like \"x\", found 'x'\n  x)\n  ^"),
            ("record r { a: list<bool> }", "{a: [true, yes]}", "VALUE:1:12: error: a[1]: expected true or false"),
            ("stream<u8>", "5", "expected a stream: a list like [1, 2], @FILE or -"),
            ("stream<u32>", "-", "of streams, only one of u8 can be in a file here")]:
        expect(["encode", type_, text], 2, b"", err, data=b"1")
    for type_, digits, err in [
            ("tuple<u32, u8, u8, u8, option<u8>>", "ac02 00 00 00 07", "wcp: byte 5: 4: option is 7, expected 0 or 1\n"),
            ("option<u8>", "07", "wcp: byte 0: option is 7, expected 0 or 1\n"),
            ("record p { x: u8, s: list<string> }", "01 02 01 61 01 ff", "wcp: byte 4: s: [1]: byte 0 of 1, 0xff, is not UTF-8\n"),
            ("u32", "80", "wcp: byte 0: 1 more byte is needed\n"),
            ("u32", "8080808080", "wcp: byte 0: integer does not fit in 32 bits\n"),
            ("u8", "010203", "wcp: byte 1: the value ends here, 2 bytes are left\n"),
            ("enum e { a, b }", "02", "wcp: byte 0: case 2, but there are 2 cases\n"),
            ("list<u16>", "05 01", "wcp: byte 0: length 5, but 1 bytes are left\n")]:
        expect(["decode", type_, digits], 1, b"", err)
    expect(["decode", "u8", "0x01"], 2, b"", "HEX: character 2 is 'x', expected 0-9 or a-f")
    expect(["decode", "u8", "012"], 2, b"", "HEX: an odd number of digits")
    expect(["decode", "u8"], 2, b"", "TYPE HEX is missing")
    expect(["decode", "u8", "01", "02"], 2, b"", "'02' found, nothing more expected")


def streams_are_inline_or_pending():
    for type_, text, digits in [("stream<u8>", '"abc"', b"03616263"), ("stream<u8>", "pending", b"00"),
                                ("future<option<u8>>", "5", b"010105"), ("future", "()", b"01"),
                                ("stream<stream<u8>>", '[[1, 2], pending]', b"0202010200"),
                                ("list<future<u8>>", "[1, pending]", b"02010100")]:
        expect(["encode", type_, text], 0, digits + b"\n")
    expect(["encode", "stream<u8>", "-"], 0, b"026869\n", data=b"hi")
    expect(["decode", "record r { s: stream<string>, t: future<u8> }", "01 01 61 00"], 0, b'{s: ["a"], t: pending}\n')


def a_full_disk_is_an_error():
    with open("/dev/full", "wb") as full:
        p = subprocess.run([WCP, "encode", "u8", "1"], stdout=full, stderr=subprocess.PIPE, timeout=20)
    assert p.returncode == 1 and b"No space left" in p.stderr, p


# --- help and manual pages ---


def commands():
    """The words of each command, as the help tells them."""
    _, out, _ = wcp("--help")
    found = re.findall(r"^  ([a-z-]+(?: [a-z-]+)?)  +\S", out.decode().split("\n\n")[2], re.M)
    assert len(found) >= 8 and "swap" in found and "call" in found, found
    return found


def every_command_has_help_and_a_manual_page():
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        expect(["--man", folder], 0, b"")
        pages = sorted(os.listdir(folder))
        assert pages == sorted(["wcp.1"] + [f"wcp-{c.replace(' ', '-')}.1" for c in commands()]), pages
        for page in pages:
            p = subprocess.run(["groff", "-man", "-ww", "-z", os.path.join(folder, page)], capture_output=True, timeout=30)
            assert (p.returncode, p.stdout, p.stderr) == (0, b"", b""), (page, p)
            p = subprocess.run(["groff", "-man", "-Tascii", "-P-cbou", os.path.join(folder, page)], capture_output=True, timeout=30)
            shown = p.stdout.decode()
            words = page[:-2].replace("wcp-", "", 1)
            status = ["EXIT STATUS", "NAME", "SYNOPSIS"] + (["OPTIONS", "DESCRIPTION", "EXAMPLES"] if words != "wcp" else [])
            assert all(re.search(rf"^{s}$", shown, re.M) for s in status), (page, shown)
        with open(folder + "/wcp-call.1", encoding="utf-8") as f:
            assert r"\exNN" in f.read()
    for c in commands():
        status, out, err = wcp(*c.split(), "--help")
        text = out.decode()
        assert status == 0 and not err and text.startswith(f"usage: wcp {c}") and "Exit status:" in text, (c, out, err)
        assert all(len(line) <= 110 for line in text.splitlines()), (c, [x for x in text.splitlines() if len(x) > 110])
    expect(["--man", "/nowhere"], 1, b"", "/nowhere/wcp.1: No such file or directory")


def operands_may_look_like_options():
    expect(["encode", "s8", "-5"], 0, b"fb\n")
    expect(["encode", "f32", "-inf"], 0, b"000080ff\n")
    expect(["encode", "--", "s8", "-5"], 0, b"fb\n")
    expect(["encode", "s8", "-x"], 2, b"", "-x: no such option")
    expect(["encode", "s8", "1", "--raw=1"], 2, b"", "--raw=1: it takes no value")
    expect(["encode", "s8", "1", "--nats", "x"], 2, b"", "--nats: not an option of this command")
    expect(["encode", "s8", "1", "--wit=/nowhere"], 2, b"", "/nowhere")


if __name__ == "__main__":
    l.run([every_vector_is_encoded_and_decoded, cut_forms_are_encoded_on_demand, types_come_from_wit,
           without_interfaces_wcp_still_encodes, values_come_from_files_and_go_to_pipes, what_is_wrong_has_its_place,
           streams_are_inline_or_pending, a_full_disk_is_an_error, every_command_has_help_and_a_manual_page,
           operands_may_look_like_options])
