"""The far ends: what arrives in the sink and in the reject queue, and what is left at the sources when the run ends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from eventscore_flights.demo.accounts import Accounts
from eventscore_flights.demo.stack import TOPIC, DemoStack
from eventscore_local.kafka_cluster import PARTITIONS

CONSUMER_GROUP = "eventscore-score"
_MARGIN_S = 2.0


class Collectors:
    """A context manager: threads that read the sink and the reject queue into the accounts until the block ends."""

    def __init__(self, stack: DemoStack, accounts: Accounts, sink_readers: int = 2) -> None:
        self._stack = stack
        self._accounts = accounts
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        reads: list[Callable[[], None]] = [lambda: self._read(stack.scores_url, self._scored)] * sink_readers
        reads.append(lambda: self._read(stack.rejects_url, self._rejected))
        self._threads = [threading.Thread(target=self._guarded, args=(read,), daemon=True) for read in reads]

    def __enter__(self) -> Collectors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def check(self) -> None:
        """Raise what a reader could not handle."""
        if self._failure is not None:
            raise self._failure

    def _guarded(self, read: Callable[[], None]) -> None:
        try:
            read()
        except BaseException as error:
            self._failure = error

    def _read(self, queue_url: str, note: Callable[[dict[str, Any], str, str], None]) -> None:
        while True:
            stopping = self._stop.is_set()
            messages = receive(self._stack.sqs, queue_url, wait_s=0 if stopping else 1)
            for message in messages:
                attributes = message["MessageAttributes"]
                source, origin = attributes["source"]["StringValue"], attributes["origin"]["StringValue"]
                note(json.loads(message["Body"]), source, origin)
            if messages:
                entries = [
                    {"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)
                ]
                self._stack.sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)
            if stopping and not messages:
                return

    def _scored(self, body: dict[str, Any], source: str, origin: str) -> None:
        self._accounts.note_scored(source, origin, body)

    def _rejected(self, body: dict[str, Any], source: str, origin: str) -> None:
        if body["part"] == 1:
            self._accounts.note_rejected(source, origin, body["reason"])


def receive(sqs: Any, queue_url: str, *, wait_s: int, visibility_timeout_s: int | None = None) -> list[dict[str, Any]]:
    """Up to ten messages with their attributes."""
    more = {} if visibility_timeout_s is None else {"VisibilityTimeout": visibility_timeout_s}
    answer = sqs.receive_message(
        QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=wait_s, MessageAttributeNames=["All"], **more
    )
    messages: list[dict[str, Any]] = answer.get("Messages", [])
    return messages


def left_at_sqs(stack: DemoStack, visibility_timeout_s: float) -> set[str]:
    """Ids of the messages in the queue itself and in its dead letter queue; those in flight are waited for until they are visible."""
    deadline = time.monotonic() + visibility_timeout_s + _MARGIN_S
    while _in_flight(stack) and time.monotonic() < deadline:
        time.sleep(0.1)
    found: set[str] = set()
    # In this order: receiving from the queue moves messages that came too often to the dead letter queue.
    for queue_url in (stack.events_url, stack.dead_letters_url):
        while messages := receive(stack.sqs, queue_url, wait_s=0, visibility_timeout_s=3600):
            found.update(message["MessageId"] for message in messages)
    return found


def _in_flight(stack: DemoStack) -> bool:
    name = "ApproximateNumberOfMessagesNotVisible"
    answer = stack.sqs.get_queue_attributes(QueueUrl=stack.events_url, AttributeNames=[name])
    return int(answer["Attributes"][name]) > 0


def left_at_kinesis(stack: DemoStack, accounts: Accounts, checkpoints: dict[str, str]) -> set[str]:
    """Ids of the records that the failure queue names, and of those behind a shard's checkpoint."""
    found: set[str] = set()
    sent = [origin for source, origin in accounts.sent if source == "kinesis"]
    ranges: list[tuple[str, int, int]] = []
    while messages := receive(stack.sqs, stack.stream_failures_url, wait_s=0, visibility_timeout_s=3600):
        for message in messages:
            info = json.loads(message["Body"])["KinesisBatchInfo"]
            ranges.append((info["shardId"], int(info["startSequenceNumber"]), int(info["endSequenceNumber"])))
    for origin in sent:
        shard, _, sequence = origin.partition(":")
        number = int(sequence)
        behind = number > int(checkpoints.get(shard, "0"))
        if behind or any(shard == at and first <= number <= last for at, first, last in ranges):
            found.add(origin)
    return found


def left_at_kafka(stack: DemoStack, accounts: Accounts, bootstrap_servers: str) -> set[str]:
    """Ids of the records that the failure queue names, and of those from a partition's committed offset on."""
    ranges: list[tuple[str, int, int]] = []
    while messages := receive(stack.sqs, stack.kafka_failures_url, wait_s=0, visibility_timeout_s=3600):
        for message in messages:
            for partition, info in json.loads(message["Body"])["KafkaBatchInfo"]["recordsInfo"].items():
                ranges.append((partition, int(info["firstRecordOffset"]), int(info["lastRecordOffset"])))
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": CONSUMER_GROUP, "log_level": 3})
    try:
        partitions = [TopicPartition(TOPIC, number) for number in range(PARTITIONS)]
        committed = {f"{TOPIC}-{at.partition}": max(0, at.offset) for at in consumer.committed(partitions, timeout=10)}
    finally:
        consumer.close()
    found: set[str] = set()
    for origin in (origin for source, origin in accounts.sent if source == "kafka"):
        partition, _, text = origin.rpartition("@")
        offset = int(text)
        if offset >= committed[partition] or any(
            partition == at and first <= offset <= last for at, first, last in ranges
        ):
            found.add(origin)
    return found
