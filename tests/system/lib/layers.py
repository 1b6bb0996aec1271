# SPDX-License-Identifier: Apache-2.0
"""Layers made on the spot, from a seed, so that every run has the same bytes."""
import gzip
import io
import os
import random
import struct
import tarfile
import zlib
from pathlib import Path

from . import run

SEED = 20240229
BIG_BYTES = 6 << 20
MEMBER_BYTES = 256 << 10
# 2021-03-04 05:06:07 UTC, and a fraction that a float cannot hold
MTIME, FRACTION = 1614834367, "123456789"
# VFS_CAP_REVISION_2 with CAP_NET_BIND_SERVICE permitted (linux/capability.h)
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)


def noise(random_source, n):
    """Half noise, half repetition: it neither shrinks to nothing nor stays as it is."""
    out = bytearray()
    while len(out) < n:
        out += random_source.randbytes(512) + bytes([random_source.randrange(256)]) * 512
    return bytes(out[:n])


class TarLayer:
    """A tar written entry by entry; names and values are bytes or text."""

    def __init__(self, format_=tarfile.PAX_FORMAT):
        self.buffer = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w", format=format_,
                                encoding="utf-8", errors="surrogateescape")
        self.pax = format_ == tarfile.PAX_FORMAT

    def add(self, name, type_=tarfile.REGTYPE, data=b"", mode=0o644, uid=0, gid=0, link="",
            device=(0, 0), xattrs=None, mtime=MTIME, fraction=None):
        info = tarfile.TarInfo(os.fsdecode(name))
        info.type, info.size, info.mode, info.mtime = type_, len(data), mode, mtime
        info.uid, info.gid, info.linkname = uid, gid, os.fsdecode(link)
        info.devmajor, info.devminor = device
        for key, value in (xattrs or {}).items():
            info.pax_headers["SCHILY.xattr." + key] = os.fsdecode(value)
        if fraction:
            info.pax_headers["mtime"] = f"{mtime}.{fraction}"
        self.tar.addfile(info, io.BytesIO(data))

    def directory(self, name, mode=0o755, **more):
        self.add(name, tarfile.DIRTYPE, mode=mode, **more)

    def whiteout(self, name):
        place, _, last = name.rpartition("/")
        self.add(f"{place}/.wh.{last}" if place else f".wh.{last}")

    def opaque(self, name):
        self.add(f"{name}/.wh..wh..opq")

    def finish(self):
        self.tar.close()
        return self.buffer.getvalue()


def bottom(seed=SEED, big=BIG_BYTES, utf8=False):
    """Every kind of file, and every attribute."""
    r, t = random.Random(seed), TarLayer()
    t.directory("./")
    for name in ("bin", "data", "dev", "etc", "many", "odd", "old", "old/sub", "replaced"):
        t.directory(name)
    t.directory("sticky", mode=0o1777)
    for size in (0, 1, 511, 512, 513, 4095, 4096, 4097, 65536, (1 << 20) + 7):
        t.add(f"data/{size}", data=noise(r, size))
    t.add("data/big", data=noise(r, big))
    t.add("data/zeros", data=bytes(3 << 20))
    t.add("bin/setuid", data=b"#!/bin/sh\n", mode=0o4755)
    t.add("bin/setgid", data=b"#!/bin/sh\n", mode=0o2755)
    t.add("bin/capable", data=noise(r, 100), mode=0o755,
          xattrs={"security.capability": CAPABILITY})
    t.add("bin/hard", tarfile.LNKTYPE, link="bin/setuid")
    t.add("etc/hard", tarfile.LNKTYPE, link="bin/setuid")
    t.add("etc/user", data=b"x", xattrs={"user.one": b"1", "user.two": b"\x00\xff\n"})
    t.directory("etc/marked", xattrs={"user.on-a-directory": b"yes"})
    t.add("etc/owned", data=b"owned", uid=70000, gid=4294967293)
    t.add("etc/fine", data=b"fine", fraction=FRACTION)
    t.add("etc/epoch", data=b"epoch", mtime=0)
    t.add("etc/unreadable", data=b"secret", mode=0)
    t.add("etc/relative", tarfile.SYMTYPE, link="../data/1", mode=0o777)
    t.add("etc/absolute", tarfile.SYMTYPE, link="/data/513", mode=0o777)
    t.add("etc/dangling", tarfile.SYMTYPE, link="no/such/place", mode=0o777)
    t.add("etc/longlink", tarfile.SYMTYPE, link="x" * 200 + "/" + "y" * 200, mode=0o777)
    t.add("dev/char", tarfile.CHRTYPE, device=(1, 3), mode=0o666)
    t.add("dev/block", tarfile.BLKTYPE, device=(259, 70000), mode=0o660, gid=6)
    t.add("dev/fifo", tarfile.FIFOTYPE, mode=0o600)
    odd_names(t, utf8)
    for number in range(400):
        t.add(f"many/{number:04}", data=noise(r, r.randrange(3000)), uid=number, gid=r.randrange(9))
    t.add("old/file", data=b"goes away")
    t.add("old/sub/file", data=b"goes away too")
    t.add("replaced/file", data=b"goes away with its directory")
    return t.finish()


def odd_names(t, utf8):
    for name in (b"odd/line\nbreak", b"odd/ space ", b"odd/back\\slash", b"odd/\xff\xfe latin \xe9",
                 "odd/日本語".encode(), b"odd/" + b"n" * 255, b"odd/-dash", b"odd/wh.not",
                 b"odd/'quotes\""):
        # A table of contents is JSON, and that holds UTF-8 only.
        if not (utf8 and b"\xff" in name):
            t.add(name, data=name)


def middle(seed=SEED):
    """GNU format: whiteouts, an opaque directory, and files that change their kind."""
    r, t = random.Random(seed + 1), TarLayer(tarfile.GNU_FORMAT)
    t.whiteout("old/file")
    t.whiteout("many/0007")
    t.whiteout("etc/marked")
    t.directory("replaced")
    t.add("replaced/new", data=b"the only one left")
    t.opaque("replaced")
    t.add("old/sub", data=b"a directory before")
    t.whiteout("sticky")
    t.directory("data", mode=0o750, uid=12)
    t.add("data/513", data=noise(r, 700_000))
    t.add("data/1", tarfile.SYMTYPE, link="513", mode=0o777)
    t.directory("long")
    t.add("long/" + "/".join("d" * 60 for _ in range(4)) + "/file", data=b"a GNU long name")
    t.add("etc/wide", data=b"wide ids", uid=3_000_000, gid=3_000_001)
    return t.finish()


def top(seed=SEED):
    """What was deleted comes back, different."""
    r, t = random.Random(seed + 2), TarLayer()
    t.add("many/0007", data=noise(r, 5000), mode=0o600)
    t.directory("etc/marked", mode=0o700)
    t.add("etc/marked/inside", data=b"back again")
    t.add("etc/a", data=b"linked", xattrs={"user.linked": b"both"})
    t.add("etc/b", tarfile.LNKTYPE, link="etc/a")
    return t.finish()


def sparse(place):
    """A layer by GNU tar with sparse files in both of its ways of writing them."""
    place = Path(place)
    place.mkdir(parents=True)
    r, parts = random.Random(SEED + 3), []
    for name, format_ in (("sparse-pax", "pax"), ("sparse-gnu", "gnu")):
        file = place / name
        with file.open("wb") as f:
            for offset in (0, 1 << 20, (9 << 20) + 4096):
                f.seek(offset)
                f.write(noise(r, 8192))
            f.truncate(12 << 20)
        os.utime(file, (MTIME, MTIME))
        file.chmod(0o644)
        made = run.run("tar", "--create", "--sparse", f"--format={format_}", "--owner=0",
                       "--group=0", "-C", place, name, text=False, errors=None).stdout
        # Without the two blocks of zeros and the padding that end a tar, so that the parts join.
        parts.append(made)
    return join_tars(parts)


def join_tars(tars):
    """One tar of several: each is cut after its last entry."""
    out = b""
    for data in tars:
        end = len(data)
        while end >= 512 and data[end - 512:end] == bytes(512):
            end -= 512
        out += data[:end]
    out += bytes(1024)
    return out + bytes(-len(out) % 10240)


def gzip_one(data):
    return gzip.compress(data, 6, mtime=0)


def gzip_many(data):
    """Many members, as pigz --independent and eStargz write."""
    parts = range(0, len(data), MEMBER_BYTES)
    return b"".join(gzip.compress(data[i:i + MEMBER_BYTES], 6, mtime=0) for i in parts)


def gzip_flushed(data, checkpoints, span):
    """One member with a full flush every `span` bytes; fills checkpoints with (in, out)."""
    z = zlib.compressobj(6, zlib.DEFLATED, -15)
    out = bytearray(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
    checkpoints.append((len(out), 0))
    for start in range(0, len(data), span):
        out += z.compress(data[start:start + span])
        if start + span < len(data):
            out += z.flush(zlib.Z_FULL_FLUSH)
            checkpoints.append((len(out), start + span))
    out += z.flush() + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    return bytes(out)


def zstd_one(data):
    return run.run("zstd", "-q", "-3", "-c", input=data, text=False, errors=None).stdout


def zstd_many(data):
    parts = range(0, len(data), MEMBER_BYTES)
    return b"".join(zstd_one(data[i:i + MEMBER_BYTES]) for i in parts)


OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
# kind: (media type, compressor)
COMPRESSIONS = {
    "tar": (OCI_LAYER, bytes),
    "gzip": (OCI_LAYER + "+gzip", gzip_one),
    "gzip-many": (OCI_LAYER + "+gzip", gzip_many),
    "zstd": (OCI_LAYER + "+zstd", zstd_one),
    "zstd-many": (OCI_LAYER + "+zstd", zstd_many),
    "docker": (DOCKER_LAYER, gzip_one),
}
