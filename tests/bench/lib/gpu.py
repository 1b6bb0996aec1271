# SPDX-License-Identifier: Apache-2.0
"""A seeded image like those of GPU programs: few libraries of 0.2 to 1.5 GB, weights, and many
small files; and the trace of a start that touches what such a start touches.

Its bytes are put together from pieces that were compressed once, each for itself, so that writing
8 GiB takes as long as hashing them.
"""
import hashlib
import random
import subprocess
import tarfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from . import synth

MIB, MB = 1 << 20, 1_000_000
PIECE_BYTES = 256 << 10
PIECES, PIECES_MIN = 96, 8
LEVEL = 6
PAGE = 4096
# Of what pieces are: text, code, noise. Libraries shrink to about a half, weights hardly.
LIBRARY_MIX, WEIGHTS_MIX, MODULE_MIX = (45, 50, 5), (10, 30, 60), (70, 20, 10)
LIBRARIES = {  # MB, by layer
    "cudnn": {"libcudnn_ops": 900, "libcudnn_cnn": 700, "libcudnn_adv": 250},
    "blas": {"libcublasLt": 1200, "libcublas": 400, "libcufft": 500, "libcurand": 200},
    "torch": {"libtorch_gpu": 1500, "libtorch_cpu": 450, "libnccl": 300},
}
WEIGHTS_MB = 2000
MODULES, MODULE_BYTES_MAX, FILES_A_DIRECTORY = 60_000, 16 << 10, 60
# What a start touches.
MODULES_READ = 2400       # in whole packages
SYMBOLS, RELOCATIONS = 0.010, 0.020  # shares of a library, at its start and towards its end
KERNELS, KERNEL_BYTES = 24, 96 << 10  # at random in the middle
WEIGHTS_READ_MB = 150


class Pieces:
    """Pieces of a size, each with what it is when compressed for itself."""

    def __init__(self, seed, mix, count):
        content, rng = synth.Content(seed), random.Random(seed)
        self.rng, self.pieces = rng, []
        for _ in range(count):
            kind = rng.choices((0, 1, 2), mix)[0]
            if kind == 2:
                plain = rng.randbytes(PIECE_BYTES)
            else:
                at = rng.randrange(len(content.pools[kind]) - PIECE_BYTES)
                plain = content.pools[kind][at:at + PIECE_BYTES]
            self.pieces.append((plain, deflate(plain)))

    def one(self):
        return self.rng.choice(self.pieces)


def deflate(plain):
    """Blocks that need nothing before them, and end on a byte."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -15)
    return packer.compress(plain) + packer.flush(zlib.Z_FULL_FLUSH)


class Writer:
    """A gzip member of such blocks."""

    def __init__(self, path):
        self.path, self.file = path, path.open("wb")
        self.packed, self.plain = hashlib.sha256(), hashlib.sha256()
        self.crc, self.offset, self.size = 0, 0, 0
        self._out(b"\x1f\x8b\x08\0\0\0\0\0\0\x03")

    def _out(self, data):
        self.packed.update(data)
        self.size += len(data)
        self.file.write(data)

    def add(self, plain, packed=None):
        self.plain.update(plain)
        self.crc = zlib.crc32(plain, self.crc)
        self.offset += len(plain)
        self._out(packed or deflate(plain))

    @staticmethod
    def header(name, kind, size=0, mode=0o644):
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.size, info.mtime = kind, mode, size, synth.MTIME
        return info.tobuf(tarfile.PAX_FORMAT)

    def directory(self, name):
        self.add(self.header(name + "/", tarfile.DIRTYPE, mode=0o755))

    def regular(self, name, data, mode=0o644):
        self.add(self.header(name, tarfile.REGTYPE, len(data), mode) + data +
                 bytes(-len(data) % synth.TAR_BLOCK))

    def large(self, name, pieces, n):
        """A file of n pieces."""
        self.add(self.header(name, tarfile.REGTYPE, n * PIECE_BYTES))
        for _ in range(n):
            self.add(*pieces.one())

    def finish(self):
        self.add(bytes(2 * synth.TAR_BLOCK))
        self._out(b"\x03\0" + self.crc.to_bytes(4, "little") +
                  (self.offset & 0xFFFFFFFF).to_bytes(4, "little"))
        self.file.close()
        return {"path": str(self.path), "size": self.size, "bytes": self.offset,
                "digest": "sha256:" + self.packed.hexdigest(),
                "diff_id": "sha256:" + self.plain.hexdigest()}


def pieces_of(megabytes, scale):
    return max(4, int(megabytes * MB * scale) // PIECE_BYTES)


def _large_layer(path, seed, mix, count, files):
    layer, pieces = Writer(Path(path)), Pieces(seed, mix, count)
    layer.directory("opt")
    layer.directory("opt/lib")
    for name, n in files.items():
        layer.large(f"opt/lib/{name}", pieces, n)
    return layer.finish()


def _module_name(n):
    return f"opt/modules/p{n // FILES_A_DIRECTORY:04}/m{n:05}.py"


def _modules_layer(path, seed, count, modules):
    layer, rng = Writer(Path(path)), random.Random(seed)
    pieces = Pieces(seed, MODULE_MIX, count)
    layer.directory("opt")
    layer.directory("opt/modules")
    for n in range(modules):
        if n % FILES_A_DIRECTORY == 0:
            layer.directory(str(Path(_module_name(n)).parent))
        plain, _ = pieces.one()
        size = rng.randint(200, MODULE_BYTES_MAX)
        at = rng.randrange(PIECE_BYTES - size)
        layer.regular(_module_name(n), plain[at:at + size])
    return layer.finish()


def _library_line(rng, name, size):
    """What loading a library touches: symbols, relocations, and here and there a kernel."""
    ranges = [(0, int(size * SYMBOLS)), (int(size * 0.9), int(size * RELOCATIONS))]
    ranges += [(rng.randrange(int(size * 0.1), int(size * 0.9)), KERNEL_BYTES)
               for _ in range(KERNELS)]
    return f"lib /opt/lib/{name} " + " ".join(f"{o // PAGE * PAGE} {n}" for o, n in ranges)


def trace(seed, modules, scale):
    """Modules by packages, between them the libraries they need, at last the weights."""
    rng, lines = random.Random(seed), []
    packages = rng.sample(range(modules // FILES_A_DIRECTORY),
                          max(1, int(MODULES_READ * scale) // FILES_A_DIRECTORY))
    libraries = [(name, pieces_of(mb, scale) * PIECE_BYTES)
                 for group in LIBRARIES.values() for name, mb in group.items()]
    rng.shuffle(libraries)
    for i, package in enumerate(packages):
        if i * len(libraries) // len(packages) != (i - 1) * len(libraries) // len(packages):
            lines.append(_library_line(rng, *libraries[i * len(libraries) // len(packages)]))
        lines += [f"open /{_module_name(package * FILES_A_DIRECTORY + n)}"
                  for n in range(FILES_A_DIRECTORY)]
    lines.append(f"seq /opt/lib/weights 0 {int(WEIGHTS_READ_MB * MB * scale)}")
    return "\n".join(lines) + "\n"


def _program_layer(path, program, text):
    layer = Writer(Path(path))
    for name in ("app", "dev", "etc", "proc", "sys", "tmp"):
        layer.directory(name)
    layer.regular("app/gpu", program, 0o755)
    layer.regular("app/trace", text.encode())
    return layer.finish()


def make(source, place, name="gpu", scale=1.0, seed=41):
    """The image; `scale` shrinks all of it, for a test."""
    place.mkdir(parents=True, exist_ok=True)
    modules, count = int(MODULES * scale), max(PIECES_MIN, int(PIECES * scale))
    program = place / f"{name}-program"
    subprocess.run(["cc", "-O2", "-static", "-s", "-D_GNU_SOURCE", "-o", program, source],
                   check=True)
    jobs = [(_modules_layer, seed, count, modules)]
    jobs += [(_large_layer, seed + n, LIBRARY_MIX, count,
              {k: pieces_of(mb, scale) for k, mb in group.items()})
             for n, group in enumerate(LIBRARIES.values(), 1)]
    jobs.append((_large_layer, seed + len(jobs), WEIGHTS_MIX, count,
                 {"weights": pieces_of(WEIGHTS_MB, scale)}))
    jobs.append((_program_layer, program.read_bytes(), trace(seed, modules, scale)))
    with ProcessPoolExecutor() as pool:
        made = [pool.submit(job[0], str(place / f"{name}-{n}"), *job[1:])
                for n, job in enumerate(jobs)]
        layers = [m.result() for m in made]
    program.unlink()
    return synth.Image(name, layers, ["/app/gpu", "/app/trace"])
