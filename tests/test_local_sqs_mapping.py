"""The SQS event source mapping, against moto's SQS."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from eventscore_local.errors import EmulatorFailed, MappingMisconfigured
from eventscore_local.event_source_mappings.batching import BatchLimits
from eventscore_local.event_source_mappings.sqs import SqsMapping
from eventscore_local.invocation import Failure, FunctionError, InvocationResult
from local_fakes import Document, FakeFunction, report

TIMEOUT_S = 15.0


@pytest.fixture
def sqs() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("sqs")


@pytest.fixture
def dead_letters(sqs: Any) -> str:
    return str(sqs.create_queue(QueueName="dead-letters")["QueueUrl"])


@pytest.fixture
def queue(sqs: Any, dead_letters: str) -> str:
    arn = sqs.get_queue_attributes(QueueUrl=dead_letters, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    attributes = {
        "VisibilityTimeout": "0",
        "RedrivePolicy": json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3}),
    }
    return str(sqs.create_queue(QueueName="events", Attributes=attributes)["QueueUrl"])


def bodies(document: Document) -> list[str]:
    return [record["body"] for record in document["Records"]]


def fail_bodies(*failing: str) -> FakeFunction:
    return FakeFunction(
        lambda document: report(*(one["messageId"] for one in document["Records"] if one["body"] in failing))
    )


def received_bodies(sqs: Any, queue_url: str) -> list[str]:
    answer = sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10)
    return sorted(message["Body"] for message in answer.get("Messages", []))


def test_all_messages_arrive_and_are_deleted(sqs: Any, queue: str) -> None:
    for n in range(25):
        sqs.send_message(QueueUrl=queue, MessageBody=str(n))
    function = FakeFunction()
    with SqsMapping(function, sqs, queue, concurrency=1) as mapping:
        assert mapping.wait_until_idle(TIMEOUT_S)
    assert sorted(int(body) for document in function.invocations for body in bodies(document)) == list(range(25))
    assert mapping.stats.received == 25
    assert mapping.stats.invocations == len(function.invocations) >= 3


def test_a_failed_message_comes_back_alone_and_ends_in_the_dead_letter_queue(
    sqs: Any, queue: str, dead_letters: str
) -> None:
    for body in ("good", "bad", "fine"):
        sqs.send_message(QueueUrl=queue, MessageBody=body)
    function = fail_bodies("bad")
    with SqsMapping(function, sqs, queue, concurrency=1) as mapping:
        assert mapping.wait_until_idle(TIMEOUT_S)
    assert received_bodies(sqs, dead_letters) == ["bad"]
    delivered = [body for document in function.invocations for body in bodies(document)]
    assert (delivered.count("good"), delivered.count("fine")) == (1, 1)
    assert delivered.count("bad") == 3
    assert mapping.stats.retries == 3


def test_an_error_fails_the_whole_batch(sqs: Any, queue: str, dead_letters: str) -> None:
    for body in ("a", "b"):
        sqs.send_message(QueueUrl=queue, MessageBody=body)
    function = FakeFunction(lambda _: InvocationResult(b"", FunctionError(Failure.TIMEOUT, "Sandbox.Timedout", "")))
    with SqsMapping(function, sqs, queue, concurrency=1) as mapping:
        assert mapping.wait_until_idle(TIMEOUT_S)
    assert received_bodies(sqs, dead_letters) == ["a", "b"]
    assert mapping.stats.failed == mapping.stats.invocations


def test_an_environment_that_dies_fails_the_batch_and_the_mapping_goes_on(sqs: Any, queue: str) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="a")
    deaths = iter([True])

    def dies_once(payload: bytes) -> InvocationResult:
        if next(deaths, False):
            raise EmulatorFailed("gone")
        return InvocationResult(b"")

    with SqsMapping(dies_once, sqs, queue, concurrency=1) as mapping:
        assert mapping.wait_until_idle(TIMEOUT_S)
    assert (mapping.stats.invocations, mapping.stats.failed) == (2, 1)


def test_a_batching_window_gathers_more_than_one_receive(sqs: Any, queue: str) -> None:
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "30"})
    for n in range(25):
        sqs.send_message(QueueUrl=queue, MessageBody=str(n))
    function = FakeFunction()
    with SqsMapping(function, sqs, queue, batch=BatchLimits(25, 5), concurrency=1) as mapping:
        assert mapping.wait_until_idle(TIMEOUT_S)
    assert [len(document["Records"]) for document in function.invocations] == [25]


def test_messages_that_fill_six_megabytes_are_spread_over_batches(sqs: Any, queue: str) -> None:
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "30"})
    for _ in range(10):
        sqs.send_message(QueueUrl=queue, MessageBody="x" * 1_000_000)
    function = FakeFunction()
    with SqsMapping(function, sqs, queue, batch=BatchLimits(10, 1), concurrency=1) as mapping:
        assert mapping.wait_until_idle(TIMEOUT_S)
    assert sorted(len(document["Records"]) for document in function.invocations) == [4, 6]


def test_a_mapping_that_is_stopped_in_a_window_gives_its_messages_back(sqs: Any, queue: str) -> None:
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "30"})
    sqs.send_message(QueueUrl=queue, MessageBody="a")
    function = FakeFunction()
    mapping = SqsMapping(function, sqs, queue, batch=BatchLimits(10, 60), concurrency=1)
    mapping.start()
    while mapping.stats.received == 0:
        assert not mapping.idle
    mapping.stop()
    assert function.invocations == []
    assert received_bodies(sqs, queue) == ["a"]


def test_a_queue_that_is_gone_ends_the_mapping_with_the_reason(sqs: Any, queue: str) -> None:
    # botocore makes these classes when they are first asked for; two threads that ask at once get one each.
    gone = sqs.exceptions.QueueDoesNotExist
    asked = threading.Event()
    sqs.meta.events.register("before-call.sqs.ReceiveMessage", lambda **_: asked.set())
    mapping = SqsMapping(FakeFunction(), sqs, queue, concurrency=1)
    sqs.delete_queue(QueueUrl=queue)
    mapping.start()
    assert asked.wait(TIMEOUT_S), "a mapping that is stopped before it asks for messages has nothing to tell"
    with pytest.raises(gone):
        mapping.wait_until_idle(TIMEOUT_S)
    with pytest.raises(gone):
        mapping.stop()


def test_settings_that_lambda_would_refuse_are_refused(sqs: Any, queue: str) -> None:
    with pytest.raises(MappingMisconfigured, match="window of 1 s or more"):
        SqsMapping(FakeFunction(), sqs, queue, batch=BatchLimits(11, 0))
    with pytest.raises(MappingMisconfigured, match="concurrency"):
        SqsMapping(FakeFunction(), sqs, queue, concurrency=0)
    with pytest.raises(MappingMisconfigured, match="FIFO"):
        SqsMapping(FakeFunction(), sqs, "http://localhost/queue.fifo")
