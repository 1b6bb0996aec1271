# SPDX-License-Identifier: Apache-2.0
"""Bundles that we make, run by crun and runc: the image may be as hostile as it likes.

Each image is a directory below an overlay, as `run` has it. Some directory of the host, to
which the image's symlinks lead, is read before and after: nothing in it may change.
"""
import json
import os
import shutil
import subprocess
import uuid

import pytest

import erofskit as kit
from lib import run

BUNDLECTL = kit.mktree_path().with_name("bundlectl")
RUNTIMES = ["crun", "runc"]

MISSING = [name for name in ("busybox", *RUNTIMES) if not shutil.which(name)]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}")

# crun 1.8 refuses hosts with hybrid cgroups; in a mount namespace of its own it sees none.
WITHOUT_HYBRID = "mountpoint -q /sys/fs/cgroup/unified && umount /sys/fs/cgroup/unified; exec \"$@\""


def snapshot(directory):
    """All that is in a directory, and when it changed."""
    found = []
    for path in sorted([directory, *directory.rglob("*")]):
        st = path.lstat()
        found.append((str(path), st.st_mode, st.st_uid, st.st_size, st.st_mtime_ns, st.st_ctime_ns))
    return found


class Rig:
    def __init__(self, place):
        self.place, self.fs = place, place / "fs"
        self.fs.mkdir()
        run.run("mount", "-t", "tmpfs", "tmpfs", self.fs)
        self.lower, self.root, self.bundle = self.fs / "lower", self.fs / "root", self.fs / "bundle"
        self.host, self.volume = self.fs / "host", self.fs / "volume"
        for name in ("lower", "root", "bundle", "host", "volume", "upper", "work"):
            (self.fs / name).mkdir()
        for name in ("shm", "pts", "x"):
            (self.host / name).mkdir()
        (self.host / "hostname").write_text("the host's\n")
        (self.host / "null").write_text("kept\n")
        (self.volume / "file").write_text("volume\n")
        (self.lower / "bin").mkdir()
        shutil.copy(shutil.which("busybox"), self.lower / "bin/busybox")
        (self.lower / "bin/sh").symlink_to("busybox")
        self.config = {}

    def etc(self):
        (self.lower / "etc").mkdir()
        (self.lower / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:7:8::/app:/bin/sh\n")
        (self.lower / "etc/group").write_text("app:x:8:\nextra:x:9:app\n")

    def make(self, *command, check=True):
        (self.fs / "image.json").write_text(json.dumps({"config": self.config}))
        run.run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={self.lower},"
                f"upperdir={self.fs / 'upper'},workdir={self.fs / 'work'}", self.root)
        return run.run(BUNDLECTL, self.fs / "image.json", self.root, self.bundle, self.volume,
                       *command, check=check)

    def start(self, runtime):
        command = [runtime, "--root", self.fs / "state", "run", "--bundle", self.bundle,
                   f"sluice-test-{uuid.uuid4().hex[:12]}"]
        if runtime == "crun":
            command = ["unshare", "-m", "sh", "-c", WITHOUT_HYBRID, "sh", *command]
        return run.run(*command, stdin=subprocess.DEVNULL).stdout

    def finish(self):
        if os.path.ismount(self.root):
            run.run("umount", self.root)
        run.run("umount", self.fs)


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path)
    yield made
    made.finish()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_usual(rig, runtime):
    rig.etc()
    rig.config = {"User": "app", "WorkingDir": "/app/new", "Env": ["A=1"], "Volumes": {"/data": {}}}
    (rig.lower / "data").mkdir()
    (rig.lower / "data/seed").write_text("seed\n")
    rig.make("sh", "-c", "busybox id -u; busybox id -g; busybox id -G; pwd; cd /; echo $A $HOME $PATH;"
             "busybox hostname; busybox cat /etc/hostname /data/seed /srv/volume/file;"
             "busybox stat -c '%a %u' /app/new /tmp; busybox stat -c %a /dev/null; busybox grep Cap /proc/self/status")
    assert rig.start(runtime).split() == [
        "7", "8", "8", "9", "/app/new", "1", "/app",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "box", "box", "seed", "volume",
        "755", "7", "1777", "0", "666",
        "CapInh:", "0" * 16, "CapPrm:", "0" * 16, "CapEff:", "0" * 16,
        "CapBnd:", "00000000a80425fb", "CapAmb:", "0" * 16]


# What is a symlink to the host's directory, and how to get there.
LINKS = ["dev", "proc", "sys", "etc", "tmp", "work", "srv"]
HOSTILE = [(link, "absolute") for link in LINKS] + [("all", "absolute"), ("all", "relative")]


@pytest.mark.parametrize("link, target", HOSTILE)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_hostile(rig, runtime, link, target):
    names = LINKS if link == "all" else [link]
    for name in names:
        to = rig.host if target == "absolute" else "../../host"
        (rig.lower / name).symlink_to(to)
    if "etc" not in names:
        rig.etc()
    rig.config = {"WorkingDir": "/work/x"}
    before = snapshot(rig.host)
    rig.make("sh", "-c", "pwd; busybox cat /etc/hostname /srv/volume/file; busybox ls -d /dev/null;"
             "echo x > ../new; echo x > /dev/shm/new; echo x > /tmp/new; echo x > /etc/new")
    words = rig.start(runtime).split()
    assert words[0].endswith("/x")
    assert words[1:] == ["box", "volume", "/dev/null"]
    assert snapshot(rig.host) == before


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_generated_links(rig, runtime):
    """What an image's /etc/hostname points at is not what we mount our own on."""
    rig.etc()
    (rig.lower / "etc/hostname").symlink_to(rig.host / "hostname")
    (rig.lower / "etc/hosts").symlink_to("/proc/sys/kernel/hostname")
    (rig.lower / "etc/resolv.conf").symlink_to("../../../null")
    before = snapshot(rig.host)
    rig.make("sh", "-c", "busybox cat /etc/hostname; busybox head -n 1 /etc/hosts")
    assert rig.start(runtime).split() == ["box", "127.0.0.1", "localhost"]
    assert snapshot(rig.host) == before


@pytest.mark.parametrize("config, command, status, words", [
    ({"User": "nobody"}, ["sh"], 125, "there is no user 'nobody' in the image's /etc/passwd"),
    ({"User": "4294967296"}, ["sh"], 125, "is past the largest id"),
    ({"WorkingDir": "/proc/self/fd/7"}, ["sh"], 125, "leads into /proc"),
    ({"Volumes": {"/proc": {}}}, ["sh"], 125, "the image wants a volume at '/proc'"),
    ({}, [], 125, "the image names no command"),
    ({}, ["none"], 127, "there is no command 'none'"),
    ({}, ["/etc/passwd"], 126, "the command '/etc/passwd' is not executable"),
    ({}, ["/etc"], 126, "the command '/etc' is a directory"),
])
def test_refused(rig, config, command, status, words):
    rig.etc()
    rig.config = config
    result = rig.make(*command, check=False)
    assert (result.returncode, result.stderr.count("\n")) == (status, 1), result.stderr
    assert words in result.stderr
    assert not (rig.bundle / "config.json").exists()
