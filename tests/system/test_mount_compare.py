# SPDX-License-Identifier: Apache-2.0
"""Every kind of image from every kind of source, file by file against umoci's extraction."""
import stat

import pytest

from lib import compare, images, layers, tools

KINDS = ("gzip", "gzip-many", "zstd", "zstd-many", "tar", "docker", "index", "umoci", "buildah",
         "estargz", "zstd-chunked", "zstd-chunked-ctr")
SOURCES = ("registry", "token", "redirect", "oci", "oci-archive", "docker-archive")
# A table of contents has whole seconds.
WHOLE_SECONDS = ("estargz", "zstd-chunked", "zstd-chunked-ctr")
# A docker-archive holds uncompressed tars: what a layer was compressed with is lost on the way.
ARCHIVED_AS_DOCKER = ("gzip", "umoci", "buildah")


def cases():
    for kind in KINDS:
        for source in SOURCES:
            if source == "docker-archive" and kind not in ARCHIVED_AS_DOCKER:
                continue
            if source == "oci-archive" and kind == "docker":
                continue  # skopeo takes no Docker manifest out of a layout
            quick = kind in ("gzip", "estargz") and source in ("registry", "oci")
            yield pytest.param(kind, source, marks=pytest.mark.sanitize if quick else ())


def offer(request, sluice, kind, source):
    """The image as the command line names it, after it was put there."""
    layout = request.getfixturevalue("gallery").layout(kind)
    if source == "oci":
        return f"oci:{layout}:latest"
    if source.endswith("archive"):
        file = sluice.place / "image.tar"
        name = "demo:latest" if source == "docker-archive" else "latest"
        options = () if source == "docker-archive" else ("--preserve-digests",)
        tools.run.run("skopeo", "--insecure-policy", "copy", *options,
                      *(["--all"] if source == "oci-archive" else []),
                      f"oci:{layout}:latest", f"{source}:{file}:{name}")
        return f"{source}:{file}"
    name = {"registry": "plain", "token": "token", "redirect": "redirect"}[source]
    server = request.getfixturevalue(f"{name}_registry")
    if source == "token":
        server.write_credentials(sluice.home)
    if kind == "docker":
        layout = request.getfixturevalue("gallery").layout("gzip")
        return server.push(f"oci:{layout}:latest", "demo/docker:latest", "--format", "v2s2")
    return server.push(f"oci:{layout}:latest", f"demo/{kind}:latest")


def tree_of(directory, kind):
    found = compare.walk(directory)
    for name, facts in found.items():
        # No layer has an entry for these directories: whoever extracts gives them his own time.
        if name.split(b"/")[0] == b"long" and facts["type"] == stat.S_IFDIR:
            del facts["mtime"]
    if kind in WHOLE_SECONDS:
        for facts in found.values():
            if "mtime" in facts:
                facts["mtime"] //= 1_000_000_000
    return found


@pytest.mark.parametrize("kind, source", cases())
def test_same_tree(request, sluice, gallery, kind, source):
    image = offer(request, sluice, kind, source)
    for presentation in ("fuse", "auto"):
        mounted = sluice.mount(image, f"--fs={presentation}")
        compare.assert_same(tree_of(gallery.tree(kind), kind), tree_of(mounted, kind))
        sluice.umount(mounted)


@pytest.mark.parametrize("kind", ("gzip", "zstd", "estargz"))
def test_second_mount_reads_the_store(request, sluice, gallery, own_registry, kind):
    """With everything read once, the registry is not needed any more."""
    layout = gallery.layout(kind)
    image = own_registry.push(f"oci:{layout}:latest", "demo:latest")
    mounted = sluice.mount(image)
    first = compare.walk(mounted)
    sluice.umount(mounted)
    own_registry.stop()
    compare.assert_same(first, sluice.mount(image))


@pytest.mark.parametrize("compression", ("gzip", "zstd-many", "tar"))
def test_sparse_files(sluice, tmp_path, compression):
    """GNU and PAX sparse files, against GNU tar: umoci reads only one of them."""
    tar = layers.sparse(tmp_path / "files")
    layout = images.write(tmp_path / "layout", compression, [tar])
    want = compare.walk(tools.tar_extract(tar, tmp_path / "want"))
    got = compare.walk(sluice.mount(f"oci:{layout.place}:latest"))
    # The layer has no entry for its root directory.
    del want[b"."], got[b"."]
    assert {b"sparse-gnu", b"sparse-pax"} == want.keys()
    compare.assert_same(want, got)


def test_other_platform(sluice, gallery):
    """The foreign entry of an index shows its own tree."""
    other = "arm64" if images.ARCHITECTURE != "arm64" else "amd64"
    mounted = sluice.mount(f"oci:{gallery.layout('index')}:latest", "--platform", f"linux/{other}")
    assert sorted(p.name for p in mounted.iterdir()) == ["etc", "many"]
