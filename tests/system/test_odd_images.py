# SPDX-License-Identifier: Apache-2.0
"""Images that nobody expects, and that registries have all the same."""
import gzip
import os
import stat
import struct
import tarfile

import pytest

from faultlib import FaultServer, count
from lib import compare, images, layers, tools
from lib.registry import digest_of

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
UNDISTRIBUTED = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
MANY = 500
HOWS = (("--fs", "fuse"), ("--fs", "erofs"), ("--rw",))
END_OF_TAR = bytes(1024)
EMPTY_ZSTD = bytes.fromhex("28b52ffd 2000 010000")


@pytest.fixture
def layout(tmp_path):
    return images.Layout(tmp_path / "layout")


@pytest.fixture
def target(tmp_path):
    place = tmp_path / "target"
    place.mkdir()
    return place


@pytest.fixture
def serve(nothing_left):
    servers = []

    def start(layout, *rules):
        servers.append(FaultServer(layout.place, rules).start())
        return servers[-1]
    yield start
    for server in servers:
        server.stop()


def named(layout):
    return f"oci:{layout.place}:latest"


def image_of(layout, *parts):
    """An image of (bytes of a layer, media type, tar): the tar is what it unpacks to."""
    blobs = [layout.blob(data, kind) for data, kind, _ in parts]
    return named(layout.tag(layout.manifest_of(blobs, [digest_of(tar) for _, _, tar in parts])))


def listed(directory):
    return sorted(os.listdir(directory))


def tar_of(*names, **more):
    t = layers.TarLayer()
    for name in names:
        t.add(name, data=name.encode(), **more)
    return t.finish()


def assert_sound(sluice):
    sluice("fsck", "--deep")


class TestLayerLists:
    @pytest.mark.parametrize("how", HOWS)
    def test_no_layers(self, sluice, layout, how):
        mounted = sluice.mount(image_of(layout), *how)
        assert os.listdir(mounted) == []
        assert_sound(sluice)

    def test_same_layer_twice(self, sluice, layout, serve):
        """It comes once, and the whiteout between its two places has the say of its place."""
        lower, hide = tar_of("a", "b"), layers.TarLayer()
        hide.whiteout("a")
        image_of(layout, *[(layers.gzip_one(tar), layers.OCI_LAYER + "+gzip", tar)
                           for tar in (lower, hide.finish(), lower, tar_of("c"))])
        server = serve(layout)
        mounted = sluice.mount(f"{server.host}/a/b:latest")
        assert listed(mounted) == ["a", "b", "c"]
        assert (mounted / "a").read_bytes() == b"a"
        assert count(server, "GET", digest_of(layers.gzip_one(lower))) == 1
        assert_sound(sluice)

    def test_same_layer_twice_with_an_index(self, sluice, another_sluice, layout, own_registry):
        tar = tar_of("a", "b")
        part = (layers.gzip_one(tar), layers.OCI_LAYER + "+gzip", tar)
        image = own_registry.push(image_of(layout, part, part, part), "twice:latest")
        sluice("index", "push", image)
        mounted = another_sluice.mount(image)
        assert (mounted / "b").read_bytes() == b"b"
        assert_sound(another_sluice)

    def test_same_layer_with_another_diff_id(self, sluice, layout, target):
        """What one place says of a layer is no proof of what the other says."""
        tar = tar_of("a")
        blob = layout.blob(layers.gzip_one(tar), layers.OCI_LAYER + "+gzip")
        wrong = digest_of(b"another")
        layout.tag(layout.manifest_of([blob, blob], [digest_of(tar), wrong]))
        sluice.refuses("mount", named(layout), target, words=[blob["digest"], wrong])
        layout.tag(layout.manifest_of([blob], [digest_of(tar)]), "right")
        assert listed(sluice.mount(f"oci:{layout.place}:right")) == ["a"]
        layout.tag(layout.manifest_of([blob], [wrong]), "wrong")
        sluice.refuses("mount", f"oci:{layout.place}:wrong", target,
                       words=[blob["digest"], wrong])
        assert_sound(sluice)

    def test_many(self, sluice, layout):
        parts = []
        for number in range(MANY):
            tar = tar_of(f"file{number:03}", "common")
            parts.append((tar, layers.OCI_LAYER, tar))
        mounted = sluice.mount(image_of(layout, *parts))
        assert listed(mounted) == ["common", *(f"file{n:03}" for n in range(MANY))]
        for number in (0, 1, MANY // 2, MANY - 1):
            assert (mounted / f"file{number:03}").read_bytes() == f"file{number:03}".encode()


EMPTY = {
    "gzip of an empty tar": (layers.gzip_one(END_OF_TAR), "+gzip", END_OF_TAR),
    "gzip of nothing": (layers.gzip_one(b""), "+gzip", b""),
    "zstd of an empty tar": (layers.zstd_one(END_OF_TAR), "+zstd", END_OF_TAR),
    "zstd of nothing": (EMPTY_ZSTD, "+zstd", b""),
    "tar of nothing but its end": (END_OF_TAR, "", END_OF_TAR),
    "half of an end": (END_OF_TAR[:512], "", END_OF_TAR[:512]),
    "docker's": (gzip.compress(END_OF_TAR, mtime=0), "+gzip", END_OF_TAR),
    "no bytes": (b"", "", b""),
}


class TestEmptyLayers:
    @pytest.mark.parametrize("what", sorted(EMPTY))
    def test_between_others(self, sluice, layout, what):
        data, kind, tar = EMPTY[what]
        below, above = tar_of("below"), tar_of("above")
        mounted = sluice.mount(image_of(
            layout, (below, layers.OCI_LAYER, below), (data, layers.OCI_LAYER + kind, tar),
            (above, layers.OCI_LAYER, above)))
        assert listed(mounted) == ["above", "below"]
        assert_sound(sluice)

    @pytest.mark.parametrize("what", sorted(EMPTY))
    def test_alone_in_a_registry(self, sluice, another_sluice, layout, serve, what):
        """Also with an index, which then says nothing of it."""
        data, kind, tar = EMPTY[what]
        image_of(layout, (data, layers.OCI_LAYER + kind, tar))
        image = f"{serve(layout).host}/a/b:latest"
        assert os.listdir(sluice.mount(image)) == []
        sluice("index", "push", image)
        assert os.listdir(another_sluice.mount(image)) == []
        for program in (sluice, another_sluice):
            program("pull", image)
            assert_sound(program)


def skippable(n, data=b"\0" * 100):
    return struct.pack("<II", 0x184D2A50 + n, len(data)) + data


def zstd_with_skips(tar):
    middle = len(tar) // 2 + 100
    return (skippable(0) + layers.zstd_one(tar[:middle]) + skippable(15, b"") + EMPTY_ZSTD +
            skippable(7) + layers.zstd_one(tar[middle:]) + skippable(3))


def gzip_with_odd_members(tar):
    """Names, comments and extra fields, members of nothing, one byte, and many."""
    out = gzip.compress(b"", mtime=0)
    head = b"\x1f\x8b\x08\x1c\0\0\0\0\0\xff" + struct.pack("<H", 6) + b"XY\x02\0zz"
    plain = gzip.compress(tar[:1], mtime=0)
    out += head + b"name\0comment\0" + plain[10:]
    out += layers.gzip_many(tar[1:])
    return out + gzip.compress(b"", mtime=0) * 3


STREAMS = {
    "frames": (layers.zstd_many, "+zstd"),
    "skippable frames": (zstd_with_skips, "+zstd"),
    "members": (layers.gzip_many, "+gzip"),
    "odd members": (gzip_with_odd_members, "+gzip"),
}


class TestStreams:
    @pytest.mark.parametrize("what", sorted(STREAMS))
    def test_reads(self, sluice, another_sluice, layout, serve, what, tmp_path):
        """By streaming, and by the index made of that."""
        pack, kind = STREAMS[what]
        tar = layers.bottom()
        image_of(layout, (pack(tar), layers.OCI_LAYER + kind, tar))
        plain = images.Layout(tmp_path / "plain")
        plain.tag(plain.manifest([tar]))
        wanted = compare.walk(tools.umoci_unpack(plain.place, tmp_path / "tree"))
        image = f"{serve(layout).host}/a/b:latest"
        compare.assert_same(wanted, compare.walk(sluice.mount(image)))
        sluice("index", "push", image)
        compare.assert_same(wanted, compare.walk(another_sluice.mount(image)))
        another_sluice("pull", image)
        assert_sound(another_sluice)


class TestRoots:
    def test_opaque_root(self, sluice, layout):
        """Hides all that is below it, and nothing of its own layer, whatever the order."""
        t = layers.TarLayer()
        t.add("before", data=b"before")
        t.add(".wh..wh..opq")
        t.add("after", data=b"after")
        parts = [(tar, layers.OCI_LAYER, tar) for tar in
                 (tar_of("below", "before"), t.finish(), tar_of("above"))]
        mounted = sluice.mount(image_of(layout, *parts))
        assert listed(mounted) == ["above", "after", "before"]
        assert (mounted / "before").read_bytes() == b"before"

    def test_opaque_root_alone(self, sluice, layout):
        t = layers.TarLayer()
        t.add("./.wh..wh..opq")
        tars = (tar_of("below"), t.finish())
        mounted = sluice.mount(image_of(layout, *[(tar, layers.OCI_LAYER, tar) for tar in tars]))
        assert os.listdir(mounted) == []

    @pytest.mark.parametrize("name", ("./", ".", "/"))
    @pytest.mark.parametrize("how", HOWS)
    def test_attributes(self, sluice, layout, name, how):
        """The last layer that has an entry for the root decides; one without keeps them."""
        first, second = layers.TarLayer(), layers.TarLayer()
        first.directory("./", mode=0o700, uid=1, gid=2, xattrs={"user.first": b"1"})
        second.directory(name, mode=0o1751, uid=70000, gid=8, xattrs={"user.second": b"2"})
        second.add("file")
        tars = (first.finish(), second.finish(), tar_of("last"))
        mounted = sluice.mount(image_of(layout, *[(tar, layers.OCI_LAYER, tar) for tar in tars]),
                               *how)
        st = os.stat(mounted)
        assert (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid) == (0o1751, 70000, 8)
        assert st.st_mtime == layers.MTIME
        assert {n: os.getxattr(mounted, n) for n in os.listxattr(mounted)
                if n.startswith("user.")} == {"user.second": b"2"}

    @pytest.mark.parametrize("kind", (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE))
    def test_root_that_is_no_directory(self, sluice, layout, target, kind):
        t = layers.TarLayer()
        t.add(".", kind, link="/etc")
        tar = t.finish()
        image = image_of(layout, (tar, layers.OCI_LAYER, tar))
        sluice.refuses("mount", image, target, words=["layer", "root"])
        assert_sound(sluice)


class TestIndexes:
    def test_index_of_indexes(self, sluice, layout):
        inner = layout.index([layout.manifest([tar_of("found")])])
        inner["platform"] = {"architecture": images.ARCHITECTURE, "os": "linux"}
        layout.tag(layout.index([inner]))
        assert listed(sluice.mount(named(layout))) == ["found"]

    def test_index_without_platforms(self, sluice, layout):
        """One entry can only be that one."""
        entry = layout.manifest([tar_of("found")])
        del entry["platform"]
        layout.tag(layout.index([entry]))
        assert listed(sluice.mount(named(layout))) == ["found"]

    def test_index_without_platforms_of_several(self, sluice, layout, target):
        entries = [layout.manifest([tar_of(name)]) for name in ("a", "b")]
        for entry in entries:
            del entry["platform"]
        layout.tag(layout.index(entries))
        sluice.refuses("mount", named(layout), target,
                       words=[f"linux/{images.ARCHITECTURE}", "nothing with a platform"])

    def test_empty_index(self, sluice, layout, target):
        layout.tag(layout.index([]))
        sluice.refuses("mount", named(layout), target, words=[f"linux/{images.ARCHITECTURE}"])

    def test_deep(self, sluice, layout, target):
        entry = layout.manifest([tar_of("found")])
        for _ in range(20):
            entry = layout.index([{**entry, "platform": {"architecture": images.ARCHITECTURE,
                                                         "os": "linux"}}])
        layout.tag(entry)
        sluice.refuses("mount", named(layout), target, words="nested deeper")


class TestArtifacts:
    def artifact(self, layout, config_type, layer_type, **more):
        blob = layout.blob(b"\0asm not a layer", layer_type)
        document = {"schemaVersion": 2, "mediaType": images.OCI_MANIFEST,
                    "config": layout.blob(b"{}", config_type), "layers": [blob], **more}
        layout.tag(layout.blob(document, images.OCI_MANIFEST))
        return named(layout)

    def test_empty_config(self, sluice, layout, target):
        image = self.artifact(layout, EMPTY_TYPE, "application/wasm",
                              artifactType="application/vnd.example.thing")
        sluice.refuses("mount", image, target,
                       words=["an artifact", "application/vnd.example.thing", "not an image"])
        assert not list(sluice.store.glob("layers/*"))

    def test_empty_layer_too(self, sluice, layout, target):
        """The way in which the specification has an artifact without content written."""
        empty = layout.blob(b"{}", EMPTY_TYPE)
        document = {"schemaVersion": 2, "mediaType": images.OCI_MANIFEST, "config": empty,
                    "artifactType": "application/vnd.example.none", "layers": [empty]}
        layout.tag(layout.blob(document, images.OCI_MANIFEST))
        sluice.refuses("mount", named(layout), target,
                       words=["an artifact", "application/vnd.example.none", "not an image"])

    def test_config_of_its_own(self, sluice, layout, target):
        kind = "application/vnd.cncf.helm.config.v1+json"
        image = self.artifact(layout, kind, "application/vnd.cncf.helm.chart.content.v1.tar+gzip")
        sluice.refuses("mount", image, target, words=["an artifact", kind, "not an image"])

    @pytest.mark.parametrize("kind", (
        "application/wasm", layers.OCI_LAYER + "+gzip+encrypted", "application/octet-stream"))
    def test_unknown_layer(self, sluice, layout, serve, target, kind):
        """Refused by name, before a byte of any layer is asked for."""
        good, odd = tar_of("good"), tar_of("odd")
        image_of(layout, (good, layers.OCI_LAYER, good), (odd, kind, odd))
        server = serve(layout)
        sluice.refuses("mount", f"{server.host}/a/b:latest", target, words=["layer 2", kind])
        assert count(server, path=digest_of(good)) + count(server, path=digest_of(odd)) == 0
        assert_sound(sluice)


class TestForeignLayers:
    @pytest.mark.parametrize("kind", (FOREIGN, UNDISTRIBUTED))
    def test_from_its_urls(self, sluice, layout, serve, tmp_path, kind):
        """The registry has not got it; the first address that answers has."""
        tar, own = layers.top(), tar_of("own")
        far = images.Layout(tmp_path / "far")
        blob = far.blob(layers.gzip_one(tar), kind)
        store = serve(far)
        gone = f"{store.url}/v2/x/blobs/{digest_of(b'gone')}"
        blob["urls"] = [gone, f"{store.url}/v2/x/blobs/{blob['digest']}"]
        parts = [layout.blob(own, layers.OCI_LAYER), blob]
        layout.tag(layout.manifest_of(parts, [digest_of(own), digest_of(tar)]))
        front = serve(layout)
        mounted = sluice.mount(f"{front.host}/a/b:latest", "--plain-http")
        assert (mounted / "etc/marked/inside").read_bytes() == b"back again"
        assert (mounted / "own").read_bytes() == b"own"
        assert count(front, path=blob["digest"]) == 0
        assert_sound(sluice)

    def test_nowhere(self, sluice, layout, serve, target):
        tar = tar_of("a")
        blob = layout.blob(layers.gzip_one(tar), FOREIGN)
        layout.blob_path(blob["digest"]).unlink()
        layout.tag(layout.manifest_of([blob], [digest_of(tar)]))
        sluice.refuses("mount", f"{serve(layout).host}/a/b:latest", target,
                       words=[blob["digest"], "404"])
        assert_sound(sluice)
