# SPDX-License-Identifier: Apache-2.0
"""Images of our writer, mounted by the kernel, are the tars they were made of.

The other opinion on a tar is GNU tar's, extracted beside it.
"""
import hashlib
import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

import erofskit as kit

pytestmark = pytest.mark.skipif(kit.why_not() is not None, reason=str(kit.why_not()))


def random_name(rng):
    if rng.random() < 0.05:
        return rng.choice("xyz") * 255
    alphabet = "abcdefghijklmnop-._!~ +,ABC\u00e9"
    name = "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 24)))
    return "n" + name if name.strip(". ") == "" else name


def add_random_file(rng, layer, path, files):
    attributes = kit.random_attributes(rng, True)
    what = rng.random()
    if what < 0.55:
        size = rng.choice([0, 1, 511, 512, 513, 4096, 70000, rng.randrange(20000)])
        layer.add(path, tarfile.REGTYPE, rng.randbytes(size), **attributes)
        files.append(path)
    elif what < 0.7:
        target = "t" * rng.choice([1, 10, 200, 450, 470, 480, 490, 500, 511, 512, 513, 1024, 4000])
        attributes.pop("xattrs", None)
        layer.add(path, tarfile.SYMTYPE, link=target, **(attributes | {"mode": 0o777}))
    elif what < 0.8 and files:
        layer.add(path, tarfile.LNKTYPE, link=rng.choice(files))
    else:
        attributes.pop("xattrs", None)
        kind = rng.choice([tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
        dev = (0, 0) if kind == tarfile.FIFOTYPE else (rng.randrange(1, 4096),
                                                       rng.randrange(1 << 20))
        layer.add(path, kind, dev=dev, **attributes)


def random_tar(rng, path, entries):
    layer = kit.Layer(path)
    directories, files, taken = [""], [], set()
    layer.add("./", tarfile.DIRTYPE, **(kit.random_attributes(rng, True) | {"mode": 0o755}))
    for _ in range(entries):
        where = rng.choice(directories[-8:]) + random_name(rng)
        if where in taken or len(where) > 1500:
            continue
        taken.add(where)
        if rng.random() < 0.2:
            layer.add(where, tarfile.DIRTYPE,
                      **(kit.random_attributes(rng, True) | {"mode": 0o755}))
            directories.append(where + "/")
        else:
            add_random_file(rng, layer, where, files)
    return layer.close()


def compare(tmp_path, tar):
    """Mounts the image of one tar and compares it; also written again from itself."""
    image = tmp_path / "tree.erofs"
    kit.mktree("merge", image, tar)
    kit.mktree("rebuild", tmp_path / "again.erofs", image)
    assert (tmp_path / "again.erofs").read_bytes() == image.read_bytes()
    kit.extract(tar, tmp_path / "want")
    want = kit.describe(tmp_path / "want")
    with kit.erofs(image, tmp_path / "mnt", [tar]) as mounted:
        got = kit.describe(mounted)
    kit.clean(tmp_path / "want")
    for entry in want.values():
        if entry["mode"].startswith("0o4"):
            entry.pop("nlink")
    for path, entry in got.items():
        if entry["mode"].startswith("0o4"):
            below = sum(1 for p, e in got.items() if e["mode"].startswith("0o4") and p != "." and
                        (os.path.dirname(p) or ".") == path)
            assert entry.pop("nlink") == below + 2, path
    assert not kit.differences(want, got)
    assert len(want) == len(got)


@pytest.mark.parametrize("seed", range(12))
def test_random_trees(tmp_path, seed):
    rng = kit.rng_of(seed)
    compare(tmp_path, random_tar(rng, tmp_path / "layer.tar", rng.choice([3, 30, 300, 1500])))


def test_large_directory(tmp_path):
    layer = kit.Layer(tmp_path / "layer.tar")
    layer.add("./", tarfile.DIRTYPE, mode=0o755)
    layer.add("d", tarfile.DIRTYPE, mode=0o755)
    count = 100_000
    for i in range(count):
        layer.add(f"d/{i * 7919 % count:06}" + "x" * (i % 40), tarfile.REGTYPE, b"")
    tar = layer.close()
    kit.mktree("merge", tmp_path / "tree.erofs", tar)
    with kit.erofs(tmp_path / "tree.erofs", tmp_path / "mnt", [tar]) as mounted:
        names = os.listdir(mounted / "d")
        assert len(names) == len(set(names)) == count
        for name in names[:: 501]:
            assert os.lstat(mounted / "d" / name).st_size == 0
        with pytest.raises(FileNotFoundError):
            os.lstat(mounted / "d" / "100000")


def test_names_of_255_bytes(tmp_path):
    layer = kit.Layer(tmp_path / "layer.tar")
    layer.add("./", tarfile.DIRTYPE, mode=0o755)
    for i in range(40):
        layer.add(f"{i:02}" + "n" * 253, tarfile.REGTYPE, b"%d" % i)
    compare(tmp_path, layer.close())


@pytest.mark.parametrize("places", [
    [(0, 4096)], [(1 << 20, 4096)], [(0, 4096), (8192, 4096), (1 << 30, 512)],
    [((5 << 30) - 4096, 4096)], [(4 << 30, 1 << 20)], []])
def test_sparse_files(tmp_path, places):
    size = 5 << 30
    source = tmp_path / "src"
    source.mkdir()
    with open(source / "sparse", "wb") as f:
        f.truncate(size)
        for at, n in places:
            f.seek(at)
            f.write(kit.rng_of(at).randbytes(n))
    with open(source / "small", "wb") as f:
        f.write(b"a" * 4096)
        f.seek(100_000)
        f.write(b"tail")
    tar = tmp_path / "layer.tar"
    subprocess.run(["tar", "--sparse", "--format=pax", "-cf", tar, "-C", source, "."], check=True)
    image = tmp_path / "tree.erofs"
    kit.mktree("merge", image, tar)
    with kit.erofs(image, tmp_path / "mnt", [tar]) as mounted:
        assert os.lstat(mounted / "sparse").st_size == size
        assert (mounted / "small").read_bytes() == (source / "small").read_bytes()
        with open(mounted / "sparse", "rb") as a, open(source / "sparse", "rb") as b:
            for at in [0, size - 8192] + [max(0, at - 4096) for at, _ in places]:
                a.seek(at)
                b.seek(at)
                assert a.read(64 << 10) == b.read(64 << 10), at


def test_several_devices_read_their_own_bytes(tmp_path):
    tars = []
    for i in range(5):
        layer = kit.Layer(tmp_path / f"{i}.tar")
        for k in range(i, 5):
            layer.add(f"f{k}", tarfile.REGTYPE, b"layer %d file %d" % (i, k))
        tars.append(layer.close())
    kit.mktree("merge", tmp_path / "tree.erofs", *tars)
    with kit.erofs(tmp_path / "tree.erofs", tmp_path / "mnt", tars) as mounted:
        for k in range(5):
            assert (mounted / f"f{k}").read_bytes() == b"layer %d file %d" % (k, k)


def test_image_of_no_entries(tmp_path):
    tar = kit.Layer(tmp_path / "layer.tar").close()
    kit.mktree("merge", tmp_path / "tree.erofs", tar)
    with kit.erofs(tmp_path / "tree.erofs", tmp_path / "mnt", [tar]) as mounted:
        assert os.listdir(mounted) == []


@pytest.mark.skipif(not shutil.which("mkfs.erofs"), reason="mkfs.erofs is not installed")
@pytest.mark.parametrize("options", [[], ["-Enoinline_data"], ["-T1700000000"],
                                     ["-Eforce-inode-compact"], ["-Eforce-inode-extended"]])
def test_images_of_another_writer(tmp_path, options):
    """Our reader says of an image by mkfs.erofs what the kernel says of it."""
    rng = kit.rng_of(len(options))
    source, image = tmp_path / "src", tmp_path / "other.erofs"
    for i in range(300):
        where = source / rng.choice(["", "a", "a/b", "c"])
        where.mkdir(parents=True, exist_ok=True)
        path = where / f"{'n' * rng.randrange(1, 200)}{i}"
        path.write_bytes(rng.randbytes(rng.choice([0, 1, 100, 4096, 5000, 70000])))
        if i % 3 == 0:
            os.setxattr(path, "user.k", b"value %d" % (i % 9))
        if i % 10 == 0:
            os.link(path, f"{path}.link")
            os.symlink("t" * (i + 1), f"{path}.symlink")
            os.mknod(f"{path}.dev", 0o020600, os.makedev(300, i + 1))
    subprocess.run(["mkfs.erofs", "--quiet", *options, image, source], check=True,
                   stdout=subprocess.DEVNULL)
    kit.mktree("list", tmp_path / "list", image)
    got = {}
    for line in (tmp_path / "list").read_text().splitlines():
        path, mode, owner, nlink, mtime, rdev, rest = line.split(" ", 6)
        got[path] = (int(mode, 8), owner, int(nlink), mtime.split(".")[0], rdev, rest)
    with kit.Mounted(image, tmp_path / "mnt", "erofs", "") as mounted:
        seen = 0
        # Not rglob(): it follows symlinks, and these lead to names that are too long.
        found = [Path(place, name) for place, folders, files in os.walk(mounted)
                 for name in folders + files]
        for path in found:
            st = os.lstat(path)
            rest = ">" + (os.readlink(path) if path.is_symlink() else "")
            rest += "".join(f" {n}={os.getxattr(path, n, follow_symlinks=False).decode()}"
                            for n in os.listxattr(path, follow_symlinks=False))
            if stat.S_ISREG(st.st_mode):
                rest += " " + hashlib.sha256(path.read_bytes()).hexdigest()
            assert got[str(path.relative_to(mounted))] == (
                st.st_mode, f"{st.st_uid}:{st.st_gid}", st.st_nlink, str(int(st.st_mtime)),
                f"{os.major(st.st_rdev)},{os.minor(st.st_rdev)}", rest)
            seen += 1
    assert seen == len(got) > 300
