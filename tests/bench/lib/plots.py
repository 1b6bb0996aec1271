# SPDX-License-Identifier: Apache-2.0
"""Bars of samples as SVG: a panel for each image and link, a bar for each contender up to its
median, a whisker up to the p99. By itself: plots.py SAMPLES.csv FOLDER"""
import csv
import math
import sys
from pathlib import Path
from xml.sax.saxutils import escape

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.lib import aims  # noqa: E402

BAR, GAP, LABEL, WIDTH, PANEL, MARGIN = 16, 5, 150, 420, 26, 12
COLOURS = {"oracle": "#555555", "local": "#999999", "pull": "#c0504d", "warm": "#9bbb59",
           "mount": "#4bacc6", "sluice": "#1f5fa8"}
PROFILE_COLOUR = "#0b8043"
# file: (title, column, divided by a column of the oracle or a number, logarithmic)
PLOTS = {
    "exec": ("time to first exec, ms", "exec", 1, True),
    "ready": ("time to ready, ms", "ready", 1, True),
    "bytes": ("bytes fetched / needed", "bytes_down", "needed", False),
    "depth": ("depth of dependent requests", "depth", 1, True),
    "cpu": ("processor seconds until ready", "cpu", 1000, False),
}


def _colour(name):
    return PROFILE_COLOUR if aims.PROFILE in name else COLOURS.get(name.split("-")[0], "#000000")


def _text(x, y, text, anchor="start", size=11, weight="normal"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="{size}" '
            f'font-weight="{weight}">{escape(text)}</text>')


def _panel(title, bars, top, logarithmic):
    """bars: (name, median, p99). The scale is the panel's own."""
    most = max(p99 for _, _, p99 in bars)
    least = min(mid for _, mid, _ in bars)
    low = 10 ** math.floor(math.log10(least)) if logarithmic and least > 0 else 0

    def x(value):
        if low:
            return WIDTH * math.log10(max(value, low) / low) / max(math.log10(most / low), 1e-9)
        return WIDTH * value / most if most else 0

    parts, y = [_text(MARGIN, top + 14, title, size=12, weight="bold")], top + PANEL
    for name, mid, p99 in bars:
        middle = y + BAR / 2
        parts += [
            _text(LABEL - 6, y + BAR - 4, name, "end"),
            f'<rect x="{LABEL}" y="{y}" width="{max(x(mid), 1):.1f}" height="{BAR}" '
            f'fill="{_colour(name)}"/>',
            f'<path d="M{LABEL + x(mid):.1f} {middle}H{LABEL + x(p99):.1f}m0 -4v8" '
            'stroke="#000000" fill="none"/>',
            _text(LABEL + x(p99) + 6, y + BAR - 4, f"{mid:,.0f}" if mid >= 100 else f"{mid:.2f}"),
        ]
        y += BAR + GAP
    return parts, y + GAP


def draw(samples, title, column, over, logarithmic):
    s, parts, y = aims.Samples(samples), [], 30
    for image, link in s.places():
        bars = []
        for name in s.names(image, link):
            divisor = (s.median(image, link, "oracle", over) if isinstance(over, str) else over)
            mid = s.median(image, link, name, column)
            if divisor and mid is not None and mid > 0:
                bars.append((name, mid / divisor, s.p99(image, link, name, column) / divisor))
        if bars:
            more, y = _panel(f"{image}, {link}", bars, y, logarithmic)
            parts += more
    scale = " (logarithmic)" if logarithmic else ""
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LABEL + WIDTH + 80}" '
        f'height="{y + MARGIN:.0f}" font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        _text(MARGIN, 20, f"{title}{scale}: median, whisker to the p99", size=14, weight="bold"),
        *parts, "</svg>", ""])


def write(samples, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, how in PLOTS.items():
        (folder / f"{name}.svg").write_text(draw(samples, *how))


def main():
    if len(sys.argv) != 3:
        sys.exit("plots.py SAMPLES.csv FOLDER")
    with open(sys.argv[1], newline="", encoding="ascii") as file:
        write(list(csv.DictReader(file)), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
