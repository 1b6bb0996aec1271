# SPDX-License-Identifier: Apache-2.0
"""Containers of an ordinary user.

Each test runs in a mount namespace of its own, where /dev/fuse may be everybody's and /etc/subuid
may say what the test wants, and where all that it needs is in a tmpfs on /mnt.
"""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import conftest
import runkit
from lib import run

USER = 65534
ROOM = Path("/mnt")
SECONDS_MAX = 90


def why_not():
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    if shutil.which("runc") is None:
        return "runc is not installed"
    try:
        if int(Path("/proc/sys/user/max_user_namespaces").read_text()) == 0:
            return "this kernel makes no user namespaces"
    except OSError:
        return "this kernel has no user namespaces"
    return None


pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@pytest.fixture(params=["one id", "a range of ids"])
def as_user(request, tmp_path, nothing_left, small_image):
    """Runs a shell script as a user with the program ($S) and an image ($I)."""
    if request.param != "one id" and shutil.which("newuidmap") is None:
        pytest.skip("newuidmap is not installed")
    layout = small_image.split(":")[1]
    ids = "" if request.param == "one id" else f"{USER}:100000:65536\n"
    (tmp_path / "subid").write_text(ids)
    (tmp_path / "room.sh").write_text(f"""
        set -e
        mount -t tmpfs -o mode=755 none {ROOM}
        mknod {ROOM}/fuse c 10 229
        chmod 666 {ROOM}/fuse
        mount --bind {ROOM}/fuse /dev/fuse
        touch /etc/subuid /etc/subgid
        mount --bind {tmp_path}/subid /etc/subuid
        mount --bind {tmp_path}/subid /etc/subgid
        cp {conftest.PROGRAM} {ROOM}/sluice
        cp -r {layout} {ROOM}/image
        cp {tmp_path}/script {ROOM}/script
        chmod -R a+rX {ROOM}/image {ROOM}/script
        mkdir -m 700 {ROOM}/home {ROOM}/home/run
        chown -R {USER}:{USER} {ROOM}/home
        cd {ROOM}
        exec setpriv --reuid={USER} --regid={USER} --clear-groups -- env -u SLUICE_STORE \
            HOME={ROOM}/home XDG_RUNTIME_DIR={ROOM}/home/run S={ROOM}/sluice I=oci:{ROOM}/image:latest \
            sh {ROOM}/script
        """)

    def call(script, check=True):
        (tmp_path / "script").write_text(script)
        return run.run("unshare", "--mount", "--propagation", "private", "sh", tmp_path / "room.sh",
                       check=check, timeout=SECONDS_MAX, stdin=subprocess.DEVNULL)
    call.ids = 1 if request.param == "one id" else 65537
    return call


def test_a_user_runs_a_container(as_user):
    said = as_user("$S run --rm $I sh -c 'id -u; echo here >/new; cat /new; cat /etc/notes; exit 6' || echo $?; "
                   "$S run --rm $I nonesuch; echo $?; ls ~/.local/share/sluice/containers")
    assert said.stdout == "0\nhere\nnot a program\n6\n127\n"


def test_what_is_confined(as_user):
    said = as_user("$S run --rm $I cat /proc/self/status /proc/self/uid_map")
    status = dict(line.split(":\t", 1) for line in said.stdout.splitlines() if ":\t" in line)
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == 0xa80425fb
    count = sum(int(line.split()[2]) for line in said.stdout.splitlines() if ":" not in line)
    assert count == as_user.ids


def test_other_ids(as_user):
    said = as_user("$S run --rm -u ana $I id -u", check=False)
    if as_user.ids == 1:
        assert said.returncode == 125 and said.stdout == ""
    else:
        assert said.stdout == "1000\n"


def test_life(as_user):
    said = as_user("""
        $S run -d --name web $I sh -c 'echo started; sleep 100' >/dev/null
        while ! $S logs web | grep -q started; do sleep 0.05; done
        $S exec web id -u
        $S ps --quiet | wc -l
        $S stop -t 0 web
        $S wait web
        $S logs web
        $S rm web
        $S ps -a -q | wc -l
        """)
    assert said.stdout == "0\n1\nweb\n137\nstarted\nweb\n0\n"


def test_monitor_is_killed(as_user):
    said = as_user("""
        $S run -d --name x $I sleep 100 >/dev/null
        kill -9 $($S inspect x | sed -n 's/.*"monitor": \\([0-9]*\\).*/\\1/p')
        while ! $S ps -a | grep -q dead; do sleep 0.05; done
        $S gc >/dev/null
        ls ~/.local/share/sluice/containers
        while [ -n "$(ls $XDG_RUNTIME_DIR/sluice)" ]; do sleep 0.05; done
        """)
    assert said.stdout == ""


def test_what_is_missing_is_said(as_user):
    said = as_user("$S run --rm -m 64m --network host $I echo fine")
    assert said.stdout == "fine\n" and "--memory has no effect" in said.stderr
