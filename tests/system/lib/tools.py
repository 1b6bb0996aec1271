# SPDX-License-Identifier: Apache-2.0
"""Images made by the tools that people use, and trees extracted by them."""
import json
import os
import shutil
import tarfile
from pathlib import Path

from . import images, run
from .registry import digest_of

CONVERT_SECONDS_MAX = 180
SKOPEO = ("skopeo", "--insecure-policy", "copy", "--all")


def skopeo(source, target, *options):
    run.run(*SKOPEO, *options, source, target)


def umoci_unpack(layout, bundle, tag="latest"):
    """An independent extraction: the directory that holds the root filesystem."""
    run.run("umoci", "unpack", "--image", f"{layout}:{tag}", bundle)
    return Path(bundle) / "rootfs"


def tar_extract(tar, place):
    """One layer without whiteouts, extracted by GNU tar."""
    place = Path(place)
    place.mkdir(parents=True)
    run.run("tar", "--extract", "--delay-directory-restore", "--preserve-permissions", "--numeric-owner",
            "--same-owner", "--xattrs", "--xattrs-include=*", "-C", place, input=tar, text=False, errors=None)
    return place


def umoci_image(place, content):
    """A layout by umoci: a tree made of the first layer, and a change repacked on top of it."""
    place = Path(place)
    base, bundle = images.write(place / "base", "gzip", content[:1]), place / "bundle"
    root = umoci_unpack(base.place, bundle)
    (root / "added").write_bytes(b"by umoci")
    (root / "etc/epoch").unlink()
    shutil.rmtree(root / "old")
    run.run("umoci", "repack", "--image", f"{base.place}:latest", bundle)
    shutil.rmtree(bundle)
    return base.place


def buildah_image(place, content):
    """A layout by buildah, from scratch, without running anything."""
    place = Path(place)
    place.mkdir(parents=True)
    tar = place / "content.tar"
    tar.write_bytes(content[0])
    command = ["buildah", "--root", place / "root", "--runroot", place / "run",
               "--storage-driver", "vfs"]
    policy = place / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    try:
        name = run.run(*command, "from", "--signature-policy", policy, "scratch").stdout.strip()
        run.run(*command, "add", name, tar, "/")
        run.run(*command, "config", "--cmd", "/bin/sh", name)
        run.run(*command, "commit", "--signature-policy", policy, "--format", "oci", name,
                f"oci:{place / 'layout'}:latest")
        run.run(*command, "rm", name)
    finally:
        for point in run.mounts_below(place):
            run.run("umount", point, check=False)
        shutil.rmtree(place / "root", ignore_errors=True)
        tar.unlink()
    return place / "layout"


class Containerd:
    """A containerd of the test's own: private socket, private folders, no plugins that mount."""

    def __init__(self, place):
        self.place = Path(place)
        self.place.mkdir(parents=True)
        # A UNIX socket's name has at most 107 bytes.
        self.socket = self.place / "c.sock"

    def __enter__(self):
        config = self.place / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{self.place}/root"\nstate = "{self.place}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",'
            ' "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",'
            ' "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]\n'
            f'[grpc]\naddress = "{self.socket}"\n[ttrpc]\naddress = "{self.place}/t.sock"\n')
        self.daemon = _SocketDaemon(["containerd", "-c", str(config)], self.socket,
                                    self.place / "containerd.log")
        self.daemon.start()
        return self

    def __exit__(self, *_):
        self.daemon.stop()

    def ctr(self, *command):
        return run.run("ctr-remote", "--address", self.socket, *command,
                       timeout=CONVERT_SECONDS_MAX)


class _SocketDaemon(run.Daemon):
    """Answers on a UNIX socket instead of a port."""

    def _is_up(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.command} ended: {self.log.read_text(errors='replace')}")
        return os.path.exists(self.port)


def convert(place, layout, *how):
    """A layout whose layers ctr-remote converted (--estargz, --zstdchunked …)."""
    place = Path(place)
    with Containerd(place / "c") as containerd:
        archive, result = place / "in.tar", place / "out.tar"
        skopeo(f"oci:{layout}:latest", f"oci-archive:{archive}:latest")
        containerd.ctr("images", "import", "--no-unpack", "--base-name", "demo", archive)
        name = containerd.ctr("images", "ls", "-q").stdout.split()[0]
        containerd.ctr("images", "convert", "--oci", *how, name, "demo:converted")
        containerd.ctr("images", "export", result, "demo:converted")
    target = place / "layout"
    target.mkdir()
    with tarfile.open(result) as tar:
        tar.extractall(target, members=[m for m in tar if m.isreg()])
    retag(target)
    for left in (archive, result):
        left.unlink()
    shutil.rmtree(place / "c")
    return target


def retag(layout):
    """Keeps the first image of a layout's index, and calls it latest."""
    index = json.loads((layout / "index.json").read_text())
    entry = index["manifests"][0]
    entry["annotations"] = {images.REF_NAME: "latest"}
    index["manifests"] = [entry]
    (layout / "index.json").write_text(json.dumps(index))


def zstd_chunked(place, layout):
    """A layout with zstd:chunked layers, by skopeo (containers/storage's writer)."""
    place = Path(place)
    place.mkdir(parents=True)
    target = place / "layout"
    skopeo(f"oci:{layout}:latest", f"oci:{target}:latest", "--dest-compress-format",
           "zstd:chunked", "--dest-compress")
    return target


def manifest_of(layout):
    """(digest, document) of the image tagged latest."""
    layout = Path(layout)
    entry = json.loads((layout / "index.json").read_text())["manifests"][0]
    data = (layout / "blobs" / entry["digest"].replace(":", "/")).read_bytes()
    assert digest_of(data) == entry["digest"]
    return entry["digest"], json.loads(data)
