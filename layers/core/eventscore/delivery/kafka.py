"""A Kafka topic as a sink, for functions that carry confluent-kafka in a layer of its own.

The producer is idempotent and waits for all in-sync replicas. It tries again by itself; what is not acknowledged in time is purged and
counts as not taken.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from eventscore.delivery.addresses import SINK
from eventscore.delivery.sink import HELD_BACK, AnyMessage, Lanes, NotTaken
from eventscore.errors import SettingsInvalid
from eventscore.time_left import NO_LIMIT, TimeLeft

if TYPE_CHECKING:
    from confluent_kafka import Producer

MAX_BYTES = 1_000_000
"""What brokers take by default (message.max.bytes), the protocol's own bytes included."""
TIMEOUT_S = 10.0
"""How long the producer tries; less where the invocation has less."""
_WAVE = 500
_PURGE_S = 0.2


def open_producer(options: Mapping[str, str], secret: str | None) -> Producer:
    """The producer that an address's options describe: brokers, protocol, mechanism; ``secret`` is JSON with username and password.

    Raises:
        SettingsInvalid: confluent-kafka is not there, or librdkafka does not understand the options.

    """
    try:
        from confluent_kafka import KafkaException, Producer
    except ImportError:
        raise SettingsInvalid(
            SINK, "a function with the Kafka layer, which kafka: needs (layers/kafka)", "no module confluent_kafka"
        ) from None
    configuration: dict[str, Any] = {
        "bootstrap.servers": options["brokers"],
        "security.protocol": options.get("protocol", "SASL_SSL" if secret else "SSL"),
        "enable.idempotence": True,
        "acks": "all",
        "message.timeout.ms": int(TIMEOUT_S * 1000),
        "message.max.bytes": MAX_BYTES,
        "linger.ms": 5,
        "compression.type": "lz4",
        "log_level": 3,
    }
    if secret:
        login = json.loads(secret)
        configuration |= {
            "sasl.mechanism": options["mechanism"],
            "sasl.username": login["username"],
            "sasl.password": login["password"],
        }
    try:
        return Producer(configuration)
    except (KafkaException, ValueError) as error:
        raise SettingsInvalid(SINK, "options that librdkafka understands", str(error)) from None


class KafkaSink:
    """Produces messages to ``topic``: the event's id is the key, attributes are headers."""

    def __init__(self, topic: str, producer: Producer, clock: Callable[[], float] = time.monotonic) -> None:
        self._topic = topic
        self._producer = producer
        self._clock = clock

    def deliver(
        self, messages: Sequence[AnyMessage], time_left: TimeLeft = NO_LIMIT, lanes: Lanes | None = None
    ) -> Mapping[int, NotTaken]:
        """Produce and wait for the acknowledgements; the answer maps the position of each message without one to the reason."""
        not_taken: dict[int, NotTaken] = {}
        wave = len(messages) if lanes is None else _WAVE
        blocked: set[object] = set()
        for start in range(0, len(messages), max(wave, 1)):
            going = range(start, min(start + wave, len(messages)))
            if lanes is not None:
                not_taken.update((position, HELD_BACK) for position in going if lanes[position] in blocked)
            failed = self._produce(messages, [place for place in going if place not in not_taken], time_left)
            not_taken |= failed
            if lanes is not None:
                blocked.update(lanes[position] for position, failure in failed.items() if not failure.permanent)
        return not_taken

    def _produce(
        self, messages: Sequence[AnyMessage], places: Sequence[int], time_left: TimeLeft
    ) -> dict[int, NotTaken]:
        from confluent_kafka import KafkaException

        not_taken: dict[int, NotTaken] = {}
        open_places: set[int] = set()
        until = self._clock() + min(TIMEOUT_S, time_left.seconds())
        for place in places:
            message = messages[place]
            body = message.body.encode()
            if len(body) + sum(len(value) for value in message.attributes.values()) + 512 > MAX_BYTES:
                not_taken[place] = NotTaken(f"too large: {len(body)} bytes, kafka takes {MAX_BYTES}", permanent=True)
                continue
            while self._clock() < until:
                try:
                    self._producer.produce(
                        self._topic,
                        body,
                        message.key.encode("utf-8", "surrogatepass"),
                        headers=list(message.attributes.items()),
                        on_delivery=partial(_acknowledged, not_taken, open_places, place),
                    )
                except BufferError:  # the producer's queue is full: wait until it has sent some
                    self._producer.poll(0.05)
                    continue
                except KafkaException as error:
                    not_taken[place] = NotTaken(str(error))
                else:
                    open_places.add(place)
                break
            else:
                not_taken[place] = NotTaken("not sent: no time left, or the brokers do not answer")
        self._producer.flush(max(0.0, until - self._clock()))
        if open_places:
            self._producer.purge()
            self._producer.flush(_PURGE_S)
            not_taken.update((place, NotTaken("not acknowledged in time")) for place in open_places)
        return not_taken


def _acknowledged(not_taken: dict[int, NotTaken], open_places: set[int], place: int, error: Any, _message: Any) -> None:
    open_places.discard(place)
    if error is not None:
        not_taken[place] = NotTaken(str(error))
