# SPDX-License-Identifier: Apache-2.0
"""Containers whose image is wholly in the store: the kernel mounts it, and a pin keeps it there."""
import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

import runkit
from lib import run
from test_run_hard import TRAP, monitor_of, until_ready

MOUNTS = Path("/sys/fs/erofs")
BIG = 3 << 20


def kernel_mounts():
    return {p.name for p in MOUNTS.iterdir()} - {"features"}


def check_clean(containers, before):
    assert containers.remains() == [] and containers.pins() == []
    assert not run.mounts_below(containers.sluice.store)
    run.wait_until(lambda: not kernel_mounts() - before, 10, "the kernel's mounts to end")


@pytest.fixture(autouse=True)
def erofs():
    if not MOUNTS.exists() or tuple(map(int, os.uname().release.split(".")[:2])) < (6, 12):
        pytest.skip("the kernel mounts no EROFS from files")


@pytest.fixture(name="big")
def _big(tmp_path):
    """An image with a file whose bytes are in the way of every eviction; (IMAGE, its bytes)."""
    data = os.urandom(BIG)
    return runkit.image(tmp_path / "big", change=lambda t: t.add("var/big", data=data)), data


def evict(containers):
    """Evicts all that may go: everything that a start of the store's would, and more."""
    containers.sluice("gc", "--all", "--min-age", "1ms", "--budget", "1")


def test_no_process_serves_it(containers):
    before = kernel_mounts()
    containers("true")
    identity = containers.detached("sh", "-c", TRAP, flags=["--name", "c"])
    until_ready(containers, "c")
    assert containers.mounts() == [] and containers.pins() == [identity]
    assert kernel_mounts() - before
    assert containers.verb("exec", "c", "cat", "/etc/notes").stdout == "not a program\n"
    containers.verb("exec", "c", "sh", "-c", "echo changed > /etc/notes")
    assert containers.verb("exec", "c", "cat", "/etc/notes").stdout == "changed\n"
    containers.verb("stop", "c")
    assert containers.pins() == []
    assert containers("cat", "/etc/notes").stdout == "not a program\n"
    containers.verb("rm", "c")
    check_clean(containers, before)


@pytest.mark.parametrize("kind, served", [("auto", False), ("erofs", False), ("fuse", True)])
def test_fs(containers, kind, served):
    containers("true")
    containers.detached("sh", "-c", TRAP, flags=["--rm", "--name", "c", "--fs", kind])
    until_ready(containers, "c")
    assert bool(containers.mounts()) == served and bool(containers.pins()) != served
    containers.verb("rm", "-f", "c")


def test_fs_that_is_none(any_runtime):
    any_runtime.refuses("--fs", "ext4", any_runtime.small, "true", status=125,
                        part="--fs does not take 'ext4': it wants fuse, erofs or auto")


@pytest.mark.parametrize("kind, erofs", [("auto", True), ("erofs", True), ("fuse", False)])
def test_served_until_all_is_checked(containers, kind, erofs):
    """An image with spans of an earlier boot is served, which checks what is read."""
    containers.pull_all_but_checked(containers.small)
    containers.detached("sh", "-c", TRAP, flags=["--rm", "--name", "c", "--fs", kind])
    until_ready(containers, "c")
    (entry,) = containers.mounts()
    assert entry["fs"] == ("erofs" if erofs else "fuse")
    assert containers.pins() == []
    containers.verb("rm", "-f", "c")
    run.wait_until(lambda: not containers.mounts(), 10, "the mount's processes to end")


def sum_in(containers, name):
    return containers.verb("exec", name, "busybox", "sha256sum", "/var/big").stdout.split()[0]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def drop_caches():
    Path("/proc/sys/vm/drop_caches").write_text("3\n")


def test_eviction_and_gc_leave_it(containers, big):
    image, data = big
    containers.sluice("pull", image)
    identity = containers.run("-d", "--name", "c", image, "sh", "-c", TRAP).stdout.strip()
    until_ready(containers, "c")
    assert containers.pins() == [identity]
    evict(containers)
    drop_caches()
    assert sum_in(containers, "c") == sha256(data)
    assert containers.pins() == [identity]
    containers.verb("rm", "-f", "c")
    assert containers.pins() == []
    evict(containers)
    assert list((containers.sluice.store / "layers").iterdir()) == []


@pytest.mark.parametrize("clear", [("rm", "-f", "c"), ("gc",)])
def test_monitor_is_killed(containers, clear):
    """The pin is the mount's and not the monitor's."""
    before = kernel_mounts()
    containers("true")
    identity = containers.detached("sh", "-c", TRAP, flags=["--name", "c"])
    until_ready(containers, "c")
    os.kill(monitor_of(identity), signal.SIGKILL)
    run.wait_until(lambda: containers.status("c") == "dead", 10, "the monitor to be missed")
    rootfs = containers.sluice.store / "containers" / identity / "rootfs"
    assert (rootfs / "etc/notes").read_text() == "not a program\n"
    assert containers.pins() == [identity]
    containers.verb(*clear)
    assert containers.pins() == []
    containers.verb("rm", "-f", "c", check=False)
    check_clean(containers, before)


def test_held_by_another_mount_namespace(containers, big):
    """Where a copy of the mount is, it is still the kernel's: the pin goes with the last one."""
    image, data = big
    before = kernel_mounts()
    containers.sluice("pull", image)
    identity = containers.run("-d", "--name", "c", image, "sh", "-c", TRAP).stdout.strip()
    until_ready(containers, "c")
    rootfs = containers.sluice.store / "containers" / identity / "rootfs"
    other = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                              "cd $0/var && echo there && read _ && sha256sum big", rootfs],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "there\n"
        containers.verb("stop", "c")
        assert containers.pins() == [f"{identity}.shared"]  # it is not this container's alone now
        evict(containers)
        drop_caches()
        said, _ = other.communicate("\n", timeout=30)
    finally:
        other.kill()
        other.wait()
    assert said == f"{sha256(data)}  big\n"
    containers.verb("rm", "c")
    containers.sluice("gc")
    check_clean(containers, before)


def test_reboot(containers):
    """What names another boot keeps nothing."""
    containers("true")
    pins = containers.sluice.store / "pins"
    (pins / ("0" * 64)).write_text("boot 00000000-0000-0000-0000-000000000000\nend\nmount features\n")
    containers.sluice("gc")
    assert containers.pins() == []


def test_store_budget(containers, big):
    """Eviction keeps half of the budget: what is larger is served."""
    image, data = big
    containers.sluice("pull", image)
    containers.run("-d", "--rm", "--name", "c", "--budget", str(2 * BIG), image, "sh", "-c", TRAP)
    until_ready(containers, "c")
    assert containers.pins() == [] and len(containers.mounts()) == 1
    assert sum_in(containers, "c") == sha256(data)
    containers.verb("rm", "-f", "c")
    run.wait_until(lambda: not containers.mounts(), 10, "the mount's processes to end")


def test_span_that_turned_bad(containers, big):
    """fsck makes no hole under the mount; the next container gets the right bytes, served."""
    image, data = big
    before = kernel_mounts()
    containers.sluice("pull", image)
    containers.run("-d", "--name", "c", image, "sh", "-c", TRAP)
    until_ready(containers, "c")
    (layer,) = (containers.sluice.store / "layers").iterdir()
    stored = (layer / "data").read_bytes()
    at = stored.index(data[BIG // 2:BIG // 2 + 64])
    with open(layer / "data", "r+b") as f:
        f.seek(at)
        f.write(bytes([stored[at] ^ 0xff]))
    said = containers.sluice("fsck", "--deep", "--repair", check=False)
    assert "do not have the SHA-256" in said.stdout + said.stderr
    assert (layer / "data").read_bytes()[at] == stored[at] ^ 0xff  # not a hole
    second = containers.run("--rm", image, "busybox", "sha256sum", "/var/big")
    assert second.stdout.split()[0] == sha256(data)
    run.wait_until(lambda: not containers.mounts(), 10, "the mount's processes to end")
    assert (layer / "data").read_bytes() == stored
    containers.verb("rm", "-f", "c")
    assert containers.sluice("fsck", "--deep").returncode == 0
    check_clean(containers, before)


@pytest.mark.parametrize("call, when", [("fsopen", 2), ("fsconfig", 1), ("fsconfig", 3), ("fsmount", 1),
                                        ("move_mount", 1), ("mount", 1), ("umount2", 1),
                                        ("clone", 1)])
def test_run_is_killed_at(any_runtime, call, when):
    """kill -9 at each step of the mount: gc finds all that is left, and no pin lasts."""
    containers = any_runtime
    before = kernel_mounts()
    containers("true")
    command = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e",
               f"inject={call}:signal=KILL:when={when}", containers.program, "run", "--runtime",
               containers.runtime, "--rm", containers.small, "true"]
    killed = subprocess.run(command, env={**os.environ, **containers.environment}, check=False,
                            stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run.wait_until(lambda: not containers.list(), 20, "what runs to end")
    time.sleep(0.1)
    containers.sluice("gc", "--min-age", "1ms")
    check_clean(containers, before)


def test_many_at_once(containers):
    """Each has a pin of its own, also where several mounts are made in one moment."""
    before = kernel_mounts()
    containers("true")
    started = [containers.start("--rm", containers.small, "true") for _ in range(16)]
    for process in started:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    containers.sluice("gc")
    check_clean(containers, before)
