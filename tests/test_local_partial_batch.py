"""Partial batch responses: what a response fails, and what it does not."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventscore_local.event_source_mappings.partial_batch import (
    KafkaIdentifier,
    KinesisIdentifier,
    failed_messages,
    records_to_retry,
)

IDS = ["a", "b", "c"]


@dataclass(frozen=True)
class Record:
    partition: str
    position: int


def response(*identifiers: object) -> bytes:
    return json.dumps({"batchItemFailures": [{"itemIdentifier": one} for one in identifiers]}).encode()


@pytest.mark.parametrize(
    "answer",
    [b"", b"null", b"{}", b'{"batchItemFailures": []}', b'{"batchItemFailures": null}', b'{"statusCode": 200}'],
)
def test_an_empty_response_is_a_success(answer: bytes) -> None:
    assert failed_messages(IDS, answer) == set()
    assert records_to_retry([Record("shard", 1)], answer, KinesisIdentifier("shard")) == []


@pytest.mark.parametrize(
    "answer",
    [
        b"no json",
        b'"done"',
        b"[]",
        b'{"batchItemFailures": "a"}',
        b'{"batchItemFailures": ["a"]}',
        b'{"batchItemFailures": [{"itemIdentifier": ""}]}',
        b'{"batchItemFailures": [{"itemIdentifier": null}]}',
        b'{"batchItemFailures": [{"itemIdentifer": "a"}]}',
        b'{"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "unknown"}]}',
        b'{"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": 5}]}',
    ],
)
def test_a_malformed_or_unknown_identifier_fails_the_whole_batch(answer: bytes) -> None:
    batch = [Record("shard", 1), Record("shard", 2)]
    assert failed_messages(IDS, answer) == set(IDS)
    assert records_to_retry(batch, answer, KinesisIdentifier("shard")) == batch
    assert records_to_retry(batch, answer, KafkaIdentifier()) == batch


def test_of_a_queue_only_the_failed_messages_come_back() -> None:
    assert failed_messages(IDS, response("b", "b")) == {"b"}


def test_of_a_shard_everything_from_the_lowest_failed_record_comes_back() -> None:
    batch = [Record("shard", n) for n in (10, 11, 12, 13)]
    assert records_to_retry(batch, response("13", "11"), KinesisIdentifier("shard")) == batch[1:]


def test_of_a_topic_each_partition_comes_back_from_its_own_lowest_failed_record() -> None:
    batch = [Record("t-0", 5), Record("t-1", 7), Record("t-0", 6), Record("t-1", 8), Record("t-2", 0)]
    answer = response({"partition": "t-0", "offset": 6}, {"partition": "t-1", "offset": 7})
    assert records_to_retry(batch, answer, KafkaIdentifier()) == [Record("t-1", 7), Record("t-0", 6), Record("t-1", 8)]


@pytest.mark.parametrize("identifier", ["6", {"partition": "t-0"}, {"partition": "t-0", "offset": "6"}, {"offset": 6}])
def test_of_a_topic_an_identifier_without_partition_and_offset_fails_the_whole_batch(identifier: object) -> None:
    batch = [Record("t-0", 5), Record("t-0", 6)]
    assert records_to_retry(batch, response(identifier), KafkaIdentifier()) == batch


@given(
    st.lists(st.tuples(st.sampled_from(["t-0", "t-1", "t-2"]), st.booleans()), min_size=1, max_size=40),
)
def test_no_failed_record_is_passed_and_no_passed_record_is_retried(drawn: list[tuple[str, bool]]) -> None:
    batch = [Record(partition, n) for n, (partition, _) in enumerate(drawn)]
    failed = [record for record, (_, fails) in zip(batch, drawn, strict=True) if fails]
    answer = response(*({"partition": record.partition, "offset": record.position} for record in failed))
    again = records_to_retry(batch, answer, KafkaIdentifier())
    assert set(failed) <= set(again)
    for record in set(batch) - set(again):
        assert all(record.position < other.position for other in again if other.partition == record.partition)
