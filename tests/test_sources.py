"""Event sources: what becomes of an invocation, and how each source is told what to send again."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventscore.errors import InvocationNotRecognised
from eventscore.sources.recognise import is_direct, is_warm_up, recognise


def sqs(*bodies: str, fifo: bool = False) -> dict[str, Any]:
    arn = "arn:aws:sqs:us-east-1:123456789012:events" + (".fifo" if fifo else "")
    return {
        "Records": [
            {"messageId": f"m-{position}", "body": body, "eventSource": "aws:sqs", "eventSourceARN": arn}
            for position, body in enumerate(bodies)
        ]
    }


def kinesis(*payloads: bytes) -> dict[str, Any]:
    return {
        "Records": [
            {
                "eventSource": "aws:kinesis",
                "eventID": f"shardId-000000000006:{100 + position}",
                "kinesis": {"sequenceNumber": str(100 + position), "data": base64.b64encode(payload).decode()},
            }
            for position, payload in enumerate(payloads)
        ]
    }


def kafka(partitions: dict[str, list[bytes | None]], source: str = "aws:kafka") -> dict[str, Any]:
    return {
        "eventSource": source,
        "records": {
            partition: [
                {"offset": 10 + position, "value": None if value is None else base64.b64encode(value).decode()}
                for position, value in enumerate(values)
            ]
            for partition, values in partitions.items()
        },
    }


def failed(invocation: Any, returned: set[int]) -> list[Any]:
    answer = recognise(invocation).response(invocation, returned)
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


def test_sqs_bodies_become_records_that_carry_the_message_id() -> None:
    invocation = sqs("a", "é")
    assert [(record.payload, record.origin) for record in recognise(invocation).records(invocation)] == [
        (b"a", "m-0"),
        ("é".encode(), "m-1"),
    ]


def test_kinesis_data_become_records_that_carry_shard_and_sequence_number() -> None:
    invocation = kinesis(b"a", b"")
    assert [(record.payload, record.origin) for record in recognise(invocation).records(invocation)] == [
        (b"a", "shardId-000000000006:100"),
        (b"", "shardId-000000000006:101"),
    ]


@pytest.mark.parametrize("source", ["aws:kafka", "aws:SelfManagedKafka"])
def test_kafka_values_become_records_that_carry_partition_and_offset(source: str) -> None:
    invocation = kafka({"flights-0": [b"a", None], "flights-1": [b"b"]}, source)
    assert [(record.payload, record.origin) for record in recognise(invocation).records(invocation)] == [
        (b"a", "flights-0@10"),
        (None, "flights-0@11"),
        (b"b", "flights-1@10"),
    ]


def keys(invocation: Any) -> list[Any]:
    return [record.key for record in recognise(invocation).records(invocation)]


def test_a_record_has_the_key_that_its_order_hangs_on() -> None:
    stream = kinesis(b"{}", b"{}")
    stream["Records"][0]["kinesis"]["partitionKey"] = "card-1"
    assert keys(stream) == ["card-1", None]
    fifo = sqs("{}", "{}", fifo=True)
    fifo["Records"][0]["attributes"] = {"MessageGroupId": "card-1"}
    assert keys(fifo) == ["card-1", None]
    topic = kafka({"flights-0": [b"{}", None]})
    topic["records"]["flights-0"][1]["key"] = "Y2FyZC0x"
    assert keys(topic) == [None, "Y2FyZC0x"]
    assert keys(sqs("{}")) == [None]


def test_what_a_schema_registry_says_about_a_record_is_left_alone() -> None:
    invocation = kafka({"t-0": [b'{"order": "o-1"}']})
    [record] = invocation["records"]["t-0"]
    record |= {
        "key": "AA==",
        "headers": [{"trace": [49]}],
        "keySchemaMetadata": {"dataFormat": "AVRO", "schemaId": "7"},
    }
    record["valueSchemaMetadata"] = {"dataFormat": "PROTOBUF", "schemaId": "1f3a-9"}
    [read] = recognise(invocation).records(invocation)
    assert (read.payload, read.origin) == (b'{"order": "o-1"}', "t-0@10")


@pytest.mark.parametrize(
    ("invocation", "lanes"),
    [
        (sqs("a", "b"), None),
        (sqs("a", "b", fifo=True), ["fifo", "fifo"]),
        (kinesis(b"a", b"b"), ["shard", "shard"]),
        (kafka({"t-0": [b"a", None], "t-1": [b"b"]}), ["t-0", "t-0", "t-1"]),
        ({"Records": []}, None),
    ],
)
def test_a_source_says_which_records_come_back_together(invocation: Any, lanes: list[str] | None) -> None:
    assert recognise(invocation).lanes(invocation) == lanes


def test_what_is_no_base64_stays_as_it_came() -> None:
    invocation = kinesis(b"a")
    invocation["Records"][0]["kinesis"]["data"] = "no base64!"
    assert recognise(invocation).records(invocation)[0].payload == b"no base64!"


def test_a_lone_surrogate_in_a_body_costs_no_other_record() -> None:
    invocation = sqs("\ud800", "b")
    assert [record.payload for record in recognise(invocation).records(invocation)] == [b"\xed\xa0\x80", b"b"]


@pytest.mark.parametrize("invocation", [sqs("a", "b", "c"), kinesis(b"a", b"b"), kafka({"t-0": [b"a"]})])
def test_a_batch_that_is_done_answers_without_failures(invocation: Any) -> None:
    assert failed(invocation, set()) == []


def test_sqs_names_each_returned_message_and_no_other() -> None:
    assert failed(sqs("a", "b", "c", "d"), {1, 3}) == ["m-1", "m-3"]


def test_a_fifo_queue_gets_back_all_that_follow_the_first() -> None:
    assert failed(sqs("a", "b", "c", fifo=True), {1}) == ["m-1", "m-2"]


@given(st.integers(1, 20), st.data())
def test_kinesis_names_the_lowest_returned_record_alone(count: int, data: st.DataObject) -> None:
    returned = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    assert failed(kinesis(*[b"x"] * count), returned) == [str(100 + min(returned))]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.data())
def test_kafka_names_the_lowest_returned_offset_of_each_partition(sizes: list[int], data: st.DataObject) -> None:
    invocation = kafka({f"t-{number}": [b"x"] * size for number, size in enumerate(sizes)})
    places = [(f"t-{number}", 10 + offset) for number, size in enumerate(sizes) for offset in range(size)]
    returned = data.draw(st.sets(st.integers(0, len(places) - 1)))
    lowest: dict[str, int] = {}
    for position in sorted(returned):
        lowest.setdefault(*places[position])
    expected = [{"partition": partition, "offset": offset} for partition, offset in lowest.items()]
    assert sorted(failed(invocation, returned), key=str) == sorted(expected, key=str)


def test_a_list_is_a_direct_invocation_and_the_schedulers_event_a_warm_up() -> None:
    assert is_direct([])
    assert is_direct([{"order": 1}])
    assert is_warm_up({"eventscore": "warm-up"})
    for other in ({}, sqs("a"), None, "warm-up"):
        assert not is_direct(other)
        assert not is_warm_up(other)


def test_an_empty_batch_is_done() -> None:
    assert failed({"Records": []}, set()) == []


def test_the_error_about_an_unknown_invocation_holds_nothing_of_it() -> None:
    for secret in ({"4111-1111": 1}, {"Records": [{"eventSource": "4111-1111"}]}):
        with pytest.raises(InvocationNotRecognised) as refused:
            recognise(secret)
        assert "4111" not in str(refused.value)


@pytest.mark.parametrize(
    ("invocation", "got"),
    [
        (None, "got nothing"),
        ("text", "got a value of type str"),
        ({}, "another object"),
        ({"order": "o-1"}, r"another object \(to score one event directly, send a list of one\)"),
        ({"Records": [{"eventSource": "aws:s3"}]}, "records of eventSource aws:s3"),
        ({"Records": [{"eventSource": "card 4111"}]}, "records of an unknown eventSource"),
        ({"Records": [7]}, "another object"),
        ({"eventSource": "aws:kafka"}, "another object"),
    ],
)
def test_what_no_source_sends_is_refused_by_what_it_is(invocation: object, got: str) -> None:
    with pytest.raises(InvocationNotRecognised, match=got):
        recognise(invocation)
