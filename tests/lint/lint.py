#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks this tree against every rule of rules.py and says so in TAP, one test a rule."""
import sys

import rules


def main():
    root = rules.tree_root()
    failed = 0
    print(f"1..{len(rules.RULES)}")
    for number, (name, rule) in enumerate(rules.RULES.items(), 1):
        bad = rule(root)
        if bad is None:
            print(f"ok {number} - {name} # SKIP the compiler is not installed")
            continue
        failed += bool(bad)
        print(f"{'not ok' if bad else 'ok'} {number} - {name}")
        for sentence in bad:
            for line in sentence.split("\n"):
                print(f"# {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
