# SPDX-License-Identifier: Apache-2.0
"""The tests' own tools: a comparison that misses a difference would let everything pass."""
import os
import subprocess
import sys

import pytest

from lib import compare, images, layers, registry, run, tools


def plant(root):
    (root / "dir").mkdir()
    (root / "file").write_bytes(b"content")
    (root / "twin").write_bytes(b"content")
    (root / "link").symlink_to("file")
    os.mkfifo(root / "fifo")
    os.mknod(root / "device", 0o20600, os.makedev(1, 3))
    for path in root.iterdir():
        os.utime(path, (1, 1), follow_symlinks=False)
    os.utime(root, (1, 1))


def relink(root):
    (root / "link").unlink()
    (root / "link").symlink_to("twin")
    os.utime(root / "link", (1, 1), follow_symlinks=False)


def same_bytes_elsewhere(root):
    (root / "file").write_bytes(b"CONTENT")
    os.utime(root / "file", (1, 1))


def hardlink(root):
    (root / "twin").unlink()
    os.link(root / "file", root / "twin")


def another_device(root):
    (root / "device").unlink()
    os.mknod(root / "device", 0o20600, os.makedev(1, 5))
    os.utime(root / "device", (1, 1))


CHANGES = {
    "mode": lambda r: (r / "file").chmod(0o4644),
    "uid": lambda r: os.chown(r / "file", 7, 0),
    "gid": lambda r: os.lchown(r / "link", 0, 7),
    "mtime": lambda r: os.utime(r / "dir", ns=(1, 1_000_000_001)),
    "xattrs": lambda r: os.setxattr(r / "file", "user.x", b"1"),
    "target": relink,
    "sha256": same_bytes_elsewhere,
    "hardlinks": hardlink,
    "device": another_device,
    "missing": lambda r: (r / "fifo").unlink(),
    "not expected": lambda r: (r / "dir/more").touch(),
}


@pytest.mark.parametrize("fact", CHANGES)
def test_compare_finds(tmp_path, fact):
    a, b = tmp_path / "a", tmp_path / "b"
    for root in (a, b):
        root.mkdir()
        plant(root)
    compare.assert_same(a, b)
    CHANGES[fact](b)
    with pytest.raises(AssertionError, match=fact):
        compare.assert_same(a, b)


def test_layers_are_the_same_each_time():
    assert images.tars() == images.tars()


def test_umoci_and_tar_agree(tmp_path):
    """Two independent readers see one tree in the bottom layer."""
    tar = layers.bottom()
    layout = images.write(tmp_path / "layout", "gzip", [tar])
    compare.assert_same(tools.umoci_unpack(layout.place, tmp_path / "bundle"),
                        tools.tar_extract(tar, tmp_path / "tar"))


@pytest.mark.parametrize("kind", ("plain", "redirect", "token"))
def test_registries_keep_images(request, tmp_path, gallery, kind):
    server = request.getfixturevalue(f"{kind}_registry")
    layout = gallery.layout("gzip")
    name = server.push(f"oci:{layout}:latest", "lib/demo:latest")
    options = ["--src-tls-verify=false"]
    if server.credentials:
        options += ["--src-creds", ":".join(server.credentials)]
    tools.skopeo(f"docker://{name}", f"oci:{tmp_path}/back:latest", *options)
    assert tools.manifest_of(tmp_path / "back")[0] == tools.manifest_of(layout)[0]


def test_token_registry_refuses_strangers(token_registry):
    assert token_registry.request("GET", "/v2/")[0] == 401
    with pytest.raises(run.CommandFailed, match="unauthorized|authentication required"):
        run.run("skopeo", "inspect", "--tls-verify=false", "--creds", "anna:wrong",
                f"docker://{token_registry.host}/lib/none")


def test_redirect_registry_redirects(redirect_registry):
    digest = redirect_registry.put_blob("lib/demo", b"a blob")
    result = run.run("curl", "-s", "-i", "-H", "Range: bytes=2-5",
                     f"http://{redirect_registry.host}/v2/lib/demo/blobs/{digest}", "-L")
    assert "307" in result.stdout.splitlines()[0]
    assert "206 Partial Content" in result.stdout and result.stdout.endswith("blob")


def test_a_blob_can_be_corrupted(plain_registry):
    digest = plain_registry.put_blob("lib/demo", b"fine")
    plain_registry.blob_file(digest).write_bytes(b"FINE")
    assert plain_registry.request("GET", f"/v2/lib/demo/blobs/{digest}")[2] == b"FINE"
    assert registry.digest_of(b"FINE") != digest


def test_marked_processes_are_found():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    mark = os.environ[run.MARK]
    run.wait_until(lambda: process.pid in [p for p, _ in run.marked_processes(mark)], 5, "the mark")
    process.kill()
    process.wait()
    assert process.pid not in [p for p, _ in run.marked_processes(mark)]
