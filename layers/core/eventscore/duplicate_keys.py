"""Finds a key that an event holds twice, at the price of counting quotation marks.

JSON decoders keep the last of two equal keys and say nothing; which one the producer meant nobody knows, so the event is rejected.
A second parse of each event would cost more than the first. But in a text without escapes a quotation mark only ever opens or closes
a string: each key brings two, each string value two more, nothing else any. The decoded event tells which keys are there and which
values are strings, so where the marks are as many as it explains, no key is there twice and none that the contract does not name.
No event can have fewer, so the marks of a whole batch are counted at once: if the sums agree, each event's do. Only where they
differ are its parts looked at, and what they do not explain is parsed again, slowly and surely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from eventscore.columns import ABSENT, ABSENT_CATEGORY, Row, Table, leading_fields

if TYPE_CHECKING:
    from eventscore.contract import AnyContract

_TOGETHER = 64
"""Events whose marks are counted together: their text stays in the processor's nearest memory."""
_FEW = 8
"""Of up to so many events the gaps are counted in lists: numpy's functions would take longer to be called."""
_MARK = ord('"')
_LONG = 4096


class DuplicateKeys:
    """Looks for duplicate keys in messages that the decoder of the same contract has accepted."""

    def __init__(self, contract: AnyContract) -> None:
        leading = leading_fields(contract)
        self._ids = [itemgetter(place) for place, what in enumerate(leading) if what != "time"]
        strings = len(leading) + len(contract.categories)
        self._marks = 2 * (strings + len(contract.numbers)) + 2 * strings
        missing = [contract.features[name].missing for name in (*contract.numbers, *contract.categories)]
        optional = [place for place, what in enumerate(missing, start=len(leading)) if what != "refuse"]
        first_category = len(leading) + len(contract.numbers)
        self._numbers = _values_at([place for place in optional if place < first_category])
        self._categories = _values_at([place for place in optional if place >= first_category])

    def found_none(self, messages: Sequence[bytes], rows: Sequence[Row], table: Table) -> bool:
        """Whether no message of a batch holds a key twice for sure; ``rows`` and ``table`` are what it was decoded to."""
        marks: float = self._marks * len(rows)
        for id_of in self._ids:
            marks -= 2 * list(map(type, map(id_of, rows))).count(int)
        if self._numbers is not None:
            few = len(rows) <= _FEW
            absent = (
                list(chain.from_iterable(map(self._numbers, rows))).count(ABSENT) if few else table.absent_numbers()
            )
            marks -= 2 * absent
        if table.gaps:
            marks -= 2 * len(table.gaps) + 2 * table.gaps.count(ABSENT_CATEGORY)
        for start in range(0, len(messages), _TOGETHER):
            marks -= _marks_in(messages[start : start + _TOGETHER])
        return marks == 0

    def suspects(self, messages: Sequence[bytes], rows: Sequence[Row]) -> list[int]:
        """The places of those that hold a key twice, an escape, or a field that the contract does not name."""
        marks = list(map(self._marks_of, rows))
        found: list[int] = []
        for start in range(0, len(messages), _TOGETHER):
            end = start + _TOGETHER
            if _marks_in(messages[start:end]) != sum(marks[start:end]):
                found += [
                    place
                    for place, message in enumerate(messages[start:end], start)
                    if _marks_in((message,)) != marks[place]
                ]
        return found

    def _marks_of(self, row: Row) -> int:
        """How many quotation marks the event explains."""
        marks = self._marks
        for id_of in self._ids:
            if type(id_of(row)) is int:
                marks -= 2
        if self._numbers is not None:
            marks -= 2 * self._numbers(row).count(ABSENT)
        if self._categories is not None:
            values = self._categories(row)
            marks -= 4 * values.count(ABSENT_CATEGORY) + 2 * values.count(None)
        return marks


def _values_at(places: Sequence[int]) -> Callable[[Row], tuple[Any, ...]] | None:
    """Reads the values at ``places`` of a row; None where there are none."""
    if not places:
        return None
    if len(places) == 1:
        return itemgetter(slice(places[0], places[0] + 1))
    return itemgetter(*places)


def _marks_in(messages: Sequence[bytes]) -> float:
    """The quotation marks in a few messages; more than any event explains where there is an escape."""
    text = b"".join(messages)
    if b"\\" in text:
        return _TOO_MANY
    if len(text) < _LONG:
        return text.count(b'"')
    return int(np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == _MARK))


_TOO_MANY = float("inf")


def first_duplicate(message: bytes) -> str | None:
    """The first key that an object in ``message`` holds more than once, None if there is none.

    Raises:
        UnicodeDecodeError, RecursionError: from a field that the contract does not name.

    """
    import json  # only a suspect is parsed

    found: list[str] = []

    def remember(pairs: list[tuple[str, Any]]) -> None:
        if not found:
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    found.append(key)
                    return
                seen.add(key)

    # Numbers are not converted: Python refuses integers of more than 4,300 digits, and nobody asked for their values.
    # Decoded here: given bytes, json lets surrogates through, which are no UTF-8 and which no sink takes.
    json.loads(message.decode("utf-8"), object_pairs_hook=remember, parse_int=len, parse_float=len)
    return found[0] if found else None
