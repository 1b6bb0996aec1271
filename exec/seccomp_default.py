#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Turns seccomp_default.txt into a C file that holds the profile as JSON."""
import json
import re
import sys

OPS = {"==": "SCMP_CMP_EQ", "!=": "SCMP_CMP_NE", "<": "SCMP_CMP_LT", ">": "SCMP_CMP_GT"}
WORDS = ("with", "without", "on", "off", "from", "where")


def fail(number, why):
    sys.exit(f"{sys.argv[1]}:{number}: {why}")


def condition(number, words):
    """ "0 < 38" or "0 &0x7e020000== 0": one condition on an argument."""
    if len(words) != 3:
        fail(number, "'where' takes an argument, a comparison and a value")
    index, op, value = words
    masked = re.fullmatch(r"&(0x[0-9a-f]+)==", op)
    if masked:
        return {"index": int(index), "value": int(masked[1], 0), "valueTwo": int(value, 0),
                "op": "SCMP_CMP_MASKED_EQ"}
    if op not in OPS:
        fail(number, f"'{op}' is no comparison")
    return {"index": int(index), "value": int(value, 0), "op": OPS[op]}


def split(words):
    """The words behind each of WORDS."""
    found, at = {}, None
    for word in words:
        if word in WORDS:
            at = found.setdefault(word, [])
        elif at is None:
            return None
        else:
            at.append(word)
    return found


def rule(number, line):
    words = line.split()
    made = {"names": [], "action": "SCMP_ACT_ALLOW"}
    if words[0] == "refuse":
        made.update(action="SCMP_ACT_ERRNO", errno=words[1])
        words = words[1:]
    elif words[0] != "allow":
        fail(number, f"'{words[0]}' opens no rule")
    parts = split(words[1:])
    if parts is None:
        fail(number, f"'{words[1]}' is not understood")
    if "where" in parts:
        made["args"] = [condition(number, parts["where"])]
    includes, excludes = {}, {}
    for word, key, to in (("with", "caps", includes), ("without", "caps", excludes),
                          ("on", "arches", includes), ("off", "arches", excludes)):
        if word in parts:
            to[key] = ["CAP_" + w if key == "caps" else w for w in parts[word]]
    if "from" in parts:
        includes["minKernel"] = parts["from"][0]
    made.update({key: value for key, value in (("includes", includes), ("excludes", excludes))
                 if value})
    return made


def read(path):
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "archMap": [], "syscalls": []}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.split("#")[0].rstrip()
            if not line:
                continue
            words = line.split()
            if line[0] == "\t":
                profile["syscalls"][-1]["names"] += words
            elif words[0] == "default":
                profile["defaultErrno"] = words[1]
            elif words[0] == "arch":
                profile["archMap"].append({"architecture": words[1],
                                           "subArchitectures": words[2:]})
            else:
                profile["syscalls"].append(rule(number, line))
    return profile


def main():
    profile = read(sys.argv[1])
    rules = ",\n".join(json.dumps(made) for made in profile.pop("syscalls"))
    text = json.dumps(profile)[:-1] + ', "syscalls": [\n' + rules + "\n]}"
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        out.write('/* SPDX-License-Identifier: Apache-2.0 */\n'
                  '#include "exec/seccomp_default.h"\n\n'
                  "const char seccomp_default_text[] =\n")
        for line in text.split("\n"):
            out.write("\t" + json.dumps(line + "\n") + "\n")
        out.write("\t;\n")


if __name__ == "__main__":
    main()
