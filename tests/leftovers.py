#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a run left behind.

    leftovers.py before STATE             notes the machine's state in the file STATE
    leftovers.py after STATE MARK DIR     prints what is there now and was not before

After the run, a process counts as left over when its environment holds SLUICE_CHECK=MARK
or when it runs a program from below the source tree; a mount counts when it is new and has
to do with DIR, the run's own temporary directory, or with the source tree; a cgroup, a named
network namespace or a temporary file elsewhere counts when it is new and carries our name;
and everything in DIR counts. Other work on the machine does not.
Exit status 1 when anything is left.
"""
import json
import os
import sys
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
NAME = "sluice"
PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/run/netns")


def mounts():
    """Mount id, mount point and type of every mount in this namespace."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        found.append(f"{fields[0]} {fields[4]} {' '.join(right.split()[:2])}")
    return found


def cgroups():
    found = []
    for place, directories, _ in os.walk("/sys/fs/cgroup"):
        found += [os.path.join(place, d) for d in directories if NAME in d]
    return found


def is_own_place(path):
    """The directory where the program keeps what lives: it stays, and is empty when nothing lives."""
    return path == f"/run/{NAME}" and os.path.isdir(path) and not os.listdir(path)


def named_files():
    found = []
    for place in PLACES:
        if os.path.isdir(place):
            found += [os.path.join(place, n) for n in os.listdir(place)
                      if NAME in n or place == "/run/netns"]
    return [path for path in found if not is_own_place(path)]


def state():
    return {"mounts": mounts(), "cgroups": cgroups(), "files": named_files()}


def is_ours(pid, mark):
    """Whether the process was started by the run; a process that ends meanwhile is not."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        program = os.readlink(f"/proc/{pid}/exe")
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()
    except OSError:
        return False
    if status[0] in "ZX":
        return False
    built = program.startswith(f"{TREE}/build") and "/tools/" in program
    return built or f"SLUICE_CHECK={mark}".encode() in environment


def ancestors():
    """This process and those that wait for it."""
    found, pid = set(), os.getpid()
    while pid > 0:
        found.add(pid)
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace").rsplit(")", 1)[1].split()
        pid = int(stat[1])
    return found


def processes(mark):
    mine = ancestors()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) not in mine and is_ours(pid, mark):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            yield f"{pid} {command.decode(errors='replace').strip()}"


def left_over(before, mark, directory):
    now = state()
    known = {kind: set(entries) for kind, entries in before.items()}
    left = [f"process {p}" for p in processes(mark)]
    left += [f"mount {m}" for m in now["mounts"] if m not in known["mounts"]
             and (directory in m or str(TREE) in m)]
    left += [f"cgroup {c}" for c in now["cgroups"] if c not in known["cgroups"]]
    left += [f"file {f}" for f in now["files"] if f not in known["files"] and f != directory]
    left += [f"file {os.path.join(directory, f)}" for f in sorted(os.listdir(directory))]
    return left


def main():
    if sys.argv[1] == "before":
        Path(sys.argv[2]).write_text(json.dumps(state()))
        return 0
    _, _, noted, mark, directory = sys.argv
    left = left_over(json.loads(Path(noted).read_text()), mark, directory)
    for what in left:
        print(f"left behind: {what}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
