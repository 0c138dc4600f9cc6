"""check-peers: our SDK and the published Rust crates call each other.

    check.py [--requests N] [--only WORD[,WORD...]]

For each generation of the crates (tests/peers: wrpc-29 is wrpc-transport 0.28 with wrpc-transport-nats 0.29, wrpc-31 is
0.29 with 0.31) and each transport (nats, tcp, unix): the Rust program calls our server, and our caller the Rust server.
Every function of tests/wit is called (cases.py), and each answer compared; at the end come N calls (default 4,000), 64 at
a time. --only picks rows and groups whose name contains a word.

What Rust cannot do is listed here with its reason, and proven: the Rust program that calls the Rust program gets the same.
Exit codes: 0 all passed, 1 not, 3 the peers are not built and cannot be.
"""

import argparse
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import lattice
from cases import cases
from checks import check, finish
from processes import BIN, FOLDER, ROOT, end_process, free_port, keep_folder, start, temporary_path, wait_for

GENERATIONS = ("wrpc-29", "wrpc-31")
TRANSPORTS = ("nats", "tcp", "unix")
OURS = "wrpc-peer"
DEADLINE_S = 600  # of one script
# What callers say, by what has happened.
ERRORS = {
    "rust": {"failed": ("incomplete results", "bytes remaining on stream"),
             "not served": ("no responders", "not connected", "incomplete results", "reset by peer", "Broken pipe")},
    "ours": {"failed": ("closed",), "not served": ("no such thing", "closed")},
}


class Peers:
    """Everything that runs: nats-server, and a server of each kind on each transport."""

    def __init__(self, programs):
        self.programs = programs
        self.nats = lattice.nats_server()
        self.lattice = lattice.Lattice(self.nats.port, "default")
        self.addresses = {}

    def address(self, server, transport):
        """Where server listens on transport: it is started if nobody has yet."""
        if (server, transport) not in self.addresses:
            self.addresses[server, transport] = self.serve(server, transport)
        return self.addresses[server, transport]

    def serve(self, server, transport):
        log = temporary_path(f"{server}-{transport}.log")
        address = {"nats": f"nats://127.0.0.1:{self.nats.port}", "tcp": f"tcp:127.0.0.1:{free_port()}",
                   "unix": f"unix:{temporary_path(server)}.sock"}[transport]
        if server == OURS and transport == "nats":
            self.lattice.provider(OURS)
            return [address, f"default.{OURS}"]
        if server == OURS:
            p = start([BIN / OURS, "--provider-id", OURS, "--listen", address], log=log)
        else:
            p = start([self.programs[server], "serve", address] + [f"default.{server}"] * (transport == "nats"), log=log)
        word = b"listening on" if server == OURS else b"ready"
        wait_for(f"{server} on {address}", lambda: p.poll() is not None or word in open(log, "rb").read())
        return [address] + [f"default.{server}"] * (transport == "nats")

    def call(self, client, server, transport, script):
        """The answers by case; what the client has not said is missing."""
        path = temporary_path("script")
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(line + "\n" for line in script)
        address = self.address(server, transport)
        if client == OURS:
            address = [address[0]] + [prefix.split(".", 1)[1] for prefix in address[1:]]
        log = temporary_path(f"{client}-calls-{server}-{transport}.log")
        with open(log, "ab") as err:
            p = start([self.programs[client], "call", *address, path], stdout=subprocess.PIPE, stderr=err)
            try:
                out, _ = p.communicate(timeout=DEADLINE_S)
            except subprocess.TimeoutExpired:
                end_process(p)
                out = p.stdout.read()
        answers = [json.loads(line) for line in out.splitlines()]
        return {answer.pop("case"): answer for answer in answers}


def canonical_nan(hexes):
    """What newer crates make of a NaN."""
    return hexes.replace("0100c0ff", "0000c07f")


def expected(case, client, peers):
    """The answer that the case says, as client writes it."""
    if case.error:
        return None
    result = case.result.hex() if isinstance(case.result, bytes) else case.result
    if case.group == "values of 70 flags" and client != OURS:
        result += "00" * 7  # bindgen writes them as a u128
    if case.group == "values of f32" and "wrpc-31" in peers:
        result = canonical_nan(result)
    channels = {path: data.hex() if isinstance(data, bytes) else data for path, data in case.channels.items()}
    if case.broken and client == OURS:
        channels[case.broken] += "...closed"
    return {"result": result} | channels


def wrong(case, client, peers, answer):
    """Why the answer is not the one that is expected, in a few words; None if it is."""
    if answer is None:
        return "no answer"
    if case.error:
        words = ERRORS["ours" if client == OURS else "rust"][case.error]
        return None if any(w in answer.get("error", "") for w in words) else f"{case.error} expected, {shorten(answer)} found"
    want = expected(case, client, peers)
    if want["result"] is None and "result" in answer:
        want["result"] = answer["result"]
    channels = {path: data for path, data in answer.items() if data or path in want}
    return None if channels == want else f"{shorten(want)} expected, {shorten(answer)} found"


def shorten(answer):
    return {key: value if len(value) < 100 else f"{value[:60]}... ({len(value)})" for key, value in answer.items()}


# What Rust peers cannot do: group, who gets what instead of the answer, and why.
IMPOSSIBLE = {
    "futures in a stream": "no receiver of these crates delivers what is in the elements of a stream (wrpc.md 1.5)",
}


def run(peers, client, server, transport, requests, only):
    rust = client if server == OURS else server
    row = f"{transport} {rust} {'calls us' if server == OURS else 'is called'}"
    groups = {}
    for case in cases(requests):
        if not only or any(word in row or word in case.group for word in only):
            groups.setdefault(case.group, []).append(case)
    answers = peers.call(client, server, transport, [case.script() for group in groups.values() for case in group])
    for name, group in groups.items():
        why = [f"{case.name}: {text}" for case in group
               if (text := wrong(case, client, (client, server), answers.get(case.name)))]
        count = f" ({len(group)})" if len(group) > 1 else ""
        check(f"{row}: {name}{count}", not why, "; ".join(why[:3]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    built = subprocess.run([ROOT / "tests/peers/build.sh", *GENERATIONS], stdout=subprocess.PIPE, check=False)
    if built.returncode:
        sys.exit(built.returncode)
    programs = dict(zip(GENERATIONS, built.stdout.decode().split()), **{OURS: BIN / OURS})
    peers = Peers(programs)
    only = [word for word in options.only.split(",") if word]
    for transport in TRANSPORTS:
        for rust in GENERATIONS:
            run(peers, rust, OURS, transport, options.requests, only)
            run(peers, OURS, rust, transport, options.requests, only)
    finish()


if __name__ == "__main__":
    main()
