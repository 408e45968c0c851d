"""From messages to answers: the pure part of the work, the same for a stream, a direct call and a file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from eventscore.artifact import Artifact
from eventscore.decoding import Event, EventId
from eventscore.errors import ContractViolation

if TYPE_CHECKING:
    import numpy.typing as npt

    from eventscore.contract import AnyContract


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
    events, refused = artifact.decoder.decode_all(messages)
    answers = _answers(artifact, events, now) if events else []
    if not refused:
        return answers
    scored = iter(answers)
    return [refused[place] if place in refused else next(scored) for place in range(len(messages))]


def _answers(artifact: Artifact, events: Sequence[Event], now: datetime) -> list[Outcome]:
    scores = artifact.session.score(artifact.columns.build(events))
    finite: npt.NDArray[np.bool_] = np.isfinite(scores)
    if finite.all():
        return _named(artifact, events, scores, now)
    # JSON has no word for them: the answer would say null, or a number that nobody computed.
    good: npt.NDArray[np.bool_] = np.logical_and.reduce(finite.reshape(len(events), -1), axis=1)
    named = iter(_named(artifact, [event for event, fine in zip(events, good, strict=True) if fine], scores[good], now))
    return [next(named) if fine else _NOT_FINITE for fine in good]


def _named(
    artifact: Artifact, events: Sequence[Event], scores: npt.NDArray[np.float32], now: datetime
) -> list[Outcome]:
    main: list[float] = (scores if scores.ndim == 1 else scores.max(axis=1)).tolist()
    of_all = (repeat(artifact.model), repeat(artifact.version), repeat(timestamp(now)))
    each = (map(_EVENT_ID, events), main, _decisions(artifact.contract, main), *of_all)
    if scores.ndim == 1:
        return list(map(Answer, *each))
    several = _several(artifact.contract, scores)
    return [Answer(*same, *own) for *same, own in zip(*each, several, strict=False)]


def _decisions(contract: AnyContract, scores: Iterable[float]) -> Iterable[str | None]:
    """The band of each score: the last whose start it reaches, or else the first."""
    if not contract.decisions:
        return repeat(None)
    names = [decision.name for decision in contract.decisions]
    starts = [decision.start for decision in contract.decisions[1:]]
    return map(names.__getitem__, map(partial(bisect_right, starts), scores))


_NOT_FINITE = ContractViolation("score_not_finite", "the version's score of the event is NaN or an infinity")
_EVENT_ID = attrgetter("event_id")
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
    text: str = msgspec.to_builtins(moment)  # a fraction of its microseconds, and none where they are 0
    return f"{text[:19]}.{moment.microsecond // 1000:03d}Z"
