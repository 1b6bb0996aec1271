# SPDX-License-Identifier: Apache-2.0
"""Startup profiles as SOCI's prefetch lists: read, written, and read back."""
import json

import pytest

from conftest import sentence
from lib import images, layers, soci
from test_profile import facts, ranges, stored, text

SPAN = 256 << 10


def ztoc(compressed, size):
    return soci.ztoc(compressed, size, SPAN)


@pytest.fixture
def image(own_registry, tmp_path):
    """(name, compressed layers, uncompressed sizes) of an image without an index."""
    tars = [layers.bottom(), layers.top()]
    layout = images.Layout(tmp_path / "layout")
    layout.tag(layout.manifest(tars))
    name = own_registry.push(f"oci:{layout.place}:latest", "demo:latest")
    return name, [layers.gzip_one(t) for t in tars], [len(t) for t in tars]


def prefetch(*spans, version="1.0"):
    keys = ("start_span", "end_span", "priority")
    return json.dumps({"version": version,
                       "prefetch_spans": [dict(zip(keys, span)) for span in spans]}).encode()


def starts(compressed, size):
    """Where the spans of a layer start, and where the last one ends: SOCI stops at the end marker."""
    tar, points = soci.checkpoints(compressed, size, SPAN)
    return [point[1] for point in points] + [soci.toc(tar)[1]]


def inner_blocks(first, end):
    first += -first % 512
    return first, end - end % 512 - first


def whole_blocks(first, end):
    first -= first % 512
    return first, end + -end % 512 - first


@pytest.mark.parametrize("version", (1, 2))
def test_lists_become_the_profile(sluice, own_registry, image, version):
    name, compressed, sizes = image
    at = starts(compressed[0], sizes[0])
    soci.publish(own_registry, "demo", "latest", compressed, sizes, version, make=ztoc,
                 prefetch=[(0, prefetch((5, 6, 1), (2, 2), (len(at) - 2, len(at) - 2, 2)))])
    sluice("ls", name)
    want = [[0, *whole_blocks(at[2], at[3])], [0, *whole_blocks(at[5], at[7])],
            [0, *whole_blocks(at[-2], at[-1])]]
    got = [row[:3] for row in ranges(sluice, name)]
    # Blocks that two spans share belong to the first of them.
    assert got == want


def test_written_and_read_back(sluice, another_sluice, own_registry, image, tmp_path):
    name, compressed, sizes = image
    digest, names, _ = facts(sluice, name)
    at = starts(compressed[0], sizes[0])
    source, place = tmp_path / "in.json", tmp_path / "lists"
    middle = inner_blocks(at[7], at[8])[0]
    source.write_text(text(digest, names, [
        (0, middle, 512, 64, 0), (1, 0, 512, 64, 512),
        (0, *inner_blocks(at[3], at[5]), 64, 1024), (0, middle + 1024, 512, 64, 1 << 20)]))
    sluice("profile", "import", name, source)
    sluice.refuses("profile", "export", "--soci", name, place,
                   words="the image has no SOCI index in its registry")
    old = soci.publish(own_registry, "demo", "latest", compressed, sizes, make=ztoc,
                       prefetch=[(0, prefetch((0, 1)))])
    files = sluice("profile", "export", "--soci", name, place).stdout.split()
    assert len(files) == 2 and len(list(place.iterdir())) == 2
    lists = [json.loads((place / f"{n.replace(':', '-')}.json").read_bytes()) for n in names]
    assert lists[0] == {"version": "1.0", "prefetch_spans": [
        {"start_span": 7, "end_span": 7}, {"start_span": 3, "end_span": 4, "priority": 2}]}
    assert lists[1] == {"version": "1.0", "prefetch_spans": [
        {"start_span": 0, "end_span": 0, "priority": 1}]}

    new = sluice("profile", "push", "--soci", name).stdout.strip()
    before, after = (json.loads(own_registry.get_manifest("demo", d)[1]) for d in (old, new))
    kinds = [layer["mediaType"] for layer in after["layers"]]
    assert kinds == ["application/octet-stream"] * 2 + [soci.PREFETCH] * 2
    assert after["layers"][:2] == before["layers"][:2] and after["subject"] == before["subject"]
    assert after["config"] == before["config"]
    for layer, name_of in zip(after["layers"][2:], names):
        assert layer["annotations"] == {soci.ANNOTATION + "image-layer-digest": name_of}

    # Whoever comes next has the new one, in the same order.
    another_sluice("ls", name)
    last = starts(compressed[1], sizes[1])
    assert [row[:3] for row in ranges(another_sluice, name)] == [
        [0, *whole_blocks(at[7], at[8])], [1, *whole_blocks(last[0], last[1])],
        [0, *whole_blocks(at[3], at[5])]]


def test_own_profile_comes_first(sluice, another_sluice, own_registry, image, tmp_path):
    name, compressed, sizes = image
    digest, names, _ = facts(sluice, name)
    soci.publish(own_registry, "demo", "latest", compressed, sizes, make=ztoc,
                 prefetch=[(0, prefetch((0, 1)))])
    source = tmp_path / "in.json"
    source.write_text(text(digest, names, [(1, 0, 512, 64, 0)]))
    sluice("profile", "import", name, source)
    sluice("profile", "push", name)
    another_sluice("ls", name)
    assert ranges(another_sluice, name) == [[1, 0, 512, 64, 0]]


def test_version_2_cannot_be_pushed(sluice, another_sluice, own_registry, image, tmp_path):
    name, compressed, sizes = image
    soci.publish(own_registry, "demo", "latest", compressed, sizes, 2, make=ztoc,
                 prefetch=[(0, prefetch((0, 1)))])
    sluice("ls", name)
    sluice.refuses("profile", "push", "--soci", name, words="(version 2) by digest")
    assert sluice("profile", "export", "--soci", name, tmp_path / "lists").stdout


WRONG = {
    "span past the end": (0, prefetch((0, 10**6)), "ends with span 1000000, and the zTOC has"),
    "backwards": (0, prefetch((2, 1)), "entry 0 of the prefetch list ends before it starts"),
    "negative": (0, prefetch((-1, 1)), '"start_span" is negative'),
    "no end": (0, b'{"version":"1.0","prefetch_spans":[{"start_span":1}]}', '"end_span" is missing'),
    "numbers": (0, b'{"version":"1.0","prefetch_spans":[1]}', "entry 0 of the prefetch list"),
    "no spans": (0, b'{"version":"1.0"}', '"prefetch_spans" is missing'),
    "version": (0, prefetch((0, 0), version="2.0"), "has version 2.0"),
    "no JSON": (0, b"[", "the prefetch list is not valid JSON"),
    "layer without a zTOC": (1, prefetch((0, 0)), "a prefetch list of layer 1, and no zTOC"),
}


@pytest.mark.parametrize("what", sorted(WRONG))
def test_wrong_lists_are_ignored_aloud(sluice, own_registry, image, what):
    name, compressed, sizes = image
    layer, data, words = WRONG[what]
    soci.publish(own_registry, "demo", "latest", [compressed[0], None], sizes, make=ztoc,
                 prefetch=[(layer, data)])
    said = sentence(sluice("ls", name).stderr)
    assert len(said.splitlines()) == 1, said
    assert "its SOCI prefetch lists in the registry are ignored" in said and words in said
    assert not stored(sluice, facts(sluice, name)[0]).exists()


def test_list_that_is_gone(sluice, own_registry, image):
    name, compressed, sizes = image
    data = prefetch((0, 0))
    soci.publish(own_registry, "demo", "latest", compressed, sizes, make=ztoc,
                 prefetch=[(0, data)])
    own_registry.blob_file(soci.digest_of(data)).write_bytes(b"something else")
    said = sentence(sluice("ls", name).stderr)
    assert "its SOCI prefetch lists in the registry are ignored" in said
