# SPDX-License-Identifier: Apache-2.0
"""Lists the sources in a compile_commands.json that are not tests, each followed by a NUL."""

import json
import os
import sys

with open(sys.argv[1], encoding="utf-8") as f:
    commands = json.load(f)
root = os.path.dirname(os.path.dirname(os.path.abspath(sys.argv[1])))
files = {os.path.normpath(os.path.join(c["directory"], c["file"])) for c in commands}
sys.stdout.write("".join(f + "\0" for f in sorted(files) if not f.startswith(root + "/tests/")))
