# SPDX-License-Identifier: Apache-2.0
"""OCI layouts written by hand, so that a test decides every byte of them."""
import json
import platform
from pathlib import Path

from . import layers
from .registry import digest_of

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
ARCHITECTURE = MACHINES.get(platform.machine(), platform.machine())
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"


class Layout:
    """An OCI image layout in a directory."""

    def __init__(self, place):
        self.place = Path(place)
        (self.place / "blobs/sha256").mkdir(parents=True)
        (self.place / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self.entries = []
        self._write_index()

    def _write_index(self):
        (self.place / "index.json").write_text(json.dumps(
            {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.entries}))

    def blob_path(self, digest):
        return self.place / "blobs" / digest.replace(":", "/")

    def blob(self, data, media_type, **more):
        """Stores bytes; returns their descriptor."""
        if not isinstance(data, bytes):
            data = json.dumps(data).encode()
        digest = digest_of(data)
        self.blob_path(digest).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def manifest(self, tars, kind="gzip", architecture=ARCHITECTURE, **more):
        """An image of these tars, compressed in one of layers.COMPRESSIONS' ways."""
        layer_type, compress = layers.COMPRESSIONS[kind]
        blobs = [self.blob(compress(tar), layer_type) for tar in tars]
        return self.manifest_of(blobs, [digest_of(tar) for tar in tars], architecture,
                                docker=kind == "docker", **more)

    def manifest_of(self, blobs, diff_ids, architecture=ARCHITECTURE, docker=False, **more):
        config = self.blob({
            "architecture": architecture, "os": "linux",
            "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created_by": f"layer {n}"} for n in range(len(diff_ids))],
        }, DOCKER_CONFIG if docker else OCI_CONFIG)
        media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
        document = {"schemaVersion": 2, "mediaType": media_type, "config": config,
                    "layers": blobs, **more}
        return self.blob(document, media_type,
                         platform={"architecture": architecture, "os": "linux"})

    def index(self, manifests):
        return self.blob({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests},
                         OCI_INDEX)

    def tag(self, descriptor, name="latest"):
        entry = {k: v for k, v in descriptor.items() if k != "platform"}
        self.entries.append({**entry, "annotations": {REF_NAME: name}})
        self._write_index()
        return self


def tars(utf8=False):
    """The layers of the image that every kind is made of."""
    return [layers.bottom(utf8=utf8), layers.middle(), layers.top()]


def write(place, kind, content):
    """A layout tagged latest, of one of layers.COMPRESSIONS' kinds or `index`."""
    layout = Layout(place)
    if kind != "index":
        return layout.tag(layout.manifest(content, kind))
    other = "arm64" if ARCHITECTURE != "arm64" else "amd64"
    foreign = layout.manifest([layers.top()], architecture=other)
    return layout.tag(layout.index([foreign, layout.manifest(content)]))
