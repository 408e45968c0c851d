"""SQS: each message stands alone, and exactly those that are named come back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from eventscore.records import Record
from eventscore.sources.source import BatchResponse, item_failures


class SqsSource:
    """Standard and FIFO queues."""

    name = "sqs"

    def records(self, invocation: Mapping[str, Any]) -> list[Record]:
        """The messages: body in UTF-8, the message id as origin, and in a FIFO queue the group."""
        messages = invocation["Records"]
        # A lone surrogate is kept as it is, so that the decoder rejects it with all its bytes.
        if messages and _is_fifo(messages[0]):
            return [
                Record(
                    message["body"].encode("utf-8", "surrogatepass"),
                    message["messageId"],
                    message.get("attributes", {}).get("MessageGroupId"),
                )
                for message in messages
            ]
        return [Record(message["body"].encode("utf-8", "surrogatepass"), message["messageId"]) for message in messages]

    def lanes(self, invocation: Mapping[str, Any]) -> Sequence[str] | None:
        """Messages stand alone; those of a FIFO queue are one lane."""
        messages = invocation["Records"]
        return ["fifo"] * len(messages) if messages and _is_fifo(messages[0]) else None

    def response(self, invocation: Mapping[str, Any], returned: Collection[int]) -> BatchResponse:
        """Name each returned message. In a FIFO queue all that follow the first come back, or they would overtake it."""
        messages = invocation["Records"]
        if returned and _is_fifo(messages[0]):
            returned = range(min(returned), len(messages))
        return item_failures([messages[position]["messageId"] for position in sorted(returned)])


def _is_fifo(message: Mapping[str, Any]) -> bool:
    return str(message.get("eventSourceARN", "")).endswith(".fifo")
