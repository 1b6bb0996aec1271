# SPDX-License-Identifier: Apache-2.0
"""sluice run and its kin: what a container says, how it ends, and that nothing of it stays."""
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

import runkit
from lib import run


def test_output_and_exit_status(containers):
    said = containers("sh", "-c", "echo out; echo err >&2; exit 7", check=False)
    assert (said.stdout, said.stderr, said.returncode) == ("out\n", "err\n", 7)


def test_default_command(containers, tmp_path):
    image = runkit.image(tmp_path / "image", {"Entrypoint": ["/bin/echo", "fixed"], "Cmd": ["usual"]})
    assert containers(image=image).stdout == "fixed usual\n"
    assert containers("given", image=image).stdout == "fixed given\n"
    assert containers("x", image=image, flags=["--entrypoint", "/bin/printf"]).stdout == "x"
    flags = ["--entrypoint", json.dumps(["/bin/echo", "a b"])]
    assert containers(image=image, flags=flags).stdout == "a b\n"
    assert containers("/bin/echo", "bare", image=image, flags=["--entrypoint", ""]).stdout == "bare\n"


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_killed_by_a_signal(containers, sig):
    said = containers("sh", "-c", f"sh -c 'kill -{int(sig)} $$'; exit $?", check=False)
    assert said.returncode == 128 + sig


def test_input(containers):
    assert containers("cat", flags=["-i"], text="hello").stdout == "hello"
    assert containers("cat").stdout == ""
    big = "line\n" * 200_000
    assert containers("cat", flags=["-i"], text=big).stdout == big


def test_no_such_command(containers):
    containers.refuses("--rm", containers.small, "nonesuch", status=127, part="'nonesuch'")
    containers.refuses("--rm", containers.small, "/bin/nonesuch", status=127, part="/bin/nonesuch")
    containers.refuses("--rm", containers.small, "/etc/notes", status=126, part="/etc/notes")
    containers.refuses("--rm", containers.small, "/etc", status=126, part="/etc")
    assert not containers.remains()


def test_bad_flags(containers):
    containers.refuses("--memory", "lots", containers.small, status=125, part="--memory")
    containers.refuses("--nonesuch", containers.small, status=125, part="no option --nonesuch")
    containers.refuses(status=125, part="usage is sluice run")
    containers.refuses("-u", "nobody-here", containers.small, "id", status=126, part="nobody-here")
    containers.refuses("--runtime", "/nonesuch/crun", containers.small, status=125, part="/nonesuch/crun")
    containers.refuses("--cap-add", "FLY", containers.small, status=125, part="--cap-add")
    containers.refuses("oci:/nonesuch", status=125, part="/nonesuch")
    assert not containers.remains()


def test_missing_runtime(containers):
    result = run.run(containers.program, "run", containers.small, "true", check=False,
                     env={**containers.environment, "PATH": "/nonexistent"})
    assert result.returncode == 125
    assert "crun" in result.stderr and "runc" in result.stderr


def test_names(containers):
    identity = containers.detached("sleep", "100", flags=["--name", "web"])
    assert len(identity) == 64
    containers.refuses("--name", "web", containers.small, status=125, part="name web")
    other = containers.detached("sleep", "100")
    names = {c["id"]: c["name"] for c in containers.list()}
    assert set(names) == {identity, other} and names[identity] == "web"
    assert containers.verb("stop", "-t", "0", identity[:6], other[:10]).stdout.split() == [
        identity[:6], other[:10]]
    assert containers.list() == []
    assert {c["status"] for c in containers.list("-a")} == {"exited"}
    containers.verb("rm", "web", names[other])
    assert containers.list("-a") == []
    containers.sluice.refuses("stop", "web", status=125, words="no container 'web'")


def test_life(containers):
    identity = containers.detached("sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done",
                                   flags=["--name", "trap"])
    run.wait_until(lambda: "ready" in containers.verb("logs", "trap").stdout, 10, "the trap")
    waiter = subprocess.Popen([containers.program, "wait", "trap"], env=containers.environment,
                              stdout=subprocess.PIPE, text=True)
    containers.sluice.refuses("rm", "trap", status=125, words="trap runs")
    (shown,) = json.loads(containers.verb("inspect", "trap").stdout)
    assert shown["id"] == identity and shown["status"] == "running"
    assert shown["config"]["process"]["args"][0] == "sh"
    containers.verb("stop", "trap")
    assert waiter.communicate(timeout=10)[0] == "5\n"
    assert containers.verb("wait", identity).stdout == "5\n"
    assert containers.status("trap") == "exited"
    containers.sluice.refuses("kill", "trap", status=125, words="does not run")
    containers.sluice.refuses("exec", "trap", "true", status=125, words="does not run")


def test_kill(containers):
    containers.detached("sh", "-c", "trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done",
                        flags=["--name", "k"])
    run.wait_until(lambda: "ready" in containers.verb("logs", "k").stdout, 10, "the trap")
    containers.verb("kill", "-s", "USR1", "k")
    assert containers.verb("wait", "k").stdout == "9\n"


def test_logs(containers):
    containers.detached("sh", "-c", "for i in 1 2 3; do echo out $i; echo err $i >&2; done",
                        flags=["--name", "l"])
    containers.verb("wait", "l")
    said = containers.verb("logs", "l")
    assert said.stdout == "out 1\nout 2\nout 3\n" and said.stderr == "err 1\nerr 2\nerr 3\n"
    said = containers.verb("logs", "--tail", "1", "l")
    assert len((said.stdout + said.stderr).splitlines()) == 1
    said = containers.verb("logs", "-t", "l").stdout.splitlines()
    assert [line.split("Z ", 1)[1] for line in said] == ["out 1", "out 2", "out 3"]
    assert containers.verb("logs", "--since", "2100-01-01T00:00:00Z", "l").stdout == ""


def test_logs_that_go_on(containers):
    containers.detached("sh", "-c", "echo one; sleep 0.5; echo two", flags=["--name", "f"])
    assert containers.verb("logs", "-f", "f").stdout == "one\ntwo\n"


def test_exec(containers):
    containers.detached("sleep", "100", flags=["--name", "e", "-e", "A=b"])
    assert containers.verb("exec", "e", "sh", "-c", "echo $A $FROM").stdout == "b image\n"
    assert containers.verb("exec", "e", "sh", "-c", "exit 4", check=False).returncode == 4
    assert containers.verb("exec", "-e", "A=c", "-w", "/tmp", "e", "sh", "-c", "echo $A; pwd").stdout == "c\n/tmp\n"
    assert containers.verb("exec", "-u", "ana", "e", "id", "-u").stdout == "1000\n"
    assert containers.verb("exec", "e", "sh", "-c", "kill -9 $$", check=False).returncode == 137
    containers.sluice.refuses("exec", "e", "nonesuch", status=127, words="'nonesuch'")
    containers.sluice.refuses("exec", "e", "/etc/notes", status=126, words="/etc/notes")
    containers.verb("exec", "-d", "e", "sh", "-c", "echo there >/tmp/there")
    run.wait_until(lambda: containers.verb("exec", "e", "cat", "/tmp/there", check=False).stdout
                   == "there\n", 10, "the detached command")
    said = run.run(containers.program, "exec", "-i", "e", "cat", env=containers.environment, input="in")
    assert said.stdout == "in"


def test_identity_and_process_files(containers, tmp_path):
    files = tmp_path / "cid", tmp_path / "pid"
    identity = containers.detached("sleep", "100", flags=["--cidfile", files[0], "--pidfile", files[1]])
    assert files[0].read_text() == identity
    pid = int(files[1].read_text())
    # It was started, and may be on its way to its program yet.
    run.wait_until(lambda: b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes(), 10, "the program")
    containers.refuses("--cidfile", files[0], containers.small, "true", status=125, part="exists")
    containers.verb("rm", "-f", identity)


def test_timeout(containers):
    said = containers("sleep", "100", flags=["--timeout", "0.5", "--stop-signal", "KILL"], check=False)
    assert said.returncode == 137


def test_signals_are_passed_on(containers):
    process = containers.start("--rm", containers.small, "sh", "-c",
                               "trap 'echo hup' HUP; trap 'exit 3' TERM; echo ready; "
                               "while :; do sleep 0.1; done")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    assert process.stdout.readline() == "hup\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 3


def test_dry_run(containers):
    before = containers.remains()
    config = json.loads(containers.run("--dry-run", "-e", "A=b", containers.small, "echo").stdout)
    assert config["process"]["args"] == ["echo"] and "A=b" in config["process"]["env"]
    assert config["root"]["path"] == "rootfs"
    assert containers.remains() == before


def test_root_directory(containers, tmp_path):
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin/sh").write_bytes(Path(runkit.BUSYBOX).read_bytes())
    (root / "bin/sh").chmod(0o755)
    said = containers("/bin/sh", "-c", "echo made >/new; echo hi", image=root, flags=["--rootfs"])
    assert said.stdout == "hi\n"
    assert sorted(os.listdir(root)) == ["bin"]


START = ["runtime", "resolved", "prepared", "created", "mounted", "connected", "bundle", "monitor", "started"]
END = ["output", "exited", "cleaned"]


def phases_of(text):
    lines = [line.split() for line in text.splitlines() if line.startswith("timing:")]
    assert all(line[2] == "ms" and line[5] == "requests," and line[7] == "bytes" for line in lines)
    times = [float(line[1]) for line in lines]
    assert times == sorted(times) and times[0] >= 0
    return [line[3] for line in lines]


def test_timing(containers):
    containers("true")
    assert containers("echo", "hi").stderr == ""
    timed = containers("echo", "hi", flags=["--timing"])
    assert timed.stdout == "hi\n" and phases_of(timed.stderr) == START + END
    detached = containers.run("-d", "--rm", "--timing", containers.small, "true")
    assert phases_of(detached.stderr) == START
    failed = containers("nonesuch", flags=["--timing"], check=False)
    assert failed.returncode == 127 and phases_of(failed.stderr) == START[:6]
    assert failed.stderr.splitlines()[-1].startswith("sluice run: ")


def test_timing_as_json(containers):
    """One object, when the command ends; a new image has the steps of its preparation in it."""
    said = containers("sh", "-c", "exit 3", flags=["--timing", "--format", "json"], check=False)
    assert said.returncode == 3
    phases = json.loads(said.stderr)["phases"]
    names = [phase["phase"] for phase in phases]
    assert names == START[:2] + ["configured", "indexed"] + START[2:] + END[1:]
    assert all(set(phase) == {"phase", "ms", "requests", "bytes"} for phase in phases)
    times = [phase["ms"] for phase in phases]
    assert times == sorted(times)
    assert [phase["requests"] for phase in phases] == [0] * len(phases)  # a layout is no registry


def test_store_that_ran_containers_is_in_order(containers):
    containers("true")
    assert "nothing is wrong" in containers.sluice("fsck", "--deep").stdout
