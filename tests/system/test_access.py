# SPDX-License-Identifier: Apache-2.0
"""Registries that want to know who asks, or send elsewhere: while a mount lives."""
import concurrent.futures
import errno
import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from lib import compare, images, layers, registry, run

BIG = 24 << 20
# docker-registry allows a minute of grace: a token that ended just less than that ago is about
# to be refused, whatever the token server says of it.
SHORT_SECONDS = 3 - 60
PASSED_SECONDS = 5
HEAL_SECONDS_MAX = 30


@pytest.fixture
def private(tmp_path, nothing_left):
    server = registry.TokenRegistry(tmp_path / "registry").start()
    yield server
    server.stop()


def publish(sluice, server, tmp_path):
    layout = images.Layout(tmp_path / "layout")
    layout.tag(layout.manifest([layers.bottom(big=BIG)]))
    name = server.push(f"oci:{layout.place}:latest", "demo:latest")
    sluice("index", "push", name, SLUICE_CREDS=login(server))
    return name


@pytest.fixture
def image(another_sluice, private, tmp_path):
    return publish(another_sluice, private, tmp_path)


def pread(path, offset, n=4096):
    with open(path, "rb") as file:
        return os.pread(file.fileno(), n, offset)


def login(server):
    return ":".join(server.credentials)


def test_token_ends_while_mounted(sluice, private, image):
    """One more token for many readers, and none of them notices."""
    private.write_credentials(sluice.home)
    private.tokens.seconds = SHORT_SECONDS
    mounted = sluice.mount(image)
    pread(mounted / "data/big", 0)
    before = len(private.tokens.seen)
    time.sleep(PASSED_SECONDS)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        offsets = range(BIG // 2, BIG - 8192, 1 << 20)
        assert all(pool.map(lambda at: len(pread(mounted / "data/big", at)) == 4096, offsets))
    assert 1 <= len(private.tokens.seen) - before <= 3
    assert json.loads(sluice("stat", mounted, "--format", "json").stdout)["errors"] == 0


def test_refused_while_mounted(sluice, private, image):
    """A token server that turns the user away costs what is not local, until it is back."""
    private.write_credentials(sluice.home)
    private.tokens.seconds = SHORT_SECONDS
    mounted = sluice.mount(image, "--read-timeout", "10s")
    local = pread(mounted / "data/big", 0)
    time.sleep(PASSED_SECONDS)
    private.tokens.broken = (401, {"errors": []})
    with pytest.raises(OSError) as caught:
        pread(mounted / "data/big", BIG - 8192)
    assert caught.value.errno == errno.EIO
    assert pread(mounted / "data/big", 0) == local
    private.tokens.broken = None

    def heals():
        try:
            return hashlib.sha256((mounted / "data/big").read_bytes()).hexdigest()
        except OSError:
            return None
    assert run.wait_until(heals, HEAL_SECONDS_MAX, "the mount to heal")
    sluice("fsck", "--deep")


@pytest.mark.parametrize("how", ("--creds", "SLUICE_CREDS", "--authfile"))
def test_ways_to_log_in(sluice, private, image, how):
    if how == "--creds":
        mounted = sluice.mount(image, "--creds", login(private))
    elif how == "SLUICE_CREDS":
        mounted = sluice.mount(image, SLUICE_CREDS=login(private))
    else:
        private.write_credentials(sluice.place)
        mounted = sluice.mount(image, "--authfile", sluice.place / ".docker/config.json")
    assert len(pread(mounted / "data/big", BIG // 2)) == 4096
    row = next(row for row in json.loads(sluice("mounts", "--format", "json").stdout)
               if row["dir"] == str(mounted))
    for pid in (row["holder"], row["server"]):
        assert registry.PASSWORD.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    for path in Path("/run/sluice", row["id"]).iterdir():
        if path.is_file():
            assert registry.PASSWORD.encode() not in path.read_bytes()


def test_wrong_password_on_the_command_line(sluice, private, image, tmp_path):
    (tmp_path / "d").mkdir()
    said = sluice.refuses("mount", image, tmp_path / "d", "--creds", "anna:guess",
                          words=[private.host, "refuses the credentials"])
    assert "guess" not in said
    sluice.refuses("mount", image, tmp_path / "d", "--creds", "anna", words="USER:PASSWORD",
                   status=2)


def test_redirect_away_then_back(sluice, another_sluice, tmp_path, nothing_left):
    """The store behind the registry goes away; what it gave stays, and it is asked anew later."""
    server = registry.RedirectRegistry(tmp_path / "registry").start()
    try:
        layout = images.Layout(tmp_path / "layout")
        layout.tag(layout.manifest([layers.bottom(big=BIG)]))
        name = server.push(f"oci:{layout.place}:latest", "demo:latest")
        another_sluice("index", "push", name)
        mounted = sluice.mount(name, "--read-timeout", "4s")
        local = pread(mounted / "data/big", 0)
        server.front.stop()
        with pytest.raises(OSError) as caught:
            pread(mounted / "data/big", BIG - 8192)
        assert caught.value.errno == errno.EIO
        assert pread(mounted / "data/big", 0) == local
        server.front.start()

        def heals():
            try:
                return compare.walk(mounted)
            except OSError:
                return None
        assert run.wait_until(heals, HEAL_SECONDS_MAX, "the mount to heal")
    finally:
        server.stop()
