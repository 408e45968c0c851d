"""How long an invocation may go on: what the context says remains, less what it takes to answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

RESERVE_S = 0.5
"""Kept back for the metrics, the partial batch response and the way home."""


class TimeLeft:
    """Seconds until the function has to stop working; ``remaining_s`` says how many until it is killed."""

    def __init__(self, remaining_s: Callable[[], float]) -> None:
        self._remaining_s = remaining_s

    @classmethod
    def of(cls, context: Any) -> TimeLeft:
        """What Lambda's ``context`` leaves; without a context there is no limit."""
        if context is None:
            return NO_LIMIT
        return cls(lambda: context.get_remaining_time_in_millis() / 1000)

    def seconds(self) -> float:
        """Seconds left for work, never below zero."""
        return max(0.0, self._remaining_s() - RESERVE_S)


NO_LIMIT = TimeLeft(lambda: math.inf)
