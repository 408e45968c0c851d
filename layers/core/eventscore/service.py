"""One batch from records to rest: every record is scored and delivered, rejected and delivered, or returned. Nothing else.

``received = scored + rejected + returned`` holds for every `BatchResult`, whatever the sinks do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from eventscore.delivery.rejection import rejection_messages
from eventscore.delivery.sink import Message, Sink
from eventscore.records import Record
from eventscore.scorer import Scorer
from eventscore.scoring import Answer, Outcome, timestamp


class BatchResult(msgspec.Struct, frozen=True):
    """Where the records of a batch ended. ``returned`` maps positions to reasons; ``rejected`` counts by reason."""

    received: int
    scored: int
    rejected: Counter[str]
    returned: dict[int, str]


class ScoringService:
    """Has batches scored and delivers what comes of them."""

    def __init__(self, sink: Sink, reject_queue: Sink, clock: Callable[[], datetime]) -> None:
        self._sink = sink
        self._reject_queue = reject_queue
        self._clock = clock

    def process(self, scorer: Scorer, source: str, records: Sequence[Record]) -> BatchResult:
        """Score ``records``, which came from ``source`` (``sqs``, ``kinesis``, ``kafka``), and deliver the outcomes."""
        now = self._clock()
        outcomes = scorer.score([record.payload for record in records], now)
        rejected = {place: of for place, of in enumerate(outcomes) if not isinstance(of, Answer)}
        scored = (
            [place for place in range(len(outcomes)) if place not in rejected] if rejected else range(len(outcomes))
        )
        rejections: list[Message] = []
        rejection_owners: list[int] = []
        for place, violation in rejected.items():
            messages = rejection_messages(
                records[place],
                violation,
                model=scorer.model,
                version=scorer.version,
                source=source,
                rejected_at=timestamp(now),
            )
            rejections.extend(messages)
            rejection_owners.extend([place] * len(messages))
        returned = _failures(self._sink, _answer_messages(source, records, outcomes, scored), scored)
        returned |= _failures(self._reject_queue, rejections, rejection_owners)
        return BatchResult(
            received=len(records),
            scored=sum(place not in returned for place in scored) if returned else len(scored),
            rejected=Counter([of.reason for place, of in rejected.items() if place not in returned])
            if rejected
            else _NOTHING_REJECTED,
            returned=dict(sorted(returned.items())) if returned else returned,
        )


def _answer_messages(
    source: str, records: Sequence[Record], outcomes: Sequence[Outcome], scored: Sequence[int]
) -> list[Message]:
    """A message for each of the outcomes that are answers; all are encoded at once, one to a line."""
    answers = outcomes if len(scored) == len(outcomes) else [outcomes[place] for place in scored]
    # JSON has no line break inside a text: it stands there as an escape.
    bodies = _ENCODER.encode_lines(answers).decode().split("\n")
    return [
        Message(body, {"source": source, "origin": records[place].origin})
        for place, body in zip(scored, bodies, strict=False)  # behind the last line stands nothing
    ]


_NOTHING_REJECTED: Counter[str] = Counter()
_ENCODER = msgspec.json.Encoder()


def _failures(sink: Sink, messages: Sequence[Message], owners: Sequence[int]) -> dict[int, str]:
    """Deliver, and answer which records have a message that was not taken."""
    if not messages:
        return {}
    return {owners[index]: reason for index, reason in sink.deliver(messages).items()}
