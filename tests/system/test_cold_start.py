# SPDX-License-Identifier: Apache-2.0
"""What a first mount asks for, what waits for what, and what is not asked for twice."""
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from conftest import PROGRAM
from faultlib import FaultServer, count
from lib import images, layers, run

OPENED_SECONDS_MAX = 20
GONE_SECONDS_MAX = 20
USER, PASSWORD = "anna", "correct horse"
LOGIN = {"user": USER, "password": PASSWORD, "expires_in": 300}
# What a server opens while its image is prepared, and what preparing opens for itself.
CONNECTIONS_MAX = 16


@pytest.fixture
def indexed(tmp_path, sluice, nothing_left):
    """An image, and Sluice's index of it, in a layout."""
    made = images.Layout(tmp_path / "layout")
    made.image = made.manifest((layers.bottom(), layers.middle(), layers.top()))
    made.tag(made.image)
    server = FaultServer(made.place).start()
    try:
        sluice("index", "push", f"{server.host}/a/b:latest", SLUICE_STORE=str(tmp_path / "pushed"))
    finally:
        server.stop()
    return made


@pytest.fixture
def serve(indexed):
    servers = []

    def start(*rules, **options):
        servers.append(FaultServer(indexed.place, rules, annotated=True, **options).start())
        return servers[-1]
    yield start
    for server in servers:
        server.stop()


def bundle_of(server, digest):
    """Where the bundle of an image is, from its list of referrers."""
    (entry,) = server.layout.referrers(digest, True)
    return entry["annotations"]["dev.sluice.bundle.digest"]


def open_when_seen(server, gate, *paths):
    """Opens the gate as soon as each of the paths has been asked for; says whether they were."""
    seen = []

    def watch():
        until = time.monotonic() + OPENED_SECONDS_MAX
        while time.monotonic() < until:
            if all(count(server, path=path) for path in paths):
                seen.append(True)
                break
            time.sleep(0.01)
        gate.set()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()

    def result():
        thread.join()
        return bool(seen)
    return result


class TestDepth:
    def test_digest_asks_beside_the_manifest(self, sluice, serve, indexed):
        """Whoever names the digest has the index on its way before the manifest is there."""
        gate, digest = threading.Event(), indexed.image["digest"]
        server = serve({"path": f".*/manifests/{digest}", "gate": gate})
        bundle = bundle_of(server, digest)
        asked = open_when_seen(server, gate, "/referrers/", bundle)
        sluice.mount(f"{server.host}/a/b@{digest}")
        assert asked()

    def test_bundle_does_not_wait_for_the_config(self, sluice, serve, indexed):
        gate, digest = threading.Event(), indexed.image["digest"]
        config = json.loads(indexed.blob_path(digest).read_bytes())["config"]["digest"]
        server = serve({"path": f".*/blobs/{config}", "gate": gate})
        asked = open_when_seen(server, gate, bundle_of(server, digest))
        sluice.mount(f"{server.host}/a/b:latest")
        assert asked()

    def test_digest_of_an_index_of_platforms(self, sluice, serve, indexed):
        """What was asked about the index is not taken for what belongs to the image."""
        image = indexed.image["digest"]
        top = indexed.index([indexed.image])["digest"]
        server = serve()
        sluice.mount(f"{server.host}/a/b@{top}")
        assert count(server, path=f"/referrers/{top}") == 1
        assert count(server, path=f"/referrers/{image}") == 1
        assert count(server, path=bundle_of(server, image)) == 1


@pytest.fixture
def login(sluice):
    """Makes the user's credentials file know a server."""
    def note(server):
        place = sluice.home / ".docker"
        place.mkdir(exist_ok=True)
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (place / "config.json").write_text(json.dumps({"auths": {server.host: {"auth": auth}}}))
    return note


def processes_of(sluice, directory):
    """The holder and the server of a mount."""
    for entry in json.loads(sluice("mounts", "--format", "json").stdout):
        if entry["dir"] == str(directory):
            return entry["holder"], entry["server"]
    raise AssertionError(f"{directory} is not in the table of mounts")


def first_file(directory):
    return next(path for path in sorted(Path(directory).rglob("*"))
                if path.is_file() and not path.is_symlink() and path.stat().st_size)


class TestAhead:
    """Holder and server start while the image is prepared, and go on with what was learned."""

    def test_server_asks_for_no_token(self, sluice, serve, login):
        server = serve(auth=LOGIN)
        login(server)
        directory = sluice.mount(f"{server.host}/a/b:latest", "--fs=fuse")
        before = len(server.requests)
        first_file(directory).read_bytes()
        asked = server.requests[before:]
        assert asked and all(r["headers"].get("authorization") for r in asked)
        assert count(server, path="/token") == 1

    def test_token_is_in_memory_only(self, sluice, serve, login):
        server = serve(auth=LOGIN)
        login(server)
        directory = sluice.mount(f"{server.host}/a/b:latest", "--log-level", "debug")
        first_file(directory).read_bytes()
        secrets = [token.encode() for token in server.tokens] + [PASSWORD.encode()]
        assert len(secrets) == 2
        places = list(sluice.store.rglob("*")) + list(Path("/run/sluice").rglob("*"))
        for pid in processes_of(sluice, directory):
            process = Path("/proc", str(pid))
            places += [process / "environ", process / "cmdline"]
            held = [os.readlink(fd) for fd in (process / "fd").iterdir()]
            assert not [name for name in held if "sluice-known" in name]
        for place in places:
            if place.is_file() and not place.is_symlink():
                content = place.read_bytes()
                assert not [secret for secret in secrets if secret in content], place

    def test_first_read_finds_a_connection(self, sluice, serve):
        """The server's were opened before it knew what it serves; reading opens none."""
        server = serve()
        directory = sluice.mount(f"{server.host}/a/b:latest", "--fs=fuse")
        path, opened = first_file(directory), server.connections
        assert opened <= CONNECTIONS_MAX
        path.read_bytes()
        assert count(server, path="/blobs/") > 2
        assert server.connections == opened

    def test_connects_to_where_blobs_are(self, sluice, serve, indexed):
        """The host that the registry sends to is connected to before the first read."""
        store = serve()
        server = serve()
        for path in indexed.blob_path("sha256:x").parent.iterdir():
            server.add_rule(path=f".*/blobs/sha256:{path.name}", status=307, headers={
                "Location": f"{store.url}/v2/a/b/blobs/sha256:{path.name}?signature=1"})
        directory = sluice.mount(f"{server.host}/a/b:latest", "--fs=fuse")
        run.wait_until(lambda: count(store, path="/") - count(store, path="/v2/") >= 4,
                       GONE_SECONDS_MAX, "connections to be opened")
        assert all("signature" not in r["path"] for r in store.requests if "/v2/" not in r["path"])
        opened = store.connections
        first_file(directory).read_bytes()
        assert store.connections == opened

    def test_known_image_opens_none(self, sluice, serve):
        """Of an image that is in the store, nothing is asked but what its name means."""
        server = serve()
        image = f"{server.host}/a/b:latest"
        sluice.umount(sluice.mount(image))
        server.requests.clear()
        sluice.mount(image)
        assert [r["path"] for r in server.requests] == ["/v2/a/b/manifests/latest"]

    @pytest.mark.parametrize("how", ("fails", "is killed", "is told to end"))
    def test_nothing_stays_when_preparing(self, sluice, serve, how):
        gate = threading.Event()
        server = serve({"path": ".*/manifests/latest", "gate": gate, "status": 404})
        before = set(os.listdir("/run/sluice")) if os.path.isdir("/run/sluice") else set()
        directory = sluice.place / "mnt"
        directory.mkdir()
        process = subprocess.Popen([PROGRAM, "mount", f"{server.host}/a/b:latest", directory],
                                   env=sluice.environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

        def begun():
            return [pid for pid in pids() if words_of(pid)[1:2] in (["hold"], ["serve"])
                    and f"{server.host}/a/b:latest" in words_of(pid)]
        try:
            run.wait_until(lambda: len(begun()) == 2 and count(server, path="/manifests/latest"),
                           GONE_SECONDS_MAX, "holder and server to start")
            assert not os.path.ismount(directory)
            if how == "is killed":
                process.kill()
            elif how == "is told to end":
                process.terminate()
        finally:
            if how == "fails":
                gate.set()
            _, said = process.communicate(timeout=GONE_SECONDS_MAX)
            gate.set()
        assert process.returncode != 0
        if how == "fails":
            assert re.search("there is no such image", said)
        run.wait_until(lambda: not begun(), GONE_SECONDS_MAX, "holder and server to end")
        run.wait_until(lambda: set(os.listdir("/run/sluice")) <= before, GONE_SECONDS_MAX,
                       "the entry to go")

    def test_server_that_dies_ahead(self, sluice, serve):
        """The mount fails with a sentence, and leaves nothing."""
        gate = threading.Event()
        server = serve({"path": ".*/manifests/latest", "gate": gate})
        directory = sluice.place / "mnt"
        directory.mkdir()
        process = subprocess.Popen([PROGRAM, "mount", f"{server.host}/a/b:latest", directory],
                                   env=sluice.environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

        def servers():
            return [pid for pid in pids() if words_of(pid)[1:2] == ["serve"]
                    and f"{server.host}/a/b:latest" in words_of(pid)]
        try:
            run.wait_until(servers, GONE_SECONDS_MAX, "a server to start")
            os.kill(servers()[0], 9)
            run.wait_until(lambda: not servers(), GONE_SECONDS_MAX, "the server to end")
        finally:
            gate.set()
            _, said = process.communicate(timeout=GONE_SECONDS_MAX)
        assert process.returncode == 1
        assert "the server ended before it was ready" in said
        assert not os.path.ismount(directory)


class TestDisk:
    def test_server_settles(self, sluice, serve):
        """What the mount did not wait for is on the disk soon."""
        server = serve()
        sluice.mount(f"{server.host}/a/b:latest")
        run.wait_until(lambda: not os.listdir(sluice.store / "unsynced"), GONE_SECONDS_MAX,
                       "the server to settle the store")

    def test_settled_at_the_end(self, sluice, serve):
        server = serve()
        directory = sluice.mount(f"{server.host}/a/b:latest")
        _, pid = processes_of(sluice, directory)
        assert len(os.listdir(sluice.store / "unsynced")) == 1
        sluice.umount(directory)
        run.wait_until(lambda: not words_of(pid), GONE_SECONDS_MAX, "the server to end")
        assert os.listdir(sluice.store / "unsynced") == []

    def test_pull_waits(self, sluice, serve):
        """It promises that the image is kept, also what others have put there just now."""
        server = serve()
        sluice("pull", f"{server.host}/a/b:latest")
        assert os.listdir(sluice.store / "unsynced") == []
        shutil.rmtree(sluice.store)
        directory = sluice.mount(f"{server.host}/a/b:latest")
        _, pid = processes_of(sluice, directory)
        os.kill(pid, signal.SIGSTOP)
        try:
            sluice("pull", f"{server.host}/a/b:latest")
        finally:
            os.kill(pid, signal.SIGCONT)
        assert os.listdir(sluice.store / "unsynced") == []


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def words_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
