# SPDX-License-Identifier: Apache-2.0
"""Containers outlive what is killed around them, and leave nothing when they end."""
import json
import os
import signal
from concurrent import futures
from pathlib import Path

import pytest

import runkit
from lib import run

AT_ONCE = 100
KILLS = 3  # five within ten seconds, and the mount is given up


def ours(verb):
    """The pids of this test's processes of one (hidden) verb."""
    found = run.marked_processes(os.environ[run.MARK])
    return [pid for pid, command in found if verb.encode() in command.split()[1:8]]


def one(verb):
    return run.wait_until(lambda: ours(verb), 10, f"a process of {verb}")[0]


def end_all(*pids):
    """Ends these and all of this test's processes that stay with containers, as a machine that stops
    does. One of them may be starting another just now: all stand still before the first one ends."""
    def standing():
        found = {pid for verb in ("monitor", "hold", "serve") for pid in ours(verb)}
        for pid in found - frozen:
            os.kill(pid, signal.SIGSTOP)
        new = not found <= frozen or any(stat_of(pid) not in "TZX" for pid in found)
        frozen.update(found)
        return not new
    frozen = set()
    run.wait_until(standing, 10, "this test's processes to stand still")
    for pid in (*frozen, *pids):
        os.kill(pid, signal.SIGKILL)
    for verb in ("monitor", "hold", "serve"):
        run.wait_until(lambda verb=verb: not ours(verb), 10, f"processes of {verb} to end")


def namespaces():
    """The network namespaces that processes are in."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found.add(os.readlink(f"/proc/{pid}/ns/net"))
        except OSError:
            continue
    return found


def stat_of(pid):
    """The letter of a process's state; X for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "X"


def runs(pid):
    """Whether a process is more than a zombie that somebody else will take up."""
    return stat_of(pid) not in "ZX"


def nothing_of(containers):
    """No mount, no process and no state of a runtime is left of the store's containers."""
    run.wait_until(lambda: not run.mounts_below(containers.sluice.store), 10, "mounts to go")
    for verb in ("monitor", "hold", "serve"):
        run.wait_until(lambda verb=verb: not ours(verb), 10, f"processes of {verb} to end")
    assert containers.list("-a") == [] and containers.remains() == []
    states = [p for p in containers.sluice.store.glob("runtime/*/*") if p.parent.name != "pids"]
    assert states == []
    if any(pin.endswith(".shared") for pin in containers.pins()):
        containers.sluice("gc")  # others on this machine made mounts in the same moment
    assert containers.pins() == []
    assert list(containers.sluice.store.glob("runtime/pids/*")) == []


def looping(containers, *flags, work="true"):
    """A container that goes on with `work`, and says so at each time."""
    identity = containers.detached("sh", "-c", f"while {work}; do echo on; sleep 0.05; done; echo over",
                                   flags=["--name", "loop", *flags])
    goes_on(containers)
    return identity


def goes_on(containers):
    """It writes another ten lines, and none of them says that it failed."""
    def lines():
        return containers.verb("logs", "loop").stdout.splitlines()
    before = len(lines())
    said = run.wait_until(lambda: (now := lines()) and len(now) >= before + 10 and now, 30,
                          "the container to go on")
    assert "over" not in said


def test_run_is_killed(containers):
    process = containers.start("--rm", "--name", "loop", containers.small, "sh", "-c",
                               "echo ready; while :; do echo on; sleep 0.05; done")
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate()
    goes_on(containers)
    assert containers.status("loop") == "running"
    containers.verb("stop", "-t", "0", "loop")
    nothing_of(containers)


@pytest.mark.parametrize("kind", runkit.SERVED)
def test_server_is_killed(containers, kind):
    containers.pull_all_but_checked(containers.small)
    looping(containers, "--fs", kind, work="cat /bin/busybox >/dev/null")
    killed = set()
    for _ in range(KILLS):
        server = run.wait_until(lambda: set(ours("serve")) - killed, 10, "a new server").pop()
        killed.add(server)
        os.kill(server, signal.SIGKILL)
        goes_on(containers)
    containers.verb("rm", "-f", "loop")
    nothing_of(containers)


@pytest.mark.parametrize("kind", runkit.SERVED)
def test_holder_is_killed(containers, kind):
    containers.pull_all_but_checked(containers.small)
    looping(containers, "--fs", kind, work="cat /bin/busybox >/dev/null")
    os.kill(one("hold"), signal.SIGKILL)
    goes_on(containers)
    containers.verb("rm", "-f", "loop")
    nothing_of(containers)


@pytest.mark.parametrize("kind", runkit.SERVED)
def test_holder_and_server_are_killed(containers, kind):
    """Reads may fail then, and the rest is taken away all the same."""
    containers.pull_all_but_checked(containers.small)
    containers.detached("sleep", "1000", flags=["--name", "still", "--fs", kind])
    for verb in ("hold", "serve"):
        os.kill(one(verb), signal.SIGKILL)
    # It dies as soon as it runs code that is not in memory yet.
    assert containers.status("still") in ("running", "exited")
    containers.verb("rm", "-f", "still")
    nothing_of(containers)


@pytest.mark.parametrize("way", ["rm", "stop", "gc"])
def test_monitor_is_killed(containers, way):
    cgroups = runkit.cgroups()
    identity = containers.detached("sleep", "1000", flags=["--name", "orphan"])
    (shown,) = json.loads(containers.verb("inspect", "orphan").stdout)
    os.kill(one("monitor"), signal.SIGKILL)
    run.wait_until(lambda: not ours("monitor"), 10, "the monitor to end")
    assert containers.status("orphan") == "dead"
    containers.refuses("--name", "orphan", containers.small, "true", status=125, part="orphan")
    if way == "rm":
        containers.verb("rm", "-f", "orphan")
    elif way == "stop":
        containers.verb("stop", "orphan")
        assert containers.status("orphan") == "exited"
        containers.verb("rm", "orphan")
    else:
        containers.verb("gc")
    assert not runs(shown["pid"]) and identity not in containers.remains()
    nothing_of(containers)
    run.wait_until(lambda: runkit.cgroups() <= cgroups, 10, "cgroups to go")


@pytest.mark.parametrize("kind", ("local", *runkit.SERVED))
def test_everything_is_killed(containers, kind):
    """As after a crash of the machine, but for its mounts and cgroups."""
    cgroups = runkit.cgroups()
    containers.sluice("pull", containers.small)
    if kind != "local":
        runkit.unchecked(containers.sluice.store)
    process = containers.start("--rm", "--fs", kind if kind != "local" else "auto", containers.small,
                               "sh", "-c", "echo ready; sleep 1000")
    assert process.stdout.readline() == "ready\n"
    verbs = ("monitor",) if kind == "local" else ("monitor", "hold", "serve")
    assert all(map(ours, verbs))
    end_all(process.pid)
    process.communicate()
    assert [c["status"] for c in containers.list("-a")] == ["dead"]
    containers.verb("gc")
    nothing_of(containers)
    run.wait_until(lambda: runkit.cgroups() <= cgroups, 10, "cgroups to go")


@pytest.mark.parametrize("state", ["kept", "emptied", "lost"])
def test_machine_is_started_again(containers, state):
    """What the store has of a container that ran then. A power cut may take its last state along."""
    cgroups = runkit.cgroups()
    identity = containers.detached("sleep", "1000", flags=["--name", "old"])
    (shown,) = json.loads(containers.verb("inspect", "old").stdout)
    end_all(shown["pid"])
    for point in reversed(run.mounts_below(containers.sluice.store)):
        run.run("umount", "--lazy", point)
    for place in sorted(runkit.cgroups() - cgroups, reverse=True):
        run.wait_until(lambda place=place: removed(place), 10, f"{place} to go")
    kept = containers.sluice.store / "containers" / identity / "state.json"
    if state == "kept":
        document = json.loads(kept.read_text())
        # The same numbers, of processes of another boot: these are this test's own.
        document.update(bootId="00000000-0000-0000-0000-000000000000", pid=os.getpid(),
                        monitor=os.getpid())
        kept.write_text(json.dumps(document))
    elif state == "emptied":
        kept.write_bytes(b"")
    else:
        kept.unlink()
    if state != "kept":
        assert containers.list("-a") == []  # it might be one that is being made just now
        os.utime(kept.parent, (0, 0))
    assert [c["status"] for c in containers.list("-a")] == ["dead"]
    containers.verb("gc")
    nothing_of(containers)


def removed(cgroup):
    try:
        os.rmdir(cgroup)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_signals(containers, sig):
    """The container's process has no handler: an init would ignore it, a child of one does not."""
    process = containers.start("--rm", containers.small, "sh", "-c",
                               f"trap 'exit {128 + sig}' {int(sig)}; echo ready; while :; do sleep 0.05; done")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(sig)
    process.communicate(timeout=20)
    assert process.returncode == 128 + sig
    nothing_of(containers)


def test_out_of_memory(containers):
    said = containers.run("--name", "big", "-m", "16m", "--memory-swap", "16m", containers.small,
                          "tail", "/dev/zero", check=False)
    if said.returncode == 125:
        pytest.skip(f"there are no limits here: {said.stderr}")
    assert said.returncode == 137
    (shown,) = json.loads(containers.verb("inspect", "big").stdout)
    assert shown["oom_killed"] is True
    containers.verb("rm", "big")
    nothing_of(containers)


def fake_runtime(place, body):
    place.write_text("#!/bin/sh\ncase \"$*\" in *--version*) echo 'runc version 1.1.5'; exit;; esac\n"
                     f"{body}\n")
    place.chmod(0o755)
    return place


def test_runtime_that_fails(any_runtime, tmp_path):
    runtime = fake_runtime(tmp_path / "fails", "echo 'it is broken' >&2; exit 1")
    any_runtime.refuses("--rm", "--runtime", runtime, any_runtime.small, "true", status=125, part="create container")
    runtime = fake_runtime(tmp_path / "dies", "kill -9 $$")
    any_runtime.refuses("--rm", "--runtime", runtime, any_runtime.small, "true", status=125, part="create container")
    runtime = fake_runtime(tmp_path / "lies", "exit 0")
    any_runtime.refuses("--rm", "--runtime", runtime, any_runtime.small, "true", status=125, part="container")
    nothing_of(any_runtime)


def test_runtime_that_hangs(any_runtime, tmp_path):
    """Nobody has to wait for its deadline."""
    started = tmp_path / "started"
    runtime = fake_runtime(tmp_path / "hangs", f"case \"$*\" in *' create '*|*' run '*) touch {started}; sleep 1000; esac")
    process = any_runtime.start("--rm", "--runtime", runtime, any_runtime.small, "true")
    run.wait_until(started.exists, 20, "the runtime to hang")
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=40)[1]
    assert process.returncode == 128 + signal.SIGINT, said
    assert len(said.splitlines()) == 1 and "interrupted" in said
    nothing_of(any_runtime)


@pytest.mark.parametrize("ends", ["killed", "late"])
def test_monitor_is_killed_in_a_create(any_runtime, tmp_path, ends):
    """The runtime is asked, and nobody waits for it: it is killed too, with cgroups made and no state
    written, or comes to its end and there is a container that nobody knows."""
    cgroups, begun = runkit.cgroups(), tmp_path / "begun"
    groups = Path("/sys/fs/cgroup")
    hierarchies = [groups] if (groups / "cgroup.controllers").exists() else [
        p for p in groups.iterdir() if p.is_dir() and not p.is_symlink()]
    place = "for last; do :; done; mkdir " + " ".join(f"{p}/sluice-$last" for p in hierarchies)
    runtime = fake_runtime(tmp_path / "slow", f"case \"$*\" in *' create '*|*' run '*) {place}; touch {begun};"
                           f" sleep 2; esac; exec runc \"$@\"")
    process = any_runtime.start("-d", "--runtime", runtime, "--name", "half", any_runtime.small, "sleep", "1000")
    run.wait_until(begun.exists, 20, "the runtime to be asked")
    asked = [pid for pid, words in run.marked_processes(os.environ[run.MARK]) if str(runtime).encode() in words]
    assert runkit.cgroups() - cgroups and asked
    for pid in (process.pid, one("monitor"), *(asked if ends == "killed" else [])):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    if ends == "late":
        run.wait_until(lambda: not any(map(runs, asked)), 20, "the runtime to end")
    any_runtime.verb("rm", "-f", "half")
    nothing_of(any_runtime)
    run.wait_until(lambda: runkit.cgroups() <= cgroups, 10, "cgroups to go")


def test_runtime_that_hangs_when_asked(any_runtime, tmp_path):
    runtime = tmp_path / "hangs"
    runtime.write_text("#!/bin/sh\nexec sleep 1000\n")
    runtime.chmod(0o755)
    any_runtime.refuses("--rm", "--runtime", runtime, any_runtime.small, "true", status=125, part=str(runtime))
    nothing_of(any_runtime)


def test_many_at_once(containers):
    cgroups, spaces = runkit.cgroups(), namespaces()
    containers("true")
    # As many as the machine can start side by side wait for each other, not for us.
    with futures.ThreadPoolExecutor(AT_ONCE) as pool:
        ends = list(pool.map(lambda _: containers("true", check=False), range(AT_ONCE)))
    assert {(e.returncode, e.stdout, e.stderr) for e in ends} == {(0, "", "")}
    nothing_of(containers)
    run.wait_until(lambda: runkit.cgroups() <= cgroups, 20, "cgroups to go")
    run.wait_until(lambda: namespaces() <= spaces, 20, "network namespaces to go")
