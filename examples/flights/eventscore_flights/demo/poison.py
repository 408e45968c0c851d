"""Ways to break an event, each with the reason for which the function must reject it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

Event = Mapping[str, Any]
Breaker = Callable[[Event], bytes | None]


def encode(event: Event) -> bytes:
    """An event as a producer would write it."""
    return json.dumps(event, separators=(",", ":")).encode()


def _truncated(event: Event) -> bytes:
    return encode(event)[:-20]


def _without(field: str) -> Breaker:
    return lambda event: encode({name: value for name, value in event.items() if name != field})


def _with(**changes: Any) -> Breaker:
    return lambda event: encode({**event, **changes})


def _twice(event: Event) -> bytes:
    return encode(event)[:-1] + b',"distance":1}'


def _utf_16(event: Event) -> bytes:
    return encode(event).decode().encode("utf-16-le")


def _byte_order_mark(event: Event) -> bytes:
    return b"\xef\xbb\xbf" + encode(event)


_EVERYWHERE: tuple[tuple[str, Breaker], ...] = (
    ("not_json", _truncated),
    ("wrong_type", _with(distance="far")),
    ("missing_field", _without("carrier")),
    ("out_of_bounds", _with(departure_minute=1440)),
    ("not_finite", _with(distance=float("nan"))),
    ("duplicate_key", _twice),
    ("too_large", _with(note="x" * 9000)),
    ("unknown_value", _with(origin="BOS")),
    ("not_an_object", lambda event: b"[" + encode(event) + b"]"),
)
POISON: Mapping[str, tuple[tuple[str, Breaker], ...]] = {
    # An SQS body is a text of at least one character: it can be in no other encoding, and it cannot be empty.
    "sqs": (*_EVERYWHERE, ("wrong_encoding", _byte_order_mark)),
    "kinesis": (*_EVERYWHERE, ("wrong_encoding", _utf_16), ("tombstone", lambda _: b"")),
    "kafka": (*_EVERYWHERE, ("wrong_encoding", _utf_16), ("tombstone", lambda _: None)),
}
"""For each source the ways that it can carry: the reason, and what makes a good event break for it."""
