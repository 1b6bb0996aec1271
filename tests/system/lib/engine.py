# SPDX-License-Identifier: Apache-2.0
"""Engines for the engine drivers: one that says what it is told to, and real ones."""
import json
import os
import shutil
import signal
import socket
import socketserver
import struct
import subprocess
import tarfile
import threading
from pathlib import Path

from . import run

REQUEST_BYTES_MAX = 1 << 20
UP_SECONDS_MAX = 30
STOP_SECONDS_MAX = 20
VERSIONS = {
    "docker": {"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12",
               "Components": [{"Name": "Engine"}]},
    "podman": {"Version": "4.3.1", "ApiVersion": "1.41", "MinAPIVersion": "1.24",
               "Components": [{"Name": "Podman Engine"}]},
}


def frame(stream, data):
    return struct.pack(">BxxxI", stream, len(data)) + data


def answer(status, body=b"", *, length=None, kind="application/json"):
    """A whole answer; length: what its header claims."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\n"
    if status != 304:
        head += f"Content-Length: {len(body) if length is None else length}\r\n"
    return head.encode() + b"\r\n" + body


def chunked(*chunks, end=True, status=200):
    head = f"HTTP/1.1 {status} Said\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    pieces = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]
    return head + b"".join(pieces) + (b"0\r\n\r\n" if end else b"")


class Fake:
    """Answers by a table: (method, beginning of the path behind the version) to bytes, a list of
    bytes for one request after the other, or a function that gets the connection."""

    def __init__(self, path, kind="docker"):
        self.path, self.asked, self.answers = path, [], {}
        self.say("GET", "/version", answer(200, VERSIONS[kind]))
        self.server = None

    def say(self, method, path, what):
        self.answers[method, path] = what

    def handle(self, connection):
        request = b""
        while b"\r\n\r\n" not in request and len(request) < REQUEST_BYTES_MAX:
            piece = connection.recv(65536)
            if not piece:
                return
            request += piece
        head, _, body = request.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        method, target, _ = lines[0].split(" ")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:])
        while len(body) < int(fields.get("content-length", 0)):
            body += connection.recv(65536)
        self.asked.append((method, target, body.decode(), fields))
        path = target.split("/", 2)[2] if target.startswith("/v1.") or target.startswith("/v4.") \
            else target[1:]
        self.reply(connection, method, "/" + path)

    def reply(self, connection, method, path):
        fitting = [key for key in self.answers if key[0] == method and path.startswith(key[1])]
        if not fitting:
            connection.sendall(answer(404, {"message": f"fake: no {method} {path}"}))
            return
        what = self.answers[max(fitting, key=lambda key: len(key[1]))]
        if isinstance(what, list):
            what = what.pop(0)
        if callable(what):
            what(connection)
        else:
            connection.sendall(what)

    def paths(self, method):
        return [target for m, target, _, _ in self.asked if m == method]

    def body_of(self, end):
        (body,) = [body for _, target, body, _ in self.asked if target.split("?")[0].endswith(end)]
        return json.loads(body)

    def __enter__(self):
        fake = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                try:
                    fake.handle(self.request)
                except OSError:
                    pass  # who asked is gone

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            request_queue_size = 128

        self.server = Server(str(self.path), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def until_gone(connection):
    """Says nothing more, until the other side closes."""
    try:
        while connection.recv(65536):
            pass
    except OSError:
        pass


class Engine:
    """A real engine on a socket of its own, with everything that it keeps below one folder."""

    def __init__(self, place):
        self.place, self.process = Path(place), None
        self.socket = self.place / "s.sock"
        self.log = self.place / "log"

    def command(self):
        raise NotImplementedError

    def environment(self):
        return {k: v for k, v in os.environ.items() if k != run.MARK}

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.environment(),
                                            start_new_session=True)
        try:
            run.wait_until(self.is_up, UP_SECONDS_MAX, f"{self.command()[0]} to listen")
        except AssertionError:
            self.stop()
            raise
        return self

    def is_up(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.command()} ended: {self.log.read_text(errors='replace')}")
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(str(self.socket))
            except OSError:
                return False
        return True

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None


def busybox_tar(path):
    """A root filesystem with busybox in it."""
    with tarfile.open(path, "w") as tar:
        tar.add("/bin/busybox", "bin/busybox")
        for name in ("sh", "sleep", "cat", "echo", "true", "stty", "head", "seq"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname, link.mode = tarfile.SYMTYPE, "busybox", 0o777
            tar.addfile(link)
    return path


class Podman(Engine):
    """podman system service. Limits of processes and cgroups are those that this host can give."""

    def command(self, *words):
        return ["podman", "--root", f"{self.place}/root", "--runroot", f"{self.place}/run",
                "--tmpdir", f"{self.place}/tmp", "--storage-driver", "vfs", "--cgroup-manager",
                "cgroupfs", "--runtime", "runc", "--events-backend", "file",
                *(words or ("system", "service", "--time=0", f"unix://{self.socket}"))]

    def environment(self):
        conf = self.place / "containers.conf"
        conf.write_text('[containers]\nnetns = "none"\npids_limit = 0\n'
                        'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n')
        registries = self.place / "registries.conf"
        registries.write_text('[[registry]]\nlocation = "localhost"\ninsecure = true\n')
        policy = self.place / ".config/containers/policy.json"
        policy.parent.mkdir(parents=True, exist_ok=True)
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        return {**super().environment(), "CONTAINERS_CONF": str(conf), "HOME": str(self.place),
                "CONTAINERS_REGISTRIES_CONF": str(registries)}

    def stop(self):
        """Its monitors stay for minutes after a program that was run in a container."""
        super().stop()
        for pid in self.monitors():
            os.kill(pid, signal.SIGKILL)
        run.wait_until(lambda: not self.monitors(), STOP_SECONDS_MAX, "podman's monitors to end")

    def monitors(self):
        mark, found = os.fsencode(f"{self.place}/"), []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = Path("/proc", pid, "cmdline").read_bytes()
            except OSError:
                continue  # it has ended
            if mark in words and words.split(b"\0")[0].endswith(b"conmon"):
                found.append(int(pid))
        return found

    def load(self, tar, name):
        run.run(*self.command("import", "--quiet", str(tar), name), env=self.environment())


class Docker(Engine):
    """dockerd, in a network and a mount namespace of its own."""

    def command(self):
        return ["unshare", "--net", "--mount", "--", shutil.which("dockerd"),
                "--host", f"unix://{self.socket}", "--data-root", f"{self.place}/data",
                "--exec-root", f"{self.place}/exec", "--pidfile", f"{self.place}/pid",
                "--bridge", "none", "--iptables=false", "--ip-forward=false",
                "--storage-driver", "vfs", "--exec-opt", "native.cgroupdriver=cgroupfs"]

    def load(self, tar, name):
        repository, tag = name.rsplit(":", 1)
        run.run("curl", "--fail", "--silent", "--show-error", "--unix-socket", self.socket,
                "--header", "Content-Type: application/x-tar", "--data-binary", f"@{tar}",
                f"http://d/images/create?fromSrc=-&repo={repository}&tag={tag}")
