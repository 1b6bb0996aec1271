# SPDX-License-Identifier: Apache-2.0
"""What a first mount asks for, what waits for what, and what is not asked for twice."""
import json
import threading
import time

import pytest

from faultlib import FaultServer, count
from lib import images, layers

OPENED_SECONDS_MAX = 20


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
