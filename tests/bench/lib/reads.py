# SPDX-License-Identifier: Apache-2.0
"""What reads of a mount cost: its tree beside a local one's, and a demand read while more is
fetched than anybody asked for."""
import json
import os
import random
import statistics
import time
from pathlib import Path

from system.lib import run

from . import contend

COMMAND_SECONDS_MAX = 600
FIND_TIMES, OPEN_TIMES, DEMAND_TIMES = 1.5, 1.1, 2
OPENED, OPEN_ROUNDS = 6000, 5
DEMANDS, DEMAND_PAUSE_SECONDS, PAGE = 150, 0.02, 4096


def drop_caches():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def _find(root):
    """Milliseconds that a walk takes whose kernel knows nothing yet."""
    drop_caches()
    start = time.monotonic()
    run.run("find", root, "-type", "f", "-size", "+1", timeout=COMMAND_SECONDS_MAX)
    return (time.monotonic() - start) * 1000


def _files(root, sub):
    found = []
    for directory, directories, files in os.walk(root / sub):
        directories.sort()
        found += [os.path.relpath(os.path.join(directory, name), root) for name in sorted(files)]
    return found


def tree(bench, image, kinds):
    """A cold walk over all files, and a warm open, read and close of many, in turns."""
    local = bench.library.unpacked(image)
    names = random.Random(3).sample(_files(local, "opt/modules"), OPENED)
    took = {kind: {"find": [], "open": []} for kind in ("ext4", *kinds)}
    for _ in range(bench.options.runs):
        for kind, times in took.items():
            root = local if kind == "ext4" else bench.library.mount(image, bench.nginx.port,
                                                                    f"--fs={kind}")
            try:
                times["find"].append(_find(root))
                command = [bench.build / "tests/bench/fsops", "open", root]
                # The first round fetches.
                for rounds in (1, OPEN_ROUNDS):
                    said = run.run(*map(str, command), str(rounds), timeout=COMMAND_SECONDS_MAX,
                                   input="\n".join(names) + "\n")
                times["open"] += [x / OPENED / 1000 for x in json.loads(said.stdout)["ns"]]
            finally:
                if kind != "ext4":
                    bench.library.umount(root)
    middle = {kind: {k: statistics.median(v) for k, v in times.items()}
              for kind, times in took.items()}
    for kind in kinds:
        aims = (FIND_TIMES, OPEN_TIMES) if kind == "erofs" else (None, None)
        bench.report.row(f"{image}, --fs={kind}: cold find / ext4",
                         middle[kind]["find"] / middle["ext4"]["find"], at_most=aims[0],
                         more=f"{middle[kind]['find']:.0f} ms against {middle['ext4']['find']:.0f}")
        bench.report.row(f"{image}, --fs={kind}: warm open+read+close / ext4",
                         middle[kind]["open"] / middle["ext4"]["open"], at_most=aims[1],
                         more=f"{middle[kind]['open']:.2f} µs against "
                              f"{middle['ext4']['open']:.2f}")


def _demands(bench, image, link, seed, options):
    """Milliseconds of reads of pages here and there in large files, on an empty store."""
    scratch = bench.place / f"demand{bench.next_number()}"
    root = scratch / "root"
    root.mkdir(parents=True)
    environment = {**bench.environment, "SLUICE_STORE": str(scratch / "store")}
    run.run(bench.program, "mount", *options, f"localhost:{link.port}/{image}", root,
            env=environment)
    took, rng = [], random.Random(seed)
    try:
        files = [root / name for name in _files(root, "opt/lib")]
        for _ in range(DEMANDS):
            path = rng.choice(files)
            at = rng.randrange(path.stat().st_size // PAGE) * PAGE
            with open(path, "rb", buffering=0) as file:
                start = time.monotonic()
                os.pread(file.fileno(), PAGE, at)
                took.append((time.monotonic() - start) * 1000)
            time.sleep(DEMAND_PAUSE_SECONDS)
    finally:
        run.run(bench.program, "umount", root, env=environment, check=False)
        contend.remove(scratch)
    return took


def demand(bench, image, link_name, quiet, busy):
    """A demand read's p99 with `busy` options, in which all of the image is being fetched, against
    that with `quiet` ones."""
    took = {"quiet": [], "busy": []}
    bench.library.warm(image)
    for n in range(bench.options.runs):
        for how, options in (("quiet", quiet), ("busy", busy)):
            link = bench.link(link_name)
            try:
                took[how] += _demands(bench, image, link, n, options)
            finally:
                link.stop()
    p99 = {how: sorted(times)[len(times) * 99 // 100] for how, times in took.items()}
    bench.report.row(f"{image}, {link_name}: p99 of a demand read, fetching ahead / not",
                     p99["busy"] / p99["quiet"], at_most=DEMAND_TIMES,
                     more=f"{p99['busy']:.0f} ms against {p99['quiet']:.0f}; medians "
                          f"{statistics.median(took['busy']):.0f} and "
                          f"{statistics.median(took['quiet']):.0f}")
