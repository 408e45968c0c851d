"""How sure the figures are: intervals by a bootstrap over blocks of days, since events of one day resemble each other.

Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 8.6 (blocks). Rows are resampled one by one only where the events
have no time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eventscore_training.weighted import Weighted

RESAMPLES = 300
LEVEL = 0.95
DAY_US = 86_400_000_000
_MIN_DAYS = 10
_STRETCHES = 20


def blocks_of(time_us: NDArray[np.int64] | None, rows: int) -> tuple[NDArray[np.int64], str]:
    """Each row's block ``[rows]``, numbered from 0, and in words what a block is."""
    if time_us is None:
        return np.arange(rows), "single events"
    days = np.unique(time_us // DAY_US, return_inverse=True)[1].astype(np.int64)
    if len(days) and days.max() + 1 >= _MIN_DAYS:
        return days, f"{days.max() + 1} days"
    stretch = np.empty(rows, np.int64)
    stretch[np.argsort(time_us, kind="stable")] = np.arange(rows) * _STRETCHES // max(1, rows)
    return stretch, f"{_STRETCHES} stretches of time (there are too few days)"


def intervals(figures: Weighted, block: NDArray[np.int64], seed: int = 0) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each figure, by its name: percentiles over 300 resamples of the blocks.

    A resample that does not have a figure (a ranking, where it holds one class) is left out for that figure.
    """
    random, blocks = np.random.default_rng(seed), int(block.max()) + 1
    drawn: dict[str, list[float]] = {}
    for _ in range(RESAMPLES):
        times = np.bincount(random.integers(0, blocks, blocks), minlength=blocks)
        for name, value in figures.measure(times[block].astype(np.float64)).items():
            drawn.setdefault(name, []).append(value)
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    bounds = {name: np.quantile(values, tails) for name, values in drawn.items()}
    return {name: (float(low), float(high)) for name, (low, high) in bounds.items()}
