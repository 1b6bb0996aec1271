# SPDX-License-Identifier: Apache-2.0
"""Images that are against us: the host stays as it is, and the confinement holds."""
import json
import os
import stat
import struct
import tarfile

import pytest

import runkit
from lib import images, layers

ENTRIES = 10_000
LABEL_BYTES = 1 << 20
PASSWD_BYTES = 11 << 20  # ten are read

# What runtimes would act upon, if it came through.
ATTACKS = {
    "run.oci.seccomp_bpf_data": "", "run.oci.seccomp_bpf_file": "/dev/null",
    "run.oci.seccomp.receiver": "/nonesuch", "run.oci.seccomp.plugins": "/nonesuch",
    "run.oci.handler": "krun", "run.oci.hooks.stdout": "/hooked", "run.oci.hooks.stderr": "/hooked",
    "run.oci.keep_original_groups": "1", "run.oci.mount_context_type": "context",
    "run.oci.systemd.subgroup": "../escape", "run.oci.delegate-cgroup": "escape",
    "run.oci.systemd.force_cgroup_v1": "/tmp", "run.oci.pidfd_receiver": "/nonesuch",
    "run.oci.timens_offset": "100", "run.oci.": "x",
    "org.systemd.property.ExecStartPre": "['/bin/sh']", "org.systemd.property.MemoryMax": "uint64 1",
    "org.criu.config": "/nonesuch", "io.katacontainers.config.hypervisor.path": "/bin/sh",
    "cdi.k8s.io/all": "vendor.com/device=all", "module.wasm.image/variant": "compat",
    "dev.gvisor.spec.mount": "x",
}

SECCOMP = "grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd):' /proc/self/status; unshare -U true"


def snapshot(place):
    """All that is in a directory, and when it changed."""
    found = []
    for path in sorted([place, *place.rglob("*")]):
        st = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(st.st_mode) else b""
        found.append((str(path), st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, st.st_ctime_ns, content))
    return found


@pytest.fixture
def host(tmp_path):
    """A directory of the host's, to which symlinks of images lead."""
    place = tmp_path / "host"
    for name in ("shm", "pts", "mqueue", "x", "net"):
        (place / name).mkdir(parents=True)
    for name in ("passwd", "group", "hostname", "hosts", "resolv.conf", "null", "self"):
        (place / name).write_text("the host's\n")
    return place


LINKS = ["dev", "proc", "sys", "etc", "tmp", "work", "srv"]


@pytest.mark.parametrize("link, how", [*((name, "absolute") for name in LINKS),
                                       ("all", "absolute"), ("all", "relative")])
def test_symlinks_to_the_host(containers, tmp_path, host, link, how):
    names = LINKS if link == "all" else [link]
    target = str(host) if how == "absolute" else "../" * 40 + str(host)[1:]
    volume = tmp_path / "volume"
    volume.mkdir()

    links = layers.TarLayer()
    for name in names:
        links.add(name, tarfile.SYMTYPE, link=target)
    image = runkit.image(tmp_path / "image", {"WorkingDir": "/work/x"},
                         tars=[runkit.root_layer(), links.finish()])
    before = snapshot(host)
    said = containers("sh", "-c", "echo a >new; echo b >/tmp/new; echo c >/etc/new; echo d >/dev/shm/new;"
                      "echo e >/srv/deep/new; test -c /dev/null && test -d /proc/self && echo fine",
                      image=image, flags=["-v", f"{volume}:/srv/deep", "--device", "/dev/null:/srv/null"])
    assert said.stdout == "fine\n"
    assert snapshot(host) == before
    assert os.listdir(volume) == ["new"]


def confined(said):
    """What the same command says in a container of an image that wants nothing."""
    return [line for line in said.stdout.splitlines() if line]


@pytest.mark.parametrize("keys", [[k] for k in ATTACKS] + [list(ATTACKS)],
                         ids=[*ATTACKS, "all"])
def test_labels_are_no_orders(any_runtime, tmp_path, keys):
    labels = {key: ATTACKS[key] for key in keys}
    image = runkit.image(tmp_path / "image", {"Labels": {**labels, "kept": "value"}})
    config = json.loads(any_runtime.run("--dry-run", image).stdout)
    assert config["annotations"]["kept"] == "value"
    # Our own filter, for crun, is the only thing of this kind.
    assert set(config["annotations"]) & set(ATTACKS) <= {"run.oci.seccomp_bpf_data"}
    assert all(config["annotations"].get(k) != v for k, v in labels.items())


def test_labels_change_nothing(containers, tmp_path):
    command = ["sh", "-c", SECCOMP]
    image = runkit.image(tmp_path / "image", {"Labels": ATTACKS})
    plain, attacked = containers(*command, check=False), containers(*command, image=image, check=False)
    assert confined(plain) == confined(attacked)
    status = dict(line.split(":\t") for line in confined(attacked))
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
    for said in (plain, attacked):
        assert said.returncode != 0 and "not permitted" in said.stderr
    assert not os.path.exists("/hooked")


def test_manifest_annotations_change_nothing(containers, tmp_path):
    """Annotations of the image's manifest are nobody's orders either."""
    image = runkit.image(tmp_path / "image", {"Labels": {"run.oci.seccomp_bpf_data": "AAAA"}},
                         annotations=ATTACKS)
    said = containers("grep", "Seccomp:", "/proc/self/status", image=image)
    assert said.stdout.split() == ["Seccomp:", "2"]


def test_large_environment(containers, tmp_path):
    image = runkit.image(tmp_path / "image", {
        "Env": ["PATH=/bin", *(f"NAME_{i}=value {i}" for i in range(ENTRIES))]})
    said = containers("env", image=image).stdout.splitlines()
    assert len([line for line in said if line.startswith("NAME_")]) == ENTRIES
    file = tmp_path / "env"
    file.write_text("".join(f"FILE_{i}={i}\n" for i in range(ENTRIES)))
    said = containers("env", flags=["--env-file", file]).stdout.splitlines()
    assert len([line for line in said if line.startswith("FILE_")]) == ENTRIES


def test_large_label(containers, tmp_path):
    image = runkit.image(tmp_path / "image", {"Labels": {"large": "x" * LABEL_BYTES}})
    assert containers("echo", "fine", image=image).stdout == "fine\n"
    containers.detached("true", flags=["--name", "small"])


PASSWDS = [
    ("lines that are none", b"\0\0\n:::::::\n+::::::\n#ana:x:0:0\n\nana\nana:x\n\xff\xfe:x:0:0::/:\n"
     b"ana:x:1000:1000::/home/ana:/bin/sh\n", 0, "1000"),
    ("the first counts", b"ana:x:5:6::/:\nana:x:0:0::/:\n", 0, "5"),
    ("no end of line", b"ana:x:7:7::/:", 0, "7"),
    ("a long line", b"ana:x:8:8:" + b"g" * 100_000 + b":/:\n", 0, "8"),
    ("an id that is none", b"ana:x:zero:0::/:\n", 126, "ana"),
    ("a negative id", b"ana:x:-1:0::/:\n", 126, "ana"),
    ("an id past the largest", b"ana:x:4294967296:0::/:\n", 126, "ana"),
    ("larger than is read", b"x:x:1:1::/:\n" * (PASSWD_BYTES // 12), 126, "/etc/passwd"),
]


@pytest.mark.parametrize("content, status, part", [p[1:] for p in PASSWDS], ids=[p[0] for p in PASSWDS])
def test_passwd(any_runtime, tmp_path, content, status, part):
    change = layers.TarLayer()
    change.add("etc/passwd", data=content)
    image = runkit.image(tmp_path / "image", {"User": "ana"},
                         tars=[runkit.root_layer(), change.finish()])
    if status:
        any_runtime.refuses("--rm", image, "id", "-u", status=status, part=part)
    else:
        assert any_runtime("id", "-u", image=image).stdout.strip() == part


@pytest.mark.parametrize("kind, more", [(tarfile.FIFOTYPE, {}), (tarfile.CHRTYPE, {"device": (1, 5)}),
                                        (tarfile.DIRTYPE, {}),
                                        (tarfile.SYMTYPE, {"link": "/proc/self/environ"}),
                                        (tarfile.SYMTYPE, {"link": "passwd"})])
def test_passwd_that_is_no_file(any_runtime, tmp_path, kind, more):
    change = layers.TarLayer()
    change.whiteout("etc/passwd")
    odd = layers.TarLayer()
    odd.add("etc/passwd", kind, mode=0o755, **more)
    image = runkit.image(tmp_path / "image", tars=[runkit.root_layer(), change.finish(), odd.finish()])
    any_runtime.refuses("--rm", "-u", "ana", image, "id", status=126, part="/etc/passwd")
    # Whether it lists a number nobody can say, so that is no way around it.
    said = any_runtime("id", "-u", image=image, flags=["-u", "12"], check=False)
    assert (said.stdout, said.returncode) in (("", 126), ("12\n", 0))


def who_am_i():
    """An x86-64 program that ends with its effective user's id: busybox gives setuid away itself."""
    code = bytes.fromhex("b86b000000" "0f05" "89c7" "b83c000000" "0f05")  # exit(geteuid())
    base, at = 0x400000, 64 + 56
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, base + at, 64, 0, 0,
                       64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, at + len(code), at + len(code), 4096)
    return head + segment + code


@pytest.mark.skipif(images.ARCHITECTURE != "amd64", reason="the program is one for x86-64")
def test_setuid_programs_gain_nothing(containers, tmp_path):
    image = runkit.image(tmp_path / "image", {"User": "200"},
                         change=lambda t: t.add("bin/who", data=who_am_i(), mode=0o4755))
    assert containers("/bin/who", image=image, check=False).returncode == 200
    allowed = ["--security-opt", "no-new-privileges=false"]
    assert containers("/bin/who", image=image, flags=allowed, check=False).returncode == 0


def test_stop_signal_that_is_none(any_runtime, tmp_path):
    image = runkit.image(tmp_path / "image", {"StopSignal": "$(reboot)"})
    said = any_runtime("echo", "fine", image=image)
    assert said.stdout == "fine\n" and "StopSignal" in said.stderr and "TERM is used" in said.stderr


def test_working_directory_in_the_host(containers, tmp_path, host):
    """..s lead to the image's root, and no further."""
    image = runkit.image(tmp_path / "image", {"WorkingDir": "/../../../.." + str(host / "made")})
    before = snapshot(host)
    assert containers("sh", "-c", "echo x >file; pwd", image=image).stdout == f"{host}/made\n"
    assert snapshot(host) == before
