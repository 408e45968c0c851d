"""Decision bands: which one a score lies in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Protocol

Bands = Sequence[tuple[str, float]]
"""Names and starts of a contract's decisions, ascending."""


def band_of(score: float, bands: Bands) -> str | None:
    """The decision band that a score lies in: the last whose start it reaches, or else the first; None without any."""
    starts = [start for _, start in bands]
    return bands[max(0, bisect_right(starts, score) - 1)][0] if bands else None


class Rule(Protocol):
    """What a contract's ``[fallback]`` says, whoever has read it."""

    @property
    def score(self) -> float | None:
        """The answer's score."""
        ...

    @property
    def decision(self) -> str | None:
        """Or the band whose start it is."""
        ...

    @property
    def scores(self) -> Mapping[str, float] | None:
        """Or all scores, where an event has several."""
        ...


def main_score(rule: Rule, bands: Bands) -> float:
    """The score that the rule answers with; the highest of several."""
    if rule.scores is not None:
        return max(rule.scores.values())
    return rule.score if rule.score is not None else dict(bands)[rule.decision or ""]
