"""A Kafka cluster on this machine: librdkafka's mock brokers, inside this process, spoken to over TCP on 127.0.0.1."""

import time
from types import TracebackType
from typing import Self

from confluent_kafka import Producer

from eventscore_local.errors import EmulatorFailed

PARTITIONS = 4
"""Partitions of every topic: the mock brokers know no other number."""

_BROKERS = 3
_TIMEOUT_S = 10.0


class KafkaCluster:
    """A context manager: three brokers, without topics on entering, gone on leaving.

    Any client can connect while this process lives; consumers need `session.timeout.ms` of 6000 or more.
    """

    def __init__(self) -> None:
        self._owner: Producer | None = None
        self.bootstrap_servers = ""

    def create_topic(self, name: str) -> None:
        """Make a topic of `PARTITIONS` partitions; returns when its partitions have leaders."""
        client = Producer({"bootstrap.servers": self.bootstrap_servers, "log_level": 2})
        deadline = time.monotonic() + _TIMEOUT_S
        while time.monotonic() < deadline:
            topic = client.list_topics(name, timeout=_TIMEOUT_S).topics[name]
            if topic.error is None and len(topic.partitions) == PARTITIONS:
                return
            time.sleep(0.02)
        raise EmulatorFailed(f"topic {name} did not get its {PARTITIONS} partitions within {_TIMEOUT_S:g} s")

    def __enter__(self) -> Self:
        self._owner = Producer({"test.mock.num.brokers": _BROKERS, "log_level": 2})
        brokers = self._owner.list_topics(timeout=_TIMEOUT_S).brokers.values()
        self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._owner = None  # the brokers live as long as the client that made them
