# SPDX-License-Identifier: Apache-2.0
"""Two trees, compared in everything a program can see of them."""
import hashlib
import os
import stat

DIFFERENCES_SHOWN = 40
READ_BYTES = 1 << 20
# What the filesystem below adds by itself.
FOREIGN_XATTRS = ("security.selinux", "system.posix_acl_access", "system.posix_acl_default")


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(READ_BYTES):
            digest.update(data)
    return digest.hexdigest()


def xattrs(path):
    return {name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False) if name not in FOREIGN_XATTRS}


def describe(path):
    """One file's attributes; hardlinks are added by walk()."""
    s = os.lstat(path)
    facts = {"type": stat.S_IFMT(s.st_mode), "mode": oct(stat.S_IMODE(s.st_mode)),
             "uid": s.st_uid, "gid": s.st_gid, "mtime": s.st_mtime_ns, "xattrs": xattrs(path)}
    if stat.S_ISLNK(s.st_mode):
        facts["target"] = os.readlink(path)
    elif stat.S_ISREG(s.st_mode):
        facts.update(size=s.st_size, sha256=sha256(path), nlink=s.st_nlink)
    elif stat.S_ISBLK(s.st_mode) or stat.S_ISCHR(s.st_mode):
        facts.update(device=(os.major(s.st_rdev), os.minor(s.st_rdev)))
    return facts, (s.st_dev, s.st_ino)


def walk(root):
    """{path relative to root, as bytes: attributes}; names of one inode share a group."""
    root = os.fsencode(root)
    found, inodes, pending = {}, {}, [b""]
    while pending:
        name = pending.pop()
        path = os.path.join(root, name) if name else root
        facts, inode = describe(path)
        found[name or b"."] = facts
        if facts["type"] == stat.S_IFDIR:
            pending += [os.path.join(name, entry) for entry in os.listdir(path)]
        else:
            inodes.setdefault(inode, []).append(name)
    for names in inodes.values():
        if len(names) > 1:
            for name in names:
                found[name]["hardlinks"] = sorted(names)
    return found


def differences(want, got, ignore=()):
    """Sentences, one a difference, between two results of walk()."""
    said = [f"missing: {name!r}" for name in sorted(want.keys() - got.keys())]
    said += [f"not expected: {name!r}" for name in sorted(got.keys() - want.keys())]
    for name in sorted(want.keys() & got.keys()):
        for fact in sorted(want[name].keys() | got[name].keys()):
            a, b = want[name].get(fact), got[name].get(fact)
            if a != b and fact not in ignore:
                said.append(f"{name!r}: {fact} is {b!r}, should be {a!r}")
    return said


def assert_same(want, got, ignore=()):
    """want and got are directories or results of walk()."""
    want = want if isinstance(want, dict) else walk(want)
    got = got if isinstance(got, dict) else walk(got)
    said = differences(want, got, ignore)
    assert not said, f"{len(said)} differences:\n" + "\n".join(said[:DIFFERENCES_SHOWN])
