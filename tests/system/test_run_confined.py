# SPDX-License-Identifier: Apache-2.0
"""What a container may, sees and has; and images and labels that try to get more."""
import hashlib
import json
import os
import shutil
import socket
import tarfile
from pathlib import Path

import pytest

import runkit
from lib import run

DEFAULT_CAPS = 0xa80425fb  # the fourteen: see the manual page
HOST_FILES = ("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")


def status_of(containers, *flags, image=None):
    text = containers("cat", "/proc/self/status", flags=flags, image=image).stdout
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def caps(status):
    return {kind: int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")}


def test_capabilities(containers):
    assert caps(status_of(containers)) == {
        "Inh": 0, "Prm": DEFAULT_CAPS, "Eff": DEFAULT_CAPS, "Bnd": DEFAULT_CAPS, "Amb": 0}
    assert caps(status_of(containers, "-u", "1000")) == {
        "Inh": 0, "Prm": 0, "Eff": 0, "Bnd": DEFAULT_CAPS, "Amb": 0}
    assert set(caps(status_of(containers, "--cap-drop", "ALL")).values()) == {0}
    only = caps(status_of(containers, "--cap-drop=all", "--cap-add=net_raw", "--cap-add=CAP_CHOWN"))
    assert only["Eff"] == only["Bnd"] == (1 << 13) | 1
    assert caps(status_of(containers, "--cap-drop", "MKNOD"))["Eff"] == DEFAULT_CAPS & ~(1 << 27)


def test_no_new_privileges_and_seccomp(containers):
    status = status_of(containers)
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    status = status_of(containers, "--security-opt", "no-new-privileges=false", "--security-opt",
                       "seccomp=unconfined")
    assert status["NoNewPrivs"] == "0" and status["Seccomp"] == "0"
    said = containers("mount", "-t", "tmpfs", "none", "/tmp", check=False)
    assert said.returncode != 0 and "permission denied" in said.stderr


def test_profile(containers, tmp_path):
    profile = tmp_path / "profile.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}))
    flags = ["--security-opt", f"seccomp={profile}"]
    said = containers("mkdir", "/x", flags=flags, check=False)
    assert said.returncode != 0 and os.strerror(95) in said.stderr
    profile.write_text("{\n\"defaultAction\": ")
    containers.refuses("--rm", *flags, containers.small, "true", status=125, part="line 2")
    assert not containers.remains()


def test_users(containers):
    assert containers("id", flags=["-u", "ana"]).stdout == (
        "uid=1000(ana) gid=1000(ana) groups=1000(ana),2000(extra)\n")
    assert containers("id", "-u", flags=["-u", "4242"]).stdout == "4242\n"
    assert containers("id", "-g", flags=["-u", "ana:extra"]).stdout == "2000\n"
    assert "77" in containers("id", "-G", flags=["-u", "1000", "--group-add", "77"]).stdout.split()
    assert containers("sh", "-c", "echo $HOME", flags=["-u", "ana"]).stdout == "/home/ana\n"
    containers.refuses("--rm", "-u", "bob", containers.small, "id", status=126, part="bob")


def test_image_user(containers, tmp_path):
    image = runkit.image(tmp_path / "image", {"User": "ana", "WorkingDir": "/home/ana/new"})
    assert containers("sh", "-c", "id -u; pwd; touch mine && echo wrote", image=image).stdout == (
        "1000\n/home/ana/new\nwrote\n")


def test_names_and_files(containers):
    said = containers("sh", "-c", "hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf",
                      flags=["--hostname", "box", "--add-host", "db:10.1.2.3", "--dns", "10.9.8.7"])
    lines = said.stdout.splitlines()
    assert lines[:2] == ["box", "box"]
    assert any(line.split() == ["10.1.2.3", "db"] for line in lines)
    assert "nameserver 10.9.8.7" in lines
    assert any("box" in line.split()[1:] for line in lines if line.startswith("127."))


def test_network(containers):
    assert containers("ls", "/sys/class/net").stdout.split() == ["lo"]
    host = sorted(os.listdir("/sys/class/net"))
    assert sorted(containers("ls", "/sys/class/net", flags=["--network", "host"]).stdout.split()) == host
    assert containers("hostname", flags=["--network", "host"]).stdout.strip() == socket.gethostname()


def test_namespaces(containers):
    def spaces(*flags):
        text = containers("sh", "-c", "cd /proc/self/ns; for n in pid ipc uts net mnt cgroup user; do "
                          "readlink $n; done", flags=flags).stdout
        return set(text.split())
    mine = {os.readlink(f"/proc/self/ns/{n}") for n in ("pid", "ipc", "uts", "net", "mnt", "cgroup", "user")}
    shared = spaces() & mine
    assert {s.split(":")[0] for s in shared} == {"user"}
    shared = spaces("--pid", "host", "--ipc", "host", "--uts", "host", "--network", "host",
                    "--cgroupns", "host") & mine
    assert {s.split(":")[0] for s in shared} == {"pid", "ipc", "uts", "net", "cgroup", "user"}


def test_namespaces_of_another(containers):
    containers.detached("sleep", "100", flags=["--name", "first", "--hostname", "one"])
    flags = ["--pid", "container:first", "--uts", "container:first", "--network", "container:first"]
    said = containers("sh", "-c", "hostname; ps", flags=flags).stdout
    assert said.splitlines()[0] == "one" and "sleep 100" in said
    containers.refuses("--pid", "container:nonesuch", containers.small, "true", status=125,
                       part="nonesuch")
    containers.verb("stop", "-t", "0", "first")
    containers.refuses("--pid", "container:first", containers.small, "true", status=125,
                       part="does not run")


def test_networks_that_are_not_there(containers):
    containers.refuses("--network", "blue", containers.small, "true", status=125, part="--network blue")
    containers.refuses("-p", "80:80", "--network", "none", containers.small, "true", status=125,
                       part="--publish")


def test_id_maps(containers):
    said = containers("cat", "/proc/self/uid_map", "/proc/self/gid_map", flags=["--uidmap", "0:0:1000"])
    assert [line.split() for line in said.stdout.splitlines()] == [["0", "0", "1000"]] * 2


@pytest.mark.skipif(shutil.which("catatonit") is None, reason="catatonit is not installed")
def test_init(containers):
    said = containers("sh", "-c", "cat /proc/1/comm; (sh -c 'sleep 0.1 &'); sleep 0.5; ps", flags=["--init"])
    lines = said.stdout.splitlines()
    assert lines[0] == "init" and not any("Z" in line.split()[2:3] for line in lines)
    assert containers("sh", "-c", "exit 8", flags=["--init"], check=False).returncode == 8


def test_volumes(containers, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "file").write_text("from the host\n")
    said = containers("sh", "-c", "cat /data/file; echo back >/data/new", flags=["-v", f"{shared}:/data"])
    assert said.stdout == "from the host\n" and (shared / "new").read_text() == "back\n"
    said = containers("touch", "/data/no", flags=["-v", f"{shared}:/data:ro"], check=False)
    assert said.returncode != 0 and "Read-only" in said.stderr
    said = containers("cat", "/etc/one", flags=["-v", f"{shared / 'file'}:/etc/one:ro"])
    assert said.stdout == "from the host\n"
    said = containers("sh", "-c", "mount | grep /deep", flags=["--tmpfs", "/deep/er:size=1m"])
    assert "tmpfs" in said.stdout and "size=1024k" in said.stdout and "noexec" in said.stdout
    flags = ["--mount", f"type=bind,src={shared},dst=/m,readonly"]
    assert containers("touch", "/m/no", flags=flags, check=False).returncode != 0
    assert not (shared / "no").exists()


def test_read_only(containers):
    said = containers("sh", "-c", "touch /x; touch /etc/x; touch /tmp/x; echo over", flags=["--read-only"])
    assert said.stderr.count("Read-only file system") == 3 and said.stdout == "over\n"
    said = containers("sh", "-c", "touch /tmp/x && echo yes", flags=["--read-only", "--tmpfs", "/tmp"])
    assert said.stdout == "yes\n"


def test_masks(containers):
    assert containers("cat", "/proc/keys").stdout == ""
    said = containers("sh", "-c", "echo 1 >/proc/sys/kernel/panic", check=False)
    assert said.returncode != 0
    assert containers("cat", "/etc/notes", flags=["--security-opt", "mask=/etc/notes"]).stdout == ""


def test_devices(containers):
    said = containers("sh", "-c", "ls -l /dev/nothing; echo x >/dev/nothing && echo wrote",
                      flags=["--device", "/dev/null:/dev/nothing"])
    assert "1,   3" in said.stdout and "wrote" in said.stdout
    said = containers("sh", "-c", "echo x >/dev/nothing", check=False,
                      flags=["--device", "/dev/fuse:/dev/nothing:r"])
    assert said.returncode != 0 and "Operation not permitted" in said.stderr
    assert containers("ls", "/dev/fuse", check=False).returncode != 0


def test_privileged(containers):
    said = containers("sh", "-c", "ls -l /dev/fuse; cat /proc/self/status; cat /proc/keys >/dev/null && "
                      "mount -t tmpfs none /tmp && echo mounted", flags=["--privileged"]).stdout
    assert "10, 229" in said and "mounted" in said
    status = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
    assert status["Seccomp"] == "0" and status["NoNewPrivs"] == "0"
    own = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert status["CapEff"] == own["CapBnd"]


def test_limits(containers):
    said = containers("sh", "-c", "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj",
                      flags=["--ulimit", "nofile=100:200", "--oom-score-adj", "500"])
    assert said.stdout.split() == ["100", "200", "500"]
    identity = containers.detached("sleep", "100", flags=["-m", "64m", "--pids-limit", "50", "--cpus", "0.5"])
    found = {}
    for place in runkit.cgroups():
        if identity in place:
            for name in ("memory.limit_in_bytes", "memory.max", "pids.max", "cpu.cfs_quota_us", "cpu.max"):
                if os.path.exists(f"{place}/{name}"):
                    found[name] = Path(place, name).read_text().split()[0]
    assert found.get("memory.max", found.get("memory.limit_in_bytes")) == str(64 << 20)
    assert found["pids.max"] == "50"
    assert found.get("cpu.max", found.get("cpu.cfs_quota_us")) == "50000"


def test_out_of_memory(containers):
    said = containers("sh", "-c", "tail /dev/zero", flags=["-m", "16m", "--memory-swap", "16m"],
                      check=False)
    assert said.returncode != 0
    assert containers.remains() == []


def test_memory_files(containers):
    said = containers("sh", "-c", "mount | grep ' /dev/shm '", flags=["--shm-size", "1m"]).stdout
    assert "size=1024k" in said


def test_many_variables(containers, tmp_path):
    file = tmp_path / "env"
    file.write_text("".join(f"VAR_{n}=value {n}\n" for n in range(10_000)))
    read, write = os.pipe()
    os.write(write, b"PIPED=yes\n")
    os.close(write)
    assert containers("sh", "-c", "echo $PIPED", flags=["--env-file", f"/dev/fd/{read}"],
                      pass_fds=[read]).stdout == "yes\n"
    os.close(read)
    said = containers("sh", "-c", "echo $VAR_0 $VAR_9999; env | grep -c ^VAR_", flags=["--env-file", file])
    assert said.stdout == "value 0 value 9999\n10000\n"


def test_environment(containers):
    os.environ["PASSED_ON"] = "by name"
    try:
        said = containers("env", flags=["-e", "PASSED_ON", "-e", "FROM=flag", "-e", "EMPTY="])
    finally:
        del os.environ["PASSED_ON"]
    lines = said.stdout.splitlines()
    assert {"PASSED_ON=by name", "FROM=flag", "EMPTY=", "PATH=/bin"} <= set(lines)
    assert not any(line.startswith("TERM=") for line in lines)


def test_large_label(containers, tmp_path):
    image = runkit.image(tmp_path / "image", {"Labels": {"large": "x" * (1 << 20)}})
    assert containers("echo", "fine", image=image).stdout == "fine\n"
    config = json.loads(containers.run("--dry-run", image, "true").stdout)
    assert len(config["annotations"]["large"]) == 1 << 20


ATTACKS = {
    "run.oci.seccomp_bpf_data": "BgAAAAAA/38=",  # allows everything
    "run.oci.hooks.stdout": "/sluice-was-here",
    "run.oci.handler": "krun",
    "org.systemd.property.ExecStart": "'x'",
    "org.criu.config": "/etc/passwd",
    "cdi.k8s.io/x": "vendor.com/net=nic0",
    "io.katacontainers.config.hypervisor.path": "/bin/sh",
}


def test_labels_that_attack(containers, tmp_path):
    image = runkit.image(tmp_path / "image", {"Labels": {**ATTACKS, "honest": "yes"}})
    config = json.loads(containers.run("--dry-run", image, "true").stdout)
    assert config["annotations"]["honest"] == "yes"
    for key, value in ATTACKS.items():
        assert config["annotations"].get(key) != value
    assert status_of(containers, image=image)["Seccomp"] == "2"
    said = containers("mount", "-t", "tmpfs", "none", "/tmp", image=image, check=False)
    assert said.returncode != 0 and "permission denied" in said.stderr


def host_state(extra):
    """What must not change: files by their content, directories by their names."""
    state = {name: hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in HOST_FILES
             if Path(name).exists()}
    for place, directories, files in os.walk(extra):
        state[place] = (sorted(directories), sorted(files), os.stat(place).st_mode)
    state["/dev"] = sorted(os.listdir("/dev"))
    return state


@pytest.mark.parametrize("place", ["dev", "etc", "proc", "sys", "tmp", "work"])
def test_directories_that_are_links_to_the_host(containers, tmp_path, place):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "kept").write_text("as it was")
    layer = runkit.layers.TarLayer()
    layer.directory("bin")
    layer.add("bin/busybox", data=Path(runkit.BUSYBOX).read_bytes(), mode=0o755)
    for applet in runkit.APPLETS:
        layer.add(f"bin/{applet}", tarfile.SYMTYPE, link="busybox")
    layer.add(place, tarfile.SYMTYPE, link=str(victim))
    image = runkit.image(tmp_path / "image", {"WorkingDir": "/work/sub"}, tars=[layer.finish()])
    before = host_state(victim)
    said = containers("sh", "-c", "pwd; touch here; echo ran", image=image, check=False,
                      flags=["-v", f"{tmp_path}:/{place}/mounted:ro"] if place == "work" else [])
    assert host_state(victim) == before
    assert said.returncode in (0, 125), said.stderr
    if said.returncode == 0:
        assert said.stdout.endswith("/sub\nran\n")


def test_working_directory_below_proc(containers):
    containers.refuses("--rm", "-w", "/proc/self/fd/7", containers.small, "true", status=126,
                       part="/proc")


def test_other_architecture(containers, tmp_path):
    other = "s390x"
    image = runkit.image(tmp_path / "image", architecture=other)
    said = containers.run("--rm", image, "true", check=False)
    assert said.returncode == 125 and other in said.stderr
    assert not containers.remains()


def test_device_attack_by_volume(containers, tmp_path):
    """A mount's place that a link of the image leads into /proc."""
    def change(t):
        t.add("trap", tarfile.SYMTYPE, link="/proc/sys")
    image = runkit.image(tmp_path / "image", change=change)
    containers.refuses("--rm", "-v", f"{tmp_path}:/trap/kernel", image, "true", status=125, part="/trap")


def test_programs_of_processes(containers):
    """Process 1 sees nothing of this program: no descriptor, no environment."""
    said = containers("sh", "-c", "ls /proc/self/fd | wc -l; env | grep -c SLUICE", check=False)
    count, leaked = said.stdout.split()
    assert int(count) <= 4 and leaked == "0"


def test_descriptors_are_passed_on(containers, tmp_path):
    (tmp_path / "file").write_text("content")
    said = run.run("sh", "-c", f"exec {containers.program} run --rm --runtime {containers.runtime} "
                   f"--preserve-fds 1 {containers.small} sh -c 'cat <&3; echo $LISTEN_FDS' 3<{tmp_path}/file",
                   env={**os.environ, **containers.environment})
    assert said.stdout == "content1\n"
