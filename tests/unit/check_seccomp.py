#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What compiled seccomp filters say, against what their profiles say in their own words.

seccomptab (argv[1]) compiles a profile for a container and runs the result on every system
call that libseccomp knows, on every architecture of the filter. Here the profile's JSON is
read with as little cleverness as possible, and says what each verdict should be. The
profiles are those below, the default one, and the public ones: in SLUICE_SHARED_DATA, or in
../shared/data beside the tree, where they are there.
"""
import errno
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALLOW, KILL, ERRNO = 0x7fff0000, 0, 0x50000
ACTIONS = {"SCMP_ACT_ALLOW": ALLOW, "SCMP_ACT_KILL": KILL, "SCMP_ACT_KILL_THREAD": KILL,
           "SCMP_ACT_KILL_PROCESS": 0x80000000, "SCMP_ACT_TRAP": 0x30000,
           "SCMP_ACT_ERRNO": ERRNO, "SCMP_ACT_TRACE": 0x7ff00000, "SCMP_ACT_LOG": 0x7ffc0000}
# What "arches" calls the architectures that can be native; x86_64 is amd64 there.
NATIVES = {"SCMP_ARCH_X86_64": "amd64", "SCMP_ARCH_AARCH64": "arm64", "SCMP_ARCH_X86": "x86",
           "SCMP_ARCH_MIPS64": "mips64", "SCMP_ARCH_MIPS64N32": "mips64n32",
           "SCMP_ARCH_MIPSEL64": "mipsel64", "SCMP_ARCH_MIPSEL64N32": "mipsel64n32",
           "SCMP_ARCH_S390X": "s390x", "SCMP_ARCH_S390": "s390", "SCMP_ARCH_ARM": "arm",
           "SCMP_ARCH_PPC64LE": "ppc64le", "SCMP_ARCH_RISCV64": "riscv64",
           "SCMP_ARCH_MIPS": "mips", "SCMP_ARCH_MIPSEL": "mipsel"}
NARROW = ("X86", "X32", "ARM", "MIPS", "MIPSEL", "MIPS64N32", "MIPSEL64N32", "S390")
CAPS = """CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE
SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE""".split()
DEFAULT_CAPS = """CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP
NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE""".split()

EQ, NE, LT, LE, GE, GT, MASKED = ("SCMP_CMP_" + op for op in
                                  ("EQ", "NE", "LT", "LE", "GE", "GT", "MASKED_EQ"))
LAST = 2**64 - 1
ZEROS = (0,) * 6


def arg(index, op, value, two=0):
    return {"index": index, "value": value, "valueTwo": two, "op": op}


def rule(names, action="SCMP_ACT_ALLOW", **more):
    return {"names": names.split(), "action": action, **more}


# Every comparison, alone and with others, at the edges of 32 and 64 bits; every action.
EDGES = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 7, "syscalls": [
    rule("read", args=[arg(0, EQ, 2**32)]), rule("write", args=[arg(1, NE, 2**32 - 1)]),
    rule("pread64", args=[arg(2, LT, 2**32)]), rule("pwrite64", args=[arg(3, LE, 2**32)]),
    rule("preadv", args=[arg(4, GE, 2**32)]), rule("pwritev", args=[arg(5, GT, 2**32)]),
    rule("ioctl", args=[arg(1, MASKED, 0xff000000ff, 0x1200000034)]),
    rule("mmap", args=[arg(0, EQ, 5), arg(2, NE, 6), arg(5, GT, 7)]),
    rule("fcntl", "SCMP_ACT_TRAP", args=[arg(1, LE, 3), arg(2, GE, LAST)]),
    rule("lseek", "SCMP_ACT_ERRNO", errnoRet=22, args=[arg(0, EQ, 1)]),
    rule("lseek", args=[arg(0, EQ, 2)]), rule("lseek", args=[arg(0, GT, 2**63)]),
    rule("dup3", args=[arg(0, EQ, 1), arg(0, EQ, 2), arg(1, EQ, 3)]),
    rule("kill", "SCMP_ACT_KILL"), rule("tkill", "SCMP_ACT_KILL_PROCESS"),
    rule("tgkill", "SCMP_ACT_TRACE", errnoRet=300), rule("umask", "SCMP_ACT_LOG"),
    rule("getpid", "SCMP_ACT_ERRNO", errno="EIO"), rule("gettid", "SCMP_ACT_ERRNO", errnoRet=7)]}
# Which of several rules counts; who is selected.
ORDER = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
    rule("read", "SCMP_ACT_ERRNO", errnoRet=1), rule("read", "SCMP_ACT_ERRNO", errnoRet=2),
    rule("write", "SCMP_ACT_ERRNO", errnoRet=3, args=[arg(0, EQ, 9)]),
    rule("write", "SCMP_ACT_ERRNO", errnoRet=4),
    rule("open", "SCMP_ACT_ERRNO", errnoRet=5), rule("open", "SCMP_ACT_KILL", args=[arg(0, EQ, 9)]),
    rule("close"), rule("close", "SCMP_ACT_ERRNO", args=[arg(0, LT, 3)]),
    rule("mount", "SCMP_ACT_ERRNO", includes={"caps": ["CAP_SYS_ADMIN", "CAP_CHOWN"]}),
    rule("umount2", "SCMP_ACT_ERRNO", excludes={"caps": ["CAP_SYS_ADMIN", "CAP_CHOWN"]}),
    rule("ptrace", "SCMP_ACT_ERRNO", includes={"minKernel": "4.8"}),
    rule("reboot", "SCMP_ACT_ERRNO", excludes={"minKernel": "4.8"}),
    rule("fork", "SCMP_ACT_ERRNO", includes={"arches": ["amd64", "arm64"]}),
    rule("vfork", "SCMP_ACT_ERRNO", excludes={"arches": ["amd64", "arm64"]})]}


def number(text):
    return int(text) if text.isdigit() else getattr(errno, text)


def action_of(words, value, name):
    verdict = ACTIONS[words]
    if verdict in (ERRNO, ACTIONS["SCMP_ACT_TRACE"]):
        verdict |= number(name) if name else errno.EPERM if value is None else value
    return verdict


def applies(one, native, caps, kernel):
    ins, out = one.get("includes") or {}, one.get("excludes") or {}
    def reached(version):
        return kernel >= tuple(int(part) for part in version.split("."))
    if set(out.get("caps") or ()) & caps or native in (out.get("arches") or ()):
        return False
    if out.get("minKernel") and reached(out["minKernel"]):
        return False
    if ins.get("arches") and native not in ins["arches"]:
        return False
    if ins.get("minKernel") and not reached(ins["minKernel"]):
        return False
    return set(ins.get("caps") or ()) <= caps


def holds(condition, args):
    got, want = args[condition["index"]], condition["value"]
    return {EQ: got == want, NE: got != want, LT: got < want, LE: got <= want, GE: got >= want,
            GT: got > want, MASKED: got & want == condition.get("valueTwo", 0)}[condition["op"]]


def matches(one, args):
    conditions = one.get("args") or []
    indexes = [condition["index"] for condition in conditions]
    how = any if len(set(indexes)) < len(indexes) else all
    return how(holds(condition, args) for condition in conditions)


class Words:
    """A profile, for one container."""

    def __init__(self, profile, native, caps, kernel):
        self.default = action_of(profile["defaultAction"], profile.get("defaultErrnoRet"),
                                 profile.get("defaultErrno"))
        self.arches = [native]
        for entry in profile.get("archMap") or []:
            if entry["architecture"] == native:
                self.arches += entry["subArchitectures"] or []
        self.arches += [a for a in profile.get("architectures") or [] if a != native]
        self.rules = {}
        for one in profile["syscalls"]:
            verdict = action_of(one["action"], one.get("errnoRet"), one.get("errno"))
            if verdict == self.default or not applies(one, NATIVES[native], caps, kernel):
                continue
            for name in one.get("names") or [one["name"]]:
                self.rules.setdefault(name, []).append((one, verdict))

    def verdict(self, name, args):
        rules = self.rules.get(name, [])
        for one, verdict in rules:
            if not one.get("args"):
                return verdict
        found = {verdict for one, verdict in rules if matches(one, args)}
        if len(found) > 1:
            raise ValueError(f"{name}{args}: the profile contradicts itself")
        return found.pop() if found else self.default


def edge_values(conditions):
    values = {0, 1, 2**32 - 1, 2**32, 2**63, LAST}
    for condition in conditions:
        value, two = condition["value"], condition.get("valueTwo", 0)
        values |= {(value + step) & LAST for step in (-1, 0, 1)}
        if condition["op"] == MASKED:
            values |= {two, two | (~value & LAST), two ^ (value & -value), ~two & LAST}
    return sorted(values)


def argument_sets(profile):
    """name: the sets of arguments at which one of its rules could change its mind."""
    conditions = {}
    for one in profile["syscalls"]:
        for name in one.get("names") or [one["name"]]:
            conditions.setdefault(name, []).extend(one.get("args") or [])
    sets = {}
    for name, found in conditions.items():
        indexes = sorted({condition["index"] for condition in found})
        choices = [edge_values([c for c in found if c["index"] == i]) for i in indexes]
        for picked in itertools.product(*choices) if indexes else ():
            args = [0] * 6
            for index, value in zip(indexes, picked):
                args[index] = value
            sets.setdefault(name, []).append(tuple(args))
    return sets


def cap_sets(profile, native):
    named = sorted({cap for one in profile["syscalls"] for key in ("includes", "excludes")
                    for cap in (one.get(key) or {}).get("caps") or ()})
    every = {"CAP_" + cap for cap in CAPS}
    yield set()
    yield every
    yield {"CAP_" + cap for cap in DEFAULT_CAPS}
    for cap in named:
        yield {cap}
        if native == "SCMP_ARCH_X86_64":
            yield every - {cap}


def natives(profile):
    return [entry["architecture"] for entry in profile.get("archMap") or []
            if entry["architecture"] in NATIVES] or ["SCMP_ARCH_X86_64"]


class Table:
    """A seccomptab at work."""

    def __init__(self, program, profile):
        self.process = subprocess.Popen([program, profile], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(timeout=10) == 0

    def tell(self, line):
        self.process.stdin.write(line + "\n")

    def ask(self, line):
        self.tell(line)
        self.process.stdin.flush()
        lines = []
        while True:
            got = self.process.stdout.readline().rstrip("\n")
            if got == "end":
                return lines
            if not got or got.startswith("error "):
                raise RuntimeError(f"{line}: {got or 'it ended'}")
            lines.append(got)

    def verdicts(self, native, caps, kernel):
        """(architecture, name, [verdict])…; the name is "-" for numbers without one."""
        mask = sum(1 << CAPS.index(cap[len("CAP_"):]) for cap in caps)
        arch = None
        for line in self.ask(f"target {native} {mask:x} {kernel[0]}.{kernel[1]}"):
            name, *rest = line.split()
            if name == "arch":
                arch = rest[0]
                yield arch, None, []
            else:
                yield arch, name, [int(verdict, 16) for verdict in rest]


def targets(profile):
    for native in natives(profile):
        for caps in cap_sets(profile, native):
            yield native, caps, (6, 1)
        yield native, set(), (4, 7)


def is_possible(arch, args):
    """The kernel hands 32-bit arguments on as they are, and 64-bit ones of 32-bit programs never."""
    return arch[len("SCMP_ARCH_"):] not in NARROW or all(value < 2**32 for value in args)


def told(caps):
    """Capabilities, in few words."""
    lacks = {"CAP_" + cap for cap in CAPS} - caps
    return " ".join(sorted(caps) if len(lacks) > 20 else ["all but"] + sorted(lacks))


def compare(program, place, profile):
    """The number of verdicts compared, and sentences about those that differ."""
    sets = argument_sets(profile)
    compared, wrong = 0, []
    with Table(program, place) as table:
        for name, found in sets.items():
            for args in found:
                table.tell(f"args {name} " + " ".join(map(str, args)))
        for native, caps, kernel in targets(profile):
            words = Words(profile, native, caps, kernel)
            arches = []
            for arch, name, verdicts in table.verdicts(native, caps, kernel):
                if name is None:
                    arches.append(arch)
                for args, got in zip([ZEROS] + sets.get(name, []), verdicts):
                    if args is not ZEROS and not is_possible(arch, args):
                        continue
                    compared += 1
                    want = words.verdict(name, args)
                    if got != want and len(wrong) < 20:
                        wrong.append(f"{native} {told(caps)} {kernel}: {arch} {name}{args} "
                                     f"gives {got:x}, not {want:x}")
            if arches != words.arches:
                wrong.append(f"{native}: architectures {arches}, not {words.arches}")
    return compared, wrong


def is_within(profile, other):
    """Sentences about what the first allows and the second does not."""
    sets = argument_sets(profile)
    for name, found in argument_sets(other).items():
        sets.setdefault(name, []).extend(found)
    names = {name for one in profile["syscalls"] for name in one["names"]} | set(sets)
    wrong = []
    for native in natives(other):
        for caps in [*cap_sets(other, native), *cap_sets(profile, native)]:
            for kernel in ((6, 1), (4, 7)):
                mine = Words(profile, native, caps, kernel)
                its = Words(other, native, caps, kernel)
                if not set(mine.arches) <= set(its.arches):
                    wrong.append(f"{native}: it covers {mine.arches}")
                wrong += [f"{native} {told(caps)} {kernel}: {name}{args}" for name in names
                          for args in [ZEROS] + sets.get(name, [])
                          if mine.verdict(name, args) == ALLOW != its.verdict(name, args)]
    return wrong


def report(number_, title, wrong):
    print(f"{'not ok' if wrong else 'ok'} {number_} - {title}")
    for sentence in wrong[:20]:
        print(f"# {sentence}")
    return bool(wrong)


def own_profiles(program, folder):
    for title, profile in (("edges", EDGES), ("order", ORDER)):
        place = Path(folder) / title
        place.write_text(json.dumps(profile))
        yield title, str(place), profile
    with Table(program, "default") as table:
        yield "default", "default", json.loads("\n".join(table.ask("text")))


def main():
    program = sys.argv[1]
    shared = Path(os.environ.get("SLUICE_SHARED_DATA", ROOT.parent / "shared" / "data")) / "seccomp"
    failed, count = 0, 0
    public = sorted(shared.glob("*.json"))
    default = None
    with tempfile.TemporaryDirectory(prefix="sluice-seccomp-") as folder:
        profiles = list(own_profiles(program, folder))
        profiles += [(p.stem, str(p), json.loads(p.read_text())) for p in public]
        for title, place, profile in profiles:
            count += 1
            compared, wrong = compare(program, place, profile)
            if compared < 1000:
                wrong.append(f"only {compared} verdicts were compared")
            failed += report(count, f"{title}: the filter keeps to its words, {compared} times",
                             wrong)
            default = profile if title == "default" else default
            if title.startswith("moby"):
                count += 1
                failed += report(count, f"default: as strict as {title}", is_within(default, profile))
    if not public:
        count += 1
        print(f"ok {count} - public profiles # SKIP they are not in {shared}")
    print(f"1..{count}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
