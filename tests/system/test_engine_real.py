# SPDX-License-Identifier: Apache-2.0
"""The engine drivers against podman's service and dockerd, each on a socket of its own."""
import json
import os
import pty
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from lib import engine, registry, run
from test_engine import CTL, SECONDS_MAX, ask

IMAGE = "localhost/box:1"
HOST = {"HostConfig": {"NetworkMode": "none"}}
HIERARCHIES = Path("/sys/fs/cgroup")


def cgroups():
    """Those of engines and their containers."""
    return {place for name in ("docker", "libpod_parent")
            for top in HIERARCHIES.glob(f"*/{name}") for place, _, _ in os.walk(top)}


def remove_parents(before):
    """Engines leave the group that the groups of containers were in, and Podman that of its
    monitors; they go, and what else there is comes back."""
    made = sorted(cgroups() - before, key=len, reverse=True)
    own = [place for place in made if Path(place).parent.parent == HIERARCHIES
           or place.endswith("/libpod_parent/conmon")]
    if len(own) == len(made):
        for place in own:
            os.rmdir(place)
    return set(made) - set(own)


def start(kind, place):
    if kind == "docker" and not shutil.which("dockerd"):
        pytest.skip("dockerd is not installed (Debian: docker.io)")
    if kind == "podman" and not shutil.which("podman"):
        pytest.skip("podman is not installed")
    server = (engine.Docker if kind == "docker" else engine.Podman)(place)
    try:
        server.start()
        server.load(engine.busybox_tar(place / "box.tar"), IMAGE)
    except AssertionError as why:
        server.stop()
        if kind == "docker":
            pytest.skip(f"dockerd does not start on this host: {str(why)[-400:]}")
        raise
    return server


@pytest.fixture(scope="module", params=["podman", "docker"])
def real(request, tmp_path_factory):
    before = cgroups()
    server = start(request.param, tmp_path_factory.mktemp(request.param))
    server.kind = request.param
    yield server
    listed, _ = ask(server.kind, server.socket, {"do": "list"})
    for item in listed:
        ask(server.kind, server.socket, {"do": "delete", "id": item["id"], "force": True})
    server.stop()
    for point in run.mounts_below(server.place):
        run.run("umount", point)
    assert remove_parents(before) == set()
    assert listed == [], "a test left its containers"


def does(real, *requests, **options):
    said, failures = ask(real.kind, real.socket, *requests, **options)
    assert not failures, failures
    return said


def fails(real, request, code):
    _, (failure,) = ask(real.kind, real.socket, request)
    assert failure["code"] == code, failure
    return failure


def create(name, line, **more):
    return {"do": "create", "id": name, "image": IMAGE, "command": ["sh", "-c", line],
            "options": HOST, **more}


@pytest.fixture
def box(real):
    """A container that runs until it is killed."""
    does(real, create("box", "echo out; echo err >&2; exec sleep 1000", start=True))
    yield "box"
    does(real, {"do": "delete", "id": "box", "force": True})


def inspect(real, name):
    (found,) = does(real, {"do": "inspect", "id": name})
    return found


def test_a_life(real):
    (made,) = does(real, create("life", "exit 3"))
    assert inspect(real, "life")["status"] == "created"
    assert fails(real, create("life", "true"), "exists")["raw"]
    assert does(real, {"do": "start", "id": "life"}, {"do": "wait", "id": "life"}) == [{"exit_code": 3}]
    found = inspect(real, "life")
    assert (found["status"], found["exit_code"], found["pid"]) == ("stopped", 3, 0)
    (listed,) = [item for item in does(real, {"do": "list"}) if item["name"] == "life"]
    assert (listed["id"], listed["status"], listed["image"]) == (made["id"], "stopped", IMAGE)
    assert does(real, {"do": "delete", "id": "life"}) == []
    for request in ({"do": "inspect"}, {"do": "start"}, {"do": "wait"}, {"do": "delete"},
                    {"do": "kill"}, {"do": "logs"}, {"do": "stats"}, {"do": "pause"}):
        fails(real, {**request, "id": "life"}, "not found")
    does(real, {"do": "delete", "id": "life", "force": True})


def test_states(real, box):
    found = inspect(real, box)
    assert found["status"] == "running" and Path(f"/proc/{found['pid']}").exists()
    for verb in ("start", "delete", "resume"):
        if (real.kind, verb) != ("podman", "start"):  # which podman takes for done
            fails(real, {"do": verb, "id": box}, "invalid")
    does(real, {"do": "pause", "id": box})
    assert inspect(real, box)["status"] == "paused"
    fails(real, {"do": "pause", "id": box}, "invalid")
    does(real, {"do": "resume", "id": box})
    (used,) = does(real, {"do": "stats", "id": box})
    assert used["cpu_ns"] > 0 and used["memory_bytes"] > 0 and used["pids"] == 1
    assert does(real, {"do": "kill", "id": box, "signal": 9},
                {"do": "wait", "id": box}) == [{"exit_code": 137}]
    fails(real, {"do": "kill", "id": box, "signal": 9}, "invalid")
    fails(real, {"do": "stats", "id": box}, "invalid")
    fails(real, {"do": "exec", "id": box, "process": {"args": ["true"]}}, "invalid")


@pytest.mark.parametrize("program, code", [("/none", "not found"), ("/bin", "denied")])
def test_programs_that_do_not_run(real, program, code):
    request = {**create("bad", "", start=True), "command": [program]}
    assert fails(real, request, code)["program"]
    fails(real, {"do": "inspect", "id": "bad"}, "not found")


def test_images_that_are_not_there(real):
    assert not fails(real, {**create("none", ""), "image": "localhost/none:1"}, "not found")["program"]
    fails(real, {"do": "pull", "image": "127.0.0.1:1/none"}, "engine")


def logged(real, **more):
    text = {1: "", 2: ""}
    for piece in does(real, {"do": "logs", **more}):
        text[piece["stream"]] += piece["bytes"]
    return text


def test_logs(real):
    does(real, create("log", "seq 1 5; echo bad >&2; exit 0", start=True), {"do": "wait", "id": "log"})
    assert logged(real, id="log") == {1: "1\n2\n3\n4\n5\n", 2: "bad\n"}
    assert logged(real, id="log", follow=True) == logged(real, id="log")
    assert sum(map(len, logged(real, id="log", tail=2).values())) < 7
    assert logged(real, id="log", since=4000000000 * 10**9) == {1: "", 2: ""}
    does(real, {"do": "delete", "id": "log"})


def test_logs_are_followed_to_the_end(real):
    does(real, create("follow", "read x; echo $x; exit 0", stdin=True, start=True))
    request = {"do": "logs", "id": "follow", "follow": True}
    with subprocess.Popen([CTL, real.kind, real.socket, json.dumps(request)],
                          stdout=subprocess.PIPE) as reader:
        does(real, {"do": "kill", "id": "follow", "signal": 9})
        reader.communicate(timeout=SECONDS_MAX)
    assert reader.returncode == 0
    does(real, {"do": "delete", "id": "follow"})


def test_exec(real, box):
    given = bytes(range(256)) * 5000
    request = {"do": "exec", "id": box, "process": {
        "args": ["sh", "-c", "cat; echo $A $PWD >&2; exit 5"], "env": ["A=b"], "cwd": "/bin",
        "user": {"uid": 0, "gid": 0}}}
    done = subprocess.run([CTL, real.kind, real.socket, json.dumps(request)], input=given,
                          capture_output=True, timeout=SECONDS_MAX, check=False)
    assert done.stderr == b"b /bin\n"
    assert done.stdout == given + b'{"exit_code":5,"has_pid":false}\n'
    (left,) = does(real, {**request, "process": {"args": ["sleep", "1000"]}, "detach": True})
    assert left == {"exit_code": -1, "has_pid": True}
    (lost,) = does(real, {**request, "process": {"args": ["/none"]}})
    assert lost["exit_code"] in (126, 127)


def test_exec_in_a_terminal(real, box):
    master, slave = pty.openpty()
    subprocess.run(["stty", "-F", os.ttyname(slave), "rows", "31", "cols", "97"], check=True)
    line = 'while [ "$(stty size 2>/dev/null)" != "31 97" ]; do sleep 0.01; done; echo sized'
    request = {"do": "exec", "id": box, "process": {"args": ["sh", "-c", line], "terminal": True}}
    done = subprocess.run([CTL, real.kind, real.socket, json.dumps(request)], stdin=slave,
                          capture_output=True, timeout=SECONDS_MAX, check=False)
    os.close(master)
    os.close(slave)
    assert done.stdout == b'sized\r\n{"exit_code":0,"has_pid":false}\n', done.stderr


def test_exec_hands_over_its_terminal(real, box, tmp_path):
    """Its master goes to the console socket; what is typed there reaches the program."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "console"))
        listening.listen()
        listening.settimeout(SECONDS_MAX)
        request = {"do": "exec", "id": box, "console": str(tmp_path / "console"),
                   "process": {"args": ["sh", "-c", "stty size; read x; echo got $x; exit 7"],
                               "terminal": True, "consoleSize": {"height": 41, "width": 83}}}
        with subprocess.Popen([CTL, real.kind, real.socket, json.dumps(request)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            connection, _ = listening.accept()
            with connection:
                _, (master,), _, _ = socket.recv_fds(connection, 64, 1)
            os.write(master, b"words\n")
            said, failure = process.communicate(timeout=SECONDS_MAX)
            heard = os.read(master, 4096)
            os.close(master)
    assert said == b'{"exit_code":7,"has_pid":false}\n', failure
    lines = heard.decode().split()
    assert "got words" in heard.decode() and lines.count("words") == 2


def unreachable_registry(real, source, place):
    """A registry with one image in the network namespace of the engine, which may be none of this
    machine's; returns its process and the image's name."""
    server = registry.Registry(place)
    server.start()
    server.push(f"oci:{source}:latest", "box/app:1")
    server.stop()
    inside = ["nsenter", "--target", str(real.process.pid), "--net", "--"]
    run.run(*inside, "busybox", "ip", "link", "set", "lo", "up")
    process = subprocess.Popen([*inside, "docker-registry", "serve", str(place / "registry.yml")],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    answers = [*inside, "curl", "--silent", f"http://localhost:{server.port}/v2/"]
    run.wait_until(lambda: run.run(*answers, check=False).returncode == 0, SECONDS_MAX, "the registry")
    return process, f"localhost:{server.port}/box/app:1"


def test_pull(real, small_image, tmp_path):
    process, name = unreachable_registry(real, small_image.split(":")[1], tmp_path / "registry")
    try:
        said = does(real, {"do": "pull", "image": name})
        assert said and all("progress" in line for line in said)
        does(real, {"do": "pull", "image": name},
             {"do": "create", "id": "pulled", "image": name, "command": ["sh", "-c", "exit 9"],
              "options": HOST, "start": True})
        assert does(real, {"do": "wait", "id": "pulled"}) == [{"exit_code": 9}]
        does(real, {"do": "delete", "id": "pulled", "force": True})
        failure = fails(real, {"do": "pull", "image": name.replace("app:1", "app:2")}, "not found")
        assert "app:2" in failure["sentence"]
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("how, code", [("deadline", "timeout"), ("cancel", "cancelled")])
def test_exec_cut_short_is_killed(real, box, how, code):
    request = {"do": "exec", "id": box, how: 1500,
               "process": {"args": ["sh", "-c", "sleep 4321; exit 0"]}}
    assert "may still run" not in fails(real, request, code)["sentence"]

    def gone():
        (used,) = does(real, {"do": "stats", "id": box})
        return used["pids"] <= 2  # init, and what the shell has left
    run.wait_until(gone, SECONDS_MAX, "the program to end")


def test_events(real):
    """What a life looks like from outside."""
    seen = []

    def watch():
        request = {"do": "events", "deadline": 60000, "id": "seen"}
        with subprocess.Popen([CTL, real.kind, real.socket, json.dumps(request)], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watcher:
            for line in watcher.stdout:
                seen.append(json.loads(line))
                if seen[-1]["kind"] == 6:
                    break
            watcher.terminate()
    does(real, create("seen", "exit 3"))
    thread = threading.Thread(target=watch)
    thread.start()
    for _ in range(200):
        does(real, {"do": "start", "id": "seen"}, {"do": "wait", "id": "seen"})
        if seen:
            break
    thread.join(SECONDS_MAX)
    does(real, {"do": "delete", "id": "seen"})
    assert not thread.is_alive()
    exits = [event for event in seen if event["kind"] == 6]
    assert exits and exits[0]["exit_code"] == 3 and exits[0]["time"] > 0
