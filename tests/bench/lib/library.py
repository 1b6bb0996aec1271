# SPDX-License-Identifier: Apache-2.0
"""Images of a benchmark, made once and kept in a folder: served, pulled, unpacked, looked into."""
import json
import os
import shutil
import subprocess
from pathlib import Path

from system.lib import run

from . import serve

COMMAND_SECONDS_MAX = 3600
BUDGET = "60G"
PROFILED = "-profiled"  # what the name has in addition of an image that has a profile
READ_AHEAD = "/sys/class/bdi/{}:{}/read_ahead_kb"


class Kept:
    """An image that is in the library: what synth.Image says, without the layers' files."""

    def __init__(self, document):
        self.name, self.digest = document["name"], document["digest"]
        self.manifest, self.config = document["manifest"].encode(), document["config"].encode()
        self.layers = document["layers"]
        self.size = sum(x["size"] for x in self.layers)
        self.bytes = sum(x.get("bytes", 0) for x in self.layers)


class Library:
    """Below a folder: registry/, stores/NAME (all of an image), unpacked/NAME, plans/NAME."""

    def __init__(self, place, build, program, environment):
        self.place, self.build, self.program = place, build, program
        self.environment = environment
        self.files = serve.Files(place / "registry")
        for name in ("images", "stores", "unpacked", "plans", "made", "profiles"):
            (place / name).mkdir(exist_ok=True)
        self.started = False
        self.mounted = []

    def sluice(self, *arguments, store):
        environment = {**self.environment, "SLUICE_STORE": str(store)}
        return run.run(self.program, *map(str, arguments), env=environment,
                       timeout=COMMAND_SECONDS_MAX, stdin=subprocess.DEVNULL).stdout

    def store(self, name):
        """With all of the image in it, and all that is known of it."""
        return self.place / "stores" / name

    def unpacked(self, name):
        return self.place / "unpacked" / name

    def plan(self, name):
        return self.place / "plans" / name

    def get(self, name):
        return Kept(json.loads((self.place / "images" / f"{name}.json").read_text()))

    def has(self, name):
        return (self.place / "images" / f"{name}.json").exists()

    def _writable(self):
        """docker-registry runs only while something is made."""
        if not self.started:
            self.files.start()
            self.started = True

    def add(self, image):
        """Takes an image's layers over, makes its index, and publishes both."""
        self._writable()
        self.files.add(image)
        self._index(image)

    def _index(self, image):
        store = self.store(image.name)
        shutil.rmtree(store, ignore_errors=True)
        self.sluice("index", "push", "--budget", BUDGET, f"{self.files.host}/{image.name}",
                    store=store)
        self.files.publish(image)
        document = {"name": image.name, "digest": image.digest,
                    "manifest": image.manifest.decode(), "config": image.config.decode(),
                    "layers": [{k: x[k] for k in ("digest", "size", "bytes") if k in x}
                               for x in image.layers]}
        (self.place / "images" / f"{image.name}.json").write_text(json.dumps(document))

    def add_chunked(self, image, name):
        """The same image with zstd:chunked layers, under another name, by skopeo."""
        self._writable()
        run.run("skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false",
                "--dest-tls-verify=false", "--dest-compress-format", "zstd:chunked",
                "--dest-compress", "--dest-force-compress-format",
                f"docker://{self.files.host}/{image.name}:latest",
                f"docker://{self.files.host}/{name}:latest", timeout=COMMAND_SECONDS_MAX)
        digest, manifest = self.files.get_manifest(name, "latest")
        document = json.loads(manifest)
        config = self.files.blob_file(document["config"]["digest"]).read_text()
        layers = [{**layer, "bytes": old["bytes"]}
                  for layer, old in zip(document["layers"], image.layers)]
        self._index(Kept({"name": name, "digest": digest, "manifest": manifest.decode(),
                          "config": config, "layers": layers}))

    def add_profile(self, name):
        """The image with the profile of a start beside it, under its name and PROFILED."""
        done = self.place / "profiles" / name
        if done.exists():
            return
        self._writable()
        reference = f"{self.files.host}/{name}"
        self.sluice("profile", "record", reference, store=self.store(name))
        self.sluice("profile", "push", reference, store=self.store(name))
        self.files.publish(self.get(name), name + PROFILED)
        done.touch()

    # What is made of an image that is there.

    def mount(self, name, port, *options):
        """Out of the full store; lasts until umount()."""
        directory = self.place / f"mnt-{name}"
        directory.mkdir(exist_ok=True)
        self.sluice("mount", "--budget", BUDGET, *options, f"localhost:{port}/{name}", directory,
                    store=self.store(name))
        self.mounted.append((name, directory))
        return directory

    def umount(self, directory):
        for entry in [x for x in self.mounted if x[1] == directory]:
            self.sluice("umount", directory, store=self.store(entry[0]))
            self.mounted.remove(entry)
        directory.rmdir()

    def unpack(self, name, port):
        target = self.unpacked(name)
        if target.exists():
            return target
        part = target.with_name(f"{name}.part")
        shutil.rmtree(part, ignore_errors=True)
        directory = self.mount(name, port, "--fs=fuse")
        try:
            run.run("cp", "-a", f"{directory}/.", part, timeout=COMMAND_SECONDS_MAX)
        finally:
            self.umount(directory)
        part.rename(target)
        return target

    def make_plan(self, name, port, start):
        """What a start needs, page by page: start(root) runs it on a root file system.

        The kernel's read-ahead is off, so that what it holds afterwards is what was asked for.
        """
        target = self.plan(name)
        if target.exists():
            return target
        image, store = self.get(name), self.store(name)
        directory = self.mount(name, port, "--fs=fuse")
        try:
            device = os.stat(directory).st_dev
            ahead = Path(READ_AHEAD.format(os.major(device), os.minor(device)))
            ahead.write_text("0")
            start(directory)
            tree = store / "images" / image.digest.replace(":", "-") / "tree.erofs"
            touched = run.run(self.build / "tests/bench/touched", directory, tree,
                              timeout=COMMAND_SECONDS_MAX).stdout
        finally:
            self.umount(directory)
        lines = []
        for n, layer in enumerate(image.layers):
            own = [x.split(" ", 1)[1] for x in touched.splitlines() if x.startswith(f"{n} ")]
            place = store / "layers" / layer["digest"].replace(":", "-")
            windows = place / "windows"
            lines.append(f"layer /v2/{name}/blobs/{layer['digest']} {place / 'seek'} "
                         f"{windows if windows.exists() else '-'}")
            lines += own
        target.write_text("\n".join(lines) + "\n")
        return target

    def serve(self):
        """nginx over all of it; the caller stops it."""
        if self.started:
            self.files.stop()
            self.started = False
        return serve.Nginx(self.files.place).start()

    def warm(self, name):
        """Has the blobs of an image in memory, as the server on the other end would."""
        for layer in self.get(name).layers:
            with open(self.files.blob_file(layer["digest"]), "rb", buffering=0) as file:
                while file.read(8 << 20):
                    pass

    def finish(self):
        for _, directory in list(self.mounted):
            try:
                self.umount(directory)
            except (AssertionError, OSError):
                run.run("umount", "--lazy", directory, check=False)
        if self.started:
            self.files.stop()
