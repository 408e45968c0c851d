"""Where discarded records of a stream are reported: the on-failure destination and the documents that it gets.

https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html, .../kafka-on-failure.html
"""

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from confluent_kafka import KafkaException, Producer

from eventscore_local.event_source_mappings.stream_record import StreamRecord
from eventscore_local.invocation import FunctionError

FUNCTION_ARN = "arn:aws:lambda:us-east-1:000000000000:function:score"
_DELIVERY_TIMEOUT_S = 30.0


class Condition(StrEnum):
    """Why records were discarded."""

    RETRIES_EXHAUSTED = "RetryAttemptsExhausted"
    TOO_OLD = "RecordAgeExceeded"


@dataclass(frozen=True)
class Discard:
    """Records of one partition that the mapping gives up, in order; `error` is that of the last invocation, if any."""

    records: Sequence[StreamRecord]
    condition: Condition
    invocations: int
    error: FunctionError | None


class OnFailureDestination(Protocol):
    """Takes the report of a discard. Must have it when `send` returns: the checkpoint moves on after that."""

    def send(self, document: dict[str, Any], payload: bytes) -> None:
        """Deliver `document`; `payload` is the invocation that failed, for destinations that carry it."""


class SqsDestination:
    """A queue gets the document alone, as on AWS: it tells where the records are, not what they hold."""

    def __init__(self, client: Any, queue_url: str) -> None:
        self._client = client
        self._queue_url = queue_url

    def send(self, document: dict[str, Any], payload: bytes) -> None:
        """Send the document as a message."""
        self._client.send_message(QueueUrl=self._queue_url, MessageBody=json.dumps(document))


class KafkaDestination:
    """A `kafka://topic` destination: the document, with the failed invocation in its `payload`."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._topic = topic
        self._producer = Producer(
            {"bootstrap.servers": bootstrap_servers, "message.max.bytes": 16_000_000, "log_level": 2}
        )

    def send(self, document: dict[str, Any], payload: bytes) -> None:
        """Produce the document and wait for the broker to have it. Raises KafkaException."""
        failures: list[object] = []
        self._producer.produce(
            self._topic,
            json.dumps({**document, "payload": payload.decode()}).encode(),
            on_delivery=lambda error, _: failures.append(error) if error is not None else None,
        )
        left = self._producer.flush(_DELIVERY_TIMEOUT_S)
        if failures or left:
            raise KafkaException(failures[0] if failures else f"no answer within {_DELIVERY_TIMEOUT_S:g} s")


def kinesis_document(discard: Discard, stream_arn: str, function_arn: str = FUNCTION_ARN) -> dict[str, Any]:
    """The document of a Kinesis batch."""
    first, last = discard.records[0], discard.records[-1]
    info = {
        "shardId": first.partition,
        "startSequenceNumber": first.sequence,
        "endSequenceNumber": last.sequence,
        "approximateArrivalOfFirstRecord": rfc3339(first.arrived_at),
        "approximateArrivalOfLastRecord": rfc3339(last.arrived_at),
        "batchSize": len(discard.records),
        "streamArn": stream_arn,
    }
    return {**_head(discard, function_arn), "KinesisBatchInfo": info}


def kafka_document(
    discard: Discard,
    *,
    bootstrap_servers: str,
    cluster_arn: str | None,
    payload: bytes,
    function_arn: str = FUNCTION_ARN,
) -> dict[str, Any]:
    """The document of a Kafka batch."""
    first, last = discard.records[0], discard.records[-1]
    info: dict[str, Any] = {
        "batchSize": len(discard.records),
        "bootstrapServers": bootstrap_servers,
        "payloadSize": len(payload),
        "recordsInfo": {
            first.partition: {
                "firstRecordOffset": first.sequence,
                "lastRecordOffset": last.sequence,
                "firstRecordTimestamp": rfc3339(first.arrived_at),
                "lastRecordTimestamp": rfc3339(last.arrived_at),
            }
        },
    }
    if cluster_arn:
        info["eventSourceArn"] = cluster_arn
    return {**_head(discard, function_arn), "KafkaBatchInfo": info}


def rfc3339(unix_s: float) -> str:
    """`2019-11-14T00:38:04.835Z`."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _head(discard: Discard, function_arn: str) -> dict[str, Any]:
    response: dict[str, Any] = {"statusCode": 200, "executedVersion": "$LATEST"}
    if discard.error is not None:
        response["functionError"] = "Unhandled"
    head: dict[str, Any] = {
        "requestContext": {
            "requestId": str(uuid.uuid4()),
            "functionArn": function_arn,
            "condition": discard.condition.value,
            "approximateInvokeCount": discard.invocations,
        },
        "version": "1.0",
        "timestamp": rfc3339(time.time()),
    }
    if discard.invocations:
        head["responseContext"] = response
    return head
