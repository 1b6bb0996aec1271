# SPDX-License-Identifier: Apache-2.0
"""Startup profiles: in the store, through files, through a registry, and never a reason to fail."""
import json
import os
import subprocess

import pytest

from conftest import sentence
from lib import images, layers, registry

ARTIFACT = "application/vnd.sluice.profile.v1"
BLOB = "application/vnd.sluice.profile.v1+zstd"
NOTES = "dev.sluice.profile."
CREATED = "org.opencontainers.image.created"
ABSENT = "sha256:" + "ab" * 32


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    made = images.Layout(tmp_path_factory.mktemp("profile") / "layout")
    return made.tag(made.manifest([layers.bottom(), layers.top()]))


@pytest.fixture
def image(own_registry, layout):
    return own_registry.push(f"oci:{layout.place}:latest", "demo:latest")


def facts(sluice, name):
    """(digest of the manifest, digests of the layers, sizes of their devices)"""
    told = json.loads(sluice("index", "show", name, "--format", "json").stdout)
    return (told["image"], [layer["digest"] for layer in told["layers"]],
            [layer["bytes"] for layer in told["layers"]])


def text(digest, layer_digests, ranges, version=1):
    """A profile as the program itself writes it."""
    names = ",\n".join(f'"{name}"' for name in layer_digests)
    rows = "".join(f"{',' if i else ''}\n[{','.join(map(str, row))}]"
                   for i, row in enumerate(ranges))
    return f'{{"version":{version},\n"image":"{digest}",\n"layers":[{names}],\n"ranges":[{rows}]}}\n'


def pack(data):
    return subprocess.run(["zstd", "-q", "-c", "--stream-size", str(len(data))], input=data,
                          check=True, capture_output=True).stdout


def put(server, repository, tag, blob, created="2026-01-02T03:04:05Z", notes=None, change=dict):
    """Puts an artifact with this blob beside an image, in the tag that stands for its referrers."""
    digest, manifest = server.get_manifest(repository, tag)
    document = json.loads(manifest)
    stored = server.put_blob(repository, blob)
    config = {"mediaType": "application/vnd.oci.empty.v1+json",
              "digest": server.put_blob(repository, b"{}"), "size": 2}
    annotations = {NOTES + "digest": stored, NOTES + "size": str(len(blob)), CREATED: created,
                   **(notes or {})}
    artifact = json.dumps({
        "schemaVersion": 2, "mediaType": images.OCI_MANIFEST, "artifactType": ARTIFACT,
        "config": config, "layers": [{"mediaType": BLOB, "digest": stored, "size": len(blob)}],
        "subject": {"mediaType": document["mediaType"], "digest": digest, "size": len(manifest)},
        "annotations": annotations}).encode()
    entry = {"mediaType": images.OCI_MANIFEST, "digest": registry.digest_of(artifact),
             "size": len(artifact), "artifactType": ARTIFACT, "annotations": annotations}
    server.put_manifest(repository, entry["digest"], artifact)
    fallback = digest.replace(":", "-")
    status, _, body = server.request("GET", f"/v2/{repository}/manifests/{fallback}",
                                     headers={"Accept": images.OCI_INDEX})
    entries = json.loads(body)["manifests"] if status == 200 else []
    server.put_manifest(repository, fallback, {
        "schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": [*entries, change(entry)]})


def stored(sluice, digest):
    return sluice.store / "images" / digest.replace(":", "-") / "profile"


def ranges(sluice, name):
    return json.loads(sluice("profile", "export", name, "-").stdout)["ranges"]


def test_import_show_export_rm(sluice, image, tmp_path):
    digest, names, sizes = facts(sluice, image)
    path = f"/{next(iter(files_of(layers.bottom())))}"
    place = files_of(layers.bottom())[path[1:]]
    source, back = tmp_path / "in.json", tmp_path / "out.json"
    source.write_text(text(digest, names, [(0, place[0], 512, 64, 0), (1, 0, 1024, 112, 700)]))
    sluice.refuses("profile", "show", image, words="open the image's startup profile")
    sluice("profile", "import", image, source)
    shown = json.loads(sluice("profile", "show", image, "--format", "json").stdout)
    assert shown["image"] == digest and shown["bytes"] == 1536
    assert shown["total_bytes"] == sum(sizes)
    first, second = shown["ranges"]
    assert (first["layer"], first["offset"], first["length"], first["score"]) == (1, place[0], 512, 64)
    assert path in first["names"] and first["files"] >= 1
    assert (second["layer"], second["score"], second["place"]) == (2, 112, 700)
    rows = sluice("profile", "show", image).stdout.splitlines()
    assert rows[1].split()[:5] == ["1", "1", str(place[0]), "512", "64"] and path in rows[1]
    assert rows[-1].startswith("2 ranges, 1.5 KiB of ")
    sluice("profile", "export", image, back)
    assert back.read_bytes() == source.read_bytes() == stored(sluice, digest).read_bytes()
    # What a file says again changes nothing.
    sluice("profile", "import", image, source)
    assert stored(sluice, digest).read_bytes() == source.read_bytes()
    sluice("profile", "rm", image)
    assert not stored(sluice, digest).exists()
    sluice.refuses("profile", "rm", image, words="remove the image's startup profile")


def files_of(tar):
    """{name: (offset, size)} of the regular files with bytes in a tar."""
    import io
    import tarfile
    with tarfile.open(fileobj=io.BytesIO(tar), errors="surrogateescape") as t:
        return {m.name: (m.offset_data, m.size) for m in t if m.isreg() and m.size >= 512}


WRONG_FILES = {
    "another image": (lambda d, n, s: text(ABSENT, n, []), "the profile is one of another image"),
    "another layer": (lambda d, n, s: text(d, [ABSENT, *n[1:]], []), "names another layer 0"),
    "a layer too few": (lambda d, n, s: text(d, n[1:], []), "names 1 layers, and the image has 2"),
    "outside": (lambda d, n, s: text(d, n, [(0, 0, s[0] + 4096, 64, 0)]),
                "range 0 of the profile lies outside layer 0"),
    "no such layer": (lambda d, n, s: text(d, n, [(2, 0, 512, 64, 0)]), "is of layer 2"),
    "wrong version": (lambda d, n, s: text(d, n, [], version=2), "the profile has version 2"),
    "no JSON": (lambda d, n, s: text(d, n, [])[:-5], "the profile is not valid JSON"),
    "overlap": (lambda d, n, s: text(d, n, [(0, 0, 1024, 64, 0), (0, 512, 512, 64, 9)]),
                "range 1 of the profile overlaps another"),
    "absurd numbers": (lambda d, n, s: text(d, n, [(0, 512, 2**63 - 1, 64, 0)]), "lies outside"),
    "too many ranges": (lambda d, n, s: text(d, n, [(0, 0, 512, 64, i) for i in range(65537)]),
                        "the profile has 65537 ranges"),
    "too long": (lambda d, n, s: text(d, n, []) + " " * (8 << 20), "8388608 is the most"),
}


@pytest.mark.parametrize("what", sorted(WRONG_FILES))
def test_wrong_one_in_the_registry_is_ignored_aloud(sluice, another_sluice, own_registry, image,
                                                    what):
    make, words = WRONG_FILES[what]
    put(own_registry, "demo", "latest", pack(make(*facts(sluice, image)).encode()))
    place = another_sluice.place / "mnt"
    place.mkdir()
    another_sluice.mounted.append(place)
    said = sentence(another_sluice("mount", image, place).stderr)
    assert len(said.splitlines()) == 1, said
    assert "its startup profile in the registry is ignored" in said and words in said
    assert os.listdir(place)
    assert not stored(another_sluice, facts(sluice, image)[0]).exists()


WRONG_BLOBS = {
    "torn": (lambda data: pack(data)[:-9], {}, "unpack a profile"),
    "nothing": (lambda data: b"", {}, "not valid JSON"),
    "claims much": (lambda data: pack(data + b" " * (9 << 20)), {}, "8388608 is the most"),
    "does not say": (lambda data: subprocess.run(["zstd", "-q", "-c"], input=data, check=True,
                                                 capture_output=True).stdout, {},
                     "does not say how large it is unpacked"),
    "is gone": (pack, {NOTES + "digest": ABSENT}, "ignored"),
    "is another": (pack, {NOTES + "size": "77"}, "ignored"),
    "no digest": (pack, {NOTES + "digest": "sha256:zz"}, "a startup profile in the registry"),
    "no size": (pack, {NOTES + "size": "0x10"}, "it has no proper size"),
    "huge": (pack, {NOTES + "size": str(1 << 40)}, "it has no proper size"),
}


@pytest.mark.parametrize("what", sorted(WRONG_BLOBS))
def test_wrong_blob_is_ignored_aloud(sluice, another_sluice, own_registry, image, what):
    make, notes, words = WRONG_BLOBS[what]
    digest, names, _ = facts(sluice, image)
    put(own_registry, "demo", "latest", make(text(digest, names, []).encode()), notes=notes)
    place = another_sluice.mount(image)
    assert os.listdir(place) and not stored(another_sluice, digest).exists()
    said = sentence(another_sluice("profile", "show", image, check=False).stderr)
    assert "startup profile" in said
    other = another_sluice.place / "third"
    other.mkdir()
    result = another_sluice("ls", image, "--store", other)
    assert words in result.stderr and len(sentence(result.stderr).splitlines()) == 1


def test_travels_through_the_registry(sluice, another_sluice, own_registry, image, tmp_path):
    digest, names, _ = facts(sluice, image)
    source = tmp_path / "in.json"
    source.write_text(text(digest, names, [(1, 0, 1024, 64, 0), (0, 4096, 8192, 200, 1024)]))
    sluice.refuses("profile", "push", image, words="push the profile of")
    sluice("profile", "import", image, source)
    first = sluice("profile", "push", image).stdout.strip()
    assert first.startswith("sha256:")
    artifact = json.loads(own_registry.get_manifest("demo", first)[1])
    assert artifact["artifactType"] == ARTIFACT and artifact["subject"]["digest"] == digest
    assert artifact["layers"][0]["digest"] == artifact["annotations"][NOTES + "digest"]
    assert sluice("profile", "push", image).stdout.strip() == "the registry has it already"

    # An empty store gets it by preparing the image, whatever for.
    another_sluice("ls", image)
    assert stored(another_sluice, digest).read_text() == source.read_text()


def test_push_joins_what_is_there(sluice, another_sluice, own_registry, image, tmp_path):
    digest, names, _ = facts(sluice, image)
    source = tmp_path / "in.json"
    another_sluice("ls", image)
    for program, row in ((sluice, (0, 0, 512, 64, 0)), (another_sluice, (0, 4096, 512, 99, 5))):
        source.write_text(text(digest, names, [row]))
        program("profile", "import", image, source)
    sluice("profile", "push", image)
    told = json.loads(another_sluice("profile", "push", image, "--format", "json").stdout)
    assert told["pushed"] and told["subject"] == digest
    both = [[0, 0, 512, 64, 0], [0, 4096, 512, 99, 5]]
    assert ranges(another_sluice, image) == both
    # The newer one counts, though both were made in one second.
    sluice("profile", "push", image)
    assert ranges(sluice, image) == both


def test_push_over_a_wrong_one(sluice, own_registry, image, tmp_path):
    digest, names, _ = facts(sluice, image)
    put(own_registry, "demo", "latest", pack(text(ABSENT, names, []).encode()),
        created="2099-01-01T00:00:00Z")
    source = tmp_path / "in.json"
    source.write_text(text(digest, names, [(0, 0, 512, 64, 0)]))
    sluice("profile", "import", image, source)
    result = sluice("profile", "push", image)
    assert "the profile in the registry is ignored: the profile is one of another" in result.stderr
    # A clock that was ahead does not make the wrong one the newest for ever.
    assert sluice("profile", "push", image).stdout.strip() == "the registry has it already"


def test_newest_counts(sluice, another_sluice, own_registry, image):
    digest, names, _ = facts(sluice, image)
    for row, created in ((1, "2026-03-01T00:00:00Z"), (2, "2026-04-01T00:00:00Z"),
                         (3, "2026-02-01T00:00:00Z"), (4, "yesterday")):
        put(own_registry, "demo", "latest",
            pack(text(digest, names, [(0, row * 512, 512, 64, 0)]).encode()), created=created)
    another_sluice("ls", image)
    assert ranges(another_sluice, image) == [[0, 1024, 512, 64, 0]]


def test_not_asked_for_without_an_index(sluice, another_sluice, own_registry, image):
    digest, names, _ = facts(sluice, image)
    put(own_registry, "demo", "latest", pack(text(digest, names, []).encode()))
    another_sluice("ls", image, "--no-index")
    assert not stored(another_sluice, digest).exists()


def test_goes_with_the_index(sluice, another_sluice, image, tmp_path):
    digest, names, _ = facts(sluice, image)
    without = json.loads(sluice("index", "push", image, "--format", "json").stdout)
    assert without["pushed"] and not without["profile_pushed"]
    source = tmp_path / "in.json"
    source.write_text(text(digest, names, [(0, 0, 512, 64, 0)]))
    sluice("profile", "import", image, source)
    told = json.loads(sluice("index", "push", image, "--format", "json").stdout)
    assert told["pushed"] and told["profile_pushed"]
    another_sluice("ls", image)
    assert "sluice" in another_sluice("index", "show", image).stdout
    assert stored(another_sluice, digest).read_text() == source.read_text()


@pytest.mark.parametrize("what", sorted(WRONG_FILES))
def test_wrong_file_is_not_imported(sluice, image, tmp_path, what):
    make, words = WRONG_FILES[what]
    source = tmp_path / "in.json"
    source.write_text(make(*facts(sluice, image)))
    said = "import" if what == "too long" else words
    sluice.refuses("profile", "import", image, source, words=said)


def test_wrong_one_in_the_store(sluice, image, tmp_path):
    """It is said, does not keep anything from starting, and fsck removes it."""
    digest, names, sizes = facts(sluice, image)
    source = tmp_path / "in.json"
    source.write_text(text(digest, names, [(0, 0, 512, 64, 0)]))
    sluice("profile", "import", image, source)
    assert "nothing is wrong" in sluice("fsck").stdout
    stored(sluice, digest).write_text(text(digest, names, [(0, 0, sizes[0] + 4096, 64, 0)]))
    assert os.listdir(sluice.mount(image))
    sluice.refuses("profile", "show", image, words="range 0 of the profile lies outside layer 0")
    found = sluice("fsck", check=False)
    assert found.returncode == 1 and "/profile: range 0 of the profile lies outside" in found.stdout
    assert stored(sluice, digest).exists()
    assert "removed" in sluice("fsck", "--repair").stdout
    assert not stored(sluice, digest).exists() and "nothing is wrong" in sluice("fsck").stdout
    # One that is wrong is no reason not to learn.
    stored(sluice, digest).write_text("{")
    sluice("profile", "import", image, source)
    assert stored(sluice, digest).read_text() == source.read_text()


def test_gc_takes_it_with_the_image(sluice, image, tmp_path):
    digest, names, _ = facts(sluice, image)
    source = tmp_path / "in.json"
    source.write_text(text(digest, names, [(0, 0, 512, 64, 0)]))
    sluice("profile", "import", image, source)
    sluice("gc", "--min-age", "1ms")
    assert stored(sluice, digest).exists()
    sluice("gc", "--all", "--min-age", "1ms")
    assert not stored(sluice, digest).parent.exists()


def test_ready_does_no_harm(sluice, image):
    """The server learns that the start is over, and goes on."""
    place = sluice.mount(image)
    def server():
        rows = json.loads(sluice("mounts", "--format", "json").stdout)
        return next(row["server"] for row in rows if row["dir"] == str(place))
    before = server()
    sluice("profile", "ready", place)
    sluice("profile", "ready", place)
    assert os.listdir(place) and server() == before
    sluice.refuses("profile", "ready", "/proc", words="/proc")


def test_words_that_make_no_sense(sluice, image):
    for words in (("show", image, "more"), ("import", image), ("teach", image)):
        sluice.refuses("profile", *words, words="it is 'profile record IMAGE", status=2)
    sluice.refuses("mount", image, "/mnt", "--no-profile", "--profile-time", "5s",
                   words="--no-profile records nothing", status=2)
