"""The baseline of a version: what its inputs looked like in training and its scores on the test part, for the drift watch.

JSON, format 1::

    {"format": 1, "rows": 217680,
     "numbers": {"distance": {"edges": [...], "counts": [...], "missing": 0}},
     "categories": {"carrier": {"values": {"UA": 37, ...}, "other": 0, "missing": 0}},
     "score": {"edges": [...], "counts": [...], "rows": 54065},
     "outputs": {"late": {"edges": [...], "counts": [...]}, ...}}

``edges`` are the inner borders of ``len(edges) + 1`` bins; a value belongs to the bin whose upper border it does not exceed
(the last bin is open). Booleans are numbers, 0 and 1. ``score`` is the one that decides (an event's highest); ``outputs`` are
those of each class or label, where an event has several. Probabilities and ranks have equally wide bins, a regression's numbers
bins of equal counts. Edges ascend; they are written as they are counted with, to 15 digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eventscore.contract import Contract

BASELINE_FORMAT = 1
NUMBER_BINS = 20
SCORE_BINS = 20
TOP_VALUES = 50


def build_baseline(
    train: pl.DataFrame, contract: Contract, test_scores: NDArray[np.floating], deciding: NDArray[np.floating]
) -> dict[str, Any]:
    """The baseline as a JSON object: features from the training part, scores from the test part; ``deciding [n]`` of them decide."""
    inner = np.linspace(0, 1, SCORE_BINS + 1)[1:-1]
    edges = _written(inner if contract.model.task != "regression" else np.quantile(deciding.astype(np.float64), inner))
    outputs = {
        name: _histogram(test_scores[:, place].astype(np.float64), edges) for place, name in enumerate(contract.outputs)
    }
    return {
        "format": BASELINE_FORMAT,
        "rows": train.height,
        "numbers": {name: _number(train[name]) for name in contract.numbers},
        "categories": {name: _category(train[name]) for name in contract.categories},
        "score": {**_histogram(deciding.astype(np.float64), edges), "rows": len(test_scores)},
        **({"outputs": outputs} if outputs else {}),
    }


def _number(column: pl.Series) -> dict[str, Any]:
    values = column.drop_nulls().to_numpy()
    edges = _written(np.quantile(values, np.linspace(0, 1, NUMBER_BINS + 1)[1:-1]) if len(values) else np.zeros(0))
    return {**_histogram(values, edges), "missing": column.null_count()}


def _written(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """To 15 digits, wherever the point stands; borders that are one in writing are one."""
    return np.unique([float(f"{edge:.15g}") for edge in edges])


def _histogram(values: NDArray[np.float64], edges: NDArray[np.float64]) -> dict[str, Any]:
    counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _category(column: pl.Series) -> dict[str, Any]:
    known = column.drop_nulls()
    name = column.name
    counts = known.value_counts(name="n").sort(["n", name], descending=[True, False]).head(TOP_VALUES)
    values = dict(zip(counts[name].to_list(), counts["n"].to_list(), strict=True))
    return {"values": values, "other": len(known) - sum(values.values()), "missing": column.null_count()}
