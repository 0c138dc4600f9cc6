"""key.py NAME: a key of a peer that changes when it would be built otherwise: by its own sources, or the locked packages
that it is made of. What only others of the workspace need does not matter."""

import hashlib
import os
import sys
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
# A peer's folder, which is a package of this name, and what else it is made from.
WRPC = ["wrpc", "../wit", "../../sdk/interfaces"]
SOURCES = {"lattice-host": ["host"], "component": ["component"], "load": ["load"], "wadm-server": ["wadm"],
           "wrpc-29": ["wrpc-29", *WRPC], "wrpc-31": ["wrpc-31", *WRPC]}


def load(path):
    with open(os.path.join(HERE, path), "rb") as f:
        return tomllib.load(f)


def files(folder):
    for at, folders, names in os.walk(os.path.join(HERE, folder)):
        folders.sort()
        for name in sorted(names):
            if name != "Cargo.lock":
                with open(os.path.join(at, name), "rb") as f:
                    yield os.path.relpath(os.path.join(at, name), HERE), f.read()


def locked(name, lock):
    """The lock file's entries of the package and of all that it needs."""
    packages = {}
    for p in lock["package"]:
        for also in (p["name"], f"{p['name']} {p['version']}"):
            packages[also] = p
    found, todo = {}, [name]
    while todo:
        p = packages[todo.pop()]
        if (p["name"], p["version"]) not in found:
            found[p["name"], p["version"]] = p.get("checksum")
            todo += p.get("dependencies", [])
    return sorted(found.items())


def key(name):
    folder = SOURCES[name][0]
    own = os.path.exists(os.path.join(HERE, folder, "Cargo.lock"))
    lock = load(f"{folder}/Cargo.lock" if own else "Cargo.lock")
    profile = load(f"{folder}/Cargo.toml" if own else "Cargo.toml")["profile"]["release"]
    others = profile.pop("package", {})
    h = hashlib.sha256(repr((profile, others.get(name), locked(name, lock))).encode())
    for folder in SOURCES[name]:
        for path, data in files(folder):
            h.update(f"{path} {len(data)}\n".encode() + data)
    return h.hexdigest()[:16]


if sys.argv[1] not in SOURCES:
    sys.exit(f"peers: {sys.argv[1]} found, {', '.join(SOURCES)} or wasm-tools expected")
print(key(sys.argv[1]))
