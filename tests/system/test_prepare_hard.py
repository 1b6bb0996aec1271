# SPDX-License-Identifier: Apache-2.0
"""Images that several prepare at once, that a killed command left half prepared, or that the disk
has no room for."""
import json
import os
import random
import subprocess
import threading

import pytest

from conftest import PROGRAM, sentence
from faultlib import FaultServer, count
from lib import compare, images, layers, run
from lib.registry import digest_of

ANSWER_SECONDS_MAX = 60
MANIFESTS = r".*/manifests/.*"
CONTENT = (layers.bottom(), layers.middle(), layers.top())
PACKED = [layers.gzip_one(tar) for tar in CONTENT]
BLOBS = [digest_of(data) for data in PACKED]


@pytest.fixture
def layout(tmp_path):
    made = images.Layout(tmp_path / "layout")
    blobs = [made.blob(data, layers.OCI_LAYER + "+gzip") for data in PACKED]
    diff_ids = [digest_of(tar) for tar in CONTENT]
    made.tag(made.manifest_of(blobs, diff_ids))
    return made.tag(made.manifest_of(blobs[:2], diff_ids[:2]), "other")


@pytest.fixture
def serve(layout, nothing_left):
    servers = []

    def start(*rules):
        servers.append(FaultServer(layout.place, rules).start())
        return servers[-1]
    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def begin(sluice):
    """Starts commands that are ended with the test."""
    started = []

    def start(verb, *words):
        started.append(subprocess.Popen(
            [PROGRAM, verb, *words], env=sluice.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
        return started[-1]
    yield start
    for process in started:
        process.kill()
        process.communicate()


def blob_path(digest):
    return f".*/blobs/{digest}"


def begin_mount(sluice, begin, image):
    place = sluice.place / f"mnt{len(sluice.mounted)}"
    place.mkdir()
    sluice.mounted.append(place)
    return begin("mount", image, place), place


def ends_well(process):
    _, said = process.communicate(timeout=ANSWER_SECONDS_MAX)
    assert process.returncode == 0 and sentence(said) == "", said


def kill(process):
    process.kill()
    process.wait()


def assert_sound(sluice):
    """Nothing wrong was kept, and nothing is left over that gc does not clear."""
    sluice("fsck", "--deep")
    sluice("gc", "--min-age", "1ms")
    for place in ("tmp", "locks"):
        assert os.listdir(sluice.store / place) == []
    assert not [path for path in sluice.store.rglob("*") if ".tmp" in path.name]
    sluice("fsck", "--deep")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """What the image looks like, mounted without any of this."""
    place = tmp_path_factory.mktemp("tree")
    made = images.Layout(place / "layout")
    made.tag(made.manifest(CONTENT))
    directory = place / "mnt"
    directory.mkdir()
    environment = {**os.environ, "SLUICE_STORE": str(place / "store")}
    run.run(PROGRAM, "mount", f"oci:{made.place}:latest", directory, env=environment)
    try:
        return compare.walk(directory)
    finally:
        run.run(PROGRAM, "umount", directory, env=environment)


class TestAtOnce:
    @pytest.mark.parametrize("n", (2, 4))
    def test_same_image(self, sluice, serve, begin, tree, n):
        """They wait for the one that was first; each layer comes once."""
        gate = threading.Event()
        server = serve({"path": blob_path(".*"), "gate": gate})
        mounts = [begin_mount(sluice, begin, f"{server.host}/a/b:latest") for _ in range(n)]
        run.wait_until(lambda: count(server, "GET", "/manifests/latest") == n,
                       ANSWER_SECONDS_MAX, "all to know the image")
        gate.set()
        for process, _ in mounts:
            ends_well(process)
        for _, place in mounts:
            compare.assert_same(tree, compare.walk(place))
        assert [count(server, "GET", digest) for digest in BLOBS] == [1, 1, 1]
        assert_sound(sluice)

    def test_images_that_share_layers(self, sluice, serve, begin):
        gate = threading.Event()
        server = serve({"path": blob_path(".*"), "gate": gate})
        mounts = [begin_mount(sluice, begin, f"{server.host}/a/b:{tag}")
                  for tag in ("latest", "other")]
        run.wait_until(lambda: count(server, "GET", "/manifests/latest") and
                       count(server, "GET", "/manifests/other"), ANSWER_SECONDS_MAX, "both")
        gate.set()
        for process, _ in mounts:
            ends_well(process)
        assert (mounts[0][1] / "etc/marked/inside").read_bytes() == b"back again"
        assert not (mounts[1][1] / "etc/marked").exists()
        assert [count(server, "GET", digest) for digest in BLOBS] == [1, 1, 1]
        assert_sound(sluice)

    def test_first_dies(self, sluice, serve, begin, tree):
        """Whoever waited takes over at once, from the beginning."""
        server = serve({"path": blob_path(BLOBS[0]), "stall": 700_000, "times": 1})
        first, _ = begin_mount(sluice, begin, f"{server.host}/a/b:latest")
        run.wait_until(lambda: count(server, "GET", BLOBS[0]), ANSWER_SECONDS_MAX, "the first")
        others = [begin_mount(sluice, begin, f"{server.host}/a/b:latest") for _ in range(2)]
        run.wait_until(lambda: count(server, "GET", "/manifests/latest") == 3,
                       ANSWER_SECONDS_MAX, "the others")
        assert count(server, "GET", BLOBS[0]) == 1
        kill(first)
        for process, place in others:
            ends_well(process)
            compare.assert_same(tree, compare.walk(place))
        assert count(server, "GET", BLOBS[0]) == 2
        assert_sound(sluice)

    def test_first_fails(self, sluice, serve, begin, tree):
        """What was wrong for one is tried again by the next, and not remembered."""
        gate = threading.Event()
        server = serve({"path": blob_path(BLOBS[2]), "flip": 30, "gate": gate, "times": 1})
        mounts = [begin_mount(sluice, begin, f"{server.host}/a/b:latest") for _ in range(3)]
        run.wait_until(lambda: count(server, "GET", "/manifests/latest") == 3,
                       ANSWER_SECONDS_MAX, "all to know the image")
        gate.set()
        said = [process.communicate(timeout=ANSWER_SECONDS_MAX)[1] for process, _ in mounts]
        assert sorted(process.returncode for process, _ in mounts) == [0, 0, 1]
        for (process, place), words in zip(mounts, said):
            if process.returncode:
                assert BLOBS[2] in words and "corrupt" in words
            else:
                compare.assert_same(tree, compare.walk(place))
        assert_sound(sluice)


class TestKilled:
    """While a registry takes its time; then all works as if nothing had been."""

    @pytest.mark.parametrize("verb", ("mount", "pull", "index"))
    @pytest.mark.parametrize("path, after", (
        (MANIFESTS, 0), (MANIFESTS, 100), (".*/referrers/.*", 0), ("config", 0), ("config", 100),
        (BLOBS[0], 0), (BLOBS[0], 3), (BLOBS[0], 1_000_000), (BLOBS[0], len(PACKED[0]) - 1),
        (BLOBS[2], 0), (BLOBS[2], len(PACKED[2]) - 1)))
    def test_and_again(self, sluice, layout, serve, begin, tree, verb, path, after):
        if path == "config":
            manifest = layout.blob_path(layout.entries[0]["digest"]).read_text()
            path = images.json.loads(manifest)["config"]["digest"]
        path = blob_path(path) if path.startswith("sha256:") else path
        server = serve({"path": path, "stall": after, "times": 1})
        image = f"{server.host}/a/b:latest"
        if verb == "mount":
            process, _ = begin_mount(sluice, begin, image)
        else:
            process = begin(*({"pull": ("pull", image), "index": ("index", "build", image)}[verb]))
        run.wait_until(lambda: [rule["used"] for rule in server.rules] == [1],
                       ANSWER_SECONDS_MAX, "the request")
        run.wait_until(lambda: verb != "mount" or path != blob_path(BLOBS[2]) or
                       len(list(sluice.store.glob("layers/*"))) == 2, ANSWER_SECONDS_MAX, "others")
        kill(process)
        sluice("fsck", "--deep")
        compare.assert_same(tree, compare.walk(sluice.mount(image)))
        if path == blob_path(BLOBS[2]):
            assert count(server, "GET", BLOBS[0]) <= 2
        assert_sound(sluice)

    def test_layers_that_were_ready_stay(self, sluice, serve, begin):
        server = serve({"path": blob_path(BLOBS[2]), "stall": 100, "times": 1})
        process, _ = begin_mount(sluice, begin, f"{server.host}/a/b:latest")
        run.wait_until(lambda: len(list(sluice.store.glob("layers/*/layer.json"))) == 2,
                       ANSWER_SECONDS_MAX, "two layers")
        kill(process)
        sluice.mount(f"{server.host}/a/b:latest")
        assert [count(server, "GET", digest) for digest in BLOBS] == [1, 1, 2]

    def test_gc_spares_what_is_under_way(self, sluice, serve, begin, tree):
        """The lock says that somebody is at it; finished layers that went are made again."""
        gate = threading.Event()
        server = serve({"path": blob_path(BLOBS[0]), "gate": gate})
        process, place = begin_mount(sluice, begin, f"{server.host}/a/b:latest")
        run.wait_until(lambda: count(server, "GET", BLOBS[0]) and
                       len(list(sluice.store.glob("layers/*/layer.json"))) == 2,
                       ANSWER_SECONDS_MAX, "all but one")
        work = os.listdir(sluice.store / "tmp")
        sluice("gc", "--min-age", "1ms")
        assert os.listdir(sluice.store / "tmp") == work and work
        gate.set()
        ends_well(process)
        compare.assert_same(tree, compare.walk(place))
        assert_sound(sluice)


class Disk:
    """A small tmpfs with the store on it."""

    def __init__(self, place):
        self.place, self.store = place, place / "store"
        self.filler, self.files = place / "filler", []

    def mount(self, **limits):
        words = ",".join(f"{key}={value}" for key, value in limits.items())
        run.run("mount", "-t", "tmpfs", "-o", words, "none", self.place)
        return self

    def resize(self, **limits):
        words = ",".join(f"{key}={value}" for key, value in limits.items())
        run.run("mount", "-o", f"remount,{words}", self.place)

    def mount_ext4(self, mib):
        """On a real disk's file system, where room is promised before it is taken."""
        file = self.place.with_suffix(".ext4")
        file.touch()
        os.truncate(file, mib << 20)
        run.run("mkfs.ext4", "-q", "-m", "0", "-N", "256", file)
        run.run("mount", "-o", "loop", file, self.place)

    def fill(self):
        """Leaves not a byte."""
        with open(self.filler, "ab", buffering=0) as file:
            with pytest.raises(OSError):
                while True:
                    file.write(bytes(1 << 20))
            with pytest.raises(OSError):
                os.fsync(file.fileno())
                while True:
                    file.write(bytes(4096))

    def fill_inodes(self):
        """Leaves not even room for an empty file."""
        with pytest.raises(OSError):
            while True:
                self.files.append(self.place / f"file{len(self.files)}")
                self.files[-1].touch()

    def empty(self):
        for file in (self.filler, *self.files):
            file.unlink(missing_ok=True)


@pytest.fixture
def disk(sluice, tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    made = Disk(place)
    sluice.store = made.store
    sluice.environment["SLUICE_STORE"] = str(made.store)
    yield made
    sluice.finish()
    while os.path.ismount(place):
        run.run("umount", place)


def mounts_or_refuses(sluice, image):
    """One clear sentence, or a mount."""
    place = sluice.place / "mnt"
    place.mkdir(exist_ok=True)
    result = sluice("mount", image, place, check=False)
    said = sentence(result.stderr)
    if result.returncode == 0:
        assert said == ""
        sluice.umount(place)
        return True
    assert result.returncode == 1 and len(said.splitlines()) == 1, (result.returncode, said)
    assert str(sluice.store) in said and "full" in said and "sluice gc" in said, said
    return False


def test_gc_of_any_age(sluice, layout):
    """What was made just now may be about to be used, unless it is said that it is not."""
    sluice("pull", f"oci:{layout.place}:latest")
    sluice("gc", "--all")
    assert list(sluice.store.glob("images/*")) and list(sluice.store.glob("layers/*"))
    sluice("gc", "--all", "--min-age", "0s")
    assert not list(sluice.store.glob("images/*")) + list(sluice.store.glob("layers/*"))


class TestFullDisk:
    @pytest.mark.parametrize("limits", (
        [{"size": f"{kib}k"} for kib in range(4, 400, 12)],
        [{"nr_inodes": n} for n in range(2, 60)]), ids=("bytes", "inodes"))
    def test_wherever_it_ends(self, sluice, layout, disk, tree, limits):
        """Every step of the way is the one that fails; with more room it goes on from there."""
        image, done = f"oci:{layout.place}:latest", []
        for limit in limits:
            disk.mount(**limit)
            done.append(mounts_or_refuses(sluice, image))
            disk.resize(**{key: 0 for key in limit})
            if disk.store.exists():
                sluice("fsck", "--deep")
            if not done[-1] and len(done) % 8 == 0:
                mounted = sluice.mount(image)
                compare.assert_same(tree, compare.walk(mounted))
                sluice.umount(mounted)
                assert_sound(sluice)
            run.run("umount", disk.place)
        assert done[0] is False and done[-1] is True

    @pytest.mark.parametrize("verb", ("pull", "index", "ls"))
    def test_other_verbs(self, sluice, layout, disk, verb):
        image = f"oci:{layout.place}:latest"
        words = {"pull": ("pull", image), "index": ("index", "build", image),
                 "ls": ("ls", image)}[verb]
        disk.mount(size="150k")
        sluice.refuses(*words, words=[str(disk.store), "full", "sluice gc"])
        disk.resize(size=0)
        sluice(*words)
        assert_sound(sluice)

    @pytest.mark.parametrize("kind", ("tmpfs", "ext4"))
    def test_fills_up_under_a_mount(self, sluice, another_sluice, serve, disk, tree, kind):
        """It costs the cache, not the reads, nor the unmount; with room again things are kept."""
        server = serve()
        image = f"{server.host}/a/b:latest"
        another_sluice("index", "push", image)
        disk.mount(size="64m", nr_inodes=300) if kind == "tmpfs" else disk.mount_ext4(64)
        sluice("fsck")
        mounted = sluice.mount(image)
        disk.fill()
        compare.assert_same(tree, compare.walk(mounted))
        for words in (("ls", image), ("cat", image, "/etc/owned"), ("stat", mounted),
                      ("images",), ("mounts",), ("fsck", "--deep"), ("gc", "--dry-run")):
            disk.fill()
            sluice(*words)
        disk.fill()
        sluice.umount(mounted)
        disk.fill_inodes()
        sluice("gc", "--all", "--min-age", "1ms")
        assert not list(sluice.store.glob("layers/*")) + list(sluice.store.glob("images/*"))
        disk.empty()
        mounted = sluice.mount(image)
        compare.assert_same(tree, compare.walk(mounted))
        sluice.umount(mounted)
        server.requests.clear()
        mounted = sluice.mount(image)
        compare.assert_same(tree, compare.walk(mounted))
        assert count(server, "GET", "/blobs/") == 0
        sluice.umount(mounted)
        assert_sound(sluice)

    def test_full_from_the_first_byte_on(self, sluice, another_sluice, tmp_path, own_registry, disk):
        """Nothing can be kept, not even what decompression begins with: all of it reads."""
        made = images.Layout(tmp_path / "spans")
        data, tar = random.Random(7).randbytes(9 << 20), layers.TarLayer()
        tar.add("noise", data=data)
        tar = tar.finish()
        made.tag(made.manifest_of([made.blob(layers.gzip_one(tar), layers.OCI_LAYER + "+gzip")],
                                  [digest_of(tar)]))
        image = own_registry.push(f"oci:{made.place}:latest", "full/noise:1")
        another_sluice("index", "push", image)
        disk.mount_ext4(16)
        sluice("pull", "--lazy", image)
        disk.fill()
        mounted = sluice.mount(image)
        assert (mounted / "noise").read_bytes() == data
        layer, = json.loads(sluice("stat", mounted, "--format", "json").stdout)["layers"]
        assert layer["index"] == "sluice" and layer["spans_present"] == 0
        disk.empty()
        sluice.umount(mounted)
        assert_sound(sluice)
