"""How the score does on parts of the events: slices by the values of a field, and groups that a decision must not tell apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eventscore.contract import Contract
from eventscore.contract_gates import GroupGates, SliceGates
from eventscore_training.judges import Judge, Scores
from eventscore_training.table import Table

MISSING = "(missing)"
_QUARTERS = 4


@dataclass(frozen=True)
class Slice:
    """The events with one value (or range of values) of a field, and their figures; one that they do not have is None."""

    field: str
    value: str
    rows: int
    figures: Mapping[str, float | None]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``report.json``, the figures beside the others."""
        return {"field": self.field, "value": self.value, "rows": self.rows, **self.figures}


@dataclass(frozen=True)
class Group:
    """One group at a decision: the share that is chosen, of all, of the positives, of the negatives.

    What a group or a task does not have is None.
    """

    value: str
    rows: int
    positive_share: float | None
    rate: float | None
    true_positive_rate: float | None
    false_positive_rate: float | None


def slices_of(test: Table, fields: Sequence[str], scores: Scores, min_rows: int, judge: Judge) -> tuple[Slice, ...]:
    """Every slice of at least ``min_rows`` events: a value of a category or a boolean, a quarter of a number, a gap."""
    found = []
    for field in fields:
        for value, inside in _masks(_column(test, field)):
            rows = int(inside.sum())
            if rows >= min_rows:
                figures = judge.metrics(test.label[inside] if judge.labelled else None, scores[inside])
                found.append(Slice(field, value, rows, {name: figures.get(name) for name in judge.sliced}))
    return tuple(found)


def groups_of(test: Table, gates: GroupGates, contract: Contract, scores: Scores, judge: Judge) -> tuple[Group, ...]:
    """The groups of at least ``gates.min_rows`` events. Chosen is whatever scores in the decision's band or above it."""
    start = next(decision.start for decision in contract.decisions if decision.name == gates.decision)
    chosen = judge.deciding(scores) >= np.float32(start)
    positives = judge.positives(test.label)
    found = []
    for value, inside in _masks(_column(test, gates.field)):
        rows = int(inside.sum())
        if rows >= gates.min_rows:
            taken = chosen[inside]
            two_sided: tuple[float | None, ...] = (None, None, None)
            if positives is not None:
                positive = positives[inside]
                two_sided = (_mean(positive), _mean(taken[positive]), _mean(taken[~positive]))
            found.append(Group(value, rows, two_sided[0], _mean(taken), *two_sided[1:]))
    return tuple(found)


def measured_slices(slices: Sequence[Slice]) -> tuple[dict[str, float], dict[str, str]]:
    """By gate: the worst slice's figure, and which slice that is."""
    measured, details = {}, {}
    for gate in SliceGates.model_fields:
        bound, _, name = gate.partition("_")
        figures = [(value, each) for each in slices if (value := each.figures.get(name)) is not None]
        if bound in ("min", "max") and figures:
            choose = min if bound == "min" else max
            value, worst = choose(figures, key=lambda pair: pair[0])
            measured[f"slices.{gate}"] = value
            details[f"slices.{gate}"] = f"{worst.field} = {worst.value}, {worst.rows:,} rows"
    return measured, details


def measured_groups(groups: Sequence[Group], field: str) -> tuple[dict[str, float], dict[str, str]]:
    """By gate: the largest difference between two groups, and which two. One group alone differs from nobody."""
    measured, details = {}, {}
    for name in ("rate", "true_positive_rate", "false_positive_rate"):
        rates: Mapping[str, float | None] = {group.value: getattr(group, name) for group in groups}
        known = {value: rate for value, rate in rates.items() if rate is not None}
        if len(known) > 1:
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


def _mean(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None
