"""A queue written to without botocore: a plain answer counts, and whatever else comes is botocore's business."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from eventscore.delivery.plain_sqs import PlainSqsClient
from eventscore.delivery.sink import Message
from eventscore.delivery.sqs import SqsSink
from eventscore.plain_access import PlainAccess, origin_of
from eventscore.signature_v4 import Credentials
from fake_services import Waits
from test_plain_store import Server, found, refused

QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/scores"
MESSAGES = [Message('{"score":0.5}', {"source": "sqs", "origin": "m-0"}), Message('{"name":"é"}', {"origin": "m-1"})]


class Whole:
    """botocore's client: takes everything and remembers it."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def send_message_batch(self, **request: Any) -> Any:
        self.requests.append(request)
        return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]]}


@pytest.fixture
def whole() -> Whole:
    return Whole()


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.close()


def sink(servers: list[Server], whole: Whole, *answers: bytes) -> tuple[SqsSink, PlainSqsClient]:
    servers.append(Server(*answers))
    endpoint = origin_of(f"http://127.0.0.1:{servers[-1].port}")
    access = PlainAccess("eu-west-1", endpoint, lambda: Credentials("key", "secret", "token"))
    client = PlainSqsClient(access, whole, connect_timeout_s=5, read_timeout_s=5)
    return SqsSink(QUEUE, client), client  # type: ignore[arg-type]  # has what a sink calls


def answer(**document: Any) -> bytes:
    return found(json.dumps(document).encode())


def test_a_batch_is_one_signed_post_in_the_queues_protocol(servers: list[Server], whole: Whole) -> None:
    to, client = sink(servers, whole, answer(Successful=[{"Id": "0", "MessageId": "x"}, {"Id": "1"}], Failed=[]))
    assert to.deliver(MESSAGES) == {}
    assert to.deliver(MESSAGES) == {}
    client._pool.close()
    (server,) = servers
    assert (server.connections, whole.requests) == (1, [])
    head = server.requests[0].lower()
    assert head.startswith("post / http/1.1\r\n")
    assert "\r\nx-amz-target: amazonsqs.sendmessagebatch\r\n" in head
    assert "\r\nx-amz-security-token: token\r\n" in head
    assert json.loads(server.bodies[0]) == {
        "QueueUrl": QUEUE,
        "Entries": [
            {
                "Id": str(place),
                "MessageBody": message.body,
                "MessageAttributes": {
                    name: {"DataType": "String", "StringValue": of} for name, of in message.attributes.items()
                },
            }
            for place, message in enumerate(MESSAGES)
        ],
    }


def test_a_message_that_the_queue_did_not_take_is_named_and_one_that_it_forgot_too(
    servers: list[Server], whole: Whole
) -> None:
    failed = [{"Id": "1", "Code": "InternalError", "Message": "no", "SenderFault": False}]
    to, client = sink(servers, whole, answer(Failed=failed))
    assert {place: failure.reason for place, failure in to.deliver(MESSAGES).items()} == {
        1: "InternalError: no",
        0: "the sink's answer does not mention the message",
    }
    client._pool.close()
    assert whole.requests == []


@pytest.mark.parametrize(
    "came",
    [
        refused(400, "RequestThrottled"),
        refused(403, "AccessDenied"),
        refused(500, "InternalError"),
        found(b"no json"),
        found(b"[]"),
        found(b'{"Successful": [{}]}'),
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n",
    ],
)
def test_whatever_is_not_plain_is_sent_by_botocore(servers: list[Server], whole: Whole, came: bytes) -> None:
    to, client = sink(servers, whole, came)
    assert to.deliver(MESSAGES) == {}
    client._pool.close()
    (request,) = whole.requests
    assert request["QueueUrl"] == QUEUE
    assert [entry["MessageBody"] for entry in request["Entries"]] == [message.body for message in MESSAGES]


def test_a_batch_that_may_have_arrived_is_not_sent_again_at_once_by_botocore(
    servers: list[Server], whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = sink(servers, whole, b"")
    sent: list[str] = []

    def silent(method: str, *_: object) -> None:
        sent.append(method)
        raise TimeoutError

    monkeypatch.setattr(client._pool, "request", silent)
    waits = Waits()
    not_taken = SqsSink(QUEUE, client, waits.backoff).deliver(MESSAGES)  # type: ignore[arg-type]  # has what a sink calls
    assert {place: failure.reason for place, failure in not_taken.items()} == {0: "TimeoutError", 1: "TimeoutError"}
    assert whole.requests == []
    assert sent == ["POST", "POST"], "the sink's own second try, after a wait, and no other"
    assert len(waits.waited) == 1
