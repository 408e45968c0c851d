"""What is sent again: an event with the bytes that it had, and the messages of the queue that stand for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from eventscore.delivery.rejection import PART_BYTES


@dataclass(frozen=True)
class Held:
    """A received message, invisible to others for a while. ``system`` and ``attributes`` are as SQS has them."""

    message_id: str
    receipt: str
    body: str
    sent_at: datetime
    system: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """One event. ``origin`` names its record in ``source`` for good; ``at`` is when it failed, ``reason`` why.

    ``group`` is what its order hangs on: a FIFO queue's group, a stream's partition key. ``home`` is the ARN of where it came from.
    """

    source: str
    origin: str
    payload: bytes | None
    at: datetime
    reason: str
    version: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    home: str | None = None

    @property
    def identity(self) -> str:
        """The same for the same record, whichever queue tells of it and however often.

        The bytes count, too: a Kafka topic that was made anew counts its offsets from 0.
        """
        parts = max(1, -(-len(self.payload or b"") // PART_BYTES))
        return identity(self.source, self.origin, parts, None if self.payload is None else self.payload[:PART_BYTES])


def identity(source: str, origin: str, parts: int, first_part: bytes | None) -> str:
    """The identity of a record of which only the first part is known."""
    digest = "none" if first_part is None else hashlib.sha256(first_part).hexdigest()
    text = "\n".join((source, origin, str(parts), digest))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Parcel:
    """What belongs together in the queue: ``held`` are deleted, in this order, once all ``events`` are at rest.

    With a ``problem`` they stay where they are. ``leftover_of`` is the identity of the event of which ``held`` may be the rest.
    """

    events: tuple[Event, ...]
    held: tuple[Held, ...]
    problem: str | None = None
    leftover_of: str | None = None


class Reader(Protocol):
    """Reads parcels from the messages of one kind of queue."""

    def add(self, held: Held) -> Parcel | None:
        """The parcel that is whole with this message, None while parts of it are to come."""
        ...

    def rest(self) -> list[Parcel]:
        """What never became whole."""
        ...
