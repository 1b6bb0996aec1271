# SPDX-License-Identifier: Apache-2.0
"""Reads the descriptions (*.spec) and the sections of the specification (sections.txt)."""
import re
from dataclasses import dataclass, field

WIDTH = re.compile(r"(u?)int(8|16|32|64)$")
FILES = ("config", "linux", "vm", "windows", "solaris", "freebsd", "zos", "state", "features")
# Names whose parts no rule can tell.
SNAKES = {"nrMFNs": "nr_mfns", "ip4Addr": "ip4_addr", "ip6Addr": "ip6_addr"}


class DescriptionError(Exception):
    """A description that cannot be read: the file, the line, and why."""


@dataclass
class Member:
    key: str
    name: str
    type_name: str
    shape: str
    required: bool = False
    low: int | None = None
    high: int | None = None
    items: int | None = None
    pattern: str | None = None
    # What follows from the type's name.
    kind: str = ""
    c_type: str = ""
    bits: int = 0
    is_signed: bool = False
    words: str | None = None
    target: str | None = None
    section: str = ""


@dataclass
class Struct:
    name: str
    members: list = field(default_factory=list)
    section: str = ""

    def sorted_members(self):
        return sorted(self.members, key=lambda m: m.key.encode())


@dataclass
class Description:
    structs: list = field(default_factory=list)
    words: dict = field(default_factory=dict)


def snake(name):
    """ociVersion: oci_version."""
    if name in SNAKES:
        return SNAKES[name]
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def parse_member(line):
    line, _, pattern = line.partition(" pattern=")
    key, *words = line.split()
    shape = "one"
    if words[0] in ("list", "map") and words[1] == "of":
        shape, words = words[0], words[2:]
    member = Member(key, snake(key), words[0], shape, pattern=pattern or None)
    for word in words[1:]:
        name, _, number = word.partition("=")
        if word == "required":
            member.required = True
        elif name in ("min", "max", "items"):
            setattr(member, {"min": "low", "max": "high"}.get(name, name), int(number))
        else:
            raise DescriptionError(f"what is \"{word}\"?")
    return member


def parse_file(path, description):
    into = None
    for number, line in enumerate(path.read_text().split("\n"), 1):
        try:
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith("struct "):
                into = Struct(line.split()[1])
                description.structs.append(into)
            elif line.startswith("words "):
                into = description.words.setdefault(line.split()[1], [])
            elif not line.startswith("\t") or into is None:
                raise DescriptionError("neither a heading nor a member")
            elif isinstance(into, Struct):
                into.members.append(parse_member(line.strip()))
            else:
                into.append(line.strip())
        except (DescriptionError, IndexError, ValueError) as why:
            raise DescriptionError(f"{path.name}:{number}: {why}") from None


def resolve(member, description, structs):
    """What the name of a member's type means in C."""
    name = member.type_name
    width = WIDTH.match(name)
    if width:
        member.kind, member.bits = "integer", int(width[2])
        member.is_signed, member.c_type = not width[1], name + "_t"
    elif name == "integer":
        small = member.low is not None and member.low >= 0 and member.high is not None
        member.kind, member.bits, member.is_signed = "integer", 32 if small else 64, not small
        member.c_type = "uint32_t" if small else "int64_t"
    elif name == "bool":
        member.kind, member.c_type = "bool", "bool"
    elif name == "string":
        member.kind, member.c_type = "string", "char *"
    elif name == "json":
        member.kind, member.c_type = "json", "json_t *"
    elif name in description.words:
        member.kind, member.c_type, member.words = "string", "char *", name
    elif name in structs:
        member.kind, member.c_type, member.target = "object", f"struct oci_{name} *", name
    else:
        raise DescriptionError(f"nothing is named {name}")


def read_sections(path):
    """STRUCT or STRUCT.MEMBER: where the specification speaks of it."""
    pairs = [line.split() for line in path.read_text().split("\n")
             if line.strip() and not line.startswith("#")]
    return {name: section for name, section in pairs}


def describe(folder):
    """All of it, in the order of the files."""
    description = Description()
    for name in FILES:
        parse_file(folder / f"{name}.spec", description)
    sections = read_sections(folder / "sections.txt")
    structs = {s.name: s for s in description.structs}
    for kind in description.structs:
        if kind.name not in sections:
            raise DescriptionError(f"sections.txt does not name {kind.name}")
        kind.section = sections.pop(kind.name)
        for member in kind.members:
            resolve(member, description, structs)
            member.section = sections.pop(f"{kind.name}.{member.key}", kind.section)
    if sections:
        raise DescriptionError(f"sections.txt: nothing is named {', '.join(sections)}")
    return description
