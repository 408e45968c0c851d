"""The SQS sink: ten a call, within the limits, each entry answered for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

from eventscore.delivery.backoff import Backoff
from eventscore.delivery.sink import Message, NotTaken
from eventscore.delivery.sqs import MAX_BYTES, SqsSink

ONCE = Backoff(tries=0)
AT_ONCE = Backoff(sleep=lambda _: None)


@pytest.fixture
def client() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("sqs")


def received(client: Any, queue_url: str) -> dict[str, Any]:
    """All messages of a queue, body by origin."""
    found: dict[str, Any] = {}
    while True:
        answer = client.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
        if not answer.get("Messages"):
            return found
        for message in answer["Messages"]:
            found[message["MessageAttributes"]["origin"]["StringValue"]] = message["Body"]


def test_all_messages_arrive_with_their_attributes(client: Any) -> None:
    queue_url = client.create_queue(QueueName="scores")["QueueUrl"]
    messages = [Message(json.dumps({"n": n}), {"origin": f"m-{n}"}) for n in range(37)]
    assert SqsSink(queue_url, client).deliver(messages) == {}
    assert received(client, queue_url) == {f"m-{n}": json.dumps({"n": n}) for n in range(37)}


def test_a_queue_that_is_gone_fails_each_message_and_raises_nothing(client: Any) -> None:
    messages = [Message("{}", {"origin": str(n)}) for n in range(12)]
    failures = SqsSink("https://sqs.us-east-1.amazonaws.com/123456789012/gone", client).deliver(messages)
    assert sorted(failures) == list(range(12))
    assert "NonExistentQueue" in failures[0].reason or "does not exist" in failures[0].reason
    assert not failures[0].permanent


def test_only_the_entries_that_the_queue_refused_fail() -> None:
    client = boto3.client("sqs")
    with Stubber(client) as stub:
        stub.add_response(
            "send_message_batch",
            {
                "Successful": [{"Id": "0", "MessageId": "x", "MD5OfMessageBody": "y"}],
                "Failed": [{"Id": "1", "Code": "InvalidMessageContents", "SenderFault": True, "Message": "no"}],
            },
        )
        failures = SqsSink("url", client, ONCE).deliver([Message("{}", {}), Message("{}", {}), Message("{}", {})])
    assert failures == {
        1: NotTaken("InvalidMessageContents: no"),
        2: NotTaken("the sink's answer does not mention the message"),
    }


class _Recorder:
    """Takes every entry and remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self.batches.append(Entries)
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}


def _bytes(entry: dict[str, Any]) -> int:
    attributes = entry["MessageAttributes"]
    return len(entry["MessageBody"].encode()) + sum(
        len(name) + len(value["DataType"]) + len(value["StringValue"].encode()) for name, value in attributes.items()
    )


@settings(deadline=None)
@given(st.lists(st.integers(0, MAX_BYTES - 200), max_size=30))
def test_no_batch_goes_over_the_limits_of_sqs_and_nothing_is_left_out(sizes: list[int]) -> None:
    recorder: Any = _Recorder()
    messages = [Message("é" * (size // 2), {"origin": str(position)}) for position, size in enumerate(sizes)]
    assert SqsSink("url", recorder).deliver(messages) == {}
    assert all(len(batch) <= 10 and sum(map(_bytes, batch)) <= MAX_BYTES for batch in recorder.batches)
    assert sorted(int(entry["Id"]) for batch in recorder.batches for entry in batch) == list(range(len(sizes)))


@given(st.text())
def test_characters_that_sqs_refuses_are_written_as_escapes_that_mean_the_same(text: str) -> None:
    recorder: Any = _Recorder()
    body = json.dumps({"id": text.encode("utf-8", "replace").decode()}, ensure_ascii=False)
    SqsSink("url", recorder).deliver([Message(body, {})])
    sent = recorder.batches[0][0]["MessageBody"]
    assert json.loads(sent) == json.loads(body)
    assert not set(sent) & {"\ufffe", "\uffff", "\x00", "\x0b"}


def test_once_the_queue_does_not_answer_the_rest_is_not_tried() -> None:
    class Stalled(_Recorder):
        def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
            super().send_message_batch(QueueUrl=QueueUrl, Entries=Entries)
            raise ReadTimeoutError(endpoint_url=QueueUrl)

    stalled: Any = Stalled()
    failures = SqsSink("url", stalled, AT_ONCE).deliver([Message("{}", {}) for _ in range(1000)])
    assert len(failures) == 1000
    # Those that were under way when the first one failed, at most two a thread; and the same in the one round that follows.
    assert len(stalled.batches) <= 16
    assert NotTaken("not sent: the sink does not answer") in failures.values()


def test_whatever_a_client_raises_the_messages_are_answered_for() -> None:
    class Broken(_Recorder):
        def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
            raise ConnectionResetError("4111-1111")

    broken: Any = Broken()
    assert SqsSink("url", broken, AT_ONCE).deliver([Message("{}", {})]) == {0: NotTaken("ConnectionResetError")}
