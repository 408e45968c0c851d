"""One batch from records to rest: every record is scored and delivered, rejected and delivered, or returned. Nothing else.

``received = scored + rejected + returned`` holds for every `BatchResult`, whatever the sinks do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from eventscore.delivery.rejection import rejection_messages
from eventscore.delivery.sink import Message, Sink
from eventscore.records import Record
from eventscore.scorer import Scorer
from eventscore.scoring import Answer, timestamp


@dataclass(frozen=True, slots=True)
class BatchResult:
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
        answers: list[Message] = []
        answer_owners: list[int] = []
        rejections: list[Message] = []
        rejection_owners: list[int] = []
        reasons: dict[int, str] = {}
        for position, (record, outcome) in enumerate(zip(records, outcomes, strict=True)):
            if isinstance(outcome, Answer):
                attributes = {"source": source, "origin": record.origin}
                answers.append(Message(msgspec.json.encode(outcome).decode(), attributes))
                answer_owners.append(position)
            else:
                messages = rejection_messages(
                    record,
                    outcome,
                    model=scorer.model,
                    version=scorer.version,
                    source=source,
                    rejected_at=timestamp(now),
                )
                rejections.extend(messages)
                rejection_owners.extend([position] * len(messages))
                reasons[position] = outcome.reason
        returned = _failures(self._sink, answers, answer_owners)
        returned |= _failures(self._reject_queue, rejections, rejection_owners)
        return BatchResult(
            received=len(records),
            scored=sum(position not in returned for position in answer_owners),
            rejected=Counter(reason for position, reason in reasons.items() if position not in returned),
            returned=dict(sorted(returned.items())),
        )


def _failures(sink: Sink, messages: Sequence[Message], owners: Sequence[int]) -> dict[int, str]:
    """Deliver, and answer which records have a message that was not taken."""
    if not messages:
        return {}
    return {owners[index]: reason for index, reason in sink.deliver(messages).items()}
