"""Records become columns, once: the two inputs of the graph from a batch of decoded events."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from eventscore.decoding import Event
from eventscore.duplicate_keys import ABSENT_CATEGORY

if TYPE_CHECKING:
    import numpy.typing as npt

    from eventscore.contract import AnyContract

Columns = dict[str, "npt.NDArray[Any]"]
"""The graph's inputs: ``numbers`` float64 [n, numbers], NaN where missing; ``categories`` object [n, categories], "" where missing."""


class ColumnBuilder:
    """Builds the graph's inputs for one contract. An input without columns is left out, as in the graph."""

    def __init__(self, contract: AnyContract) -> None:
        self._numbers = _getter("n", len(contract.numbers))
        self._categories = _getter("c", len(contract.categories))
        self._width = (len(contract.numbers), len(contract.categories))

    def build(self, events: Sequence[Event]) -> Columns:
        """The columns of ``events``, one row each, in their order."""
        columns: Columns = {}
        numbers, categories = self._width
        if self._numbers is not None:
            # numpy turns None into NaN and booleans into 0 and 1.
            flat = np.fromiter(chain.from_iterable(map(self._numbers, events)), np.float64, len(events) * numbers)
            columns["numbers"] = flat.reshape(-1, numbers)
        if self._categories is not None:
            values = list(chain.from_iterable(map(self._categories, events)))
            if None in values:
                values = [value or ABSENT_CATEGORY for value in values]
            columns["categories"] = np.fromiter(values, object, len(values)).reshape(-1, categories)
        return columns


def _getter(letter: str, count: int) -> Any:
    if count == 0:
        return None
    if count == 1:
        one = attrgetter(f"{letter}0")
        return lambda event: (one(event),)
    return attrgetter(*(f"{letter}{position}" for position in range(count)))
