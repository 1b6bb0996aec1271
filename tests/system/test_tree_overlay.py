# SPDX-License-Identifier: Apache-2.0
"""Layers merged by us are what the kernel's overlayfs shows of the same layers.

Random layers with whiteouts and opaque directories; each is extracted by GNU tar, its
whiteouts are turned into overlayfs's own, and all are mounted over each other.
"""
import os
import tarfile

import pytest

import erofskit as kit

pytestmark = pytest.mark.skipif(kit.why_not() is not None, reason=str(kit.why_not()))

ROUNDS_OF_A_SEED = 25
NAMES = ["a", "b", "c", "d"]


class RandomLayer:
    """One layer: each path is told at most once, every parent is told as a directory."""

    def __init__(self, rng, path):
        self.rng, self.told, self.files = rng, {"": "dir"}, []
        self.layer = kit.Layer(path)
        self.layer.add("./", tarfile.DIRTYPE, **self.attributes(0o755))

    def attributes(self, mode=None):
        return kit.random_attributes(self.rng, True) | ({"mode": mode} if mode else {})

    def parents(self, path):
        """Tells the parents; false when one of them is no directory here."""
        parts = path.split("/")[:-1]
        for i in range(1, len(parts) + 1):
            parent = "/".join(parts[:i])
            if self.told.get(parent, "dir") != "dir":
                return False
            if parent not in self.told:
                self.layer.add(parent, tarfile.DIRTYPE, **self.attributes(0o755))
                self.told[parent] = "dir"
        return True

    def step(self):
        path = "/".join(self.rng.choice(NAMES) for _ in range(self.rng.choice([1, 1, 2, 2, 3, 4])))
        if not self.parents(path):
            return
        directory, _, name = path.rpartition("/")
        prefix = directory + "/" if directory else ""
        what = self.rng.random()
        if what < 0.25 and f"{prefix}.wh.{name}" not in self.told:
            self.layer.add(f"{prefix}.wh.{name}", tarfile.REGTYPE)
            self.told[f"{prefix}.wh.{name}"] = "whiteout"
        elif what < 0.32 and directory and f"{prefix}.wh..wh..opq" not in self.told:
            self.layer.add(f"{prefix}.wh..wh..opq", tarfile.REGTYPE)
            self.told[f"{prefix}.wh..wh..opq"] = "whiteout"
        elif path not in self.told:
            self.tell(path, what)

    def tell(self, path, what):
        self.told[path] = "file"
        if what < 0.5:
            self.layer.add(path, tarfile.DIRTYPE, **self.attributes(0o755))
            self.told[path] = "dir"
        elif what < 0.8:
            data = self.rng.randbytes(self.rng.choice([0, 3, 600]))
            self.layer.add(path, tarfile.REGTYPE, data, **self.attributes())
            self.files.append(path)
        elif what < 0.9 and self.files:
            self.layer.add(path, tarfile.LNKTYPE, link=self.rng.choice(self.files))
        else:
            self.layer.add(path, tarfile.SYMTYPE, link=self.rng.choice(["a", "../b", "/c/d"]),
                           mode=0o777, mtime="5")


def convert_directory(directory):
    """The whiteouts of one directory, from tar's form into overlayfs's."""
    before = os.lstat(directory)
    for name in os.listdir(directory):
        full = os.path.join(directory, name)
        if name == ".wh..wh..opq":
            os.unlink(full)
            os.setxattr(directory, "trusted.overlay.opaque", b"y")
        elif name.startswith(".wh."):
            os.unlink(full)
            hidden = os.path.join(directory, name[4:])
            if not os.path.lexists(hidden):
                os.mknod(hidden, 0o020000, os.makedev(0, 0))
            elif os.path.isdir(hidden) and not os.path.islink(hidden):
                os.setxattr(hidden, "trusted.overlay.opaque", b"y")
    os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))


def overlay_of(tars, tmp_path):
    directories = []
    for i, tar in enumerate(tars):
        directory = tmp_path / f"l{i}"
        kit.extract(tar, directory)
        for at, _, _ in os.walk(directory, topdown=False):
            convert_directory(at)
        directories.append(str(directory))
    (tmp_path / "empty").mkdir(exist_ok=True)
    lower = ":".join([*reversed(directories), str(tmp_path / "empty")])
    return kit.Mounted("overlay", tmp_path / "overlay", "overlay", f"lowerdir={lower}")


def without_counts(tree):
    # overlayfs counts the names a layer has, also those that another layer hides.
    for entry in tree.values():
        entry.pop("nlink", None)
    return tree


@pytest.mark.parametrize("seed", range(6))
def test_merged_as_overlayfs_does(tmp_path, seed):
    rng = kit.rng_of(seed)
    seen = 0
    for round_number in range(ROUNDS_OF_A_SEED):
        work = tmp_path / str(round_number)
        work.mkdir()
        tars = []
        for i in range(rng.randrange(2, 6)):
            layer = RandomLayer(rng, work / f"{i}.tar")
            for _ in range(rng.randrange(1, 40)):
                layer.step()
            tars.append(layer.layer.close())
        with overlay_of(tars, work) as mounted:
            want = without_counts(kit.describe(mounted, overlay=True))
        kit.mktree("merge", work / "tree.erofs", *tars)
        with kit.erofs(work / "tree.erofs", work / "mnt", tars) as mounted:
            got = without_counts(kit.describe(mounted))
        assert not kit.differences(want, got), (seed, round_number)
        seen += len(got)
        kit.clean(work)
    assert seen > ROUNDS_OF_A_SEED
