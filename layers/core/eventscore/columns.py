"""Records become columns, once: the two inputs of the graph from a batch of decoded events."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from eventscore.contract import Contract
from eventscore.decoding import Event

Columns = dict[str, npt.NDArray[Any]]
"""The graph's inputs: ``numbers`` float64 [n, numbers], NaN where missing; ``categories`` object [n, categories], "" where missing."""


class ColumnBuilder:
    """Builds the graph's inputs for one contract. An input without columns is left out, as in the graph."""

    def __init__(self, contract: Contract) -> None:
        self._numbers = _getter("n", len(contract.numbers))
        self._categories = _getter("c", len(contract.categories))
        self._width = (len(contract.numbers), len(contract.categories))

    def build(self, events: Sequence[Event]) -> Columns:
        """The columns of ``events``, one row each, in their order."""
        columns: Columns = {}
        if self._numbers is not None:
            # numpy turns None into NaN and booleans into 0 and 1.
            rows = [self._numbers(event) for event in events]
            columns["numbers"] = np.array(rows, dtype=np.float64).reshape(len(events), self._width[0])
        if self._categories is not None:
            values = [value or "" for event in events for value in self._categories(event)]
            columns["categories"] = np.array(values, dtype=object).reshape(len(events), self._width[1])
        return columns


def _getter(letter: str, count: int) -> Any:
    if count == 0:
        return None
    if count == 1:
        one = attrgetter(f"{letter}0")
        return lambda event: (one(event),)
    return attrgetter(*(f"{letter}{position}" for position in range(count)))
