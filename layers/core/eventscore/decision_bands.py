"""Which decision band a score lies in, and the score of a fallback rule that names a band."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Protocol


class FallbackScores(Protocol):
    """What ``[fallback]`` says, whoever read it."""

    @property
    def score(self) -> float | None:
        """The score, where an event has one."""
        ...

    @property
    def decision(self) -> str | None:
        """The name of a band."""
        ...

    @property
    def scores(self) -> Mapping[str, float] | None:
        """The scores, where an event has several."""
        ...


def band_of(score: float, bands: Sequence[tuple[str, float]]) -> str | None:
    """The band that a score lies in: the last whose start it reaches, or else the first; None without any.

    ``bands``: names and starts, ascending.
    """
    starts = [start for _, start in bands]
    return bands[max(0, bisect_right(starts, score) - 1)][0] if bands else None


def main_score(fallback: FallbackScores, bands: Sequence[tuple[str, float]]) -> float:
    """The score of a rule's answer."""
    if fallback.scores is not None:
        return max(fallback.scores.values())
    if fallback.score is not None:
        return fallback.score
    return dict(bands)[fallback.decision or ""]
