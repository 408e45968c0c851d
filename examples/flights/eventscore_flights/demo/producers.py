"""The producers: each sends its messages over one protocol and writes down the id that the source gave to each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from eventscore_flights.demo.plan import Planned, batches
from eventscore_flights.demo.stack import STREAM, TOPIC, DemoStack

Sent = Callable[[str, Planned], None]
"""Told of each message that its source has taken: the source's own id of it, and the message."""

_ATTEMPTS = 5


Pace = Callable[[], None]
"""Returns when the producer may send the next batch: a feed is paced by life, and the emulator's queues slow down with depth."""


class NotSent(Exception):
    """A source did not take a message, however often it was tried."""


def send_sqs(stack: DemoStack, messages: Sequence[Planned], sent: Sent, pace: Pace) -> None:
    """SendMessageBatch, ten at a time. The id is the message id."""
    for batch in batches(list(messages), 10):
        pace()
        waiting = dict(enumerate(batch))
        for _ in range(_ATTEMPTS):
            entries = [
                {"Id": str(number), "MessageBody": (message.body or b"").decode()}
                for number, message in waiting.items()
            ]
            answer = stack.sqs.send_message_batch(QueueUrl=stack.events_url, Entries=entries)
            for item in answer.get("Successful", ()):
                sent(item["MessageId"], waiting.pop(int(item["Id"])))
            if not waiting:
                break
        else:
            raise NotSent(f"SQS did not take {len(waiting)} messages: {answer.get('Failed')}")


def send_kinesis(stack: DemoStack, messages: Sequence[Planned], sent: Sent, pace: Pace) -> None:
    """PutRecords, 250 at a time, by aircraft. The id is ``<shard>:<sequence number>``."""
    for batch in batches(list(messages), 250):
        pace()
        waiting = list(batch)
        for _ in range(_ATTEMPTS):
            records = [{"Data": message.body or b"", "PartitionKey": message.key} for message in waiting]
            answer = stack.kinesis.put_records(StreamName=STREAM, Records=records)
            again = []
            for item, message in zip(answer["Records"], waiting, strict=True):
                if "SequenceNumber" in item:
                    sent(f"{item['ShardId']}:{item['SequenceNumber']}", message)
                else:
                    again.append(message)
            waiting = again
            if not waiting:
                break
        else:
            raise NotSent(f"Kinesis did not take {len(waiting)} records")


def send_kafka(bootstrap_servers: str, messages: Sequence[Planned], sent: Sent, pace: Pace) -> None:
    """Produce by aircraft, acknowledged by all replicas. The id is ``<topic>-<partition>@<offset>``."""
    failures: list[KafkaError] = []

    def taken(message: Planned) -> Callable[[KafkaError | None, Message], None]:
        def on_delivery(error: KafkaError | None, delivered: Message) -> None:
            if error is not None:
                failures.append(error)
            else:
                sent(f"{delivered.topic()}-{delivered.partition()}@{delivered.offset()}", message)

        return on_delivery

    settings: dict[str, Any] = {"bootstrap.servers": bootstrap_servers, "acks": "all", "linger.ms": 5, "log_level": 3}
    producer = Producer(settings)
    for batch in batches(list(messages), 500):
        pace()
        for message in batch:
            producer.produce(TOPIC, message.body, message.key.encode(), on_delivery=taken(message))
        producer.flush(30)
    if producer.flush(30) or failures:
        raise NotSent(f"Kafka did not take {len(failures) or 'all'} messages: {failures[:1]}")
