"""What is scored in the throughput benchmark: a contract of 20 numbers and 6 categories of 500 values, events, SQS invocations."""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

MODEL = "throughput"
NUMBERS = tuple(f"number_{position:02}" for position in range(20))
CATEGORIES = tuple(f"category_{position}" for position in range(6))
VALUES = 500
"""Distinct values of each category."""
WITH_GAPS = (*NUMBERS[16:], *CATEGORIES[4:])
"""Features that may be missing: four numbers (filled, and flagged to the network) and two categories (a row of their own)."""
GAP_SHARE = 0.03
LOW, HIGH = -1000.0, 1000.0
DECISIONS = (("accept", 0.0), ("review", 0.5), ("decline", 0.9))

Invocation = Mapping[str, Any]


def contract_toml() -> str:
    """The contract: bounds on every number, a longest length on every category, three decision bands."""
    lines = ["format = 1", "[model]", f'name = "{MODEL}"', 'task = "binary"']
    lines += ["[event]", 'id = "event_id"', 'time = "occurred_at"', "max_bytes = 8192"]
    for name in NUMBERS:
        lines += [f"[features.{name}]", 'type = "number"', f"min = {LOW}", f"max = {HIGH}"]
        lines += ['missing = "median"'] if name in WITH_GAPS else []
    for name in CATEGORIES:
        lines += [f"[features.{name}]", 'type = "category"', "max_length = 32"]
        lines += ['missing = "own"'] if name in WITH_GAPS else []
    lines += ["[label]", 'field = "label"']
    for decision, start in DECISIONS:
        lines += ["[[decisions]]", f'name = "{decision}"', f"from = {start}"]
    return "\n".join(lines) + "\n"


def vocabulary(category: str) -> tuple[str, ...]:
    """The values of a category."""
    return tuple(f"{category[-1]}-value-{number:03}" for number in range(VALUES))


def make_events(count: int, seed: int, utc: str = "Z") -> list[dict[str, Any]]:
    """``count`` events that keep the contract: 28 fields each, less the gaps; the same for the same seed.

    ``utc`` ends their times: ``Z`` as most languages write it, or ``+00:00`` as Python does.
    """
    chance = random.Random(seed)  # noqa: S311 - made-up data
    began = datetime(2026, 11, 21, 10, 15, tzinfo=UTC)
    values = {name: vocabulary(name) for name in CATEGORIES}
    events = []
    for number in range(count):
        event: dict[str, Any] = {
            "event_id": str(uuid.UUID(int=chance.getrandbits(128))),
            "occurred_at": f"{began + timedelta(seconds=number):%Y-%m-%dT%H:%M:%S}{utc}",
        }
        event |= {name: round(min(max(chance.gauss(0, 100), LOW), HIGH), 2) for name in NUMBERS}
        event |= {name: chance.choice(values[name]) for name in CATEGORIES}
        for name in WITH_GAPS:
            if chance.random() < GAP_SHARE:
                del event[name]
        events.append(event)
    return events


def sqs_invocation(events: Sequence[Mapping[str, Any]]) -> Invocation:
    """What Lambda hands to the handler for a batch of SQS messages: already parsed, as its runtime does."""
    return {"Records": [_message(position, json.dumps(event)) for position, event in enumerate(events)]}


def _message(position: int, body: str) -> dict[str, Any]:
    return {
        "messageId": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{position}{body}")),
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a" * 5,
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1763720100000",
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": "1763720100010",
        },
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:events",
        "awsRegion": "us-east-1",
    }
