"""Likely leaks: how well one column alone tells the label, and whether its gaps know the label. Quick, on a sample."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eventscore_training.draft_columns import Column

ALMOST_ALONE = 0.98
"""ROC-AUC of one column from which it is taken for a leak and left out."""
SUSPICIOUS = 0.9
SAMPLE_ROWS = 200_000
_BINS = 64
_PRIOR_ROWS = 5.0
_SURPRISE = np.log(1e-6)
"""A gap that always meets the same label is chance if its probability is larger than this."""


def auc_alone(column: Column, label: NDArray[np.int8]) -> float:
    """ROC-AUC of the label's rate by value (numbers in 64 bins, a gap is a value); of a number itself, where that is more.

    The rate is learned on one half of the rows and judged on the other, so that a value which occurs once tells nothing.
    """
    values = column.values
    if len(label) > SAMPLE_ROWS:
        rows = np.linspace(0, len(label) - 1, SAMPLE_ROWS).round().astype(np.int64)
        values, label = values[rows], label[rows]
    by_rate = _auc_by_rate(_codes(values), label)
    if column.kind != "number" or values.null_count() == len(values) or not 0 < label.sum() < len(label):
        return by_rate
    # Bins are too coarse for a number that is above 0 only in a few rows, all of them positive.
    ranked = _rank_auc(values.fill_null(values.median()).to_numpy(), label)
    return max(by_rate, ranked, 1 - ranked)


def _auc_by_rate(codes: NDArray[np.int64], label: NDArray[np.int8]) -> float:
    # Rows next to each other belong together often enough (sorted tables) to shuffle first; the seed keeps the draft the same.
    fold = np.random.default_rng(0).integers(0, 2, len(label))
    aucs: list[float] = []
    for learned in (0, 1):
        known, judged = fold == learned, fold != learned
        base = label[known].mean() if known.any() else 0.5
        seen = np.bincount(codes[known], minlength=codes.max() + 1)
        positive = np.bincount(codes[known], weights=label[known], minlength=codes.max() + 1)
        rate = (positive + _PRIOR_ROWS * base) / (seen + _PRIOR_ROWS)
        if 0 < label[judged].sum() < judged.sum():
            aucs.append(_rank_auc(rate[codes[judged]], label[judged]))
    return float(np.mean(aucs)) if aucs else 0.5


def gap_leak(column: Column, label: NDArray[np.int8]) -> str:
    """A sentence if the column's gaps know the label: null exactly, or only, when the label has one value; else empty."""
    gap = column.values.is_null().to_numpy()
    rate = float(label.mean())
    if not gap.any() or gap.all() or not 0 < rate < 1:
        return ""
    classes = (("positive", 1), ("negative", 0))
    for word, value in classes:
        if np.array_equal(gap, label == value):
            return f"it is null exactly when the label is {word}"
    for word, value in classes:
        here = label == value
        chance = np.log(rate if value else 1 - rate)
        if here[~gap].all() and (~gap).sum() * chance < _SURPRISE:
            return f"it is there only in rows whose label is {word}"
        if here[gap].all() and gap.sum() * chance < _SURPRISE:
            return f"it is null only in rows whose label is {word}"
    return ""


def share_after(times: pl.Series, event_times: pl.Series) -> float:
    """The share of rows whose time lies after the event's own."""
    later = (times > event_times).drop_nulls()
    return float(later.sum()) / len(later) if len(later) else 0.0


def _codes(values: pl.Series) -> NDArray[np.int64]:
    if values.dtype == pl.Float64:
        numbers = values.to_numpy().astype(np.float64)
        known = np.sort(numbers[~np.isnan(numbers)])
        # Edges are values that occur: quantiles between 0 and 5 would part two values anywhere.
        picked = np.linspace(0, len(known) - 1, _BINS).round().astype(np.int64)
        edges = np.unique(known[picked]) if len(known) else known
        return np.where(np.isnan(numbers), 0, np.searchsorted(edges, numbers, side="right") + 1).astype(np.int64)
    return values.cast(pl.String).fill_null("\0").rank("dense").to_numpy().astype(np.int64)


def _rank_auc(scores: NDArray[np.float64], label: NDArray[np.int8]) -> float:
    ranks = pl.Series(scores).rank("average").to_numpy()
    positives = int(label.sum())
    negatives = len(label) - positives
    return float((ranks[label == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))
