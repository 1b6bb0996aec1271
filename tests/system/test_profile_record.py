# SPDX-License-Identifier: Apache-2.0
"""What starts touch is recorded, by mounts, by containers and on demand, and read back."""
import json
import shutil
import signal
import subprocess

import pytest

import runkit
from conftest import PROGRAM
from lib import run
from test_profile import ranges

SECONDS_MAX = 30
BIG_BYTES = 3 << 20
BIG = bytes(range(256)) * (BIG_BYTES // 256)


@pytest.fixture
def image(own_registry, tmp_path):
    """A busybox with three large files, in a registry."""
    def change(tar):
        for name in ("one", "two", "three"):
            tar.add(name, data=BIG)
    layout = runkit.image(tmp_path / "layout", change=change)
    return own_registry.push(layout, "demo:latest")


@pytest.fixture
def indexed(image, another_sluice):
    """The same with an index: preparing it makes nothing of it local, so that it has servers."""
    another_sluice("index", "push", image)
    shutil.rmtree(another_sluice.store)
    return image


@pytest.fixture
def keeper(any_runtime, sluice):
    """No container stays."""
    return sluice


def shown(sluice, image):
    return json.loads(sluice("profile", "show", image, "--format", "json").stdout)


def names_in_order(told):
    """The files of the ranges, each where it comes first."""
    found = {}
    for row in told["ranges"]:
        for name in row["names"]:
            found.setdefault(name)
    return list(found)


def test_record_learns_what_a_command_touches(keeper, image):
    done = keeper("profile", "record", image, "--", "sh", "-c", "cat /two /one | wc -c")
    assert int(done.stdout) == 2 * BIG_BYTES
    last = done.stderr.splitlines()[-1]
    assert last.startswith("touched ") and "; the profile has " in last
    told = shown(keeper, image)
    names = names_in_order(told)
    assert "/bin/busybox" in names and "/three" not in names
    assert names.index("/bin/busybox") < names.index("/two") < names.index("/one")
    assert 2 * BIG_BYTES <= told["bytes"] < told["total_bytes"]
    assert {row["score"] for row in told["ranges"]} == {64}


def test_record_again_and_otherwise(keeper, image):
    keeper("profile", "record", image, "--", "wc", "-c", "/one")
    told = json.loads(keeper("profile", "record", image, "--format", "json", "--", "wc", "-c",
                             "/two").stdout)
    assert told["status"] == 0
    assert told["touched"]["bytes"] >= BIG_BYTES
    assert told["profile"]["bytes"] >= 2 * BIG_BYTES > told["touched"]["bytes"]
    scores = {name: row["score"] for row in shown(keeper, image)["ranges"] for name in row["names"]}
    assert scores["/two"] == 64 and scores["/one"] == 48 and scores["/bin/busybox"] == 112


def test_record_has_the_exit_status_of_the_container(keeper, image):
    done = keeper("profile", "record", image, "--", "sh", "-c", "head -c 5 /three | wc -c; exit 7",
                  check=False)
    assert done.returncode == 7 and done.stdout == "5\n"
    assert "/three" in names_in_order(shown(keeper, image))


def test_record_of_what_does_not_run(keeper, image):
    done = keeper("profile", "record", image, "--", "/no/such", check=False)
    assert done.returncode == 127
    assert not list(keeper.store.glob("images/*/profile"))
    assert not list(keeper.store.glob("tmp/profile-*"))


def test_record_that_is_interrupted_learns_all_the_same(keeper, image):
    child = subprocess.Popen([PROGRAM, "profile", "record", image, "--", "sh", "-c",
                              "cat /one >/dev/null; echo read; trap 'exit 0' TERM; "
                              "while :; do sleep 0.1; done"],
                             env=keeper.environment, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "read\n"
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=SECONDS_MAX)
    assert child.returncode == 0 and "touched " in said
    assert "/one" in names_in_order(shown(keeper, image))


def test_the_start_ends_when_nothing_new_is_touched(keeper, image):
    """What comes after the quiet time is not the start's."""
    keeper("profile", "record", "--profile-quiet", "1s", image, "--", "sh", "-c",
           "cat /one >/dev/null; sleep 3; cat /two >/dev/null")
    told = shown(keeper, image)
    assert "/one" in names_in_order(told) and told["bytes"] < 2 * BIG_BYTES


def test_the_start_ends_when_it_is_told(sluice, image):
    mounted = sluice.mount(image, "--fs=fuse")
    (mounted / "one").read_bytes()
    sluice("profile", "ready", mounted)
    run.wait_until(lambda: list(sluice.store.glob("images/*/profile")), SECONDS_MAX,
                   "the start to be learnt")
    (mounted / "two").read_bytes()
    sluice.umount(mounted)
    told = shown(sluice, image)
    assert names_in_order(told) == ["/one"] and told["bytes"] == BIG_BYTES


def test_the_start_of_a_container_ends_when_it_is_told(keeper, indexed):
    keeper("run", "-d", "--name", "web", indexed, "sh", "-c", "cat /one >/dev/null; echo read; sleep 100")
    run.wait_until(lambda: keeper("logs", "web").stdout == "read\n", SECONDS_MAX, "the read")
    keeper("profile", "ready", "web")
    run.wait_until(lambda: list(keeper.store.glob("images/*/profile")), SECONDS_MAX,
                   "the start to be learnt")
    keeper("rm", "--force", "web")
    assert "/one" in names_in_order(shown(keeper, indexed))
    keeper.refuses("profile", "ready", "web", words="web")


def test_runs_learn_by_themselves_unless_told_otherwise(keeper, indexed, tmp_path):
    keeper("run", "--rm", "--no-profile", indexed, "wc", "-c", "/one")
    assert not list(keeper.store.glob("images/*/profile"))
    file = tmp_path / "touched"
    keeper("run", "--rm", "--profile-file", file, indexed, "wc", "-c", "/one")
    run.wait_until(file.exists, SECONDS_MAX, "the record")
    assert not list(keeper.store.glob("images/*/profile"))
    keeper("profile", "import", indexed, file)
    assert json.loads(file.read_text())["ranges"] == ranges(keeper, indexed)
    keeper("run", "--rm", indexed, "wc", "-c", "/three")
    run.wait_until(lambda: "/three" in names_in_order(shown(keeper, indexed)), SECONDS_MAX,
                   "the start to be learnt")


def test_record_push_pull(keeper, another_sluice, image):
    """The second machine that starts the image knows what the first one learnt."""
    keeper("profile", "record", image, "--", "wc", "-c", "/two")
    keeper("index", "push", image)
    another_sluice("ls", image)
    assert ranges(another_sluice, image) == ranges(keeper, image)
