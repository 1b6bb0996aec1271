# SPDX-License-Identifier: Apache-2.0
"""The images that a start is measured with. Their programs say `ready` when they are, and end."""
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from . import debian, gpu, synth

GPU_SOURCE = Path(__file__).resolve().parents[1] / "gpu.c"
CHUNKED = "-chunked"

# After `ready`, so that the program is still there when it is looked at.
LINGER_SECONDS = 0.3

NUMPY = f"""
import time
import numpy
a = numpy.arange(250000, dtype=float).reshape(500, 500)
print("ready", int(numpy.dot(a, a)[1, 1]), flush=True)
time.sleep({LINGER_SECONDS})
"""
TORCH = f"""
import time
import torch
a = torch.arange(250000, dtype=torch.float32).reshape(500, 500)
print("ready", float((a @ a)[1, 1]), flush=True)
time.sleep({LINGER_SECONDS})
"""
WEB = f"""
const express = require('express');
const http = require('http');
const app = express();
app.get('/', (_, response) => response.json({{hello: 'world'}}));
const server = app.listen('/tmp/web', () =>
  http.get({{socketPath: '/tmp/web', path: '/'}}, answer => {{
    answer.resume();
    answer.on('end', () => {{
      console.log('ready', answer.statusCode);
      setTimeout(() => process.exit(0), {int(LINGER_SECONDS * 1000)});
    }});
  }}));
"""
EXPRESS = "express@4.21.2"


def _static(builder):
    def make(target):
        (target / "bin").mkdir(parents=True)
        shutil.copy("/bin/busybox", target / "bin/busybox")
        (target / "bin/sh").symlink_to("busybox")
        for name in ("etc", "proc", "sys", "dev", "tmp"):
            (target / name).mkdir()
    return [builder.made("static", make)]


def _python(builder):
    base = builder.base()
    python = builder.packages("python", [base], "python3")
    numpy = builder.packages("numpy", [base, python], "python3-numpy")
    return [base, python, numpy, builder.files("numpy-app", {"app/main.py": NUMPY})]


def _torch(builder):
    base = builder.base()
    python = builder.packages("python", [base], "python3")
    torch = builder.packages("torch", [base, python], "python3-torch")
    return [base, python, torch, builder.files("torch-app", {"app/main.py": TORCH})]


def _node(builder):
    base = builder.base()
    node = builder.packages("node", [base], "nodejs")
    packages = builder.npm("express", "app", EXPRESS)
    return [base, node, packages, builder.files("node-app", {"app/main.js": WEB})]


# name: (layers' trees, command)
DEBIAN = {
    "static": (_static, ["/bin/busybox", "sh", "-c", f"echo ready; sleep {LINGER_SECONDS}"]),
    "python": (_python, ["/usr/bin/python3", "/app/main.py"]),
    "torch": (_torch, ["/usr/bin/python3", "/app/main.py"]),
    "node": (_node, ["/usr/bin/node", "/app/main.js"]),
}


def make_debian(place, name, target):
    """An image of the table above: its layers as files of a folder."""
    trees, command = DEBIAN[name]
    target.mkdir(parents=True, exist_ok=True)
    found = trees(debian.Builder(place / "trees"))
    with ProcessPoolExecutor() as pool:
        jobs = [pool.submit(debian.pack, str(tree), str(target / f"{name}-{n}"))
                for n, tree in enumerate(found)]
        return synth.Image(name, [j.result() for j in jobs], command)


NAMES = (*DEBIAN, "gpu")
# And each with zstd:chunked layers.
ALL = NAMES + tuple(name + CHUNKED for name in NAMES)


def make(library, name):
    """Puts an image into a library unless it is there."""
    plain = name.removesuffix(CHUNKED)
    if not library.has(plain):
        library.add(gpu.make(GPU_SOURCE, library.place / "made") if plain == "gpu" else
                    make_debian(library.place, plain, library.place / "made"))
    if name != plain and not library.has(name):
        library.add_chunked(library.get(plain), name)
