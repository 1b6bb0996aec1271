# SPDX-License-Identifier: Apache-2.0
"""What a benchmark says of the machine that it ran on."""
import os
import time
from pathlib import Path


def stalled_us():
    """When, and for how long tasks of this machine have waited for a processor."""
    some = Path("/proc/pressure/cpu").read_text().split("total=")[1].split()[0]
    return time.monotonic() * 1e6, int(some)


def busy(before):
    then, waited = before
    now, more = stalled_us()
    share = 100 * (more - waited) / (now - then)
    return f"while measuring, something waited for a processor {share:.0f} % of the time"


def machine():
    model = next((x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines()
                  if x.startswith("model name")), "unknown processor")
    return f"{os.cpu_count()} processors ({model}), Linux {os.uname().release}"
