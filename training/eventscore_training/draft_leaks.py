"""Likely leaks: how well one column alone tells the label, and whether its gaps know the label. Quick, on a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eventscore_training.draft_columns import Column

SAMPLE_ROWS = 200_000
_BINS = 64
_PRIOR_ROWS = 5.0
_ROWS_OF_A_FLAG = 20
_ROWS_ON_A_SIDE = 10
_SURPRISE = np.log(1e-6)
"""A gap that always meets the same label is chance if its probability is larger than this."""


@dataclass(frozen=True)
class Alone:
    """How well one column tells the label: ``strength`` of the label that it tells best (``of``), ``usual`` the mean over labels."""

    strength: float
    usual: float
    of: str = ""


@dataclass(frozen=True)
class Flags:
    """A truth of one flag or several ``[n, flags]``; ``when`` and ``when_not`` say in words when each is up or down.

    Classes are flags that know no ``when_not``: each is one against the rest. ``learned`` False: nothing is learned from them, so
    that a column which tells them may be what makes an event unusual; it stays, with a warning.
    """

    up: NDArray[np.bool_]
    when: tuple[str, ...] = ()
    when_not: tuple[str, ...] = ()
    learned: bool = True

    suspicious = 0.9
    nothing = 0.5

    @property
    def almost_alone(self) -> float:
        """The strength from which a column is taken for a leak and left out."""
        return 0.98 if self.learned else float("inf")

    def sorted(self, order: NDArray[np.int64]) -> Flags:
        """The same, its rows in another order."""
        return replace(self, up=self.up[order])

    def alone(self, column: Column) -> Alone:
        """ROC-AUC of the flag's rate by value (numbers in 64 bins, a gap is a value); of a number itself, where that is more.

        The rate is learned on one half of the rows and judged on the other, so that a value which occurs once tells nothing.
        """
        values, rows = _sample(column.values)
        up = self.up[rows]
        codes, fold = _codes(values), _halves(len(rows))
        ranks = None
        if column.kind == "number" and values.null_count() < len(values):
            # Bins are too coarse for a number that is above 0 only in a few rows, all of them positive.
            ranks = pl.Series(values.fill_null(values.median()).to_numpy()).rank("average").to_numpy()
        # A flag that is rarely up is told by chance, unless it is the only one.
        enough = _ROWS_OF_A_FLAG if up.shape[1] > 1 else 1
        aucs: dict[int, float] = {}
        for place in range(up.shape[1]):
            flag = up[:, place]
            if not enough <= flag.sum() < len(flag):
                continue
            aucs[place] = _auc_by_rate(codes, fold, flag)
            if ranks is not None:
                ranked = _auc_of_ranks(ranks, flag)
                aucs[place] = max(aucs[place], ranked, 1 - ranked)
        if not aucs:
            return Alone(self.nothing, self.nothing)
        best = max(aucs, key=lambda place: aucs[place])
        return Alone(aucs[best], float(np.mean(list(aucs.values()))), self.when[best] if up.shape[1] > 1 else "")

    def gap_leak(self, column: Column) -> str:
        """A sentence if the column's gaps know the label: null exactly, or only, when the label has one value; else empty."""
        gap = column.values.is_null().to_numpy()
        if not gap.any() or gap.all():
            return ""
        cases: list[tuple[str, NDArray[np.bool_]]] = []
        for place, word in enumerate(self.when):
            flag = self.up[:, place]
            if 0 < flag.sum() < len(flag):
                cases.append((word, flag))
                if self.when_not:
                    cases.append((self.when_not[place], ~flag))
        for word, here in cases:
            if np.array_equal(gap, here):
                return f"it is null exactly when the label is {word}"
        for word, here in cases:
            chance = np.log(here.mean())
            if here[~gap].all() and (~gap).sum() * chance < _SURPRISE:
                return f"it is there only in rows whose label is {word}"
            if here[gap].all() and gap.sum() * chance < _SURPRISE:
                return f"it is null only in rows whose label is {word}"
        return ""

    def told(self, alone: Alone) -> str:
        """What a feature reaches alone, in words."""
        if not self.up.shape[1]:
            return ""
        several = " (mean over the labels)" if self.when_not else " (mean over the classes)"
        return f"alone it reaches a ROC-AUC of {alone.usual:.2f}{several if self.up.shape[1] > 1 else ''}"

    def strength_told(self, alone: Alone) -> str:
        """The strength in words."""
        return f"ROC-AUC {alone.strength:.3f}{f' for {alone.of}' if alone.of else ''}"


@dataclass(frozen=True)
class Numbers:
    """A truth of one number ``[n]``."""

    values: NDArray[np.float64]

    almost_alone = 0.95
    """The share of the variance from which a column is taken for a leak and left out."""
    suspicious = 0.8
    nothing = 0.0

    def sorted(self, order: NDArray[np.int64]) -> Numbers:
        """The same, its rows in another order."""
        return Numbers(self.values[order])

    def alone(self, column: Column) -> Alone:
        """Share of the label's variance that its mean by value explains (numbers in 64 bins, a gap is a value), or a line.

        Learned on one half of the rows and judged on the other. The strength is that of the label's ranks where it is more: a
        leak may be the label's logarithm, which no line fits, and of which 64 bins say little where it has a long tail.
        """
        values, rows = _sample(column.values)
        truth = self.values[rows]
        codes, fold = _codes(values), _halves(len(rows))
        ranks = pl.Series(truth).rank("average").to_numpy()
        explained = _mean_over_halves(fold, lambda known: _explained_by_means(codes, truth, known))
        ranked = _mean_over_halves(fold, lambda known: _explained_by_means(codes, ranks, known))
        if column.kind == "number":
            filled = values.fill_null(values.median())
            numbers, places = filled.to_numpy(), filled.rank("average").to_numpy()
            line = _mean_over_halves(fold, lambda known: _explained_by_a_line(numbers, truth, known))
            rising = _mean_over_halves(fold, lambda known: _explained_by_a_line(places, ranks, known))
            explained, ranked = max(explained, line), max(ranked, rising)
        return Alone(max(explained, ranked), explained)

    def gap_leak(self, column: Column) -> str:
        """A sentence if the column's gaps tell small labels from large ones; else empty."""
        gap = column.values.is_null().to_numpy()
        if min(gap.sum(), (~gap).sum()) < _ROWS_ON_A_SIDE:
            return ""
        with_gap, without = self.values[gap], self.values[~gap]
        if with_gap.max() < without.min():
            return f"it is null exactly when the label is below {without.min():g}"
        if with_gap.min() > without.max():
            return f"it is null exactly when the label is above {without.max():g}"
        return ""

    def told(self, alone: Alone) -> str:
        """What a feature reaches alone, in words."""
        return f"alone it explains {max(0.0, alone.usual):.0%} of the label's variance"

    def strength_told(self, alone: Alone) -> str:
        """The strength in words."""
        ranks = "'s ranks" if alone.strength > alone.usual else ""
        return f"{alone.strength:.1%} of the variance of the label{ranks}"


Target = Flags | Numbers


def share_after(times: pl.Series, event_times: pl.Series) -> float:
    """The share of rows whose time lies after the event's own."""
    later = (times > event_times).drop_nulls()
    return float(later.sum()) / len(later) if len(later) else 0.0


def _sample(values: pl.Series) -> tuple[pl.Series, NDArray[np.int64]]:
    if len(values) <= SAMPLE_ROWS:
        return values, np.arange(len(values))
    rows = np.linspace(0, len(values) - 1, SAMPLE_ROWS).round().astype(np.int64)
    return values[rows], rows


def _halves(rows: int) -> NDArray[np.int64]:
    # Rows next to each other belong together often enough (sorted tables) to shuffle first; the seed keeps the draft the same.
    return np.random.default_rng(0).integers(0, 2, rows)


def _codes(values: pl.Series) -> NDArray[np.int64]:
    if values.dtype == pl.Float64:
        numbers = values.to_numpy().astype(np.float64)
        known = np.sort(numbers[~np.isnan(numbers)])
        # Edges are values that occur: quantiles between 0 and 5 would part two values anywhere.
        picked = np.linspace(0, len(known) - 1, _BINS).round().astype(np.int64)
        edges = np.unique(known[picked]) if len(known) else known
        return np.where(np.isnan(numbers), 0, np.searchsorted(edges, numbers, side="right") + 1).astype(np.int64)
    return values.cast(pl.String).fill_null("\0").rank("dense").to_numpy().astype(np.int64)


def _mean_over_halves(
    fold: NDArray[np.int64], judged: Callable[[NDArray[np.bool_]], float | None], nothing: float = 0.0
) -> float:
    found: Iterable[float | None] = [judged(fold == learned) for learned in (0, 1)]
    told = [each for each in found if each is not None]
    return float(np.mean(told)) if told else nothing


def _auc_by_rate(codes: NDArray[np.int64], fold: NDArray[np.int64], flag: NDArray[np.bool_]) -> float:
    def judged(known: NDArray[np.bool_]) -> float | None:
        base = flag[known].mean() if known.any() else 0.5
        rate = _means(codes, flag.astype(np.float64), known, base, _PRIOR_ROWS)
        up = np.bincount(codes[~known & flag], minlength=len(rate))
        down = np.bincount(codes[~known & ~flag], minlength=len(rate))
        return _auc_of_groups(rate, up, down)

    return _mean_over_halves(fold, judged, nothing=0.5)


def _auc_of_groups(rate: NDArray[np.float64], up: NDArray[np.integer], down: NDArray[np.integer]) -> float | None:
    """ROC-AUC of ``rate``, where ``up`` and ``down`` rows have it; rows with one rate share their rank."""
    if not up.sum() or not down.sum():
        return None
    _, place = np.unique(rate, return_inverse=True)
    ups, downs = np.bincount(place, weights=up), np.bincount(place, weights=down)
    below = np.cumsum(downs) - downs
    return float((ups * (below + downs / 2)).sum() / (ups.sum() * downs.sum()))


def _auc_of_ranks(ranks: NDArray[np.float64], flag: NDArray[np.bool_]) -> float:
    positives = int(flag.sum())
    negatives = len(flag) - positives
    return float((ranks[flag].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _means(
    codes: NDArray[np.int64], truth: NDArray[np.float64], known: NDArray[np.bool_], base: float, prior: float
) -> NDArray[np.float64]:
    """The mean of ``truth`` by code over the ``known`` rows, drawn to ``base`` as by ``prior`` rows of it."""
    size = int(codes.max()) + 1
    seen = np.bincount(codes[known], minlength=size)
    return np.asarray((np.bincount(codes[known], weights=truth[known], minlength=size) + prior * base) / (seen + prior))


def _explained_by_means(codes: NDArray[np.int64], truth: NDArray[np.float64], known: NDArray[np.bool_]) -> float | None:
    if not known.any():
        return None
    return _explained(_means(codes, truth, known, truth[known].mean(), 1.0)[codes[~known]], truth[~known])


def _explained_by_a_line(
    numbers: NDArray[np.float64], truth: NDArray[np.float64], known: NDArray[np.bool_]
) -> float | None:
    spread = numbers[known].std() if known.any() else 0.0
    if not spread:
        return None
    centred = (numbers - numbers[known].mean()) / spread
    slope = (centred[known] * truth[known]).mean()
    return _explained(centred[~known] * slope + truth[known].mean(), truth[~known])


def _explained(predicted: NDArray[np.float64], truth: NDArray[np.float64]) -> float | None:
    spread = ((truth - truth.mean()) ** 2).sum() if len(truth) else 0.0
    return float(1 - ((truth - predicted) ** 2).sum() / spread) if spread else None
