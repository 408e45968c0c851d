"""Records become columns, once: the two inputs of the graph from a batch of decoded events."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, filterfalse
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from eventscore.contract import AnyContract

Columns = dict[str, "npt.NDArray[Any]"]
"""The graph's inputs: ``numbers`` float64 [n, numbers], NaN where missing; ``categories`` object [n, categories], "" where missing."""
Row = tuple[Any, ...]
"""A decoded event's values in the order of `leading_fields`, then ``contract.numbers``, then ``contract.categories``."""

_ABSENT_BITS = 0x7FF8_0000_0000_0AB5
ABSENT = float(np.int64(_ABSENT_BITS).view(np.float64))
"""Stands for an optional number or boolean that the message does not hold; ``null`` is None. A NaN that no other is."""
ABSENT_CATEGORY = ""
"""The same for an optional category. No message holds it: a category has at least one character."""


def leading_fields(contract: AnyContract) -> tuple[str, ...]:
    """What stands in a row before the features: ``id``, ``time`` and ``rollout_key``, the latter two where the contract has them."""
    own_key = contract.own_rollout_key is not None
    return ("id", *(("time",) if contract.event.time is not None else ()), *(("rollout_key",) if own_key else ()))


class Table(msgspec.Struct, gc=False):
    """The features of a batch. ``values`` are those of the categories, row by row, "" where missing; ``gaps`` those that are missing
    as they were: "" where the message does not hold the field, None for ``null``.
    """

    columns: Columns
    values: list[str]
    gaps: list[str | None]

    def only(self, wanted: npt.NDArray[np.bool_]) -> Table:
        """The rows that are ``wanted``."""
        columns = {name: column[wanted] for name, column in self.columns.items()}
        values = columns["categories"].ravel().tolist() if "categories" in columns else []
        return Table(columns, values, [])

    def absent_numbers(self) -> int:
        """How many numbers and booleans the messages do not hold."""
        numbers = self.columns.get("numbers")
        return 0 if numbers is None else int(np.count_nonzero(numbers.view(np.int64) == _ABSENT_BITS))


class ColumnBuilder:
    """Builds the graph's inputs for one contract. An input without columns is left out, as in the graph."""

    def __init__(self, contract: AnyContract) -> None:
        first, numbers, categories = len(leading_fields(contract)), len(contract.numbers), len(contract.categories)
        self._width = (numbers, categories)
        self._numbers_of = itemgetter(slice(first, first + numbers))
        self._categories_of = itemgetter(slice(first + numbers, first + numbers + categories))

    def build(self, rows: Sequence[Row]) -> Table:
        """The columns of ``rows``, in their order."""
        columns: Columns = {}
        values: list[Any] = []
        gaps: list[str | None] = []
        numbers, categories = self._width
        # numpy turns None into NaN and booleans into 0 and 1. Of one row `array` is the faster, from two on `fromiter`.
        if numbers and len(rows) == 1:
            columns["numbers"] = np.array([self._numbers_of(rows[0])], np.float64)
        elif numbers:
            flat = np.fromiter(chain.from_iterable(map(self._numbers_of, rows)), np.float64, len(rows) * numbers)
            columns["numbers"] = flat.reshape(-1, numbers)
        if categories:
            values = list(chain.from_iterable(map(self._categories_of, rows)))
            gaps = list(filterfalse(None, values))
            if None in gaps:
                values = [value or ABSENT_CATEGORY for value in values]
            if len(rows) == 1:
                columns["categories"] = np.array([values], object)
            else:
                columns["categories"] = np.fromiter(values, object, len(values)).reshape(-1, categories)
        return Table(columns, values, gaps)
