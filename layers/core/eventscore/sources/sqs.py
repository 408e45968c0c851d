"""SQS: each message stands alone, and exactly those that are named come back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from eventscore.records import Record
from eventscore.sources.source import BatchResponse, item_failures


class SqsSource:
    """Standard and FIFO queues."""

    name = "sqs"

    def records(self, invocation: Mapping[str, Any]) -> list[Record]:
        """The messages: body in UTF-8, and the message id as origin."""
        # A lone surrogate is kept as it is, so that the decoder rejects it with all its bytes.
        return [
            Record(message["body"].encode("utf-8", "surrogatepass"), message["messageId"])
            for message in invocation["Records"]
        ]

    def response(self, invocation: Mapping[str, Any], returned: Collection[int]) -> BatchResponse:
        """Name each returned message. In a FIFO queue all that follow the first come back, or they would overtake it."""
        messages = invocation["Records"]
        if returned and str(messages[0].get("eventSourceARN", "")).endswith(".fifo"):
            returned = range(min(returned), len(messages))
        return item_failures([messages[position]["messageId"] for position in sorted(returned)])
