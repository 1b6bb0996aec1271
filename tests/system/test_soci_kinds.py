# SPDX-License-Identifier: Apache-2.0
"""SOCI indexes of every kind, from the mount to a store without a registry."""
import errno
import json
import os
import random
from pathlib import Path

import pytest

from lib import compare, images, layers, run, soci, tools

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
CHECK_SECONDS_MAX = 20


class Indexed:
    """An image of two layers in a registry of its own, to which an index can be added."""

    def __init__(self, server, place, kind="gzip"):
        self.server, self.tars = server, [layers.bottom(), layers.top()]
        self.blobs = [layers.COMPRESSIONS[kind][1](tar) for tar in self.tars]
        layout = images.Layout(place / "layout")
        layout.tag(layout.manifest(self.tars, kind))
        self.name = server.push(f"oci:{layout.place}:latest", "demo:latest")
        gzipped = layout if kind == "gzip" else images.write(place / "gzip", "gzip", self.tars)
        self.want = compare.walk(tools.umoci_unpack(gzipped.place, place / "want"))

    def publish(self, blobs=None, **more):
        return soci.publish(self.server, "demo", "latest", blobs or self.blobs,
                            [len(tar) for tar in self.tars], **more)


@pytest.fixture
def indexed(own_registry, tmp_path):
    return lambda kind="gzip": Indexed(own_registry, tmp_path, kind)


def stat(sluice, directory):
    return json.loads(sluice("stat", directory, "--format", "json").stdout)


def indexes(sluice, directory):
    return [layer["index"] for layer in stat(sluice, directory)["layers"]]


MAKERS = {
    "gzip": soci.ztoc,
    "gzip-many": soci.ztoc,
    "tar": lambda blob, size: soci.ztoc_of_tar(blob),
    "zinfo-1": lambda blob, size: soci.ztoc(blob, size, zinfo=1),
}


# RFC 1952, 2.3: FNAME, and FEXTRA that is longer than what is read of a layer at first.
HEADERS = {8: b"layer.tar\0", 4: (1000).to_bytes(2, "little") + bytes(1000)}


@pytest.mark.parametrize("flag", HEADERS)
def test_long_header(sluice, indexed, monkeypatch, flag):
    """zinfo 1 does not say where the first span begins: behind the header, however long it is."""
    def compress(tar):
        plain = layers.gzip_one(tar)
        return plain[:3] + bytes([flag]) + plain[4:10] + HEADERS[flag] + plain[10:]
    monkeypatch.setitem(layers.COMPRESSIONS, "gzip", (layers.COMPRESSIONS["gzip"][0], compress))
    image = indexed("gzip")
    image.publish(make=MAKERS["zinfo-1"])
    mounted = sluice.mount(image.name)
    assert set(indexes(sluice, mounted)) == {"soci-v1"}
    compare.assert_same(image.want, compare.walk(mounted))
    assert stat(sluice, mounted)["errors"] == 0


@pytest.mark.parametrize("version", (1, 2))
@pytest.mark.parametrize("kind", MAKERS)
def test_same_tree(sluice, indexed, kind, version):
    """The tree of the image, the whole of it checked against its diff_id at the end."""
    image = indexed("gzip" if kind == "zinfo-1" else kind)
    image.publish(version=version, make=MAKERS[kind])
    mounted = sluice.mount(image.name)
    figures = stat(sluice, mounted)
    assert [layer["index"] for layer in figures["layers"]] == [f"soci-v{version}"] * 2
    assert figures["bytes_fetched"] < sum(map(len, image.blobs)) // 2
    compare.assert_same(image.want, compare.walk(mounted))
    # Headers between the files belong to no file.
    sluice("pull", image.name)
    run.wait_until(lambda: all(layer["whole_checked"] for layer in stat(sluice, mounted)["layers"]),
                   CHECK_SECONDS_MAX, "the layers to be checked as a whole")


def test_layer_left_out(sluice, indexed):
    image = indexed()
    image.publish([image.blobs[0], None])
    mounted = sluice.mount(image.name)
    assert indexes(sluice, mounted) == ["soci-v1", "streamed"]
    compare.assert_same(image.want, compare.walk(mounted))


def test_index_not_wanted(sluice, indexed):
    image = indexed()
    image.publish()
    mounted = sluice.mount(image.name, "--no-index")
    assert indexes(sluice, mounted) == ["streamed"] * 2


@pytest.mark.parametrize("words, spoil", (
    ("compressed_archive_size", lambda image, blob: soci.ztoc(image.blobs[1], len(image.tars[1]))),
    ("points outside", lambda image, blob: blob[:len(blob) // 2]),
    ("too short", lambda image, blob: b""),
    ("version", lambda image, blob: blob.replace(b"0.9\0", b"1.9\0")),
    ("its type \"rog\"", lambda image, blob: blob.replace(b"reg\0", b"rog\0")),
    ("is no SHA-256", lambda image, blob: blob.replace(b"sha256:", b"sha257:")),
))
def test_broken_ztoc(sluice, indexed, words, spoil):
    """Refused in one sentence, and no layer of it is kept."""
    image = indexed()
    image.publish([image.blobs[0], None], change=lambda blob: spoil(image, blob))
    place = sluice.place / "mnt"
    place.mkdir()
    said = sluice.refuses("mount", image.name, place, words=[words, "zTOC"])
    assert "layer sha256:" in said
    left = [p.name for p in (sluice.store / "layers").iterdir()]
    document = json.loads(image.server.get_manifest("demo", "latest")[1])
    assert document["layers"][0]["digest"].replace(":", "-") not in left


def unreadable(directory, want):
    """The files that give EIO; all others are as they should be."""
    failed = []
    for path in (p for p in want if "sha256" in want[p]):
        try:
            assert compare.sha256(os.path.join(os.fsencode(directory), path)) == want[path]["sha256"]
        except OSError as error:
            assert error.errno == errno.EIO
            failed.append(path)
    return failed


def test_wrong_span_digest(sluice, indexed):
    """Every read that needs such a span is EIO, and the span never becomes present."""
    image = indexed()

    def spoil(blob):
        data = bytearray(blob)
        at = data.find(b"sha256:", data.find(b"sha256:") + 1) + len("sha256:")
        data[at] = ord("1") if data[at] == ord("0") else ord("0")
        return bytes(data)

    image.publish([image.blobs[0], None], change=spoil)
    mounted = sluice.mount(image.name)
    failed = unreadable(mounted, image.want)
    assert failed and failed == unreadable(mounted, image.want)
    layer = stat(sluice, mounted)["layers"][0]
    assert 0 < layer["spans_present"] < layer["spans"] and not layer["whole_checked"]


def test_other_boot(sluice, indexed):
    """Spans without a digest of what came out of them are fetched again after a boot."""
    image = indexed()
    image.publish()
    mounted = sluice.mount(image.name)
    compare.assert_same(image.want, compare.walk(mounted))
    sluice.umount(mounted)
    boot = BOOT_ID.read_text().strip().encode()
    files = list((sluice.store / "layers").glob("*/present"))
    assert len(files) == 2
    for file in files:
        data = file.read_bytes()
        assert boot in data
        file.write_bytes(data.replace(boot, boot[::-1]))
    mounted = sluice.mount(image.name, "--no-prefetch")
    assert all(layer["spans_present"] == 0 for layer in stat(sluice, mounted)["layers"])
    compare.assert_same(image.want, compare.walk(mounted))


def test_own_index_of_it(sluice, another_sluice, indexed):
    """Sluice's index, made of a SOCI index, serves a store that has never seen SOCI's."""
    image = indexed()
    image.publish()
    sluice.mount(image.name)
    sluice("index", "build", image.name)
    sluice("index", "push", image.name)
    mounted = another_sluice.mount(image.name)
    assert indexes(another_sluice, mounted) == ["sluice"] * 2
    names = sorted(image.want)
    random.Random(layers.SEED).shuffle(names)
    for name in [n for n in names if "sha256" in image.want[n]][:40]:
        assert compare.sha256(os.path.join(os.fsencode(mounted), name)) == \
            image.want[name]["sha256"]
    compare.assert_same(image.want, compare.walk(mounted))


def test_own_index_with_wrong_windows(sluice, another_sluice, indexed):
    """Its spans have no digest of what comes out, so a wrong window must be seen by itself."""
    image = indexed()
    image.publish()
    sluice.mount(image.name)
    sluice("index", "push", image.name)
    files = list((sluice.store / "layers").glob("*/windows"))
    assert files
    for file in files:
        blob = image.server.blob_file(soci.digest_of(file.read_bytes()))
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 1
        blob.write_bytes(data)
    place = another_sluice.place / "mnt"
    place.mkdir()
    another_sluice.refuses("mount", image.name, place, words=["windows of a layer", "sha256:"])
