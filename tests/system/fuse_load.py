# SPDX-License-Identifier: Apache-2.0
"""Load on a mount of fusekit.make_image(): every kind of access, every byte compared.

    fuse_load.py MOUNT BIG COUNT STOP      until the file STOP is there

Prints one line: operations, errors, milliseconds of the slowest one (execs not counted), and
says each error on stderr.
"""
import contextlib
import errno
import mmap
import os
import random
import subprocess
import sys
import time

PIECE = 100_000
BLOCK = 65536
DROP_EVERY = 40  # listings; what the kernel remembers for ever must be asked for again


class Load:
    def __init__(self, mount, big, count):
        self.mount = mount
        with open(big, "rb") as file:
            self.big = file.read()
        self.many = [f"{i:05}" for i in range(count)]
        self.file = os.open(f"{mount}/big", os.O_RDONLY)
        self.direct = os.open(f"{mount}/big", os.O_RDONLY | os.O_DIRECT)
        self.buffer = mmap.mmap(-1, BLOCK)
        self.kept = mmap.mmap(self.file, 0, prot=mmap.PROT_READ)
        self.folder = os.open(f"{mount}/many", os.O_RDONLY | os.O_DIRECTORY)
        os.chdir(f"{mount}/d")
        self.listings = 0

    def open_small(self):
        name = random.choice(self.many)
        with open(f"{self.mount}/many/{name}", "rb") as file:
            assert file.read() == name.encode()
        with open("small", "rb") as file:
            assert file.read() == b"hello\n"

    def pread(self):
        at = random.randrange(len(self.big))
        assert os.pread(self.file, PIECE, at) == self.big[at:at + PIECE]
        os.posix_fadvise(self.file, 0, 0, os.POSIX_FADV_DONTNEED)

    def read_direct(self):
        at = random.randrange(len(self.big) // BLOCK) * BLOCK
        assert os.preadv(self.direct, [self.buffer], at) == BLOCK
        assert self.buffer[:] == self.big[at:at + BLOCK]

    def stat(self):
        assert os.stat(f"{self.mount}/big").st_size == len(self.big)
        name = random.choice(self.many)
        assert os.stat(name, dir_fd=self.folder).st_size == len(name)
        with contextlib.suppress(FileNotFoundError):
            os.stat(f"{self.mount}/d/{random.getrandbits(64):x}")
            raise AssertionError("a name that nobody made")

    def list(self):
        assert sorted(os.listdir(self.mount)) == ["big", "d", "many", "true"]
        assert sorted(os.listdir(self.folder)) == self.many
        assert os.readlink("link") == "small"
        assert os.getxattr("small", "user.sluice") == b"value"
        self.listings += 1
        if self.listings % DROP_EVERY == 0 and os.geteuid() == 0:
            with open("/proc/sys/vm/drop_caches", "w") as file:
                file.write("2")

    def map(self):
        at = random.randrange(len(self.big) - PIECE)
        with mmap.mmap(self.file, 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[at:at + PIECE] == self.big[at:at + PIECE]
        assert self.kept[at:at + PIECE] == self.big[at:at + PIECE]

    def execute(self):
        assert subprocess.run([f"{self.mount}/true"], check=False).returncode == 0


def main():
    mount, big, count, stop = sys.argv[1:]
    load = Load(mount, big, int(count))
    kinds = [load.open_small, load.pread, load.read_direct, load.stat, load.list, load.map,
             load.execute]
    done, errors, worst = 0, 0, 0
    while not os.path.exists(stop):
        kind = random.choice(kinds)
        began = time.monotonic()
        try:
            kind()
        except (OSError, AssertionError) as e:
            errors += 1
            what = errno.errorcode.get(e.errno) if isinstance(e, OSError) else e
            print(f"{kind.__name__}: {what}", file=sys.stderr)
        if kind != load.execute:
            worst = max(worst, time.monotonic() - began)
        done += 1
    print(done, errors, round(worst * 1000))


if __name__ == "__main__":
    main()
