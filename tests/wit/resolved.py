"""resolved.py: packages as JSON (witc --json, wasm-tools component wit --json) in a form that can be compared: items by name, not by place."""


class Resolved:
    """The packages of one JSON document: .packages without doc comments, and .docs, the comments by the path of their item."""

    def __init__(self, document):
        self.d = document
        self.docs = {}
        self.packages = {p["name"]: self.package(p) for p in self.d["packages"]}

    def note(self, item, path):
        if "docs" in item:
            self.docs[path] = item["docs"]["contents"]

    def package(self, p):
        path = p["name"]
        self.note(p, path)
        return {"interfaces": {n: self.interface(i, f"{path}/{n}") for n, i in p["interfaces"].items()},
                "worlds": {n: self.world(w, f"{path}/{n}") for n, w in p["worlds"].items()}}

    def interface(self, number, path):
        i = self.d["interfaces"][number]
        self.note(i, path)
        return {"types": {n: self.definition(t, f"{path}.{n}") for n, t in i["types"].items()},
                "functions": {n: self.function(f, f"{path}.{n}") for n, f in i["functions"].items()},
                "stability": i.get("stability")}

    def world(self, number, path):
        w = self.d["worlds"][number]
        self.note(w, path)
        return {"imports": dict(self.item(k, x, f"{path} import") for k, x in w["imports"].items()),
                "exports": dict(self.item(k, x, f"{path} export") for k, x in w["exports"].items()),
                "stability": w.get("stability")}

    def item(self, key, x, path):
        if "type" in x:
            return key, {"type": self.definition(x["type"], f"{path} {key}")}
        if "function" in x:
            return key, {"function": self.function(x["function"], f"{path} {key}")}
        i = x["interface"]
        name = self.interface_name(i["id"])
        gates = {k: i[k] for k in ("stability", "external_id") if k in i}
        if key.startswith("interface-") and key[10:].isdigit():
            key = name
        self.note(i, f"{path} {key}")
        return key, {"interface": name or self.interface(i["id"], f"{path} {key}"), **gates}

    def package_name(self, number):
        return self.d["packages"][number]["name"]

    def interface_name(self, number):
        i = self.d["interfaces"][number]
        return i["name"] and f"{self.package_name(i['package'])}/{i['name']}"

    def owner(self, t):
        o = t["owner"]
        if "world" in o:
            w = self.d["worlds"][o["world"]]
            return f"{self.package_name(w['package'])}/{w['name']}"
        return self.interface_name(o["interface"]) or "inline"

    def definition(self, number, path):
        t = self.d["types"][number]
        self.note(t, path)
        return {"owner": self.owner(t), "name": t["name"], "kind": self.kind(t["kind"], path),
                "stability": t.get("stability"), "external_id": t.get("external_id")}

    def type(self, t):
        """The primitive, the name, or what it is made of."""
        if not isinstance(t, int):
            return t
        t = self.d["types"][t]
        return f"{self.owner(t)}.{t['name']}" if t["name"] else self.kind(t["kind"], None)

    def kind(self, k, path):
        if isinstance(k, str):
            return k
        (word, body), = k.items()
        if word in ("record", "variant", "enum", "flags"):
            (_, members), = body.items()
            for m in members:
                self.note(m, f"{path}.{m['name']}")
            return {word: [(m["name"], self.type(m.get("type"))) for m in members]}
        if word == "tuple":
            return {word: [self.type(t) for t in body["types"]]}
        if word == "handle":
            return {n: self.type(t) for n, t in body.items()}
        if word == "result":
            return {word: (self.type(body["ok"]), self.type(body["err"]))}
        if word == "map":
            return {word: [self.type(t) for t in body]}
        if word == "fixed-length-list":
            return {word: (self.type(body[0]), body[1])}
        return {word: self.type(body)}  # list, option, stream, future, type

    def function(self, f, path):
        self.note(f, path)
        k = f["kind"]
        return {"kind": k if isinstance(k, str) else {w: self.type(t) for w, t in k.items()},
                "params": [(p["name"], self.type(p["type"])) for p in f["params"]], "result": self.type(f.get("result")),
                "stability": f.get("stability"), "external_id": f.get("external_id")}


def differences(a, b, path=""):
    """The places at which two comparable values differ, a line each."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted({*a, *b}):
            if key not in a or key not in b:
                yield f"{path}/{key}: only in {'the first' if key in a else 'the second'}"
            else:
                yield from differences(a[key], b[key], f"{path}/{key}")
    elif a != b:
        yield f"{path}: {a} and {b}"


def lost_docs(ours, theirs):
    """Doc comments of ours that are not among the lines of theirs. (wasm-tools takes every comment before an item for its doc comment,
    witc those that are marked as such.)"""
    for path, text in ours.items():
        rest = iter(line.strip() for line in theirs.get(path, "").split("\n"))
        for line in text.split("\n"):
            if line.strip() and line.strip() not in rest:
                yield f"{path}: the comment '{line}' is not in {theirs.get(path)!r}"
                break
