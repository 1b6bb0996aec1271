# SPDX-License-Identifier: Apache-2.0
"""Seccomp in containers, on both runtimes: what applies to them, and what is recorded of them."""
import json
import os
import platform

import pytest

from lib import run

SHOW = ("grep", "^Seccomp:", "/proc/self/status")
SCRIPT = ("sh", "-c", "mkdir /tmp/x && cat /etc/passwd | wc -l; hostname; exit 3")


def record(containers, *words, check=True, flags=()):
    return containers.verb("seccomp", "record", "--runtime", containers.runtime, *flags, "--",
                           *words, check=check)


def mode(containers, *flags):
    """That of seccomp in a container: 0, none; 2, a filter."""
    return containers(*SHOW, flags=flags).stdout.split()


def profile(tmp_path, document):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(document))
    return ["--security-opt", f"seccomp={path}"]


def test_who_gets_a_filter(containers, tmp_path):
    assert mode(containers) == ["Seccomp:", "2"]
    assert mode(containers, "--security-opt", "seccomp=unconfined") == ["Seccomp:", "0"]
    assert mode(containers, *profile(tmp_path, {})) == ["Seccomp:", "0"]
    assert mode(containers, *profile(tmp_path, {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}]})) == ["Seccomp:", "2"]


def test_rules_of_a_profile(containers, tmp_path):
    """Errors and conditions arrive as they are written, and for a capability only."""
    flags = profile(tmp_path, {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errno": "EXDEV",
         "excludes": {"caps": ["CAP_NET_ADMIN"]}},
        {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28,
         "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]}]})
    said = containers("mkdir", "/tmp/x", flags=flags, check=False)
    assert said.returncode == 1 and "Invalid cross-device link" in said.stderr
    containers("mkdir", "/tmp/x", flags=[*flags, "--cap-add", "NET_ADMIN"])
    said = containers("sh", "-c", "kill -0 $$ && kill -USR1 $$", flags=flags, check=False)
    assert said.returncode == 1 and "No space left on device" in said.stderr


def test_default_profile(containers):
    """What the capability opens for the kernel it opens in the profile, too."""
    said = containers("mount", "-t", "tmpfs", "none", "/tmp", check=False)
    assert said.returncode == 1 and "permission denied" in said.stderr
    containers("mount", "-t", "tmpfs", "none", "/tmp", flags=["--cap-add", "SYS_ADMIN"])


def test_broken_profile(containers, tmp_path):
    path = tmp_path / "profile.json"
    path.write_text('{"defaultAction": "SCMP_ACT_ALLOW",\n "syscalls": [{"names": ["x"]}]}')
    containers.refuses("--security-opt", f"seccomp={path}", containers.small, "true", status=125,
                       part=f'{path}: line 2, column 15: /syscalls/0: "action" is missing')
    containers.refuses("--security-opt", f"seccomp={tmp_path}/none", containers.small, "true",
                       status=125, part=f"seccomp profile {tmp_path}/none: open")
    assert not containers.remains()


def test_record(containers, tmp_path):
    """With what was recorded the command does the same, and nothing else."""
    said = record(containers, containers.small, *SCRIPT, check=False)
    assert said.returncode == 3
    recorded = json.loads(said.stdout)
    [rule] = recorded["syscalls"]
    assert recorded["defaultAction"] == "SCMP_ACT_ERRNO" and rule["action"] == "SCMP_ACT_ALLOW"
    assert {"execve", "exit_group", "uname"} <= set(rule["names"])
    assert not {"mount", "symlink", "symlinkat", "ptrace"} & set(rule["names"])
    flags = profile(tmp_path, recorded)
    again = containers(*SCRIPT, flags=[*flags, "--hostname", "here"], check=False)
    assert (again.stdout, again.returncode) == ("2\nhere\n", 3)
    assert containers("id", "-u").stdout == "0\n" != containers("id", "-u", flags=flags).stdout
    rule["names"] = [name for name in rule["names"] if not name.startswith("mkdir")]
    less = containers(*SCRIPT, flags=profile(tmp_path, recorded), check=False)
    assert "2\n" not in less.stdout and "Function not implemented" in less.stderr


def test_record_into_a_file(containers, tmp_path):
    out = tmp_path / "ls.json"
    said = record(containers, containers.small, "ls", "-l", "/etc/notes", flags=["--output", out])
    assert said.stdout == "" and "/etc/notes" in said.stderr
    assert "mkdir" not in json.loads(out.read_text())["syscalls"][0]["names"]
    assert run.run(containers.program, "seccomp", "check", "--strict", out).returncode == 0


def test_record_what_does_not_run(containers, tmp_path):
    out = tmp_path / "none.json"
    for words, status in (((containers.small, "nonesuch"), 127), (("oci:/nonesuch",), 125)):
        said = record(containers, *words, check=False, flags=["--output", out])
        assert (said.returncode, said.stdout) == (status, "")
        assert said.stderr.startswith("sluice run: ")
    assert not os.path.exists(out)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are amd64's")
def test_filter_is_the_compiled_one(containers):
    """crun loads what was compiled and tried, byte for byte; runc compiles the same rules."""
    config = json.loads(containers.run("--dry-run", containers.small, "true").stdout)
    annotation = config.get("annotations", {}).get("run.oci.seccomp_bpf_data")
    assert (annotation is not None) == (containers.runtime == "crun")
    assert config["linux"]["seccomp"]["architectures"] == ["SCMP_ARCH_X86_64"]
