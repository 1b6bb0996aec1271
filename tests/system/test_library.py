# SPDX-License-Identifier: Apache-2.0
"""libsluice as a program outside the tree finds it: installed, by pkg-config."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import PROGRAM
from lib import run

BUILD = PROGRAM.parents[1]
EXAMPLE = Path(__file__).parent / "library/example.c"
PREFIX = "usr"
WARNINGS = ["-Wall", "-Wextra", "-Werror"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A tree with what `meson install` puts there."""
    tree = tmp_path_factory.mktemp("tree")
    run.run("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", tree)
    return tree


def flags(tree, *what):
    (found,) = tree.rglob("sluice.pc")
    return run.run("pkg-config", *what, "sluice", env={
        **os.environ, "PKG_CONFIG_SYSROOT_DIR": str(tree),
        "PKG_CONFIG_PATH": str(found.parent)}).stdout.split()


def headers(tree):
    (root,) = (place for place in tree.rglob("include/sluice") if place.is_dir())
    return root, sorted(str(header.relative_to(root)) for header in root.rglob("*.h"))


def test_every_header_stands_alone(installed, tmp_path):
    root, names = headers(installed)
    assert {"exec/driver.h", "exec/spec/oci.h", "exec/validate.h", "base/err.h"} <= set(names)
    for name in names:
        source = tmp_path / "alone.c"
        source.write_text(f'#include "{name}"\n')
        run.run("gcc", "-std=gnu17", "-D_GNU_SOURCE", *WARNINGS, "-fsyntax-only", source,
                *flags(installed, "--cflags"))


def test_every_function_of_the_headers_is_exported(installed, tmp_path):
    _, names = headers(installed)
    source, found = tmp_path / "all.c", tmp_path / "declared"
    source.write_text("".join(f'#include "{name}"\n' for name in names))
    run.run("gcc", "-std=gnu17", "-D_GNU_SOURCE", "-fsyntax-only", "-aux-info", found, source,
            *flags(installed, "--cflags"))
    declared = set()
    for line in found.read_text().splitlines():
        place, _, words = line.removeprefix("/* ").partition(" */ ")
        if "include/sluice/" in place and words.startswith("extern"):
            declared.add(words.split(" (", 1)[0].split()[-1].lstrip("*"))
    (library,) = (path for path in installed.rglob("libsluice.so") if path.exists())
    exported = {line.split()[-1].split("@")[0] for line in
                run.run("nm", "-D", "--defined-only", library).stdout.splitlines()}
    assert {"oci_value_parse", "driver_connect", "validate_bytes"} <= declared
    assert sorted(declared - exported) == []


@pytest.fixture(scope="module")
def example(installed, tmp_path_factory):
    program = tmp_path_factory.mktemp("example") / "example"
    sanitize = subprocess.run(["nm", "-D", PROGRAM], capture_output=True, text=True, check=True)
    if "__asan_init" in sanitize.stdout or "__tsan_init" in sanitize.stdout:
        pytest.skip("the library is built with a sanitizer")
    run.run("gcc", "-std=gnu17", "-D_GNU_SOURCE", *WARNINGS, "-o", program, EXAMPLE,
            *flags(installed, "--cflags", "--libs"))
    (library,) = (path for path in installed.rglob("libsluice.so") if path.exists())

    def call(cwd, runtime, state):
        return subprocess.run([program, cwd, runtime, state], capture_output=True, text=True,
                              timeout=60, check=False,
                              env={**os.environ, "LD_LIBRARY_PATH": str(library.parent)})
    return call


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_a_program_makes_checks_and_asks(example, tmp_path, runtime):
    result = example("/", shutil.which(runtime), tmp_path / "state")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{runtime} runs 0\n"
    result = example("no/absolute/path", shutil.which(runtime), tmp_path / "state")
    assert result.returncode == 0
    assert result.stdout == f"/process/cwd (config.md#process)\n{runtime} runs 0\n"


def test_a_program_hears_why(example, tmp_path):
    result = example("/", tmp_path / "no-runtime", tmp_path / "state")
    assert result.returncode == 1
    assert result.stderr.startswith("not found: ") and "no-runtime" in result.stderr
