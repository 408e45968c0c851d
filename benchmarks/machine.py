"""Which machine and which versions a figure was measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path


def describe_machine(distributions: Sequence[str]) -> str:
    """Date, processor, load, Python and the versions of ``distributions``, in two lines."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in distributions)
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {_processor()}, {os.cpu_count()} CPUs, load {load} (1, 5, 15 min); "
        f"{platform.system()} {platform.machine()}\n"
        f"Python {platform.python_version()}, {versions}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    wanted = ("model name", "cpu family", "model", "CPU part")
    pairs = (tuple(part.strip() for part in line.split(":", 1)) for line in lines if ":" in line)
    found = {key: value for key, value in pairs if key in wanted}
    name = found.pop("model name", "unknown processor")
    return f"{name} ({', '.join(f'{key} {value}' for key, value in found.items())})" if found else name
