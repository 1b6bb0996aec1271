#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes oci.h and oci.c from the descriptions beside this script.

    generate.py OUT

The header has a struct a type, with typed functions over the tables of oci.c; README.md tells
what it is made of.
"""
import sys
from pathlib import Path

from describe import describe
from header import PREAMBLE, FUNCTIONS, MEMBERS

SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"
MADE = "/* Made by exec/spec/generate.py. */\n"


def quote(text):
    if text is None:
        return "NULL"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def field_lines(member):
    """The fields of a struct for one member."""
    one = member.c_type
    gap = "" if one.endswith("*") else " "
    if member.shape == "one" and member.kind in ("bool", "integer"):
        return [f"\tbool has_{member.name};", f"\t{one}{gap}{member.name};"]
    if member.shape == "one":
        return [f"\t{one}{gap}{member.name};"]
    if member.shape == "map":
        one, gap = "struct oci_entry", " "
    return [f"\tsize_t n_{member.name};", f"\t{one}{gap}*{member.name};"]


def comment(member):
    """What the description asks of a member, for the reader of the header."""
    said = [member.key] if member.key != member.name else []
    if member.shape == "map":
        said.append(f"a map to {member.c_type}")
    if member.required:
        said.append("required")
    if member.low is not None or member.high is not None:
        low = "" if member.low is None else member.low
        said.append(f"{low}..{'' if member.high is None else member.high}")
    if member.pattern:
        said.append(member.pattern.replace("*/", "* /"))
    if member.words:
        said.append(f"one of oci_words_{member.words}")
    return f"\t/* {', '.join(said)} */" if said else None


def struct(kind):
    lines = [f"/* {kind.section} */", f"struct oci_{kind.name} {{"]
    for member in kind.members:
        said = comment(member)
        lines += ([said] if said else []) + field_lines(member)
    return lines + ["\tjson_t *residual; /* unknown members, an object; NULL: none */", "};", ""]


def functions(kind):
    lines = [FUNCTIONS.replace("TYPE", kind.name)]
    for index, member in enumerate(kind.sorted_members()):
        form = MEMBERS[member.shape, member.kind]
        words = {"TYPE": kind.name, "MEMBER": member.name, "INDEX": str(index),
                 "VALUE": member.c_type, "TARGET": member.target or ""}
        for word, text in words.items():
            form = form.replace(word, text)
        lines.append(form)
    return lines


def make_header(description):
    out = [SPDX + PREAMBLE]
    out += [f"struct oci_{k.name};" for k in description.structs]
    out += [""]
    for kind in description.structs:
        out += struct(kind)
    out += ["/* The strings that the specification knows, ended by NULL. */"]
    out += [f"extern const char *const oci_words_{name}[];" for name in description.words]
    out += [""]
    out += [f"extern const struct oci_type oci_{k.name}_type;" for k in description.structs]
    out += [""]
    for kind in description.structs:
        out += functions(kind)
    return "\n".join(out)


def table_row(kind, member):
    beside = None
    if member.shape != "one":
        beside = f"n_{member.name}"
    elif member.kind in ("bool", "integer"):
        beside = f"has_{member.name}"
    row = {
        "key": quote(member.key), "section": quote(member.section),
        "type": f"&oci_{member.target}_type" if member.target else None,
        "words": f"oci_words_{member.words}" if member.words else None,
        "pattern": quote(member.pattern) if member.pattern else None,
        "at": f"offsetof(struct oci_{kind.name}, {member.name})",
        "beside": f"offsetof(struct oci_{kind.name}, {beside})" if beside else None,
        "kind": f"OCI_{member.kind.upper()}", "shape": f"OCI_{member.shape.upper()}",
        "bits": member.bits or None, "is_signed": "true" if member.is_signed else None,
        "required": "true" if member.required else None,
        "has_min": "true" if member.low is not None else None, "min": member.low,
        "has_max": "true" if member.high is not None else None, "max": member.high,
        "items_min": member.items,
    }
    return ["\t{"] + [f"\t\t.{k} = {v}," for k, v in row.items() if v is not None] + ["\t},"]


def make_tables(description):
    out = [SPDX + MADE + '#include "exec/spec/oci.h"\n']
    for name, words in description.words.items():
        out += [f"const char *const oci_words_{name}[] = {{"]
        out += [f"\t{quote(word)}," for word in words] + ["\tNULL,", "};", ""]
    for kind in description.structs:
        out += [f"static const struct oci_member members_of_{kind.name}[] = {{"]
        for member in kind.sorted_members():
            out += table_row(kind, member)
        out += ["};", "", f"const struct oci_type oci_{kind.name}_type = {{"]
        out += [f"\t.name = {quote(kind.name)},", f"\t.section = {quote(kind.section)},",
                f"\t.members = members_of_{kind.name},", f"\t.n_members = {len(kind.members)},",
                f"\t.size = sizeof(struct oci_{kind.name}),",
                f"\t.residual = offsetof(struct oci_{kind.name}, residual),", "};", ""]
    return "\n".join(out)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    description = describe(Path(__file__).resolve().parent)
    out = Path(sys.argv[1])
    (out / "oci.h").write_text(make_header(description))
    (out / "oci.c").write_text(make_tables(description))


if __name__ == "__main__":
    main()
