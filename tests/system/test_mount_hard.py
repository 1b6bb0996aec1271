# SPDX-License-Identifier: Apache-2.0
"""What an operator does to a mount that its authors did not think of first."""
import hashlib
import os
import signal
import subprocess
import time

import pytest

from conftest import PROGRAM, sentence
from lib import images, layers, run
from test_mount_life import ANSWER_SECONDS_MAX, BIG, big_sha256, is_alive, row_of, told


HOWS = (("--fs", "fuse"), ("--fs", "fuse", "--rw"), ("--fs", "erofs"), ("--fs", "erofs", "--rw"))


@pytest.fixture
def local(tmp_path):
    layout = images.Layout(tmp_path / "layout")
    layout.tag(layout.manifest([layers.bottom(big=BIG), layers.top()]))
    return f"oci:{layout.place}:latest"


def gone(*pids):
    run.wait_until(lambda: not any(map(is_alive, pids)), ANSWER_SECONDS_MAX, "the end")


class TestSignals:
    def test_writable_in_use_is_told_to_end(self, sluice, local):
        """It goes out of sight; whoever is inside reads on, then all is cleaned up."""
        mounted = sluice.mount(local, "--rw")
        row = row_of(sluice, mounted)
        with open(mounted / "data/big", "rb") as file:
            os.kill(row["holder"], signal.SIGTERM)
            run.wait_until(lambda: not os.path.ismount(mounted), ANSWER_SECONDS_MAX, "the unmount")
            assert hashlib.sha256(file.read()).hexdigest() == big_sha256()
            assert is_alive(row["holder"])
        gone(row["holder"], row["server"])
        assert told(sluice, "mounts") == [] or str(mounted) not in sluice("mounts").stdout
        assert not list(sluice.store.glob("tmp/upper-*"))

    @pytest.mark.parametrize("how", HOWS)
    def test_key_of_a_terminal(self, sluice, local, how):
        """Ctrl-C goes to all of a group at once; only the holder may act on it."""
        place = sluice.place / "mnt"
        place.mkdir()
        process = subprocess.Popen([PROGRAM, "mount", "--foreground", *how, local, place],
                                   env=sluice.environment, stderr=subprocess.PIPE, text=True,
                                   start_new_session=True)
        try:
            run.wait_until(lambda: os.path.ismount(place), ANSWER_SECONDS_MAX, "the mount")
            assert (place / "etc/user").read_bytes() == b"x"
            with open(place / "data/big", "rb") as file:
                os.killpg(process.pid, signal.SIGINT)
                run.wait_until(lambda: not os.path.ismount(place), ANSWER_SECONDS_MAX, "the unmount")
                assert hashlib.sha256(file.read()).hexdigest() == big_sha256()
            assert process.wait(ANSWER_SECONDS_MAX) == 0
            assert sentence(process.stderr.read()) == ""
        finally:
            process.kill()
            process.communicate()
            run.run("umount", "--lazy", place, check=False)


class TestStart:
    def test_holder_keeps_nothing_of_its_caller(self, sluice, local):
        mounted = sluice.mount(local)
        for who in ("holder", "server"):
            pid = row_of(sluice, mounted)[who]
            assert os.readlink(f"/proc/{pid}/cwd") == "/"
            assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"

    def test_standard_input_ends_with_the_command(self, sluice, local):
        (sluice.place / "mnt").mkdir()
        sluice.mounted.append(sluice.place / "mnt")
        process = subprocess.Popen([PROGRAM, "mount", local, sluice.place / "mnt"],
                                   env=sluice.environment, stdin=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        assert process.wait(ANSWER_SECONDS_MAX) == 0
        process.stderr.close()
        with pytest.raises(BrokenPipeError):
            for _ in range(3):
                os.write(process.stdin.fileno(), b"x")
        process.stdin.raw.close()

    def test_killed_while_it_waits(self, sluice, local):
        """A mount that nobody waits for any more does not appear."""
        sluice("pull", "--lazy", local)
        place = sluice.place / "mnt"
        place.mkdir()
        process = subprocess.Popen([PROGRAM, "mount", local, place], env=sluice.environment,
                                   stdin=subprocess.DEVNULL)
        children = f"/proc/{process.pid}/task/{process.pid}/children"
        holder = ""
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while not holder and time.monotonic() < deadline:
            with open(children, encoding="ascii") as file:
                holder = file.read()
        os.kill(int(holder), signal.SIGSTOP)
        process.kill()
        process.wait()
        os.kill(int(holder), signal.SIGCONT)
        gone(int(holder))
        assert not os.path.ismount(place)
        assert str(place) not in sluice("mounts").stdout


class TestOutput:
    @pytest.mark.parametrize("words", (("images",), ("fsck",), ("--help",),
                                       ("mount", "--help"), ("--version",)))
    def test_closed(self, sluice, words):
        """What is printed must not land in whatever file got the number."""
        result = run.run("sh", "-c", f"exec {PROGRAM} {' '.join(words)} >&-", check=False,
                         env=sluice.environment)
        assert result.returncode == 1 and "write the output" in result.stderr


def kill_both(sluice, mounted):
    row = row_of(sluice, mounted)
    for sign in (signal.SIGSTOP, signal.SIGKILL): # neither may notice that the other died
        for who in ("holder", "server"):
            os.kill(row[who], sign)
    gone(row["holder"], row["server"])
    return row


class TestDead:
    """Both processes killed: what is left has to go by every way that a person tries."""

    @pytest.mark.parametrize("how", HOWS)
    @pytest.mark.parametrize("name", ("mnt0", "mnt0/", "{}/mnt0/"))
    def test_is_unmounted(self, sluice, local, name, how):
        mounted = sluice.mount(local, *how)
        kill_both(sluice, mounted)
        run.run(PROGRAM, "umount", name.format(sluice.place), cwd=sluice.place,
                env=sluice.environment)
        assert not os.path.ismount(mounted)
        assert str(mounted) not in sluice("mounts").stdout

    def test_is_told_of(self, sluice, local):
        mounted = sluice.mount(local)
        row = kill_both(sluice, mounted)
        assert told(sluice, "stat", mounted)["digest"] == row["digest"]

    @pytest.mark.parametrize("how", HOWS)
    def test_gc_clears_it(self, sluice, local, how):
        mounted = sluice.mount(local, *how)
        kill_both(sluice, mounted)
        sluice("gc")
        assert not os.path.ismount(mounted)
        assert str(mounted) not in sluice("mounts").stdout

    @pytest.mark.parametrize("how", HOWS)
    def test_gc_spares_its_successor(self, sluice, local, how):
        mounted = sluice.mount(local)
        kill_both(sluice, mounted)
        run.run("umount", "--lazy", mounted)
        sluice("mount", *how, local, mounted)
        sluice("gc")
        assert (mounted / "etc/user").read_bytes() == b"x"
        assert row_of(sluice, mounted)["state"] == "ok"

    @pytest.mark.parametrize("kind", ("fuse", "auto"))
    def test_without_its_note(self, sluice, local, kind):
        mounted = sluice.mount(local, f"--fs={kind}")
        row = row_of(sluice, mounted)
        for entry in os.listdir("/run/sluice"):
            if entry == row["id"]:
                run.run("rm", "-r", f"/run/sluice/{entry}")
        sluice("umount", mounted)
        assert not os.path.ismount(mounted)
        gone(row["holder"], row["server"])


class TestOver:
    @pytest.mark.parametrize("below", HOWS)
    def test_mounted_already(self, sluice, local, below):
        mounted = sluice.mount(local, *below)
        sluice.refuses("mount", local, mounted, words=[str(mounted), "mounted here already"])


class TestStoreHeals:
    """What the disk lost is made again; nobody has to know where it was."""

    def test_image(self, sluice, local):
        image = told(sluice, "pull", local)["digest"].replace(":", "-")
        tree = sluice.store / "images" / image / "tree.erofs"
        os.truncate(tree, 100)
        assert (sluice.mount(local) / "etc/user").read_bytes() == b"x"

    def test_manifest(self, sluice, local):
        digest = told(sluice, "pull", local)["digest"].split(":")[1]
        (sluice.store / "blobs/sha256" / digest).unlink()
        assert (sluice.mount(local) / "etc/user").read_bytes() == b"x"

    def test_layer(self, sluice, local):
        image = told(sluice, "pull", local)["digest"].replace(":", "-")
        (sluice.store / "images" / image / "tree.erofs").unlink()
        for tree in sluice.store.glob("layers/*/tree.erofs"):
            os.truncate(tree, 100)
        assert (sluice.mount(local) / "etc/user").read_bytes() == b"x"
        assert len(list(sluice.store.glob("quarantine/*/why"))) == 2


def test_known_image_is_not_written_again(sluice, local):
    """Every commit waits for the disk, which a mount that has all it needs need not do."""
    def tags():
        return {path.name: path.stat().st_ino for path in sluice.store.glob("tags/*")}
    sluice("pull", "--lazy", local)
    before = tags()
    sluice.mount(local)
    assert len(before) == 1 and tags() == before


@pytest.mark.parametrize("options", ((), ("--rw",), ("--rw", "--upper")))
def test_name_that_is_not_utf8(sluice, tmp_path, options):
    """Refused before anything is fetched: there is no such image."""
    odd = os.fsencode(tmp_path) + b"/odd-\xff"
    os.mkdir(odd)
    (tmp_path / "d").mkdir()
    directory, upper = (tmp_path / "d", [odd]) if "--upper" in options else (odd, [])
    said = sluice.refuses("mount", "oci:/nowhere:latest", os.fsdecode(directory), *options,
                          *map(os.fsdecode, upper), words=["odd-", "is not UTF-8"])
    assert ("upper" in said) == ("--upper" in options)
    assert not os.listdir(odd)


class TestUpper:
    def test_has_one_mount(self, sluice, local):
        """However it is called; also when the holder is another by now, or nobody is left."""
        upper = sluice.place / "upper"
        mounted = sluice.mount(local, "--rw", "--upper", upper)
        (mounted / "new").write_text("kept")
        (sluice.place / "d").mkdir()
        (sluice.place / "link").symlink_to(upper)

        def refused():
            for name in (upper, sluice.place / "link"):
                sluice.refuses("mount", local, sluice.place / "d", "--rw", "--upper", name,
                               words=[str(name), f"is the upper of what is mounted on {mounted}"])
            assert not os.path.ismount(sluice.place / "d")
        refused()
        row = row_of(sluice, mounted)
        os.kill(row["holder"], signal.SIGKILL)
        run.wait_until(lambda: row_of(sluice, mounted)["holder"] != row["holder"],
                       ANSWER_SECONDS_MAX, "a new holder")
        refused()
        kill_both(sluice, mounted)
        refused()
        sluice.umount(mounted)
        assert (sluice.mount(local, "--rw", "--upper", upper) / "new").read_text() == "kept"

    def test_has_one_mount_of_all_tables(self, sluice, local, tmp_path):
        """The claim is the directory's own: it needs no table that tells of it."""
        upper = sluice.place / "upper"
        mounted = sluice.mount(local, "--rw", "--upper", upper)
        row = row_of(sluice, mounted)
        for how in ("before", "after"):
            if how == "after":
                os.kill(row["holder"], signal.SIGKILL)
                run.wait_until(lambda: row_of(sluice, mounted)["holder"] != row["holder"],
                               ANSWER_SECONDS_MAX, "a new holder")
            said = run.run("unshare", "--mount", "sh", "-c",
                           "mount -t tmpfs -o mode=0700 none /run/sluice && mkdir $0/d$4 &&"
                           "exec $1 mount $2 $0/d$4 --rw --upper $3",
                           tmp_path, PROGRAM, local, upper, how, env=sluice.environment,
                           check=False)
            assert said.returncode == 1
            assert f"{upper} is the upper of another mount" in sentence(said.stderr)
