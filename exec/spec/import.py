#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Derives our description of the runtime-spec from a directory of its published JSON schemas.

    import.py SCHEMAS OUT

writes OUT/*.spec, byte for byte what is kept beside this script while the two agree; a test
compares them where the schemas are at hand. README.md tells the format.
"""
import json
import re
import sys
from pathlib import Path

from describe import snake

HEAD = """# SPDX-License-Identifier: Apache-2.0
# Derived from the JSON schemas of runtime-spec 1.3 by import.py; README.md tells the format.
"""
ROOTS = {
    "config": "config-schema.json",
    "state": "state-schema.json",
    "features": "features-schema.json",
}
PLATFORMS = ("linux", "vm", "windows", "solaris", "freebsd", "zos", "state", "features")
WIDTHS = {
    (-(1 << bits - 1), (1 << bits - 1) - 1): f"int{bits}" for bits in (8, 16, 32, 64)
} | {(0, (1 << bits) - 1): f"uint{bits}" for bits in (8, 16, 32, 64)}
# What would be named after its place or its definition has a shorter name of its own.
NAMES = {
    "linux_block_io_device_throttle": "linux_throttle_device",
    "linux_block_io_device_weight": "linux_weight_device",
    "linux_namespace_reference": "linux_namespace",
    "linux_network_interface_priority": "linux_interface_priority",
    "linux_resources_block_io": "linux_block_io",
    "linux_resources_cpu": "linux_cpu",
    "linux_resources_hugepage_limit": "linux_hugepage_limit",
    "linux_resources_memory": "linux_memory",
    "linux_resources_network": "linux_network",
    "linux_resources_pids": "linux_pids",
    "linux_syscall": "linux_seccomp_syscall",
    "linux_syscall_arg": "linux_seccomp_arg",
    "linux_time_offsets": "linux_time_offset",
    "linux_time_offsets_of": "linux_time_offsets",
    "process_rlimit": "rlimit",
    "vm_io_mem_entry_format": "vm_iomem",
    "zos_namespace_reference": "zos_namespace",
}
# Its place has the name that a definition has too.
PLACES = {"linux/timeOffsets": "linux_time_offsets_of"}


class Importer:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.files = {}
        self.blocks = {}  # name: lines, in the order in which they were met

    def load(self, name):
        if name not in self.files:
            self.files[name] = json.loads((self.folder / name).read_text())
        return self.files[name]

    def follow(self, file, node):
        """What a reference leads to, with the file it is in and the name of the definition."""
        name = None
        while True:
            if "anyOf" in node and len(node["anyOf"]) == 1:
                node = node["anyOf"][0]
            elif "$ref" in node:
                place, _, path = node["$ref"].partition("#")
                file = place or file
                node = self.load(file)
                for part in path.strip("/").split("/"):
                    node = node[part]
                name = part if "/definitions/" in path else None
            else:
                return file, node, name

    def properties(self, file, node):
        """(file, name, schema) of the members, and the names of the required ones."""
        found, required = [], list(node.get("required", ()))
        for part in node.get("allOf", ()):
            part_file, part, _ = self.follow(file, part)
            more, needed = self.properties(part_file, part)
            found += more
            required += needed
        found += [(file, key, value) for key, value in node.get("properties", {}).items()]
        return found, required

    def name_of(self, file, definition, place):
        """How a struct or a list of words is called: after its definition, or after its place."""
        if definition:
            prefix = re.match(r"defs-?(\w*)\.json", file).group(1)
            name = snake(definition)
            name = f"{prefix}_{name}" if prefix else name
        else:
            parts = [snake(p) for p in place.split("/")]
            name = PLACES.get(place, "_".join(parts))
        return NAMES.get(name, name)

    def add(self, name, lines):
        if self.blocks.setdefault(name, lines) != lines:
            sys.exit(f"import.py: two different things would be named {name}")

    def struct(self, file, node, definition, place):
        name = self.name_of(file, definition, place)
        members, required = self.properties(file, node)
        lines = [f"struct {name}"]
        for member_file, key, schema in members:
            below = key if place == "config" else f"{place}/{key}"
            words = self.kind(member_file, schema, below)
            if key in required:
                words.insert(1, "required")
            lines.append("\t" + " ".join([key, *words]))
        self.add(name, lines)
        return name

    def integer(self, node):
        low, high = node.get("minimum"), node.get("maximum")
        if (low, high) in WIDTHS:
            return [WIDTHS[low, high]]
        words = ["integer"]
        words += [f"min={low}"] if low is not None else []
        return words + ([f"max={high}"] if high is not None else [])

    def kind(self, file, schema, place):
        """The words after a member's name: its type, then what is asked of it."""
        file, node, definition = self.follow(file, schema)
        kind = node.get("type", "object")
        if kind == "array":
            words = self.kind(file, node["items"], place.removesuffix("s"))
            least = [f"items={node['minItems']}"] if "minItems" in node else []
            return ["list of " + words[0], *least, *words[1:]]
        if kind == "object":
            return self.object(file, node, definition, place)
        if kind == "boolean":
            return ["bool"]
        if kind == "integer":
            return self.integer(node)
        if "enum" in node:
            name = self.name_of(file, definition, place)
            self.add(name, [f"words {name}"] + ["\t" + word for word in node["enum"]])
            return [name]
        return ["string"] + ([f"pattern={node['pattern']}"] if "pattern" in node else [])

    def object(self, file, node, definition, place):
        if "patternProperties" in node:
            (pattern, value), = node["patternProperties"].items()
            if pattern != ".{1,}":
                sys.exit(f"import.py: a map with keys of the pattern {pattern}")
            return ["map of " + self.kind(file, value, place)[0]]
        if "additionalProperties" in node:
            value = node["additionalProperties"]
            return ["map of " + self.kind(file, value, place.removesuffix("s"))[0]]
        if "properties" in node or "allOf" in node:
            return [self.struct(file, node, definition, place)]
        return ["json"]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    importer = Importer(sys.argv[1])
    for root, file in ROOTS.items():
        importer.struct(file, importer.load(file), None, root)
    texts = dict.fromkeys(("config", *PLATFORMS), HEAD)
    for name, lines in importer.blocks.items():
        prefix = name.split("_")[0]
        texts[prefix if prefix in PLATFORMS else "config"] += "\n" + "\n".join(lines) + "\n"
    for name, text in texts.items():
        (Path(sys.argv[2]) / f"{name}.spec").write_text(text)


if __name__ == "__main__":
    main()
