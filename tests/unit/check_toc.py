#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes eStargz and zstd:chunked layers and reads every file back through the seek table.

usage: check_toc.py TOCDUMP [LAYER DIGEST POSITION]

With a layer (one that another tool wrote), that layer is read instead, each
span is checked, and the files are compared with those in its tar.
"""
import base64
import gzip
import hashlib
import io
import json
import os
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib

TOCDUMP = sys.argv[1]
COPY, DEFLATE, GZIP, ZSTD, ZEROS = range(5)


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def zstd(data, *args):
    return subprocess.run(["zstd", "-q", "-c", *args], input=data, check=True,
                          stdout=subprocess.PIPE).stdout


def tar_header(name, size=0, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info.tobuf(tarfile.PAX_FORMAT)


def pad(data):
    return data + b"\0" * (-len(data) % 512)


def make_files():
    """name -> content; the content is not quite incompressible."""
    big = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(10000))
    return {"dir/big": big, "dir/small": b"hello\n", "dir/empty": b"", "other": b"other" * 500,
            "holey": b"a" * 4096 + b"\0" * 65536 + b"b" * 100}


class Estargz:
    """Members of gzip; several small files share one when packed."""

    def __init__(self):
        self.blob, self.entries = b"", []

    def member(self, data):
        at = len(self.blob)
        self.blob += gzip.compress(data, mtime=0)
        return at

    def add(self, name, data, chunk, inner=None):
        entry = {"name": name, "type": "reg", "size": len(data), "mode": 0o640, "uid": 1, "gid": 2,
                 "modtime": "2021-05-06T07:08:09.5+01:00"}
        self.member(tar_header(name, len(data)))
        if data:
            entry["digest"] = sha256(data)
        for at in range(0, len(data), chunk):
            piece = data[at:at + chunk]
            told = dict(entry) if at == 0 else {"name": name, "type": "chunk"}
            if len(data) > chunk:
                told["chunkDigest"] = sha256(piece)
                told["chunkOffset"] = at
                if at + chunk < len(data):
                    told["chunkSize"] = len(piece)
            padding = b"\0" * (-len(data) % 512) if at + chunk >= len(data) else b""
            told["offset"] = self.member(piece + padding)
            self.entries.append(told)
        if not data:
            self.entries.append(entry)

    def add_packed(self, files):
        """One member for them all, as with a minimal chunk size."""
        body, told = b"", []
        for name, data in files:
            body += tar_header(name, len(data))
            told.append({"name": name, "type": "reg", "size": len(data), "digest": sha256(data),
                         "chunkDigest": sha256(data), "offset": len(self.blob),
                         "innerOffset": len(body)})
            body += pad(data)
        self.member(body)
        self.entries += told

    def finish(self):
        text = json.dumps({"version": 1, "entries": self.entries}).encode()
        at = len(self.blob)
        self.member(tar_header("stargz.index.json", len(text)) + pad(text) + b"\0" * 1024)
        extra = b"SG\x16\x00" + b"%016xSTARGZ" % at
        self.blob += (b"\x1f\x8b\x08\x04" + b"\0" * 5 + b"\xff" + struct.pack("<H", len(extra)) +
                      extra + b"\x01\0\0\xff\xff" + b"\0" * 8)
        return self.blob, sha256(text)


def estargz(files):
    layer = Estargz()
    layer.entries.append({"name": "dir/", "type": "dir", "mode": 0o755,
                          "xattrs": {"user.x": base64.b64encode(b"\0v").decode()}})
    layer.add("other", files["other"], 1 << 20)
    layer.add(".prefetch.landmark", b"\x0f", 1 << 20)
    for name in ("dir/big", "dir/empty"):
        layer.add(name, files[name], 100000)
    layer.add_packed([(n, files[n]) for n in ("dir/small", "holey")])
    layer.entries += [
        {"name": "link", "type": "symlink", "linkName": "../x"},
        {"name": "hard", "type": "hardlink", "linkName": "./other"},
        {"name": "null", "type": "char", "devMajor": 1, "devMinor": 3},
        {"name": "pipe", "type": "fifo"}]
    return layer.finish()


def zstd_chunked(files):
    blob, entries = zstd(b"\0"), []
    for name, data in files.items():
        entry = {"name": name, "type": "reg", "size": len(data), "digest": sha256(data)}
        pieces = [(at, data[at:at + 65536]) for at in range(0, len(data), 65536)]
        if name == "holey":
            pieces = [(0, data[:4096]), (4096, data[4096:69632]), (69632, data[69632:])]
        for at, piece in pieces:
            told = entry if at == 0 else {"name": name, "type": "chunk"}
            told.update(offset=len(blob), chunkSize=len(piece), chunkOffset=at)
            if piece.strip(b"\0"):
                told["chunkDigest"] = sha256(piece)
                blob += zstd(piece)
            else:
                told["chunkType"] = "zeros"
            entries.append(told)
        if not pieces:
            entries.append(entry)
        entry["endOffset"] = len(blob)
        blob += zstd(b"the next header")
    text = json.dumps({"version": 1, "entries": entries}).encode()
    packed = zstd(text)
    blob += b"\x50\x2a\x4d\x18" + struct.pack("<I", len(packed))
    at = len(blob)
    footer = struct.pack("<7Q", at, len(packed), len(text), 1, 0, 0, 0) + b"GNUlInUx"
    blob += packed + b"\x50\x2a\x4d\x18" + struct.pack("<I", len(footer)) + footer
    return blob, sha256(packed), "%d:%d:%d:1" % (at, len(packed), len(text))


def decode(codec, data):
    if codec == ZSTD:
        return zstd(data, "-d")
    out = b""
    while data[:2] == b"\x1f\x8b":
        member = zlib.decompressobj(31)
        out += member.decompress(data)
        data = member.unused_data
    return out


def device(blob, spans):
    """The bytes of the synthetic device, each span checked."""
    out = bytearray()
    for span in spans:
        codec, in_off, in_len, skip, out_off, out_len = map(int, span[:6])
        if codec == ZEROS:
            piece = b"\0" * out_len
        else:
            piece = decode(codec, blob[in_off:in_off + in_len])[skip:skip + out_len]
            assert hashlib.sha256(piece).hexdigest() == span[6], span
        assert out_off >= len(out)
        out += b"\0" * (out_off - len(out)) + piece
    return out


def read_back(what, blob, digest, position=None):
    with tempfile.NamedTemporaryFile() as f:
        f.write(blob)
        f.flush()
        run = subprocess.run([TOCDUMP, f.name, digest] + ([position] if position else []),
                             capture_output=True)
    if run.returncode:
        sys.exit("%s: %s" % (what, run.stderr.decode()))
    lines = run.stdout.decode().splitlines()
    bytes_of = device(blob, [l.split()[1:] for l in lines if l.startswith("span ")])
    files = {}
    for line in lines:
        if line.startswith("- "):
            extent = re.search(r"\[0@(\d+)\+(\d+)\]$", line)
            at, n = map(int, extent.groups()) if extent else (0, 0)
            name = re.sub(b"%(..)", lambda m: bytes([int(m[1], 16)]), line.split()[1].encode())
            files[name.decode()] = bytes(bytes_of[at:at + n])
    print("%s: %d files agree" % (what, len(files)))
    return files, lines


def main():
    if len(sys.argv) > 2:
        with open(sys.argv[2], "rb") as f:
            blob = f.read()
        files, lines = read_back(sys.argv[2], blob, *sys.argv[3:])
        tar = subprocess.run(["bsdcat", sys.argv[2]], check=True, stdout=subprocess.PIPE).stdout
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            members = [m for m in archive if m.name != "stargz.index.json" and
                       not m.name.endswith("prefetch.landmark")]
            want = {m.name: archive.extractfile(m).read() for m in members if m.isreg()}
        assert want == files, (set(want) ^ set(files))
        assert len(members) == sum(l[1] == " " for l in lines)
        return
    files = make_files()
    blob, digest = estargz(files)
    got, lines = read_back("eStargz", blob, digest)
    assert got == files
    for line in ("d dir 755 0:0 0.000000000 user.x=%00v", "l link 0 0:0 0.000000000 > ../x",
                 "h hard 0 0:0 0.000000000 > other", "c null 0 0:0 0.000000000 1,3",
                 "p pipe 0 0:0 0.000000000", "- dir/empty 640 1:2 1620281289.500000000 0"):
        assert line in lines, (line, lines)
    end = int([l for l in lines if l.startswith("prefetch ")][0].split()[1])
    assert decode(GZIP, blob[end:])[:1] == b"\x0f"
    blob, digest, position = zstd_chunked(files)
    for how in (None, position):
        got, lines = read_back("zstd:chunked", blob, digest, how)
        assert got == files
    assert any(l.startswith("span %d 0 0 0 " % ZEROS) for l in lines)


main()
