# SPDX-License-Identifier: Apache-2.0
"""A registry that goes away under a live mount, and comes back."""
import errno
import hashlib
import io
import os
import tarfile
import time

import pytest

from lib import images, layers, run

pytestmark = [pytest.mark.slow, pytest.mark.sanitize]

# The deadline of a read; the kernel asks twice, which must not double it.
READ_SECONDS = 8
READ_SECONDS_MAX = 2 * READ_SECONDS - 1
HEAL_SECONDS_MAX = 60
BIG = 24 << 20


@pytest.fixture
def image(sluice, own_registry, tmp_path):
    """An image whose index is in the registry, so that a mount elsewhere fetches lazily."""
    layout = images.Layout(tmp_path / "layout")
    layout.tag(layout.manifest([layers.bottom(big=BIG)]))
    name = own_registry.push(f"oci:{layout.place}:latest", "demo:latest")
    sluice("index", "build", name)
    sluice("index", "push", name)
    return name


def pread(path, offset, n=4096):
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.pread(fd, n, offset)
    finally:
        os.close(fd)


def expected(offset, n=4096):
    """The same bytes of data/big, out of the tar."""
    with tarfile.open(fileobj=io.BytesIO(layers.bottom(big=BIG))) as t:
        file = t.extractfile("data/big")
        file.seek(offset)
        return file.read(n)


def away(own_registry, how):
    if how == "stopped":
        own_registry.stop()
    else:
        own_registry.daemon.pause()


def back(own_registry, how):
    if how == "stopped":
        own_registry.daemon.start()
    else:
        own_registry.daemon.resume()


@pytest.mark.parametrize("how, kind", (("stopped", "fuse"), ("stalled", "fuse"),
                                       ("stopped", "auto"), ("stalled", "auto")))
def test_local_reads_rest_fails_then_heals(another_sluice, own_registry, image, how, kind):
    mounted = another_sluice.mount(image, f"--fs={kind}", "--read-timeout", f"{READ_SECONDS}s")
    big, near, far = mounted / "data/big", 0, BIG - 8192
    assert pread(big, near) == expected(near)

    away(own_registry, how)
    try:
        assert pread(big, near) == expected(near)
        # The kernel keeps pages; O_DIRECT asks the server again.
        if kind == "fuse":
            run.run("dd", f"if={big}", "of=/dev/null", "bs=4096", "count=1", "iflag=direct")
        began = time.monotonic()
        with pytest.raises(OSError) as caught:
            pread(big, far)
        assert caught.value.errno == errno.EIO
        assert time.monotonic() - began < READ_SECONDS_MAX
        assert sorted(os.listdir(mounted / "bin")) == ["capable", "hard", "setgid", "setuid"]
        assert os.lstat(mounted / "etc/owned").st_uid == 70000
    finally:
        back(own_registry, how)

    def heals():
        try:
            return pread(big, far)
        except OSError as error:
            assert error.errno == errno.EIO
            return None
    assert run.wait_until(heals, HEAL_SECONDS_MAX, "the mount to heal") == expected(far)
    whole = hashlib.sha256(big.read_bytes()).hexdigest()
    assert whole == hashlib.sha256(expected(0, BIG)).hexdigest()


def test_restart_within_the_deadline_goes_unnoticed(another_sluice, own_registry, image):
    """Nobody listens for a while: a read waits for that, as it does for a registry that stalls."""
    mounted = another_sluice.mount(image, "--read-timeout", "20s")
    big, far = mounted / "data/big", BIG - 8192
    own_registry.stop()
    reader = run.subprocess.Popen(["dd", f"if={big}", "bs=4096", f"skip={far // 4096}", "count=1",
                                   "status=none"], stdout=run.subprocess.PIPE)
    try:
        time.sleep(2)
        assert reader.poll() is None
    finally:
        own_registry.daemon.start()
    got, _ = reader.communicate(timeout=20)
    assert reader.returncode == 0 and got == expected(far)


def test_killed_reader_goes(another_sluice, own_registry, image):
    """A reader that waits for a stalled registry can be killed at once."""
    mounted = another_sluice.mount(image)
    own_registry.daemon.pause()
    try:
        reader = run.subprocess.Popen(["dd", f"if={mounted}/data/big", "of=/dev/null", "bs=4096",
                                       f"skip={BIG // 4096 - 2}", "count=1"])
        time.sleep(0.5)
        assert reader.poll() is None
        began = time.monotonic()
        reader.kill()
        reader.wait(5)
        assert time.monotonic() - began < 1
    finally:
        own_registry.daemon.resume()


def test_mounts_again_without_the_registry(another_sluice, own_registry, image):
    """What a tag meant when it was last asked is enough to mount what is local."""
    mounted = another_sluice.mount(image)
    first = (mounted / "etc/owned").read_bytes()
    another_sluice.umount(mounted)
    own_registry.stop()
    assert (another_sluice.mount(image) / "etc/owned").read_bytes() == first


def test_unmounts_without_the_registry(another_sluice, own_registry, image):
    mounted = another_sluice.mount(image)
    own_registry.daemon.pause()
    try:
        began = time.monotonic()
        another_sluice.umount(mounted)
        assert time.monotonic() - began < 5
    finally:
        own_registry.daemon.resume()


def test_unmounts_in_the_middle_of_a_stalled_transfer(another_sluice, own_registry, image):
    """What waits for the registry does not hold up the end, however long it would wait."""
    mounted = another_sluice.mount(image)
    own_registry.daemon.pause()
    try:
        reader = run.subprocess.Popen(["dd", f"if={mounted}/data/big", "of=/dev/null", "bs=4096",
                                       f"skip={BIG // 4096 - 2}", "count=1"])
        time.sleep(0.5)
        assert reader.poll() is None
        reader.kill()
        reader.wait(5)
        servers = run.marked_processes(os.environ[run.MARK])
        assert any(b"serve" in command for _, command in servers)
        began = time.monotonic()
        another_sluice.umount(mounted)
        run.wait_until(lambda: not run.marked_processes(os.environ[run.MARK]), 5, "it to end")
        assert time.monotonic() - began < 1
    finally:
        own_registry.daemon.resume()
