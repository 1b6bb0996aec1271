# SPDX-License-Identifier: Apache-2.0
"""What earlier starts read is fetched before this one asks; what it reads is learnt."""
import hashlib
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from lib import images, layers, run

SECONDS_MAX, END_SECONDS_MAX = 30, 5
FILES, FILE_BYTES = 24, 1 << 20
WANTED = [3, 17, 9, 20]  # in the order in which a start reads them
SEED = 7


def file_bytes(number):
    """Half of it does not compress."""
    noise = random.Random(SEED * 1000 + number).randbytes(FILE_BYTES // 2)
    return noise + bytes(FILE_BYTES // 2)


def layer():
    tar = layers.TarLayer()
    tar.directory("data")
    for number in range(FILES):
        tar.add(f"data/{number}", data=file_bytes(number))
    return tar.finish()


@pytest.fixture(params=["gzip", "zstd-many"])
def image(request, tmp_path, own_registry, another_sluice):
    """In a registry, with its index."""
    layout = images.Layout(tmp_path / "layout")
    layout.tag(layout.manifest([layer()], request.param))
    name = own_registry.push(f"oci:{layout.place}:latest", "demo:latest")
    another_sluice("index", "push", name)
    shutil.rmtree(another_sluice.store)
    return name


@pytest.fixture(params=["fuse", "erofs"])
def kind(request):
    return f"--fs={request.param}"


def told(sluice, directory):
    return json.loads(sluice("stat", directory, "--format", "json").stdout)


def quietly(sluice):
    """The store learns nothing from this mount."""
    return f"--profile-file={sluice.place}/touched"


def server_of(sluice, directory):
    rows = json.loads(sluice("mounts", "--format", "json").stdout)
    return next(row["server"] for row in rows if row["dir"] == str(directory))


def log_of(sluice, directory):
    rows = json.loads(sluice("mounts", "--format", "json").stdout)
    found = next(row["id"] for row in rows if row["dir"] == str(directory))
    return (Path("/run/sluice") / found / "log").read_text()


def read(directory, number):
    assert (directory / f"data/{number}").read_bytes() == file_bytes(number)


def profile_of(sluice):
    found = list(sluice.store.glob("images/*/profile"))
    assert len(found) <= 1
    return found[0] if found else None


def record(sluice, image, *options):
    """A start that reads what is wanted, and then says that it is ready."""
    mounted = sluice.mount(image, *options)
    for number in WANTED:
        read(mounted, number)
    os.kill(server_of(sluice, mounted), signal.SIGUSR2)
    run.wait_until(lambda: profile_of(sluice), SECONDS_MAX, "the start to be learnt")
    return mounted


def settled(sluice, mounted):
    """What stat says once nothing more is fetched by itself."""
    before = None
    end = time.monotonic() + SECONDS_MAX
    while time.monotonic() < end:
        now = told(sluice, mounted)
        if before and now["bytes_prefetched"] > 0 and now["bytes_fetched"] == before["bytes_fetched"]:
            return now
        before = now
        time.sleep(0.3)
    raise AssertionError(f"it never settles: {now}")


def give_profile(sluice, another, image):
    """Prepares the image for the other, and hands it the profile."""
    another.umount(another.mount(image, quietly(another)))
    place = next(another.store.glob("images/*"))
    shutil.copy(profile_of(sluice), place / "profile")


def test_profile_is_fetched_before_it_is_read(sluice, another_sluice, image, kind):
    record(sluice, image, kind)
    give_profile(sluice, another_sluice, image)
    mounted = another_sluice.mount(image, kind, quietly(another_sluice))
    before = settled(another_sluice, mounted)
    # Four files of 24, each with what shares its spans; never all of them.
    assert 4 * FILE_BYTES <= before["bytes_prefetched"] <= 12 * FILE_BYTES
    assert before["reads"] == 0 or kind == "--fs=erofs"
    for number in WANTED:
        read(mounted, number)
    after = told(another_sluice, mounted)
    assert after["requests"] == before["requests"]
    assert after["cache_misses"] == before["cache_misses"]
    assert after["bytes_prefetched_used"] >= 4 * FILE_BYTES
    read(mounted, 11)
    assert told(another_sluice, mounted)["requests"] > after["requests"]


def test_recording_ends_by_itself(sluice, image, kind):
    mounted = sluice.mount(image, kind, "--profile-quiet=200ms")
    read(mounted, 1)
    run.wait_until(lambda: profile_of(sluice), SECONDS_MAX, "the start to be learnt")
    learnt = profile_of(sluice).read_bytes()
    read(mounted, 20)
    time.sleep(0.5)
    assert profile_of(sluice).read_bytes() == learnt


def test_recording_ends_with_the_mount(sluice, image):
    mounted = sluice.mount(image)
    read(mounted, 1)
    assert not profile_of(sluice)
    sluice.umount(mounted)
    run.wait_until(lambda: profile_of(sluice), SECONDS_MAX, "the start to be learnt")


def test_nothing_is_learnt_of_nothing(sluice, image):
    sluice.umount(sluice.mount(image))
    mounted = sluice.mount(image, quietly(sluice))
    read(mounted, 1)
    os.kill(server_of(sluice, mounted), signal.SIGUSR2)
    run.wait_until((sluice.place / "touched").exists, SECONDS_MAX, "what was touched")
    touched = json.loads((sluice.place / "touched").read_text())
    assert touched
    read(mounted, 2)  # the server lives
    sluice.umount(mounted)
    assert not profile_of(sluice)


def test_crash_loses_the_recording_and_nothing_else(sluice, image):
    mounted = sluice.mount(image)
    read(mounted, 1)
    server = server_of(sluice, mounted)
    os.kill(server, signal.SIGKILL)
    run.wait_until(lambda: server_of(sluice, mounted) != server, SECONDS_MAX, "another server")
    read(mounted, 2)
    sluice.umount(mounted)
    assert not profile_of(sluice)


@pytest.mark.parametrize("wrong", [b"", b"{", b"[]", b'{"version": 1}', b"\xff" * 100])
def test_wrong_profile_is_ignored_aloud(sluice, image, wrong):
    sluice.umount(sluice.mount(image, quietly(sluice)))
    (next(sluice.store.glob("images/*")) / "profile").write_bytes(wrong)
    mounted = sluice.mount(image, quietly(sluice))
    read(mounted, 5)
    run.wait_until(lambda: "startup profile is not used" in log_of(sluice, mounted), SECONDS_MAX,
                   "the warning")
    assert told(sluice, mounted)["errors"] == 0


def test_fill(sluice, image, kind):
    mounted = sluice.mount(image, kind, "--fill")
    run.wait_until(lambda: told(sluice, mounted)["complete"], SECONDS_MAX, "all to be local")
    assert "fully local" in sluice("stat", mounted).stdout
    requests = told(sluice, mounted)["requests"]
    digest = hashlib.sha256()
    for number in range(FILES):
        read(mounted, number)
        digest.update(file_bytes(number))
    assert told(sluice, mounted)["requests"] == requests


def test_fill_keeps_to_the_budget(sluice, image):
    mounted = sluice.mount(image, "--fill", "--budget=8M", quietly(sluice))
    run.wait_until(lambda: "the fill stops" in log_of(sluice, mounted), SECONDS_MAX,
                   "the fill to stop")
    assert told(sluice, mounted)["bytes_present"] <= 8 << 20
    for number in range(FILES):
        read(mounted, number)


def test_end_does_not_wait_for_the_fill(sluice, image):
    mounted = sluice.mount(image, "--fill", "--prefetch-rate=10K", quietly(sluice))
    run.wait_until(lambda: told(sluice, mounted)["bytes_fetched"] > 0, SECONDS_MAX, "the fill")
    server = server_of(sluice, mounted)
    sluice.umount(mounted)
    run.wait_until(lambda: not Path(f"/proc/{server}").exists(), END_SECONDS_MAX,
                   "the server to end")


def test_prefetch_without_the_registry(sluice, another_sluice, own_registry, image):
    record(sluice, image)
    give_profile(sluice, another_sluice, image)
    own_registry.stop()
    mounted = another_sluice.mount(image, quietly(another_sluice), "--read-timeout=2s")
    with pytest.raises(OSError):
        (mounted / "data/3").read_bytes()
    own_registry.start()

    def heals():
        try:
            read(mounted, 3)
        except OSError:
            return False
        return True
    run.wait_until(heals, SECONDS_MAX, "reads to work again")
