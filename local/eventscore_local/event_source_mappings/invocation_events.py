"""Records and payloads as Lambda hands them to a function, from what the sources' clients return.

Each record becomes JSON once, so that a batch can be measured while it grows and put together without encoding again.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any


def region_of(arn: str) -> str:
    """The region in an ARN: `arn:aws:sqs:us-east-1:...`."""
    return arn.split(":")[3]


def encode(document: object) -> bytes:
    """Compact JSON."""
    return json.dumps(document, separators=(",", ":")).encode()


def sqs_record(message: Mapping[str, Any], queue_arn: str) -> bytes:
    """A message as `receive_message` returns it."""
    attributes = {
        name: _message_attribute(attribute) for name, attribute in message.get("MessageAttributes", {}).items()
    }
    record = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": attributes,
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": region_of(queue_arn),
    }
    if "MD5OfMessageAttributes" in message:
        record["md5OfMessageAttributes"] = message["MD5OfMessageAttributes"]
    return encode(record)


def _message_attribute(attribute: Mapping[str, Any]) -> dict[str, Any]:
    converted: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": attribute["DataType"]}
    if "StringValue" in attribute:
        converted["stringValue"] = attribute["StringValue"]
    if "BinaryValue" in attribute:
        converted["binaryValue"] = base64.b64encode(attribute["BinaryValue"]).decode()
    return converted


def kinesis_record(record: Mapping[str, Any], shard_id: str, stream_arn: str) -> bytes:
    """A record as `get_records` returns it."""
    arrival = record["ApproximateArrivalTimestamp"]
    return encode(
        {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": record["PartitionKey"],
                "sequenceNumber": record["SequenceNumber"],
                "data": base64.b64encode(record["Data"]).decode(),
                "approximateArrivalTimestamp": arrival.timestamp() if isinstance(arrival, datetime) else arrival,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"{shard_id}:{record['SequenceNumber']}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::000000000000:role/local-event-source-mapping",
            "awsRegion": region_of(stream_arn),
            "eventSourceARN": stream_arn,
        }
    )


def kafka_record(
    *,
    topic: str,
    partition: int,
    offset: int,
    timestamp_ms: int,
    timestamp_type: str,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes | None]],
) -> bytes:
    """A Kafka message. A missing key leaves `key` out; a tombstone's value is null; headers are lists of byte ints.

    `timestamp_type` is CREATE_TIME or LOG_APPEND_TIME.
    """
    record: dict[str, Any] = {
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "timestamp": timestamp_ms,
        "timestampType": timestamp_type,
    }
    if key is not None:
        record["key"] = base64.b64encode(key).decode()
    record["value"] = None if value is None else base64.b64encode(value).decode()
    record["headers"] = [{name: list(content or b"")} for name, content in headers]
    return encode(record)


def records_payload(records: Iterable[bytes]) -> bytes:
    """The invocation of SQS and Kinesis: `{"Records": [...]}`."""
    return b'{"Records":[' + b",".join(records) + b"]}"


def kafka_payload(
    records: Iterable[tuple[str, bytes]], *, bootstrap_servers: str, cluster_arn: str | None = None
) -> bytes:
    """The invocation of Kafka, of (`topic-partition`, record) pairs; MSK's with a cluster's ARN, else self-managed."""
    by_partition: dict[str, list[bytes]] = {}
    for partition, record in records:
        by_partition.setdefault(partition, []).append(record)
    head: dict[str, str] = {"eventSource": "aws:kafka" if cluster_arn else "aws:SelfManagedKafka"}
    if cluster_arn:
        head["eventSourceArn"] = cluster_arn
    head["bootstrapServers"] = bootstrap_servers
    lists = b",".join(encode(name) + b":[" + b",".join(group) + b"]" for name, group in by_partition.items())
    return encode(head)[:-1] + b',"records":{' + lists + b"}}"
