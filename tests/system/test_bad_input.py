# SPDX-License-Identifier: Apache-2.0
"""What cannot be: one clear sentence and a non-zero status, or EIO, and nothing wrong is kept."""
import errno
import json
import os
import struct
import tarfile

import pytest

from lib import images, layers, registry, run

CHUNK = 64 << 10


@pytest.fixture
def layout(tmp_path):
    return images.Layout(tmp_path / "layout")


@pytest.fixture
def good(layout):
    """A layout with one good image."""
    return layout.tag(layout.manifest([layers.bottom(), layers.top()]))


@pytest.fixture
def target(tmp_path):
    place = tmp_path / "target"
    place.mkdir()
    return place


def read_all(directory):
    """Reads every file; the errors that came, by name."""
    failed = {}
    for place, _, names in os.walk(os.fsencode(directory)):
        for name in names:
            path = os.path.join(place, name)
            if not os.path.islink(path) and os.path.isfile(path):
                try:
                    with open(path, "rb") as file:
                        while file.read(CHUNK):
                            pass
                except OSError as error:
                    failed[path] = error.errno
    return failed


def assert_clean(sluice):
    """The store passes its own check: nothing wrong was kept."""
    if sluice.store.exists():
        sluice("fsck", "--deep")


def assert_nothing(sluice):
    """Not even a part of a layer was kept."""
    assert_clean(sluice)
    assert not list(sluice.store.glob("layers/*/*")) + list(sluice.store.glob("images/*/tree*"))


class TestNames:
    @pytest.mark.parametrize("image, words", (
        ("localhost:1/UPPER", "UPPER"),
        ("localhost:1/demo@sha256:123", "64 hex digits"),
        ("localhost:1/demo:bad/tag:", "demo"),
        ("", "image"),
        ("oci:/no/such/layout", "/no/such/layout"),
        ("oci-archive:/no/such/file", "/no/such/file"),
        ("docker-archive:/no/such/file", "/no/such/file"),
    ))
    def test_bad_reference(self, sluice, target, image, words):
        sluice.refuses("mount", image, target, words=words)

    def test_no_such_image(self, sluice, target, plain_registry):
        image = f"{plain_registry.host}/no/such/image:latest"
        sluice.refuses("mount", image, target, words=[image, "no such image", "404"])

    def test_no_such_tag(self, sluice, target, plain_registry, good):
        plain_registry.push(f"oci:{good.place}:latest", "bad/tags:latest")
        sluice.refuses("mount", f"{plain_registry.host}/bad/tags:none", target,
                       words=["bad/tags:none", "no such image"])

    def test_no_such_platform(self, sluice, target, layout):
        layout.tag(layout.index([layout.manifest([layers.top()])]))
        sluice.refuses("mount", f"oci:{layout.place}", target, "--platform", "plan9/mips",
                       words="plan9/mips")

    def test_another_platform_without_an_index(self, sluice, target, layout):
        """Asked for, it is refused, also when the image is in the store; by itself it mounts."""
        other = "arm64" if images.ARCHITECTURE != "arm64" else "amd64"
        layout.tag(layout.manifest([layers.top()]))
        image, asked = f"oci:{layout.place}", f"--platform=linux/{other}"
        words = [f"there is no image for linux/{other}", f"one for linux/{images.ARCHITECTURE}"]
        sluice.refuses("mount", image, target, asked, words=words)
        sluice.mount(image, f"--platform=linux/{images.ARCHITECTURE}")
        sluice.refuses("mount", image, target, asked, words=words)
        layout.entries.clear()
        layout.tag(layout.manifest([layers.top()], architecture=other))
        sluice.mount(image)

    def test_wrong_credentials(self, sluice, target, token_registry, good):
        image = token_registry.push(f"oci:{good.place}:latest", "bad/login:latest")
        token_registry.write_credentials(sluice.home, password="wrong")
        said = sluice.refuses("mount", image, target,
                              words=[token_registry.host, "refuses the credentials", "--creds"])
        assert ":wrong" not in said and registry.PASSWORD not in said

    def test_no_credentials(self, sluice, target, token_registry, good):
        image = token_registry.push(f"oci:{good.place}:latest", "bad/login:latest")
        sluice.refuses("mount", image, target, words=[token_registry.host, "anonymous"])

    def test_unreachable_registry(self, sluice, target):
        host = f"localhost:{run.free_port()}"
        sluice.refuses("mount", f"{host}/demo:latest", target, words=[host, "connect"])

    def test_schema_1_by_name(self, sluice, target, layout):
        document = {"schemaVersion": 1, "name": "demo", "tag": "latest", "architecture": "amd64",
                    "fsLayers": [], "history": []}
        layout.tag(layout.blob(document, images.OCI_MANIFEST))
        sluice.refuses("mount", f"oci:{layout.place}", target, words="schema 1")


class TestDirectories:
    def test_missing(self, sluice, tmp_path, good):
        place = tmp_path / "missing"
        sluice.refuses("mount", f"oci:{good.place}", place, words=str(place))

    def test_not_a_directory(self, sluice, tmp_path, good):
        place = tmp_path / "file"
        place.touch()
        sluice.refuses("mount", f"oci:{good.place}", place, words=str(place))

    def test_not_empty(self, sluice, target, good):
        (target / "file").touch()
        sluice.refuses("mount", f"oci:{good.place}", target, words=[str(target), "empty"])

    def test_already_mounted(self, sluice, good):
        mounted = sluice.mount(f"oci:{good.place}")
        sluice.refuses("mount", f"oci:{good.place}", mounted, words=[str(mounted), "mounted"])

    def test_umount_of_what_is_not_mounted(self, sluice, target):
        sluice.refuses("umount", target, words=str(target))

    def test_store_not_writable(self, sluice, target, good):
        run.run("mount", "-t", "tmpfs", "-o", "ro", "none", sluice.home)
        try:
            sluice.refuses("mount", f"oci:{good.place}", target, words=str(sluice.home),
                           SLUICE_STORE=str(sluice.home / "store"))
        finally:
            run.run("umount", sluice.home)

    @pytest.fixture
    def small(self, tmp_path):
        """Makes a store of few bytes."""
        place = tmp_path / "small"
        place.mkdir()

        def make(size):
            run.run("mount", "-t", "tmpfs", "-o", f"size={size}", "none", place)
            return str(place / "store")
        yield make
        if os.path.ismount(place):
            run.run("umount", place)

    def test_store_full(self, sluice, target, good, small):
        store = small("128k")
        sluice.refuses("mount", f"oci:{good.place}", target, words=[store, "full", "sluice gc"],
                       SLUICE_STORE=store)
        sluice("fsck", "--deep", SLUICE_STORE=store)

    def test_store_too_small_for_the_data(self, sluice, good, small):
        """It costs the cache, not the reads."""
        store = small("1m")
        mounted = sluice.mount(f"oci:{good.place}", SLUICE_STORE=store)
        assert read_all(mounted) == {}
        sluice("fsck", "--deep", SLUICE_STORE=store)
        sluice.umount(mounted)

    def test_no_dev_fuse(self, sluice, target, good):
        sluice("mount", "--help")
        script = 'mount -t tmpfs none /dev && exec "$@"'
        result = run.run("unshare", "-m", "sh", "-c", script, "sh", *sluice_command(sluice),
                         "mount", f"oci:{good.place}", target, check=False,
                         env=sluice.environment)
        assert result.returncode == 1
        assert "/dev/fuse" in result.stderr and len(result.stderr.strip().splitlines()) == 1


def sluice_command(sluice):
    return [os.environ.get("SLUICE") or str(images.Path(__file__).parents[2] / "build/tools/sluice")]


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x20
    path.write_bytes(bytes(data))


class TestDigests:
    def test_manifest(self, sluice, target, own_registry, good):
        image = own_registry.push(f"oci:{good.place}:latest", "demo:latest")
        digest, data = own_registry.get_manifest("demo", "latest")
        own_registry.blob_file(digest).write_bytes(data.replace(b"layer", b"LAYER", 1))
        sluice.refuses("mount", f"{image.rsplit(':', 1)[0]}@{digest}", target,
                       words=[digest, "corrupt"])
        assert_clean(sluice)

    def test_config(self, sluice, target, good, layout):
        config = manifest(good)["config"]["digest"]
        flip(layout.blob_path(config), 30)
        sluice.refuses("mount", f"oci:{good.place}", target, words=[config, "corrupt"])
        assert_clean(sluice)

    def test_layer(self, sluice, target, good):
        """A flipped byte in a layer that has to be streamed shows at the mount."""
        layer = manifest(good)["layers"][0]["digest"]
        flip(good.blob_path(layer), 200_000)
        sluice.refuses("mount", f"oci:{good.place}", target, words=[layer, "corrupt"])
        assert_clean(sluice)
        assert not (sluice.store / "layers" / layer.replace(":", "-")).exists()

    def test_span(self, sluice, another_sluice, own_registry, good):
        """With the index in the registry, it shows at the read: EIO, and nothing is kept."""
        image = own_registry.push(f"oci:{good.place}:latest", "demo:latest")
        sluice("index", "build", image)
        sluice("index", "push", image)
        file = own_registry.blob_file(manifest(good)["layers"][0]["digest"])
        whole = file.read_bytes()
        flip(file, 600_000)
        mounted = another_sluice.mount(image)
        failed = read_all(mounted)
        assert failed and set(failed.values()) == {errno.EIO}
        file.write_bytes(whole)
        assert not read_all(mounted)
        assert_clean(another_sluice)


def manifest(layout):
    entry = json.loads((layout.place / "index.json").read_text())["manifests"][0]
    return json.loads(layout.blob_path(entry["digest"]).read_text())


def one_layer(layout, data, media_type=layers.OCI_LAYER + "+gzip", diff_id=None):
    """An image of one layer with these bytes, and an honest digest over them."""
    blob = layout.blob(data, media_type)
    layout.tag(layout.manifest_of([blob], [diff_id or registry.digest_of(data)]))
    return f"oci:{layout.place}"


class TestCompression:
    @pytest.mark.parametrize("kind", ("gzip", "gzip-many", "zstd", "zstd-many", "tar"))
    @pytest.mark.parametrize("keep", (0, 1, 5, 1000, -1))
    def test_truncated(self, sluice, target, layout, kind, keep):
        media_type, compress = layers.COMPRESSIONS[kind]
        tar = layers.top()
        image = one_layer(layout, compress(tar)[:keep] if kind != "tar" else tar[:700 + keep],
                          media_type, registry.digest_of(tar))
        said = sluice.refuses("mount", image, target, words="layer")
        assert any(words in said for words in ("truncated", "the tar ends at", "corrupt"))
        assert_nothing(sluice)

    @pytest.mark.parametrize("kind", ("gzip", "zstd"))
    def test_corrupt(self, sluice, target, layout, kind):
        media_type, compress = layers.COMPRESSIONS[kind]
        tar = layers.top()
        data = bytearray(compress(tar))
        data[len(data) // 2:len(data) // 2 + 8] = b"\xff" * 8
        image = one_layer(layout, bytes(data), media_type, registry.digest_of(tar))
        sluice.refuses("mount", image, target, words=["layer", "corrupt"])
        assert_nothing(sluice)

    def test_wrong_diff_id(self, sluice, target, layout):
        image = one_layer(layout, layers.gzip_one(layers.top()), diff_id="sha256:" + "0" * 64)
        sluice.refuses("mount", image, target, words="sha256:" + "0" * 64)
        assert_nothing(sluice)

    def test_other_compression_than_said(self, sluice, layout):
        """Content decides, as in every other tool."""
        tar = layers.top()
        image = one_layer(layout, layers.zstd_one(tar), diff_id=registry.digest_of(tar))
        assert (sluice.mount(image) / "etc/marked/inside").read_bytes() == b"back again"


def tar_of(*entries):
    t = layers.TarLayer()
    for entry in entries:
        t.add(**entry)
    return t.finish()


def raw_name(name):
    """A tar with one file whose name field holds these bytes, whatever they mean."""
    data = bytearray(tar_of({"name": "x" * len(name)}))
    data[:len(name)] = name
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


def endless_pax():
    header = bytearray(tar_of({"name": "x"})[:512])
    header[124:136] = b"77777777777\0"
    header[156:157] = b"x"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(4096)


HOSTILE = {
    ("dot dot", "the component \"..\""): lambda: tar_of({"name": "../escape"}),
    ("dot dot inside", "the component \"..\""): lambda: tar_of({"name": "a/../../escape"}),
    ("bare whiteout", "a whiteout must hide a name"): lambda: tar_of({"name": "a/.wh."}),
    ("whiteout of dot dot", "a whiteout must hide a name"): lambda: tar_of({"name": "a/.wh..."}),
    ("hardlink outside", "the component \"..\""): lambda: tar_of(
        {"name": "a", "type_": tarfile.LNKTYPE, "link": "../../etc/passwd"}),
    ("hardlink to nothing", "target none is in no lower layer"): lambda: tar_of(
        {"name": "a", "type_": tarfile.LNKTYPE, "link": "none"}),
    ("hardlink to a directory", "its target d is a directory"): lambda: tar_of(
        {"name": "d", "type_": tarfile.DIRTYPE}, {"name": "a", "type_": tarfile.LNKTYPE, "link": "d"}),
    ("trusted attribute", "xattr trusted.overlay.opaque"): lambda: tar_of(
        {"name": "a", "xattrs": {"trusted.overlay.opaque": b"y"}}),
    ("file below a file", "a/b lies below a file"): lambda: tar_of({"name": "a"}, {"name": "a/b"}),
    ("loop of symlinks", "below a loop of symlinks"): lambda: tar_of(
        {"name": "link", "type_": tarfile.SYMTYPE, "link": "link"}, {"name": "link/passwd"}),
    ("name of 256 bytes", "longer than 255"): lambda: tar_of({"name": "n" * 256}),
    ("deep", "deeper than 1024"): lambda: tar_of({"name": "/".join("d" * 5000)}),
    ("bad checksum", "the checksum of the header is wrong"): lambda: bytes(
        [b ^ (i == 150) for i, b in enumerate(tar_of({"name": "a"}))]),
    ("endless extended header", "longer than 1048576"): endless_pax,
    ("negative size", "size in the header is out of range"): lambda: raw_size(b"\xff" * 12),
    ("huge size", "size in the header is out of range"): lambda: raw_size(b"\x80" + b"\x7f" * 11),
    ("not a tar", "the checksum of the header is wrong"): lambda: b"this is not a tar" * 100,
}


def raw_size(field):
    data = bytearray(tar_of({"name": "a"}))
    data[124:136] = field
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


class TestHostileTars:
    @pytest.mark.parametrize("what, words", HOSTILE)
    def test_refused(self, sluice, target, layout, what, words):
        tar = HOSTILE[what, words]()
        image = one_layer(layout, layers.gzip_one(tar), diff_id=registry.digest_of(tar))
        sluice.refuses("mount", image, target, words=["layer", words])
        assert_clean(sluice)
        assert not list(sluice.store.glob("images/*/tree.erofs"))

    def test_bomb(self, sluice, target, layout):
        """A quarter of a gibibyte of zeros in a small layer is an honest file."""
        tar = tar_of({"name": "zeros", "data": bytes(256 << 20)})
        image = one_layer(layout, layers.gzip_one(tar), diff_id=registry.digest_of(tar))
        mounted = sluice.mount(image)
        assert (mounted / "zeros").stat().st_size == 256 << 20

    def test_overlay_attributes_are_dropped(self, sluice, layout):
        """user.overlay.* would mean something to an overlay on top; the rest stays."""
        tar = tar_of({"name": "a", "xattrs": {"user.overlay.opaque": b"y", "user.mine": b"1"}})
        mounted = sluice.mount(one_layer(layout, layers.gzip_one(tar),
                                         diff_id=registry.digest_of(tar)))
        assert os.listxattr(mounted / "a") == ["user.mine"]

    @pytest.mark.parametrize("to", ("/", "../../../../../..", "/etc/.."))
    def test_symlinks_lead_nowhere_else(self, sluice, layout, to):
        """What an entry's path goes through is followed inside the layer, as if it were all."""
        name = f"sluice-test-{os.getpid()}"
        tar = tar_of({"name": "out", "type_": tarfile.SYMTYPE, "link": to},
                     {"name": "etc", "type_": tarfile.DIRTYPE},
                     {"name": f"out/etc/{name}", "data": b"inside"})
        mounted = sluice.mount(one_layer(layout, layers.gzip_one(tar),
                                         diff_id=registry.digest_of(tar)))
        assert (mounted / "etc" / name).read_bytes() == b"inside"
        assert os.readlink(mounted / "out") == to
        assert not os.path.exists(f"/etc/{name}")

    def test_absolute_names_stay_inside(self, sluice, layout):
        tar = tar_of({"name": "/etc/inside", "data": b"yes"})
        mounted = sluice.mount(one_layer(layout, layers.gzip_one(tar),
                                         diff_id=registry.digest_of(tar)))
        assert (mounted / "etc/inside").read_bytes() == b"yes"


class TestTables:
    """eStargz: the table of contents is bound to the layer by the manifest's annotation."""

    def broken(self, gallery, place, change):
        source = gallery.layout("estargz")
        run.run("cp", "-a", source, place)
        entry = json.loads((place / "index.json").read_text())["manifests"][0]
        document = json.loads((place / "blobs" / entry["digest"].replace(":", "/")).read_text())
        path = place / "blobs" / document["layers"][0]["digest"].replace(":", "/")
        data = bytearray(path.read_bytes())
        change(data)
        layout = images.Layout.__new__(images.Layout)
        layout.place, layout.entries = place, []
        blob = layout.blob(bytes(data), document["layers"][0]["mediaType"])
        document["layers"][0].update(digest=blob["digest"], size=blob["size"])
        layout.tag(layout.blob(document, document["mediaType"]))
        return f"oci:{place}:latest"

    def test_corrupt_table(self, sluice, target, gallery, tmp_path):
        def change(data):
            offset = int(data[-51 + 16:-51 + 32], 16)
            data[offset + 40] ^= 0xFF
        image = self.broken(gallery, tmp_path / "broken", change)
        sluice.refuses("mount", image, target, words="layer")
        assert_clean(sluice)

    def test_footer_past_the_end(self, sluice, target, gallery, tmp_path):
        def change(data):
            data[-51 + 16:-51 + 32] = b"%016x" % (len(data) + 1)
        image = self.broken(gallery, tmp_path / "broken", change)
        sluice.refuses("mount", image, target, words="layer")
        assert_clean(sluice)

    def test_corrupt_chunk(self, sluice, gallery, tmp_path):
        """A chunk that is not what the table says reads as EIO."""
        def change(data):
            data[300_000:300_004] = struct.pack("<I", 0x5A5A5A5A)
        image = self.broken(gallery, tmp_path / "broken", change)
        failed = read_all(sluice.mount(image))
        assert failed and set(failed.values()) == {errno.EIO}
        assert_clean(sluice)


class TestIndex:
    """Sluice's own index in the registry, tampered with where a registry could."""

    @pytest.fixture
    def published(self, another_sluice, own_registry, good):
        """(the image, the file that holds the index's blob of a kind)"""
        image = own_registry.push(f"oci:{good.place}:latest", "demo:latest")
        another_sluice("index", "push", image)
        digest, _ = own_registry.get_manifest("demo", "latest")
        _, listed = own_registry.get_manifest("demo", digest.replace(":", "-"))
        artifact = json.loads(listed)["manifests"][0]["digest"]
        _, data = own_registry.get_manifest("demo", artifact)
        return image, {layer["mediaType"]: layer["digest"] for layer in json.loads(data)["layers"]}

    def test_bundle(self, sluice, target, own_registry, published):
        image, blobs = published
        digest = next(d for kind, d in blobs.items() if "bundle" in kind)
        flip(own_registry.blob_file(digest), 200)
        sluice.refuses("mount", image, target, words=["index", digest])
        assert_clean(sluice)
        assert not list(sluice.store.glob("layers/*/seek"))
        # The layers themselves are still good.
        assert read_all(sluice.mount(image, "--no-index")) == {}

    def test_windows(self, sluice, own_registry, published):
        image, blobs = published
        digest = next(d for kind, d in blobs.items() if "windows" in kind)
        file = own_registry.blob_file(digest)
        whole = file.read_bytes()
        for offset in range(0, len(whole), 64):
            flip(file, offset)
        mounted = sluice.mount(image)
        failed = read_all(mounted)
        assert set(failed.values()) == {errno.EIO}
        file.write_bytes(whole)
        assert read_all(mounted) == {}
        assert_clean(sluice)
