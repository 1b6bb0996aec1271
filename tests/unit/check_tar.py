#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the tar reader with Python's tarfile over archives of GNU tar, bsdtar and tarfile.

usage: check_tar.py TARDUMP
"""
import decimal
import io
import os
import subprocess
import sys
import tarfile
import tempfile

TARDUMP = sys.argv[1]
TYPES = {tarfile.DIRTYPE: "d", tarfile.SYMTYPE: "l", tarfile.LNKTYPE: "h", tarfile.CHRTYPE: "c",
         tarfile.BLKTYPE: "b", tarfile.FIFOTYPE: "p"}
PLAIN = set(b"._-/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def text(data):
    return "".join(chr(c) if c in PLAIN else "%%%02x" % c for c in data)


def raw(name):
    return name.encode("utf-8", "surrogateescape")


def clean(name):
    return b"/".join(p for p in raw(name).split(b"/") if p not in (b"", b"."))


def mtime(member):
    told = member.pax_headers.get("mtime")
    value = decimal.Decimal(told if told is not None else member.mtime)
    sec = value.to_integral_value(decimal.ROUND_FLOOR)
    nsec = ((value - sec) * 1000000000).to_integral_value(decimal.ROUND_FLOOR)
    return "%d.%09d" % (sec, nsec)


def extents(member):
    pieces = member.sparse if member.sparse is not None else [(0, member.size)]
    at = member.offset_data
    out = []
    for off, size in pieces:
        if size:
            if out and out[-1][0] + out[-1][2] == off:
                out[-1][2] += size
            else:
                out.append([off, at, size])
            at += size
    return "".join(" [%d@%d+%d]" % tuple(e) for e in out)


def expected(data):
    lines = []
    with tarfile.open(fileobj=io.BytesIO(data), errorlevel=2) as archive:
        for m in archive:
            kind = TYPES.get(m.type, "-")
            line = "%s %s %o %d:%d %s" % (kind, text(clean(m.name)), m.mode & 0o7777, m.uid,
                                          m.gid, mtime(m))
            if kind == "-":
                line += " %d" % m.size
            if kind in "cb":
                line += " %d,%d" % (m.devmajor, m.devminor)
            if kind in "lh":
                line += " > " + text(clean(m.linkname) if kind == "h" else raw(m.linkname))
            for key, value in m.pax_headers.items():
                if key.startswith("SCHILY.xattr."):
                    line += " %s=%s" % (text(raw(key[13:])), text(raw(value)))
            if kind == "-":
                line += extents(m)
            lines.append(line)
    return lines


def check(what, data):
    want = expected(data)
    run = subprocess.run([TARDUMP], input=data, capture_output=True)
    got = run.stdout.decode().splitlines()
    if run.returncode or got != want:
        print("%s: %s" % (what, run.stderr.decode()))
        for a, b in zip(want + ["(nothing)"] * len(got), got + ["(nothing)"] * len(want)):
            if a != b:
                print("  want %s\n  got  %s" % (a, b))
        sys.exit(1)
    if not want:
        sys.exit("%s: the archive is empty, which proves nothing" % what)
    print("%s: %d entries agree" % (what, len(want)))


def make_tree(top, long_names):
    os.makedirs(top + "/dir/deep")
    with open(top + "/dir/file", "wb") as f:
        f.write(b"content" * 300)
    open(top + "/dir/empty", "wb").close()
    os.symlink("../somewhere", top + "/dir/symlink")
    os.link(top + "/dir/file", top + "/dir/zhard")
    os.mkfifo(top + "/dir/fifo")
    os.chmod(top + "/dir/file", 0o4751)
    os.utime(top + "/dir/file", ns=(0, 1234567890123456789))
    with open(top + "/dir/sp ace\n\u00e9", "wb") as f:
        f.write(b"x")
    if long_names:
        deep = top + "/" + "/".join(["d" * 90] * 3)
        os.makedirs(deep)
        with open(deep + "/" + "f" * 200, "wb") as f:
            f.write(b"long")
        os.symlink("t" * 300, deep + "/link")
    os.utime(top + "/dir/empty", ns=(0, -1500000000))


def make_sparse(top):
    os.makedirs(top)
    for name, pieces, size in (("holes", [(0, 1), (1 << 20, 4096), (5 << 20, 512)], 8 << 20),
                               ("tail", [(1 << 20, 4097)], (1 << 20) + 4097),
                               ("hollow", [], 3 << 20),
                               ("many", [(i << 16, 4096) for i in range(100)], 100 << 16)):
        with open("%s/%s" % (top, name), "wb") as f:
            f.truncate(size)
            for off, n in pieces:
                f.seek(off)
                f.write(b"d" * n)


def run(*args):
    return subprocess.run(args, check=True, stdout=subprocess.PIPE,
                          env=dict(os.environ, LC_ALL="C.UTF-8")).stdout


def by_tools(top):
    make_tree(top + "/plain", False)
    make_tree(top + "/long", True)
    make_sparse(top + "/sparse")
    for fmt in ("v7", "oldgnu", "gnu", "ustar", "pax"):
        tree = "long" if fmt in ("oldgnu", "gnu", "pax") else "plain"
        members = ["--exclude=fifo", "."] if fmt == "v7" else ["."]
        # Some of these formats cannot say a time before 1970.
        if fmt in ("v7", "ustar"):
            members = ["--exclude=empty"] + members
        check("GNU tar, " + fmt, run("tar", "-C", top + "/" + tree, "--format", fmt, "-c",
                                     *members))
    for fmt in ("ustar", "pax", "gnutar"):
        tree = "plain" if fmt == "ustar" else "long"
        check("bsdtar, " + fmt, run("bsdtar", "-C", top + "/" + tree, "--exclude", "empty",
                                    "--format", fmt, "-cf", "-", "."))
    for args in (["--format=gnu"], ["--format=pax", "--sparse-version=0.0"],
                 ["--format=pax", "--sparse-version=0.1"],
                 ["--format=pax", "--sparse-version=1.0"]):
        check("GNU tar, sparse " + " ".join(args), run("tar", "-C", top + "/sparse", "-Sc", *args,
                                                       "."))


def by_python():
    for fmt, name in ((tarfile.GNU_FORMAT, "gnu"), (tarfile.PAX_FORMAT, "pax")):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=fmt) as archive:
            for i, kind in enumerate((tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE,
                                      tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE)):
                m = tarfile.TarInfo("member%d" % i)
                m.type = kind
                m.uid = 4000000000
                m.gid = (1 << 21) + i
                m.mtime = -5 - i
                m.devmajor, m.devminor = 8, 300
                body = b"z" * (1000 * i) if kind in (tarfile.REGTYPE, tarfile.CONTTYPE) else b""
                m.size = len(body)
                if fmt == tarfile.PAX_FORMAT:
                    m.pax_headers = {"SCHILY.xattr.user.one": "v\u00e4lue",
                                     "SCHILY.xattr.security.capability": "\x01\x02"}
                archive.addfile(m, io.BytesIO(body))
        check("tarfile, " + name, out.getvalue())


with tempfile.TemporaryDirectory() as tmp:
    by_tools(tmp)
by_python()
