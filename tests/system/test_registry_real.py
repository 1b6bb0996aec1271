# SPDX-License-Identifier: Apache-2.0
"""The registry origin against Debian's docker-registry: plain, with tokens, redirecting."""

import errno
import io
import json
import tarfile

import pytest

from faultlib import BLOB_SIZE, MANIFEST, Image, digest_of, regctl
from lib import images, layers, registry, run

BIG = 12 << 20
KINDS = {"plain": registry.Registry, "tokens": registry.TokenRegistry,
         "redirect": registry.RedirectRegistry}


@pytest.fixture(params=sorted(KINDS))
def real(request, tmp_path):
    """A registry that runs, and the options for regctl to log in to it."""
    server = KINDS[request.param](tmp_path / "registry").start()
    options = []
    if request.param == "tokens":
        options = ["--user", registry.USER, "--password", registry.PASSWORD]
    yield server, options
    server.stop()


@pytest.fixture
def image(tmp_path):
    return Image(tmp_path / "layout")


def fine(result):
    assert result.code == 0, result.error
    return result


def publish(image, server, options, tmp_path):
    for number, data in enumerate((image.layer, b"{}")):
        path = tmp_path / f"blob{number}"
        path.write_bytes(data)
        fine(regctl(f"{server.host}/a/b", "push-blob", path, digest_of(data), options=options))
    path = tmp_path / "manifest"
    path.write_bytes(image.manifest)
    fine(regctl(f"{server.host}/a/b", "push-manifest", path, MANIFEST, image.digest,
                options=options))


def test_push_and_pull(real, image, tmp_path):
    server, options = real
    publish(image, server, options, tmp_path)
    assert fine(regctl(f"{server.host}/a/b@{image.digest}", "manifest",
                       options=options)).out == image.manifest
    assert fine(image.range(server.host, options=options)).out == image.layer[1000:101_000]
    assert fine(image.stream(server.host, options=options)).out == image.layer
    fine(regctl(f"{server.host}/a/b", "parallel", 32, image.layer_digest, BLOB_SIZE, 5, 200_000,
                options=options))


def test_referrers_by_tag(real, image, tmp_path):
    server, options = real
    publish(image, server, options, tmp_path)
    docs = []
    for kind in ("one", "two"):
        doc = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": f"application/x.{kind}",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json",
                       "digest": digest_of(b"{}"), "size": 2}, "layers": [],
            "subject": {"mediaType": MANIFEST, "digest": image.digest,
                        "size": len(image.manifest)}}).encode()
        docs.append(doc)
        path = tmp_path / kind
        path.write_bytes(doc)
        fine(regctl(f"{server.host}/a/b", "push-manifest", path, MANIFEST, digest_of(doc),
                    image.digest, options=options))
    found = fine(regctl(f"{server.host}/a/b", "referrers", image.digest, options=options))
    # The newest is first.
    assert found.out.decode().split() == [digest_of(docs[1]), "application/x.two",
                                          digest_of(docs[0]), "application/x.one"]
    found = fine(regctl(f"{server.host}/a/b", "referrers", image.digest, "application/x.none",
                        options=options))
    assert found.out == b""


def test_missing(real, image, tmp_path):
    server, options = real
    publish(image, server, options, tmp_path)
    result = regctl(f"{server.host}/a/b:nothing", "manifest", options=options)
    assert result.code == -errno.ENOENT
    assert "MANIFEST_UNKNOWN" in result.error
    other = digest_of(b"other")
    result = regctl(f"{server.host}/a/b", "blob", other, 5, options=options)
    assert result.code == -errno.ENOENT


def test_wrong_password(tmp_path, image):
    server = registry.TokenRegistry(tmp_path / "registry").start()
    try:
        result = image.range(server.host, options=["--user", "testuser", "--password", "s3cret"])
    finally:
        server.stop()
    assert result.code == -errno.EACCES
    assert "refuses the credentials" in result.error
    assert "s3cret" not in result.stderr


def test_range_past_the_end(tmp_path, image):
    """docker-registry 2.8 promises a body with its 416 that never comes."""
    server = registry.Registry(tmp_path / "registry").start()
    try:
        publish(image, server, [], tmp_path)
        result = regctl(f"{server.host}/a/b", "range", image.layer_digest, 10 * BLOB_SIZE,
                        2 * BLOB_SIZE, 100)
    finally:
        server.stop()
    assert result.code in (-errno.EIO, -errno.EBADMSG)
    assert result.report["requests"] == 1


@pytest.fixture
def proxied(tmp_path):
    """A registry, and a cold pull-through cache of it."""
    remote = registry.Registry(tmp_path / "remote").start()
    proxy = registry.ProxyRegistry(tmp_path / "proxy", remote).start()
    yield remote, proxy
    proxy.stop()
    remote.stop()


def test_cold_pull_through(proxied, image, tmp_path):
    """One whole answer to the first range, and ranges when it is warm."""
    remote, proxy = proxied
    publish(image, remote, [], tmp_path)
    cold = fine(regctl(f"{proxy.host}/a/b", "range", image.layer_digest, BLOB_SIZE,
                       1000, 5000, 200_000, 10, options=["--spool", str(tmp_path)]))
    assert cold.out == image.layer[1000:6000] + image.layer[200_000:200_010]
    # The range that came whole is broken off; the spool is the second request and the last.
    assert cold.report["requests"] == 2

    def warm():
        result = fine(image.range(proxy.host))
        assert result.out == image.layer[1000:101_000]
        return result.report["requests"] == 1
    run.wait_until(warm, 10, "the cache to be warm")


def test_mount_through_a_cold_pull_through(proxied, sluice, another_sluice, tmp_path):
    remote, proxy = proxied
    layout = images.Layout(tmp_path / "layout")
    layout.tag(layout.manifest([layers.bottom(big=BIG)]))
    name = remote.push(f"oci:{layout.place}:latest", "demo:latest")
    sluice("index", "build", name)
    sluice("index", "push", name)
    mounted = another_sluice.mount(f"{proxy.host}/demo:latest")
    with tarfile.open(fileobj=io.BytesIO(layers.bottom(big=BIG))) as content:
        want = content.extractfile("data/big").read()
    with open(mounted / "data/big", "rb") as big:
        big.seek(BIG // 2)
        assert big.read(4096) == want[BIG // 2:BIG // 2 + 4096]
        big.seek(0)
        assert big.read() == want
