# SPDX-License-Identifier: Apache-2.0
"""Devices by the Container Device Interface: made-up files, real nodes."""
import json
import os

import pytest

from lib import run

YAML = """---
cdiVersion: 0.5.0
kind: test.example/node
devices:
- name: fuse
  containerEdits:
    deviceNodes:
    - path: /dev/fuse
    - {path: /dev/nodes/nothing, hostPath: /dev/null, permissions: rw, fileMode: 0644}
- name: "1"
  containerEdits:
    env: [ONE=1]
"""


@pytest.fixture
def cdi(tmp_path):
    """A directory for CDI files, and the flag for it; cdi(name, kind, devices, edits) adds one."""
    place = tmp_path / "cdi"
    place.mkdir()

    def add(name, kind, devices, edits=None, version="0.7.0"):
        (place / name).write_text(json.dumps({
            "cdiVersion": version, "kind": kind, "containerEdits": edits or {},
            "devices": [{"name": d, "containerEdits": e} for d, e in devices.items()]}))
    add.place = place
    add.flags = ["--cdi-spec-dir", str(place)]
    return add


def test_all_edits(containers, cdi, tmp_path):
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "file").write_text("from the host\n")
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\necho \"$@\" \"$WHY\" >>{tmp_path}/hooked\n")
    hook.chmod(0o755)
    cdi("test.json", "test.example/gpu", {
        "all": {"env": ["FROM=device", "MORE=1"],
                "deviceNodes": [{"path": "/dev/made/up", "hostPath": "/dev/null"}]},
    }, {"env": ["FROM=file", "FILE=1"], "additionalGids": [0, 4711],
        "mounts": [{"hostPath": str(shown), "containerPath": "/opt/shown",
                    "options": ["ro", "nosuid", "nodev", "bind"]}],
        "hooks": [{"hookName": "createRuntime", "path": str(hook), "args": ["hook", "began"],
                   "env": ["WHY=cdi"]},
                  {"hookName": "poststop", "path": str(hook), "args": ["hook", "ended"]}]})
    script = ("echo $FROM $FILE $MORE; cat /opt/shown/file; echo x >/dev/made/up && echo wrote; "
              "stat -c '%F %t:%T' /dev/made/up; id -G; touch /opt/shown/new")
    said = containers("sh", "-c", script, flags=[*cdi.flags, "--gpus", "all"], check=False)
    assert said.stdout.splitlines() == [
        "device 1 1", "from the host", "wrote", "character special file 1:3", "0 4711"]
    assert "Read-only file system" in said.stderr
    # The last one runs when the container is deleted, which `run` does not wait for.
    hooked = run.wait_until(
        lambda: [h for h in [(tmp_path / "hooked").read_text().splitlines()] if len(h) == 2], 15,
        "the hooks to run")
    assert hooked == [["began cdi", "ended "]]


def test_yaml(containers, cdi):
    (cdi.place / "test.yaml").write_text(YAML)
    script = "stat -c '%F %t:%T' /dev/fuse; stat -c '%a %t:%T' /dev/nodes/nothing; echo $ONE"
    flags = [*cdi.flags, "--device", "test.example/node=fuse", "--device", "test.example/node=1"]
    number = os.stat("/dev/fuse").st_rdev
    assert containers("sh", "-c", script, flags=flags).stdout.splitlines() == [
        f"character special file {os.major(number):x}:{os.minor(number):x}", "644 1:3", "1"]


def test_only_what_was_asked_for(containers, cdi):
    """Neither the image's variables nor a file that is merely there give a device."""
    cdi("test.json", "nvidia.com/gpu", {"all": {"env": ["GPU=1"]}}, {"env": ["FILE=1"]})
    said = containers("env", flags=[*cdi.flags, "-e", "NVIDIA_VISIBLE_DEVICES=all"]).stdout
    assert "GPU=1" not in said and "FILE=1" not in said


def test_cgroup_rule(containers, cdi):
    """A node works where a rule comes with it, and nowhere else."""
    (cdi.place / "test.yaml").write_text(YAML)
    number = os.stat("/dev/fuse").st_rdev
    script = f"busybox mknod /dev/f c {os.major(number)} {os.minor(number)} && : </dev/f && echo opened"
    flags = [*cdi.flags, "--device", "test.example/node=fuse"]
    assert containers("sh", "-c", script, flags=flags).stdout == "opened\n"
    said = containers("sh", "-c", script, check=False)
    assert said.returncode != 0 and "Operation not permitted" in said.stderr


def test_gpus(containers, cdi):
    cdi("test.json", "test.example/gpu", {n: {"env": [f"GPU{n}=1"]} for n in ("0", "1", "2")})
    def seen(value):
        said = containers("env", flags=[*cdi.flags, "--gpus", value]).stdout
        return sorted(line for line in said.splitlines() if line.startswith("GPU"))
    assert seen("2") == ["GPU0=1", "GPU1=1"]
    assert seen("device=2,0") == seen("\"device=0,2\"") == ["GPU0=1", "GPU2=1"]


def test_priority(containers, cdi, tmp_path):
    later = tmp_path / "later"
    later.mkdir()
    cdi("test.json", "test.example/a", {"d": {"env": ["FROM=first"]}})
    (later / "test.json").write_text((cdi.place / "test.json").read_text().replace("first", "later"))
    flags = [*cdi.flags, "--cdi-spec-dir", str(later), "--device", "test.example/a=d"]
    assert "FROM=later\n" in containers("env", flags=flags).stdout


def test_refused(containers, cdi):
    def refuses(*flags, part):
        containers.refuses("--rm", *cdi.flags, *flags, containers.small, "true", status=125, part=part)
    device = ["--device", "test.example/a=d"]
    refuses(*device, part=f"there is no CDI device test.example/a=d: no file is of the kind "
                          f"test.example/a; searched {cdi.place}")
    refuses("--gpus", "all", part="--gpus all: no CDI file is of the kind nvidia.com/gpu")
    refuses("--gpus", "some", part="--gpus does not take 'some'")
    cdi("a.json", "test.example/a", {"d": {"mount": []}})
    refuses(*device, part="a.json: /devices/0/containerEdits/mount: is nothing that CDI knows")
    cdi("a.json", "test.example/a", {"d": {"deviceNodes": [{"path": "/dev/not-here"}]}})
    refuses(*device, part="/dev/not-here: No such file or directory")
    cdi("a.json", "test.example/a", {"d": {"mounts": [
        {"hostPath": "/not/here", "containerPath": "/x"}]}})
    refuses(*device, part="/not/here")
    cdi("b.json", "test.example/a", {"d": {"env": ["A=1"]}})
    refuses(*device, part=f"the CDI device test.example/a=d is in both {cdi.place}/a.json and")
    assert not containers.remains()


def test_dry_run(containers, cdi):
    cdi("a.json", "test.example/a", {"d": {"deviceNodes": [
        {"path": "/dev/x", "hostPath": "/dev/null", "permissions": "r"}]}})
    config = json.loads(containers.run("--dry-run", *cdi.flags, "--device", "test.example/a=d",
                                       containers.small, "true").stdout)
    (device,) = [d for d in config["linux"]["devices"] if d["path"] == "/dev/x"]
    assert (device["type"], device["major"], device["minor"]) == ("c", 1, 3)
    assert {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"} \
        in config["linux"]["resources"]["devices"]


def test_default_directories(containers):
    """Those of the specification are searched, whether they are there or not."""
    result = run.run(containers.program, "run", "--device", "test.example/nonesuch=d",
                     containers.small, "true", check=False,
                     env={**os.environ, **containers.environment})
    assert result.returncode == 125
    assert "searched /etc/cdi and /var/run/cdi" in result.stderr
