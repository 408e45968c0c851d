"""What the service asks of a sink: take these messages, and say which you did not take."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol

import msgspec

from eventscore.time_left import NO_LIMIT, TimeLeft

Lanes = Sequence[Hashable]
"""The lane of each message: its shard or partition, where the source comes back to all that lies behind the first failure."""


class Answered(Protocol):
    """What a sink may ask about the answer that a message holds."""

    @property
    def event_id(self) -> str | int:
        """The event's id."""
        ...

    @property
    def decision(self) -> str | None:
        """The decision, None where the contract has none."""
        ...

    @property
    def model(self) -> str:
        """The model that answered."""
        ...

    @property
    def version(self) -> str:
        """The version that answered."""
        ...


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message for a sink: a JSON text, attributes for whoever traces it, and the answer in it (None: a rejection)."""

    body: str
    attributes: Mapping[str, str]
    answer: Answered | None = None

    @property
    def key(self) -> str:
        """What partitions and groups messages: the event's id, or the record's where there is no answer."""
        return self.attributes.get("origin", "none") if self.answer is None else str(self.answer.event_id)


class AnswerMessage(msgspec.Struct, frozen=True, gc=False):
    """The message of an answer: what a `Message` is, with its attributes made only where a sink asks for them."""

    body: str
    answer: Answered
    source: str
    origin: str

    @property
    def attributes(self) -> Mapping[str, str]:
        """For whoever traces it: the source, and its id of the record."""
        return {"source": self.source, "origin": self.origin}

    @property
    def key(self) -> str:
        """What partitions and groups messages: the event's id."""
        return str(self.answer.event_id)


AnyMessage = Message | AnswerMessage


class NotTaken(msgspec.Struct, frozen=True):
    """Why a sink did not take a message. ``permanent``: it never will, since the message is larger than anything that it takes."""

    reason: str
    permanent: bool = False


class Sink(Protocol):
    """A place that takes messages. It never raises for what may pass: a throttle, a time-out, a queue that is gone."""

    def deliver(
        self, messages: Sequence[AnyMessage], time_left: TimeLeft = NO_LIMIT, lanes: Lanes | None = None
    ) -> Mapping[int, NotTaken]:
        """Deliver within the time left; the answer maps the position of each message that was not taken to the reason.

        With ``lanes``, messages go out in order: once one was not taken, what lies behind it in its lane is held back where it has not
        gone out already, because its source will come back to all of it.
        """
        ...


HELD_BACK = NotTaken("held back: a record before it, in its shard or partition, was not delivered")
