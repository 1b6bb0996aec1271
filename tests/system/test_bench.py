# SPDX-License-Identifier: Apache-2.0
"""The instruments of tests/bench/start: the link, the oracle, what looks for touched pages.

Counters and the least that a thing can take are checked, never the most: the machine may be busy.
"""
import concurrent.futures
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lib import images, run

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.lib import aims, gpu, plots  # noqa: E402
from bench.lib.report import Report  # noqa: E402

TOOLS = Path(os.environ.get("SLUICE", Path(__file__).resolve().parents[2] / "build/tools/sluice")
             ).resolve().parents[1] / "tests/bench"
BODY = random.Random(7).randbytes(3_000_000)
RTT_MS = 40


class Server:
    """Answers GET with ranges of one body, on connections that stay."""

    def __init__(self, files):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body, status = files[self.path], 200
                if "Range" in self.headers:
                    first, last = self.headers["Range"].removeprefix("bytes=").split("-")
                    body, status = body[int(first):int(last) + 1], 206
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Link:
    def __init__(self, port, *options):
        self.process = subprocess.Popen([TOOLS / "link", "--to", str(port), *options],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.first = json.loads(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.first['port']}/blob"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate(timeout=run.STOP_SECONDS_MAX)

    def counters(self):
        self.process.send_signal(10)
        return json.loads(self.process.stdout.readline())


def get(url, byte_range=None, method="GET"):
    """(body, milliseconds)"""
    headers = {"Range": "bytes={}-{}".format(*byte_range)} if byte_range else {}
    start = time.monotonic()
    request = urllib.request.Request(url, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read(), (time.monotonic() - start) * 1000


def test_a_link_delays_by_its_round_trip_and_the_handshake_by_one_more():
    with Server({"/blob": BODY}) as server, Link(server.port, "--rtt-ms", str(RTT_MS)) as link:
        assert link.first["rtt_ms"] >= RTT_MS
        body, took = get(link.url, (0, 9))
        assert body == BODY[:10]
        assert took >= 2 * RTT_MS


def test_a_link_passes_bytes_unchanged_and_counts_them():
    with Server({"/blob": BODY}) as server, Link(server.port) as link:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            wanted = [(n * 1000, n * 70_000 + 1) for n in range(24)]
            got = list(pool.map(lambda w: get(link.url, (w[0], w[0] + w[1] - 1))[0], wanted))
        assert got == [BODY[o:o + n] for o, n in wanted]
        assert get(link.url)[0] == BODY
        counters = link.counters()
    assert counters["requests"] == counters["connections"] == 25
    assert counters["ranges"] == 24
    sent = sum(n for _, n in wanted) + len(BODY)
    assert sent < counters["bytes_down"] < sent + 25 * 300


def test_depth_grows_only_after_an_answer():
    with Server({"/blob": BODY}) as server, Link(server.port, "--rtt-ms", "200") as link:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: get(link.url, (0, 9)), range(4)))
        assert link.counters()["depth"] == 1
        for depth in (2, 3):
            get(link.url, (0, 9))
            assert link.counters()["depth"] == depth


def test_an_answer_to_head_has_no_body_to_wait_for():
    with Server({"/blob": BODY}) as server, Link(server.port) as link:
        get(link.url, method="HEAD")
        get(link.url, (0, 9))
        counters = link.counters()
    assert counters["requests"] == counters["depth"] == 2


def test_all_connections_share_one_bucket():
    rate = 4_000_000
    with Server({"/blob": BODY}) as server, Link(server.port, "--rate", str(rate)) as link:
        assert link.first["rate"] <= rate * 1.15
        start = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: get(link.url, (0, 499_999)), range(4)))
        assert time.monotonic() - start >= 2_000_000 / rate


@pytest.mark.parametrize("segments, round_trips", [(10, 2), (30, 3), (70, 4), (150, 5)])
def test_slow_start_doubles_from_ten_segments(segments, round_trips):
    """Handshake and request take two round trips; each flight after the first one more."""
    size = segments * 1448 - 400  # the head of the answer is part of it
    with Server({"/blob": BODY}) as server, \
            Link(server.port, "--rtt-ms", str(RTT_MS), "--slow-start") as link:
        assert link.first["slow_start_ms"] >= link.first["slow_start_due_ms"] - 1
        took = get(link.url, (0, size - 1))[1]
        more = get(link.url, (0, size + 1999))[1]
    assert took >= round_trips * RTT_MS
    assert more >= (round_trips + 1) * RTT_MS


def test_a_link_that_cannot_be_what_it_should_refuses():
    """No loopback carries a terabyte a second."""
    with Server({"/blob": BODY}) as server:
        ended = run.run(TOOLS / "link", "--to", str(server.port), "--rate", str(10**12),
                        check=False)
    assert ended.returncode == 3
    assert "off by more than" in ended.stderr


def store_with(sluice_program, layout, place):
    """A store that has an index of a layout; (layers' digests)."""
    environment = {**os.environ, "HOME": str(place), "SLUICE_STORE": str(place / "store")}
    run.run(sluice_program, "index", "build", f"oci:{layout}:latest", env=environment)
    return [json.loads(p.read_text()) for p in (place / "store").glob("images/*/image.json")]


PROGRAM = TOOLS.parents[1] / "tools/sluice"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The synthetic image, a hundredth of it, as a layout and in a store."""
    place = tmp_path_factory.mktemp("gpu")
    image = gpu.make(Path(__file__).resolve().parents[1] / "bench/gpu.c", place / "made",
                     scale=0.01)
    layout = images.Layout(place / "layout")
    for layer in image.layers:
        shutil.move(layer["path"], layout.blob_path(layer["digest"]))
    layout.blob(image.config, images.OCI_CONFIG)
    layout.tag(layout.blob(image.manifest, images.OCI_MANIFEST))
    store_with(PROGRAM, layout.place, place)
    return place, image, layout


def test_the_image_is_the_same_each_time(small, tmp_path):
    again = gpu.make(Path(__file__).resolve().parents[1] / "bench/gpu.c", tmp_path / "made",
                     scale=0.01)
    assert again.digest == small[1].digest


def plan_of(place, layers, ranges):
    lines = []
    for n, layer in enumerate(layers):
        folder = place / "store/layers" / layer["digest"].replace(":", "-")
        windows = folder / "windows"
        lines.append(f"layer /{n} {folder / 'seek'} {windows if windows.exists() else '-'}")
        lines += [f"{off} {size}" for layer_n, off, size in ranges if layer_n == n]
    return "\n".join(lines) + "\n"


def oracle(plan, port, *options, **more):
    return run.run(TOOLS / "oracle", "--port", str(port), *options, input=plan, **more)


def test_the_oracle_inflates_all_of_an_image(small):
    place, image, layout = small
    files = {f"/{n}": layout.blob_path(x["digest"]).read_bytes()
             for n, x in enumerate(image.layers)}
    ranges = [(n, 0, x["bytes"]) for n, x in enumerate(image.layers)]
    with Server(files) as server:
        got = json.loads(oracle(plan_of(place, image.layers, ranges), server.port,
                                "--check").stdout)
        plain = json.loads(oracle(plan_of(place, image.layers, ranges), server.port).stdout)
    assert got["out"] == plain["out"] == image.bytes
    # Neighbouring spans may share a byte; a gzip header and trailer are not needed.
    assert abs(got["bytes"] - image.size) < got["units"] + 64 * len(image.layers)


def test_the_oracle_asks_only_for_what_is_needed(small):
    place, image, layout = small
    files = {f"/{n}": layout.blob_path(x["digest"]).read_bytes()
             for n, x in enumerate(image.layers)}
    with Server(files) as server, Link(server.port) as link:
        port = link.first["port"]
        got = json.loads(oracle(plan_of(place, image.layers, [(1, 5_000_000, 1)]), port,
                                "--check").stdout)
        counters = link.counters()
    assert got["units"] == got["ranges"] == counters["requests"] == counters["ranges"] == 1
    assert got["bytes"] < counters["bytes_down"] < got["bytes"] + 300
    assert 1 <= got["out"] <= 64 << 20


def test_the_oracle_sees_a_wrong_byte(small):
    place, image, layout = small
    files = {f"/{n}": layout.blob_path(x["digest"]).read_bytes()
             for n, x in enumerate(image.layers)}
    files["/4"] = bytearray(files["/4"])
    files["/4"][len(files["/4"]) // 2] ^= 1
    with Server(files) as server:
        ended = oracle(plan_of(place, image.layers, [(4, 0, image.layers[4]["bytes"])]),
                       server.port, "--check", check=False)
    assert ended.returncode == 1
    assert "span" in ended.stderr


def test_touched_names_the_pages_that_were_read(small, tmp_path):
    """A read of one page, with the kernel's read-ahead off."""
    place, image, layout = small
    environment = {**os.environ, "HOME": str(place), "SLUICE_STORE": str(place / "store")}
    root = tmp_path / "root"
    root.mkdir()
    run.run(PROGRAM, "mount", "--fs=fuse", f"oci:{layout.place}:latest", root, env=environment)
    try:
        device = os.stat(root).st_dev
        Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb").write_text("0")
        library = root / "opt/lib/libtorch_gpu"
        with open(library, "rb", buffering=0) as file:
            file.seek(8192)
            page = file.read(4096)
        tree = place / "store/images" / image.digest.replace(":", "-") / "tree.erofs"
        said = run.run(TOOLS / "touched", root, tree).stdout.split()
    finally:
        run.run(PROGRAM, "umount", root, env=environment)
    assert len(said) == 3
    layer, offset, size = map(int, said)
    assert size == 4096
    plain = run.run("gzip", "-dc", layout.blob_path(image.layers[layer]["digest"]), text=False,
                    errors=None).stdout
    assert plain[offset:offset + size] == page
    assert hashlib.sha256(plain).hexdigest() == image.layers[layer]["diff_id"][7:]


def test_watched_tells_when_a_marked_program_was_loaded():
    said = run.run(TOOLS / "watched", "--mark", "BENCH_MARK=1", "sh", "-c",
                   "env BENCH_MARK=1 sh -c 'sleep 0.2; echo no; echo ready; sleep 0.2'")
    got = json.loads(said.stdout)
    assert 0 < got["exec"] < got["ready"] < got["end"]
    assert got["ready"] - got["exec"] >= 190
    assert got["status"] == 0


def test_rows_and_plots_of_samples(tmp_path):
    def sample(contender, ready, **more):
        return {"image": "gpu", "link": "1g-1ms", "contender": contender, "exec": 30,
                "ready": ready, "cpu": 100, "bytes_down": 1500, "depth": 3, "requests": 4, **more}

    samples = [sample("oracle", 100, needed=1000), sample("local", 50),
               sample("sluice-fuse", 190), sample("sluice-fuse+profile", 112),
               sample("warm-fuse", 54), sample("pull-umoci", 1950)]
    report = Report()
    aims.rows(report, samples)
    rows = [(r["name"].strip(), round(r["value"], 3), r["reached"]) for r in report.rows]
    assert ("gpu, 1g-1ms, sluice-fuse: ready / T_oracle", 1.9, True) in rows
    assert ("gpu, 1g-1ms, sluice-fuse+profile: ready / T_oracle", 1.12, False) in rows
    assert ("gpu, 1g-1ms, sluice-fuse: bytes fetched / needed", 1.5, True) in rows
    assert ("gpu, 1g-1ms, sluice-fuse+profile: bytes fetched / needed", 1.5, False) in rows
    assert ("gpu, 1g-1ms, sluice-fuse+profile: pull-umoci / this", round(1950 / 112, 3),
            True) in rows
    assert ("gpu, warm-fuse: second start / unpacked", 1.08, True) in rows
    plots.write(samples, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"{n}.svg" for n in plots.PLOTS)
    assert "sluice-fuse+profile" in (tmp_path / "ready.svg").read_text()
