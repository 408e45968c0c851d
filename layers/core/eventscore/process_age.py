"""How long this process has been running: where a cold start begins."""

from __future__ import annotations

import os
import time


def process_age_ms() -> float | None:
    """Milliseconds since the process was started; None where the system does not tell (only Linux does, see proc(5))."""
    try:
        # The second field, the command in brackets, may hold anything; the start time is the 20th after it.
        with open("/proc/self/stat", "rb") as file:  # noqa: PTH123 - pathlib costs an import
            ticks = int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None
    return (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")) * 1000
