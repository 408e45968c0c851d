"""A Firehose stream as a sink: one JSON line for each message, as objects in S3 and loaders of warehouses want them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from eventscore.delivery.backoff import Backoff
from eventscore.delivery.batched import BatchedSink
from eventscore.delivery.call_failure import CallFailure
from eventscore.delivery.in_turn import failures_in_turn
from eventscore.delivery.message_text import with_attributes
from eventscore.delivery.sink import AnyMessage

if TYPE_CHECKING:
    from mypy_boto3_firehose.client import FirehoseClient


class FirehoseSink(BatchedSink[bytes]):
    """Puts messages, attributes inside, into the stream named ``stream``."""

    name = "firehose"
    max_entries = 500
    max_entry_bytes = 1_024_000
    max_call_bytes = 4_194_304

    def __init__(self, stream: str, client: FirehoseClient, backoff: Backoff | None = None) -> None:
        super().__init__(backoff)
        self._stream = stream
        self._client = client

    def _entry(self, position: int, message: AnyMessage) -> bytes:
        return f"{with_attributes(message)}\n".encode()

    def _size(self, entry: bytes) -> int:
        return len(entry)

    def _call(self, entries: Sequence[bytes]) -> Mapping[int, CallFailure]:
        answer = self._client.put_record_batch(
            DeliveryStreamName=self._stream, Records=[{"Data": entry} for entry in entries]
        )
        return failures_in_turn(entries, answer["RequestResponses"])
