# SPDX-License-Identifier: Apache-2.0
"""One test for each way in which registries are known to fail (and a few more)."""

import base64
import email.utils
import errno
import json
import random
import re
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from faultlib import (BLOB_SIZE, MANIFEST, REF, FaultServer, Image, count, digest_of, regctl,
                      regctl_path)

BLOB = r"/v2/a/b/blobs/sha256:[0-9a-f]{64}"
STORE = r"/store/.*"


@pytest.fixture
def image(tmp_path):
    return Image(tmp_path / "layout")


@pytest.fixture
def serve(image):
    servers = []

    def start(*rules, root=None, **more):
        server = FaultServer(root or image.root, rules, **more).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


def ok_range(image, server, off=1000, length=100_000, **more):
    result = image.range(server.host, off, length, **more)
    assert result.code == 0, result.error
    assert result.out == image.layer[off:off + length]
    return result


def ranges(server, path="/blobs/"):
    return [r["headers"].get("range") for r in server.requests if path in r["path"]]


def test_01_range_ignored_is_spooled_once(serve, image, tmp_path):
    server = serve({"path": BLOB, "ignore_range": True})
    result = regctl(f"{server.host}/a/b", "range", image.layer_digest, BLOB_SIZE,
                    1000, 5000, 200_000, 10, options=["--spool", str(tmp_path)])
    assert result.code == 0, result.error
    assert result.out == image.layer[1000:6000] + image.layer[200_000:200_010]
    assert ranges(server) == ["bytes=1000-5999", None]
    assert list(tmp_path.glob("*spool*")) == []


def test_01b_parallel_readers_share_the_spool(serve, image):
    server = serve({"path": BLOB, "ignore_range": True})
    result = regctl(f"{server.host}/a/b", "parallel", 8, image.layer_digest, BLOB_SIZE, 5, 5000)
    assert result.code == 0, result.error
    assert ranges(server).count(None) == 1


def test_02_wrong_range_is_rejected_and_retried(serve, image):
    server = serve({"path": BLOB, "shift": 1, "times": 1})
    ok_range(image, server)
    assert count(server, "GET", "/blobs/") == 2


def test_02b_wrong_range_for_ever_is_eio(serve, image):
    server = serve({"path": BLOB, "shift": 1})
    result = image.range(server.host)
    assert result.code == -errno.EIO
    assert "another part than was asked for" in result.error
    assert result.out == b""
    assert count(server, "GET", "/blobs/") == 3


def test_03_200_with_content_range(serve, image):
    part = image.layer[1000:101_000]
    server = serve({"path": BLOB, "status": 200, "body": part, "times": 1,
                    "headers": {"Content-Range": f"bytes 1000-100999/{BLOB_SIZE}"}})
    ok_range(image, server)
    assert count(server) == 1


def test_03b_200_with_a_content_range_that_lies(serve, image):
    server = serve({"path": BLOB, "status": 200, "body": image.layer, "times": 1,
                    "headers": {"Content-Range": f"bytes 0-{BLOB_SIZE - 1}/{BLOB_SIZE}"}})
    ok_range(image, server)
    assert count(server) == 2


def test_04_different_total_is_a_changed_blob(serve, image):
    server = serve({"path": BLOB,
                    "add_headers": {"Content-Range": f"bytes 1000-100999/{BLOB_SIZE + 1}"}})
    result = image.range(server.host)
    assert result.code == -errno.EBADMSG
    assert "has another size" in result.error
    assert count(server) == 1


def test_05_short_body_is_resumed(serve, image):
    server = serve({"path": BLOB, "truncate": 70_000, "times": 1})
    ok_range(image, server)
    assert ranges(server) == ["bytes=1000-100999", "bytes=71000-100999"]


def test_05b_short_stream_is_resumed_with_a_range(serve, image):
    server = serve({"path": BLOB, "truncate": 70_000, "times": 1})
    result = image.stream(server.host)
    assert (result.code, result.out) == (0, image.layer)
    assert ranges(server) == [None, f"bytes=70000-{BLOB_SIZE - 1}"]


def test_05c_short_stream_without_ranges_skips(serve, image):
    server = serve({"path": BLOB, "truncate": 70_000, "times": 1},
                   {"path": BLOB, "ignore_range": True})
    result = image.stream(server.host)
    assert (result.code, result.out) == (0, image.layer)
    assert count(server) == 2


def test_06_stall_is_aborted_and_resumed(serve, image):
    server = serve({"path": BLOB, "stall": 10_000, "times": 1})
    start = time.monotonic()
    ok_range(image, server, options=["--stall", "1"])
    assert time.monotonic() - start < 10
    assert ranges(server)[1] == "bytes=11000-100999"


def test_06b_stall_for_ever_ends_at_the_deadline(serve, image):
    server = serve({"path": BLOB, "stall": 0})
    start = time.monotonic()
    result = image.range(server.host, options=["--deadline", "1500"])
    assert result.code == -errno.ETIMEDOUT
    assert 1.4 < time.monotonic() - start < 4


def test_07_416_with_a_lying_length(serve, image):
    server = serve({"path": BLOB, "raw": "HTTP/1.1 416 Requested Range Not Satisfiable\r\n"
                    "Content-Length: 5000\r\n\r\n"})
    result = image.range(server.host)
    assert result.code == -errno.EIO
    assert "status 416" in result.error
    assert count(server) == 1


@pytest.mark.parametrize("status", [400, 403, 501])
def test_08_range_refused(serve, image, status):
    server = serve({"path": BLOB, "status": status, "times": 2})
    ok_range(image, server)
    assert ranges(server) == ["bytes=1000-100999", "bytes=1000-100999", None]


def redirecting(serve, image, *store_rules, **store_more):
    """A registry whose blobs are on another server, under /store/."""
    store = serve(*store_rules, **store_more)
    front = serve({"path": BLOB, "status": 307, "headers": {
        "Location": f"{store.url}/v2/x/blobs/{image.layer_digest}?X-Signature=s3cret"}})
    return front, store


def test_09_presigned_address_ends_mid_read(serve, image):
    front, store = redirecting(serve, image, {"path": r"/v2/x/.*", "skip": 1, "times": 1,
                                              "status": 403, "body": "<Error>expired</Error>"})
    result = regctl(f"{front.host}/a/b", "range", image.layer_digest, BLOB_SIZE,
                    0, 1000, 1000, 1000, 2000, 1000)
    assert result.code == 0, result.error
    assert result.out == image.layer[:3000]
    assert count(front) == 2
    assert count(store) == 4


def test_09b_presigned_address_refused_for_ever(serve, image):
    front, store = redirecting(serve, image, {"path": r"/v2/x/.*", "status": 403})
    result = image.range(front.host)
    assert result.code == -errno.EACCES
    assert "s3cret" not in result.stderr
    assert count(store) <= 5


def test_10_authorization_stays_home(serve, image):
    store = serve()
    front = serve(auth={})
    front.add_rule(path=BLOB, skip=1, status=307, headers={
        "Location": f"{store.url}/v2/x/blobs/{image.layer_digest}"})
    ok_range(image, front)
    assert "authorization" in front.requests[-1]["headers"]
    assert count(store) == 1
    assert all("authorization" not in r["headers"] for r in store.requests)


def test_11_redirect_loop_names_the_chain(serve, image):
    server = serve()
    server.add_rule(path=".*manifests.*", status=302,
                    headers={"Location": "/v2/a/b/manifests/again"})
    result = regctl(f"{server.host}/a/b:latest", "manifest")
    assert result.code == -errno.ELOOP
    assert "more than 10 redirects" in result.error
    assert "manifests/latest -> " in result.error and "manifests/again" in result.error
    assert count(server) == 11


@pytest.fixture
def encrypted(serve, tmp_path):
    """A server with TLS, and the certs.d directory that makes it trusted."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-keyout", key,
                    "-out", cert, "-subj", "/CN=127.0.0.1", "-addext",
                    "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def start(*rules, **more):
        server = serve(*rules, **more)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        place = tmp_path / "certs.d" / server.host
        place.mkdir(parents=True)
        (place / "ca.crt").write_bytes(cert.read_bytes())
        return server, ["--certs", str(tmp_path / "certs.d")]

    return start


def test_12_redirect_to_plain_http_is_refused(serve, encrypted, image):
    store = serve()
    front, certs = encrypted()
    ok_range(image, front, options=certs)
    front.add_rule(path=BLOB, status=307,
                   headers={"Location": f"{store.url}/v2/x/blobs/{image.layer_digest}"})
    result = image.range(front.host, options=certs)
    assert result.code == -errno.EPERM
    assert "not encrypted" in result.error
    assert count(store) == 0
    ok_range(image, front, options=[*certs, "--insecure"])
    assert count(store) == 1


def test_12b_untrusted_certificate(encrypted, image, tmp_path):
    front, certs = encrypted()
    other = tmp_path / "certs.d" / front.host / "ca.crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "/dev/null",
                    "-out", other, "-subj", "/CN=other"], check=True, capture_output=True)
    result = image.range(front.host, options=certs)
    assert result.code == -errno.EKEYREJECTED
    assert "certificate" in result.error


def test_13_one_refresh_for_many(serve, image):
    server = serve(auth={"valid": 3600})
    result = regctl(f"{server.host}/a/b", "parallel", 16, image.layer_digest, BLOB_SIZE, 0, 1000)
    assert result.code == 0, result.error
    assert count(server, path="/token") == 1
    assert result.report["tokens"] == 1


def test_13b_token_ends_mid_read(serve, image):
    server = serve(auth={"valid": 3600})
    server.add_rule(path=BLOB, skip=2, times=1, status=401, headers={
        "WWW-Authenticate": f'Bearer realm="{server.url}/token",service="s",error="invalid_token"'})
    result = regctl(f"{server.host}/a/b", "range", image.layer_digest, BLOB_SIZE, 0, 10, 10, 10)
    assert (result.code, result.out) == (0, image.layer[:20])
    assert count(server, path="/token") == 2


def test_14_401_for_ever(serve, image):
    server = serve(auth={"valid": -1})
    result = image.range(server.host)
    assert result.code == -errno.EACCES
    assert count(server, path="/blobs/") == 2
    assert count(server, path="/token") == 1
    assert "tok-" not in result.stderr


def helper(tmp_path, host):
    """A credential helper that gives another password each time, and counts."""
    log = tmp_path / "helper.log"
    program = tmp_path / "docker-credential-test"
    program.write_text(f"""#!/bin/sh
cat >/dev/null
echo x >>{log}
printf '{{"Username":"u","Secret":"pass%s"}}' "$(wc -l <{log})"
""")
    program.chmod(0o755)
    config = tmp_path / "auth.json"
    config.write_text(json.dumps({"credHelpers": {host: "test"}}))
    config.chmod(0o600)
    return log, ["--auth-file", str(config), "--path", f"{tmp_path}:/usr/bin:/bin"]


def test_15_403_without_challenge_asks_the_helper_again(serve, image, tmp_path):
    server = serve({"path": BLOB, "times": 1, "status": 401,
                    "headers": {"WWW-Authenticate": 'Basic realm="x"'}},
                   {"path": BLOB, "times": 1, "status": 403})
    log, options = helper(tmp_path, server.host)
    ok_range(image, server, options=options)
    assert len(log.read_text().split()) == 2
    sent = [r["headers"].get("authorization") for r in server.requests]
    assert sent == [None, "Basic " + base64.b64encode(b"u:pass1").decode(),
                    "Basic " + base64.b64encode(b"u:pass2").decode()]


@pytest.mark.parametrize("rule,code,words,times", [
    ({"status": 500}, errno.EREMOTEIO, "answered 500, 4 times", 4),
    ({"status": 200, "body": "<html>hello</html>"}, errno.EPROTO, "it sent no token", 1),
    ({"status": 200, "body": "x" * 2_000_000}, errno.EFBIG, "more than the 1048576 bytes", 1),
    ({"status": 200, "body": '{"token":"a\\r\\nb"}'}, errno.EPROTO, "without a usable token", 1),
])
def test_16_token_server_fails(serve, image, rule, code, words, times):
    server = serve({"path": "/token.*", **rule}, auth={})
    result = image.range(server.host)
    assert result.code == -code
    assert words in result.error
    assert count(server, path="/token") == times


@pytest.mark.parametrize("value,least,most", [
    ("1", 0.9, 4), ("date", 0.9, 5), ("0", 0, 2),
])
def test_17_retry_after(serve, image, value, least, most):
    if value == "date":
        value = email.utils.formatdate(time.time() + 2.9, usegmt=True)
    server = serve({"path": BLOB, "times": 1, "status": 429, "headers": {"Retry-After": value}})
    start = time.monotonic()
    result = ok_range(image, server)
    assert least <= time.monotonic() - start < most
    assert result.report["retries"] == 1


def test_17b_absurd_retry_after_ends_at_the_deadline(serve, image):
    server = serve({"path": BLOB, "status": 429, "headers": {"Retry-After": "99999999999999999999"}})
    start = time.monotonic()
    result = image.range(server.host, options=["--deadline", "1000"])
    assert result.code == -errno.ETIMEDOUT
    assert time.monotonic() - start < 3
    assert count(server) == 1


def test_18_503_then_well(serve, image):
    server = serve({"path": BLOB, "times": 2, "status": 503})
    assert ok_range(image, server).report["retries"] == 2


def test_18b_500_for_ever_gives_up_at_the_deadline(serve, image):
    server = serve({"path": BLOB, "status": 500})
    start = time.monotonic()
    result = image.range(server.host, options=["--deadline", "2000"])
    assert result.code == -errno.EREMOTEIO
    assert "answered 500" in result.error
    assert time.monotonic() - start < 3
    assert 3 <= count(server) <= 8


def test_19_flipped_byte(serve, image):
    server = serve({"path": BLOB, "flip": 1234})
    for verb in ("blob", "stream"):
        result = regctl(f"{server.host}/a/b", verb, image.layer_digest, BLOB_SIZE)
        assert result.code == -errno.EBADMSG
        assert image.layer_digest in result.error
    result = regctl(f"{server.host}/a/b@{image.digest}", "manifest")
    assert result.code == 0


def test_19b_flipped_byte_in_a_manifest(serve, image):
    server = serve({"path": ".*manifests.*", "flip": 20})
    result = regctl(f"{server.host}/a/b@{image.digest}", "manifest")
    assert (result.code, result.out) == (-errno.EBADMSG, b"")
    assert image.digest in result.error


def test_20_wrong_digest_header_is_ignored(serve, image):
    server = serve({"path": ".*manifests.*",
                    "add_headers": {"Docker-Content-Digest": "sha256:" + "0" * 64}})
    for ref in (f"{server.host}/a/b:latest", f"{server.host}/a/b@{image.digest}"):
        result = regctl(ref, "manifest")
        assert (result.code, result.out) == (0, image.manifest)


@pytest.mark.parametrize("rule", [
    {"endless": True},
    {"status": 200, "body": "x" * (5 << 20)},
    {"raw": "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nxx"},
])
def test_21_manifest_without_end(serve, image, rule):
    server = serve({"path": ".*manifests.*", **rule})
    result = regctl(f"{server.host}/a/b:latest", "manifest")
    assert result.code == -errno.EFBIG
    assert "4194304" in result.error
    assert count(server) == 1


def test_22_content_encoding_is_refused(serve, image):
    server = serve({"path": BLOB, "add_headers": {"Content-Encoding": "gzip"}})
    for result in (image.range(server.host), image.stream(server.host)):
        assert result.code == -errno.EBADMSG
        assert "Content-Encoding" in result.error
        assert result.out == b""
    assert all(r["headers"]["accept-encoding"] == "identity" for r in server.requests)


def mirrored(tmp_path, *hosts):
    place = tmp_path / "hosts" / "registry.example"
    place.mkdir(parents=True)
    tables = "".join(f'[host."http://{h}"]\n  capabilities = ["pull", "resolve"]\n' for h in hosts)
    (place / "hosts.toml").write_text(f'server = "http://{hosts[-1]}"\n{tables}')
    return ["--hosts", str(tmp_path / "hosts")]


@pytest.mark.parametrize("rule", [
    {"status": 404}, {"status": 500}, {"reset": True}, {"flip": 7},
    {"status": 403}, {"status": 200, "body": "other"},
])
def test_23_mirror_fails(serve, image, tmp_path, rule):
    mirror = serve(rule)
    good = serve()
    options = mirrored(tmp_path, mirror.host, good.host)
    result = regctl(f"registry.example/a/b@{image.digest}", "manifest", options=options)
    assert (result.code, result.out) == (0, image.manifest), result.error
    if rule != {"flip": 7}:
        result = image.range("registry.example", options=options)
        assert (result.code, result.out) == (0, image.layer[1000:101_000]), result.error


def test_23b_mirror_down(serve, image, tmp_path):
    mirror = serve()
    mirror.stop()
    good = serve()
    options = mirrored(tmp_path, mirror.host, good.host)
    result = image.range("registry.example", options=options)
    assert (result.code, result.out) == (0, image.layer[1000:101_000]), result.error
    mirror.stop = lambda: None


def test_23c_mirror_overruns(serve, image, tmp_path):
    """What one server did wrong is no fault of the next."""
    head = (b"HTTP/1.1 206 Partial Content\r\nConnection: close\r\n"
            b"Content-Range: bytes 1000-100999/%d\r\n\r\n" % BLOB_SIZE)
    mirror = serve({"path": BLOB + ".*", "raw": head + image.layer[1000:101_000] + bytes(300_000)})
    good = serve()
    options = mirrored(tmp_path, mirror.host, good.host)
    result = image.range("registry.example", options=options)
    assert (result.code, result.out) == (0, image.layer[1000:101_000]), result.error
    assert count(mirror) == 1


def test_23d_missing_everywhere_is_asked_for_again(serve, image, tmp_path):
    mirror = serve({"path": BLOB + ".*", "status": 404, "times": 1})
    registry = serve({"path": BLOB + ".*", "status": 404, "times": 2})
    options = mirrored(tmp_path, mirror.host, registry.host)
    result = image.range("registry.example", options=[*options, "--again"])
    assert (result.code, result.out) == (0, image.layer[1000:101_000]), result.error
    assert result.report["errors"] == 1


def push(server, data, tmp_path, *options):
    path = tmp_path / "data"
    path.write_bytes(data)
    return regctl(f"{server.host}/a/b", "push-blob", path, digest_of(data), options=options)


def stored(server, data):
    return server.layout.get(digest_of(data)) == data


@pytest.mark.parametrize("rule", [
    {"status": 404}, {"status": 405}, {"status": 403},
    {"status": 202, "headers": {"Location": "/v2/a/b/blobs/uploads/s0"}},
])
def test_24_mount_refused(serve, tmp_path, rule):
    server = serve({"method": "POST", "path": r".*mount=.*", **rule})
    server.uploads["s0"] = b""
    result = push(server, b"hello" * 1000, tmp_path, "--from", "c/d")
    assert result.code == 0, result.error
    assert stored(server, b"hello" * 1000)


def test_24b_mounted(serve, image, tmp_path):
    server = serve({"method": "HEAD", "status": 404})
    result = push(server, image.layer, tmp_path, "--from", "c/d")
    assert result.code == 0, result.error
    assert [r["method"] for r in server.requests] == ["HEAD", "POST"]
    assert f"mount={image.layer_digest.replace(':', '%3A')}&from=c%2Fd" in server.requests[1]["path"]


def test_25_patch_reset_is_resumed(serve, tmp_path):
    data = bytes(range(256)) * 40_000
    server = serve({"method": "PUT", "status": 413, "times": 1},
                   {"method": "PATCH", "reset_after": 1_000_000, "times": 1})
    result = push(server, data, tmp_path)
    assert result.code == 0, result.error
    assert stored(server, data)
    starts = [r["headers"]["content-range"] for r in server.requests if r["method"] == "PATCH"]
    assert starts[0] == f"0-{(8 << 20) - 1}"
    assert starts[1].startswith("1000000-")
    assert count(server, "GET", "/uploads/") == 1


def test_25b_put_reset_is_resumed(serve, tmp_path):
    data = bytes(range(256)) * 4000
    server = serve({"method": "PUT", "reset_after": 500_000, "times": 1})
    result = push(server, data, tmp_path)
    assert result.code == 0, result.error
    assert stored(server, data)


def test_26_location_on_another_host(serve, tmp_path):
    store = serve()
    front = serve(auth={})
    store.uploads["far"] = b""
    front.add_rule(method="POST", path=".*/uploads/", status=202, headers={
        "Location": f"{store.url}/v2/a/b/blobs/uploads/far?state=x"})
    data = b"far away" * 100
    result = push(front, data, tmp_path)
    assert result.code == 0, result.error
    assert stored(store, data)
    assert all("authorization" not in r["headers"] for r in store.requests)
    assert store.requests[0]["path"].startswith("/v2/a/b/blobs/uploads/far?state=x&digest=")


def test_26b_location_missing(serve, tmp_path):
    server = serve({"method": "POST", "status": 202})
    result = push(server, b"data", tmp_path)
    assert result.code == -errno.EPROTO
    assert "no Location" in result.error


def referring(image, n=1):
    """Manifests that refer to the image's."""
    made = []
    for i in range(n):
        doc = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": f"application/t.{i}",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json",
                       "digest": digest_of(b"{}"), "size": 2}, "layers": [],
            "subject": {"mediaType": MANIFEST, "digest": image.digest,
                        "size": len(image.manifest)}}).encode()
        made.append(doc)
    return made


def page(*docs):
    return json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"mediaType": MANIFEST, "digest": digest_of(d), "size": len(d),
                       "artifactType": json.loads(d)["artifactType"]} for d in docs]})


def test_27_pages(serve, image):
    one, two = referring(image, 2)
    server = serve({"path": ".*/referrers/.*last=1", "status": 200, "body": page(two)},
                   {"path": ".*/referrers/.*", "status": 200, "body": page(one), "headers": {
                       "Link": f'</v2/a/b/referrers/{image.digest}?last=1>; rel="next"'}})
    result = regctl(f"{server.host}/a/b", "referrers", image.digest)
    assert result.code == 0, result.error
    assert result.out.decode().split() == [digest_of(one), "application/t.0",
                                           digest_of(two), "application/t.1"]


@pytest.mark.parametrize("link,code,words", [
    ("?last=1", errno.ELOOP, "in a circle"),
    ("http://127.0.0.1:1/v2/a/b/referrers/x", errno.EPROTO, "foreign host"),
])
def test_27b_link_that_misleads(serve, image, link, code, words):
    server = serve({"path": ".*/referrers/.*", "status": 200, "body": page(),
                    "headers": {"Link": f'<{link}>; rel="next"'}})
    result = regctl(f"{server.host}/a/b", "referrers", image.digest)
    assert result.code == -code
    assert words in result.error


def test_27c_api_answers_and_the_tag_does_not(serve, image):
    """The tag is only asked for in case that there is no API."""
    server = serve({"path": ".*/manifests/sha256-.*", "status": 500})
    docs = referring(image)
    for doc in docs:
        server.layout.put(doc)
    result = regctl(f"{server.host}/a/b", "referrers", image.digest)
    assert result.code == 0, result.error
    assert len(result.out.split()) == 2
    assert count(server, path="/manifests/sha256-") <= 1


def test_28_reset_on_a_reused_connection(serve, image):
    server = serve({"path": BLOB, "times": 1, "close": True})
    result = regctl(f"{server.host}/a/b", "range", image.layer_digest, BLOB_SIZE, 0, 10, 10, 10)
    assert (result.code, result.out) == (0, image.layer[:20]), result.error
    server = serve({"path": BLOB, "skip": 1, "times": 1, "reset": True})
    result = regctl(f"{server.host}/a/b", "range", image.layer_digest, BLOB_SIZE, 0, 10, 10, 10)
    assert (result.code, result.out) == (0, image.layer[:20]), result.error


@pytest.mark.parametrize("api", [True, False])
def test_referrers_pushed_and_found(serve, image, tmp_path, api):
    server = serve(referrers_api=api)
    docs = referring(image, 2)
    for doc in docs:
        path = tmp_path / "doc"
        path.write_bytes(doc)
        result = regctl(f"{server.host}/a/b", "push-manifest", path, MANIFEST, digest_of(doc),
                        image.digest)
        assert result.code == 0, result.error
    result = regctl(f"{server.host}/a/b", "referrers", image.digest, "application/t.1")
    assert result.out.decode().split() == [digest_of(docs[1]), "application/t.1"]
    assert ("sha256-" + image.digest[7:] in server.layout.tags) is not api


@pytest.mark.parametrize("realm,words", [
    ("http://10.0.0.1/token", "private address"),
    ("http://169.254.169.254/latest", "private address"),
    ("ftp://127.0.0.1/token", "not an http or https URL"),
])
def test_realm_is_checked(serve, image, realm, words):
    server = serve({"status": 401, "headers": {"WWW-Authenticate": f'Bearer realm="{realm}"'}})
    result = image.range(server.host)
    assert result.code in (-errno.EPERM, -errno.EPROTO)
    assert words in result.error


def test_identity_token_is_posted_then_falls_back(serve, image, tmp_path):
    server = serve({"method": "POST", "path": "/token", "status": 404}, auth={})
    config = tmp_path / "auth.json"
    config.write_text(json.dumps({"auths": {server.host: {"identitytoken": "s3cret"}}}))
    config.chmod(0o600)
    ok_range(image, server, options=["--auth-file", str(config)])
    asked = [r for r in server.requests if "/token" in r["path"]]
    assert [r["method"] for r in asked] == ["POST", "GET"]
    assert all("s3cret" not in json.dumps(r["path"]) for r in server.requests)


def test_identity_token_stays_home(serve, image, tmp_path):
    far = serve()
    server = serve({"method": "POST", "path": "/token", "status": 307,
                    "headers": {"Location": f"{far.url}/token"}}, auth={})
    config = tmp_path / "auth.json"
    config.write_text(json.dumps({"auths": {server.host: {"identitytoken": "s3cret"}}}))
    result = image.range(server.host, options=["--auth-file", str(config)])
    assert result.code == -errno.EPERM
    assert f"redirects credentials to {far.url}/token: refused" in result.error
    assert "s3cret" not in result.error
    assert far.requests == []


def test_endless_answer_to_a_warming_request(serve, image):
    server = serve({"path": "/v2/", "endless": True}, {"path": ".*/manifests/.*", "stall": 0,
                                                       "seconds": 2})
    regctl(f"{server.host}/{REF}", "manifest", options=["--warm", "1", "--deadline", "1500"])
    assert count(server, path="/v2/") == 2
    assert server.endless_bytes < 16 << 20


def test_slow_sink_holds_the_sender_back(serve, image):
    """A reader that stops for longer than a stall may last: nothing piles up, nothing is lost."""
    data = random.Random(5).randbytes(48 << 20)
    server = serve()
    digest = server.layout.put(data)
    command = [regctl_path(), "--stall", "1", f"{server.host}/a/b", "stream", digest,
               str(len(data))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader:
        got = reader.stdout.read(1 << 20)
        time.sleep(4)
        status = Path(f"/proc/{reader.pid}/status").read_text()
        got += reader.stdout.read()
        said = reader.stderr.read().decode()
    assert json.loads(said)["result"] == 0, said
    assert got == data
    assert count(server) == 1
    assert int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) << 10 < len(data)


def test_foreign_layer_comes_from_its_urls(serve, image):
    far = serve()
    front = serve({"path": BLOB, "status": 404})
    result = regctl(f"{front.host}/a/b", "stream", image.layer_digest, BLOB_SIZE,
                    f"{far.url}/v2/x/blobs/{image.layer_digest}", options=["--insecure"])
    assert (result.code, result.out) == (0, image.layer), result.error
    assert count(front) == 0


def test_only_what_is_needed_is_sent(serve, image):
    server = serve()
    regctl(f"{server.host}/a/b:latest", "manifest")
    headers = server.requests[0]["headers"]
    assert headers["user-agent"].startswith("sluice/")
    assert headers["accept"].count("application/vnd.") == 4
    assert "range" not in headers


def test_helpers_do_not_see_the_given_password(sluice, serve, image, tmp_path):
    """A mirror's helper is a program of the mirror's, and --creds are the registry's."""
    mirror, registry = serve(auth={}), serve()
    options = mirrored(tmp_path, mirror.host, registry.host)
    seen = tmp_path / "seen"
    program = tmp_path / "docker-credential-dump"
    program.write_text(f'#!/bin/sh\nenv >{seen}\necho \'{{"Username":"u","Secret":"p"}}\'\n')
    program.chmod(0o755)
    config = tmp_path / "auth.json"
    config.write_text(json.dumps({"credHelpers": {mirror.host: "dump"}}))
    path = f"{tmp_path}:{sluice.environment['PATH']}"
    got = sluice("pull", f"registry.example/a/b@{image.digest}", "--hosts-dir", options[1],
                 check=False, PATH=path, REGISTRY_AUTH_FILE=str(config),
                 SLUICE_CREDS="anna:s3cret")
    assert seen.exists(), (got.stderr, [r["path"] for r in mirror.requests + registry.requests])
    said = seen.read_text()
    assert f"PATH={path}" in said
    assert "s3cret" not in said and "SLUICE_CREDS" not in said
