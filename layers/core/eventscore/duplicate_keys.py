"""Finds a key that an event holds twice, at the price of counting colons.

JSON decoders keep the last of two equal keys and say nothing; which one the producer meant nobody knows, so the event is rejected.
A second parse of each event would cost more than the first. But in an object without nesting and without escapes each key brings
exactly one colon, and the only others stand in string values, which are decoded already. So where the number of colons is what the
decoded event explains, no key is there twice; only otherwise is the event parsed again, slowly and surely.
"""

from __future__ import annotations

import json
import re
from typing import Any

from eventscore.contract import Contract


class DuplicateKeys:
    """Looks for duplicate keys in messages that the decoder of the same contract has accepted."""

    def __init__(self, contract: Contract) -> None:
        numbers = [(f"n{i}", name) for i, name in enumerate(contract.numbers)]
        categories = [(f"c{i}", name) for i, name in enumerate(contract.categories)]
        self._optional = tuple(
            (attribute, b'"%s":' % name.encode())
            for attribute, name in (*numbers, *categories)
            if contract.features[name].missing != "refuse"
        )
        self._strings = ("event_id", *(attribute for attribute, _ in categories))
        own_key = contract.own_rollout_key is not None
        if own_key:
            self._strings = (*self._strings, "rollout_key")
        self._keys = 1 + len(contract.features) + own_key + (contract.event.time is not None)
        # An RFC 3339 time holds two colons, and may hold a third in its offset; then the time itself is looked at.
        time = contract.event.time
        self._time_colons = 0 if time is None else 2
        self._find_times = None if time is None else re.compile(rb'"%s":\s*"([^"]*)"' % time.encode()).findall

    def find(self, message: bytes, event: Any) -> str | None:
        """The first key that the object in ``message`` holds more than once, None if there is none."""
        if b"\\" not in message:
            colons = self._keys + self._time_colons
            for attribute in self._strings:
                value = getattr(event, attribute)
                if type(value) is str and ":" in value:
                    colons += value.count(":")
            for attribute, key in self._optional:
                if getattr(event, attribute) is None and key not in message:
                    colons -= 1
            surplus = message.count(b":") - colons
            if surplus == 0 or (surplus == 1 and self._has_offset_with_a_colon(message)):
                return None
        return _first_duplicate(message)

    def _has_offset_with_a_colon(self, message: bytes) -> bool:
        """Whether the one time in ``message`` explains a surplus colon."""
        times = self._find_times(message) if self._find_times is not None else []
        return len(times) == 1 and times[0].count(b":") == self._time_colons + 1


def _first_duplicate(message: bytes) -> str | None:
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
