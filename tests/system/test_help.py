# SPDX-License-Identifier: Apache-2.0
"""Man pages and completion name the options that the program has, all of them and no others."""
import fcntl
import os
import re
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from conftest import PROGRAM, TREE
from lib import images, layers, run

VERBS = ("run", "exec", "ps", "logs", "stop", "kill", "wait", "rm", "inspect", "mount", "umount",
         "mounts", "pull", "images", "stat", "ls", "cat", "index", "profile", "gc", "fsck", "volume", "spec",
         "seccomp")
HELP_ROW = re.compile(r"^ {2}(?:(-\w), | {4})(--[\w-]+)(?: (\S+))?(?: {2,}|$)")
MAN_ROW = re.compile(r"^(?:\*(-\w)\*, )?\*(--[\w-]+)\*(?: (\S+))?$", re.M)


def told(verb):
    """({own options}, {common options}) of --help, each {long: (letter, whether it has a value)}"""
    sections = {"Options:": {}, "Common options:": {}}
    current = {}
    for line in run.run(PROGRAM, verb, "--help").stdout.splitlines():
        current = sections.get(line, current)
        match = HELP_ROW.match(line)
        if match:
            current[match[2]] = (match[1], bool(match[3]))
    return sections["Options:"], sections["Common options:"]


def written(page):
    text = Path(TREE, "tools/man", page).read_text()
    return {m[2]: (m[1], bool(m[3])) for m in MAN_ROW.finditer(text)}


@pytest.mark.parametrize("verb", VERBS)
def test_man_page(verb):
    assert written(f"sluice-{verb}.1.scd") == told(verb)[0]


def test_man_page_of_all():
    options = written("sluice.1.scd")
    assert options.pop("--help") == ("-h", False)
    for verb in VERBS:
        own, common = told(verb)
        # An option of the verb's may take the place of a common one.
        assert common == {name: row for name, row in options.items() if name not in own}


def complete(*words):
    """What bash offers for the last word."""
    script = ('. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); compopt() { :; }; '
              '_sluice; printf "%s\\n" "${COMPREPLY[@]}"')
    result = subprocess.run(["bash", "-c", script, "bash", TREE / "tools/completion/sluice.bash",
                             "sluice", *words], capture_output=True, text=True, check=True)
    assert result.stderr == ""
    return set(result.stdout.split())


@pytest.mark.parametrize("verb", VERBS)
def test_completion_of_options(verb):
    own, common = told(verb)
    assert complete(verb, "--") == {*own, *common, "--help"}


def test_completion_of_verbs():
    overview = run.run(PROGRAM, "--help").stdout
    listed = set(re.findall(r"^  (\w+) ", overview, re.M))
    assert listed == set(VERBS) == {word for word in complete("") if not word.startswith("-")}


@pytest.mark.parametrize("verb", VERBS)
def test_values_are_not_taken_for_words(verb):
    """An option's value moves nothing: what follows completes as without it."""
    own, common = told(verb)
    for option, (_, has_value) in {**own, **common}.items():
        words = [option, "value"] if has_value else [option]
        assert complete(verb, *words, "--") == {*own, *common, "--help"}, option
        if option in common:
            assert "mount" in complete(*words, "m"), option


def test_help_of_a_verb():
    assert run.run(PROGRAM, "help", "gc").stdout == run.run(PROGRAM, "gc", "--help").stdout
    assert complete("help", "fs") == {"fsck"}
    result = subprocess.run([PROGRAM, "help", "nosuch"], capture_output=True, text=True)
    assert result.returncode == 2 and "no verb 'nosuch'" in result.stderr


def test_completion_of_joined_values():
    """Bash makes three words of --option=value."""
    assert complete("mount", "--fs", "=", "e") == {"erofs"}
    assert complete("mount", "--fs", "=") == {"auto", "erofs", "fuse"}
    assert "mount" in complete("--store", "=", "/x", "mou")
    own, common = told("mount")
    assert complete("mount", "--store", "=", "/x", "--") == {*own, *common, "--help"}


@pytest.mark.parametrize("options", (("--fs=fuse",), ("--fs=auto",), ("--rw",)))
def test_completion_of_mounts(sluice, tmp_path, monkeypatch, options):
    """Whatever shows them, and whatever their names."""
    made = images.Layout(tmp_path / "layout")
    made.tag(made.manifest([layers.middle()]))
    place = tmp_path / 'a "b" $c'
    place.mkdir()
    mounted = sluice.mount(f"oci:{made.place}:latest", *options, directory=place)
    monkeypatch.setenv("PATH", f"{os.path.dirname(PROGRAM)}:{os.environ['PATH']}")
    script = ('. "$1"; COMP_WORDS=(sluice umount "$2"); COMP_CWORD=2; compopt() { :; }; _sluice; '
              'eval "set -- ${COMPREPLY[0]}"; printf "%s" "$#:$1"')
    said = run.run("bash", "-c", script, "bash", TREE / "tools/completion/sluice.bash",
                   f"{tmp_path}/a").stdout
    assert said == f"1:{mounted}"


def test_progress_fits_the_terminal(sluice, tmp_path):
    """Fewer rows than layers, and narrow: no line wraps, and none is drawn above the first."""
    rows, columns, count = 5, 40, 9
    made = images.Layout(tmp_path / "layout")
    made.tag(made.manifest([layers.bottom(seed=n, big=1 << 20) for n in range(count)]))
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
    process = subprocess.Popen([PROGRAM, "pull", f"oci:{made.place}:latest"], stderr=theirs,
                               stdout=subprocess.DEVNULL, env=sluice.environment)
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(ours, 4096):
            said += chunk
    except OSError:
        pass  # the other end is closed
    os.close(ours)
    assert process.wait() == 0
    said = said.decode()
    lines = [re.sub(r"\x1b\[[0-9]*[A-Z]|\r", "", line) for line in said.split("\n")]
    assert any(line.startswith("layer") for line in lines)
    assert max(map(len, lines)) < columns
    assert {int(n) for n in re.findall(r"\x1b\[(\d+)A", said)} == {rows - 1}
