"""An SQS queue as a sink: batches of ten, sent side by side, each entry answered for."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

from eventscore.delivery.sink import Message

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sqs.type_defs import MessageAttributeValueTypeDef, SendMessageBatchRequestEntryTypeDef

MAX_ENTRIES = 10
MAX_BYTES = 1_048_576
"""The limit of SQS for one message and for one batch, attributes included."""
_THREADS = 4
_NOT_IN_SQS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class SqsSink:
    """Sends messages to the queue at ``queue_url``."""

    def __init__(self, queue_url: str, client: SQSClient) -> None:
        self._queue_url = queue_url
        self._client = client

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        # One call takes a few milliseconds of waiting, and a batch of 1,000 events takes 100 of them. The first event needs no threads.
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(_THREADS, thread_name_prefix="sqs-sink")

    def deliver(self, messages: Sequence[Message]) -> Mapping[int, str]:
        """Send all; the answer maps the position of each message that the queue did not take to the reason."""
        batches = list(_batches(messages))
        failures: dict[int, str] = {}
        # Once the queue does not answer, what is left is not tried: each try would take seconds of the function's time.
        stalled = threading.Event()
        send = partial(self._send, stalled)
        for failed in self._threads.map(send, batches) if len(batches) > 1 else map(send, batches):
            failures.update(failed)
        return failures

    def _send(self, stalled: threading.Event, batch: list[SendMessageBatchRequestEntryTypeDef]) -> dict[int, str]:
        if stalled.is_set():
            return {int(entry["Id"]): "not sent: the queue does not answer" for entry in batch}
        try:
            answer = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=batch)
        except Exception as error:  # whatever it was, the messages are not delivered, and that is all that counts
            from botocore.exceptions import BotoCoreError, ClientError

            if not isinstance(error, ClientError):
                stalled.set()
            reason = str(error) if isinstance(error, ClientError | BotoCoreError) else type(error).__name__
            return {int(entry["Id"]): reason for entry in batch}
        failures = {int(item["Id"]): f"{item['Code']}: {item.get('Message', '')}" for item in answer.get("Failed", ())}
        taken = {item["Id"] for item in answer.get("Successful", ())}
        for entry in batch:
            if entry["Id"] not in taken and int(entry["Id"]) not in failures:
                failures[int(entry["Id"])] = "the queue's answer does not mention the message"
        return failures


def _batches(messages: Sequence[Message]) -> Iterator[list[SendMessageBatchRequestEntryTypeDef]]:
    """The messages as entries, in batches that keep both limits."""
    batch: list[SendMessageBatchRequestEntryTypeDef] = []
    batch_bytes = 0
    for position, message in enumerate(messages):
        body = message.body
        if not body.isascii() or "\x7f" in body:
            # SQS refuses characters that XML does not know; in a JSON text they only occur inside strings, where an escape says the same.
            body = _NOT_IN_SQS.sub(lambda found: f"\\u{ord(found[0]):04x}", body)
        size = _bytes(body)
        attributes: dict[str, MessageAttributeValueTypeDef] = {}
        for name, value in message.attributes.items():
            attributes[name] = {"DataType": "String", "StringValue": value}
            size += len(name) + len("String") + _bytes(value)
        if batch and (len(batch) == MAX_ENTRIES or batch_bytes + size > MAX_BYTES):
            yield batch
            batch, batch_bytes = [], 0
        batch.append({"Id": str(position), "MessageBody": body, "MessageAttributes": attributes})
        batch_bytes += size
    if batch:
        yield batch


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
