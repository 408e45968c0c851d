"""The message of the reject queue: the event's original bytes, why it was rejected, by which version, and where it came from.

A record may be larger, in base64, than SQS takes in one message. Nothing is cut off: such a record is rejected in parts
(``part`` of ``parts``), which joined in order are its bytes again.
"""

from __future__ import annotations

import base64

import msgspec

from eventscore.delivery.sink import Message
from eventscore.errors import ContractViolation
from eventscore.records import Record

PART_BYTES = 720_000
"""Bytes of payload in one part: 960,000 characters in base64, which leaves room for the rest within 1 MiB."""
_FIELD_LENGTH, _DETAIL_LENGTH, _KEY_LENGTH = 128, 512, 1_024


class Rejection(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of the reject queue. ``payload`` is base64, None for a tombstone.

    ``key`` is the record's (`eventscore.records`), with which its event can be sent again to where it was: None where it has none or
    one of more than 1,024 characters, and in rejections of before November 2026.
    """

    reason: str
    detail: str
    field: str | None
    model: str
    version: str
    source: str
    origin: str
    rejected_at: str
    part: int
    parts: int
    payload: str | None
    key: str | None = None


def rejection_messages(
    record: Record, violation: ContractViolation, *, model: str, version: str, source: str, rejected_at: str
) -> list[Message]:
    """The messages that together hold the rejected record."""
    payload = record.payload
    chunks: list[bytes | None] = [None]
    if payload is not None:
        chunks = [payload[start : start + PART_BYTES] for start in range(0, len(payload), PART_BYTES)] or [b""]
    return [
        Message(
            body=msgspec.json.encode(
                Rejection(
                    reason=violation.reason,
                    # Names of fields come from the event and may be of any length.
                    detail=_text(violation.detail, _DETAIL_LENGTH),
                    field=None if violation.field is None else _text(violation.field, _FIELD_LENGTH),
                    model=model,
                    version=version,
                    source=source,
                    origin=record.origin,
                    rejected_at=rejected_at,
                    part=part,
                    parts=len(chunks),
                    payload=None if chunk is None else base64.b64encode(chunk).decode(),
                    key=_key(record.key),
                )
            ).decode(),
            attributes={"reason": violation.reason, "source": source, "origin": record.origin},
        )
        for part, chunk in enumerate(chunks, start=1)
    ]


def _key(key: object) -> str | None:
    """Whole or not at all: a key that is cut is another one. With a schema registry a Kafka key may be no text."""
    return _text(key, _KEY_LENGTH) if isinstance(key, str) and len(key) <= _KEY_LENGTH else None


def _text(text: str, length: int) -> str:
    """At most ``length`` characters that every encoder takes: a rejection must not fail for what it reports."""
    return text[:length].encode("utf-8", "replace").decode()
