"""Answers of services that list what became of a call's entries in the order of the entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from eventscore.delivery.call_failure import NOT_MENTIONED, CallFailure, entry_failure


def failures_in_turn(entries: Sequence[object], answers: Sequence[Mapping[str, Any]]) -> dict[int, CallFailure]:
    """The entries that were not taken: those with an ``ErrorCode``, and those without an answer."""
    failed: dict[int, CallFailure] = {}
    for index, (_, answer) in enumerate(zip_longest(entries, answers[: len(entries)])):
        if answer is None:
            failed[index] = NOT_MENTIONED
        elif answer.get("ErrorCode"):
            failed[index] = entry_failure(answer["ErrorCode"], answer.get("ErrorMessage"))
    return failed
