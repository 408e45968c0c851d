"""Records and payloads have the shape that Lambda gives them."""

import json
from datetime import UTC, datetime

import pytest

from eventscore_local.errors import MappingMisconfigured
from eventscore_local.event_source_mappings.batching import BatchLimits, OpenBatch
from eventscore_local.event_source_mappings.invocation_events import (
    kafka_payload,
    kafka_record,
    kinesis_record,
    records_payload,
    sqs_record,
)
from eventscore_local.event_source_mappings.stream_record import StreamRecord

QUEUE_ARN = "arn:aws:sqs:eu-west-1:123456789012:events"
STREAM_ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/events"


def a_kafka_record(key: bytes | None = b"k", value: bytes | None = b"v", **changes: object) -> bytes:
    fields: dict[str, object] = {"topic": "t", "partition": 0, "offset": 15, "timestamp_ms": 1545084650987, **changes}
    headers = [("trace", b"ab"), ("none", None)]
    return kafka_record(timestamp_type="CREATE_TIME", key=key, value=value, headers=headers, **fields)  # type: ignore[arg-type]


def test_an_sqs_record_has_body_digest_attributes_and_source() -> None:
    message = {
        "MessageId": "id",
        "ReceiptHandle": "handle",
        "Body": "héllo",
        "MD5OfBody": "digest",
        "Attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1523232000000"},
        "MessageAttributes": {
            "kind": {"DataType": "String", "StringValue": "x"},
            "raw": {"DataType": "Binary", "BinaryValue": b"\x00"},
        },
        "MD5OfMessageAttributes": "other",
    }
    record = json.loads(records_payload([sqs_record(message, QUEUE_ARN)]))["Records"][0]
    assert record == {
        "messageId": "id",
        "receiptHandle": "handle",
        "body": "héllo",
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1523232000000"},
        "messageAttributes": {
            "kind": {"stringValue": "x", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
            "raw": {"binaryValue": "AA==", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"},
        },
        "md5OfBody": "digest",
        "md5OfMessageAttributes": "other",
        "eventSource": "aws:sqs",
        "eventSourceARN": QUEUE_ARN,
        "awsRegion": "eu-west-1",
    }


def test_a_kinesis_record_has_base64_data_and_its_shard_in_the_event_id() -> None:
    record = {
        "SequenceNumber": "0049",
        "ApproximateArrivalTimestamp": datetime(2015, 4, 9, 12, 0, tzinfo=UTC),
        "Data": b"\xff\x00",
        "PartitionKey": "p",
    }
    document = json.loads(kinesis_record(record, "shardId-000000000006", STREAM_ARN))
    assert document["eventID"] == "shardId-000000000006:0049"
    assert document["eventSource"] == "aws:kinesis"
    assert document["kinesis"] == {
        "kinesisSchemaVersion": "1.0",
        "partitionKey": "p",
        "sequenceNumber": "0049",
        "data": "/wA=",
        "approximateArrivalTimestamp": 1428580800.0,
    }


def test_a_kafka_payload_groups_records_by_partition() -> None:
    pairs = [("t-0", a_kafka_record()), ("t-1", a_kafka_record(partition=1)), ("t-0", a_kafka_record(offset=16))]
    document = json.loads(kafka_payload(pairs, bootstrap_servers="b:9092"))
    assert {name: [one["offset"] for one in group] for name, group in document["records"].items()} == {
        "t-0": [15, 16],
        "t-1": [15],
    }
    assert document["eventSource"] == "aws:SelfManagedKafka"
    assert "eventSourceArn" not in document
    assert document["bootstrapServers"] == "b:9092"


def test_msk_is_told_from_a_self_managed_cluster() -> None:
    document = json.loads(kafka_payload([("t-0", a_kafka_record())], bootstrap_servers="b", cluster_arn="arn:msk"))
    assert (document["eventSource"], document["eventSourceArn"]) == ("aws:kafka", "arn:msk")


def test_kafka_headers_are_byte_lists_a_missing_key_is_absent_and_a_tombstone_null() -> None:
    record = json.loads(a_kafka_record(key=None, value=None))
    assert record["headers"] == [{"trace": [97, 98]}, {"none": []}]
    assert "key" not in record
    assert record["value"] is None
    assert json.loads(a_kafka_record())["value"] == "dg=="


def stream_record(size_bytes: int) -> StreamRecord:
    return StreamRecord("t-0", 0, "0", b"x" * size_bytes, 0.0)


def test_a_batch_closes_at_its_size() -> None:
    batch = OpenBatch[StreamRecord](BatchLimits(2, 60))
    for _ in range(2):
        assert batch.fits(stream_record(1))
        assert not batch.is_due
        batch.add(stream_record(1))
    assert batch.is_due
    assert not batch.fits(stream_record(1))


def test_a_batch_closes_when_its_window_is_over_which_begins_with_its_first_record() -> None:
    now = [100.0]
    batch = OpenBatch[StreamRecord](BatchLimits(10, 5), clock=lambda: now[0])
    now[0] = 200.0
    assert not batch.is_due
    batch.add(stream_record(1))
    now[0] = 204.0
    assert not batch.is_due
    now[0] = 205.0
    assert batch.is_due


def test_a_batch_stays_below_six_megabytes_and_a_giant_goes_alone() -> None:
    batch = OpenBatch[StreamRecord](BatchLimits(100, 60))
    for _ in range(5):
        batch.add(stream_record(1_200_000))
    assert not batch.fits(stream_record(1_200_000))
    assert OpenBatch[StreamRecord](BatchLimits()).fits(stream_record(7_000_000))


@pytest.mark.parametrize(("size", "window_s"), [(0, 0), (10_001, 0), (1, -1), (1, 301)])
def test_limits_that_lambda_would_refuse_are_refused(size: int, window_s: float) -> None:
    with pytest.raises(MappingMisconfigured, match="expected"):
        BatchLimits(size, window_s)
