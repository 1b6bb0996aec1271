# SPDX-License-Identifier: Apache-2.0
"""What registries may do besides failing, and few do."""
import errno
import hashlib
import json
import re

import pytest

from faultlib import MANIFEST, FaultServer, count, regctl
from lib import images, layers
from lib.registry import digest_of
from test_registry_faults import (BLOB, encrypted, image, mirrored, ok_range, push,  # noqa: F401
                                  ranges, serve, stored)


def login(tmp_path, host, **entry):
    config = tmp_path / "auth.json"
    config.write_text(json.dumps({"auths": {host: entry}}))
    config.chmod(0o600)
    return ["--auth-file", str(config)]


@pytest.mark.parametrize("status", (400, 401, 404))
def test_identity_token_where_only_get_is_known(serve, image, tmp_path, status):
    server = serve({"method": "POST", "path": "/token", "status": status}, auth={})
    ok_range(image, server, options=login(tmp_path, server.host, identitytoken="s3cret"))
    assert [r["method"] for r in server.requests if "/token" in r["path"]] == ["POST", "GET"]


def test_identity_token_refused_with_405(serve, image, tmp_path):
    """Without a name there is nothing that a GET could say."""
    server = serve({"method": "POST", "path": "/token", "status": 405}, auth={})
    result = image.range(server.host,
                         options=login(tmp_path, server.host, identitytoken="s3cret"))
    assert result.code != 0 and "405" in result.error and "s3cret" not in result.error
    assert [r["method"] for r in server.requests if "/token" in r["path"]] == ["POST"]


def test_realm_of_an_encrypted_registry_is_encrypted(encrypted, serve, image):
    far = serve(auth={})
    front, certs = encrypted({"status": 401, "headers": {
        "WWW-Authenticate": f'Bearer realm="{far.url}/token",service="s"'}})
    result = image.range(front.host, options=certs)
    assert result.code == -errno.EPERM
    assert f"{far.url}/token" in result.error
    assert far.requests == []


@pytest.mark.parametrize("status", (301, 302, 303, 307, 308))
def test_every_kind_of_redirect(serve, image, status):
    """Also a relative one; the range goes along."""
    store = serve()
    front = serve({"path": BLOB, "times": 1, "status": status, "headers": {
        "Location": f"/elsewhere/{image.layer_digest}"}},
        {"path": "/elsewhere/.*", "status": status, "headers": {
            "Location": f"{store.url}/v2/x/blobs/{image.layer_digest}"}})
    ok_range(image, front)
    assert ranges(store) == ["bytes=1000-100999"]


def test_never_more_than_one_range_a_request(serve, image):
    server = serve()
    result = regctl(f"{server.host}/a/b", "parallel", 8, image.layer_digest, 300_000, 0, 1000)
    assert result.code == 0, result.error
    assert all(re.fullmatch(r"bytes=\d+-\d+", sent) for sent in ranges(server))


def test_proxy_is_told_the_registry(serve, image, tmp_path):
    mirror, registry = serve(), serve()
    options = mirrored(tmp_path, mirror.host, registry.host)
    ok = regctl(f"registry.example/a/b@{image.digest}", "manifest", options=options)
    assert ok.code == 0, ok.error
    assert [r["path"].partition("?")[2] for r in mirror.requests] == ["ns=registry.example"]
    assert registry.requests == []


def test_least_length_of_a_chunk(serve, tmp_path):
    """A registry may want larger pieces than we would send."""
    data = bytes(range(256)) * (100 << 10)
    least = 12 << 20
    server = serve({"method": "PUT", "status": 413, "times": 1},
                   {"method": "POST", "path": ".*/uploads/.*", "status": 202, "headers": {
                       "Location": "/v2/a/b/blobs/uploads/s0", "Range": "0-0",
                       "OCI-Chunk-Min-Length": str(least)}})
    server.uploads["s0"] = b""
    result = push(server, data, tmp_path)
    assert result.code == 0, result.error
    assert stored(server, data)
    starts = [r["headers"]["content-range"] for r in server.requests if r["method"] == "PATCH"]
    assert starts[0] == f"0-{least - 1}"


def test_chunk_out_of_order_asks_for_the_status(serve, tmp_path):
    """416 says that the registry has another number of bytes than we think."""
    data = bytes(range(256)) * (64 << 10)
    server = serve({"method": "PUT", "status": 413, "times": 1},
                   {"method": "PATCH", "skip": 1, "times": 1, "status": 416})
    result = push(server, data, tmp_path)
    assert result.code == 0, result.error
    assert stored(server, data)
    assert count(server, "GET", "/uploads/") == 1


def sha512_of(data):
    return "sha512:" + hashlib.sha512(data).hexdigest()


@pytest.fixture
def sha512_image(tmp_path):
    """An OCI layout with all of its digests, the diff_ids too, of sha512."""
    layout = images.Layout(tmp_path / "sha512")
    place = layout.place / "blobs/sha512"
    place.mkdir()

    def blob(data, media_type):
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        (place / sha512_of(data)[7:]).write_bytes(data)
        return {"mediaType": media_type, "digest": sha512_of(data), "size": len(data)}

    def make(diff_id):
        tar = layers.top()
        config = blob({"architecture": images.ARCHITECTURE, "os": "linux",
                       "rootfs": {"type": "layers", "diff_ids": [diff_id or sha512_of(tar)]}},
                      images.OCI_CONFIG)
        layer = blob(layers.gzip_one(tar), layers.OCI_LAYER + "+gzip")
        layout.tag(blob({"schemaVersion": 2, "mediaType": MANIFEST, "config": config,
                         "layers": [layer]}, MANIFEST))
        return f"oci:{layout.place}:latest"
    return make


@pytest.mark.parametrize("kind", ("sha256", "sha512"))
def test_sha512(sluice, sha512_image, kind):
    mounted = sluice.mount(sha512_image(digest_of(layers.top()) if kind == "sha256" else None))
    assert (mounted / "etc/marked/inside").read_bytes() == b"back again"
    sluice("fsck", "--deep")
