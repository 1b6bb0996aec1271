# SPDX-License-Identifier: Apache-2.0
"""What the samples of tests/bench/start are meant to show: a row for each aim.

T_oracle is the oracle's time from its start to its last inflated byte, strictly: it does not run
the program. No start can be ready sooner than the program's own time on the unpacked image, so the
ratio to the greater of both is given beside it.
"""
import statistics

PROFILE = "+profile"
FIRST_LINK = "1g-1ms"
READY_WITH = {"1g-1ms": 1.10, "1g-20ms": 1.25, "200m-50ms": 1.25}
READY_WITHOUT = {"1g-1ms": 2, "1g-20ms": 4}
BYTES_WITH, BYTES_WITHOUT = 1.15, 1.5
DEPTH_WITH, FIRST_EXEC_MS, PULL_TIMES, CPU_TIMES, WARM_TIMES = 6, 60, 10, 1.3, 1.1
PULLED = "gpu"  # the image that the aim for a full pull is about


class Samples:
    def __init__(self, samples):
        self.samples = samples

    def names(self, image=None, link=None):
        """The contenders, in order."""
        return list(dict.fromkeys(
            x["contender"] for x in self.samples
            if image in (None, x["image"]) and link in (None, x["link"])))

    def places(self):
        return list(dict.fromkeys((x["image"], x["link"]) for x in self.samples))

    def values(self, image, link, contender, key):
        return [float(x[key]) for x in self.samples
                if (x["image"], x["link"], x["contender"]) == (image, link, contender)
                and x.get(key) not in (None, "")]

    def median(self, image, link, contender, key):
        """None when it was not measured."""
        values = self.values(image, link, contender, key)
        return statistics.median(values) if values else None

    def p99(self, image, link, contender, key):
        """The value that 99 of 100 are not above: with fewer samples, the greatest."""
        values = sorted(self.values(image, link, contender, key))
        return values[max(0, -(-99 * len(values) // 100) - 1)] if values else None


def _cold(report, s, place, name):
    image, link = place
    where, profile = f"{image}, {link}, {name}", PROFILE in name

    def mid(key, who=name):
        return s.median(image, link, who, key)

    ready, bound, local = mid("ready"), mid("ready", "oracle"), mid("ready", "local")
    if bound:
        floor = max(bound, local or 0)
        report.row(f"{where}: ready / T_oracle", ready / bound,
                   at_most=(READY_WITH if profile else READY_WITHOUT).get(link),
                   more=f"{ready:.0f} ms against {bound:.0f}, "
                        f"p99 {s.p99(*place, name, 'ready'):.0f}"
                        + (f"; local {local:.0f}, ratio to the greater {ready / floor:.2f}"
                           if local else ""))
        needed = mid("needed", "oracle")
        report.row(f"{where}: bytes fetched / needed", mid("bytes_down") / needed,
                   at_most=BYTES_WITH if profile else BYTES_WITHOUT,
                   more=f"{mid('bytes_down') / 1e6:.1f} MB of {needed / 1e6:.1f}, "
                        f"{mid('requests'):.0f} requests")
        report.row(f"{where}: CPU / the oracle's", mid("cpu") / mid("cpu", "oracle"),
                   at_most=CPU_TIMES,
                   more=f"{mid('cpu'):.0f} ms against {mid('cpu', 'oracle'):.0f}" +
                        (f"; without the program's own {mid('cpu', 'local'):.0f}: "
                         f"{(mid('cpu') - mid('cpu', 'local')) / mid('cpu', 'oracle'):.2f}"
                         if local else ""))
    report.row(f"{where}: depth of requests", mid("depth"), at_most=DEPTH_WITH if profile else None)
    if local:
        report.row(f"{where}: first exec beyond a local crun run",
                   mid("exec") - mid("exec", "local"), " ms",
                   at_most=FIRST_EXEC_MS if link == FIRST_LINK else None,
                   more=f"{mid('exec'):.0f} ms against {mid('exec', 'local'):.0f}")
    for pull in [x for x in s.names(image, link) if x.startswith("pull-")]:
        report.row(f"{where}: {pull} / this", mid("ready", pull) / ready,
                   at_least=PULL_TIMES if image.startswith(PULLED) else None,
                   more=f"{mid('ready', pull) / 1000:.1f} s")


def rows(report, samples):
    s = Samples(samples)
    for place in s.places():
        for name in s.names(*place):
            if name.startswith(("sluice", "mount")):
                _cold(report, s, place, name)
        local = s.median(*place, "local", "ready")
        for name in s.names(*place):
            if name.startswith("warm") and local:
                warm = s.median(*place, name, "ready")
                report.row(f"{place[0]}, {name}: second start / unpacked", warm / local,
                           at_most=WARM_TIMES, more=f"{warm:.0f} ms against {local:.0f}")
