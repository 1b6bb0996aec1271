# SPDX-License-Identifier: Apache-2.0
"""Containers of an ordinary user.

Each test has a mount namespace of its own, where /dev/fuse is everybody's, as udev makes it, where
/etc/subuid says what the test wants, and where the user reaches the program and the test's folder.
"""
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from conftest import PROGRAM, sentence
from lib import run
import runkit

NOBODY = pwd.getpwnam("nobody")
FIRST_SUBID = 100_000
SUBIDS = 65_536
ROOM = Path("/mnt")
THEIRS = ROOM / "place/nobody"
GONE_SECONDS_MAX = 15

# Stays, and keeps the namespace; says so when it is furnished.
FURNISH = """
set -e
mount -t tmpfs -o mode=755 none /mnt
mkdir /mnt/program /mnt/place /mnt/image
mount --bind "$1" /mnt/program
mount --bind "$2" /mnt/place
mount --bind "$3" /mnt/image
mknod /mnt/fuse c 10 229
chmod 666 /mnt/fuse
mount --bind /mnt/fuse /dev/fuse
for file in subuid subgid; do
	printf "$4" > /mnt/$file
	mount --bind /mnt/$file /etc/$file
done
echo ready
exec sleep infinity
"""

# Runs a command where root may make no user namespace; the limit is that namespace's alone.
LIMIT = """
import ctypes, os, sys
hear, say = os.pipe()
target = os.getpid()
if os.fork() == 0:
    os.read(hear, 1)
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{target}/{name}", "w") as file:
            file.write("0 0 65536")
    os._exit(0)
if ctypes.CDLL(None).unshare(0x10000000) != 0:
    sys.exit("no user namespace")
os.write(say, b"x")
os.wait()
with open("/proc/sys/user/max_user_namespaces", "w") as file:
    file.write("0")
os.execvp(sys.argv[1], sys.argv[1:])
"""


def why_not():
    program = shutil.which("newuidmap")
    if program is None:
        return "newuidmap is not installed (uidmap)"
    if not os.stat(program).st_mode & stat.S_ISUID:
        return "newuidmap is not setuid"
    if Path("/proc/sys/user/max_user_namespaces").read_text().strip() == "0":
        return "this machine has no user namespaces"
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    return None


pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


class User:
    """An ordinary user with a home, and `sluice` as that user calls it."""

    image = f"oci:{ROOM}/image:latest"

    def __init__(self, sluice, image, runtime, subids):
        self.runtime, self.outside = runtime, sluice.place / "nobody"
        for path in (self.outside, self.outside / "run", self.outside / "volume"):
            path.mkdir(mode=0o700)
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        sluice.place.chmod(0o755)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("XDG_")}
        self.environment |= {"HOME": str(THEIRS), "XDG_RUNTIME_DIR": str(THEIRS / "run")}
        self.environment.pop("SLUICE_STORE", None)
        self.store = self.outside / ".local/share/sluice"
        place = image.removeprefix("oci:").removesuffix(":latest")
        self.keeper = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", FURNISH, "sh", PROGRAM.parent, sluice.place, place,
             subids], stdout=subprocess.PIPE, text=True)
        assert self.keeper.stdout.readline() == "ready\n"

    def command(self, *words, before=()):
        return ["nsenter", f"--mount=/proc/{self.keeper.pid}/ns/mnt", f"--wdns={THEIRS}", *before,
                "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--",
                *map(str, words)]

    def __call__(self, verb, *words, check=True, before=()):
        return run.run(*self.command(ROOM / "program" / PROGRAM.name, verb, *words, before=before),
                       check=check, env=self.environment, stdin=subprocess.DEVNULL)

    def run(self, *words, check=True, **options):
        return self("run", "--runtime", self.runtime, *words, check=check, **options)

    def once(self, *words, flags=(), check=True):
        return self.run("--rm", *flags, self.image, *words, check=check)

    def refuses(self, *words, part, **options):
        result = self.run(*words, check=False, **options)
        said = sentence(result.stderr)
        assert result.returncode == 125, f"ended with {result.returncode}: {said}"
        assert part in said, f"'{said}' lacks '{part}'"
        return said

    def list(self):
        return json.loads(self("ps", "-a", "--format", "json").stdout)

    def remains(self):
        places = [self.store / "containers", self.outside / "run/sluice"]
        return [str(p) for place in places if place.exists() for p in place.iterdir()]

    def wait_clean(self):
        """The holder of an image's mount ends by itself when that is gone."""
        try:
            run.wait_until(lambda: not self.remains(), GONE_SECONDS_MAX, "what was made to go")
        except AssertionError:
            pytest.fail(f"left behind: {self.remains()}")

    def finish(self):
        try:
            for container in self.list():
                self("rm", "-f", container["id"], check=False)
            self.wait_clean()
        finally:
            self.keeper.kill()
            self.keeper.wait()
            self.keeper.stdout.close()


def user_with(sluice, image, runtime, subids):
    if shutil.which(runtime) is None:
        pytest.skip(f"{runtime} is not installed")
    theirs = User(sluice, image, runtime, subids)
    yield theirs
    theirs.finish()


@pytest.fixture(params=runkit.RUNTIMES)
def user(request, sluice, small_image):
    """One whom root gave ids."""
    yield from user_with(sluice, small_image, request.param,
                         f"nobody:{FIRST_SUBID}:{SUBIDS}\\n")


@pytest.fixture(params=runkit.RUNTIMES)
def poor(request, sluice, small_image):
    """One with the own id alone."""
    yield from user_with(sluice, small_image, request.param, "")


def test_output_and_exit_status(user):
    said = user.once("sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (said.stdout, said.stderr, said.returncode) == ("out\n", "err\n", 7)
    assert user.once("nonesuch", check=False).returncode == 127
    assert user.once("/etc/notes", check=False).returncode == 126
    assert user.once("sh", "-c", "kill -9 $$; exit $?", check=False).returncode in (0, 137)


def test_ids(user):
    said = user.once("sh", "-c", "id -u; id -g; cat /proc/self/uid_map").stdout.split()
    assert said[:2] == ["0", "0"]
    assert said[2:] == ["0", str(NOBODY.pw_uid), "1", "1", str(FIRST_SUBID), str(SUBIDS)]
    assert user.once("id", flags=["-u", "ana"]).stdout.startswith("uid=1000(ana) gid=1000(ana)")
    said = user.once("sh", "-c", "stat -c %u /home/ana; touch /home/ana/x; stat -c %u /home/ana/x",
                     flags=["-u", "ana"])
    assert said.stdout.split() == ["1000", "1000"]


def test_owners_in_a_volume(user):
    user.once("sh", "-c", "touch /v/root && chmod 777 /v", flags=["-v", "./volume:/v"])
    user.once("touch", "/v/ana", flags=["-v", "./volume:/v", "-u", "ana"])
    owners = {p.name: p.stat().st_uid for p in (user.outside / "volume").iterdir()}
    assert owners == {"root": NOBODY.pw_uid, "ana": FIRST_SUBID + 1000 - 1}


def test_a_container_in_the_background(user):
    identity = user.run("-d", "-u", "ana", user.image, "sh", "-c",
                        "echo hello; touch /home/ana/x; exec sleep 100").stdout.strip()
    run.wait_until(lambda: user("logs", identity).stdout == "hello\n", GONE_SECONDS_MAX, "the log")
    assert user("exec", identity, "id", "-u").stdout == "1000\n"
    assert user("exec", "-u", "0", identity, "stat", "-c", "%u", "/home/ana/x").stdout == "1000\n"
    assert user("exec", identity, "sh", "-c", "exit 9", check=False).returncode == 9
    assert user("exec", identity, "nonesuch", check=False).returncode == 127
    assert [c["status"] for c in user.list()] == ["running"]
    user("stop", "-t", "0", identity)
    assert [c["status"] for c in user.list()] == ["exited"]
    # What another id of the user's wrote is removed, too.
    user("rm", identity)
    user.wait_clean()


def test_kill_and_wait(user):
    identities = [user.run("-d", user.image, "sleep", "100").stdout.strip() for _ in range(2)]
    user("kill", identities[0])
    assert user("wait", identities[0]).stdout.strip() == "137"
    user("rm", "-f", *identities)
    user.wait_clean()


def test_a_monitor_that_is_killed(user):
    """Its mounts are in namespaces that rm has to find."""
    identities = [user.run("-d", "-u", "ana", user.image, "sleep", "100").stdout.strip()
                  for _ in range(2)]
    for identity in identities:
        state = json.loads((user.store / "containers" / identity / "state.json").read_text())
        os.kill(state["monitor"], signal.SIGKILL)
    run.wait_until(lambda: {c["status"] for c in user.list()} == {"dead"}, GONE_SECONDS_MAX,
                   "containers to be dead")
    user("rm", "-f", *identities)
    user.wait_clean()


def test_networks(user):
    assert user.once("ls", "/sys/class/net").stdout.split() == ["lo"]
    host = user.once("ls", "/sys/class/net", flags=["--network", "host"]).stdout.split()
    assert sorted(host) == sorted(os.listdir("/sys/class/net"))
    said = user.once("touch", "/sys/x", flags=["--network", "host"], check=False)
    assert said.returncode == 1 and "Read-only" in said.stderr


def test_namespaces_of_the_host(user):
    said = user.once("readlink", "/proc/self/ns/pid",
                     flags=["--pid", "host", "--ipc", "host", "--uts", "host"]).stdout
    assert said.strip() == os.readlink("/proc/self/ns/pid")


def test_namespaces_of_another_container(user):
    user.run("-d", "--name", "first", user.image, "sleep", "100")
    said = [user("exec", "first", "readlink", f"/proc/self/ns/{kind}").stdout for kind in ("net", "pid")]
    flags = ["--network", "container:first", "--pid", "container:first"]
    assert [user.once("readlink", f"/proc/self/ns/{kind}", flags=flags).stdout
            for kind in ("net", "pid")] == said
    assert "sleep 100" in user.once("ps", flags=flags).stdout
    assert user.once("ls", "/sys/class/net", flags=flags).stdout == "lo\n"


def test_a_device_that_is_closed(user):
    run.run("nsenter", f"--mount=/proc/{user.keeper.pid}/ns/mnt", "chmod", "600", "/dev/fuse")
    said = user.refuses("--rm", user.image, "true", part="/dev/fuse: you may not use it")
    assert len(said.splitlines()) == 1


def test_what_is_lacking_is_said(user):
    said = user.once("echo", "ran", flags=["-m", "100m", "--cpus", "0.5"])
    assert said.stdout == "ran\n"
    assert "--memory has no effect" in said.stderr and "--cpus has no effect" in said.stderr
    assert len(said.stderr.splitlines()) == 2
    user.refuses("--rm", "-u", str(SUBIDS + 1), user.image, "true", part="/etc/subuid")
    user.refuses("--rm", "-u", f"0:{SUBIDS + 1}", user.image, "true", part="/etc/subgid")
    assert user.once("id", "-u", flags=["-u", str(SUBIDS)]).stdout.strip() == str(SUBIDS)


def test_a_user_with_one_id(poor):
    said = poor.once("sh", "-c", "id -u; cat /proc/self/uid_map")
    assert said.stdout.split() == ["0", "0", str(NOBODY.pw_uid), "1"]
    assert "/etc/subuid gives nobody no ids" in said.stderr
    assert len(said.stderr.splitlines()) == 1
    poor.refuses("--rm", "-u", "ana", poor.image, "true", part="user 1000")
    identity = poor.run("-d", poor.image, "sleep", "100").stdout.strip()
    assert poor("exec", "-u", "0", identity, "id", "-u").stdout == "0\n"
    poor("rm", "-f", identity)


def test_without_user_namespaces(poor):
    said = poor.refuses("--rm", poor.image, "true", before=["python3", "-c", LIMIT],
                        part="user.max_user_namespaces is 0")
    assert len(said.splitlines()) == 1
    poor.wait_clean()
