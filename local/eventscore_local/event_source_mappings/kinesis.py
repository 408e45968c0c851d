"""The Kinesis event source mapping: one poller per shard, checkpoints at the lowest failed sequence number.

Shards are listed when the mapping starts; one that is split or merged later is read to its end, its children are not.
"""

import collections
import functools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from botocore.exceptions import ClientError

from eventscore_local.event_source_mappings.batching import BatchLimits, OpenBatch
from eventscore_local.event_source_mappings.invocation_events import kinesis_record, records_payload
from eventscore_local.event_source_mappings.mapping import EventSourceMapping, Invoke
from eventscore_local.event_source_mappings.on_failure import Discard, OnFailureDestination, kinesis_document
from eventscore_local.event_source_mappings.ordered_delivery import Consequences, OrderedDelivery, RetryPolicy
from eventscore_local.event_source_mappings.partial_batch import KinesisIdentifier
from eventscore_local.event_source_mappings.stream_record import StreamRecord
from eventscore_local.invocation import InvocationResult

_POLL_INTERVAL_S = 0.1
"""Between reads of a shard that has nothing new. AWS polls once a second; a demo should not wait that long."""


class KinesisMapping(EventSourceMapping):
    """Reads a stream from its beginning (or, started again, from its checkpoints) and invokes the function.

    `client` is a boto3 Kinesis client. `on_failure` gets a document for each discarded batch; without one, discarded
    records are dropped, as on AWS.
    """

    def __init__(
        self,
        invoke: Invoke,
        client: Any,
        stream_arn: str,
        *,
        batch: BatchLimits | None = None,
        retry: RetryPolicy | None = None,
        on_failure: OnFailureDestination | None = None,
    ) -> None:
        super().__init__(invoke)
        self._client = client
        self._stream_arn = stream_arn
        self._batch = batch or BatchLimits()
        self._retry = retry or RetryPolicy()
        self._on_failure = on_failure
        self._checkpoints: dict[str, str] = {}
        self._empty_lock = threading.Lock()
        self._empty_polled_at: dict[str, float] = {}
        self._shards: list[str] = []

    @property
    def checkpoints(self) -> dict[str, str]:
        """By shard, the sequence number of the last record that has ended."""
        return dict(self._checkpoints)

    @property
    def idle(self) -> bool:
        """Whether each shard's last read found nothing, and nothing read before is under way."""
        return self._idle_since(0.0)

    def _idle_since(self, moment: float) -> bool:
        with self._empty_lock:
            return bool(self._shards) and all(
                self._empty_polled_at.get(shard, -1.0) >= moment for shard in self._shards
            )

    def _pollers(self) -> list[Callable[[], None]]:
        pages = self._client.get_paginator("list_shards").paginate(StreamARN=self._stream_arn)
        self._shards = [shard["ShardId"] for page in pages for shard in page["Shards"]]
        return [functools.partial(self._poll, shard) for shard in self._shards]

    def _poll(self, shard: str) -> None:
        delivery = OrderedDelivery(
            self._retry,
            KinesisIdentifier(shard),
            Consequences(self._invoke_records, self._checkpoint, self._discard, self._wait_to_retry),
        )
        reader = _ShardReader(self._client, self._stream_arn, shard, self._checkpoints.get(shard))
        waiting: collections.deque[StreamRecord] = collections.deque()
        while not self._stop_requested.is_set():
            batch = OpenBatch[StreamRecord](self._batch)
            while not batch.is_due:
                while waiting and batch.fits(waiting[0]):
                    batch.add(waiting.popleft())
                if waiting or batch.is_due:
                    break
                began_at = time.monotonic()
                read = reader.read(batch.room)
                self._count(received=len(read))
                waiting.extend(read)
                if not read:
                    if not batch.records:
                        self._set_empty(shard, began_at)
                    if self._stop_requested.wait(min(_POLL_INTERVAL_S, batch.remaining_window_s or _POLL_INTERVAL_S)):
                        return
                else:
                    self._set_empty(shard, None)
            if not delivery.deliver(batch.records):
                return

    def _set_empty(self, shard: str, polled_at: float | None) -> None:
        with self._empty_lock:
            if polled_at is None:
                self._empty_polled_at.pop(shard, None)
            else:
                self._empty_polled_at[shard] = polled_at

    def _invoke_records(self, records: Sequence[StreamRecord]) -> InvocationResult:
        return self._invoke_counted(records_payload(record.json for record in records))

    def _checkpoint(self, records: Sequence[StreamRecord]) -> None:
        for record in records:
            self._checkpoints[record.partition] = record.sequence

    def _discard(self, discard: Discard) -> None:
        if self._on_failure is not None:
            payload = records_payload(record.json for record in discard.records)
            self._on_failure.send(kinesis_document(discard, self._stream_arn), payload)
        self._count(on_failure=len(discard.records))

    def _wait_to_retry(self, records: int, attempt: int) -> bool:
        self._count(retries=records)
        return self._back_off(attempt, self._retry.first_delay_s)


class _ShardReader:
    """Reads a shard onward from a sequence number; takes a new iterator where the old one has expired."""

    def __init__(self, client: Any, stream_arn: str, shard: str, after: str | None) -> None:
        self._client = client
        self._stream_arn = stream_arn
        self._shard = shard
        self._after = after
        self._iterator: str | None = self._new_iterator()

    def read(self, limit: int) -> list[StreamRecord]:
        """Up to `limit` new records; none at the end of a closed shard."""
        if self._iterator is None:
            return []
        try:
            answer = self._client.get_records(StreamARN=self._stream_arn, ShardIterator=self._iterator, Limit=limit)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ExpiredIteratorException":
                raise
            self._iterator = self._new_iterator()
            return []
        self._iterator = answer.get("NextShardIterator")
        records = [self._record(record) for record in answer["Records"]]
        if records:
            self._after = records[-1].sequence
        return records

    def _new_iterator(self) -> str:
        where = (
            {"ShardIteratorType": "TRIM_HORIZON"}
            if self._after is None
            else {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": self._after}
        )
        answer = self._client.get_shard_iterator(StreamARN=self._stream_arn, ShardId=self._shard, **where)
        return str(answer["ShardIterator"])

    def _record(self, record: dict[str, Any]) -> StreamRecord:
        return StreamRecord(
            partition=self._shard,
            position=int(record["SequenceNumber"]),
            sequence=record["SequenceNumber"],
            json=kinesis_record(record, self._shard, self._stream_arn),
            arrived_at=record["ApproximateArrivalTimestamp"].timestamp(),
        )
