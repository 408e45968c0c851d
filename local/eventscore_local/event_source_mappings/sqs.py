"""The SQS event source mapping: concurrent pollers; failed messages come back after their visibility timeout.

How often a message may come back, and where it goes then, is the queue's own redrive policy.
"""

import collections
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eventscore_local.errors import MappingMisconfigured
from eventscore_local.event_source_mappings.batching import BatchLimits, OpenBatch
from eventscore_local.event_source_mappings.invocation_events import records_payload, sqs_record
from eventscore_local.event_source_mappings.mapping import EventSourceMapping, Invoke
from eventscore_local.event_source_mappings.partial_batch import failed_messages

_DEFAULT_BATCH = BatchLimits(size=10)
_API_BATCH = 10
"""Messages that one call of the SQS API receives, deletes or releases at most."""
_SHORT_WAIT_S = 0.05


@dataclass(frozen=True, slots=True)
class _Message:
    """A received message: its ids, and its JSON in the payload."""

    message_id: str
    receipt_handle: str
    json: bytes


class SqsMapping(EventSourceMapping):
    """Receives from a queue, invokes the function, deletes what did not fail.

    `client` is a boto3 SQS client. `concurrency` pollers each gather and deliver one batch at a time. A standard queue
    only: FIFO queues have an order that this mapping does not keep.
    """

    def __init__(
        self,
        invoke: Invoke,
        client: Any,
        queue_url: str,
        *,
        batch: BatchLimits = _DEFAULT_BATCH,
        concurrency: int = 2,
        report_batch_item_failures: bool = True,
    ) -> None:
        super().__init__(invoke)
        if queue_url.endswith(".fifo"):
            raise MappingMisconfigured(f"expected a standard queue, got the FIFO queue {queue_url}")
        if batch.size > _API_BATCH and batch.window_s < 1:
            raise MappingMisconfigured(
                f"expected a batching window of 1 s or more with batches above {_API_BATCH}, got {batch.window_s:g} s"
            )
        if concurrency < 1:
            raise MappingMisconfigured(f"expected a concurrency of at least 1, got {concurrency}")
        self._client = client
        self._queue_url = queue_url
        self._queue_arn = self._attribute("QueueArn")
        self._batch = batch
        self._concurrency = concurrency
        self._report_batch_item_failures = report_batch_item_failures

    @property
    def idle(self) -> bool:
        """Whether the queue is empty: nothing visible, in flight or delayed."""
        names = (
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        )
        answer = self._client.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=list(names))
        return all(answer["Attributes"].get(name, "0") == "0" for name in names)

    def _attribute(self, name: str) -> str:
        answer = self._client.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=[name])
        return str(answer["Attributes"][name])

    def _pollers(self) -> list[Callable[[], None]]:
        return [self._poll] * self._concurrency

    def _poll(self) -> None:
        waiting: collections.deque[_Message] = collections.deque()
        while not self._stop_requested.is_set():
            batch = self._gather(waiting)
            if self._stop_requested.is_set():
                self._release([*batch, *waiting])
            elif batch:
                self._deliver(batch)

    def _gather(self, waiting: collections.deque[_Message]) -> list[_Message]:
        """The next batch, unfinished if a stop was requested. `waiting` holds what was received but did not fit."""
        batch = OpenBatch[_Message](self._batch)
        while not self._stop_requested.is_set():
            while waiting and batch.fits(waiting[0]):
                batch.add(waiting.popleft())
            if waiting or batch.is_due:
                break
            received = self._receive(batch)
            waiting.extend(received)
            if not received and batch.remaining_window_s < 1:
                self._stop_requested.wait(min(_SHORT_WAIT_S, batch.remaining_window_s))
        return batch.records

    def _receive(self, batch: OpenBatch[_Message]) -> list[_Message]:
        long_poll = not batch.records or batch.remaining_window_s >= 1
        answer = self._client.receive_message(
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=min(_API_BATCH, batch.room),
            WaitTimeSeconds=1 if long_poll else 0,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages = [
            _Message(message["MessageId"], message["ReceiptHandle"], sqs_record(message, self._queue_arn))
            for message in answer.get("Messages", [])
        ]
        self._count(received=len(messages))
        return messages

    def _deliver(self, batch: list[_Message]) -> None:
        result = self._invoke_counted(records_payload(message.json for message in batch))
        failed: set[str] = set()
        if result.error is not None:
            failed = {message.message_id for message in batch}
        elif self._report_batch_item_failures:
            failed = failed_messages([message.message_id for message in batch], result.payload)
        self._count(retries=len(failed))
        for part in _tens([message for message in batch if message.message_id not in failed]):
            entries = [{"Id": str(n), "ReceiptHandle": message.receipt_handle} for n, message in enumerate(part)]
            self._client.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)

    def _release(self, messages: list[_Message]) -> None:
        """Give back what was received but not delivered, so that it need not wait for its visibility timeout."""
        for part in _tens(messages):
            entries = [
                {"Id": str(n), "ReceiptHandle": message.receipt_handle, "VisibilityTimeout": 0}
                for n, message in enumerate(part)
            ]
            self._client.change_message_visibility_batch(QueueUrl=self._queue_url, Entries=entries)


def _tens(messages: Sequence[_Message]) -> Iterator[Sequence[_Message]]:
    for start in range(0, len(messages), _API_BATCH):
        yield messages[start : start + _API_BATCH]
