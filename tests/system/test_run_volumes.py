# SPDX-License-Identifier: Apache-2.0
"""Volumes: of an image, of a container, and with a name."""
import fcntl
import json
import os
import signal
import tarfile
import threading

import pytest

import runkit
from lib import run

DECLARED = {"Volumes": {"/data": {}, "/fresh/": {}}}


def furnished(t):
    t.directory("data", mode=0o2770, uid=1000, gid=2000)
    t.add("data/seed", data=b"seed\n", mode=0o640, uid=1000, gid=2000)
    t.directory("data/below", mode=0o700)
    t.add("data/below/link", tarfile.SYMTYPE, link="../seed")


@pytest.fixture(scope="session")
def declared(tmp_path_factory):
    """An image with two volumes, of which one has something in it."""
    return runkit.image(tmp_path_factory.mktemp("declared") / "layout", DECLARED, furnished)


def said(containers, image, line, *flags):
    return containers("sh", "-c", line, image=image, flags=flags).stdout


LOOK = "stat -c '%n %a %u %g' /data /data/seed /data/below; readlink /data/below/link"
SEEN = "/data 2770 1000 2000\n/data/seed 640 1000 2000\n/data/below 700 0 0\n../seed\n"


def test_image_volume(containers, declared):
    """It is no part of the root filesystem, begins with the image's content, and goes with the container."""
    assert said(containers, declared, LOOK) == SEEN
    assert said(containers, declared, "echo x >/data/new; echo y >/fresh/new; cat /data/new /fresh/new",
                "--read-only") == "x\ny\n"
    for place in ("/data", "/fresh"):
        assert said(containers, declared, f"grep -c ' {place} ' /proc/mounts") == "1\n"
    assert containers.remains() == []
    containers.run("--name", "kept", declared, "sh", "-c", "echo x >/data/new")
    (identity,) = containers.remains()
    held = containers.sluice.store / "containers" / identity / "volumes"
    assert (held / "0" / "new").read_text() == "x\n"
    containers.verb("rm", "kept")
    assert not held.exists()


def test_image_volume_kinds(containers, declared):
    assert said(containers, declared, "grep ' /data ' /proc/mounts; cat /data/seed",
                "--image-volume", "ignore") == "seed\n"
    held = said(containers, declared, f"grep -o ' /data tmpfs' /proc/mounts; {LOOK}",
                "--image-volume", "tmpfs").splitlines()
    assert held[0] == " /data tmpfs" and held[-1] == "../seed"
    assert said(containers, declared, LOOK, "--image-volume", "bind") == SEEN


def test_a_mount_wins(containers, declared, tmp_path):
    """What the command line puts at a volume's place, or above it, is what is there."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own").write_text("own\n")
    assert said(containers, declared, "ls /data", "-v", f"{tmp_path}/mine:/data") == "own\n"
    assert said(containers, declared, "ls /data", "--tmpfs", "/data") == ""
    assert said(containers, declared, "ls /data /data/sub", "-v", f"{tmp_path}/mine:/data/sub") == (
        "/data:\nbelow\nseed\nsub\n\n/data/sub:\nown\n")


def test_deeper_mounts_come_later(containers, tmp_path):
    """In whatever order they are asked for, as podman has it."""
    for name in ("outer", "inner"):
        (tmp_path / name).mkdir()
    (tmp_path / "outer" / "sub").mkdir()
    (tmp_path / "inner" / "file").write_text("inner\n")
    assert containers("cat", "/x/sub/file", flags=["-v", f"{tmp_path}/inner:/x/sub", "-v",
                                                  f"{tmp_path}/outer:/x"]).stdout == "inner\n"


def test_named(containers, declared):
    """It is made and filled once, shared, and outlives its containers."""
    assert said(containers, declared, LOOK, "-v", "vol:/data") == SEEN
    assert said(containers, declared, "echo more >>/data/seed; busybox rm -r /data/below",
                "-v", "vol:/data") == ""
    assert said(containers, declared, "ls /data; cat /data/seed", "--mount",
                "type=volume,source=vol,target=/data") == "seed\nseed\nmore\n"
    assert containers("ls", "/other", flags=["-v", "vol:/other:ro"]).stdout == "seed\n"
    refused = containers("touch", "/other/x", flags=["-v", "vol:/other:ro"], check=False)
    assert refused.returncode == 1 and "Read-only" in refused.stderr
    assert containers.verb("volume", "ls").stdout == "vol\n"
    (shown,) = json.loads(containers.verb("volume", "ls", "--format", "json").stdout)
    assert shown["name"] == "vol" and os.listdir(shown["path"]) == ["seed"]
    assert containers.verb("volume", "rm", "vol").stdout == "vol\n"
    assert containers.verb("volume", "ls").stdout == "" and not os.path.exists(shown["path"])


def test_nocopy_and_own(containers, declared):
    assert said(containers, declared, "ls /data", "-v", "vol:/data:nocopy") == ""
    assert said(containers, declared, LOOK, "-v", "/data") == SEEN
    assert containers("sh", "-c", "touch /new/x && ls /new", flags=["-v", "/new", "--read-only"]).stdout == "x\n"
    assert containers.remains() == []


def test_volume_verb(containers):
    assert containers.verb("volume", "create", "a", "b").stdout == "a\nb\n"
    assert containers.verb("volume", "create", "a").stdout == "a\n"
    assert containers.verb("volume", "ls").stdout == "a\nb\n"
    containers.run("--name", "user", "-v", "a:/a", containers.small, "true")
    containers.sluice.refuses("volume", "rm", "a", words=["volume a is used by container user"], status=125)
    containers.verb("rm", "user")
    containers.verb("volume", "rm", "a", "b")
    for name in ("a", "..", "x/y", ""):
        containers.sluice.refuses("volume", "rm", name, words=f"there is no volume {name}", status=125)
    containers.sluice.refuses("volume", "create", "a/b", words="'a/b' is no name for a volume", status=125)


def test_setuid_means_nothing_on_a_volume(containers, declared):
    line = "grep ' /data ' /proc/mounts"
    options = said(containers, declared, line, "-v", "vol:/data").split()[3].split(",")
    assert {"nosuid", "nodev", "rw"} <= set(options) and "noexec" not in options
    options = said(containers, declared, line, "-v", "vol:/data:suid,dev").split()[3].split(",")
    assert not {"nosuid", "nodev"} & set(options)


def test_a_copy_that_was_cut_off_begins_anew(containers, declared):
    containers.verb("volume", "create", "vol")
    place = containers.sluice.store / "volumes" / "vol"
    (place / "filling").touch()
    (place / "data" / "half").write_text("half")
    assert said(containers, declared, LOOK + "; ls /data", "-v", "vol:/data") == SEEN + "below\nseed\n"
    assert not (place / "filling").exists()


def test_what_was_cut_off_is_nobodys(containers, declared):
    """A container that wants no copy does not write beside a part of one: that would go with it."""
    containers.verb("volume", "create", "vol")
    place = containers.sluice.store / "volumes" / "vol"
    (place / "filling").touch()
    (place / "data" / "half").write_text("half")
    assert said(containers, declared, "ls /data; echo own >/data/own", "-v", "vol:/data:nocopy") == ""
    assert said(containers, declared, "ls /data", "-v", "vol:/data") == "own\n"


def test_half_removed(containers, declared, tmp_path):
    """A removal that fails leaves no part of the volume to whoever uses the name next."""
    said(containers, declared, "true", "-v", "vol:/data")
    every = containers.sluice.store / "volumes"
    (every / "vol" / "data" / "sub").mkdir()
    run.run("mount", "--bind", tmp_path, every / "vol" / "data" / "sub")
    try:
        containers.sluice.refuses("volume", "rm", "vol", words="busy", status=125)
        assert containers.verb("volume", "ls").stdout == ""
        assert said(containers, declared, LOOK, "-v", "vol:/data") == SEEN
    finally:
        run.run("umount", every / ".removed" / "data" / "sub", check=False)
        run.run("umount", every / "vol" / "data" / "sub", check=False)
    assert containers.verb("volume", "rm", "vol").stdout == "vol\n"
    assert os.listdir(every) == []


def test_waits_for_a_removal(containers, declared):
    """Not for ever: a signal ends it."""
    containers.verb("volume", "create", "vol")
    held = os.open(containers.sluice.store / "volumes", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = containers.start("-v", "vol:/data", declared, "true")
        run.wait_until(containers.remains, 30, "the container to be made")
        process.send_signal(signal.SIGTERM)
        stderr = process.communicate(timeout=30)[1]
    finally:
        os.close(held)
    assert process.returncode == 128 + signal.SIGTERM and "interrupted" in stderr
    assert containers.remains() == []


def test_filled_once(containers, declared):
    """By one of several that begin at the same time, and none sees a part of it."""
    ends = []
    threads = [threading.Thread(target=lambda: ends.append(said(containers, declared, LOOK, "-v", "vol:/data")))
               for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [SEEN] * 6


def test_a_long_copy_is_interrupted(containers, tmp_path):
    def many(t):
        t.directory("data")
        for i in range(20000):
            t.add(f"data/{i}", data=b"x")
    image = runkit.image(tmp_path / "many", change=many)
    containers.sluice("pull", image)
    process = containers.start("--rm", "-v", "vol:/data", image, "true")
    place = containers.sluice.store / "volumes" / "vol"
    run.wait_until(lambda: (place / "filling").exists(), 30, "the copy to begin")
    process.send_signal(signal.SIGTERM)
    stderr = process.communicate(timeout=30)[1]
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert len(stderr.splitlines()) == 1 and "interrupted" in stderr
    assert containers.remains() == [] and os.listdir(place) == ["data"] and os.listdir(place / "data") == []


@pytest.mark.parametrize("place", ["/proc", "/proc/x", "/sys", "/", "relative", "/a/../b"])
def test_images_that_are_against_us(any_runtime, tmp_path, place):
    image = runkit.image(tmp_path / "image", {"Volumes": {place: {}}})
    any_runtime.refuses("--rm", image, "true", status=125, part=f"the image wants a volume at '{place}'")


def test_a_symlink_leads_to_no_place_of_the_host(containers, tmp_path):
    """What a symlink means in the image is where the volume is, and what is copied."""
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "secret").write_text("secret")

    def change(t):
        t.add("out", tarfile.SYMTYPE, link=f"../../../../../..{tmp_path}/host")
    image = runkit.image(tmp_path / "image", {"Volumes": {"/out": {}}}, change)
    line = f"ls -A /out/; touch /out/x; ls {tmp_path}/host"
    assert said(containers, image, line) == "x\n"
    assert os.listdir(tmp_path / "host") == ["secret"]


def test_deep_trees_go_with_their_container(containers):
    line = "cd $0; i=0; while [ $i -lt 400 ]; do mkdir d; cd d; i=$((i+1)); done"
    containers("sh", "-c", line, "/v", flags=["-v", "/v"])
    containers("sh", "-c", line, "/var")
    assert containers.remains() == []
