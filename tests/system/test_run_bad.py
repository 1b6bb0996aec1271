# SPDX-License-Identifier: Apache-2.0
"""What `sluice run` cannot do: one sentence each, podman's exit status, and nothing left."""
import json
import os
import stat

import pytest

import runkit
from lib import run

# The value of a flag, and words of the sentence. What has no status is 125.
BAD_FLAGS = [
    (["--name", ""], "--name does not take ''"),
    (["--name", "-x"], "--name does not take '-x'"),
    (["--name", "a/b"], "--name does not take 'a/b'"),
    (["--name", "../../x"], "--name does not take '../../x'"),
    (["--detach-keys", "ctrl-1"], "--detach-keys does not take 'ctrl-1'"),
    (["--pull", "perhaps"], "--pull does not take 'perhaps'"),
    (["--runtime", ""], "its name is empty"),
    (["--runtime", "nonesuch"], "nonesuch: it is not in PATH"),
    (["--runtime", "/nonesuch/crun"], "/nonesuch/crun: No such file"),
    (["--runtime", "/bin/true"], "its --version is not that of a container runtime"),
    (["--cidfile", "/nonesuch/x"], "--cidfile: write /nonesuch/x: No such file"),
    (["--cidfile", "/etc/passwd"], "/etc/passwd exists"),
    (["--pidfile", "/nonesuch/x"], "pid file /nonesuch/x: No such file"),
    (["--stop-signal", "FOO"], "--stop-signal does not take 'FOO'"),
    (["--stop-signal", "0"], "--stop-signal does not take '0'"),
    (["--stop-signal", "99"], "--stop-signal does not take '99'"),
    (["--stop-timeout", "soon"], "--stop-timeout does not take 'soon'"),
    (["--stop-timeout", "-2"], "--stop-timeout does not take '-2'"),
    (["--timeout", "-1"], "--timeout does not take '-1'"),
    (["--entrypoint", '["x"'], "--entrypoint does not take"),
    (["--entrypoint", "[1]"], "--entrypoint does not take '[1]'"),
    (["-w", "rel"], "--workdir does not take 'rel'"),
    (["-w", ""], "--workdir does not take ''"),
    (["-e", "=x"], "--env does not take '=x'"),
    (["-e", ""], "--env does not take ''"),
    (["--env-file", "/nonesuch"], "--env-file: open /nonesuch: No such file"),
    (["--env-file", "/tmp"], "--env-file: read /tmp: Is a directory"),
    (["--env-file", "/bin/busybox"], "/bin/busybox is not a text"),
    (["-l", "=x"], "--label does not take '=x'"),
    (["--annotation", "x"], "--annotation does not take 'x'"),
    (["--annotation", "=x"], "--annotation does not take '=x'"),
    (["--preserve-fds", "x"], "--preserve-fds does not take 'x'"),
    (["--preserve-fds", "9999"], "is not open"),
    (["-v", "/nonesuch:/x"], "--volume: find /nonesuch: No such file"),
    (["-v", ""], "--volume does not take ''"),
    (["-v", "na me:/x"], "nor the name of a volume"),
    (["--image-volume", "disk"], "--image-volume does not take 'disk'"),
    (["-v", "/tmp:rel"], "'rel' is no place to mount on"),
    (["-v", "/tmp:/"], "'/' is no place to mount on"),
    (["-v", "/tmp:/x:bogus"], "--volume does not take the option 'bogus'"),
    (["-v", "/tmp:/x:ro,rw"], "'ro' and 'rw' exclude each other"),
    (["-v", "/tmp:/x:shared,slave"], "--volume takes one word about propagation, not 2"),
    (["-v", "/tmp:/x", "-v", "/var:/x/"], "two mounts are asked for at /x"),
    (["-v", "/tmp:/x", "--tmpfs", "/x"], "two mounts are asked for at /x"),
    (["--mount", "type=bind,src=/nonesuch,dst=/x"], "--mount: find /nonesuch: No such file"),
    (["--mount", "type=bind,dst=/x"], "--mount type=bind lacks source="),
    (["--mount", "type=tmpfs"], "--mount type=tmpfs lacks target="),
    (["--mount", "type=volumes,src=a,dst=/x"], "--mount does not take type=volumes"),
    (["--mount", "type=tmpfs,dst=/x,bogus=1"], "--mount does not take the option 'bogus=1'"),
    (["--mount", "type=tmpfs,dst=/x,tmpfs-size=zz"], "--mount does not take the option 'size=zz'"),
    (["--tmpfs", "rel"], "'rel' is no place to mount on"),
    (["--tmpfs", "/x:bogus"], "--tmpfs does not take the option 'bogus'"),
    (["--tmpfs", "/x:size=zz"], "--tmpfs does not take the option 'size=zz'"),
    (["--tmpfs", "/x:mode=9"], "--tmpfs does not take the option 'mode=9'"),
    (["--shm-size", "x"], "--shm-size does not take 'x'"),
    (["--device", "/nonesuch"], "--device: look at /nonesuch: No such file"),
    (["--device", "/tmp"], "--device: /tmp is not a device"),
    (["--device", "/dev/null:/x:q"], "--device does not take '/dev/null:/x:q'"),
    (["--gpus", ""], "--gpus does not take ''"),
    (["--network", "bogus:x"], "--network does not take 'bogus:x'"),
    (["--network", "ns:/nonesuch"], "open the network namespace /nonesuch: No such file"),
    (["--network", "ns:/etc/passwd"], "/etc/passwd is not a namespace's file"),
    (["--network", "container:nonesuch"], "there is no container 'nonesuch'"),
    (["-p", "x"], "--publish does not take 'x'"),
    (["-p", "99999"], "--publish does not take '99999'"),
    (["-p", "80:80/xx"], "--publish does not take '80:80/xx'"),
    (["--add-host", "x:y"], "--add-host does not take 'x:y'"),
    (["--dns", "x"], "the DNS server 'x' is no address"),
    (["--hostname", "a b"], "'a b' is no host's name"),
    (["--hostname", "x" * 100], "--hostname wants a name of at most 64 bytes"),
    (["--hostname", "x", "--uts", "host"], "--hostname needs a host name of its own"),
    (["--pid", "x"], "--pid does not take 'x'"),
    (["--pid", "ns:/nonesuch"], "open the pid namespace /nonesuch: No such file"),
    (["--ipc", "x"], "--ipc does not take 'x'"),
    (["--uts", "ns:/proc/self/ns/net"], "is a namespace, but not a uts namespace"),
    (["--cgroupns", "x"], "--cgroupns does not take 'x'"),
    (["--userns", "ns:/nonesuch"], "open the user namespace /nonesuch: No such file"),
    (["--uidmap", "0:0:0"], "--uidmap does not take '0:0:0'"),
    (["--gidmap", "a:b:c"], "--gidmap does not take 'a:b:c'"),
    (["--cgroup-parent", "/../x"], "--cgroup-parent does not take '/../x'"),
    (["--cap-add", "FLY"], "--cap-add: there is no capability 'FLY'"),
    (["--cap-drop", "FLY"], "--cap-drop: there is no capability 'FLY'"),
    (["--security-opt", "x"], "--security-opt does not take 'x'"),
    (["--security-opt", "seccomp=/nonesuch"], "seccomp profile /nonesuch: open /nonesuch: No such"),
    (["--security-opt", "mask=rel"], "--security-opt mask does not take 'rel'"),
    (["--security-opt", "no-new-privileges=x"], "does not take 'no-new-privileges=x'"),
    (["--sysctl", "x"], "--sysctl does not take 'x'"),
    (["-m", "x"], "--memory does not take 'x'"),
    (["-m", "-5"], "--memory does not take '-5'"),
    (["--memory-swap", "1g"], "--memory-swap is of use with --memory only"),
    (["-m", "1g", "--memory-swap", "1m"], "not less than --memory"),
    (["--cpus", "0"], "--cpus does not take '0'"),
    (["--cpu-shares", "1"], "--cpu-shares does not take '1'"),
    (["--cpuset-cpus", "x"], "--cpuset-cpus does not take 'x'"),
    (["--cpuset-cpus", ","], "--cpuset-cpus does not take ','"),
    (["--cpuset-cpus", "0,8000"], "this machine has no processor 8000"),
    (["--pids-limit", "-2"], "--pids-limit does not take '-2'"),
    (["--ulimit", "nofile=x"], "--ulimit does not take 'nofile=x'"),
    (["--ulimit", "nofile=5:3"], "the soft limit is above the hard one"),
    (["--ulimit", "foo=1"], "--ulimit does not take 'foo=1'"),
    (["--oom-score-adj", "1001"], "--oom-score-adj does not take '1001'"),
    (["--platform", "linux/arm64"], "there is no image for linux/arm64"),
    (["--rm=maybe"], "--rm takes no value"),
    (["-z"], "there is no option -z"),
    (["--nonesuch"], "there is no option --nonesuch"),
    (["-l", "run.oci.handler=krun"], "use --annotation"),
    (["--device", "nonesuch.example/x=y"], "there is no CDI device nonesuch.example/x=y"),
    (["--userns", "host", "--uidmap", "0:1:1"], "leave out --userns"),
    (["--network", "private", "-p", "80"], "--publish needs a network of plugins"),
]


@pytest.mark.parametrize("flags, part", BAD_FLAGS, ids=[" ".join(f)[:40] for f, _ in BAD_FLAGS])
def test_bad_flag(any_runtime, flags, part):
    any_runtime.refuses("--rm", *flags, any_runtime.small, "true", status=125, part=part)
    assert not any_runtime.remains()


# What only the runtime knows, or looks at.
RUNTIMES_SAY = [
    (["-w", "/etc/notes"], 126, "/etc/notes is a file in the image"),
    (["-w", "/etc/notes/x"], 126, "/etc/notes/x is below a file of the image"),
    (["-w", "/proc/self/fd/7"], 126, "leads into /proc"),
    (["-u", "nobody-here"], 126, "there is no user 'nobody-here'"),
    (["-u", "0:nobody-here"], 126, "there is no group 'nobody-here'"),
    (["-u", "4294967296"], 126, "is past the largest id"),
    (["--group-add", "nobody-here"], 126, "there is no group 'nobody-here'"),
    (["--sysctl", "kernel.nonesuch=1"], 125, "kernel.nonesuch"),
    (["--sysctl", "net.ipv4.nonesuch=1"], 125, "nonesuch"),
    (["-m", "1"], 125, "create container"),
]


@pytest.mark.parametrize("flags, status, part", RUNTIMES_SAY, ids=[" ".join(r[0]) for r in RUNTIMES_SAY])
def test_refused_in_the_image(containers, flags, status, part):
    containers.refuses("--rm", *flags, containers.small, "true", status=status, part=part)
    assert not containers.remains()


def commands(t):
    """Programs that are none."""
    elf = bytearray(b"\x7fELF\x02\x01\x01" + bytes(57))
    elf[16:20] = b"\x02\x00\xb7\x00"  # an executable of AArch64
    t.add("bin/foreign", data=bytes(elf), mode=0o755)
    t.add("bin/orphan", data=b"#!/bin/nonesuch\n", mode=0o755)
    t.add("bin/plain", data=b"echo plain\n", mode=0o644)
    t.add("bin/empty", data=b"", mode=0o755)
    t.directory("bin/folder")


@pytest.fixture(scope="module")
def odd_programs(tmp_path_factory):
    return runkit.image(tmp_path_factory.mktemp("odd") / "layout", change=commands)


@pytest.mark.parametrize("command, status, part", [
    ("nonesuch", 127, "there is no command 'nonesuch'"),
    ("/bin/nonesuch", 127, "/bin/nonesuch"),
    ("/bin/echo/x", 127, "/bin/echo/x"),
    ("/bin/plain", 126, "'/bin/plain' is not executable"),
    ("plain", 126, "plain"),
    ("/bin/folder", 126, "'/bin/folder' is a directory"),
    ("/bin/orphan", 127, "/bin/nonesuch"),
    ("/bin/foreign", 126, "/bin/foreign"),
    ("/bin/empty", 126, "/bin/empty"),
    ("", 127, "''"),
])
def test_bad_command(containers, odd_programs, command, status, part):
    containers.refuses("--rm", odd_programs, command, status=status, part=part)
    assert not containers.remains()


def script(place, text):
    place.write_text(f"#!/bin/sh\n{text}\n")
    place.chmod(place.stat().st_mode | stat.S_IXUSR)
    return place


@pytest.mark.parametrize("name, version, part", [
    ("crun", "1.0", "the oldest that works is"), ("runc", "0.1.1", "the oldest that works is"),
])
def test_runtime_too_old(any_runtime, tmp_path, name, version, part):
    old = script(tmp_path / name, f"echo '{name} version {version}'")
    said = any_runtime.refuses("--rm", "--runtime", old, any_runtime.small, status=125, part=part)
    assert f"{name} {version}" in said and str(old) in said


def test_broken_profile(containers, tmp_path):
    profile = tmp_path / "profile.json"
    for text, part in [
        ('{\n "defaultAction": "SCMP_ACT_ALLOW",\n "syscalls": [}\n', f"{profile}: line 3,"),
        ('{"defaultAction": "SCMP_ACT_NONESUCH"}', "SCMP_ACT_NONESUCH"),
        ('[]', str(profile)),
        ('', str(profile)),
    ]:
        profile.write_text(text)
        containers.refuses("--rm", "--security-opt", f"seccomp={profile}", containers.small, "true",
                           status=125, part=part)
    assert not containers.remains()


def test_name_is_taken(any_runtime):
    any_runtime.detached("sleep", "100", flags=["--name", "web"])
    any_runtime.refuses("--name", "web", any_runtime.small, "true", status=125, part="name web")
    assert len(any_runtime.remains()) == 1


def test_environment_files(any_runtime, tmp_path):
    file = tmp_path / "env"
    file.write_text("A=1\n=2\n")
    any_runtime.refuses("--env-file", file, any_runtime.small, "env", status=125, part="line 2 of")
    file.write_bytes(b"A=1\0B=2\n")
    any_runtime.refuses("--env-file", file, any_runtime.small, "env", status=125, part="is not a text")
    assert not any_runtime.remains()


def test_no_image(any_runtime, tmp_path, own_registry):
    any_runtime.refuses("oci:/nonesuch", "true", status=125, part="/nonesuch")
    any_runtime.refuses(f"oci:{tmp_path}", "true", status=125, part=str(tmp_path))
    name = f"127.0.0.1:{own_registry.port}/nonesuch:1"
    any_runtime.refuses("--plain-http", name, "true", status=125, part="nonesuch")
    own_registry.stop()
    any_runtime.refuses("--plain-http", name, "true", status=125, part=f"127.0.0.1:{own_registry.port}")
    any_runtime.refuses("--pull", "never", name, "true", status=125, part="nonesuch")
    any_runtime.refuses("UPPER/case", "true", status=125, part="UPPER")
    assert not any_runtime.remains()


def test_root_directory_that_is_none(any_runtime, tmp_path):
    (tmp_path / "file").touch()
    any_runtime.refuses("--rootfs", tmp_path / "nonesuch", "true", status=125, part="No such file")
    any_runtime.refuses("--rootfs", tmp_path / "file", "true", status=125, part=str(tmp_path / "file"))
    (tmp_path / "empty").mkdir()
    any_runtime.refuses("--rootfs", tmp_path / "empty", status=125, part="there is no command to run")
    any_runtime.refuses("--rootfs", tmp_path / "empty", "true", status=127, part="'true'")
    assert os.listdir(tmp_path / "empty") == [] and not any_runtime.remains()


def test_store_that_cannot_be_written(any_runtime, tmp_path):
    file = tmp_path / "file"
    file.touch()
    any_runtime.refuses("--store", file / "store", any_runtime.small, "true", status=125, part=str(file))


@pytest.mark.parametrize("document, status, part", [
    ({"config": {"User": "nobody-here"}}, 126, "there is no user 'nobody-here'"),
    ({"config": {"User": "99999999999999999999"}}, 126, "past the largest id"),
    ({"config": {"Entrypoint": "sh"}}, 125, "Entrypoint"),
    ({"config": {"Cmd": {"a": "b"}}}, 125, "Cmd"),
    ({"config": {"Cmd": [1]}}, 125, "Cmd"),
    ({"config": {"Env": "A=b"}}, 125, "Env"),
    ({"config": {"WorkingDir": 5}}, 125, "WorkingDir"),
    ({"config": {"Cmd": None}}, 125, "the image names no command"),
    ({"config": {"WorkingDir": "relative"}}, 125, "relative"),
    ({"architecture": "arm64"}, 125, "arm64"),
    ({"os": "windows"}, 125, "windows"),
], ids=lambda v: json.dumps(v)[:50] if isinstance(v, dict) else None)
def test_bad_image(any_runtime, tmp_path, document, status, part):
    image = runkit.image(tmp_path / "image", **document)
    any_runtime.refuses("--rm", image, status=status, part=part)
    assert not any_runtime.remains()


def test_store_that_is_full(any_runtime, tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    run.run("mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", place)
    try:
        said = any_runtime.refuses("--rm", "--store", place / "store", any_runtime.small, "true",
                                   status=125, part="is full")
        assert "sluice gc" in said and "No space left on device" in said
        assert not list(place.glob("store/containers/*"))
    finally:
        run.run("umount", place)
