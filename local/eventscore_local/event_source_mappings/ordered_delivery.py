"""Bring one batch of ordered records to its end: retries, bisection, discards, checkpoints (Kinesis and Kafka).

In each partition records end in order: a checkpoint never passes a record that has neither been processed nor
discarded. What AWS leaves open is decided here so: retries are counted per partition from its lowest failed record, and
begin anew when that one has passed. With bisection a batch is split at its lowest failed record, or in two if nothing
passed; splitting counts as no retry, so that only a record that failed alone is discarded. Without it, exhausted
retries discard the failed record and all behind it in the batch.
"""

import collections
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from eventscore_local.errors import MappingMisconfigured
from eventscore_local.event_source_mappings.on_failure import Condition, Discard
from eventscore_local.event_source_mappings.partial_batch import (
    KafkaIdentifier,
    KinesisIdentifier,
    records_to_retry,
)
from eventscore_local.event_source_mappings.stream_record import StreamRecord
from eventscore_local.invocation import FunctionError, InvocationResult

FOREVER = -1


@dataclass(frozen=True)
class RetryPolicy:
    """What CreateEventSourceMapping takes, with its defaults: retry for ever, at any age, without bisection.

    `first_delay_s` before the first retry, then twice as long each time; AWS does not tell its own.
    """

    maximum_retry_attempts: int = FOREVER
    maximum_record_age_s: int = FOREVER
    bisect_batch_on_function_error: bool = False
    report_batch_item_failures: bool = True
    first_delay_s: float = 0.1

    def __post_init__(self) -> None:
        if not FOREVER <= self.maximum_retry_attempts <= 10_000:
            raise MappingMisconfigured(f"expected -1 to 10000 retry attempts, got {self.maximum_retry_attempts}")
        if not FOREVER <= self.maximum_record_age_s <= 604_800:
            raise MappingMisconfigured(f"expected a record age of -1 to 604800 s, got {self.maximum_record_age_s}")


@dataclass(frozen=True)
class Consequences:
    """What the source does about a delivery.

    `invoke` the function with records; `checkpoint` gets, for one or more partitions, the last record that has ended;
    `discard` reports given-up records, before their checkpoint; `retry` is told how many records go again and waits
    before attempt number n (False: stop now).
    """

    invoke: Callable[[Sequence[StreamRecord]], InvocationResult]
    checkpoint: Callable[[Sequence[StreamRecord]], None]
    discard: Callable[[Discard], None]
    retry: Callable[[int, int], bool]


@dataclass
class _Head:
    """The first record of a partition that has not ended, how often it was invoked with, how often retried."""

    position: int
    invocations: int = 0
    retries: int = 0


@dataclass
class OrderedDelivery:
    """Delivers batches one after the other, by a policy."""

    policy: RetryPolicy
    identifier: KinesisIdentifier | KafkaIdentifier
    consequences: Consequences
    clock: Callable[[], float] = time.time
    _heads: dict[str, _Head] = field(default_factory=dict)

    def deliver(self, batch: Sequence[StreamRecord]) -> bool:
        """True when each record was processed or discarded; False if it was stopped before."""
        self._heads = {}
        failures_in_a_row = 0
        work = collections.deque([list(batch)])
        while work:
            records = self._discard_expired(work.popleft())
            if not records:
                continue
            self._count_invocation(records)
            result = self.consequences.invoke(records)
            failed = self._failed(records, result)
            self._checkpoint_passed(records, failed)
            failures_in_a_row = failures_in_a_row + 1 if len(failed) == len(records) else 0
            if failed:
                again = self._again(records, failed, result.error)
                work.extendleft(reversed(again))
                left = sum(len(part) for part in again)
                if left and not self.consequences.retry(left, max(1, failures_in_a_row)):
                    return False
        return True

    def _failed(self, records: list[StreamRecord], result: InvocationResult) -> list[StreamRecord]:
        if result.error is not None:
            return records
        if not self.policy.report_batch_item_failures:
            return []
        return records_to_retry(records, result.payload, self.identifier)

    def _again(
        self, records: list[StreamRecord], failed: list[StreamRecord], error: FunctionError | None
    ) -> list[list[StreamRecord]]:
        """The batches to try next, in order."""
        if self.policy.bisect_batch_on_function_error and len(records) > 1:
            # The batch shrinks with each step, so this ends with batches of one, which alone use up their retries.
            if len(failed) < len(records):
                return [failed]
            middle = len(failed) // 2
            return [failed[:middle], failed[middle:]]
        kept: list[StreamRecord] = []
        for partition, group in _by_partition(failed).items():
            head = self._head(partition, group[0])
            head.retries += 1
            if FOREVER != self.policy.maximum_retry_attempts < head.retries:
                self._discard(Discard(group, Condition.RETRIES_EXHAUSTED, head.invocations, error))
            else:
                kept += group
        return [kept] if kept else []

    def _discard_expired(self, records: list[StreamRecord]) -> list[StreamRecord]:
        if self.policy.maximum_record_age_s == FOREVER:
            return records
        oldest = self.clock() - self.policy.maximum_record_age_s
        kept: list[StreamRecord] = []
        for partition, group in _by_partition(records).items():
            expired = list(itertools.takewhile(lambda record: record.arrived_at < oldest, group))
            if expired:
                head = self._head(partition, expired[0])
                self._discard(Discard(expired, Condition.TOO_OLD, head.invocations, None))
            kept += group[len(expired) :]
        return kept

    def _discard(self, discard: Discard) -> None:
        self.consequences.discard(discard)
        self.consequences.checkpoint([discard.records[-1]])

    def _checkpoint_passed(self, records: list[StreamRecord], failed: list[StreamRecord]) -> None:
        first_failed = {partition: group[0].position for partition, group in _by_partition(failed).items()}
        passed: dict[str, StreamRecord] = {}
        for record in records:
            if record.partition not in first_failed or record.position < first_failed[record.partition]:
                passed[record.partition] = record
        if passed:
            self.consequences.checkpoint(list(passed.values()))

    def _count_invocation(self, records: list[StreamRecord]) -> None:
        for partition, group in _by_partition(records).items():
            self._head(partition, group[0]).invocations += 1

    def _head(self, partition: str, first: StreamRecord) -> _Head:
        head = self._heads.get(partition)
        if head is None or head.position != first.position:
            # The lowest failed record was part of the invocation that has just ended, even if it was not its first.
            head = self._heads[partition] = _Head(first.position, invocations=0 if head is None else 1)
        return head


def _by_partition(records: Iterable[StreamRecord]) -> dict[str, list[StreamRecord]]:
    groups: dict[str, list[StreamRecord]] = {}
    for record in records:
        groups.setdefault(record.partition, []).append(record)
    return groups
