"""How full the stack's queues are, and how long the oldest message has waited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

QUEUES = {
    "events": "EventQueueUrl",
    "dead letters": "EventDeadLetterQueueUrl",
    "rejected": "RejectQueueUrl",
    "stream failures": "StreamFailureQueueUrl",
    "scores": "SinkQueueUrl",
}
MUST_BE_EMPTY = {"dead letters": "dead", "stream failures": "given-up"}
"""Queues that hold what was given up, and what `eventscore replay` calls it."""
_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


@dataclass(frozen=True)
class QueueState:
    """``oldest_s`` is CloudWatch's word, a few minutes old; None where it has none."""

    queue: str
    waiting: int
    in_flight: int
    oldest_s: float | None

    @property
    def messages(self) -> int:
        """All of them."""
        return self.waiting + self.in_flight


def queue_state(sqs: Any, cloudwatch: Any, outputs: Mapping[str, str], queue: str, now: datetime) -> QueueState:
    """One queue's state; an age that cannot be read is left out."""
    url = outputs[QUEUES[queue]]
    told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(_COUNTS))["Attributes"]
    visible, in_flight, delayed = (int(told.get(name, 0)) for name in _COUNTS)
    return QueueState(queue, visible + delayed, in_flight, _oldest_s(cloudwatch, url.rpartition("/")[2], now))


def _oldest_s(cloudwatch: Any, name: str, now: datetime) -> float | None:
    from botocore.exceptions import ClientError

    try:
        points = cloudwatch.get_metric_statistics(
            Namespace="AWS/SQS",
            MetricName="ApproximateAgeOfOldestMessage",
            Dimensions=[{"Name": "QueueName", "Value": name}],
            StartTime=now - timedelta(minutes=10),
            EndTime=now,
            Period=60,
            Statistics=["Maximum"],
        )["Datapoints"]
    except ClientError:
        return None
    return float(max(points, key=lambda point: point["Timestamp"])["Maximum"]) if points else None
