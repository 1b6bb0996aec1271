#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Plants one violation after another in a small tree: each rule must find its own, and only it."""
import sys
import tempfile
from pathlib import Path

import rules

SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"
LONG = SPDX + "int f(void);\nint f(void)\n{\n" + "\tf();\n" * 71 + "}\n"
FITS = SPDX + "int f(void);\nint f(void)\n{\n" + "\tf();\n" * 70 + "}\n"
PYTHON_LONG = "# SPDX-License-Identifier: Apache-2.0\ndef f():\n" + "    f()\n" * 71

# rule, file, its text, words that the one violation holds (None: there is none)
CASES = [
    ("includes", "fs/a.c", SPDX + '#include "fetcher/ok.h"\n', None),
    ("includes", "fetcher/a.c", SPDX + '#include "fs/ok.h"\n', "fetcher/a.c:2: fetcher/ may not"),
    ("includes", "base/a.h", SPDX + '#  include "fetcher/ok.h"\n', "base/ may not include"),
    ("includes", "exec/a.c", SPDX + '\n#include "fs/ok.h"\n', "exec/a.c:3: exec/ may not include"),
    ("includes", "exec/a.c", SPDX + '#include "fetcher/ok.h"\n', "exec/ may not include fetcher/"),
    ("includes", "fs/a.c", SPDX + '#include "exec/ok.h"\n', "fs/ may not include exec/"),
    ("includes", "pool/a.c", SPDX + '#include "tools/ok.h"\n', "pool/ may not include tools/"),
    ("includes", "pool/a.c", SPDX + '#include "exec/ok.h"\n#include "fs/ok.h"\n', None),
    ("includes", "base/a.c", SPDX + '#include "ok.h"\n', "not a path from the root"),
    ("includes", "base/a.c", SPDX + '#include "base/../fs/ok.h"\n', "not a path from the root"),
    ("includes", "base/a.c", SPDX + "#include <fs/ok.h>\n", 'as "fs/ok.h"'),
    ("includes", "base/a.c", SPDX + '#include "base/none.h"\n', 'there is no "base/none.h"'),
    ("includes", "exec/a.c", SPDX + '#include "exec/spec/oci.h"\n', 'no "exec/spec/oci.h"'),
    ("includes", "base/a.c", SPDX + '#include "base/ok.c"\n', "is not a header"),
    ("lengths", "base/a.c", FITS, None),
    ("lengths", "base/a.c", LONG, "base/a.c:4: function of 71 lines"),
    ("lengths", "base/a.c", LONG.replace("\tf();", "/*\n}\n*/", 1), "function of 73 lines"),
    ("lengths", "base/a.c", SPDX + "int f(void) {\n}\n", "brace opens a line of its own"),
    ("lengths", "base/a.h", SPDX + "\n" * 799, None),
    ("lengths", "base/a.h", SPDX + "\n" * 800, "801 lines, at most 800"),
    ("lengths", "tests/a.py", PYTHON_LONG, "tests/a.py:2: function of 71 lines"),
    ("licence", "base/a.c", "int x;\n", "base/a.c:1: no SPDX"),
    ("licence", "tests/a.py", "#!/usr/bin/python3\n# nothing\n", "no SPDX"),
    ("licence", "tools/a", "#!/bin/bash\n# SPDX-License-Identifier: Apache-2.0\n", None),
    ("licence", "tools/a", "#!/bin/bash\necho\n", "no SPDX"),
    ("environment", "fs/a.c", SPDX + 'char *p = getenv("HOME");\n', "fs/a.c:2: the environment"),
    ("environment", "fs/a.c", SPDX + 'char *p = secure_getenv ("HOME");\n', "the environment"),
    ("environment", "base/a.c", SPDX + "extern char **environ;\n", "the environment"),
    ("environment", "base/a.c", SPDX + '/* getenv() */\nchar p[] = "getenv(";\n', None),
    ("environment", "tools/a.c", SPDX + 'char *p = getenv("HOME");\n', None),
    ("gcc", "base/a.h", SPDX + "#pragma once\n#include <stdint.h>\nextern uint8_t a;\n", None),
    ("gcc", "base/a.h", SPDX + "#pragma once\nextern uint8_t a;\n", "does not compile alone"),
    ("gcc", "base/a.h", SPDX + "struct a { int b; };\n", "does not compile alone"),
    ("clang", "base/a.h", SPDX + "#pragma once\nextern uint8_t a;\n", "does not compile alone"),
]


def apply(rule, root):
    if rule in ("gcc", "clang"):
        return rules.headers(root, rule)
    return getattr(rules, rule)(root)


def run(rule, name, text, words):
    """None when the rule said what it should; otherwise what it said."""
    with tempfile.TemporaryDirectory(prefix="sluice-lint-") as place:
        root = Path(place)
        for folder in rules.FOLDERS:
            (root / folder).mkdir()
            (root / folder / "ok.h").write_text(SPDX + "#pragma once\n")
        (root / "base" / "ok.c").write_text(SPDX)
        (root / name).write_text(text)
        bad = apply(rule, root)
        if bad is None:
            return "skip"
        if words is None:
            return None if not bad else f"found what is not there: {bad}"
        if len(bad) != 1 or words not in bad[0]:
            return f"wanted one violation with '{words}', got {bad}"
        return None


def main():
    failed = 0
    print(f"1..{len(CASES)}")
    for number, (rule, name, text, words) in enumerate(CASES, 1):
        said = run(rule, name, text, words)
        title = f"{rule}: {'accepts' if words is None else 'refuses'} {name} ({number})"
        if said == "skip":
            print(f"ok {number} - {title} # SKIP the compiler is not installed")
        elif said is None:
            print(f"ok {number} - {title}")
        else:
            failed += 1
            print(f"not ok {number} - {title}")
            print("# " + said.replace("\n", "\n# "))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
