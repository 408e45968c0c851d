"""How sure the figures are: intervals by a bootstrap over blocks of days, since events of one day resemble each other.

Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 8.6 (blocks). Rows are resampled one by one only where the events
have no time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eventscore_training.evaluate import CALIBRATION_BINS

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


def intervals(
    label: NDArray[np.int8], scores: NDArray[np.float32], block: NDArray[np.int64], seed: int = 0
) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each metric, by its name: percentiles over 300 resamples of the blocks.

    A resample that holds one class is left out.
    """
    random, blocks = np.random.default_rng(seed), int(block.max()) + 1
    figures = _Weighted(label, scores)
    drawn: list[dict[str, float]] = []
    for _ in range(RESAMPLES):
        times = np.bincount(random.integers(0, blocks, blocks), minlength=blocks)
        found = figures.measure(times[block].astype(np.float64))
        if found is not None:
            drawn.append(found)
    if not drawn:
        return {}
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    bounds = {name: np.quantile([each[name] for each in drawn], tails) for name in drawn[0]}
    return {name: (float(low), float(high)) for name, (low, high) in bounds.items()}


class _Weighted:
    """Metrics of rows that count several times or not at all. What does not depend on the weights is computed once."""

    def __init__(self, label: NDArray[np.int8], scores: NDArray[np.float32]) -> None:
        self._positive = label == 1
        self._scores = scores.astype(np.float64)
        self._rank = np.unique(scores, return_inverse=True)[1]
        probability = np.clip(self._scores, 1e-7, 1 - 1e-7)
        self._loss = -np.where(self._positive, np.log(probability), np.log1p(-probability))
        self._bin = np.minimum((self._scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)

    def measure(self, weight: NDArray[np.float64]) -> dict[str, float] | None:
        """The metrics under ``weight`` ``[n]``; None where only one class weighs anything."""
        whole, positives = weight.sum(), weight[self._positive].sum()
        if positives in (0, whole):
            return None
        positive = np.bincount(self._rank, weight * self._positive)
        negative = np.bincount(self._rank, weight * ~self._positive)
        above, chosen = np.cumsum(positive[::-1]), np.cumsum((positive + negative)[::-1])
        precision = np.divide(above, chosen, out=np.zeros_like(above), where=chosen > 0)
        ranked = float(positive @ (np.cumsum(negative) - negative / 2))
        gap = np.bincount(self._bin, weight * (self._scores - self._positive), minlength=CALIBRATION_BINS)
        return {
            "roc_auc": ranked / float(positives * (whole - positives)),
            "pr_auc": float(precision @ positive[::-1] / positives),
            "log_loss": float(weight @ self._loss / whole),
            "calibration_error": float(np.abs(gap).sum() / whole),
            "mean_score": float(weight @ self._scores / whole),
            "positive_share": float(positives / whole),
        }
