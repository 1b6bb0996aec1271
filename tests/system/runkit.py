# SPDX-License-Identifier: Apache-2.0
"""Containers for tests: small images around Debian's static busybox, and the program's verbs."""
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from lib import images, layers, run

BUSYBOX = "/bin/busybox"
APPLETS = ("sh", "ash", "cat", "echo", "env", "false", "grep", "head", "hostname", "id", "ip", "kill",
           "ls", "mkdir", "mount", "nc", "printf", "ps", "pwd", "readlink", "seq", "sleep", "stat",
           "stty", "tail", "test", "touch", "true", "tty", "ulimit", "uname", "wc", "yes")
RUNTIMES = ("crun", "runc")
PRESENT_STATE, SPAN_UNVERIFIED = 64, 2  # of layers/*/present: fetcher/README.md
SERVED = ("fuse", "erofs")  # the kinds of --fs, where an image is not wholly local
RUN_SECONDS_MAX = 60
GONE_SECONDS_MAX = 15
PASSWD = "root:x:0:0:root:/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\n"
GROUP = "root:x:0:\nana:x:1000:\nextra:x:2000:ana\n"


def root_layer(change=None):
    """The tar of a root filesystem that runs; `change` may add to it."""
    t = layers.TarLayer()
    for name in ("bin", "dev", "etc", "home", "home/ana", "proc", "root", "sys", "var"):
        t.directory(name, uid=1000 * name.endswith("ana"), gid=1000 * name.endswith("ana"))
    t.directory("tmp", mode=0o1777)
    t.add("bin/busybox", data=Path(BUSYBOX).read_bytes(), mode=0o755)
    for applet in APPLETS:
        t.add(f"bin/{applet}", tarfile.SYMTYPE, link="busybox")
    t.add("etc/passwd", data=PASSWD.encode())
    t.add("etc/group", data=GROUP.encode())
    t.add("etc/notes", data=b"not a program\n")
    if change:
        change(t)
    return t.finish()


def image(place, config=None, change=None, tars=None, **more):
    """An OCI layout tagged latest; returns what IMAGE is for it."""
    tars = tars or [root_layer(change)]
    layout = images.Layout(place)
    layer_type, compress = layers.COMPRESSIONS["gzip"]
    document = {
        "architecture": images.ARCHITECTURE, "os": "linux",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin", "FROM=image"], **(config or {})},
        "rootfs": {"type": "layers", "diff_ids": [images.digest_of(tar) for tar in tars]},
        **more,
    }
    manifest = {
        "schemaVersion": 2, "mediaType": images.OCI_MANIFEST,
        "config": layout.blob(document, images.OCI_CONFIG),
        "layers": [layout.blob(compress(tar), layer_type) for tar in tars],
    }
    layout.tag(layout.blob(manifest, images.OCI_MANIFEST))
    return f"oci:{place}:latest"


def unchecked(store):
    """As after a power cut: a span of each layer is to be checked before it is used."""
    for present in (store / "layers").glob("*/present"):
        with open(present, "r+b") as f:
            f.seek(PRESENT_STATE)
            state = int.from_bytes(f.read(4), sys.byteorder)
            f.seek(PRESENT_STATE)
            f.write((state | SPAN_UNVERIFIED).to_bytes(4, sys.byteorder))


def cgroups():
    found = set()
    for place, directories, _ in os.walk("/sys/fs/cgroup"):
        found.update(os.path.join(place, d) for d in directories if "sluice" in d)
    return found


class Containers:
    """The verbs on containers, for one runtime and one store."""

    def __init__(self, sluice, runtime, small):
        self.sluice, self.runtime, self.small = sluice, runtime, small
        self.environment = sluice.environment

    def __call__(self, *words, image=None, check=True, flags=(), text=None, **options):
        """Runs `words` in a new container that is removed when it ends."""
        return self.run("--rm", *flags, image or self.small, *words, check=check, text=text, **options)

    def run(self, *words, check=True, text=None, **options):
        command = [self.program, "run", "--runtime", self.runtime, *map(str, words)]
        kind = {"stdin": subprocess.DEVNULL} if text is None else {"input": text}
        return run.run(*command, check=check, timeout=RUN_SECONDS_MAX,
                       env={**os.environ, **self.environment}, **kind, **options)

    @property
    def program(self):
        import conftest
        return conftest.PROGRAM

    def verb(self, verb, *words, **options):
        return self.sluice(verb, *map(str, words), **options)

    def start(self, *words, **options):
        """A process of `sluice run`; the test ends it."""
        command = [self.program, "run", "--runtime", self.runtime, *map(str, words)]
        return subprocess.Popen(command, env={**os.environ, **self.environment},
                                **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                                   "stderr": subprocess.PIPE, "text": True, **options})

    def detached(self, *words, flags=()):
        """Starts a container in the background; returns its id."""
        return self.run("-d", *flags, self.small, *words).stdout.strip()

    def list(self, *flags):
        return json.loads(self.verb("ps", "--format", "json", *flags).stdout)

    def status(self, name):
        for container in self.list("-a"):
            if name in (container["id"], container["name"]):
                return container["status"]
        return None

    def wait_status(self, name, status):
        run.wait_until(lambda: self.status(name) == status, GONE_SECONDS_MAX, f"{name} to be {status}")

    def refuses(self, *words, status, part):
        """`sluice run` ends with the status and one sentence with the part in it."""
        result = self.run(*words, check=False)
        said = result.stderr.strip()
        assert result.returncode == status, f"ended with {result.returncode}: {said}"
        assert len(said.splitlines()) == 1, f"not one sentence: {said}"
        assert part in said, f"'{said}' lacks '{part}'"
        return said

    def remains(self):
        """What is left of containers in the store."""
        place = self.sluice.store / "containers"
        return sorted(p.name for p in place.iterdir()) if place.exists() else []

    def pull_all_but_checked(self, image):
        """Has an image in the store that cannot be mounted by the kernel alone: it is served."""
        self.sluice("pull", image)
        unchecked(self.sluice.store)

    def mounts(self):
        """What `sluice mounts` tells of the containers' mounts."""
        entries = json.loads(self.sluice("mounts", "--format", "json").stdout)
        return [m for m in entries if m["dir"].startswith(f"{self.sluice.store}/containers/")]

    def pins(self):
        place = self.sluice.store / "pins"
        return sorted(p.name for p in place.iterdir()) if place.exists() else []

    def finish(self):
        for identity in self.remains():
            self.verb("rm", "-f", identity, check=False)
        return [f"container {c}" for c in self.remains()]
