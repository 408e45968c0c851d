"""Whether ``[fallback]`` fits the contract that it stands in: judged where a contract is read, and again in the function.

The function reads a contract that was deployed with it without pydantic, which its layers do not hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from eventscore.decision_bands import FallbackScores, band_of, main_score

_SUM_TOLERANCE = 1e-3


class LabelRange(Protocol):
    """What ``[label]`` of a regression says, whoever read it."""

    @property
    def min(self) -> float | None:
        """No answer is less."""
        ...

    @property
    def max(self) -> float | None:
        """No answer is more."""
        ...


def fallback_beside_the_contract(
    fallback: FallbackScores | None,
    task: str,
    outputs: Sequence[str],
    bands: Sequence[tuple[str, float]],
    label: LabelRange | None,
) -> str | None:
    """What is wrong with ``[fallback]`` in this contract, in one sentence; None where it fits or is left out.

    ``outputs``: names of the scores where an event has several; ``bands``: names and starts of the decisions.
    """
    if fallback is None:
        return None
    if problem := _of_scores(fallback, task, outputs):
        return problem
    names = [name for name, _ in bands]
    if fallback.decision is not None and fallback.decision not in names:
        return (
            f"fallback.decision: expected one of the decisions ({', '.join(names) or 'none here'}), "
            f"got {fallback.decision!r}"
        )
    score = main_score(fallback, bands)
    if fallback.decision is not None and (band := band_of(score, bands)) != fallback.decision:
        return f"fallback: the score {score:g} lies in the band {band!r}, and the decision is {fallback.decision!r}"
    low, high = (label.min, label.max) if task == "regression" and label else (0, 1)
    if (low is not None and score < low) or (high is not None and score > high):
        return f"fallback.score: expected a number from {low} to {high}, got {score:g}"
    return None


def _of_scores(fallback: FallbackScores, task: str, outputs: Sequence[str]) -> str | None:
    if not outputs:
        if fallback.scores is not None:
            return f"fallback.scores belongs to multiclass or multilabel models, and this one is {task}; give a score"
        if fallback.score is None and fallback.decision is None:
            return "fallback: expected a score, or a decision whose band it is taken from"
        return None
    if fallback.score is not None:
        return f"fallback.score: a {task} model has several; give scores, a table that names each"
    if fallback.scores is None:
        return f"fallback.scores: missing: a {task} model needs a score for each of {', '.join(outputs)}"
    if set(fallback.scores) != set(outputs):
        return f"fallback.scores: expected a score for each of {', '.join(outputs)}, got {', '.join(fallback.scores)}"
    if task == "multiclass" and abs(sum(fallback.scores.values()) - 1) > _SUM_TOLERANCE:
        return f"fallback.scores: expected probabilities that add up to 1, got {sum(fallback.scores.values()):g}"
    return None
