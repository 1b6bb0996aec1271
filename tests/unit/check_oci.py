#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What Python says of the same documents, made up from the description and published.

usage: check_oci.py OCIDUMP ROOT

The published schemas and vectors are in SLUICE_SHARED_DATA, or in ../shared/data beside the
tree; where they are not, their tests are skipped.
"""
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

OCIDUMP, ROOT = sys.argv[1], Path(sys.argv[2])
SPEC = ROOT / "exec" / "spec"
sys.path.insert(0, str(SPEC))
from describe import describe  # noqa: E402

SHARED = Path(os.environ.get("SLUICE_SHARED_DATA", ROOT.parent / "shared" / "data"))
SCHEMAS = SHARED / "runtime-spec-1.3"
SECONDS_MAX = 60
DOCUMENTS = 150
STRINGS = ["", "/", "a b", "é\U0001f600", "\n\t\b\f\r\v\x01\x1f\x7f", "\"\\/", "~0",
           "18446744073709551615"]
NUMBERS = [0, 1, -1, 1 << 63, (1 << 64) - 1, -(1 << 63), -(1 << 63) - 1, 10 ** 40]
# What parsing finds in a published document that is wrong; None: that is the validator's.
BAD = {
    "config/bad/freebsd-vnet-disable.json": None,
    "config/bad/invalid-json.json": "config is not valid JSON: line 1, column 2",
    "config/bad/linux-hugepage.json": None,
    "config/bad/linux-netdevice.json":
        "config: /linux/netDevices/eth0/name: expected a string, found a number",
    "config/bad/linux-rdma.json":
        "config: /linux/resources/rdma/mlx5_1/hcaHandles: expected an integer, found a string",
    "features/bad/missing-ociVersionMax.json": None,
    "state/bad/invalid-json.json": "state is not valid JSON: line 1, column 2",
}


class Skip(Exception):
    pass


def canonical(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def run(*args):
    result = subprocess.run([OCIDUMP, *map(str, args)], capture_output=True, timeout=SECONDS_MAX)
    if result.returncode:
        raise AssertionError(f"ocidump ends with {result.returncode}: {result.stderr.decode()}")
    # Not splitlines(), which takes other characters for ends of lines too.
    return result.stdout.decode().split("\n")[:-1]


def same(got, want, what):
    if got != want:
        raise AssertionError(f"{what}:\nwanted {want}\ngot    {got}")


class Maker:
    """Documents made up of what a description allows, whatever the specification asks of them."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.structs = {s.name: s for s in describe(SPEC).structs}

    def anything(self, depth):
        kinds = [None, True, False, self.random.choice(NUMBERS), self.random.choice(STRINGS)]
        if depth < 3:
            size = range(self.random.randrange(3))
            kinds.append([self.anything(depth + 1) for _ in size])
            kinds.append({self.random.choice(STRINGS): self.anything(depth + 1) for _ in size})
        return self.random.choice(kinds)

    def one(self, member, depth):
        if member.kind == "bool":
            return self.random.random() < 0.5
        if member.kind == "integer":
            low = -(1 << member.bits - 1) if member.is_signed else 0
            return self.random.choice([low, low + (1 << member.bits) - 1, 0, 1])
        if member.kind == "string":
            return self.random.choice(STRINGS)
        if member.kind == "json":
            return {"x": self.anything(1)}
        return self.struct(member.target, depth + 1)

    def struct(self, name, depth=0):
        made = {}
        for member in self.structs[name].members:
            if self.random.random() < 0.4:
                continue
            size = range(self.random.randrange(3))
            if member.shape == "one":
                made[member.key] = self.one(member, depth)
            elif member.shape == "list":
                made[member.key] = [self.one(member, depth) for _ in size]
            else:
                made[member.key] = {self.random.choice(STRINGS): self.one(member, depth)
                                    for _ in size}
        if self.random.random() < 0.3:
            made[self.random.choice(["", "x-é", "zz", "a/b"])] = self.anything(0)
        keys = list(made)
        self.random.shuffle(keys)
        return {key: made[key] for key in keys}


def write(place, documents, **style):
    paths = []
    for number, document in enumerate(documents):
        paths.append(Path(place) / f"{number}.json")
        paths[-1].write_text(json.dumps(document, **style), encoding="utf-8")
    return paths


def made_up_documents(kind):
    maker = Maker(kind)
    documents = [maker.struct(kind) for _ in range(DOCUMENTS)]
    with tempfile.TemporaryDirectory(prefix="sluice-oci-") as place:
        for style in ({}, {"indent": 3, "ensure_ascii": False}):
            got = run(kind, *write(place, documents, **style))
            same(len(got), DOCUMENTS, "lines")
            for document, line in zip(documents, got):
                same(line, canonical(document), "document")


def lay_over(below, above):
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    merged = dict(below)
    for key, value in above.items():
        merged[key] = lay_over(below[key], value) if key in below else value
    return merged


def merged_documents(kind):
    maker = Maker(kind + " merged")
    with tempfile.TemporaryDirectory(prefix="sluice-oci-") as place:
        for _ in range(DOCUMENTS):
            documents = [maker.struct(kind) for _ in range(3)]
            want = lay_over(lay_over(documents[0], documents[1]), documents[2])
            same(run("--merge", kind, *write(place, documents)), [canonical(want)], "merged")


def vectors():
    if not SCHEMAS.is_dir():
        raise Skip(f"no {SCHEMAS}")
    return sorted(p for p in (SCHEMAS / "test").rglob("*.json"))


def published_vectors():
    seen = set()
    for path in vectors():
        name = str(path.relative_to(SCHEMAS / "test"))
        line, = run(path.relative_to(SCHEMAS / "test").parts[0], path)
        if BAD.get(name):
            same(line[:len(BAD[name]) + 7], "error: " + BAD[name], name)
        else:
            same(line, canonical(json.loads(path.read_text())), name)
        seen.add(name)
    same(sorted(set(BAD) - seen), [], "vectors that are not there")
    same(sorted(n for n in seen if "/bad/" in n and n not in BAD), [], "vectors nobody knows")


def published_schemas():
    if not SCHEMAS.is_dir():
        raise Skip(f"no {SCHEMAS}")
    with tempfile.TemporaryDirectory(prefix="sluice-oci-") as place:
        subprocess.run([sys.executable, "-B", SPEC / "import.py", SCHEMAS, place], check=True,
                       timeout=SECONDS_MAX)
        ours = {p.name: p.read_text() for p in SPEC.glob("*.spec")}
        theirs = {p.name: p.read_text() for p in Path(place).glob("*.spec")}
    same(sorted(ours), sorted(theirs), "descriptions")
    for name, text in ours.items():
        same(text, theirs[name], name)


def main():
    tests = [(f"{title} ({kind})", lambda check=check, kind=kind: check(kind))
             for title, check in (("made up documents", made_up_documents),
                                  ("merged documents", merged_documents))
             for kind in ("config", "features", "state")]
    tests += [("published vectors", published_vectors), ("published schemas", published_schemas)]
    failed = 0
    print(f"1..{len(tests)}")
    for number, (title, check) in enumerate(tests, 1):
        try:
            check()
            print(f"ok {number} - {title}")
        except Skip as why:
            print(f"ok {number} - {title} # SKIP {why}")
        except AssertionError as why:
            failed += 1
            print(f"not ok {number} - {title}")
            print("# " + str(why).replace("\n", "\n# "))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
