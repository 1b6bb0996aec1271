# SPDX-License-Identifier: Apache-2.0
"""Random layers as tars, kernel mounts, and what is at a mount, for the tests of trees."""
import ctypes
import hashlib
import io
import os
import random
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBC = ctypes.CDLL(None, use_errno=True)
MS_RDONLY = 1


def why_not():
    """Why the kernel cannot be asked here; None when it can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    filesystems = Path("/proc/filesystems").read_text().split()
    for wanted in ("erofs", "overlay"):
        if wanted not in filesystems:
            return f"the kernel has no {wanted}"
    return None


def mktree_path():
    """The program that makes images of tars, from the build that $SLUICE is of."""
    program = Path(os.environ.get("SLUICE", ROOT / "build/tools/sluice"))
    return program.parents[1] / "tests/unit/mktree"


def mktree(*args):
    subprocess.run([mktree_path(), *map(str, args)], check=True, timeout=300)


class Mounted:
    """mount(2) without mount(8), which would look for a loop device."""

    def __init__(self, source, target, kind, options, flags=MS_RDONLY):
        self.target = str(target)
        os.makedirs(self.target, exist_ok=True)
        self.args = (str(source).encode(), self.target.encode(), kind.encode(), flags,
                     options.encode())

    def __enter__(self):
        if LIBC.mount(*self.args) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), self.args)
        return Path(self.target)

    def __exit__(self, *exc):
        if LIBC.umount2(self.target.encode(), 0) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), self.target)


def erofs(image, target, devices):
    return Mounted(image, target, "erofs", ",".join(f"device={d}" for d in devices))


def digest_of(path, size):
    """SHA-256 of what a file holds; of a large sparse one only of its data and their places."""
    state = hashlib.sha256()
    with open(path, "rb") as f:
        if size <= 64 << 20:
            while piece := f.read(1 << 20):
                state.update(piece)
            return state.hexdigest()
        for at in sorted({0, size // 3 & ~511, size // 2 & ~511, size - 4096}):
            f.seek(at)
            state.update(f.read(8192))
    return state.hexdigest()


def xattrs_of(path):
    return {n: os.getxattr(path, n, follow_symlinks=False)
            for n in os.listxattr(path, follow_symlinks=False)
            if not n.startswith(("trusted.overlay.", "trusted.sluice."))}


def describe(root, overlay=False):
    """{path: everything stat, readlink, listxattr and read say}; links as groups of paths.

    In a directory of one layer only, overlayfs lists whiteouts that it then does not find.
    """
    found, groups = {}, {}
    for directory, subdirs, files in os.walk(root):
        for name in [""] * (directory == str(root)) + subdirs + files:
            full = os.path.join(directory, name) if name else directory
            try:
                st = os.lstat(full)
            except FileNotFoundError:
                if overlay:
                    continue
                raise
            path = os.path.relpath(full, root)
            kind = stat.S_IFMT(st.st_mode)
            entry = {"mode": oct(st.st_mode), "uid": st.st_uid, "gid": st.st_gid,
                     "mtime": st.st_mtime_ns, "xattrs": xattrs_of(full)}
            if kind == stat.S_IFREG:
                entry["size"] = st.st_size
                entry["sha256"] = digest_of(full, st.st_size)
            if kind == stat.S_IFLNK:
                entry["target"] = os.readlink(full)
            if kind in (stat.S_IFCHR, stat.S_IFBLK):
                entry["rdev"] = st.st_rdev
            if kind != stat.S_IFDIR:
                entry["nlink"] = st.st_nlink
                groups.setdefault((st.st_dev, st.st_ino), []).append(path)
            else:
                entry["nlink"] = st.st_nlink
            found[path] = entry
    for paths in groups.values():
        for path in paths:
            found[path]["links"] = sorted(paths)
    return found


def differences(want, got):
    """Sentences, at most a few."""
    said = [f"missing: {p}" for p in sorted(want.keys() - got.keys())]
    said += [f"not in the original: {p}" for p in sorted(got.keys() - want.keys())]
    for path in sorted(want.keys() & got.keys()):
        for key in sorted(want[path].keys() | got[path].keys()):
            if want[path].get(key) != got[path].get(key):
                said.append(f"{path}: {key} is {got[path].get(key)!r}, "
                            f"not {want[path].get(key)!r}")
    return said[:20]


class Layer:
    """A tar in the making."""

    def __init__(self, path):
        self.path = Path(path)
        self.tar = tarfile.open(self.path, "w", format=tarfile.PAX_FORMAT)

    def add(self, name, kind, data=b"", link="", mode=0o644, uid=0, gid=0, mtime=0, dev=(0, 0),
            xattrs=None):
        info = tarfile.TarInfo(name)
        info.type = kind
        info.mode, info.uid, info.gid = mode, uid, gid
        info.size = len(data)
        info.linkname = link
        info.devmajor, info.devminor = dev
        info.mtime = 0
        # As text, since a float holds no nanoseconds.
        info.pax_headers["mtime"] = mtime if isinstance(mtime, str) else str(mtime)
        for key, value in (xattrs or {}).items():
            # tarfile writes headers as UTF-8 text; values here stay within ASCII.
            info.pax_headers["SCHILY.xattr." + key] = value.decode("ascii")
        self.tar.addfile(info, io.BytesIO(data))

    def close(self):
        self.tar.close()
        return self.path


def extract(tar, to):
    """What GNU tar makes of it, as the other opinion."""
    os.makedirs(to, exist_ok=True)
    subprocess.run(["tar", "--extract", "--file", tar, "--directory", to, "--same-owner",
                    "--same-permissions", "--numeric-owner", "--xattrs", "--xattrs-include=*",
                    "--delay-directory-restore", "--warning=no-timestamp"],
                   check=True, timeout=600)


def mtimes(rng):
    """Times with and without a fraction, before 1970 too; one of them common."""
    return rng.choice(["1700000000"] * 4 + [
        "1700000000.5", f"{rng.randrange(2**31)}.{rng.randrange(10**9):09}",
        f"-{rng.randrange(1, 10**9)}", f"-{rng.randrange(1, 10**8)}.{rng.randrange(1, 10**9):09}",
        str(2**33 + rng.randrange(1000))])


def random_attributes(rng, rich):
    ids = [0, 0, 0, 1000, 65534, 65535] + ([65536, 1 << 31, (1 << 32) - 2] if rich else [])
    attributes = {"uid": rng.choice(ids), "gid": rng.choice(ids), "mtime": mtimes(rng),
                  "mode": rng.choice([0o644, 0o755, 0o4755, 0o2750, 0o600, 0o1777, 0])}
    if rng.random() < 0.3:
        attributes["xattrs"] = {
            rng.choice(["user.a", "user.b.c", "user." + "n" * 200]): rng.choice(
                [b"v", b"", b"shared value", b"%d" % rng.randrange(10**9),
                 b"long" * rng.randrange(1, 300)])
            for _ in range(rng.randrange(1, 4))}
        if rng.random() < 0.5:
            attributes["xattrs"]["security.sluice"] = b"label"
    return attributes


def clean(directory):
    shutil.rmtree(directory, ignore_errors=True)


def rng_of(seed):
    return random.Random(seed)
