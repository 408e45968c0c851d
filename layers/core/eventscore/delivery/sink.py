"""What the service asks of a sink: take these messages, and say which you did not take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message for a sink: a JSON text, and attributes for whoever routes or traces it."""

    body: str
    attributes: Mapping[str, str]


class Sink(Protocol):
    """A place that takes messages. It never raises for what may pass: a throttle, a time-out, a queue that is gone."""

    def deliver(self, messages: Sequence[Message]) -> Mapping[int, str]:
        """Deliver; the answer maps the position of each message that was not taken to the reason."""
        ...
