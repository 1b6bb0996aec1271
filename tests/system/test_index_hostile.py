# SPDX-License-Identifier: Apache-2.0
"""Lists of referrers and indexes that somebody else made to do harm."""
import json
import os

import pytest

from faultlib import FaultServer, count
from lib import images, layers

ARTIFACT = "application/vnd.sluice.index.v1"
DIGEST, SIZE = "dev.sluice.bundle.digest", "dev.sluice.bundle.size"
ABSENT = "sha256:" + "ab" * 32
SECONDS_MAX = 20


@pytest.fixture
def layout(tmp_path):
    made = images.Layout(tmp_path / "layout")
    return made.tag(made.manifest([layers.middle()]))


@pytest.fixture
def serve(layout, nothing_left):
    server = FaultServer(layout.place).start()
    yield server
    server.stop()


def entry(notes, **more):
    made = {"mediaType": images.OCI_MANIFEST, "digest": ABSENT, "size": 500,
            "artifactType": ARTIFACT, "annotations": notes, **more}
    return {key: value for key, value in made.items() if value is not None}


def blob(layout, data):
    return layout.blob(data, "text/html")["digest"]


def mount(sluice, server, entries):
    server.add_rule(path=r".*/referrers/.*", status=200, headers={"Content-Type": images.OCI_INDEX},
                    body=json.dumps({"schemaVersion": 2, "mediaType": images.OCI_INDEX,
                                     "manifests": entries}))
    place = sluice.place / "mnt"
    place.mkdir()
    sluice.mounted.append(place)
    result = sluice("mount", f"{server.host}/a/b:latest", place, check=False, timeout=SECONDS_MAX)
    return place, result


HARMLESS = {
    "no annotations": lambda: entry(None),
    "half of them": lambda: entry({DIGEST: ABSENT}),
    "of another type": lambda: entry({DIGEST: "x", SIZE: "-1"},
                                            artifactType="text/html"),
    "numbers": lambda: entry({DIGEST: 5, SIZE: 6}),
    "a list": lambda: entry(["x"]),
    "a bundle that is gone": lambda: entry({DIGEST: ABSENT, SIZE: "10"}),
    "negative size of its own": lambda: entry(None, size=-1),
    "huge size of its own": lambda: entry(None, size=2**63),
}


@pytest.mark.parametrize("what", sorted(HARMLESS))
def test_ignored(sluice, serve, layout, what):
    place, result = mount(sluice, serve, [HARMLESS[what]()])
    assert result.returncode == 0, result.stderr
    assert os.listdir(place)


REFUSED = {
    "digest of nothing": (lambda layout: {DIGEST: "sha256:zz", SIZE: "5"}, "digest"),
    "digest with a path": (lambda layout: {DIGEST: "sha256:../../../etc/passwd", SIZE: "5"},
                           "digest"),
    "size past all bounds": (lambda layout: {DIGEST: ABSENT, SIZE: "9" * 30}, "no proper size"),
    "size past the limit": (lambda layout: {DIGEST: ABSENT, SIZE: str((1 << 29) + 1)},
                            "no proper size"),
    "negative size": (lambda layout: {DIGEST: ABSENT, SIZE: "-5"}, "no proper size"),
    "size in hexadecimal": (lambda layout: {DIGEST: ABSENT, SIZE: "0x10"}, "no proper size"),
    "size with escapes": (lambda layout: {DIGEST: ABSENT, SIZE: "\x1b[2J"}, "no proper size"),
    "smaller than it is": (lambda layout: {DIGEST: blob(layout, b"x" * 5000), SIZE: "5"}, "5"),
    "no bundle": (lambda layout: {DIGEST: blob(layout, b"<html>"), SIZE: "6"},
                  "not an index bundle"),
    "larger than it is": (lambda layout: {DIGEST: blob(layout, b"SLBUNDL1" + bytes(90)),
                                          SIZE: str(1 << 29)}, "index"),
}


@pytest.mark.parametrize("what", sorted(REFUSED))
def test_refused(sluice, serve, layout, what):
    notes, words = REFUSED[what]
    place, result = mount(sluice, serve, [entry(notes(layout))])
    assert result.returncode == 1, result.stderr
    assert not os.path.ismount(place)
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert words in result.stderr
    assert all(c.isprintable() for c in result.stderr.strip())


def test_endless_list(sluice, serve):
    """Page after page, each of them full: an end is made of it, and the image is mounted."""
    many = [entry({"n": "x" * 100}, artifactType=f"a/{n}") for n in range(5000)]
    body = json.dumps({"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": many})
    for page in range(1, 100):
        serve.add_rule(path=r".*/referrers/.*", status=200, body=body, times=1,
                       headers={"Link": f'<?p={page}>; rel="next"'})
    place = sluice.mount(f"{serve.host}/a/b:latest")
    assert os.listdir(place)
    assert count(serve, path="/referrers/") <= 65
