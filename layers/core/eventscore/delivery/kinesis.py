"""A Kinesis data stream as a sink: an event's answers go to the shard of its id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from eventscore.delivery.backoff import Backoff
from eventscore.delivery.batched import BatchedSink
from eventscore.delivery.call_failure import CallFailure
from eventscore.delivery.in_turn import failures_in_turn
from eventscore.delivery.message_text import utf8_length, with_attributes
from eventscore.delivery.sink import AnyMessage

if TYPE_CHECKING:
    from mypy_boto3_kinesis.client import KinesisClient
    from mypy_boto3_kinesis.type_defs import PutRecordsRequestEntryTypeDef

_KEY_LENGTH = 256


class KinesisSink(BatchedSink["PutRecordsRequestEntryTypeDef"]):
    """Puts messages, attributes inside, into ``stream``: a name, or an ARN."""

    name = "kinesis"
    max_entries = 500
    # A stream may be configured to take more; this is what every stream takes.
    max_entry_bytes = 1_048_576
    max_call_bytes = 5_242_880

    def __init__(self, stream: str, client: KinesisClient, backoff: Backoff | None = None) -> None:
        super().__init__(backoff)
        self._stream = stream
        self._client = client

    def _entry(self, position: int, message: AnyMessage) -> PutRecordsRequestEntryTypeDef:
        return {"Data": with_attributes(message).encode(), "PartitionKey": message.key[:_KEY_LENGTH]}

    def _size(self, entry: PutRecordsRequestEntryTypeDef) -> int:
        data = entry["Data"]
        assert isinstance(data, bytes)  # noqa: S101 - as `_entry` makes it; the stubs allow files
        return len(data) + utf8_length(entry["PartitionKey"])

    def _call(self, entries: Sequence[PutRecordsRequestEntryTypeDef]) -> Mapping[int, CallFailure]:
        if self._stream.startswith("arn:"):
            answer = self._client.put_records(StreamARN=self._stream, Records=entries)
        else:
            answer = self._client.put_records(StreamName=self._stream, Records=entries)
        return failures_in_turn(entries, answer["Records"])
