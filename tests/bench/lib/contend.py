# SPDX-License-Identifier: Apache-2.0
"""The ways to start an image that is somewhere else, each as a command that is watched."""
import contextlib
import copy
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from system.lib import run

from . import library, recipes

UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers")
START_SECONDS_MAX = 1800
GONE_SECONDS_MAX = 30
# What podman asks for by itself is more than a host without CAP_SYS_RESOURCE gives.
PODMAN_RUN = ("--quiet", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit",
              "nproc=1024:1024", "--tls-verify=false")


class Group:
    """A control group for one start, with all it starts: counts their processor time.

    With `ahead` it also has so large a share of the processors that others hardly slow it down.
    """

    def __init__(self, name, ahead=False):
        self.name, self.ahead = name, ahead
        self.unified = UNIFIED.exists()
        top = Path("/sys/fs/cgroup")
        self.place = top / name if self.unified else top / "cpuacct" / name
        self.usage = self.place / ("cpu.stat" if self.unified else "cpuacct.usage")
        # Beside the container's group, since one with processes cannot have controllers below it.
        self.join = self.place / "started" / "cgroup.procs"

    def __enter__(self):
        self.join.parent.mkdir(parents=True)
        self.joins = [self.join]
        shares = Path("/sys/fs/cgroup/cpu", self.name)
        if self.ahead and self.unified:
            (self.place / "cpu.weight").write_text("10000")
        elif self.ahead:
            (shares / "started").mkdir(parents=True, exist_ok=True)
            (shares / "cpu.shares").write_text("262144")
            self.joins.append(shares / "started/cgroup.procs")
        return self

    def within(self, command):
        """The command, run in it."""
        return ["sh", "-ec", 'n=$1; shift; while [ $n -gt 0 ]; do '
                'echo 0 >"$1"; shift; n=$((n - 1)); done; exec "$@"',
                "sh", len(self.joins), *self.joins, *command]

    def __exit__(self, *_):
        top = Path("/sys/fs/cgroup")
        places = [x / self.name for x in ([top] if self.unified else top.iterdir())
                  if (x / self.name).is_dir()]
        for place in [x for x in places if not os.path.ismount(x.parent) and not self.unified]:
            # No hierarchy is mounted there, and yet crun has written to it.
            shutil.rmtree(place)
            places.remove(place)
        deadline = time.monotonic() + GONE_SECONDS_MAX
        while places and time.monotonic() < deadline:
            places = [place for place in places if not self._remove(place)]
            if places:
                time.sleep(0.05)

    @staticmethod
    def _remove(place):
        for directory, _, _ in os.walk(place, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        return not place.exists()


class Contender:
    """One way. `scratch` is a folder of this start alone, `group` the control group it is in."""

    full_pull, cold = False, True
    profile = ""  # what the name of an image has in addition where its profile is

    def takes(self, image):
        return True

    def __init__(self, bench, name):
        self.bench, self.name = bench, name

    def prepare(self, image, port, scratch, group):
        """What is not measured."""

    def command(self, image, port, scratch, group):
        raise NotImplementedError

    def finish(self, image, scratch):
        """Ends what goes on after the start."""

    def environment(self, image, scratch):
        return {**self.bench.environment, "SLUICE_STORE": str(scratch / "store")}


class Sluice(Contender):
    def __init__(self, bench, name, options=(), suffix=""):
        super().__init__(bench, name)
        self.options, self.profile = options, suffix

    def command(self, image, port, scratch, group):
        return [self.bench.program, "run", "--rm", "--runtime", "crun", "--network", "none",
                *self.options, "--cgroup-parent", f"/{group.name}", "-e", self.bench.mark,
                f"localhost:{port}/{image}{self.profile}:latest"]


class Warm(Sluice):
    """A second start: the store is full."""

    cold = False

    def takes(self, image):
        return not image.endswith(recipes.CHUNKED)

    def prepare(self, image, port, scratch, group):
        self.bench.library.sluice("pull", "--budget", library.BUDGET, f"localhost:{port}/{image}",
                                  store=self.bench.library.store(image))

    def environment(self, image, scratch):
        return {**self.bench.environment, "SLUICE_STORE": str(self.bench.library.store(image))}


class Mounted(Contender):
    """`sluice mount`, and a bare runtime on top of it."""

    def __init__(self, bench, name, kind):
        super().__init__(bench, name)
        self.kind = kind

    def prepare(self, image, port, scratch, group):
        (scratch / "root").mkdir()
        self.bench.bundle(image, scratch, scratch / "root", group)

    def command(self, image, port, scratch, group):
        return ["sh", "-ec", f'{self.bench.program} mount --fs={self.kind} --rw "$1" "$2/root"; '
                'exec crun --root "$2/state" run --bundle "$2" "$3"', "sh",
                f"localhost:{port}/{image}:latest", scratch, self.bench.container()]

    def finish(self, image, scratch):
        run.run(self.bench.program, "umount", scratch / "root",
                env=self.environment(image, scratch), check=False)


class Local(Contender):
    """The unpacked image on the local file system: the program's own work."""

    cold = False

    def takes(self, image):
        return not image.endswith(recipes.CHUNKED)

    def prepare(self, image, port, scratch, group):
        # Nothing that a start writes there makes the next one quicker.
        self.bench.bundle(image, scratch, self.bench.library.unpacked(image), group, readonly=True)

    def command(self, image, port, scratch, group):
        return ["crun", "--root", scratch / "state", "run", "--bundle", scratch,
                self.bench.container()]


class Umoci(Contender):
    full_pull = True

    def takes(self, image):
        return not image.endswith(recipes.CHUNKED)

    def prepare(self, image, port, scratch, group):
        self.bench.bundle(image, scratch, "rootfs", group)

    def command(self, image, port, scratch, group):
        return ["sh", "-ec",
                'skopeo --insecure-policy copy --quiet --src-tls-verify=false "docker://$1" '
                '"oci:$2/layout:latest"; '
                'umoci --log=error unpack --image "$2/layout:latest" "$2/bundle" >/dev/null; '
                'cp "$2/config.json" "$2/bundle/config.json"; '
                'exec crun --root "$2/state" run --bundle "$2/bundle" "$3"', "sh",
                f"localhost:{port}/{image}:latest", scratch, self.bench.container()]


class Podman(Contender):
    full_pull = True

    def __init__(self, bench, name):
        super().__init__(bench, name)
        # Podman takes no more than 50 characters.
        self.runroot = Path(f"/run/sluice-bench-{os.getpid()}")

    def _podman(self, scratch):
        return ["podman", "--root", scratch / "podman", "--runroot", self.runroot,
                "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--runtime",
                shutil.which("crun")]

    def command(self, image, port, scratch, group):
        return [*self._podman(scratch), "run", "--rm", *PODMAN_RUN, "--cgroup-parent",
                f"/{group.name}", "-e", self.bench.mark, f"localhost:{port}/{image}:latest"]

    def finish(self, image, scratch):
        remove(self.runroot)


def watch(bench, contender, image, link):
    """One start: a sample."""
    scratch = bench.place / f"start{bench.next_number()}"
    scratch.mkdir()
    try:
        with Group(f"sluice-bench-{os.getpid()}-{bench.number}", bench.ahead) as group:
            contender.prepare(image, link.port, scratch, group)
            os.sync()
            link.clear()
            command = [bench.build / "tests/bench/watched", "--mark", bench.mark,
                       "--usage", group.usage, "--signal", link.process.pid,
                       "--seconds", START_SECONDS_MAX,
                       *contender.command(image, link.port, scratch, group)]
            try:
                said = run.run(*map(str, group.within(command)), timeout=START_SECONDS_MAX + 60,
                               env=contender.environment(image, scratch),
                               stdin=subprocess.DEVNULL)
            finally:
                contender.finish(image, scratch)
        sample = json.loads(said.stdout)
        if sample["ready"] < 0 or sample["status"] != 0:
            raise AssertionError(f"{contender.name} did not start {image}: {sample} {said.stderr}")
        return {**sample, **link.next_counters()}
    finally:
        remove(scratch)


def oracle(bench, image, link, *options):
    """The bound: a sample of the same form."""
    command = [bench.build / "tests/bench/oracle", "--port", link.port, *options]
    with Group(f"sluice-bench-{os.getpid()}-{bench.next_number()}", bench.ahead) as group, \
            open(bench.library.plan(image), encoding="ascii") as plan:
        link.clear()
        said = run.run(*map(str, group.within(command)), stdin=plan, timeout=START_SECONDS_MAX)
    got = json.loads(said.stdout)
    return {"exec": -1, "ready": got["wall_ms"], "end": got["wall_ms"], "cpu": got["cpu_ms"],
            "status": 0, "needed": got["bytes"], **link.counters()}


def remove(place):
    """A folder of a start, whose servers may still be ending."""
    deadline = time.monotonic() + GONE_SECONDS_MAX
    while place.exists() and time.monotonic() < deadline:
        for point in run.mounts_below(place):
            run.run("umount", "--lazy", point, check=False)
        shutil.rmtree(place, ignore_errors=True)


def bundle_config(document, root, mark, group, readonly=False):
    """What `sluice run --dry-run` would run, for a bare runtime: without what is ours."""
    config = copy.deepcopy(document)
    for key in ("seccomp", "cgroupsPath"):
        config["linux"].pop(key, None)
    for key in ("annotations", "hooks"):
        config.pop(key, None)
    config["linux"]["cgroupsPath"] = f"/{group.name}/container"
    config["root"] = {"path": str(root), "readonly": readonly}
    config["mounts"] = [mount for mount in config["mounts"] if mount["type"] != "bind"]
    config["process"]["env"].append(mark)
    return config
