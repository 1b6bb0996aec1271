# SPDX-License-Identifier: Apache-2.0
"""Mounts of an ordinary user, through fusermount3.

Each test runs in a mount namespace of its own, where /dev/fuse may be everybody's, as on most
machines, and where all that it needs is in a tmpfs on /mnt that the user can reach.
"""
import errno
import os
import shutil
import signal
import stat
import time
import traceback
from pathlib import Path

import pytest

import erofskit as kit
import fusekit
from lib import run

CLONE_NEWNS = 0x00020000
MS_NOSUID, MS_BIND, MS_REC, MS_PRIVATE = 2, 4096, 16384, 1 << 18
FUSE_DEVICE = os.makedev(10, 229)
USER, OTHER = 65534, 65533
KILLS = 20
ROOM = Path("/mnt")


def why_not():
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    program = shutil.which("fusermount3")
    if program is None:
        return "fusermount3 is not installed"
    if not os.stat(program).st_mode & stat.S_ISUID:
        return "fusermount3 is not setuid"
    return None


pytestmark = [
    pytest.mark.sanitize,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return fusekit.make_image(tmp_path_factory.mktemp("rootless"))


def words_of(uid):
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]


def system_call(name, *arguments):
    if getattr(kit.LIBC, name)(*arguments) != 0:
        raise OSError(kit.ctypes.get_errno(), name)


def furnish(image):
    """The namespace, and the room in it; the mount to be made there by the user."""
    system_call("unshare", CLONE_NEWNS)
    system_call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    system_call("mount", b"tmpfs", bytes(ROOM), b"tmpfs", MS_NOSUID, b"mode=755")
    os.mknod(ROOM / "fuse", 0o020666, FUSE_DEVICE)
    os.chmod(ROOM / "fuse", 0o666)
    system_call("mount", bytes(ROOM / "fuse"), b"/dev/fuse", None, MS_BIND, None)
    for path in (image.tar, image.metadata, image.big_file, fusekit.LOAD,
                 fusekit.fuseserve_path()):
        shutil.copy(path, ROOM)
    mount = fusekit.Mount(
        ROOM / "place", fusekit.Image(ROOM), before=words_of(USER), readers=words_of(USER),
        program=ROOM / fusekit.fuseserve_path().name, load=ROOM / fusekit.LOAD.name)
    for path in (mount.place, mount.path):
        os.chown(path, USER, USER)
    return mount


def in_namespace(image, test):
    """Runs test(mount) in a child, so that this process stays where it is."""
    hear, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hear)
        said = b""
        try:
            mount = furnish(image)
            try:
                test(mount)
            finally:
                mount.finish()
        except BaseException:
            said = traceback.format_exc().encode()
        finally:
            os.write(say, said[-4096:])
            os._exit(0)
    os.close(say)
    with os.fdopen(hear, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    assert not said, said


def as_user(uid, *command, **options):
    return run.run(*words_of(uid), *command, **options)


def test_a_user_mounts_reads_and_unmounts(image):
    def test(mount):
        mount.start("-c", 100_000, "-l", 2, "-d", 2)
        (line,) = (m for m in Path("/proc/mounts").read_text().splitlines()
                   if m.split()[1] == str(mount.path))
        assert line.split()[2] == "fuse.sluice"
        assert {"ro", "nosuid", "nodev", f"user_id={USER}"} <= set(line.split()[3].split(","))
        assert "allow_other" not in line
        as_user(USER, "cmp", mount.image.big_file, mount.path / "big")
        for stranger in (OTHER, 0):
            said = as_user(stranger, "cat", mount.path / "big", check=False)
            assert said.returncode == 1 and os.strerror(errno.EACCES) in said.stderr
        mount.load(2)
        for _ in range(KILLS):
            time.sleep(0.03)
            mount.kill_server()
        mount.end_load()
        as_user(USER, "fusermount3", "-u", mount.path)
        assert mount.holder.wait(fusekit.END_SECONDS_MAX) == 0
    in_namespace(image, test)


def test_the_holder_unmounts_when_it_is_told(image):
    def test(mount):
        mount.start()
        assert mount.end() == 0
        assert not os.path.ismount(mount.path)
    in_namespace(image, test)


def test_readers_are_told_apart_as_for_root(image):
    """The user's server looks at the user's readers in /proc."""
    def test(mount):
        mount.start("-l", 1, "-d", 20)
        reader = mount.reader(fusekit.SIGNALLED, mount.image.big_file, 0.005)
        status, _, said = fusekit.ends(reader)
        assert (status, said) == (0, "")
        mount.stall.on()
        reader = mount.reader(fusekit.READ_DIRECT)
        time.sleep(fusekit.SETTLE_SECONDS)
        assert reader.poll() is None
        began = time.monotonic()
        reader.kill()
        assert reader.wait(fusekit.END_SECONDS_MAX) == -signal.SIGKILL
        assert time.monotonic() - began < fusekit.AT_ONCE_SECONDS
        mount.stall.off()
        assert mount.end() == 0
    in_namespace(image, test)


def test_another_holder_takes_over(image):
    def test(mount):
        mount.start("-l", 2, "-d", 3)
        mount.load(1)
        mount.holder.kill()
        mount.holder.wait()
        time.sleep(fusekit.SETTLE_SECONDS)
        mount.adopt("-l", 2, "-d", 3)
        for _ in range(3):
            mount.kill_server()
        mount.end_load()
        assert mount.end() == 0
        assert not os.path.ismount(mount.path)
    ptrace = Path("/proc/sys/kernel/yama/ptrace_scope")
    if ptrace.exists() and int(ptrace.read_text()) > 0:
        pytest.skip("this machine lets no user take descriptors of a process (ptrace_scope)")
    in_namespace(image, test)


def test_others_may_look_only_where_the_machine_allows_it(image):
    def refused(mount):
        mount.start("-o", "allow_other", serving=False)
        assert mount.holder.wait(fusekit.END_SECONDS_MAX) == 1
        said = mount.said()
        assert len(said.splitlines()) == 2, said  # of the server that makes way, and of this
        assert "user_allow_other" in said and "/etc/fuse.conf" in said
        assert not os.path.ismount(mount.path)

    def allowed(mount):
        conf = ROOM / "fuse.conf"
        conf.write_text("user_allow_other\n")
        system_call("mount", bytes(conf), b"/etc/fuse.conf", None, MS_BIND, None)
        mount.start("-o", "allow_other")
        for uid in (USER, OTHER, 0):
            as_user(uid, "cmp", mount.image.big_file, mount.path / "big")
        assert mount.end() == 0

    if "user_allow_other" not in Path("/etc/fuse.conf").read_text().splitlines():
        in_namespace(image, refused)
    in_namespace(image, allowed)


@pytest.mark.parametrize("spoil, words", [
    (lambda mount: os.chmod("/dev/fuse", 0o600), "/dev/fuse: you may not use it"),
    (lambda mount: os.chown(mount.path, 0, 0), "you may only mount on a directory of your own"),
], ids=["device", "directory"])
def test_what_a_user_may_not(image, spoil, words):
    def test(mount):
        spoil(mount)
        mount.start(serving=False)
        assert mount.holder.wait(fusekit.END_SECONDS_MAX) == 1
        said = mount.said()
        assert len(said.splitlines()) == 1 and words in said
        assert not os.path.ismount(mount.path)
    in_namespace(image, test)
