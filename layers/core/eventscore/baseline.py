"""The baseline of a version as the function reads it: the bins that its features and scores are counted in.

Written by the training job (``eventscore_training.baseline``), which says what the format is. The counts of training stay in the file:
here only the bins are needed.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from eventscore.errors import BaselineInvalid

if TYPE_CHECKING:
    from eventscore.contract import AnyContract

MAX_BINS, MAX_VALUES = 1_000, 10_000
"""More than any baseline of ours has; what a sketch may hold is bounded by them."""

_Edges = Annotated[tuple[float, ...], Meta(max_length=MAX_BINS)]
_Count = Annotated[int, Meta(ge=0)]


class NumberBins(msgspec.Struct, frozen=True):
    """A number's or a score's: inner borders of ``len(edges) + 1`` bins. A value is in the first whose upper border it does not exceed."""

    edges: _Edges
    counts: tuple[_Count, ...]


class CategoryBins(msgspec.Struct, frozen=True):
    """A category's: its most frequent values, in the order in which they are counted."""

    values: Annotated[dict[str, _Count], Meta(max_length=MAX_VALUES)]


class Baseline(msgspec.Struct, frozen=True):
    """The bins of a version, by the names of its contract; ``outputs`` where an event has several scores."""

    format: Literal[1]
    numbers: dict[str, NumberBins]
    categories: dict[str, CategoryBins]
    score: NumberBins
    outputs: dict[str, NumberBins] = {}


def parse_baseline(raw: bytes, key: str, contract: AnyContract) -> Baseline:
    """Read a ``baseline.json``; ``key`` names it in errors.

    Raises:
        BaselineInvalid: it cannot be read, or does not fit the contract.

    """
    try:
        baseline = msgspec.json.decode(raw, type=Baseline)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BaselineInvalid(key, f"{error} (this code reads baseline format 1)") from None
    parts = (
        ("numbers", baseline.numbers, contract.numbers),
        ("categories", baseline.categories, contract.categories),
        ("outputs", baseline.outputs, contract.outputs),
    )
    for what, got, expected in parts:
        if set(got) != set(expected):
            raise BaselineInvalid(key, f"expected the contract's {what} {sorted(expected)}, got {sorted(got)}")
    for name, bins in (*baseline.numbers.items(), ("score", baseline.score), *baseline.outputs.items()):
        if len(bins.counts) != len(bins.edges) + 1 or any(low >= high for low, high in pairwise(bins.edges)):
            raise BaselineInvalid(key, f"expected ascending edges and one bin more than edges of {name}")
    return baseline
