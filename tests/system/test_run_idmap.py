# SPDX-License-Identifier: Apache-2.0
"""Containers with a user namespace of their own, whose root is nobody on this machine."""
import os
import pty
import signal
import struct
import subprocess

import pytest

import runkit
from lib import run

SHIFT = ["--uidmap", "0:100000:65536"]
# cap_net_raw=ep, as images have it: revision 2 of linux/capability.h
FILE_CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)


def furnished(t):
    t.directory("data", mode=0o750, uid=1000, gid=2000)
    t.add("data/seed", data=b"seed\n", uid=1000, gid=2000)
    t.add("data/far", data=b"", uid=70000, gid=70000)
    t.add("bin/busybox-able", data=open(runkit.BUSYBOX, "rb").read(), mode=0o755,
          xattrs={"security.capability": FILE_CAPABILITY})
    t.add("bin/mine", data=b"#!/bin/sh\necho mine\n", mode=0o500, uid=1000, gid=1000)


@pytest.fixture(scope="session")
def owned(tmp_path_factory):
    return runkit.image(tmp_path_factory.mktemp("owned") / "layout", {"Volumes": {"/data": {}}}, furnished)


def said(containers, image, line, *flags):
    return containers("sh", "-c", line, image=image, flags=[*SHIFT, *flags]).stdout


def test_ids(containers, owned):
    """Inside all looks as it does without; outside it belongs to nobody."""
    assert said(containers, owned, "cat /proc/self/uid_map /proc/self/gid_map").split() == [
        "0", "100000", "65536"] * 2
    places = "/ /bin/busybox /home/ana /etc /etc/hosts /etc/passwd /dev /tmp /data/seed /data/far"
    line = f"touch /new; stat -c '%n %u %g' {places} /new"
    lines = dict(entry.split(" ", 1) for entry in said(containers, owned, line).splitlines())
    assert lines.pop("/home/ana") == "1000 1000" and lines.pop("/data/seed") == "1000 2000"
    assert lines.pop("/data/far") == "65534 65534"
    assert set(lines.values()) == {"0 0"}, lines
    containers.run("--name", "kept", *SHIFT, owned, "sh", "-c", "echo x >/new; chown 1000:2000 /new")
    (identity,) = containers.remains()
    new = containers.sluice.store / "containers" / identity / "upper" / "new"
    assert (new.stat().st_uid, new.stat().st_gid) == (101000, 102000)


def test_users(containers, owned):
    assert said(containers, owned, "id", "-u", "ana") == (
        "uid=1000(ana) gid=1000(ana) groups=1000(ana),2000(extra)\n")
    assert said(containers, owned, "touch f /home/ana/f; stat -c '%n %u' f . /home/ana/f; echo no >/etc/no || pwd",
                "-u", "ana", "-w", "/work/new") == "f 1000\n. 1000\n/home/ana/f 1000\n/work/new\n"
    assert containers("/bin/mine", image=owned, flags=[*SHIFT, "-u", "ana"]).stdout == "mine\n"
    containers.refuses("--rm", *SHIFT, "-u", "1001", owned, "/bin/mine", status=126, part="/bin/mine")
    containers.refuses("--rm", *SHIFT, "-u", "70000", owned, "true", status=125, part="user 70000")


def test_two_maps(containers, owned):
    flags = ["--uidmap", "0:200000:1000", "--uidmap", "1000:5000:1", "--gidmap", "0:300000:3000"]
    line = "cat /proc/self/uid_map /proc/self/gid_map; stat -c '%u %g' /data/seed /bin/sh /home/ana"
    assert containers("sh", "-c", line, image=owned, flags=flags).stdout.split() == (
        "0 200000 1000 1000 5000 1 0 300000 3000 1000 2000 0 0 1000 1000").split()


def test_one_id(containers, owned):
    """No group for terminals, and nobody else."""
    flags = ["--uidmap", "0:100000:1"]
    line = "grep -c gid=5 /proc/mounts; stat -c '%u %g' /home/ana /bin/sh"
    assert containers("sh", "-c", line, image=owned, flags=flags).stdout == "0\n65534 65534\n0 0\n"


def test_exec(containers, owned):
    containers.run("-d", "--name", "box", *SHIFT, owned, "sleep", "1000")
    assert containers.verb("exec", "-u", "ana", "box", "id", "-u").stdout == "1000\n"
    assert containers.verb("exec", "-u", "ana", "box", "/bin/mine").stdout == "mine\n"
    assert containers.verb("exec", "box", "cat", "/proc/self/uid_map").stdout.split()[1] == "100000"
    containers.sluice.refuses("exec", "-u", "70000", "box", "true", words="user 70000", status=125)
    containers.verb("rm", "-f", "box")


def test_terminal(containers, owned):
    master, slave = pty.openpty()
    process = containers.start("--rm", "-it", *SHIFT, owned, "sh", "-c", "tty; echo typed >/dev/tty; exit 3",
                               stdin=slave, stdout=slave)
    os.close(slave)
    heard = b""
    while b"typed" not in heard:
        heard += os.read(master, 4096)
    assert process.wait(30) == 3 and b"/dev/pts/0" in heard
    os.close(master)


def test_capabilities_of_files(containers, owned):
    """They count for the container's root, as they do without a namespace for the machine's."""
    line = "busybox-able grep CapEff /proc/self/status; grep CapEff /proc/self/status"
    flags = ["-u", "ana", "--security-opt", "no-new-privileges=false"]
    able, plain = said(containers, owned, line, *flags).splitlines()
    assert int(able.split()[1], 16) == 1 << 13 and int(plain.split()[1], 16) == 0
    without = containers("sh", "-c", line, image=owned, flags=flags).stdout.splitlines()
    assert without == [able, plain]


def test_volumes(containers, owned):
    line = "stat -c '%a %u %g' /data; echo x >/data/new; cat /data/seed"
    assert said(containers, owned, line) == "750 1000 2000\nseed\n"
    assert said(containers, owned, line, "-v", "vol:/data") == "750 1000 2000\nseed\n"
    assert said(containers, owned, "stat -c '%u' /fresh; touch /fresh/x", "-v", "/fresh") == "0\n"
    held = containers.sluice.store / "volumes" / "vol" / "data"
    assert held.stat().st_uid == 101000 and (held / "new").stat().st_uid == 100000


def test_a_server_that_dies(containers, owned):
    """The next one shows the same ids."""
    containers.run("-d", "--name", "box", *SHIFT, owned, "sleep", "1000")
    found = run.marked_processes(os.environ[run.MARK])
    (server,) = [pid for pid, words in found if b"serve" in words.split()[1:8]]
    os.kill(server, signal.SIGKILL)
    assert containers.verb("exec", "box", "stat", "-c", "%u %g", "/etc/notes", "/home/ana").stdout == (
        "0 0\n1000 1000\n")
    containers.verb("rm", "-f", "box")


@pytest.mark.parametrize("flags", [["--network", "host"], ["--pid", "host"], ["--ipc", "host"],
                                   ["--read-only"], ["--init"], ["--cap-drop", "ALL"],
                                   ["--device", "/dev/fuse"], ["--tmpfs", "/t"], ["--shm-size", "1m"]],
                         ids=lambda f: f[0])
def test_with_other_flags(containers, owned, flags):
    assert containers("cat", "/etc/notes", image=owned, flags=[*SHIFT, *flags]).stdout == "not a program\n"


def test_a_namespace_by_path(containers, owned):
    """Of the machine's, whose sysfs a user namespace of the container's may not mount."""
    with subprocess.Popen(["unshare", "--net", "sleep", "1000"]) as holder:
        try:
            run.wait_until(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != os.readlink("/proc/self/ns/net"),
                           10, "a network namespace")
            flags = ["--network", f"ns:/proc/{holder.pid}/ns/net"]
            assert said(containers, owned, "ls /sys | grep -c .", *flags) != "0\n"
        finally:
            holder.kill()


def test_a_directory(containers, tmp_path):
    """Nothing shows its files otherwise; what is made in it is the container's."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin/sh").write_bytes(open(runkit.BUSYBOX, "rb").read())
    for place in (root, root / "bin", root / "bin/sh"):
        os.chown(place, 100000, 100000)
        place.chmod(0o755)
    (root / "bin/stat").symlink_to("sh")
    (root / "bin/busybox").symlink_to("sh")
    done = containers.run("--rm", *SHIFT, "--rootfs", root, "busybox", "stat", "-c", "%u", "/", "/bin/sh", "/etc")
    assert done.stdout == "0\n0\n0\n"


@pytest.mark.parametrize("flags, part", [
    (["--uidmap", "1:100000:10"], "nobody is the container's root"),
    (["--uidmap", "0:100000:10", "--gidmap", "5:100000:10"], "nobody is the container's root"),
    ([word for i in range(341) for word in ("--uidmap", f"{i}:{100000 + i}:1")], "340 ranges at most"),
    ([*SHIFT, "--fs", "erofs"], "--fs=erofs shows no other ids"),
], ids=["no root", "no group of root", "many", "erofs"])
def test_refusals(any_runtime, flags, part):
    any_runtime.refuses("--rm", *flags, any_runtime.small, "true", status=125, part=part)
    assert any_runtime.remains() == []
