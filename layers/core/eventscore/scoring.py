"""From messages to answers: the pure part of the work, the same for a stream, a direct call and a file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import repeat

import msgspec
import numpy as np
import numpy.typing as npt

from eventscore.artifact import Artifact
from eventscore.contract import Contract
from eventscore.decoding import Event, EventId
from eventscore.errors import ContractViolation


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
    outcomes: list[Outcome | None] = [None] * len(messages)
    positions: list[int] = []
    events: list[Event] = []
    decode = artifact.decoder.decode
    for position, message in enumerate(messages):
        try:
            events.append(decode(message))
        except ContractViolation as violation:
            outcomes[position] = violation
        else:
            positions.append(position)
    if events:
        scores = artifact.session.score(artifact.columns.build(events))
        for position, answer in zip(positions, _answers(artifact, events, scores, now), strict=True):
            outcomes[position] = answer
    return [outcome for outcome in outcomes if outcome is not None]


def _answers(
    artifact: Artifact, events: Sequence[Event], scores: npt.NDArray[np.float32], now: datetime
) -> Iterator[Answer]:
    starts = [decision.start for decision in artifact.contract.decisions]
    names = [decision.name for decision in artifact.contract.decisions]
    scored_at = timestamp(now)
    main: list[float] = (scores if scores.ndim == 1 else scores.max(axis=1)).tolist()
    told: Iterable[_Several] = repeat(()) if scores.ndim == 1 else _several(artifact.contract, scores)
    for event, score, several in zip(events, main, told, strict=False):
        decision = names[max(0, bisect_right(starts, score) - 1)] if names else None
        yield Answer(event.event_id, score, decision, artifact.model, artifact.version, scored_at, *several)


_Several = tuple[()] | tuple[str | msgspec.UnsetType, tuple[str, ...] | msgspec.UnsetType, dict[str, float]]


def _several(contract: Contract, scores: npt.NDArray[np.float32]) -> Iterator[_Several]:
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
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
