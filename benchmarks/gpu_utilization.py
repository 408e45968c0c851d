"""How busy a GPU is while something runs, as nvidia-smi tells it."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
from collections.abc import Callable, Iterator

_EVERY_MS = 100


@contextlib.contextmanager
def utilization_of(device: str) -> Iterator[Callable[[], float | None]]:
    """Watch while this lasts; the function that it gives then tells the mean share of time with a kernel running, in per cent.

    None where the device is no GPU, or nvidia-smi is not there.
    """
    if device != "cuda":
        yield lambda: None
        return
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"-lms={_EVERY_MS}"]
    try:
        watcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    except OSError:
        yield lambda: None
        return
    seen: list[float] = []
    try:
        yield lambda: statistics.fmean(seen) if seen else None
    finally:
        watcher.terminate()
        out, _ = watcher.communicate()
        seen += [float(line) for line in out.split() if line.strip().isdigit()]
