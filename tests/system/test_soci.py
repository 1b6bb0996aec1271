# SPDX-License-Identifier: Apache-2.0
"""SOCI indexes in the registry: found, used, and never believed against the bytes."""
import ctypes
import errno
import json
import os

import pytest

from lib import compare, images, layers, soci


@pytest.fixture
def image(own_registry, tmp_path):
    """(name, compressed layers, uncompressed sizes) of an image without an index."""
    tars = [layers.bottom(), layers.top()]
    layout = images.Layout(tmp_path / "layout")
    layout.tag(layout.manifest(tars))
    name = own_registry.push(f"oci:{layout.place}:latest", "demo:latest")
    return name, [layers.gzip_one(t) for t in tars], [len(t) for t in tars]


def inflate_from(compressed, point, n):
    """n bytes from a checkpoint on, as a reader has to do it."""
    start, _, bits, window = point
    z, stream = soci.libz(), soci.ZStream()
    source = ctypes.create_string_buffer(compressed[start:], len(compressed) - start)
    output = ctypes.create_string_buffer(n)
    z.inflateInit2_(ctypes.byref(stream), -15, z.zlibVersion(), ctypes.sizeof(soci.ZStream))
    if bits:
        z.inflatePrime(ctypes.byref(stream), bits, compressed[start - 1] >> (8 - bits))
    z.inflateSetDictionary(ctypes.byref(stream), window, len(window))
    stream.next_in, stream.avail_in = ctypes.addressof(source), len(compressed) - start
    stream.next_out, stream.avail_out = ctypes.addressof(output), n
    assert z.inflate(ctypes.byref(stream), 0) in (soci.Z_OK, soci.Z_STREAM_END)
    z.inflateEnd(ctypes.byref(stream))
    return output.raw


def test_checkpoints_resume():
    """The generator itself: decompression begins at every checkpoint, some inside a byte."""
    tar = layers.bottom()
    compressed = layers.gzip_one(tar)
    whole, points = soci.checkpoints(compressed, len(tar), 256 << 10)
    assert whole == tar and len(points) > 10
    assert any(bits for _, _, bits, _ in points)
    for point in points:
        n = min(100_000, len(tar) - point[1])
        assert inflate_from(compressed, point, n) == tar[point[1]:point[1] + n]


@pytest.mark.parametrize("version", (1, 2))
def test_found_and_used(sluice, another_sluice, own_registry, image, tmp_path, version):
    name, compressed, sizes = image
    want = compare.walk(sluice.mount(name))
    soci.publish(own_registry, "demo", "latest", compressed, sizes, version)
    mounted = another_sluice.mount(name)
    figures = json.loads(another_sluice("stat", mounted, "--format", "json").stdout)
    assert figures["bytes_fetched"] < sum(map(len, compressed)) // 2
    assert "soci" in json.dumps(figures["layers"]).lower()
    compare.assert_same(want, compare.walk(mounted))


def spoil(offset_words):
    def change(blob):
        data = bytearray(blob)
        at = data.find(offset_words)
        assert at >= 0
        data[at] ^= 0x01
        return bytes(data)
    return change


@pytest.mark.parametrize("words", (b"sha256:", b"0.9\0", b"data/big", b"SCHILY.xattr.user.one"))
def test_spoiled_table_never_gives_wrong_bytes(sluice, another_sluice, own_registry, image, words):
    """Whatever the table says: right bytes, an absent name, or EIO, and one sentence at the mount."""
    name, compressed, sizes = image
    want = compare.walk(sluice.mount(name))
    changed = [spoil(words), bytes]
    soci.publish(own_registry, "demo", "latest", compressed, sizes,
                 change=lambda blob: changed.pop(0)(blob))
    place = another_sluice.place / "mnt"
    place.mkdir()
    result = another_sluice("mount", name, place, check=False)
    if result.returncode:
        assert result.returncode == 1 and len(result.stderr.strip().splitlines()) == 1
        return
    another_sluice.mounted.append(place)
    for path in (p for p in want if want[p].get("sha256")):
        try:
            got = compare.sha256(os.path.join(os.fsencode(place), path))
        except OSError as error:
            assert error.errno in (errno.EIO, errno.ENOENT)
        else:
            assert got == want[path]["sha256"], path
