# SPDX-License-Identifier: Apache-2.0
"""Images made from a seed: the same bytes in every run, of sizes and kinds as images have them."""
import hashlib
import json
import random
import tarfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

MIB = 1 << 20
POOL_BYTES = 4 * MIB
TAR_BLOCK = 512
WORDS = 6000
RECORDS = 3000
FILES_A_DIRECTORY = 64
MTIME = 1_700_000_000
# Out of a hundred files: how many of up to so many bytes.
SIZES = ((40, 2 << 10), (30, 16 << 10), (20, 96 << 10), (8, 768 << 10), (2, 6 * MIB))
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def _text(rng):
    words = [bytes(rng.choices(b"etaoinshrdlucmfwypvbgkqjxz", k=rng.randint(2, 10)))
             for _ in range(WORDS)]
    weights = [1 / (n + 1) for n in range(WORDS)]
    return b" ".join(rng.choices(words, weights, k=POOL_BYTES // 6))[:POOL_BYTES]


def _code(rng):
    """Short records out of a vocabulary with noise in between, as in machine code."""
    records = [rng.randbytes(rng.randint(3, 12)) for _ in range(RECORDS)]
    weights = [1 / (n + 8) for n in range(RECORDS)]
    parts = rng.choices(records, weights, k=POOL_BYTES // 7)
    for at in range(0, len(parts), 6):
        parts[at] = rng.randbytes(4)
    return b"".join(parts)[:POOL_BYTES]


class Content:
    """Bytes of files: text, code and noise, which together shrink to about two fifths."""

    def __init__(self, seed):
        rng = random.Random(seed)
        self.pools = (_text(rng), _code(rng), rng.randbytes(POOL_BYTES))
        self.rng = rng

    def piece(self, size):
        pool = self.rng.choices(self.pools, (60, 32, 8))[0]
        parts = []
        while size > 0:
            at = self.rng.randrange(len(pool) - 4096)
            part = pool[at:at + size]
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def size(self):
        most = self.rng.choices([s for _, s in SIZES], [w for w, _ in SIZES])[0]
        return self.rng.randint(most // 8, most)


class LayerWriter:
    """A tar, compressed as it is written; remembers where each file's bytes are."""

    def __init__(self, path, level):
        self.path, self.file = path, path.open("wb")
        self.gzip = zlib.compressobj(level, zlib.DEFLATED, 31)
        self.packed, self.plain = hashlib.sha256(), hashlib.sha256()
        self.offset, self.size, self.files = 0, 0, []

    def _out(self, data):
        self.packed.update(data)
        self.size += len(data)
        self.file.write(data)

    def _add(self, data):
        self.plain.update(data)
        self.offset += len(data)
        self._out(self.gzip.compress(data))

    def directory(self, name):
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, MTIME
        self._add(info.tobuf(tarfile.PAX_FORMAT))

    def regular(self, name, data):
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(data), 0o644, MTIME
        self._add(info.tobuf(tarfile.PAX_FORMAT))
        self.files.append((name, self.offset, len(data)))
        self._add(data + bytes(-len(data) % TAR_BLOCK))

    def write(self, data):
        """For tarfile, which writes the end of the archive too."""
        self._add(data)
        return len(data)

    def finish(self):
        self._add(bytes(2 * TAR_BLOCK))
        return self.end()

    def end(self):
        self._out(self.gzip.flush())
        self.file.close()
        return {"path": str(self.path), "size": self.size, "bytes": self.offset,
                "digest": "sha256:" + self.packed.hexdigest(),
                "diff_id": "sha256:" + self.plain.hexdigest(), "files": self.files}


def _layer(path, seed, want, level, small):
    """One layer of about `want` bytes, or of `small` small files when that is given."""
    content, layer, n = Content(seed), LayerWriter(Path(path), level), 0
    directory = ""
    while n < small if small else layer.offset < want:
        if n % FILES_A_DIRECTORY == 0:
            directory = f"l{seed}/d{n // FILES_A_DIRECTORY:05}"
            if n == 0:
                layer.directory(f"l{seed}/")
            layer.directory(directory + "/")
        size = content.rng.randint(0, 1600) if small else content.size()
        layer.regular(f"{directory}/f{n:06}", content.piece(size))
        n += 1
    return layer.finish()


class Image:
    """Layers in files of a directory, and the config and manifest that name them."""

    def __init__(self, name, layers, command=("/bin/sh",)):
        self.name, self.layers = name, layers
        config = {"architecture": "amd64", "os": "linux",
                  "config": {"Cmd": list(command), "Env": [f"PATH={PATH}"]},
                  "rootfs": {"type": "layers", "diff_ids": [x["diff_id"] for x in layers]}}
        self.config = json.dumps(config).encode()
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "size": len(self.config),
                       "digest": "sha256:" + hashlib.sha256(self.config).hexdigest()},
            "layers": [{"mediaType": OCI_LAYER, "digest": x["digest"], "size": x["size"]}
                       for x in layers]}).encode()
        self.digest = "sha256:" + hashlib.sha256(self.manifest).hexdigest()
        self.bytes = sum(x["bytes"] for x in layers)
        self.size = sum(x["size"] for x in layers)

    @property
    def files(self):
        """(layer number, name, offset in the layer's tar, length)"""
        return [(i, *f) for i, x in enumerate(self.layers) for f in x["files"]]


def make(place, wanted):
    """Makes images, layers on all processors at once: {name: (layers, MiB each, level, small)}."""
    place.mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        jobs, seed = {}, 0
        for name, (layers, mib, level, small) in wanted.items():
            jobs[name] = []
            for _ in range(layers):
                seed += 1
                jobs[name].append(pool.submit(_layer, str(place / f"layer{seed}"), seed,
                                              mib * MIB, level, small))
        return {name: Image(name, [j.result() for j in parts]) for name, parts in jobs.items()}
