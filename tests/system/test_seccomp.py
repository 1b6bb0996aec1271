# SPDX-License-Identifier: Apache-2.0
"""Seccomp profiles on the command line: what is wrong with them, what they do, how they differ."""
import json
import platform
import subprocess
from pathlib import Path

import pytest

from conftest import PROGRAM

DENY = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
    {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
    {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
     "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
    {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}}]}

only_amd64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers are amd64's")


def seccomp(*arguments):
    """Status, standard output and standard error."""
    result = subprocess.run([PROGRAM, "seccomp", *arguments], capture_output=True, text=True,
                            timeout=60)
    return result.returncode, result.stdout, result.stderr


@pytest.fixture
def profile(tmp_path):
    def write(text, name="profile.json"):
        path = tmp_path / name
        path.write_text(text if isinstance(text, str) else json.dumps(text, indent=1))
        return str(path)
    return write


def test_check(profile):
    status, said, wrong = seccomp("check", profile(DENY), "--native-only")
    assert (status, wrong) == (0, "")
    assert ": 3 rules, else EPERM; " in said
    assert seccomp("check", profile("{}"))[1].endswith("profile.json: empty: no filter at all\n")
    assert "rules, else ENOSYS; " in seccomp("check")[1]


@pytest.mark.parametrize("text, words", [
    ('{"defaultAction":\n"SCMP_ACT_NO"}', "line 2, column 1: /defaultAction: 'SCMP_ACT_NO' is no action"),
    ('{"defaultAction": "SCMP_ACT_ALLOW",\n\n }', "line 3, column 2: string or '}' expected near '}'"),
    ('{"defaultAction": "SCMP_ACT_ALLOW",\n "syscall": []}',
     "line 2, column 13: /syscall: a profile has no such key"),
    ('{"defaultAction": "SCMP_ACT_NOTIFY", "syscalls":\n[{"name": "x", "names": ["y"]}]}',
     'line 2, column 11: /syscalls/0/name: "name" and "names" exclude each other')])
def test_broken(profile, text, words):
    path = profile(text)
    status, said, wrong = seccomp("check", path)
    assert (status, said, wrong) == (1, "", f"sluice seccomp: {path}: {words}\n")


def test_odd(profile):
    path = profile({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["open", "opne"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["open"], "action": "SCMP_ACT_KILL"},
        {"names": ["kill"], "action": "SCMP_ACT_KILL",
         "args": [{"index": 0, "value": 5, "op": "SCMP_CMP_LT"}]},
        {"names": ["kill"], "action": "SCMP_ACT_ERRNO",
         "args": [{"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]}]})
    status, said, wrong = seccomp("check", path, "--format", "json")
    assert (status, wrong) == (0, "")
    findings = [finding.split(": ", 1)[1] for finding in json.loads(said)["findings"]]
    assert [finding.rsplit(" ", 1)[0] for finding in findings] == [
        "opne: libseccomp knows no such system call; the rule is left",
        "open: never counts: without conditions decides line",
        "kill: can hold at once with, and contradicts, line"]
    status, _, wrong = seccomp("check", path, "--strict")
    assert status == 1
    assert wrong.endswith("profile.json: 3 things are odd\n")


@only_amd64
def test_explain(profile):
    path = profile(DENY)
    lines = Path(path).read_text().split("\n")

    def line_of(word):
        at = next(i for i, line in enumerate(lines) if f'"{word}"' in line)
        return max(i for i in range(at) if lines[i] == "  {") + 1

    def verdict(*arguments):
        status, said, wrong = seccomp("explain", *arguments, "--profile", path, "--native-only",
                                      "--format", "json")
        assert (status, wrong) == (0, "")
        [told] = json.loads(said)
        return told["verdict"], told["number"], told.get("line")

    assert verdict("read") == ("allow", 0, line_of("read"))
    assert verdict("open") == ("EPERM", 2, None)
    assert verdict("socket", "--arg", "0=1") == ("allow", 41, line_of("socket"))
    assert verdict("socket", "--arg", "0=0x2") == ("EPERM", 41, None)
    assert verdict("mount") == ("EPERM", 165, None)
    assert verdict("mount", "--cap", "all") == ("allow", 165, line_of("mount"))
    assert verdict("mount", "--cap", "sys_admin") == ("allow", 165, line_of("mount"))
    said = seccomp("explain", "mount", "--profile", path)[1]
    assert "SCMP_ARCH_X86_64 mount (165): EPERM\n  the default of the profile: no rule applies" in said
    assert f"  line {line_of('mount')} would say allow, with CAP_SYS_ADMIN\n" in said


def test_explain_of_another_architecture():
    said = seccomp("explain", "mount", "--arch", "s390x", "--cap", "none")[1]
    assert "SCMP_ARCH_S390X  mount (21): EPERM\n" in said
    assert "SCMP_ARCH_S390   mount (21): EPERM\n" in said


@pytest.mark.parametrize("arguments, words", [
    (("explain", "opne"), "libseccomp knows no system call 'opne'"),
    (("explain", "open", "--arg", "6=1"), "'--arg 6=1' is not N=VALUE with N from 0 to 5"),
    (("explain", "open", "--arg", "0=x"), "'--arg 0=x': the value is not a number"),
    (("explain", "open", "--cap", "root"), "there is no capability 'root'"),
    (("explain", "open", "--arch", "z80"), "there is no architecture 'z80'"),
    (("explain",), "it is 'seccomp check [FILE…]', 'explain SYSCALL'"),
    (("record",), "it is 'seccomp check [FILE…]', 'explain SYSCALL'"),
    (("forget",), "it is 'seccomp check [FILE…]', 'explain SYSCALL'")])
def test_misuse(arguments, words):
    status, said, wrong = seccomp(*arguments)
    assert (status, said) == (2, "")
    assert wrong.startswith(f"sluice seccomp: {words}")


def test_diff(profile):
    a = profile(DENY, "a.json")
    changed = json.loads(json.dumps(DENY))
    changed["syscalls"][0]["names"] = ["read"]
    changed["syscalls"][1]["args"][0]["value"] = 2
    changed["syscalls"].pop()
    b = profile(changed, "b.json")
    assert seccomp("diff", a, a, "--native-only") == (0, "", "")
    status, said, wrong = seccomp("diff", a, b, "--native-only", "--arch", "amd64")
    assert (status, wrong) == (0, "")
    assert [line.split() for line in said.splitlines()] == [
        ["write", "X86_64", "allow", "EPERM"],
        ["socket", "X86_64", "allow", "EPERM", "arg0=1"],
        ["mount", "X86_64", "allow", "EPERM", "with", "CAP_SYS_ADMIN"]]


def test_default_is_a_profile_like_any_other(profile):
    status, text, wrong = seccomp("default")
    assert (status, wrong) == (0, "")
    path = profile(text)
    assert json.loads(text)["defaultAction"] == "SCMP_ACT_ERRNO"
    assert seccomp("diff", "default", path, "--native-only") == (0, "", "")
