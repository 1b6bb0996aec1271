# SPDX-License-Identifier: Apache-2.0
"""The life of a mount: writable, in the foreground, killed, listed, counted, ended."""
import errno
import hashlib
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from conftest import PROGRAM, sentence
from lib import compare, images, layers, run

KILLS = 40
KILL_EVERY_SECONDS = 0.05
ANSWER_SECONDS_MAX = 20
BIG = 24 << 20


@pytest.fixture
def layout(tmp_path):
    layout = images.Layout(tmp_path / "layout")
    return layout.tag(layout.manifest([layers.bottom(big=BIG), layers.top()]))


@pytest.fixture
def local(layout):
    return f"oci:{layout.place}:latest"


@pytest.fixture
def indexed(another_sluice, own_registry, local):
    """In a registry, with its index."""
    name = own_registry.push(local, "demo:latest")
    another_sluice("index", "push", name)
    return name


def big_sha256():
    return hashlib.sha256(big_bytes()).hexdigest()


def big_bytes():
    with layers.tarfile.open(fileobj=layers.io.BytesIO(layers.bottom(big=BIG))) as t:
        return t.extractfile("data/big").read()


def told(sluice, verb, *words, **options):
    return json.loads(sluice(verb, *words, "--format", "json", **options).stdout)


def row_of(sluice, directory):
    rows = [row for row in told(sluice, "mounts") if row["dir"] == str(directory)]
    assert len(rows) == 1
    return rows[0]


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


class TestWritable:
    def test_changes_go_with_the_mount(self, sluice, local):
        plain = compare.walk(sluice.mount(local))
        mounted = sluice.mount(local, "--rw")
        compare.assert_same(plain, compare.walk(mounted), ignore=("mtime",))
        (mounted / "etc/new").write_text("new")
        (mounted / "etc/user").write_text("changed")
        (mounted / "data/1").unlink()
        (mounted / "bin/hard").rename(mounted / "moved")
        assert row_of(sluice, mounted)["rw"]
        assert list(sluice.store.glob("tmp/upper-*"))
        sluice.umount(mounted)
        assert not list(sluice.store.glob("tmp/upper-*"))
        mounted = sluice.mount(local, "--rw")
        compare.assert_same(plain, compare.walk(mounted), ignore=("mtime",))

    def test_changes_are_kept(self, sluice, local):
        upper = sluice.place / "upper"
        mounted = sluice.mount(local, "--rw", "--upper", upper)
        (mounted / "etc/new").write_text("new")
        shutil.rmtree(mounted / "data")
        sluice.umount(mounted)
        mounted = sluice.mount(local, "--rw", "--upper", upper)
        assert (mounted / "etc/new").read_text() == "new"
        assert not (mounted / "data").exists()
        assert (mounted / "bin/hard").read_bytes() == b"#!/bin/sh\n"

    def test_root_looks_like_the_image_s(self, sluice, tmp_path):
        tar = layers.TarLayer()
        tar.directory("./", mode=0o1750, uid=7, gid=8)
        tar = tar.finish()
        layout = images.write(tmp_path / "root", "gzip", [tar])
        st = os.stat(sluice.mount(f"oci:{layout.place}:latest", "--rw"))
        assert (st.st_mode & 0o7777, st.st_uid, st.st_gid) == (0o1750, 7, 8)

    def test_upper_wants_rw(self, sluice, local, tmp_path):
        (tmp_path / "d").mkdir()
        sluice.refuses("mount", local, tmp_path / "d", "--upper", tmp_path, words="--rw",
                       status=2)

    def test_killed_server(self, sluice, local):
        """What is above and below a crash stays."""
        mounted = sluice.mount(local, "--rw")
        (mounted / "etc/new").write_text("new")
        os.kill(row_of(sluice, mounted)["server"], signal.SIGKILL)
        assert (mounted / "etc/new").read_text() == "new"
        assert hashlib.sha256((mounted / "data/big").read_bytes()).hexdigest() == big_sha256()


class TestOptions:
    def flags(self, directory):
        return run.run("findmnt", "-no", "OPTIONS", directory).stdout.strip().split(",")

    def test_as_they_are(self, sluice, local):
        flags = self.flags(sluice.mount(local, "--fs=fuse"))
        assert {"ro", "nosuid", "nodev", "allow_other", "default_permissions"} <= set(flags)

    def test_devices_do_not_work(self, sluice, local):
        for kind in ("fuse", "auto"):
            mounted = sluice.mount(local, f"--fs={kind}")
            for name in ("dev/char", "dev/block"):
                with pytest.raises(PermissionError):
                    os.open(mounted / name, os.O_RDONLY)

    @pytest.mark.parametrize("kind", ("fuse", "auto"))
    def test_asked_for(self, sluice, local, kind):
        mounted = sluice.mount(local, f"--fs={kind}", "-o", "noexec,noatime", "-o", "suid")
        flags = self.flags(mounted)
        assert {"noexec", "noatime", "nodev", "ro"} <= set(flags) and "nosuid" not in flags
        with pytest.raises(PermissionError):
            os.execv(mounted / "bin/setuid", ["setuid"])

    def test_unknown(self, sluice, local, tmp_path):
        (tmp_path / "d").mkdir()
        sluice.refuses("mount", local, tmp_path / "d", "-o", "shiny", words="'shiny'", status=2)
        sluice.refuses("mount", local, tmp_path / "d", "--fs", "ext4", words="'ext4'", status=2)
        sluice.refuses("index", "bake", local, words="'index bake'", status=2)
        sluice.refuses("images", "--format", "xml", words="'xml'", status=2)

    def test_unknown_to_the_command_line(self, sluice, tmp_path):
        sluice.refuses("mount", "x", tmp_path, "--shiny", words="--shiny", status=2)
        sluice.refuses("mount", "x", words="IMAGE DIR", status=2)
        sluice.refuses("mount", "x", tmp_path, "--read-timeout", "soon", words="'soon'", status=2)


class TestForeground:
    @pytest.mark.parametrize("end", ("interrupt", "terminate", "umount"))
    def test_ends(self, sluice, local, end):
        place = sluice.place / "mnt"
        place.mkdir()
        process = subprocess.Popen([PROGRAM, "mount", "--foreground", local, place],
                                   env={**sluice.environment}, stderr=subprocess.PIPE, text=True)
        try:
            run.wait_until(lambda: os.path.ismount(place), ANSWER_SECONDS_MAX, "the mount")
            assert (place / "etc/user").read_bytes() == b"x"
            assert row_of(sluice, place)["holder"] == process.pid
            if end == "umount":
                run.run("umount", place)
            else:
                process.send_signal(signal.SIGINT if end == "interrupt" else signal.SIGTERM)
            assert process.wait(ANSWER_SECONDS_MAX) == 0
            assert sentence(process.stderr.read()) == ""
        finally:
            process.kill()
            process.wait()
            run.run("umount", "--lazy", place, check=False)
        assert not os.path.ismount(place)
        assert str(place) not in sluice("mounts").stdout


class TestEnds:
    def test_by_umount_8(self, sluice, local):
        mounted = sluice.mount(local)
        pids = [row_of(sluice, mounted)[who] for who in ("holder", "server")]
        run.run("umount", mounted)
        run.wait_until(lambda: not any(map(is_alive, pids)), ANSWER_SECONDS_MAX, "the end")
        assert str(mounted) not in sluice("mounts").stdout

    def test_writable_by_umount_8(self, sluice, local):
        mounted = sluice.mount(local, "--rw")
        pids = [row_of(sluice, mounted)[who] for who in ("holder", "server")]
        run.run("umount", mounted)
        run.wait_until(lambda: not any(map(is_alive, pids)), ANSWER_SECONDS_MAX, "the end")
        assert not list(sluice.store.glob("tmp/upper-*"))

    def test_busy_then_lazy(self, sluice, local):
        mounted = sluice.mount(local)
        pids = [row_of(sluice, mounted)[who] for who in ("holder", "server")]
        with open(mounted / "data/big", "rb") as file:
            sluice.refuses("umount", mounted, words=[str(mounted), "--lazy"])
            sluice("umount", "--lazy", mounted)
            assert not os.path.ismount(mounted)
            assert hashlib.sha256(file.read()).hexdigest() == big_sha256()
            assert all(map(is_alive, pids))
        run.wait_until(lambda: not any(map(is_alive, pids)), ANSWER_SECONDS_MAX, "the end")


@pytest.fixture(scope="module")
def kernel_erofs():
    """Linux 6.12 mounts EROFS from a file."""
    release = tuple(int(n) for n in re.findall(r"\d+", os.uname().release)[:2])
    with open("/proc/filesystems", encoding="utf-8") as file:
        known = "erofs" in file.read().split()
    if release < (6, 12) or not known:
        pytest.skip("this kernel cannot mount EROFS from a file")


@pytest.mark.usefixtures("kernel_erofs")
class TestErofs:
    """The kernel's EROFS over our metadata, FUSE below it for the bytes."""

    @pytest.mark.parametrize("kind", ["gzip", "zstd-many", "tar", "estargz"])
    def test_same_tree(self, sluice, gallery, kind):
        image = f"oci:{gallery.layout(kind)}:latest"
        by_fuse = compare.walk(sluice.mount(image, "--fs=fuse"))
        by_kernel = sluice.mount(image, "--fs=erofs")
        assert run.mount_type(by_kernel) == "erofs"
        compare.assert_same(by_fuse, compare.walk(by_kernel))

    def test_registry_writable_and_killed(self, sluice, indexed):
        mounted = sluice.mount(indexed, "--fs=erofs", "--rw")
        (mounted / "new").write_text("kept")
        for _ in range(3):
            row = row_of(sluice, mounted)
            os.kill(row["server"], signal.SIGKILL)
            assert hashlib.sha256((mounted / "data/big").read_bytes()).hexdigest() == big_sha256()
            run.wait_until(lambda old=row: row_of(sluice, mounted)["server"] != old["server"],
                           ANSWER_SECONDS_MAX, "a new server")
            with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
                file.write("1")
        assert (mounted / "new").read_text() == "kept"
        holder = row_of(sluice, mounted)["holder"]
        sluice("umount", mounted)
        run.wait_until(lambda: not is_alive(holder), ANSWER_SECONDS_MAX, "the holder's end")
        assert not os.path.ismount(mounted)

    def test_by_umount_8(self, sluice, local):
        mounted = sluice.mount(local, "--fs=erofs")
        holder = row_of(sluice, mounted)["holder"]
        subprocess.run(["umount", str(mounted)], check=True)
        run.wait_until(lambda: not is_alive(holder), ANSWER_SECONDS_MAX, "the holder's end")
        assert str(mounted) not in sluice("mounts").stdout


class TestAuto:
    """What --fs=auto, the default, is: seen by what mounts and the kernel say."""

    def kinds(self, sluice, directory):
        return run.mount_type(directory), row_of(sluice, directory)["fs"]

    @pytest.mark.usefixtures("kernel_erofs")
    def test_erofs_for_root(self, sluice, local):
        assert self.kinds(sluice, sluice.mount(local)) == ("erofs", "erofs")
        assert self.kinds(sluice, sluice.mount(local, "--fs=auto")) == ("erofs", "erofs")
        mounted = sluice.mount(local, "--rw")
        assert self.kinds(sluice, mounted) == ("overlay", "erofs")
        assert json.loads(sluice("stat", mounted, "--format", "json").stdout)["errors"] == 0
        assert hashlib.sha256((mounted / "data/big").read_bytes()).hexdigest() == big_sha256()
        sluice.umount(mounted)

    @pytest.mark.parametrize("option", ("allow_other", "noexec,default_permissions"))
    def test_options_of_fuse(self, sluice, local, option):
        assert self.kinds(sluice, sluice.mount(local, "-o", option)) == ("fuse.sluice", "fuse")

    @pytest.mark.usefixtures("kernel_erofs")
    @pytest.mark.parametrize("how", ((), ("--rw",)))
    def test_falls_back(self, sluice, local, how):
        """The kernel reads no EROFS off a tmpfs: FUSE serves instead, and the log says why."""
        sluice.store.mkdir()
        run.run("mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", sluice.store)
        try:
            mounted = sluice.mount(local, *how)
            row = row_of(sluice, mounted)
            assert row["fs"] == "fuse"
            assert hashlib.sha256((mounted / "data/big").read_bytes()).hexdigest() == big_sha256()
            said = Path("/run/sluice", row["id"], "log").read_text(encoding="utf-8")
            assert "--fs=fuse, since EROFS failed: this kernel cannot mount EROFS" in said
            os.kill(row["server"], signal.SIGKILL)
            assert (mounted / "etc/user").read_bytes() == b"x"
            sluice.umount(mounted)
            (sluice.place / "d").mkdir()
            sluice.refuses("mount", local, sluice.place / "d", "--fs=erofs", *how,
                           words="use --fs=fuse")
            assert not run.mounts_below(sluice.place / "d")
        finally:
            run.run("umount", "--lazy", sluice.store)

    def test_other_user_namespace(self, sluice, local, tmp_path):
        """Its root may mount FUSE only, and is not told of a failure."""
        place = tmp_path / "d"
        place.mkdir()
        said = run.run("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec",
                       "$0 mount --log-level debug $1 $2; cat $2/etc/user;"
                       "findmnt -no FSTYPE $2; $0 umount $2",
                       PROGRAM, local, place, env=sluice.environment)
        assert said.stdout.split() == ["xfuse.sluice"]
        assert "--fs=auto is fuse: only root of the first user namespace" in said.stderr


def test_one_mount_on_a_directory(sluice, local):
    """Of several that begin at once, all but one are refused."""
    place = sluice.place / "mnt"
    place.mkdir()
    sluice.mounted.append(place)
    started = [subprocess.Popen([PROGRAM, "mount", local, place], stderr=subprocess.PIPE,
                                text=True, env={**sluice.environment,
                                                run.MARK: os.environ[run.MARK]})
               for _ in range(6)]
    said = [sentence(process.communicate(timeout=60)[1]) for process in started]
    assert sorted(process.returncode for process in started) == [0] + [1] * 5
    assert sum("under way" in words or "mounted here already" in words for words in said) == 5
    assert len(run.mounts_below(place)) == 1
    assert (place / "etc/user").read_bytes() == b"x"


class TestStates:
    def test_holder_dies(self, sluice, local):
        """The server starts another, which keeps the mount through the server's own death."""
        mounted = sluice.mount(local)
        for _ in range(2):  # the second one is the server's own child
            row = row_of(sluice, mounted)
            assert row["state"] == "ok"
            os.kill(row["holder"], signal.SIGKILL)
            run.wait_until(lambda row=row: row_of(sluice, mounted)["holder"] != row["holder"] and
                           row_of(sluice, mounted)["state"] == "ok", ANSWER_SECONDS_MAX,
                           "a new holder")
            assert row_of(sluice, mounted)["server"] == row["server"]
        os.kill(row["server"], signal.SIGKILL)
        assert hashlib.sha256((mounted / "data/big").read_bytes()).hexdigest() == big_sha256()
        run.wait_until(lambda: row_of(sluice, mounted)["server"] != row["server"],
                       ANSWER_SECONDS_MAX, "a new server")
        sluice("umount", mounted)
        assert str(mounted) not in sluice("mounts").stdout

    def test_writable_holder_dies(self, sluice, local):
        mounted = sluice.mount(local, "--rw")
        (mounted / "new").write_text("kept")
        row = row_of(sluice, mounted)
        os.kill(row["holder"], signal.SIGKILL)
        run.wait_until(lambda: row_of(sluice, mounted)["holder"] != row["holder"],
                       ANSWER_SECONDS_MAX, "a new holder")
        assert (mounted / "new").read_text() == "kept"
        sluice("umount", mounted)
        assert not os.path.ismount(mounted)
        assert not list((sluice.place / "store/tmp").iterdir())

    @pytest.mark.parametrize("clear", ["umount", "gc"])
    @pytest.mark.parametrize("kind", ["fuse", "auto"])
    def test_both_die(self, sluice, local, clear, kind):
        mounted = sluice.mount(local, f"--fs={kind}")
        row = row_of(sluice, mounted)
        # Stopped first, so that it cannot start a new holder in between.
        os.kill(row["server"], signal.SIGSTOP)
        os.kill(row["holder"], signal.SIGKILL)
        run.wait_until(lambda: row_of(sluice, mounted)["state"] == "orphan", ANSWER_SECONDS_MAX,
                       "an orphan")
        os.kill(row["server"], signal.SIGKILL)
        run.wait_until(lambda: row_of(sluice, mounted)["state"] == "dead", ANSWER_SECONDS_MAX,
                       "a dead mount")
        with pytest.raises(OSError) as caught:
            (mounted / "data/big").read_bytes()
        # With EROFS the names stay, and the bytes do not.
        assert caught.value.errno == (errno.ENOTCONN if row["fs"] == "fuse" else errno.EIO)
        sluice(*(["umount", mounted] if clear == "umount" else ["gc"]))
        assert str(mounted) not in sluice("mounts").stdout
        assert not os.path.ismount(mounted)

    def test_crash_loop_ends(self, sluice, local):
        """Readers that fail are better off than readers that hang."""
        mounted = sluice.mount(local, "--fs=fuse")
        holder = row_of(sluice, mounted)["holder"]
        for _ in range(50):
            if not is_alive(holder):
                break
            server = row_of(sluice, mounted)["server"]
            if is_alive(server):
                os.kill(server, signal.SIGKILL)
            time.sleep(0.1)
        assert not is_alive(holder)
        with pytest.raises(OSError) as caught:
            os.stat(mounted / "etc")
        assert caught.value.errno == errno.ENOTCONN
        sluice("umount", mounted)


READER = """
import hashlib, os, sys
root, want, stop = sys.argv[1:]
want = bytes.fromhex(want)
done = 0
while not os.path.exists(stop):
    with open(f"{root}/data/big", "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert hashlib.sha256(file.read()).digest() == want, "wrong bytes"
    assert len(os.listdir(f"{root}/many")) > 300
    assert os.path.getsize(f"{root}/data/4097") == 4097
    done += 1
print(done)
"""


@pytest.mark.slow
def test_no_reader_notices_kills(sluice, indexed, tmp_path):
    """With a registry behind, while bytes are still on their way; the servers' sum is kept."""
    mounted = sluice.mount(indexed, "--crashes", "100000")
    stop = tmp_path / "stop"
    readers = [subprocess.Popen(["/usr/bin/python3", "-B", "-c", READER, mounted, big_sha256(),
                                 stop], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
               for _ in range(3)]
    killed = set()
    deadline = time.monotonic() + 90
    while len(killed) < KILLS and time.monotonic() < deadline:
        server = row_of(sluice, mounted)["server"]
        if server not in killed and is_alive(server):
            os.kill(server, signal.SIGKILL)
            killed.add(server)
        time.sleep(KILL_EVERY_SECONDS)
    stop.touch()
    for reader in readers:
        out, said = reader.communicate(timeout=ANSWER_SECONDS_MAX * 3)
        assert reader.returncode == 0 and said == ""
        assert int(out) > 0
    assert len(killed) == KILLS
    stat = told(sluice, "stat", mounted)
    assert stat["takeovers"] >= KILLS and stat["errors"] == 0
    sluice("fsck", "--deep")


class TestCounts:
    def sent(self, registry_, path):
        """Bytes of 2xx answers in the access log that concern the path."""
        total = 0
        for line in registry_.requests(path):
            match = re.search(r'HTTP/1\.1" (20\d) (\d+)', line)
            total += int(match[2]) if match else 0
        return total

    def test_fetched_is_what_was_sent(self, sluice, own_registry, indexed):
        (own_registry.place / "registry.log").write_text("")
        mounted = sluice.mount(indexed)
        with open(mounted / "data/big", "rb") as file:
            file.seek(BIG // 2)
            file.read(4096)
        stat = told(sluice, "stat", mounted)
        sent = self.sent(own_registry, "GET /v2/demo")
        assert sent > 0
        assert abs(stat["bytes_fetched"] - sent) <= 0.01 * sent
        assert stat["bytes_fetched"] < stat["bytes_total"] / 2
        assert stat["requests"] >= len(own_registry.requests("GET /v2/demo"))
        assert stat["bytes_served"] >= 4096 and stat["spans_present"] < stat["spans"]

    def test_no_byte_crosses_twice(self, sluice, own_registry, indexed):
        (own_registry.place / "registry.log").write_text("")
        first, second = sluice.mount(indexed), sluice.mount(indexed)
        assert compare.walk(first) == compare.walk(second)
        sluice.umount(first)
        third = sluice.mount(indexed)
        compare.walk(third)
        stat = told(sluice, "stat", second)
        layers_ = sum(layer["size"] for layer in stat["layers"])
        sent = self.sent(own_registry, "GET /v2/demo")
        # Beside the layers: manifest, configuration, and the index with the windows.
        assert sent <= 1.10 * layers_
        assert stat["complete"]

    def test_pull_then_gone(self, sluice, own_registry, indexed):
        sluice("pull", indexed)
        own_registry.stop()
        mounted = sluice.mount(indexed, "--offline")
        assert hashlib.sha256((mounted / "data/big").read_bytes()).hexdigest() == big_sha256()
        assert told(sluice, "stat", mounted)["bytes_fetched"] == 0
        assert indexed in sluice("images").stdout
        assert (b"x" == sluice("cat", indexed, "/etc/user", "--offline").stdout.encode())

    def test_offline_without_the_image(self, sluice, indexed, tmp_path):
        (tmp_path / "d").mkdir()
        sluice.refuses("mount", "--offline", indexed, tmp_path / "d",
                       words=[indexed, "not in the store"])


@pytest.mark.slow
def test_server_restarts_without_the_registry(sluice, own_registry, indexed):
    mounted = sluice.mount(indexed, "--read-timeout", "3s")
    first = (mounted / "etc/owned").read_bytes()
    own_registry.stop()
    for _ in range(3):
        server = row_of(sluice, mounted)["server"]
        os.kill(server, signal.SIGKILL)
        with open(mounted / "etc/owned", "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert file.read() == first
        run.wait_until(lambda: row_of(sluice, mounted)["server"] != server, ANSWER_SECONDS_MAX,
                       "another server")
    with pytest.raises(OSError) as caught:
        (mounted / "data/big").read_bytes()
    assert caught.value.errno == errno.EIO
    own_registry.daemon.start()

    def heals():
        try:
            return hashlib.sha256((mounted / "data/big").read_bytes()).hexdigest()
        except OSError:
            return None
    assert run.wait_until(heals, 60, "the mount to heal") == big_sha256()


class TestStore:
    @pytest.mark.parametrize("words, status", ((["images"], 1), (["fsck"], 1), (["gc"], 1),
                                               (["volume", "ls"], 125)))
    def test_a_mistyped_store_is_not_made(self, sluice, tmp_path, words, status):
        sluice.refuses(*words, "--store", tmp_path / "typo", status=status,
                       words=f"there is no store at {tmp_path}/typo")
        assert not (tmp_path / "typo").exists()

    def test_mounts_are_listed_by_directory(self, sluice, local):
        names = ("b", "d", "a", "c")
        for name in names:
            sluice.mount(local, directory=sluice.place / name)
        wanted = [str(sluice.place / name) for name in sorted(names)]
        assert [row["dir"] for row in told(sluice, "mounts") if row["dir"] in wanted] == wanted
        lines = [line.split()[0] for line in sluice("mounts").stdout.splitlines()]
        assert [line for line in lines if line in wanted] == wanted

    def test_gc_spares_what_is_mounted(self, sluice, indexed):
        mounted = sluice.mount(indexed)
        first = compare.walk(mounted)
        sluice("gc", "--all", "--min-age", "1ms")
        run.run("sh", "-c", "echo 3 >/proc/sys/vm/drop_caches")
        compare.assert_same(first, compare.walk(mounted))
        sluice.umount(mounted)
        assert told(sluice, "images") != []
        sluice("gc", "--all", "--min-age", "1ms")
        assert told(sluice, "images") == []
        assert not list((sluice.store / "layers").glob("*/data"))
        compare.assert_same(first, compare.walk(sluice.mount(indexed)))

    def test_gc_collects_what_says_nothing(self, sluice, local):
        """Directories of mounts that never came to be; not one that is young, held, or not ours."""
        mounted = sluice.mount(local)
        table = Path("/run/sluice")
        held = table / row_of(sluice, mounted)["id"]
        names = {name: table / f"{name:016x}" for name in (0xab, 0xcd)}
        other = table / "not-an-id"
        for path in (*names.values(), other):
            path.mkdir()
            (path / "lower").mkdir()
        (names[0xcd] / "mount.json").write_text("{")
        note = (held / "mount.json").read_bytes()
        try:
            sluice("gc")
            assert all(path.exists() for path in names.values())
            (held / "mount.json").unlink()
            time.sleep(1.1)
            sluice("gc", "--dry-run", "--min-age", "1s")
            assert all(path.exists() for path in names.values())
            sluice("gc", "--min-age", "1s")
            assert not any(path.exists() for path in names.values())
            assert held.exists() and other.exists()
        finally:
            (held / "mount.json").write_bytes(note)
            other.joinpath("lower").rmdir()
            other.rmdir()
            for path in names.values():
                shutil.rmtree(path, ignore_errors=True)

    def test_fsck_finds_and_repairs(self, sluice, indexed):
        mounted = sluice.mount(indexed)
        first = compare.walk(mounted)
        sluice.umount(mounted)
        assert "nothing is wrong" in sluice("fsck", "--deep").stdout
        data = max(sluice.store.glob("layers/*/data"), key=lambda path: path.stat().st_size)
        with data.open("r+b") as file:
            file.seek(5 << 20)
            file.write(b"damage")
        found = sluice("fsck", "--deep", check=False)
        assert found.returncode == 1 and data.parent.name[7:] in found.stdout
        assert sluice("fsck", "--deep", "--repair").returncode == 0
        assert "nothing is wrong" in sluice("fsck", "--deep").stdout
        compare.assert_same(first, compare.walk(sluice.mount(indexed)))

    @pytest.mark.parametrize("kind", ("images", "layers"))
    def test_fsck_reads_trees(self, sluice, local, kind):
        """A byte that no reader checks, for it may be any: a name's."""
        sluice("pull", local)
        first = compare.walk(sluice.mount(local))
        sluice.umount(sluice.mounted[-1])
        trees = sorted(sluice.store.glob(f"{kind}/*/tree.erofs"))
        broken = next(tree for tree in trees if b"hard" in tree.read_bytes())
        broken.write_bytes(broken.read_bytes().replace(b"hard", b"herd", 1))
        found = sluice("fsck", check=False)
        assert found.returncode == 1
        assert broken.parent.name in found.stdout and "SHA-256" in found.stdout
        assert "1 findings" in found.stdout
        assert "removed" in sluice("fsck", "--repair").stdout
        assert not broken.exists()
        assert "nothing is wrong" in sluice("fsck", "--deep").stdout
        for image in sluice.store.glob("images/*/tree.erofs"):
            image.unlink()
        compare.assert_same(first, compare.walk(sluice.mount(local)))
        assert "nothing is wrong" in sluice("fsck", "--deep").stdout

    def test_two_at_once(self, sluice, own_registry, indexed):
        """Several processes fill one empty store with one image, and all see all of it."""
        (own_registry.place / "registry.log").write_text("")
        places = [sluice.place / f"at-once{n}" for n in range(4)]
        for place in places:
            place.mkdir()
        sluice.mounted += places
        started = [subprocess.Popen([PROGRAM, "mount", indexed, place], env={
            **sluice.environment, run.MARK: os.environ[run.MARK]}) for place in places]
        assert [process.wait(90) for process in started] == [0] * len(places)
        readers = [subprocess.Popen(["sha256sum", place / "data/big"], stdout=subprocess.PIPE,
                                    text=True) for place in places]
        assert {r.communicate(timeout=90)[0].split()[0] for r in readers} == {big_sha256()}
        sent = TestCounts().sent(own_registry, "GET /v2/demo")
        total = told(sluice, "stat", places[0])["bytes_total"]
        assert sent <= 1.5 * total
        assert "nothing is wrong" in sluice("fsck", "--deep").stdout


NOBODY = pwd.getpwnam("nobody")
THEIR_PROGRAM = Path("/mnt/program", PROGRAM.name)
# In a mount namespace of its own, where /dev/fuse is everybody's, as udev makes it, and the paths
# to the program and to the test's folder are open to all.
AS_NOBODY = """
set -e
mount -t tmpfs none /mnt
mkdir /mnt/program /mnt/place
mount --bind "$1" /mnt/program
mount --bind "$2" /mnt/place
mknod /mnt/fuse c 10 229
chmod 666 /mnt/fuse
mount --bind /mnt/fuse /dev/fuse
shift 2
exec setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"
"""
USE = """
set -e
"$0" mount "$1" "$2"
sha256sum "$2/data/big"
"$0" mounts
"$0" umount "$2"
"$0" mounts
"""


class TestOrdinaryUser:
    @pytest.fixture
    def place(self, tmp_path):
        """The user's folder, as it is called in the namespace."""
        (tmp_path / "theirs").mkdir()
        home = tmp_path / "nobody"
        for path in (home, home / "store", home / "run", home / "mnt"):
            path.mkdir()
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
            path.chmod(0o700)
        tmp_path.chmod(0o755)
        return Path("/mnt/place/nobody")

    def run(self, sluice, place, *command):
        environment = {**sluice.environment, "HOME": str(place),
                       "SLUICE_STORE": str(place / "store"), "XDG_RUNTIME_DIR": str(place / "run")}
        return run.run("unshare", "--mount", "sh", "-c", AS_NOBODY, "sh", PROGRAM.parent,
                       sluice.place, *command, check=False, env=environment)

    def test_mounts_through_fusermount(self, sluice, indexed, place):
        result = self.run(sluice, place, "sh", "-c", USE, THEIR_PROGRAM, indexed, place / "mnt")
        assert result.returncode == 0, result.stderr
        digest, listed = result.stdout.split("\n", 1)
        assert digest.split()[0] == big_sha256()
        assert listed.count(str(place / "mnt")) == 1

    @pytest.mark.parametrize("what", ("rw", "suid", "directory", "store"))
    def test_refusals(self, sluice, indexed, place, what):
        theirs = place.parent / "theirs"
        target, options, words = {
            "rw": (place / "mnt", ["--rw"], "needs root"),
            "suid": (place / "mnt", ["-o", "suid"], "needs root"),
            "directory": (theirs, [], f"{theirs}: you may only mount on a directory of your own"),
            "store": (place / "mnt", ["--store", theirs / "store"], str(theirs)),
        }[what]
        result = self.run(sluice, place, THEIR_PROGRAM, "mount", indexed, target, *options)
        said = sentence(result.stderr)
        assert result.returncode == 1
        assert words in said and len(said.splitlines()) == 1
        assert not list((sluice.place / "theirs").iterdir())
