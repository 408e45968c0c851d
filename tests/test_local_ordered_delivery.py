"""Retries, bisection, discards and checkpoints of ordered records."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventscore_local.errors import MappingMisconfigured
from eventscore_local.event_source_mappings.on_failure import Condition, Discard, kafka_document, kinesis_document
from eventscore_local.event_source_mappings.ordered_delivery import Consequences, OrderedDelivery, RetryPolicy
from eventscore_local.event_source_mappings.partial_batch import KafkaIdentifier
from eventscore_local.event_source_mappings.stream_record import StreamRecord
from eventscore_local.invocation import Failure, FunctionError, InvocationResult

BOOM = FunctionError(Failure.EXCEPTION, "ValueError", "boom")


def record(position: int, partition: str = "t-0", arrived_at: float = 0.0) -> StreamRecord:
    return StreamRecord(partition, position, str(position), b"{}", arrived_at)


def identity(one: StreamRecord) -> tuple[str, int]:
    return one.partition, one.position


@dataclass
class Function:
    """A fake: `fails_times` says how often each record fails; with `raises` a failing record takes the batch down."""

    fails_times: dict[tuple[str, int], float]
    raises: bool = False
    invocations: list[list[tuple[str, int]]] = field(default_factory=list)

    def __call__(self, records: Sequence[StreamRecord]) -> InvocationResult:
        self.invocations.append([identity(one) for one in records])
        failed = []
        for one in records:
            if self.fails_times.get(identity(one), 0) > 0:
                self.fails_times[identity(one)] -= 1
                failed.append({"itemIdentifier": {"partition": one.partition, "offset": one.position}})
        if failed and self.raises:
            return InvocationResult(b"", BOOM)
        return InvocationResult(json.dumps({"batchItemFailures": failed}).encode())


@dataclass
class Source:
    """A fake: remembers checkpoints (which may only grow), discards and retries."""

    checkpoints: dict[str, int] = field(default_factory=dict)
    discards: list[Discard] = field(default_factory=list)
    retries: list[int] = field(default_factory=list)
    retries_before_stop: int = 10_000

    def checkpoint(self, records: Sequence[StreamRecord]) -> None:
        for one in records:
            assert one.position > self.checkpoints.get(one.partition, -1)
            self.checkpoints[one.partition] = one.position

    def retry(self, records: int, attempt: int) -> bool:
        self.retries.append(records)
        return len(self.retries) < self.retries_before_stop

    @property
    def discarded(self) -> list[tuple[str, int]]:
        return [identity(one) for discard in self.discards for one in discard.records]


def deliver(
    batch: list[StreamRecord], function: Function, policy: RetryPolicy, source: Source | None = None, now: float = 0.0
) -> Source:
    source = source or Source()
    consequences = Consequences(function, source.checkpoint, source.discards.append, source.retry)
    OrderedDelivery(policy, KafkaIdentifier(), consequences, clock=lambda: now).deliver(batch)
    return source


def test_a_batch_without_failures_is_invoked_once_and_passed() -> None:
    function = Function({})
    source = deliver([record(n) for n in range(4)], function, RetryPolicy())
    assert len(function.invocations) == 1
    assert source.checkpoints == {"t-0": 3}


def test_the_checkpoint_stops_at_the_lowest_failed_record_until_it_succeeds() -> None:
    function = Function({("t-0", 2): 2, ("t-0", 3): 1})
    source = deliver([record(n) for n in range(5)], function, RetryPolicy())
    assert [len(one) for one in function.invocations] == [5, 3, 3]
    assert source.checkpoints == {"t-0": 4}
    assert source.retries == [3, 3]


def test_exhausted_retries_discard_the_failed_record_and_all_behind_it_in_its_partition() -> None:
    function = Function({("t-0", 1): 99})
    batch = [record(0), record(0, "t-1"), record(1), record(1, "t-1"), record(2)]
    source = deliver(batch, function, RetryPolicy(maximum_retry_attempts=2))
    assert source.discarded == [("t-0", 1), ("t-0", 2)]
    assert source.checkpoints == {"t-0": 2, "t-1": 1}
    assert [len(one) for one in function.invocations] == [5, 2, 2]
    assert source.discards[0].condition is Condition.RETRIES_EXHAUSTED
    assert source.discards[0].invocations == 3


def test_bisection_isolates_a_record_that_makes_the_function_raise() -> None:
    function = Function({("t-0", 5): 99}, raises=True)
    policy = RetryPolicy(maximum_retry_attempts=1, bisect_batch_on_function_error=True)
    source = deliver([record(n) for n in range(8)], function, policy)
    assert source.discarded == [("t-0", 5)]
    assert source.checkpoints == {"t-0": 7}
    assert source.discards[0].error == BOOM


def test_bisection_isolates_a_record_that_is_reported_again_and_again() -> None:
    policy = RetryPolicy(maximum_retry_attempts=0, bisect_batch_on_function_error=True)
    source = deliver([record(n) for n in range(8)], Function({("t-0", 2): 99}), policy)
    assert source.discarded == [("t-0", 2)]
    assert source.checkpoints == {"t-0": 7}


def test_without_report_batch_item_failures_the_response_is_ignored() -> None:
    function = Function({("t-0", 2): 99})
    source = deliver([record(n) for n in range(3)], function, RetryPolicy(report_batch_item_failures=False))
    assert source.checkpoints == {"t-0": 2}
    assert len(function.invocations) == 1


def test_records_that_are_too_old_are_discarded_before_they_are_invoked_with() -> None:
    function = Function({})
    batch = [record(0, arrived_at=10), record(1, arrived_at=50), record(2, arrived_at=95)]
    source = deliver(batch, function, RetryPolicy(maximum_record_age_s=60), now=100)
    assert source.discarded == [("t-0", 0)]
    assert source.discards[0].condition is Condition.TOO_OLD
    assert function.invocations == [[("t-0", 1), ("t-0", 2)]]


def test_a_stopped_delivery_leaves_the_checkpoint_before_the_failed_record() -> None:
    source = deliver(
        [record(n) for n in range(3)], Function({("t-0", 1): 99}), RetryPolicy(), Source(retries_before_stop=3)
    )
    assert source.checkpoints == {"t-0": 0}
    assert source.discards == []


@settings(max_examples=400, deadline=None)
@given(
    drawn=st.lists(
        st.tuples(st.sampled_from(["t-0", "t-1", "t-2"]), st.sampled_from([0, 0, 0, 1, 2, 99])), max_size=24
    ),
    attempts=st.integers(0, 3),
    bisect=st.booleans(),
    raises=st.booleans(),
)
def test_every_record_ends_once_in_order_whatever_fails(
    drawn: list[tuple[str, int]], attempts: int, bisect: bool, raises: bool
) -> None:
    offsets = {partition: itertools.count() for partition in ("t-0", "t-1", "t-2")}
    batch = [record(next(offsets[partition]), partition) for partition, _ in drawn]
    fails = {identity(one): float(times) for one, (_, times) in zip(batch, drawn, strict=True)}
    function = Function(dict(fails), raises)
    source = deliver(batch, function, RetryPolicy(attempts, bisect_batch_on_function_error=bisect))

    last = {one.partition: one.position for one in batch}
    assert source.checkpoints == last, "each partition ends behind its last record"
    assert len(set(source.discarded)) == len(source.discarded), "no record is discarded twice"
    hopeless = {one for one, times in fails.items() if times == 99}
    assert hopeless <= set(source.discarded)
    if bisect:
        assert set(source.discarded) <= {one for one, times in fails.items() if times > attempts}
    if not any(fails.values()):
        assert source.discarded == []
    seen = set(itertools.chain.from_iterable(function.invocations))
    assert seen == {identity(one) for one in batch}, "no record is discarded unseen"
    for invocation in function.invocations:
        for partition in last:
            positions = [position for name, position in invocation if name == partition]
            assert positions == list(range(positions[0], positions[0] + len(positions))) if positions else True


def test_the_kinesis_document_tells_where_the_discarded_records_are() -> None:
    records = [record(7, "shardId-000000000001", 1573691884.835), record(9, "shardId-000000000001", 1573691885.58)]
    document = kinesis_document(Discard(records, Condition.RETRIES_EXHAUSTED, 3, BOOM), "arn:aws:kinesis:r:1:stream/s")
    assert document["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert document["requestContext"]["approximateInvokeCount"] == 3
    assert document["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    assert document["KinesisBatchInfo"] == {
        "shardId": "shardId-000000000001",
        "startSequenceNumber": "7",
        "endSequenceNumber": "9",
        "approximateArrivalOfFirstRecord": "2019-11-14T00:38:04.835Z",
        "approximateArrivalOfLastRecord": "2019-11-14T00:38:05.580Z",
        "batchSize": 2,
        "streamArn": "arn:aws:kinesis:r:1:stream/s",
    }


def test_the_kafka_document_tells_where_the_discarded_records_are() -> None:
    discard = Discard([record(7, "t-1"), record(8, "t-1")], Condition.RETRIES_EXHAUSTED, 1, None)
    document = kafka_document(discard, bootstrap_servers="b:9092", cluster_arn=None, payload=b"12345")
    assert "functionError" not in document["responseContext"]
    info = document["KafkaBatchInfo"]
    assert (info["batchSize"], info["payloadSize"], info["bootstrapServers"]) == (2, 5, "b:9092")
    assert info["recordsInfo"]["t-1"]["firstRecordOffset"] == "7"
    assert info["recordsInfo"]["t-1"]["lastRecordOffset"] == "8"


@pytest.mark.parametrize("policy", [{"maximum_retry_attempts": -2}, {"maximum_record_age_s": 604_801}])
def test_a_policy_that_lambda_would_refuse_is_refused(policy: dict[str, int]) -> None:
    with pytest.raises(MappingMisconfigured, match="expected"):
        RetryPolicy(**policy)  # type: ignore[arg-type]
