"""An SQS queue as a sink, standard or FIFO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from eventscore.delivery.backoff import Backoff
from eventscore.delivery.batched import BatchedSink
from eventscore.delivery.call_failure import NOT_MENTIONED, CallFailure, entry_failure
from eventscore.delivery.message_text import utf8_length, xml_safe
from eventscore.delivery.sink import AnyMessage

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

MAX_ENTRIES = 10
MAX_BYTES = 1_048_576
"""The limit of SQS for one message and for one batch, attributes included."""


class SqsSink(BatchedSink["SendMessageBatchRequestEntryTypeDef"]):
    """Sends messages to the queue at ``queue_url``; a name that ends in .fifo makes it a FIFO queue."""

    name = "sqs"
    max_entries = MAX_ENTRIES
    max_entry_bytes = max_call_bytes = MAX_BYTES

    def __init__(self, queue_url: str, client: SQSClient, backoff: Backoff | None = None) -> None:
        super().__init__(backoff)
        self._queue_url = queue_url
        self._client = client
        self._is_fifo = queue_url.endswith(".fifo")

    def _entry(self, position: int, message: AnyMessage) -> SendMessageBatchRequestEntryTypeDef:
        entry: SendMessageBatchRequestEntryTypeDef = {
            "Id": str(position),
            "MessageBody": xml_safe(message.body),
            "MessageAttributes": {
                name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()
            },
        }
        if self._is_fifo:
            from eventscore.delivery.fifo import deduplication_id, group_id  # only a FIFO queue needs hashes

            entry["MessageGroupId"] = group_id(message)
            entry["MessageDeduplicationId"] = deduplication_id(message)
        return entry

    def _size(self, entry: SendMessageBatchRequestEntryTypeDef) -> int:
        return utf8_length(entry["MessageBody"]) + sum(
            len(name) + len("String") + utf8_length(value.get("StringValue", ""))
            for name, value in entry.get("MessageAttributes", {}).items()
        )

    def _call(self, entries: Sequence[SendMessageBatchRequestEntryTypeDef]) -> Mapping[int, CallFailure]:
        answer = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
        failed = {
            item["Id"]: entry_failure(item["Code"], item.get("Message"), transient=not item.get("SenderFault"))
            for item in answer.get("Failed", ())
        }
        taken = {item["Id"] for item in answer.get("Successful", ())}
        return {
            index: failed.get(entry["Id"], NOT_MENTIONED)
            for index, entry in enumerate(entries)
            if entry["Id"] not in taken
        }
