"""What the decisions of a contract do on the test part: the confusion at each band, or what else its task can say of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventscore.contract import Contract


@dataclass(frozen=True)
class Band:
    """One decision band: who is in it, and what drawing the line at its start would mean.

    ``precision`` and ``recall`` are those of choosing this band and all above it. ``cost`` is None where the contract gives none.
    """

    name: str
    start: float
    positives: int
    negatives: int
    precision: float
    recall: float
    false_positive_rate: float
    cost: float | None

    @property
    def rows(self) -> int:
        """How many events are in the band."""
        return self.positives + self.negatives


def bands_of(contract: Contract, label: NDArray[Any], scores: NDArray[np.floating]) -> tuple[Band, ...]:
    """The confusion at each decision band of the contract; ``label`` is 1 for a positive, ``scores`` ``[n]`` decide."""
    place = places_of(contract, scores)
    all_positives, all_negatives = int(label.sum()), int(len(label) - label.sum())
    bands = []
    for index, decision in enumerate(contract.decisions):
        inside, chosen = label[place == index], label[place >= index]
        positives, taken = int(inside.sum()), int(chosen.sum())
        negatives = len(inside) - positives
        costs = (decision.cost_if_positive, decision.cost_if_negative)
        known = any(cost is not None for cost in costs)
        bands.append(
            Band(
                decision.name,
                decision.start,
                positives,
                negatives,
                precision=taken / max(1, len(chosen)),
                recall=taken / max(1, all_positives),
                false_positive_rate=(len(chosen) - taken) / max(1, all_negatives),
                cost=(costs[0] or 0.0) * positives + (costs[1] or 0.0) * negatives if known else None,
            )
        )
    return tuple(bands)


def places_of(contract: Contract, scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """The place of each row's band among the decisions ``[n]``; below the first it is the first, as an answer has it."""
    starts = [decision.start for decision in contract.decisions]
    return np.maximum(0, np.searchsorted(starts, scores, side="right").astype(np.int64) - 1)
