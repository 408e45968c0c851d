"""An SNS topic as a sink, standard or FIFO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from eventscore.delivery.backoff import Backoff
from eventscore.delivery.batched import BatchedSink
from eventscore.delivery.call_failure import NOT_MENTIONED, CallFailure, entry_failure
from eventscore.delivery.fifo import SUFFIX, deduplication_id, group_id
from eventscore.delivery.message_text import utf8_length, xml_safe
from eventscore.delivery.sink import AnyMessage

if TYPE_CHECKING:
    from mypy_boto3_sns.client import SNSClient
    from mypy_boto3_sns.type_defs import PublishBatchRequestEntryTypeDef


class SnsSink(BatchedSink["PublishBatchRequestEntryTypeDef"]):
    """Publishes messages to the topic ``topic_arn``. Their attributes, the decision among them, can be filtered by subscriptions."""

    name = "sns"
    max_entries = 10
    max_entry_bytes = max_call_bytes = 262_144

    def __init__(self, topic_arn: str, client: SNSClient, backoff: Backoff | None = None) -> None:
        super().__init__(backoff)
        self._topic_arn = topic_arn
        self._client = client
        self._is_fifo = topic_arn.endswith(SUFFIX)

    def _entry(self, position: int, message: AnyMessage) -> PublishBatchRequestEntryTypeDef:
        attributes = dict(message.attributes)
        if message.answer is not None and message.answer.decision is not None:
            attributes["decision"] = message.answer.decision
        entry: PublishBatchRequestEntryTypeDef = {
            "Id": str(position),
            "Message": xml_safe(message.body),
            "MessageAttributes": {
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
        }
        if self._is_fifo:
            entry["MessageGroupId"] = group_id(message)
            entry["MessageDeduplicationId"] = deduplication_id(message)
        return entry

    def _size(self, entry: PublishBatchRequestEntryTypeDef) -> int:
        return utf8_length(entry["Message"]) + sum(
            len(name) + len("String") + utf8_length(value.get("StringValue", ""))
            for name, value in entry.get("MessageAttributes", {}).items()
        )

    def _call(self, entries: Sequence[PublishBatchRequestEntryTypeDef]) -> Mapping[int, CallFailure]:
        answer = self._client.publish_batch(TopicArn=self._topic_arn, PublishBatchRequestEntries=entries)
        failed = {
            item["Id"]: entry_failure(item["Code"], item.get("Message"), transient=not item.get("SenderFault"))
            for item in answer.get("Failed", ())
        }
        taken = {item.get("Id") for item in answer.get("Successful", ())}
        return {
            index: failed.get(entry["Id"], NOT_MENTIONED)
            for index, entry in enumerate(entries)
            if entry["Id"] not in taken
        }
