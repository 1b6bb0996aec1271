# SPDX-License-Identifier: Apache-2.0
"""The engine drivers against an engine that says what it is told to."""
import base64
import json
import socket
import struct
import subprocess
import threading

import pytest
from conftest import PROGRAM
from lib import engine
from lib.engine import answer, chunked, frame

CTL = PROGRAM.parents[1] / "tests/unit/enginectl"
SECONDS_MAX = 100
pytestmark = pytest.mark.sanitize
STATE = {"Id": "c0ffee", "Name": "/c", "Created": "2026-01-02T03:04:05.6Z",
         "Config": {"Image": "box", "Tty": False, "Labels": {}},
         "State": {"Status": "running", "Running": True, "Pid": 1, "ExitCode": 0}}


def cases(*rows):
    """Parameters with short names."""
    return [pytest.param(*row, id=str(i)) for i, row in enumerate(rows)]


def ask(driver, path, *requests, **options):
    """What came back, and the failures."""
    done = subprocess.run([CTL, driver, str(path), *map(json.dumps, requests)],
                          capture_output=True, timeout=SECONDS_MAX, check=False,
                          input=options.get("input", b""))
    assert done.returncode in (0, 1), done.stderr.decode()
    failures = [json.loads(line) for line in done.stderr.splitlines() if line[:1] == b"{"]
    assert done.returncode == bool(failures), done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines() if line[:1] == b"{"], failures


@pytest.fixture
def fake(tmp_path):
    with engine.Fake(tmp_path / "fake.sock") as server:
        yield server


def does(fake, request, driver="docker"):
    said, failures = ask(driver, fake.path, request)
    assert not failures
    return said


def fails(fake, request, code, *words, driver="docker"):
    _, failures = ask(driver, fake.path, request)
    (failure,) = failures
    assert failure["code"] == code, failure
    for word in words:
        assert word in failure["sentence"], failure
    return failure


def test_connect_says_what_is_there(fake):
    (info,) = does(fake, {"do": "info"})
    assert info == {"driver": "docker", "name": "docker", "address": str(fake.path),
                    "version": "20.10.24", "pulls": True}


@pytest.mark.parametrize("version, words", cases(
    ({"ApiVersion": "1.12"}, "versions ? to 1.12"),
    ({"ApiVersion": "9.9", "MinAPIVersion": "9.0"}, "versions 9.0 to 9.9"),
))
def test_connect_refuses_other_versions(fake, version, words):
    fake.say("GET", "/version", answer(200, version))
    fails(fake, {"do": "info"}, "unsupported", words, str(fake.path))


@pytest.mark.parametrize("reply, words", cases(
    (answer(200, []), "not an object"),
    (answer(200, b"{"), "is not JSON"),
    (answer(200, {}), "does not say which version"),
    (answer(200, {"ApiVersion": "1.41/../x"}), "does not say which version"),
    (answer(200, b"{}", length=100), "is broken"),
    (chunked(b"{", end=False), "is broken"),
    (b"SSH-2.0-OpenSSH\r\n", "is broken"),
    (b"", "is broken"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20000 + b"\r\n", "header of the engine's answer"),
    (lambda connection: connection.sendall(answer(200, b" " * (65 << 20))), "has more than"),
))
def test_connect_to_what_is_no_engine(fake, reply, words):
    fake.say("GET", "/version", reply)
    fails(fake, {"do": "info"}, "engine", words)


def test_podman_is_told_from_docker(tmp_path, fake):
    fails(fake, {"do": "info"}, "unsupported", "is not a Podman Engine", driver="podman")
    with engine.Fake(tmp_path / "old", "podman") as old:
        old.say("GET", "/version", answer(200, {**engine.VERSIONS["podman"], "Version": "3.0.1"}))
        fails(old, {"do": "info"}, "unsupported", "3.0.1 is older than 4.0.0", driver="podman")


def test_nothing_listens(tmp_path):
    _, (failure,) = ask("docker", tmp_path / "none")
    assert failure["code"] == "not found" and "no engine listens on" in failure["sentence"]
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    _, (failure,) = ask("docker", tmp_path / "dead")
    assert failure["code"] == "engine" and "Connection refused" in failure["sentence"]
    _, (failure,) = ask("docker", "relative/path")
    assert failure["code"] == "invalid"


def test_a_long_path_and_a_scheme(tmp_path):
    place = tmp_path.joinpath(*["d" * 60] * 4)
    place.mkdir(parents=True)
    short = tmp_path / "s"
    with engine.Fake(short):
        (place / "sock").symlink_to(short)
        said, failures = ask("docker", f"unix://{place}/sock", {"do": "info"})
        assert said[0]["address"] == f"{place}/sock" and not failures


def test_a_full_queue_is_waited_out(tmp_path):
    path = tmp_path / "full"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(str(path))
        fake = engine.Fake(path)
        with subprocess.Popen([CTL, "docker", path, '{"do": "info"}'], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            def serve():
                for _ in range(len(waiting) + 2):
                    connection, _ = server.accept()
                    with connection:
                        fake.handle(connection)
            for client in waiting:
                client.close()
            threading.Thread(target=serve, daemon=True).start()
            out, err = process.communicate(timeout=SECONDS_MAX)
        assert json.loads(out)["driver"] == "docker", err


STATUSES = [
    (304, b"", "invalid"), (400, {"message": "bad parameter"}, "invalid"),
    (401, {"message": "who are you"}, "denied"), (403, {"message": "no"}, "denied"),
    (404, {"message": "No such container: c"}, "not found"),
    (405, {"message": "Method Not Allowed"}, "unsupported"),
    (409, {"message": "Container c is not running"}, "invalid"),
    (409, {"message": "Conflict. The container name \"/c\" is already in use"}, "exists"),
    (500, {"message": "something broke"}, "engine"), (500, b"plain text", "engine"), (503, b"", "engine"),
    (500, {"message": "can't pause: container state improper", "cause": "x"}, "invalid"),
    (500, {"message": "no container with name or ID \"c\" found: no such container"}, "not found"),
    (500, {"message": "the container name \"c\" is already in use"}, "exists"),
    (500, {"message": "cannot pause without cgroups"}, "unsupported"),
    (501, {"message": "not here"}, "unsupported"),
]


@pytest.mark.parametrize("status, body, code", cases(*STATUSES))
def test_statuses_have_codes(fake, status, body, code):
    fake.say("POST", "/containers/c/start", answer(status, body))
    failure = fails(fake, {"do": "start", "id": "c"}, code, "start container c",
                    f"status {status}")
    assert failure["raw"] == (body if isinstance(body, bytes) else json.dumps(body).encode()).decode()


@pytest.mark.parametrize("request_, method, path", [
    ({"do": "start", "id": "c"}, "POST", "/v1.41/containers/c/start"),
    ({"do": "kill", "id": "c", "signal": 15}, "POST", "/v1.41/containers/c/kill?signal=15"),
    ({"do": "pause", "id": "c"}, "POST", "/v1.41/containers/c/pause"),
    ({"do": "resume", "id": "c"}, "POST", "/v1.41/containers/c/unpause"),
    ({"do": "delete", "id": "c", "force": True}, "DELETE", "/v1.41/containers/c?v=true&force=true"),
])
def test_requests_without_an_answer(fake, request_, method, path):
    fake.say(method, "/containers/c", b"HTTP/1.1 204 No Content\r\n\r\n")
    assert does(fake, request_) == []
    assert fake.paths(method) == [path]


def test_delete_by_force_minds_nobody(fake):
    fake.say("DELETE", "/containers/c", [
        answer(409, {"message": "removal of container c is already in progress"}),
        answer(404, {"message": "No such container: c"})])
    assert does(fake, {"do": "delete", "id": "c", "force": True}) == []
    fake.say("DELETE", "/containers/c", answer(404, {"message": "No such container: c"}))
    fails(fake, {"do": "delete", "id": "c"}, "not found")


def test_create_asks_for_what_was_wanted(fake):
    fake.say("POST", "/containers/create", answer(201, {"Id": "c0ffee", "Warnings": []}))
    said = does(fake, {"do": "create", "id": "c", "image": "box", "name": "a b", "command": ["x"],
                       "entrypoint": ["e"], "env": ["A=b"], "workdir": "/w", "user": "1:2",
                       "labels": {"l": "m"}, "tty": True, "stdin": True,
                       "options": {"HostConfig": {"Memory": 1}}})
    assert said == [{"id": "c0ffee", "has_pid": False}]
    body = fake.body_of("/containers/create")
    assert len(body["Labels"].pop("sluice.call")) == 16
    assert body == {"Image": "box", "Cmd": ["x"], "Entrypoint": ["e"], "Env": ["A=b"],
                    "WorkingDir": "/w", "User": "1:2", "Labels": {"l": "m"}, "Tty": True,
                    "OpenStdin": True, "HostConfig": {"Memory": 1}}
    assert fake.paths("POST") == ["/v1.41/containers/create?name=a%20b"]


def marked(fake, other=None):
    """Inspect answers with the label of the last create, or another."""
    def reply(connection):
        mark = other or fake.body_of("/containers/create")["Labels"]["sluice.call"]
        connection.sendall(answer(200, {**STATE, "Config": {"Labels": {"sluice.call": mark}}}))
    return reply


@pytest.mark.parametrize("other, gone", [(None, 1), ("0123456789abcdef", 0)])
def test_a_create_cut_short_is_undone(fake, other, gone):
    fake.say("POST", "/containers/create", engine.until_gone)
    fake.say("GET", "/containers/c/json", marked(fake, other))
    fake.say("DELETE", "/containers/c0ffee", b"HTTP/1.1 204 No Content\r\n\r\n")
    fails(fake, {"do": "create", "id": "c", "image": "box", "deadline": 300}, "timeout")
    assert len(fake.paths("DELETE")) == gone


def test_a_start_that_fails_leaves_no_container(fake):
    fake.say("POST", "/containers/create", answer(201, {"Id": "c0ffee"}))
    fake.say("POST", "/containers/c0ffee/start",
             answer(400, {"message": "exec: \"/x\": stat /x: no such file or directory"}))
    fake.say("GET", "/containers/c0ffee/json", marked(fake))
    fake.say("DELETE", "/containers/c0ffee", b"HTTP/1.1 204 No Content\r\n\r\n")
    failure = fails(fake, {"do": "create", "id": "c", "image": "box", "start": True}, "not found")
    assert failure["program"] and len(fake.paths("DELETE")) == 1


def test_a_bundle_is_not_for_engines(fake):
    fails(fake, {"do": "create", "id": "c", "bundle": "/b"}, "unsupported", "images and not bundles")


def test_inspect_and_list(fake):
    fake.say("GET", "/containers/c/json", answer(200, STATE))
    (found,) = does(fake, {"do": "inspect", "id": "c"})
    assert found == {"id": "c0ffee", "name": "c", "image": "box", "pid": 1, "exit_code": -1,
                     "created": "2026-01-02T03:04:05.6Z", "status": "running"}
    fake.say("GET", "/containers/json", answer(200, [
        {"Id": "a", "Names": ["/x"], "Image": "i", "Created": 1, "State": "exited"},
        {"Id": "b", "Names": None, "Created": None, "State": "odd"}]))
    assert does(fake, {"do": "list"}) == [
        {"id": "a", "name": "x", "image": "i", "created": "1970-01-01T00:00:01Z",
         "status": "stopped", "pid": 0, "exit_code": -1},
        {"id": "b", "name": None, "image": None, "created": None, "status": "unknown", "pid": 0,
         "exit_code": -1}]
    for odd in ([{}], [1], ["x"]):
        fake.say("GET", "/containers/json", answer(200, odd))
        fails(fake, {"do": "list"}, "engine", "has no Id")


def test_stats(fake):
    fake.say("GET", "/containers/c/json", answer(200, STATE))
    fake.say("GET", "/containers/c/stats", answer(200, {
        "cpu_stats": {"cpu_usage": {"total_usage": 3, "usage_in_usermode": 1,
                                    "usage_in_kernelmode": 2}},
        "memory_stats": {"usage": 4, "max_usage": 5, "limit": 2 ** 64 - 1},
        "pids_stats": {"current": 6, "limit": 7},
        "blkio_stats": {"io_service_bytes_recursive": [
            {"op": "Read", "value": 8}, {"op": "read", "value": 1}, {"op": "Write", "value": 9}]}}))
    (found,) = does(fake, {"do": "stats", "id": "c"})
    assert found == {"cpu_ns": 3, "cpu_user_ns": 1, "cpu_system_ns": 2, "memory_bytes": 4,
                     "memory_peak_bytes": 5, "memory_limit": -1, "pids": 6, "pids_limit": 7,
                     "read_bytes": 9, "write_bytes": 9, "oom_kills": -1}


def test_wait_goes_on_until_it_ran(fake):
    created = {**STATE, "State": {"Status": "created"}}
    fake.say("POST", "/containers/c/wait", [answer(200, {"StatusCode": 0}),
                                            answer(200, {"StatusCode": 5, "Error": None})])
    fake.say("GET", "/containers/c/json", [answer(200, created), answer(404, {"message": "gone"})])
    assert does(fake, {"do": "wait", "id": "c"}) == [{"exit_code": 5}]
    fake.say("POST", "/containers/c/wait",
             answer(200, {"StatusCode": 0, "Error": {"Message": "lost it"}}))
    fails(fake, {"do": "wait", "id": "c"}, "engine", "lost it")


STAMP = b"2026-01-02T03:04:05.000000006Z "


def logs(fake, *pieces, tty=False, **more):
    fake.say("GET", "/containers/c/json", answer(200, {**STATE, "Config": {"Tty": tty}}))
    fake.say("GET", "/containers/c/logs", chunked(*pieces))
    return {"do": "logs", "id": "c", **more}


def test_logs_are_unframed(fake):
    whole = frame(1, STAMP + b"out\n") + frame(2, STAMP + b"err\n") + frame(1, b"") + frame(1, STAMP)
    time = 1767323045000000006
    want = [{"stream": 1, "time": time, "bytes": "out\n"}, {"stream": 2, "time": time, "bytes": "err\n"}]
    assert does(fake, logs(fake, whole)) == want
    pieces = [whole[i:i + 1] for i in range(len(whole))]
    text = does(fake, logs(fake, *pieces))
    assert "".join(line["bytes"] for line in text) == "out\nerr\n"
    assert does(fake, logs(fake, whole, since=time + 1)) == []
    assert does(fake, logs(fake, whole, calls=1)) == want[:1]
    assert does(fake, logs(fake, b"raw\r\n", tty=True)) == [{"stream": 1, "time": 0, "bytes": "raw\r\n"}]
    assert "&tail=3&since=7.000000008" in (does(fake, logs(fake, whole, tail=3, since=7000000008)),
                                           fake.paths("GET")[-1])[1]


@pytest.mark.parametrize("pieces, words", cases(
    ([b"\x09\0\0\0\0\0\0\1x"], "a frame begins with 09000000"),
    ([b"\1\0\0\1\0\0\0\1x"], "a frame begins with 01000001"),
    ([frame(1, STAMP + b"x")[:-1]], "ends within a frame"),
    ([frame(1, STAMP + b"x") + b"\1\0"], "ends within a frame"),
    ([frame(1, b"no time at all")], "is not a time"),
    ([frame(1, b"x" * 100)], "an entry without a time"),
    ([struct.pack(">BxxxI", 1, 0xffffffff) + STAMP], "ends within a frame"),
    ([frame(3, b"disk is gone")], "the engine says: disk is gone"),
    ([frame(3, b"y" * 10000)], "the engine says: yyy"),
))
def test_garbled_logs(fake, pieces, words):
    fails(fake, logs(fake, *pieces), "engine", words)


def test_a_readers_refusal_is_the_result(fake):
    failure = fails(fake, logs(fake, frame(1, STAMP + b"x"), calls=1, result=-28), "engine")
    assert failure["result"] == -28


EVENT = {"Type": "container", "Action": "die", "time": 5, "timeNano": 5000000001,
         "Actor": {"ID": "c0ffee", "Attributes": {"exitCode": "3"}}}


def test_events(fake):
    lines = [{**EVENT, "Type": "network"}, EVENT, {"status": "create", "id": "b", "time": 2}]
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    fake.say("GET", "/events", chunked(text[:30], text[30:]))
    said, (failure,) = ask("docker", fake.path, {"do": "events", "id": "c"})
    assert said == [{"kind": 6, "id": "c0ffee", "time": 5000000001, "exit_code": 3},
                    {"kind": 1, "id": "b", "time": 2000000000, "exit_code": -1}]
    assert failure["code"] == "engine" and "ended the stream" in failure["sentence"]
    for bad, words in ((b"nonsense\n", "garbled"), (b"{\"a\":\0}\n", "a NUL"),
                       (b"x" * (1 << 20) + b"y", "more than 1048576 bytes")):
        fake.say("GET", "/events", chunked(bad))
        fails(fake, {"do": "events"}, "engine", words)


def test_pull(fake):
    fake.say("POST", "/images/create", chunked(
        b'{"status":"Pulling","id":"abc","progress":"[=>]"}\r\n{"sta', b'tus":"Done"}'))
    said = does(fake, {"do": "pull", "image": "r.example:5/box", "platform": "linux/arm64",
                       "user": "me", "secret": "s?>"})
    assert said == [{"progress": "abc: Pulling [=>]"}, {"progress": "Done"}]
    (path,) = fake.paths("POST")
    assert path == "/v1.41/images/create?fromImage=r.example%3A5%2Fbox%3Alatest&platform=linux%2Farm64"
    auth = fake.asked[-1][3]["x-registry-auth"]
    assert auth == base64.urlsafe_b64encode(b'{"username":"me","password":"s?>"}').decode().lower()


@pytest.mark.parametrize("image, path", [
    ("box:1", "box%3A1"), ("box", "box%3Alatest"), ("box@sha256:ab", "box%40sha256%3Aab")])
def test_pull_never_wants_all_tags(fake, image, path):
    fake.say("POST", "/images/create", chunked(b"{}"))
    does(fake, {"do": "pull", "image": image})
    assert fake.paths("POST") == [f"/v1.41/images/create?fromImage={path}"]


@pytest.mark.parametrize("line, code", cases(
    (b'{"error":"manifest unknown"}', "not found"), (b'{"error":"access denied"}', "denied"),
    (b'{"error":"it broke"}', "engine"), (b"{]", "engine")))
def test_pull_that_fails_in_the_midst(fake, line, code):
    fake.say("POST", "/images/create", chunked(b'{"status":"Pulling"}\n', line))
    fails(fake, {"do": "pull", "image": "box"}, code, "pull box")
    fake.say("POST", "/images/create", chunked(b'{"status":"Pulling"}\n', end=False))
    fails(fake, {"do": "pull", "image": "box"}, "engine", "is broken")


CALLS = [
    ("POST", {"do": "start", "id": "c"}), ("POST", {"do": "wait", "id": "c"}),
    ("GET", {"do": "list"}), ("GET", {"do": "events"}), ("POST", {"do": "pull", "image": "box"}),
    ("POST", {"do": "exec", "id": "c", "process": {"args": ["x"]}}),
]


@pytest.mark.parametrize("method, request_", cases(*CALLS))
@pytest.mark.parametrize("how, code", [("deadline", "timeout"), ("cancel", "cancelled")])
def test_what_does_not_answer_is_left(fake, method, request_, how, code):
    fake.say(method, "/", engine.until_gone)
    if method == "GET":
        fake.say("GET", "/version", answer(200, engine.VERSIONS["docker"]))
    fails(fake, {**request_, how: 200}, code)


def test_a_stream_that_never_ends_ends_by_its_deadline(fake):
    def drip(connection):
        connection.sendall(chunked(b"", end=False)[:-5])
        try:
            while True:
                connection.sendall(b"4\r\n{}\n\n\r\n")
        except OSError:
            pass
    fake.say("GET", "/events", drip)
    fails(fake, {"do": "events", "deadline": 300}, "timeout")


def exec_fake(fake, stream, code=0, **state):
    """An exec whose stream is this function's."""
    fake.say("POST", "/containers/c/exec", answer(201, {"Id": "e1"}))
    fake.say("POST", "/exec/e1/start", stream)
    fake.say("GET", "/exec/e1/json", answer(200, {"Running": False, "ExitCode": code, "Pid": 0,
                                                  **state}))


UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"


def run_exec(fake, given=b"", **process):
    request = {"do": "exec", "id": "c", "process": {"args": ["x"], **process}}
    return subprocess.run([CTL, "docker", fake.path, json.dumps(request)], input=given,
                          capture_output=True, timeout=SECONDS_MAX, check=False)


def test_exec_carries_stdio(fake):
    def echo(connection):
        connection.sendall(UPGRADED + frame(2, b"err"))
        while piece := connection.recv(65536):
            connection.sendall(frame(1, piece))
    exec_fake(fake, echo, 7)
    given = bytes(range(256)) * 4000
    done = run_exec(fake, given, env=["A=b"], cwd="/w", user={"uid": 3, "gid": 4})
    out, _, last = done.stdout.rpartition(b'{"exit_code":7')
    assert (out, done.stderr, bool(last)) == (given, b"err", True)
    assert fake.body_of("/containers/c/exec") == {
        "AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Tty": False,
        "Cmd": ["x"], "Env": ["A=b"], "WorkingDir": "/w", "User": "3:4"}


def test_exec_waits_for_the_code(fake):
    exec_fake(fake, lambda connection: connection.sendall(UPGRADED))
    fake.say("GET", "/exec/e1/json", [answer(200, {"Running": True, "ExitCode": None}),
                                      answer(200, {"Running": False, "ExitCode": 9})])
    assert b'"exit_code":9' in run_exec(fake).stdout


@pytest.mark.parametrize("stream, words", cases(
    (answer(500, {"message": "no shim"}), "no shim"),
    (UPGRADED + b"\7\0\0\0\0\0\0\1x", "garbled"),
    (UPGRADED + frame(1, b"xy")[:-1], "ends within a frame"),
    (b"HTTP/1.1 101", "has no HTTP header"),
    (b"nonsense\r\n\r\n", "has no HTTP header"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20000, "has no HTTP header"),
))
def test_exec_that_goes_wrong(fake, stream, words):
    exec_fake(fake, lambda connection: connection.sendall(stream))
    failure = json.loads(run_exec(fake).stderr.splitlines()[-1])
    assert failure["code"] == "engine" and words in failure["sentence"]


def test_exec_gives_a_terminal_its_size(fake):
    exec_fake(fake, lambda connection: connection.sendall(UPGRADED + b"as it is\r\n"))
    fake.say("POST", "/exec/e1/resize", answer(200))
    done = run_exec(fake, terminal=True, consoleSize={"height": 30, "width": 90})
    assert done.stdout.startswith(b"as it is\r\n")
    assert "/v1.41/exec/e1/resize?h=30&w=90" in fake.paths("POST")


@pytest.mark.parametrize("how, code", [("deadline", "timeout"), ("cancel", "cancelled")])
def test_exec_cut_short_says_what_it_leaves(fake, how, code):
    def stay(connection):
        connection.sendall(UPGRADED)
        engine.until_gone(connection)
    exec_fake(fake, stay, Running=True, Pid=0)
    failure = fails(fake, {"do": "exec", "id": "c", "process": {"args": ["x"]}, how: 200}, code)
    assert failure["sentence"].endswith("the program may still run")


def test_many_threads(fake):
    """Also with ThreadSanitizer."""
    fake.say("GET", "/containers/c/json", answer(200, STATE))
    fake.say("GET", "/containers/json", answer(200, [{"Id": "a"}]))
    fake.say("GET", "/containers/c/logs", chunked(frame(1, STAMP + b"x")))
    fake.say("POST", "/containers/hang/wait", engine.until_gone)
    exec_fake(fake, lambda connection: connection.sendall(UPGRADED))
    rounds = [{"do": "inspect", "id": "c"}, {"do": "list"}, {"do": "logs", "id": "c"},
              {"do": "start", "id": "gone"}, {"do": "wait", "id": "hang", "cancel": 20},
              {"do": "exec", "id": "c", "process": {"args": ["x"]}}]
    said, failures = ask("docker", fake.path, {"threads": 8, "each": rounds * 4})
    assert len(said) == 8 * 4 * 4
    assert sorted(f["code"] for f in failures) == ["cancelled"] * 32 + ["not found"] * 32
