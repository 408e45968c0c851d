"""Write the invocations of this folder from the flights in direct.json: `python events/generate.py`.

Kinesis and Kafka carry events in base64, which nobody can edit by hand: change direct.json or a poison message below, and
run this. tests/test_sample_events.py compares the files with what this writes, and every message with the contract.
"""

import base64
import hashlib
import json
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
REGION, ACCOUNT = "us-east-1", "123456789012"
BROKERS = "b-2.demo-cluster-1.a1bcde.c1.kafka.us-east-1.amazonaws.com:9092,b-1.demo-cluster-1.a1bcde.c1.kafka.us-east-1.amazonaws.com:9092"
MSK_CLUSTER = f"arn:aws:kafka:{REGION}:{ACCOUNT}:cluster/demo-cluster-1/abcd1234-abcd-cafe-abab-9876543210ab-4"
TOPIC = "events"

Json = dict[str, Any]


def flights() -> list[Json]:
    """The good events: real flights of November and December 2013."""
    events: list[Json] = json.loads((FOLDER / "direct.json").read_text(encoding="utf-8"))
    return events


def message(event: Json) -> bytes:
    """An event as a producer sends it."""
    return json.dumps(event, separators=(",", ":")).encode()


def poison() -> dict[str, bytes]:
    """Broken messages by the reason for which they are rejected; SQS can carry all of these, its bodies being text."""
    event = flights()[1]
    text = message(event)
    return {
        "not_json": text[:120],
        "not_an_object": b'["' + event["flight_id"].encode() + b'"]',
        "wrong_type": message(event | {"distance": f"{event['distance']} miles"}),
        "missing_field": message({name: value for name, value in event.items() if name != "origin"}),
        "out_of_bounds": message(event | {"departure_minute": 1440}),
        "unknown_value": message(event | {"origin": "BOS"}),
        "not_finite": message(event | {"temperature": float("nan")}),
        "duplicate_key": text[:-1] + b',"distance":1.0}',
        "too_large": message(event | {"remarks": "x" * 9000}),
        "wrong_encoding": "\ufeff".encode() + text,
    }


def poison_bytes() -> dict[str, bytes]:
    """Broken messages for sources that carry bytes: the same, and an encoding that text cannot have."""
    return poison() | {"wrong_encoding": message(flights()[1]).replace(b'"A319-131"', b'"A319 n\xb0 131"')}


def amid_good(broken: list[Any]) -> list[Any]:
    """Broken messages with good ones before, between and after them."""
    first, *_, last = [message(event) for event in flights()]
    middle = len(broken) // 2
    return [first, *broken[:middle], message(flights()[2]), *broken[middle:], last]


def sent_ms(position: int) -> int:
    """When the message was sent, in Unix milliseconds: an hour before the first flight, a moment apart."""
    departure = datetime.fromisoformat(flights()[0]["scheduled_departure"])
    return int((departure - timedelta(hours=1)).timestamp() * 1000) + 7 * position


def sqs(bodies: list[bytes]) -> Json:
    """What the event source mapping of a standard queue sends."""
    return {
        "Records": [
            {
                "messageId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"sqs:{position}")),
                "receiptHandle": base64.b64encode(f"receipt handle {position}".encode()).decode(),
                "body": body.decode(),
                "attributes": {
                    "ApproximateReceiveCount": "1",
                    "SentTimestamp": str(sent_ms(position)),
                    "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                    "ApproximateFirstReceiveTimestamp": str(sent_ms(position) + 3),
                },
                "messageAttributes": {},
                "md5OfBody": hashlib.md5(body, usedforsecurity=False).hexdigest(),
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:events",
                "awsRegion": REGION,
            }
            for position, body in enumerate(bodies)
        ]
    }


def kinesis(payloads: list[bytes]) -> Json:
    """What the event source mapping of a stream sends: records of one shard."""
    shard = "shardId-000000000006"

    def record(position: int, data: bytes) -> Json:
        sequence_number = str(49590338271490256608559692538361571095921575989136588898 + 2**20 * position)
        return {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": f"aircraft-{position}",
                "sequenceNumber": sequence_number,
                "data": base64.b64encode(data).decode(),
                "approximateArrivalTimestamp": sent_ms(position) / 1000,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"{shard}:{sequence_number}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": f"arn:aws:iam::{ACCOUNT}:role/eventscore-ScoreRole",
            "awsRegion": REGION,
            "eventSourceARN": f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/events",
        }

    return {"Records": [record(position, data) for position, data in enumerate(payloads)]}


def kafka(values: list[bytes | None], origin: Json) -> Json:
    """What the event source mapping of a topic sends: records by partition, here two; the last one has no key."""
    records: dict[str, list[Json]] = {}
    for position, value in enumerate(values):
        partition = position % 2
        record: Json = {
            "topic": TOPIC,
            "partition": partition,
            "offset": 15 + position // 2,
            "timestamp": sent_ms(position),
            "timestampType": "CREATE_TIME",
        }
        if position < len(values) - 1:
            record["key"] = base64.b64encode(f"aircraft-{position}".encode()).decode()
        record["value"] = None if value is None else base64.b64encode(value).decode()
        record["headers"] = [{"producer": list(b"departures")}]
        records.setdefault(f"{TOPIC}-{partition}", []).append(record)
    return {**origin, "bootstrapServers": BROKERS, "records": records}


def invocations() -> Iterator[tuple[str, Json]]:
    """The name of each file but direct.json, and what it holds."""
    good = [message(event) for event in flights()]
    msk = {"eventSource": "aws:kafka", "eventSourceArn": MSK_CLUSTER}
    yield "sqs.json", sqs(good)
    yield "kinesis.json", kinesis(good)
    yield "msk.json", kafka([*good], msk)
    yield "self-managed-kafka.json", kafka([*good], {"eventSource": "aws:SelfManagedKafka"})
    yield "warm-up.json", {"eventscore": "warm-up"}
    yield "poison-sqs.json", sqs(amid_good(list(poison().values())))
    utf_16 = good[1].decode().encode("utf-16-le")
    yield "poison-kinesis.json", kinesis(amid_good([*poison_bytes().values(), utf_16, b""]))
    yield "poison-kafka.json", kafka(amid_good([*poison_bytes().values(), None]), msk)


def main() -> None:
    """Write every file."""
    for name, invocation in invocations():
        (FOLDER / name).write_text(json.dumps(invocation, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
