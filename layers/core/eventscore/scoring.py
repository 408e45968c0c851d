"""From messages to answers: the pure part of the work, the same for a stream, a direct call and a file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from eventscore.artifact import Artifact
from eventscore.decoding import Event, EventId
from eventscore.errors import ContractViolation


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What the sink gets for a scored event. ``scored_at`` is UTC, RFC 3339, to the millisecond."""

    event_id: EventId
    score: float
    decision: str | None
    model: str
    version: str
    scored_at: str


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
        scores = artifact.session.score(artifact.columns.build(events)).tolist()
        starts = [decision.start for decision in artifact.contract.decisions]
        names = [decision.name for decision in artifact.contract.decisions]
        scored_at = timestamp(now)
        for position, event, score in zip(positions, events, scores, strict=True):
            decision = names[max(0, bisect_right(starts, score) - 1)] if names else None
            outcomes[position] = Answer(event.event_id, score, decision, artifact.model, artifact.version, scored_at)
    return [outcome for outcome in outcomes if outcome is not None]


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond: ``2026-11-21T10:15:00.000Z``."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
