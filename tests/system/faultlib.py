# SPDX-License-Identifier: Apache-2.0
"""What the registry tests share: regctl, a small image, fault servers."""

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "fault"))

from server import FaultServer  # noqa: E402

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
BLOB_SIZE = 300_000
REF = "a/b:latest"


def regctl_path():
    """Where meson left it; SLUICE_BUILD names another build directory."""
    return Path(os.environ.get("SLUICE_BUILD", TOP / "build")) / "tests" / "unit" / "regctl"


class Result:
    def __init__(self, done):
        self.out = done.stdout
        self.stderr = done.stderr.decode()
        self.report = json.loads(self.stderr.splitlines()[-1])
        self.code = self.report["result"]
        self.error = self.report["error"]


def regctl(ref, *args, options=(), timeout=60, env=None):
    done = subprocess.run([regctl_path(), *options, ref, *map(str, args)], capture_output=True,
                          timeout=timeout, check=False, env=env or {"PATH": "/usr/bin:/bin"})
    assert done.returncode in (0, 1), done.stderr.decode()
    return Result(done)


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Image:
    """A manifest with one layer, in an OCI layout."""

    def __init__(self, root, seed=1):
        self.root = Path(root)
        blobs = self.root / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        self.layer = random.Random(seed).randbytes(BLOB_SIZE)
        self.layer_digest = digest_of(self.layer)
        config = b"{}"
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                       "digest": digest_of(config), "size": len(config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
                        "digest": self.layer_digest, "size": BLOB_SIZE}]}).encode()
        self.digest = digest_of(self.manifest)
        for data in (self.layer, config, self.manifest):
            (blobs / digest_of(data)[7:]).write_bytes(data)
        (self.root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [{
            "mediaType": MANIFEST, "digest": self.digest, "size": len(self.manifest),
            "annotations": {"org.opencontainers.image.ref.name": "latest"}}]}))

    def range(self, host, off=1000, length=100_000, **more):
        return regctl(f"{host}/a/b", "range", self.layer_digest, BLOB_SIZE, off, length, **more)

    def stream(self, host, **more):
        return regctl(f"{host}/a/b", "stream", self.layer_digest, BLOB_SIZE, **more)


def count(server, method=None, path=""):
    return len([r for r in server.requests
                if (method is None or r["method"] == method) and path in r["path"]])
