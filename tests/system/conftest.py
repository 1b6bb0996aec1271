# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the system tests. They need root, /dev/fuse and the packages of tools/check."""
import functools
import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import runkit  # noqa: E402
from lib import images, registry, run, tools  # noqa: E402

TREE = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("SLUICE", TREE / "build/tools/sluice"))
FAILED = pytest.StashKey[bool]()
VERB_SECONDS_MAX = 90
GONE_SECONDS_MAX = 10
PROGRESS = re.compile(r"layer \d+ of \d+: (done )?\w+ [\d.]+ [KMGT]?i?B")


@functools.lru_cache(maxsize=None)
def has_verb(verb):
    """Whether the program knows the verb; one that does not yet says nothing about it."""
    result = subprocess.run([PROGRAM, verb, "--help"], capture_output=True, text=True, timeout=30)
    return result.returncode == 0 and f"sluice {verb}" in result.stdout


def sentence(said):
    """What a program said, without the lines about its progress."""
    return "\n".join(line for line in said.splitlines() if not PROGRESS.fullmatch(line))


class Sluice:
    """The program, with a store and a home of its own."""

    def __init__(self, place):
        self.place, self.home, self.store = place, place / "home", place / "store"
        self.home.mkdir()
        self.environment = {**os.environ, "HOME": str(self.home),
                            "SLUICE_STORE": str(self.store)}
        for name in ("XDG_RUNTIME_DIR", "XDG_DATA_HOME", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE"):
            self.environment.pop(name, None)
        self.mounted = []

    def __call__(self, verb, *arguments, check=True, timeout=VERB_SECONDS_MAX, **environment):
        if not has_verb(verb):
            pytest.skip(f"{PROGRAM} has no verb {verb} yet")
        return run.run(PROGRAM, verb, *arguments, check=check, timeout=timeout,
                       env={**self.environment, **environment}, stdin=subprocess.DEVNULL)

    def mount(self, image, *options, directory=None, **environment):
        """Mounts an image; it is unmounted when the test ends."""
        directory = Path(directory or self.place / f"mnt{len(self.mounted)}")
        directory.mkdir(exist_ok=True)
        self.mounted.append(directory)
        self("mount", image, directory, *options, **environment)
        assert os.path.ismount(directory)
        return directory

    def umount(self, directory):
        self("umount", directory)
        assert not os.path.ismount(directory)

    def refuses(self, verb, *arguments, words, status=1, **environment):
        """The verb ends with this status and one sentence, after what it said of its progress,
        that holds the words; returns it."""
        result = self(verb, *arguments, check=False, **environment)
        said = sentence(result.stderr)
        assert result.returncode == status, f"ended with {result.returncode}: {said}"
        assert len(said.splitlines()) == 1, f"not one sentence: {said}"
        for word in [words] if isinstance(words, str) else words:
            assert word in said, f"'{said}' lacks '{word}'"
        return said

    def finish(self):
        """Unmounts; returns what would not go."""
        left = []
        for directory in reversed(self.mounted):
            if not os.path.ismount(directory):
                continue
            result = self("umount", directory, check=False)
            if result.returncode or os.path.ismount(directory):
                left.append(f"{directory} does not unmount: {result.stderr}")
                run.run("umount", "--lazy", directory, check=False)
        return left


@pytest.fixture(scope="session", autouse=True)
def machine():
    if os.geteuid() != 0:
        pytest.exit("the system tests mount, and make device nodes: run them as root", 2)
    if not PROGRAM.exists():
        pytest.exit(f"{PROGRAM} is not built", 2)
    os.umask(0o022)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Notes which tests failed: what they wrote stays."""
    outcome = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or outcome.get_result().failed


@pytest.fixture(autouse=True)
def nothing_left(request, tmp_path):
    """After every test: no process that it started, no mount below its folder; and the folder goes.

    All tests together write gigabytes, which would only keep the disk busy.
    """
    mark = uuid.uuid4().hex
    os.environ[run.MARK] = mark
    yield
    del os.environ[run.MARK]
    try:
        run.wait_until(lambda: not run.marked_processes(mark), GONE_SECONDS_MAX, "processes to end")
    except AssertionError:
        left = run.marked_processes(mark)
        for pid, _ in left:
            os.kill(pid, 9)
        pytest.fail(f"processes left behind: {left}")
    finally:
        mounts = run.mounts_below(tmp_path)
        for point in mounts:
            run.run("umount", "--lazy", point, check=False)
    assert not mounts, f"mounts left behind: {mounts}"
    if not request.node.stash.get(FAILED, False):
        run.run("rm", "-rf", "--one-file-system", tmp_path)


@pytest.fixture
def sluice(tmp_path, nothing_left):
    program = Sluice(tmp_path)
    yield program
    left = program.finish()
    assert not left, left


@pytest.fixture
def another_sluice(tmp_path, nothing_left):
    """The same program on a second, empty store."""
    place = tmp_path / "another"
    place.mkdir()
    program = Sluice(place)
    yield program
    left = program.finish()
    assert not left, left


def _registry(kind, tmp_path_factory):
    server = kind(tmp_path_factory.mktemp("registry")).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def plain_registry(tmp_path_factory):
    yield from _registry(registry.Registry, tmp_path_factory)


@pytest.fixture(scope="session")
def token_registry(tmp_path_factory):
    yield from _registry(registry.TokenRegistry, tmp_path_factory)


@pytest.fixture(scope="session")
def redirect_registry(tmp_path_factory):
    yield from _registry(registry.RedirectRegistry, tmp_path_factory)


@pytest.fixture
def own_registry(tmp_path, nothing_left):
    """A registry of the test's own, to break."""
    server = registry.Registry(tmp_path / "registry").start()
    yield server
    server.stop()


class Gallery:
    """The images of the comparison, each made once, with the tree that a mount has to show."""

    def __init__(self, place):
        self.place, self.layouts, self.trees = place, {}, {}

    @functools.cached_property
    def content(self):
        return images.tars()

    @functools.cached_property
    def utf8_content(self):
        return images.tars(utf8=True)

    def _make(self, kind):
        place = self.place / kind
        if kind == "umoci":
            return tools.umoci_image(place, self.content)
        if kind == "buildah":
            return tools.buildah_image(place, self.utf8_content)
        if kind in ("estargz", "zstd-chunked-ctr"):
            how = "--estargz" if kind == "estargz" else "--zstdchunked"
            return tools.convert(place, self._utf8_layout(), how)
        if kind == "zstd-chunked":
            return tools.zstd_chunked(place, self._utf8_layout())
        return images.write(place, kind, self.content).place

    def _utf8_layout(self):
        place = self.place / "utf8"
        return place if place.exists() else images.write(place, "gzip", self.utf8_content).place

    def layout(self, kind):
        if kind not in self.layouts:
            self.layouts[kind] = self._make(kind)
        return self.layouts[kind]

    def tree(self, kind):
        """umoci's extraction: of the image itself where umoci can read it, else of its source."""
        if kind in ("umoci", "buildah"):
            layout = self.layout(kind)
        elif kind in ("estargz", "zstd-chunked", "zstd-chunked-ctr"):
            layout = self._utf8_layout()
        else:
            layout = self.layout("gzip")
        if layout not in self.trees:
            bundle = self.place / f"tree{len(self.trees)}"
            self.trees[layout] = tools.umoci_unpack(layout, bundle)
        return self.trees[layout]


@pytest.fixture(scope="session")
def gallery(tmp_path_factory):
    return Gallery(tmp_path_factory.mktemp("gallery"))


@pytest.fixture(scope="session")
def small_image(tmp_path_factory):
    """A layout with a busybox, as IMAGE."""
    return runkit.image(tmp_path_factory.mktemp("small") / "layout")


def _containers(runtime, sluice, image):
    if shutil.which(runtime) is None:
        pytest.skip(f"{runtime} is not installed")
    before = runkit.cgroups()
    kit = runkit.Containers(sluice, runtime, image)
    yield kit
    kit.finish()
    assert not kit.remains()
    run.wait_until(lambda: not runkit.cgroups() - before, GONE_SECONDS_MAX, "cgroups to go")


@pytest.fixture(params=runkit.RUNTIMES)
def containers(request, sluice, small_image):
    """`sluice run` and its kin on one runtime; no container and no cgroup may stay."""
    yield from _containers(request.param, sluice, small_image)


@pytest.fixture
def any_runtime(sluice, small_image):
    """The same where no runtime has a say in it."""
    yield from _containers(runkit.RUNTIMES[0], sluice, small_image)
