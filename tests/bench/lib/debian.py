# SPDX-License-Identifier: Apache-2.0
"""Layers of Debian packages, made as image builders make them: each by a command in what is below.

The same packages give the same bytes: names are sorted, times cut off at a fixed one, and caches
and logs left out. Needs debootstrap, npm and the network once; what is made stays in a folder.
"""
import os
import shutil
import stat
import tarfile
from pathlib import Path

from system.lib import run

from . import synth

SUITE = "bookworm"
COMMAND_SECONDS_MAX = 1800
LEVEL = 6
# What a build leaves that no image is to have.
LEFT_OUT = ("var/cache", "var/log", "var/lib/apt/lists", "tmp", "root/.npm", "run", "dev", "proc",
            "sys", "etc/resolv.conf", "etc/hostname")
APT = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "APT::Sandbox::User=root",
       "-o", "Dpkg::Use-Pty=0")


def _done(place):
    return place.with_name(place.name + ".done")


class Builder:
    """Trees of single layers below a folder, made once."""

    def __init__(self, place):
        self.place = place
        place.mkdir(parents=True, exist_ok=True)

    def made(self, name, make):
        """A tree that make(place) makes."""
        target = self.place / name
        if not _done(target).exists():
            shutil.rmtree(target, ignore_errors=True)
            make(target)
            _done(target).touch()
        return target

    def base(self):
        """Debian's smallest system, with the lists of packages, which no layer keeps."""
        def make(target):
            run.run("debootstrap", "--variant=minbase", SUITE, target,
                    timeout=COMMAND_SECONDS_MAX)
        return self.made("base", make)

    def command(self, name, below, *command):
        """What a command changes in the layers below, the bottom one first."""
        def make(target):
            work, root = self.place / "work", self.place / "root"
            for place in (target, work, root):
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
            lower = ":".join(str(x) for x in reversed(below))
            run.run("mount", "-t", "overlay", "overlay", "-o",
                    f"lowerdir={lower},upperdir={target},workdir={work}", root)
            try:
                shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
                run.run("mount", "-t", "proc", "proc", root / "proc")
                run.run("chroot", root, *command, timeout=COMMAND_SECONDS_MAX)
            finally:
                for point in run.mounts_below(root):
                    run.run("umount", point, check=False)
                shutil.rmtree(work, ignore_errors=True)
        return self.made(name, make)

    def packages(self, name, below, *packages):
        return self.command(name, below, *APT, "install", "--no-install-recommends", "--yes",
                            *packages)

    def files(self, name, files):
        """A layer of files: {name: text}."""
        def make(target):
            for path, text in files.items():
                place = target / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text)
        return self.made(name, make)

    def npm(self, name, directory, *packages):
        def make(target):
            place = target / directory
            place.mkdir(parents=True)
            run.run("npm", "install", "--prefix", place, "--ignore-scripts", "--no-audit",
                    "--no-fund", "--cache", self.place / "npm-cache", *packages,
                    timeout=COMMAND_SECONDS_MAX)
            shutil.rmtree(self.place / "npm-cache", ignore_errors=True)
        return self.made(name, make)


def _entry(info, began):
    """Files keep the time that their package gave them, which Python looks at; what was written
    while the tree was made would be another one each time."""
    info.mtime = int(info.mtime) if info.mtime < began else synth.MTIME
    info.uname = info.gname = ""
    return info


def _members(tree):
    """(name, path) of all there is in a layer's tree, a directory before what is in it."""
    for directory, directories, files in os.walk(tree):
        directories.sort()
        for name in sorted(directories + files):
            path = Path(directory, name)
            yield str(path.relative_to(tree)), path
        below = os.path.relpath(directory, tree)
        directories[:] = [x for x in directories if not Path(directory, x).is_symlink()
                          and os.path.normpath(f"{below}/{x}") not in LEFT_OUT]


def _opaque(path):
    try:
        return os.getxattr(path, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def pack(tree, target):
    """A tree of a layer, as overlayfs keeps it, as a compressed tar: see synth.LayerWriter."""
    layer = synth.LayerWriter(Path(target), LEVEL)
    tar = tarfile.open(fileobj=layer, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20)
    members = list(_members(Path(tree)))
    # Nothing can set the time when an inode was last changed.
    began = min(path.lstat().st_ctime for _, path in members)
    for name, path in members:
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode) and _opaque(path):
            tar.addfile(_entry(tarfile.TarInfo(f"{name}/.wh..wh..opq"), began))
        if name in LEFT_OUT and not stat.S_ISDIR(status.st_mode):
            continue
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            gone = tarfile.TarInfo(str(Path(name).with_name(f".wh.{path.name}")))
            tar.addfile(_entry(gone, began))
        elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            continue
        else:
            info = _entry(tar.gettarinfo(path, name), began)
            if info.isreg():
                with path.open("rb") as file:
                    tar.addfile(info, file)
            else:
                tar.addfile(info)
    tar.close()
    return layer.end()

