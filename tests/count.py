#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Counts tests: prints "PASSED FAILED SKIPPED" for one results file.

    count.py meson testlog.json     meson's log; a test that speaks TAP counts by its points
    count.py pytest results.xml     pytest's --junitxml

A test that meson calls bad counts as a failure even when all of its points are good: it
crashed, ran out of time, or stopped short of its plan.
"""
import json
import re
import sys
import xml.etree.ElementTree as ET

PLAN = re.compile(r"^1\.\.(\d+)", re.M)
POINT = re.compile(r"^(ok|not ok)\b(?:[^#\n]*#\s*(skip|todo))?", re.M | re.I)
GOOD = ("OK", "EXPECTEDFAIL")


def count_points(stdout):
    passed = failed = skipped = 0
    for verdict, directive in POINT.findall(stdout):
        if directive.lower() == "skip":
            skipped += 1
        elif verdict == "ok":
            passed += 1
        else:
            failed += 1
    return passed, failed, skipped


def count_test(entry):
    """One test of meson's."""
    result, stdout = entry["result"], entry.get("stdout", "")
    if PLAN.search(stdout) and POINT.search(stdout):
        passed, failed, skipped = count_points(stdout)
        if result not in GOOD + ("SKIP",) and not failed:
            failed = 1
        return passed, failed, skipped
    if result == "SKIP":
        return 0, 0, 1
    return (1, 0, 0) if result in GOOD else (0, 1, 0)


def count_meson(path):
    with open(path, encoding="utf-8", errors="replace") as log:
        counts = [count_test(json.loads(line)) for line in log if line.strip()]
    return tuple(map(sum, zip(*counts))) if counts else (0, 0, 0)


def count_pytest(path):
    root = ET.parse(path).getroot()
    suites = [root] if root.tag == "testsuite" else root.findall("testsuite")
    tests, bad, skipped = 0, 0, 0
    for suite in suites:
        tests += int(suite.get("tests", 0))
        bad += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return max(tests - bad - skipped, 0), bad, skipped


def main():
    kind, path = sys.argv[1:]
    print(*{"meson": count_meson, "pytest": count_pytest}[kind](path))


if __name__ == "__main__":
    main()
