"""The Kinesis event source mapping, against moto's Kinesis."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from eventscore_local.event_source_mappings.batching import BatchLimits
from eventscore_local.event_source_mappings.kinesis import KinesisMapping
from eventscore_local.event_source_mappings.on_failure import SqsDestination
from eventscore_local.event_source_mappings.ordered_delivery import RetryPolicy
from local_fakes import Document, FakeFunction, report

TIMEOUT_S = 15.0


@pytest.fixture
def kinesis() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("kinesis")


@pytest.fixture
def stream(kinesis: Any) -> str:
    kinesis.create_stream(StreamName="events", ShardCount=2)
    return str(kinesis.describe_stream_summary(StreamName="events")["StreamDescriptionSummary"]["StreamARN"])


def put(kinesis: Any, stream: str, *data: str) -> None:
    for one in data:
        kinesis.put_record(StreamARN=stream, Data=one.encode(), PartitionKey=one)


def data_of(record: Document) -> str:
    return base64.b64decode(record["kinesis"]["data"]).decode()


def fail_data(*failing: str) -> FakeFunction:
    return FakeFunction(
        lambda document: report(
            *(one["kinesis"]["sequenceNumber"] for one in document["Records"] if data_of(one) in failing)
        )
    )


def delivered(function: FakeFunction) -> list[str]:
    return [data_of(record) for document in function.invocations for record in document["Records"]]


def test_all_records_of_all_shards_arrive_once_and_in_order(kinesis: Any, stream: str) -> None:
    put(kinesis, stream, *(str(n) for n in range(60)))
    function = FakeFunction()
    with KinesisMapping(function, kinesis, stream, batch=BatchLimits(10)) as mapping:
        assert mapping.wait_until_idle(TIMEOUT_S)
    assert sorted(int(one) for one in delivered(function)) == list(range(60))
    shards: dict[str, list[int]] = {}
    for document in function.invocations:
        names = {record["eventID"].partition(":")[0] for record in document["Records"]}
        assert len(names) == 1, "a batch is of one shard"
        shards.setdefault(names.pop(), []).extend(int(data_of(record)) for record in document["Records"])
    assert len(shards) == 2
    assert all(numbers == sorted(numbers) for numbers in shards.values())
    assert mapping.stats.received == 60
    assert mapping.stats.retries == 0


def test_a_record_that_fails_for_ever_goes_to_the_destination_and_the_shard_moves_on(kinesis: Any, stream: str) -> None:
    put(kinesis, stream, *(str(n) for n in range(20)))
    sqs = boto3.client("sqs")
    failures = sqs.create_queue(QueueName="failures")["QueueUrl"]
    policy = RetryPolicy(2, bisect_batch_on_function_error=True, first_delay_s=0.001)
    function = fail_data("7")
    with KinesisMapping(function, kinesis, stream, retry=policy, on_failure=SqsDestination(sqs, failures)) as mapping:
        assert mapping.wait_until_idle(TIMEOUT_S)
    assert set(delivered(function)) == {str(n) for n in range(20)}
    assert mapping.stats.on_failure == 1
    (message,) = sqs.receive_message(QueueUrl=failures)["Messages"]
    document = json.loads(message["Body"])
    assert document["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert document["KinesisBatchInfo"]["batchSize"] == 1
    assert document["KinesisBatchInfo"]["streamArn"] == stream
    sequence = document["KinesisBatchInfo"]["startSequenceNumber"]
    (found,) = {
        data_of(record)
        for invocation in function.invocations
        for record in invocation["Records"]
        if record["kinesis"]["sequenceNumber"] == sequence
    }
    assert found == "7"


def test_a_mapping_that_starts_again_goes_on_at_its_checkpoint(kinesis: Any, stream: str) -> None:
    put(kinesis, stream, "a", "b")
    function = FakeFunction()
    mapping = KinesisMapping(function, kinesis, stream)
    with mapping:
        assert mapping.wait_until_idle(TIMEOUT_S)
    put(kinesis, stream, "c")
    with mapping:
        assert mapping.wait_until_idle(TIMEOUT_S)
    assert sorted(delivered(function)) == ["a", "b", "c"]


def test_a_mapping_that_is_stopped_while_it_retries_delivers_the_rest_when_it_starts_again(
    kinesis: Any, stream: str
) -> None:
    put(kinesis, stream, "a", "b")
    first = fail_data("a", "b")
    mapping = KinesisMapping(first, kinesis, stream, retry=RetryPolicy(first_delay_s=0.001))
    mapping.start()
    while mapping.stats.retries < 4:
        assert not mapping.wait_until_idle(0)
    mapping.stop()
    assert mapping.checkpoints == {}
    second = FakeFunction()
    with KinesisMapping(second, kinesis, stream) as again:
        assert again.wait_until_idle(TIMEOUT_S)
    assert sorted(delivered(second)) == ["a", "b"]
