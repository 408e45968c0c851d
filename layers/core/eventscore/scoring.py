"""From messages to answers: the pure part of the work, the same for a stream, a direct call and a file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import repeat
from math import isfinite
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from eventscore.artifact import Artifact
from eventscore.decoding import EventId
from eventscore.errors import ContractViolation

if TYPE_CHECKING:
    import numpy.typing as npt

    from eventscore.columns import Table
    from eventscore.contract import AnyContract
    from eventscore.drift_watch import DriftWatch


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What the sink gets for a scored event. ``scored_at`` is UTC, RFC 3339, to the millisecond.

    Where an event has several scores, ``score`` is the highest, ``scores`` names them all; ``label`` is the most likely class of a
    multiclass model, ``labels`` are those of a multilabel model that reach the contract's threshold. Other models have none of these.
    ``fallback`` is true where the contract's rule answered, for want of a version (`eventscore.fallback`).
    """

    event_id: EventId
    score: float
    decision: str | None
    model: str
    version: str
    scored_at: str
    label: str | msgspec.UnsetType = msgspec.UNSET
    labels: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    scores: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    fallback: bool | msgspec.UnsetType = msgspec.UNSET


Outcome = Answer | ContractViolation


def score_messages(artifact: Artifact, messages: Sequence[bytes | None], now: datetime) -> list[Outcome]:
    """One outcome per message, in order: an answer, or the violation that it is rejected for.

    The messages that decode become columns once, and the graph runs once.
    """
    return Answering(artifact).outcomes(messages, now)


class Answering:
    """Answers with one version: what is the same for each of its batches is looked up once."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        decisions = artifact.contract.decisions
        self._bands = [decision.name for decision in decisions]
        self._starts = [decision.start for decision in decisions[1:]]
        self._model, self._version = repeat(artifact.model), repeat(artifact.version)
        self.watch: DriftWatch | None = None
        """Counts what is answered, once there is one."""

    def outcomes(self, messages: Sequence[bytes | None], now: datetime) -> list[Outcome]:
        """What `score_messages` answers."""
        decoded = self._artifact.decoder.decode_all(messages)
        ids, refused = decoded.ids, decoded.refused
        answers = self._answers(ids, decoded.table, now) if ids else []
        if not refused:
            return answers
        scored = iter(answers)
        return [refused[place] if place in refused else next(scored) for place in range(len(messages))]

    def _answers(self, ids: Sequence[EventId], table: Table, now: datetime) -> list[Outcome]:
        scores = self._artifact.session.score(table.columns)
        if scores.ndim == 1:
            main: list[float] = scores.tolist()
            # The sum of finite numbers is finite, and no other sum is: cheaper than two of numpy's functions.
            if isfinite(sum(main)):
                if self.watch is not None:
                    self.watch.observe(table, scores)
                return list(map(Answer, *self._of_each(ids, main, now)))
        finite: npt.NDArray[np.bool_] = np.isfinite(scores)
        if finite.all():
            if self.watch is not None:
                self.watch.observe(table, scores)
            return self._named(ids, scores, now)
        # JSON has no word for them: the answer would say null, or a number that nobody computed.
        good: npt.NDArray[np.bool_] = np.logical_and.reduce(finite.reshape(len(ids), -1), axis=1)
        if self.watch is not None:
            self.watch.observe(table.only(good), scores[good])
        named = iter(self._named([of for of, fine in zip(ids, good, strict=True) if fine], scores[good], now))
        return [next(named) if fine else _NOT_FINITE for fine in good]

    def _named(self, ids: Sequence[EventId], scores: npt.NDArray[np.float32], now: datetime) -> list[Outcome]:
        if scores.ndim == 1:
            return list(map(Answer, *self._of_each(ids, scores.tolist(), now)))
        each = zip(*self._of_each(ids, scores.max(axis=1).tolist(), now), strict=False)
        several = _several(self._artifact.contract, scores)
        return [Answer(*same, *own) for same, own in zip(each, several, strict=False)]

    def _of_each(
        self, ids: Sequence[EventId], scores: Sequence[float], now: datetime
    ) -> tuple[Iterable[EventId], Iterable[float], Iterable[str | None], Iterable[str], Iterable[str], Iterable[str]]:
        """The first fields of each answer; what is the same in all is repeated without end."""
        decisions: Iterable[str | None] = repeat(None)
        if self._bands:  # the band of a score is the last whose start it reaches, or else the first
            decisions = map(self._bands.__getitem__, map(bisect_right, repeat(self._starts), scores))
        return ids, scores, decisions, self._model, self._version, repeat(timestamp(now))


_NOT_FINITE = ContractViolation("score_not_finite", "the version's score of the event is NaN or an infinity")
_Several = tuple[()] | tuple[str | msgspec.UnsetType, tuple[str, ...] | msgspec.UnsetType, dict[str, float]]


def _several(contract: AnyContract, scores: npt.NDArray[np.float32]) -> Iterator[_Several]:
    """Label, labels and scores of each event's answer, where it has a score for each of the contract's outputs."""
    outputs = contract.outputs
    # In the score's own precision: 0.7 as a float32 lies below 0.7, and a score of 0.7 reaches it.
    threshold = float(np.float32(contract.label.threshold)) if contract.label else 0.0
    for row in scores.tolist():
        named = dict(zip(outputs, row, strict=True))
        if contract.model.task == "multiclass":
            yield outputs[row.index(max(row))], msgspec.UNSET, named
        else:
            yield msgspec.UNSET, tuple(name for name, score in named.items() if score >= threshold), named


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond: ``2026-11-21T10:15:00.000Z``."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    # Faster than isoformat. It writes the fraction in microseconds, and none where they are 0.
    text: str = msgspec.to_builtins(moment)
    return f"{text[:23]}Z" if len(text) > 23 else f"{text[:19]}.000Z"
