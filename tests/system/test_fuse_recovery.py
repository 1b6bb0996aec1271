# SPDX-License-Identifier: Apache-2.0
"""A mount shows what the kernel shows, and outlives its servers without an error."""
import errno
import mmap
import os
import random
import resource
import signal
import time
from pathlib import Path

import pytest

import erofskit as kit
import fusekit
from lib import run
from test_erofs_kernel import random_tar

pytestmark = [
    pytest.mark.sanitize,
    pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="there is no /dev/fuse"),
]

KILLS = 200
OPEN_KILLS = 20
UPGRADES = 10
READERS = [(fusekit.READ,), (fusekit.READ_DIRECT,), (fusekit.FAULT, "MADV_NORMAL"),
           (fusekit.FAULT, "MADV_RANDOM")]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return fusekit.make_image(tmp_path_factory.mktemp("fuse"))


@pytest.fixture
def mount(tmp_path, image, nothing_left):
    made = fusekit.Mount(tmp_path, image)
    yield made
    made.finish()


def random_image(place, seed):
    made = fusekit.Image(place)
    made.tar = random_tar(kit.rng_of(seed), made.tar, 400)
    kit.mktree("merge", made.metadata, made.tar)
    return made


@pytest.mark.parametrize("seed", range(3))
def test_content_is_what_the_kernel_shows(tmp_path, mount, seed):
    if kit.why_not():
        pytest.skip(kit.why_not())
    mount.image = random_image(tmp_path, seed)
    mount.start("-l", 2, "-d", 1)
    with kit.erofs(mount.image.metadata, tmp_path / "kernel", [mount.image.tar]) as kernel:
        want = kit.describe(kernel)
    got = kit.describe(mount.path)
    assert len(got) == len(want) > 100
    assert not kit.differences(want, got)
    assert mount.end() == 0


def test_what_is_not_there_and_what_cannot_be(mount):
    mount.start()
    for _ in range(2):  # the second answer is the kernel's own
        with pytest.raises(FileNotFoundError):
            os.stat(mount.path / "nothing")
    with pytest.raises(NotADirectoryError):
        os.stat(mount.path / "big/below")
    for change in (lambda: (mount.path / "new").touch(), lambda: os.unlink(mount.path / "big"),
                   lambda: os.chmod(mount.path / "big", 0o600),
                   lambda: os.setxattr(mount.path / "big", "user.a", b"b")):
        with pytest.raises(OSError) as e:
            change()
        assert e.value.errno == errno.EROFS
    with pytest.raises(OSError) as e:
        os.getxattr(mount.path / "big", "user.nothing")
    assert e.value.errno == errno.ENODATA
    space = os.statvfs(mount.path)
    assert space.f_blocks * space.f_frsize >= mount.image.tar.stat().st_size
    assert space.f_bfree == space.f_ffree == 0 and space.f_namemax == 255
    assert mount.end() == 0


def test_no_reader_notices_that_servers_are_killed(mount):
    mount.start("-c", 100_000, "-l", 2, "-d", 3)
    mount.load(3)
    rng, gaps = random.Random(2), []
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.025, 0.040))
        gaps.append(mount.kill_server())
    operations, worst = mount.end_load()
    assert operations > KILLS
    gaps.sort()
    print(f"{KILLS} kills, {operations} operations, the slowest {worst} ms; "
          f"until the next server {gaps[KILLS // 2] * 1000:.1f} ms, at most {gaps[-1] * 1000:.1f}")
    assert mount.end() == 0


def test_open_files_folders_and_maps_outlive_servers(mount):
    mount.start("-c", 100_000, "-l", 10, "-d", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < fusekit.MANY_FILES + 100:
        pytest.skip(f"no process may have more than {hard} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    names = fusekit.names_of_many()
    many = os.open(mount.path / "many", os.O_RDONLY | os.O_DIRECTORY)
    files, here = [], os.open(".", os.O_RDONLY)
    listing = os.scandir(mount.path / "many")
    listed = [next(listing).name]
    with open(mount.path / "big", "rb") as big:
        mapped = mmap.mmap(big.fileno(), 0, prot=mmap.PROT_READ)
    try:
        os.chdir(mount.path / "d")
        for name in names:
            files.append(os.open(name, os.O_RDONLY, dir_fd=many))
        share = len(files) // OPEN_KILLS
        for k in range(OPEN_KILLS):
            mount.kill_server()
            for name, file in list(zip(names, files))[k * share:(k + 1) * share]:
                assert os.pread(file, 100, 0) == name.encode()
            with open("small", "rb") as small:
                assert small.read() == b"hello\n"
            at = k * len(mapped) // OPEN_KILLS
            assert mapped[at:at + 65536] == mount.image.big[at:at + 65536]
            listed += [entry.name for _, entry in zip(range(share), listing)]
        listed += [entry.name for entry in listing]
        assert sorted(listed) == names
    finally:
        os.fchdir(here)
        listing.close()
        mapped.close()
        for file in [*files, many, here]:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert mount.end() == 0


def test_upgrades_under_load(mount):
    mount.start("-l", 2, "-d", 3)
    mount.load(2)
    for _ in range(UPGRADES):
        mount.upgrade()
        time.sleep(0.03)
    mount.end_load()
    assert len(set(mount.servers)) == UPGRADES + 1
    assert mount.end() == 0


def test_a_crash_loop_ends_in_enotconn(mount):
    mount.start("-l", 1, "-d", 50)
    mount.stall.on()
    reader = mount.reader(fusekit.READ_DIRECT)
    mount.crash.on()
    assert mount.holder.wait(fusekit.END_SECONDS_MAX) == 1
    assert "dies again and again" in mount.said()
    assert fusekit.ends(reader)[0] in (errno.ECONNABORTED, errno.ENOTCONN)
    with pytest.raises(OSError) as e:
        os.stat(mount.path / "d")
    assert e.value.errno == errno.ENOTCONN
    run.run("umount", mount.path)


def test_a_killed_reader_dies_at_once(mount):
    mount.start("-l", 1)
    mount.stall.on()
    readers = [mount.reader(*reader) for reader in READERS]
    time.sleep(fusekit.SETTLE_SECONDS)
    assert all(reader.poll() is None for reader in readers)
    began = time.monotonic()
    for reader in readers:
        reader.kill()
    for reader in readers:
        assert reader.wait(fusekit.END_SECONDS_MAX) == -signal.SIGKILL
    assert time.monotonic() - began < fusekit.AT_ONCE_SECONDS
    mount.stall.off()
    assert mount.end() == 0


@pytest.mark.parametrize("period", [0.005, 0.03], ids=["often", "now and then"])
def test_a_signal_that_kills_nobody_ends_no_read(mount, period):
    mount.start("-l", 1, "-d", 20)
    reader = mount.reader(fusekit.SIGNALLED, mount.image.big_file, period)
    status, out, said = fusekit.ends(reader)
    assert (status, said) == (0, "")
    assert int(out) >= 10
    assert mount.end() == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGQUIT])
@pytest.mark.parametrize("reader", [fusekit.READ_DIRECT, fusekit.FAULT], ids=["direct", "fault"])
def test_a_reader_interrupted_before_dies_at_once(mount, reader, number):
    """The kernel tells of a request's first signal only, which here kills nobody."""
    mount.start("-l", 1)
    mount.stall.on()
    process = mount.reader("import signal\nsignal.signal(signal.SIGUSR1, lambda *_: None)\n" +
                    reader, "MADV_RANDOM")
    time.sleep(fusekit.SETTLE_SECONDS)
    process.send_signal(signal.SIGUSR1)
    time.sleep(fusekit.SETTLE_SECONDS)
    mount.kill_server()  # its successor is to know as much
    time.sleep(fusekit.SETTLE_SECONDS)
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(fusekit.END_SECONDS_MAX) == -number
    assert time.monotonic() - began < fusekit.AT_ONCE_SECONDS
    mount.stall.off()
    assert mount.end() == 0


def test_a_reader_that_the_server_cannot_see_dies_at_once(mount):
    """The mount is of a PID namespace that its reader is not in."""
    mount.before = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    mount.start("-l", 1, serving=False)
    run.wait_until(lambda: mount.servers, fusekit.SERVING_SECONDS_MAX, "a server")
    (inside,) = (Path("/proc", str(mount.holder.pid), "task", str(mount.holder.pid),
                      "children").read_text().split())
    mount.stall.on()
    mount.path = Path("/proc", inside, "root", str(mount.path).lstrip("/"))
    reader = mount.reader(fusekit.READ_DIRECT)
    time.sleep(fusekit.SETTLE_SECONDS)
    began = time.monotonic()
    reader.kill()
    assert reader.wait(fusekit.END_SECONDS_MAX) == -signal.SIGKILL
    assert time.monotonic() - began < fusekit.AT_ONCE_SECONDS
    mount.stall.off()
    os.kill(int(inside), signal.SIGTERM)
    assert mount.holder.wait(fusekit.END_SECONDS_MAX) == 0
    mount.servers.clear()  # numbers of that namespace


def test_unmounting_lets_pending_reads_end(mount):
    mount.start("-l", 1)
    mount.stall.on()
    reader = mount.reader(fusekit.READ_DIRECT)
    time.sleep(fusekit.SETTLE_SECONDS)
    mount.holder.send_signal(signal.SIGTERM)
    run.wait_until(lambda: not os.path.ismount(mount.path), fusekit.END_SECONDS_MAX, "unmounting")
    assert reader.poll() is None and mount.holder.poll() is None
    mount.stall.off()
    assert fusekit.ends(reader) == (0, "", "")
    assert mount.holder.wait(fusekit.END_SECONDS_MAX) == 0


def test_a_second_signal_ends_pending_reads(mount):
    mount.start("-l", 1)
    mount.stall.on()
    reader = mount.reader(fusekit.READ_DIRECT)
    time.sleep(fusekit.SETTLE_SECONDS)
    mount.holder.send_signal(signal.SIGTERM)
    run.wait_until(lambda: not os.path.ismount(mount.path), fusekit.END_SECONDS_MAX, "unmounting")
    mount.holder.send_signal(signal.SIGTERM)
    assert fusekit.ends(reader)[0] in (errno.ECONNABORTED, errno.ENOTCONN)
    assert mount.holder.wait(fusekit.END_SECONDS_MAX) == 1


def test_another_holder_takes_over(mount):
    options = ("-l", 2, "-d", 3)
    mount.start(*options)
    mount.load(1)
    mount.holder.kill()
    mount.holder.wait()
    time.sleep(fusekit.SETTLE_SECONDS)
    mount.adopt(*options)
    assert mount.servers[0] == mount.servers[1]
    for _ in range(3):
        mount.kill_server()
    mount.upgrade()
    mount.end_load()
    assert mount.end() == 0
    assert not os.path.ismount(mount.path)


def test_a_failing_source_heals(mount):
    mount.start("-l", 1)
    mount.fail.on()
    for _ in range(2):
        with pytest.raises(OSError) as e:
            (mount.path / "big").read_bytes()
        assert e.value.errno == errno.EIO
    mount.fail.off()
    assert (mount.path / "big").read_bytes() == mount.image.big
    said = mount.said()
    assert said.count("the test's device is away") == 1
    assert said.count("reads succeed again") == 1
    assert mount.end() == 0


def test_a_read_ends_at_its_deadline(mount):
    mount.start("-l", 1, "-t", 500)
    mount.stall.on()
    began = time.monotonic()
    reader = mount.reader(fusekit.READ_DIRECT)
    assert fusekit.ends(reader)[0] == errno.EIO
    assert 0.4 < time.monotonic() - began < 5
    mount.stall.off()
    assert (mount.path / "big").read_bytes() == mount.image.big
    assert mount.end() == 0
