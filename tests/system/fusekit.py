# SPDX-License-Identifier: Apache-2.0
"""Mounts of the real holder and server over plain files (tests/unit/fuseserve.c)."""
import contextlib
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import erofskit as kit
from lib import run

BIG_BYTES = 4 << 20
MANY_FILES = 10_000
SERVING_SECONDS_MAX = 30
END_SECONDS_MAX = 20
# What "at once" may take on a busy machine; without a look for it, it never comes.
AT_ONCE_SECONDS = 1.0
SETTLE_SECONDS = 0.2
# A server that one of these ends is replaced, so nothing else would tell.
SANITIZERS = ("Sanitizer", "runtime error:")
LOAD = Path(__file__).with_name("fuse_load.py")

# Readers, to be run on the large file in processes of their own.
READ = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print("reads", flush=True)
os.pread(fd, 65536, 1 << 20)
"""
READ_DIRECT = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
buffer = mmap.mmap(-1, 65536)
print("reads", flush=True)
try:
    os.preadv(fd, [buffer], 2 << 20)
except OSError as e:
    sys.exit(e.errno)
"""
FAULT = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
mapped.madvise(getattr(mmap, sys.argv[2]))
print("reads", flush=True)
mapped[3 << 20]
"""
# Reads on while a timer's signal arrives again and again, as a Go program's threads do.
SIGNALLED = """
import ctypes, mmap, os, signal, sys
path, source, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
libc = ctypes.CDLL(None, use_errno=True)
libc.pread.restype = ctypes.c_ssize_t
signals = 0
def note(*_):
    global signals
    signals += 1
signal.signal(signal.SIGALRM, note)
signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
big = open(source, "rb").read()
fd = os.open(path, os.O_RDONLY)
direct = os.open(path, os.O_RDONLY | os.O_DIRECT)
buffer = mmap.mmap(-1, 4096)
address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
mapped.madvise(mmap.MADV_RANDOM)
print("reads", flush=True)
for at in range(0, 20 * 4096, 4096):
    assert mapped[at:at + 4096] == big[at:at + 4096]
    n = libc.pread(direct, ctypes.c_void_p(address), ctypes.c_size_t(4096), ctypes.c_long(at))
    assert n == 4096, os.strerror(ctypes.get_errno())
    assert buffer[:] == big[at:at + 4096]
signal.setitimer(signal.ITIMER_REAL, 0)
print(signals)
"""


def fuseserve_path():
    """The program, from the build that $SLUICE is of."""
    return kit.mktree_path().with_name("fuseserve")


class Image:
    """A tar and its metadata; of make_image(), also the bytes of its largest file, as a file."""

    def __init__(self, place):
        self.tar, self.metadata = place / "layer.tar", place / "tree.erofs"
        self.big_file = place / "big"
        self.big = random.Random(1).randbytes(BIG_BYTES)


def names_of_many():
    """The files of the folder `many`; each holds its name."""
    return [f"{i:05}" for i in range(MANY_FILES)]


def make_image(place):
    image = Image(place)
    image.big_file.write_bytes(image.big)
    layer = kit.Layer(image.tar)
    for name in ("d", "many"):
        layer.add(name, tarfile.DIRTYPE, mode=0o755)
    layer.add("big", tarfile.REGTYPE, image.big)
    layer.add("d/small", tarfile.REGTYPE, b"hello\n", xattrs={"user.sluice": b"value"})
    layer.add("d/link", tarfile.SYMTYPE, link="small", mode=0o777)
    layer.add("true", tarfile.REGTYPE, Path("/bin/true").read_bytes(), mode=0o755)
    for name in names_of_many():
        layer.add(f"many/{name}", tarfile.REGTYPE, name.encode())
    layer.close()
    kit.mktree("merge", image.metadata, image.tar)
    return image


def ends(process, seconds=END_SECONDS_MAX):
    out, said = process.communicate(timeout=seconds)
    return process.returncode, out.strip(), said.strip()


class Switch:
    """A file whose existence fuseserve looks at."""

    def __init__(self, path):
        self.path = path

    def on(self):
        self.path.touch()

    def off(self):
        self.path.unlink(missing_ok=True)


class Mount:
    """A holder, its servers, and the folder it mounts on; ends with its context."""

    def __init__(self, place, image, before=(), readers=(), program=None, load=LOAD):
        """before and readers: the words that a holder's and a reader's command begin with."""
        self.place, self.image, self.before, self.readers = place, image, before, readers
        self.program, self.load_program = program or fuseserve_path(), load
        self.path = place / "mnt"
        self.path.mkdir(parents=True, exist_ok=True)
        self.log = place / "log"
        self.fail, self.stall, self.crash = (
            Switch(place / n) for n in ("fail", "stall", "crash"))
        self.servers, self.holder, self.started = [], None, []
        self.stop = Switch(place / "stop")
        self.loads = []

    def command(self, options, *verb):
        switches = ["-f", self.fail.path, "-s", self.stall.path, "-x", self.crash.path]
        return [*self.before, self.program, *switches, *map(str, options), *verb,
                self.image.metadata, self.path, self.image.tar]

    def _listen(self, holder):
        for line in holder.stdout:
            self.servers.append(int(line.split()[1]))

    def start(self, *options, verb=("mount",), serving=True):
        """Starts a holder; serving: waits until the mount is there."""
        known = len(self.servers)
        with self.log.open("ab") as log:
            self.holder = subprocess.Popen(self.command(options, *verb), stdout=subprocess.PIPE,
                                           stderr=log, text=True)
        self.started.append(self.holder)
        threading.Thread(target=self._listen, args=(self.holder,), daemon=True).start()
        if serving:
            self.wait_serving(known + 1)
        return self

    def wait_serving(self, count):
        """Until as many servers have served in all; the pid of the last one."""
        deadline = time.monotonic() + SERVING_SECONDS_MAX
        while len(self.servers) < count:
            assert self.holder.poll() is None, f"the holder ended: {self.said()}"
            assert time.monotonic() < deadline, f"nobody serves: {self.said()}"
            time.sleep(0.0005)
        return self.servers[-1]

    def kill_server(self):
        """SIGKILL; returns the seconds until another one serves."""
        count, began = len(self.servers), time.monotonic()
        os.kill(self.servers[-1], signal.SIGKILL)
        self.wait_serving(count + 1)
        return time.monotonic() - began

    def upgrade(self):
        count = len(self.servers)
        self.holder.send_signal(signal.SIGHUP)
        self.wait_serving(count + 1)

    def adopt(self, *options):
        return self.start(*options, verb=("adopt", str(self.servers[-1])))

    def said(self):
        return self.log.read_text(errors="replace")[-2000:]

    def reader(self, program, *arguments):
        """A Python program that reads the large file; back once it says that it does."""
        process = subprocess.Popen([*self.readers, sys.executable, "-B", "-c", program,
                                    self.path / "big", *map(str, arguments)],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.loads.append(process)
        assert process.stdout.readline() == "reads\n"
        return process

    def load(self, workers):
        """Starts workers, each at work when this returns."""
        for _ in range(workers):
            self.loads.append(subprocess.Popen(
                [*self.readers, sys.executable, "-B", self.load_program, self.path,
                 self.image.big_file, str(MANY_FILES), self.stop.path],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        run.wait_until(lambda: all(os.readlink(f"/proc/{w.pid}/cwd") == f"{self.path}/d"
                                   for w in self.loads), SERVING_SECONDS_MAX, "the load")

    def end_load(self):
        """Ends the workers, none of which may have seen an error: (operations, worst in ms)."""
        self.stop.on()
        operations, worst = 0, 0
        for worker in self.loads:
            out, said = worker.communicate(timeout=END_SECONDS_MAX)
            assert worker.returncode == 0 and not said, f"{said[-2000:]}\n{self.said()}"
            done, errors, slowest = map(int, out.split())
            assert errors == 0 and done > 0
            operations, worst = operations + done, max(worst, slowest)
        self.loads = []
        return operations, worst

    def end(self):
        """SIGTERM, and what the holder ended with."""
        self.holder.send_signal(signal.SIGTERM)
        return self.holder.wait(END_SECONDS_MAX)

    def finish(self):
        """Ends everything, whatever state it is in."""
        for switch in (self.fail, self.stall, self.crash):
            switch.off()
        self.stop.on()
        for process in self.loads:
            process.kill()
            process.wait()
        for holder in self.started:
            if holder.poll() is None:
                holder.send_signal(signal.SIGTERM)
        for holder in self.started:
            try:
                holder.wait(END_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                holder.kill()
                holder.wait()
        if self.servers:
            # Only the last one can be there still, and only when its holder was killed.
            with contextlib.suppress(OSError):
                program = os.readlink(f"/proc/{self.servers[-1]}/exe")
                if program == str(self.program):
                    os.kill(self.servers[-1], signal.SIGKILL)
        for point in run.mounts_below(self.place):
            run.run("umount", "--lazy", point, check=False)
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        assert not any(words in said for words in SANITIZERS), said
