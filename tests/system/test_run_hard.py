# SPDX-License-Identifier: Apache-2.0
"""Containers whose helpers are killed, terminals, and many containers at once."""
import concurrent.futures
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import tarfile
import termios
import time
from pathlib import Path

import pytest

import runkit
from lib import run

MANY = 12
TRAP = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done"


def processes_of(word):
    """(pid, command line) of this program's processes that have the word among theirs."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path("/proc", pid, "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if line[0] == "sluice" and word in line:
            yield int(pid), line


def monitor_of(identity):
    (found,) = [pid for pid, line in processes_of(identity) if line[1] == "monitor"]
    return found


def server_of(containers, identity):
    """The server of a container's mount."""
    rootfs = f"{containers.sluice.store}/containers/{identity}/rootfs"
    mounts = containers.sluice("mounts", "--format", "json").stdout
    (entry,) = [m for m in json.loads(mounts) if m["dir"] == rootfs]
    return entry


def until_ready(containers, name):
    run.wait_until(lambda: "ready" in containers.verb("logs", name).stdout, 10, "the container")


def test_run_is_killed(containers):
    process = containers.start("--name", "c", containers.small, "sh", "-c", TRAP)
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate(timeout=10)
    assert containers.status("c") == "running"
    assert containers.verb("exec", "c", "echo", "still").stdout == "still\n"
    containers.verb("stop", "c")
    assert containers.verb("wait", "c").stdout == "3\n"


def test_run_is_killed_and_the_container_goes(containers):
    process = containers.start("--rm", "--name", "c", containers.small, "sh", "-c", TRAP)
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate(timeout=10)
    containers.verb("stop", "c")
    run.wait_until(lambda: not containers.remains(), 10, "the container to go")
    assert not run.mounts_below(containers.sluice.store)


def test_monitor_is_killed(containers):
    identity = containers.detached("sh", "-c", TRAP, flags=["--name", "c"])
    until_ready(containers, "c")
    os.kill(monitor_of(identity), signal.SIGKILL)
    run.wait_until(lambda: containers.status("c") == "dead", 10, "the container to be dead")
    assert containers.list() == []
    containers.sluice.refuses("exec", "c", "true", status=125, words="dead")
    containers.sluice("gc")
    assert containers.remains() == []
    assert not run.mounts_below(containers.sluice.store)
    assert not [p for p, _ in processes_of(identity)]


def test_monitor_is_killed_and_the_container_is_stopped(containers):
    identity = containers.detached("sh", "-c", TRAP, flags=["--name", "c"])
    until_ready(containers, "c")
    os.kill(monitor_of(identity), signal.SIGKILL)
    run.wait_until(lambda: containers.status("c") == "dead", 10, "the container to be dead")
    containers.verb("stop", "c")
    assert containers.status("c") == "exited"
    containers.sluice.refuses("wait", "c", status=125, words="its monitor ended before it did")
    containers.verb("rm", "c")


def test_attached_run_tells_of_a_killed_monitor(containers):
    process = containers.start("--name", "c", containers.small, "sh", "-c", TRAP)
    assert process.stdout.readline() == "ready\n"
    (container,) = containers.list()
    os.kill(monitor_of(container["id"]), signal.SIGKILL)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 125 and "monitor is gone" in said
    containers.verb("rm", "-f", "c")


@pytest.mark.parametrize("kind", runkit.SERVED)
def test_servers_are_killed_under_load(containers, tmp_path, kind):
    """The mount's server dies while the container reads past every cache; nobody notices."""
    bytes_, block = 40 << 20, 64 << 10
    def change(t):
        t.add("var/big", data=os.urandom(bytes_ // 40) * 40)
        t.add("bin/dd", tarfile.SYMTYPE, link="busybox")
    image = runkit.image(tmp_path / "image", change=change)
    direct = "iflag=direct" if kind == "fuse" else ""  # which EROFS has not
    script = ("trap 'exit 0' TERM; while :; do "
              f"dd if=/var/big {direct} bs={block} 2>/dev/null | wc -c || echo failed; done")
    containers.pull_all_but_checked(image)
    identity = containers.run("-d", "--name", "c", "--fs", kind, image, "sh", "-c",
                              script).stdout.strip()
    for _ in range(3):
        seen = len(containers.verb("logs", "c").stdout.split())
        server = server_of(containers, identity)["server"]
        os.kill(server, signal.SIGKILL)
        Path("/proc/sys/vm/drop_caches").write_text("1\n")
        run.wait_until(lambda: server_of(containers, identity)["server"] not in (0, server), 10,
                       "another server")
        run.wait_until(lambda: len(containers.verb("logs", "c").stdout.split()) > seen + 1, 20,
                       "the container to go on reading")
    containers.verb("stop", "c")
    assert set(containers.verb("logs", "c").stdout.split()) == {str(bytes_)}


@pytest.mark.parametrize("kind", runkit.SERVED)
def test_holder_is_killed(containers, kind):
    containers.pull_all_but_checked(containers.small)
    identity = containers.detached("sh", "-c", TRAP, flags=["--name", "c", "--fs", kind])
    until_ready(containers, "c")
    os.kill(server_of(containers, identity)["holder"], signal.SIGKILL)
    assert containers.verb("exec", "c", "cat", "/etc/notes").stdout == "not a program\n"
    containers.verb("stop", "c")
    assert containers.verb("wait", "c").stdout == "3\n"


def test_interrupted_before_it_runs(containers, tmp_path):
    """What was set up when `run` was told to end is taken away again."""
    process = containers.start("--rm", containers.small, "sh", "-c", TRAP)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode in (-signal.SIGINT, 130, 3)
    for name in containers.remains():
        containers.verb("rm", "-f", name)
    assert not containers.remains()


def test_many_at_once(containers):
    containers("true")
    with concurrent.futures.ThreadPoolExecutor(MANY) as pool:
        said = list(pool.map(lambda n: containers("echo", str(n)).stdout, range(MANY)))
    assert said == [f"{n}\n" for n in range(MANY)]
    assert not containers.remains()


class Terminal:
    """A `sluice` command on a terminal of its own."""

    def __init__(self, containers, *words, rows=24, columns=80):
        self.master, slave = pty.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [containers.program, *words], stdin=slave, stdout=slave, stderr=slave,
            env={**os.environ, **containers.environment}, start_new_session=True)
        os.close(slave)
        self.said = ""

    def until(self, text, seconds=20):
        deadline = time.monotonic() + seconds
        os.set_blocking(self.master, False)
        while text not in self.said:
            assert time.monotonic() < deadline, f"'{text}' is not in {self.said!r}"
            try:
                self.said += os.read(self.master, 4096).decode()
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                break
        assert text in self.said, self.said
        self.said = self.said.split(text, 1)[1]

    def type(self, text):
        os.write(self.master, text.encode())

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def end(self):
        status = self.process.wait(20)
        os.close(self.master)
        return status


def test_terminal(containers):
    terminal = Terminal(containers, "run", "--runtime", containers.runtime, "-it", "--rm", "-e", "PS1=ready>",
                        containers.small, "sh", rows=33, columns=111)
    terminal.until("ready>")
    terminal.type("tty; stty size; echo $TERM\n")
    terminal.until("/dev/pts/0")
    terminal.until("33 111")
    terminal.until("xterm")
    terminal.resize(40, 100)
    terminal.type("sleep 0.3; stty size\n")
    terminal.until("40 100")
    terminal.type("sleep 100\n")
    terminal.until("sleep 100")
    time.sleep(0.3)
    terminal.type("\x03")
    terminal.until("ready>")
    terminal.type("exit 6\n")
    assert terminal.end() == 6


def test_detach_keys(containers):
    terminal = Terminal(containers, "run", "--runtime", containers.runtime, "-it", "--name", "t", "-e",
                        "PS1=ready>", containers.small, "sh")
    terminal.until("ready>")
    terminal.type("\x10\x11")
    assert terminal.end() == 0
    assert containers.status("t") == "running"
    containers.verb("rm", "-f", "t")


def test_terminal_of_exec(containers):
    containers.detached("sleep", "100", flags=["--name", "e"])
    terminal = Terminal(containers, "exec", "-it", "-e", "PS1=ready>", "e", "sh")
    terminal.until("ready>")
    terminal.type("tty; stty size\n")
    terminal.until("/dev/pts/")
    terminal.until("24 80")
    terminal.type("exit 4\n")
    assert terminal.end() == 4


def test_terminal_without_one(containers):
    said = containers("tty", flags=["-t"])
    assert said.stdout == "/dev/pts/0\n"


def test_from_a_registry(containers, tmp_path, own_registry, another_sluice):
    """With an index beside it, an image runs before most of it has crossed the network."""
    big = 24 << 20
    image = runkit.image(tmp_path / "image", change=lambda t: t.add("var/big", data=os.urandom(big)))
    name = own_registry.push(image, "app:1")
    another_sluice("index", "build", "--plain-http", name)
    another_sluice("index", "push", "--plain-http", name)
    said = containers.run("--rm", "--plain-http", name, "echo", "from afar")
    assert said.stdout == "from afar\n"
    stat = json.loads(containers.sluice("stat", "--format", "json", name).stdout)
    assert 0 < stat["bytes_fetched"] < big / 2
    own_registry.stop()
    # What the store knows needs no registry, but --pull=always does.
    assert containers.run("--rm", "--plain-http", name, "echo", "again").stdout == "again\n"
    assert containers.run("--rm", "--plain-http", "--pull", "never", name, "true").stdout == ""
    containers.refuses("--rm", "--plain-http", "--pull", "always", name, "true", status=125, part="app:1")
    assert containers.run("--rm", "--plain-http", "--pull", "newer", name, "echo", "old").stdout == "old\n"
    containers.refuses("--pull", "never", "localhost/nonesuch", "true", status=125, part="nonesuch")


def test_run_is_killed_before_the_container_is_there(containers):
    containers("true")
    for wait in (0.005, 0.01, 0.02, 0.03, 0.05):
        process = containers.start("--rm", containers.small, "sleep", "1")
        time.sleep(wait)
        process.kill()
        process.communicate(timeout=10)
    run.wait_until(lambda: not containers.list(), 20, "those that run to end")
    containers.sluice("gc", "--min-age", "1ms")
    assert containers.remains() == []
    assert not run.mounts_below(containers.sluice.store)
