"""How the score does on parts of the events: slices by the values of a field, and groups that a decision must not tell apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eventscore.contract import Contract
from eventscore.contract_gates import GroupGates
from eventscore_training.evaluate import calibration_error, roc_auc
from eventscore_training.table import Table

MISSING = "(missing)"
_QUARTERS = 4


@dataclass(frozen=True)
class Slice:
    """The events with one value (or range of values) of a field. ``roc_auc`` is NaN where they hold one class."""

    field: str
    value: str
    rows: int
    positive_share: float
    mean_score: float
    roc_auc: float
    calibration_error: float


@dataclass(frozen=True)
class Group:
    """One group at a decision: the share that is chosen, of all, of the positives, of the negatives."""

    value: str
    rows: int
    positive_share: float
    rate: float
    true_positive_rate: float
    false_positive_rate: float


def slices_of(test: Table, fields: Sequence[str], scores: NDArray[np.float32], min_rows: int) -> tuple[Slice, ...]:
    """Every slice of at least ``min_rows`` events: a value of a category or a boolean, a quarter of a number, a gap."""
    found = []
    for field in fields:
        for value, inside in _masks(_column(test, field)):
            rows = int(inside.sum())
            if rows < min_rows:
                continue
            label, score = test.label[inside], scores[inside]
            share = float(label.mean())
            auc = roc_auc(label, score) if 0 < share < 1 else float("nan")
            error = calibration_error(label, score)
            found.append(Slice(field, value, rows, share, float(score.mean(dtype=np.float64)), auc, error))
    return tuple(found)


def groups_of(test: Table, gates: GroupGates, contract: Contract, scores: NDArray[np.float32]) -> tuple[Group, ...]:
    """The groups of at least ``gates.min_rows`` events. Chosen is whatever scores in the decision's band or above it."""
    start = next(decision.start for decision in contract.decisions if decision.name == gates.decision)
    chosen = scores >= np.float32(start)
    found = []
    for value, inside in _masks(_column(test, gates.field)):
        rows = int(inside.sum())
        if rows >= gates.min_rows:
            label, taken = test.label[inside], chosen[inside]
            rates = (_mean(taken), _mean(taken[label == 1]), _mean(taken[label == 0]))
            found.append(Group(value, rows, float(label.mean()), *rates))
    return tuple(found)


def measured_slices(slices: Sequence[Slice]) -> tuple[dict[str, float], dict[str, str]]:
    """By gate: the worst slice's figure, and which slice that is."""
    ranked = [each for each in slices if not np.isnan(each.roc_auc)]
    measured, details = {}, {}
    if ranked:
        worst = min(ranked, key=lambda each: each.roc_auc)
        measured["slices.min_roc_auc"] = worst.roc_auc
        details["slices.min_roc_auc"] = f"{worst.field} = {worst.value}, {worst.rows:,} rows"
    if slices:
        worst = max(slices, key=lambda each: each.calibration_error)
        measured["slices.max_calibration_error"] = worst.calibration_error
        details["slices.max_calibration_error"] = f"{worst.field} = {worst.value}, {worst.rows:,} rows"
    return measured, details


def measured_groups(groups: Sequence[Group], field: str) -> tuple[dict[str, float], dict[str, str]]:
    """By gate: the largest difference between two groups, and which two. One group alone differs from nobody."""
    measured, details = {}, {}
    for name in ("rate", "true_positive_rate", "false_positive_rate"):
        rates: Mapping[str, float] = {group.value: getattr(group, name) for group in groups}
        known = {value: rate for value, rate in rates.items() if not np.isnan(rate)}
        if known:
            high, low = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
            measured[f"groups.max_{name}_difference"] = known[high] - known[low]
            details[f"groups.max_{name}_difference"] = (
                f"{field}: {high} {known[high]:.3f}, {low} {known[low]:.3f}" if high != low else f"{field}: {high} only"
            )
    return measured, details


def _column(test: Table, field: str) -> pl.Series:
    return test.columns[field] if field in test.columns.columns else test.aside[field]


def _masks(column: pl.Series) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    gaps = column.is_null().to_numpy()
    if gaps.any():
        yield MISSING, gaps
    if column.dtype.is_numeric() and column.n_unique() > 2 * _QUARTERS:
        values = column.cast(pl.Float64).to_numpy()
        edges = np.unique(np.quantile(values[~gaps], np.linspace(0, 1, _QUARTERS + 1)))
        for low, high in pairwise(edges):
            last = high == edges[-1]
            inside = ~gaps & (values >= low) & ((values <= high) if last else (values < high))
            yield f"{low:g} to {high:g}", inside
        return
    text = column.cast(pl.String)
    for value in text.drop_nulls().value_counts(name="n").sort(["n", text.name], descending=[True, False])[text.name]:
        yield str(value), (text == value).fill_null(False).to_numpy()


def _mean(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")
