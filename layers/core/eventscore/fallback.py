"""The rule that answers while no version can be had: the same answer for every event that fits the contract, and marked as such."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from eventscore.decision_bands import band_of, main_score
from eventscore.decoding import EventDecoder
from eventscore.scorer import NO_VERSION
from eventscore.scoring import Answer, Outcome, timestamp

if TYPE_CHECKING:
    from eventscore.contract import AnyContract


class FallbackRule:
    """The ``[fallback]`` of a contract, ready to answer. ``origin`` says where the contract comes from, for logs."""

    version = NO_VERSION
    memory_bytes = 0
    is_rule = True

    def __init__(self, contract: AnyContract, origin: str) -> None:
        fallback = contract.fallback
        if fallback is None:
            raise ValueError("the contract has no [fallback]")
        self.model = contract.model.name
        self.origin = origin
        self._decoder = EventDecoder(contract)
        bands = [(decision.name, decision.start) for decision in contract.decisions]
        score = main_score(fallback, bands)
        self._answer = Answer("", score, band_of(score, bands), self.model, NO_VERSION, "", fallback=True)
        if fallback.scores is not None:
            # In the order of the graph's columns, as a version's answers have them; of equals the first, too.
            scores = {name: fallback.scores[name] for name in contract.outputs}
            self._answer = msgspec.structs.replace(self._answer, scores=scores)
            if contract.model.task == "multiclass":
                self._answer = msgspec.structs.replace(self._answer, label=max(scores, key=lambda name: scores[name]))
            elif contract.label is not None:
                threshold = contract.label.threshold
                labels = tuple(name for name, score in scores.items() if score >= threshold)
                self._answer = msgspec.structs.replace(self._answer, labels=labels)

    def score(self, messages: Sequence[bytes | None], now: datetime) -> list[Outcome]:
        """One outcome per message, in order: the rule's answer, or the violation that it is rejected for."""
        scored_at = timestamp(now)
        decoded = self._decoder.decode_all(messages)
        ids = iter(decoded.ids)
        return [
            decoded.refused[place]
            if place in decoded.refused
            else msgspec.structs.replace(self._answer, event_id=next(ids), scored_at=scored_at)
            for place in range(len(messages))
        ]
