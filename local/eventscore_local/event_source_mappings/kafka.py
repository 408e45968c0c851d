"""The Kafka event source mapping: a consumer group whose batches span partitions, checkpoints at the lowest failed offset.

While a batch is being retried its poller reads nothing else; offsets are committed to the group as each partition gets
on. The pollers share the partitions out among themselves when the mapping starts, instead of joining the group, which
takes the cluster three seconds each time.
"""

import collections
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, KafkaException, Message, TopicPartition

from eventscore_local.errors import MappingMisconfigured
from eventscore_local.event_source_mappings.batching import BatchLimits, OpenBatch
from eventscore_local.event_source_mappings.invocation_events import kafka_payload, kafka_record
from eventscore_local.event_source_mappings.mapping import EventSourceMapping, Invoke
from eventscore_local.event_source_mappings.on_failure import Discard, OnFailureDestination, kafka_document
from eventscore_local.event_source_mappings.ordered_delivery import Consequences, OrderedDelivery, RetryPolicy
from eventscore_local.event_source_mappings.partial_batch import KafkaIdentifier
from eventscore_local.event_source_mappings.stream_record import StreamRecord
from eventscore_local.invocation import InvocationResult

_DEFAULT_BATCH = BatchLimits(size=100, window_s=0.5)
_POLL_S = 0.1
_BROKER_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class KafkaSource:
    """Where to read. With `cluster_arn` the function sees MSK's events, without it a self-managed cluster's."""

    bootstrap_servers: str
    topic: str
    consumer_group: str
    cluster_arn: str | None = None


class KafkaMapping(EventSourceMapping):
    """Reads a topic as one consumer group (from its beginning, or from what was committed) and invokes the function.

    `pollers` is the number of consumers that share the partitions out. `on_failure` gets a document for each discarded
    batch; without one, discarded records are dropped, as on AWS.
    """

    def __init__(
        self,
        invoke: Invoke,
        source: KafkaSource,
        *,
        batch: BatchLimits = _DEFAULT_BATCH,
        retry: RetryPolicy | None = None,
        on_failure: OnFailureDestination | None = None,
        pollers: int = 1,
    ) -> None:
        super().__init__(invoke)
        if pollers < 1:
            raise MappingMisconfigured(f"expected at least 1 poller, got {pollers}")
        self._source = source
        self._batch = batch
        self._retry = retry or RetryPolicy()
        self._on_failure = on_failure
        self._poller_count = pollers
        self._observer: Consumer | None = None

    @property
    def idle(self) -> bool:
        """Whether the group has committed all that each partition holds; False when stopped."""
        observer = self._observer
        if observer is None:
            return False
        partitions = _partitions(observer, self._source.topic)
        for committed in observer.committed(partitions, timeout=_BROKER_TIMEOUT_S):
            low, high = observer.get_watermark_offsets(committed, timeout=_BROKER_TIMEOUT_S)
            if max(committed.offset, low) < high:
                return False
        return bool(partitions)

    def stop(self) -> None:
        """Let invocations under way end, then leave the group."""
        super().stop()
        if self._observer is not None:
            self._observer.close()
            self._observer = None

    def _new_consumer(self) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self._source.bootstrap_servers,
                "group.id": self._source.consumer_group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": 6000,
                "fetch.wait.max.ms": 50,
                "log_level": 2,  # errors are raised; the client need not print them too
            }
        )

    def _pollers(self) -> list[Callable[[], None]]:
        observer = self._observer = self._new_consumer()
        partitions = _partitions(observer, self._source.topic)
        return [functools.partial(self._poll, partitions[n :: self._poller_count]) for n in range(self._poller_count)]

    def _poll(self, partitions: list[TopicPartition]) -> None:
        consumer = self._new_consumer()
        consumer.assign(partitions)
        delivery = OrderedDelivery(
            self._retry,
            KafkaIdentifier(),
            Consequences(
                invoke=self._invoke_records,
                checkpoint=lambda records: _commit(consumer, records),
                discard=self._discard,
                retry=self._wait_to_retry,
            ),
        )
        waiting: collections.deque[StreamRecord] = collections.deque()
        try:
            while not self._stop_requested.is_set():
                batch = self._gather(consumer, waiting)
                if batch is None or not delivery.deliver(batch):
                    return
        finally:
            consumer.close()

    def _gather(self, consumer: Consumer, waiting: collections.deque[StreamRecord]) -> list[StreamRecord] | None:
        """The next batch; None if a stop was requested meanwhile. `waiting` holds what was read but did not fit."""
        batch = OpenBatch[StreamRecord](self._batch)
        while not self._stop_requested.is_set():
            while waiting and batch.fits(waiting[0]):
                batch.add(waiting.popleft())
            if waiting or batch.is_due:
                return batch.records
            timeout_s = min(_POLL_S, batch.remaining_window_s) if batch.records else _POLL_S
            messages = consumer.consume(batch.room if batch.records else 1, timeout_s)
            records = [_record(message) for message in messages if _is_record(message)]
            self._count(received=len(records))
            waiting.extend(records)
        return None

    def _payload(self, records: Sequence[StreamRecord]) -> bytes:
        return kafka_payload(
            ((record.partition, record.json) for record in records),
            bootstrap_servers=self._source.bootstrap_servers,
            cluster_arn=self._source.cluster_arn,
        )

    def _invoke_records(self, records: Sequence[StreamRecord]) -> InvocationResult:
        return self._invoke_counted(self._payload(records))

    def _discard(self, discard: Discard) -> None:
        if self._on_failure is not None:
            payload = self._payload(discard.records)
            document = kafka_document(
                discard,
                bootstrap_servers=self._source.bootstrap_servers,
                cluster_arn=self._source.cluster_arn,
                payload=payload,
            )
            self._on_failure.send(document, payload)
        self._count(on_failure=len(discard.records))

    def _wait_to_retry(self, records: int, attempt: int) -> bool:
        self._count(retries=records)
        return self._back_off(attempt, self._retry.first_delay_s)


def _is_record(message: Message) -> bool:
    """False for a passing error; a lasting one is raised."""
    error = message.error()
    if error is None:
        return True
    if error.fatal() or not (error.retriable() or error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART):
        raise KafkaException(error)
    return False


def _record(message: Message) -> StreamRecord:
    kind, timestamp_ms = message.timestamp()
    topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
    headers: Any = message.headers() or []
    return StreamRecord(
        partition=f"{topic}-{partition}",
        position=offset,
        sequence=str(offset),
        json=kafka_record(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp_ms=timestamp_ms,
            timestamp_type="LOG_APPEND_TIME" if kind == TIMESTAMP_LOG_APPEND_TIME else "CREATE_TIME",
            key=_bytes(message.key()),
            value=_bytes(message.value()),
            headers=[(name, _bytes(content)) for name, content in headers],
        ),
        arrived_at=timestamp_ms / 1000,
    )


def _bytes(content: str | bytes | None) -> bytes | None:
    return content.encode() if isinstance(content, str) else content


def _commit(consumer: Consumer, records: Sequence[StreamRecord]) -> None:
    offsets = []
    for record in records:
        topic, _, partition = record.partition.rpartition("-")
        offsets.append(TopicPartition(topic, int(partition), record.position + 1))
    consumer.commit(offsets=offsets, asynchronous=False)


def _partitions(consumer: Consumer, topic: str) -> list[TopicPartition]:
    found = consumer.list_topics(topic, timeout=_BROKER_TIMEOUT_S).topics[topic]
    return [TopicPartition(topic, number) for number in sorted(found.partitions)]
