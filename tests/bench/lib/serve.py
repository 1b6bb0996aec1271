# SPDX-License-Identifier: Apache-2.0
"""One registry's files behind three servers: docker-registry to push to, nginx, and a long link."""
import hashlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from system.lib import run
from system.lib.registry import Registry

HOLDS_SECONDS = 0.05
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
NGINX = """
daemon off;
user root;
worker_processes 1;
pid {place}/nginx.pid;
error_log {place}/nginx-error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {place};
        default_type application/octet-stream;
        types {{
            application/vnd.oci.image.manifest.v1+json manifest;
            application/vnd.oci.image.index.v1+json index;
        }}
        location = /v2/ {{ return 200; }}
        location ~ "^/v2/.+/blobs/sha256:((..).*)$" {{
            alias {place}/data/docker/registry/v2/blobs/sha256/$2/$1/data;
        }}
        location ~ "^/v2/(.+)/manifests/(.+)$" {{
            try_files /static/$1/$2.manifest /static/$1/$2.index =404;
        }}
        location ~ "^/v2/(.+)/referrers/(.+)$" {{
            try_files /static/$1/referrers/$2.index =404;
        }}
    }}
}}
"""


class Files(Registry):
    """docker-registry's folder, filled by hand, so that no layer is copied or uploaded."""

    @property
    def blobs(self):
        return self.place / "data/docker/registry/v2/blobs/sha256"

    def _blob(self, digest):
        place = self.blobs / digest[7:9] / digest[7:]
        place.mkdir(parents=True, exist_ok=True)
        return place / "data"

    def _link(self, place, digest):
        place.mkdir(parents=True, exist_ok=True)
        (place / "link").write_text(digest)

    def add(self, image):
        """Takes over the files of an image's layers, and tags it latest."""
        own = self.place / "data/docker/registry/v2/repositories" / image.name
        for layer in image.layers:
            target = self._blob(layer["digest"])
            if Path(layer["path"]) != target:
                os.rename(layer["path"], target)
            layer["path"] = str(target)
        for data in (image.config, image.manifest):
            self._blob("sha256:" + hashlib.sha256(data).hexdigest()).write_bytes(data)
        config = json.loads(image.manifest)["config"]["digest"]
        for digest in [config] + [x["digest"] for x in image.layers]:
            self._link(own / "_layers/sha256" / digest[7:], digest)
        revision = own / "_manifests/revisions/sha256" / image.digest[7:]
        self._link(revision, image.digest)
        tag = own / "_manifests/tags/latest"
        self._link(tag / "current", image.digest)
        self._link(tag / "index/sha256" / image.digest[7:], image.digest)

    def publish(self, image, name=None):
        """Lays out for nginx what docker-registry now has of the image, index and all."""
        static = self.place / "static" / (name or image.name)
        shutil.rmtree(static, ignore_errors=True)
        (static / "referrers").mkdir(parents=True)
        (static / "latest.manifest").write_bytes(image.manifest)
        (static / f"{image.digest}.manifest").write_bytes(image.manifest)
        fallback = image.digest.replace(":", "-")
        _, data = self.get_manifest(image.name, fallback)
        (static / f"{fallback}.index").write_bytes(data)
        (static / "referrers" / f"{image.digest}.index").write_bytes(data)
        for entry in json.loads(data)["manifests"]:
            _, artifact = self.get_manifest(image.name, entry["digest"])
            (static / f"{entry['digest']}.manifest").write_bytes(artifact)


class Nginx(run.Daemon):
    """The same files as docker-registry's, statically; with the referrers API."""

    def __init__(self, place):
        port, config = run.free_port(), Path(place, "nginx.conf")
        config.write_text(NGINX.format(place=place, port=port))
        super().__init__(["nginx", "-p", str(place), "-c", str(config)], port,
                         Path(place, "nginx.log"))


def prompt(process):
    """A process and its children are not kept waiting for a processor, as those elsewhere are."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in (process.pid, *map(int, children)):
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))


class Link:
    """tests/bench/link in front of a port. It measures itself before it is used."""

    def __init__(self, program, port, rtt_ms, rate=0, slow_start=False, ahead=False):
        command = [program, "--to", str(port), "--rtt-ms", str(rtt_ms)]
        command += ["--rate", str(rate)] if rate else []
        command += ["--slow-start"] if slow_start else []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)
        if ahead:
            prompt(self.process)
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the link does not start: {self.process.stderr.read()}")
        self.measured = json.loads(line)
        self.port, self.rtt_ms = self.measured["port"], self.measured["rtt_ms"]

    def holds(self):
        """Whether it is what it should be: it says so by going on."""
        try:
            self.process.wait(HOLDS_SECONDS)
        except subprocess.TimeoutExpired:
            return True
        return False

    def clear(self):
        self.process.send_signal(signal.SIGUSR2)

    def next_counters(self):
        """Those that somebody has asked for by a signal."""
        return json.loads(self.process.stdout.readline())

    def counters(self):
        self.process.send_signal(signal.SIGUSR1)
        return self.next_counters()

    def stop(self):
        self.process.terminate()
        self.process.communicate(timeout=run.STOP_SECONDS_MAX)
