# SPDX-License-Identifier: Apache-2.0
"""Running programs: each has a timeout, and what is started is stopped by its pid."""
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

COMMAND_SECONDS_MAX = 120
START_SECONDS_MAX = 20
STOP_SECONDS_MAX = 10
MARK = "SLUICE_TEST"


class CommandFailed(AssertionError):
    pass


def run(*command, timeout=COMMAND_SECONDS_MAX, check=True, **options):
    """Runs a command; its output is captured as text, and a failure shows all of it."""
    command = [os.fspath(c) if isinstance(c, os.PathLike) else c for c in command]
    result = subprocess.run(command, capture_output=True, timeout=timeout,
                            text=options.pop("text", True),
                            errors=options.pop("errors", "surrogateescape"), **options)
    if check and result.returncode:
        raise CommandFailed(f"{command} ended with {result.returncode}\n"
                            f"{result.stdout}\n{result.stderr}")
    return result


def free_port():
    """A loopback port that nothing listens on, as the kernel picks it."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.02)


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


class Daemon:
    """A server of the test's own: started, waited for, stopped by pid."""

    def __init__(self, command, port, log):
        self.command, self.port, self.log, self.process = command, port, Path(log), None

    def start(self):
        environment = {k: v for k, v in os.environ.items() if k != MARK}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=environment)
        wait_until(self._is_up, START_SECONDS_MAX, f"{self.command[0]} on port {self.port}")
        return self

    def _is_up(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.command} ended: {self.log.read_text(errors='replace')}")
        return answers(self.port)

    def stop(self):
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def pause(self):
        """Stalls without closing a connection."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)


def marked_processes(mark):
    """Live processes whose environment holds SLUICE_TEST=mark, as (pid, command line)."""
    found, wanted = [], f"{MARK}={mark}".encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            place = Path("/proc", pid)
            state = (place / "stat").read_text(errors="replace").rsplit(")", 1)[1].split()[0]
            if state in "ZX" or wanted not in (place / "environ").read_bytes().split(b"\0"):
                continue
            found.append((int(pid), (place / "cmdline").read_bytes().replace(b"\0", b" ")))
        except OSError:
            continue
    return [p for p in found if p[0] != os.getpid()]


def mounts_below(directory):
    """Mount points at or below a directory, the innermost first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        point = os.fsdecode(line.split()[4].decode("unicode_escape").encode("latin-1"))
        if point == str(directory) or point.startswith(f"{directory}/"):
            found.append(point)
    return sorted(found, key=len, reverse=True)


def mount_type(directory):
    """The type of what is mounted there last."""
    found = None
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            before, after = line.split(" - ", 1)
            if before.split()[4] == str(directory):
                found = after.split()[0]
    return found
