"""Finds a key that an event holds twice, at the price of counting quotation marks.

JSON decoders keep the last of two equal keys and say nothing; which one the producer meant nobody knows, so the event is rejected.
A second parse of each event would cost more than the first. But in a text without escapes a quotation mark only ever opens or closes
a string: each key brings two, each string value two more, nothing else any. The decoded event tells which keys are there and which
values are strings, so where the marks are as many as it explains, no key is there twice and none that the contract does not name.
No event can have fewer, so the marks of a whole batch are counted at once: if the sums agree, each event's do. Only where they
differ is an event parsed again, slowly and surely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from eventscore.contract import AnyContract

ABSENT = float("nan")
"""What the decoder puts in the place of an optional number or boolean that the message does not hold; ``null`` is None."""
ABSENT_CATEGORY = ""
"""The same for an optional category. No message holds it: a category has at least one character."""
_TOGETHER = 64
"""Events whose marks are counted together; a batch with one escape in it is not counted again as a whole."""
_BACKSLASH, _MARK = ord("\\"), ord('"')
_LONG = 4096


class DuplicateKeys:
    """Looks for duplicate keys in messages that the decoder of the same contract has accepted."""

    def __init__(self, contract: AnyContract) -> None:
        own_key = contract.own_rollout_key is not None
        self._ids = ("event_id", "rollout_key") if own_key else ("event_id",)
        strings = len(self._ids) + (contract.event.time is not None) + len(contract.categories)
        self._marks = 2 * (strings + len(contract.numbers)) + 2 * strings
        self._numbers = _values_of("n", [contract.features[name].missing for name in contract.numbers])
        self._categories = _values_of("c", [contract.features[name].missing for name in contract.categories])

    def suspects(self, messages: Sequence[bytes], events: Sequence[Any]) -> list[int]:
        """The places of those that hold a key twice, an escape, or a field that the contract does not name."""
        found: list[int] = []
        for start in range(0, len(messages), _TOGETHER):
            some, of = messages[start : start + _TOGETHER], events[start : start + _TOGETHER]
            if not self._explained(some, of):
                found += [
                    start + place
                    for place in range(len(some))
                    if len(some) == 1 or not self._explained(some[place : place + 1], of[place : place + 1])
                ]
        return found

    def _explained(self, messages: Sequence[bytes], events: Sequence[Any]) -> bool:
        """Whether the events explain all quotation marks of their messages, so that no key is there twice."""
        text = b"".join(messages)
        if _BACKSLASH in text:
            return False
        marks = self._marks * len(events)
        for name in self._ids:
            marks -= 2 * [type(getattr(event, name)) for event in events].count(int)
        if self._numbers is not None:
            marks -= 2 * list(chain.from_iterable(map(self._numbers, events))).count(ABSENT)
        if self._categories is not None:
            values = list(chain.from_iterable(map(self._categories, events)))
            marks -= 4 * values.count(ABSENT_CATEGORY) + 2 * values.count(None)
        return marks == _count_marks(text)


def _values_of(letter: str, missing: Sequence[str]) -> Callable[[Any], tuple[Any, ...]] | None:
    """Reads the optional ones among an event's fields ``<letter>0, <letter>1, ...``; None where all are required."""
    names = [f"{letter}{place}" for place, what in enumerate(missing) if what != "refuse"]
    if not names:
        return None
    if len(names) == 1:
        one = attrgetter(names[0])
        return lambda event: (one(event),)
    return attrgetter(*names)


def _count_marks(text: bytes) -> int:
    if len(text) < _LONG:
        return text.count(b'"')
    return int(np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == _MARK))


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
