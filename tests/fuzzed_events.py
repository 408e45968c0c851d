"""What must hold for any bytes that come as an event; the fuzz target and the test that replays its corpus call it.

The event stands between two good ones: they must get the scores that they get alone, and it must end as an answer or as a rejection that
holds all its bytes. Whether it had to be an answer is judged by Python's JSON parser and the contract's JSON Schema.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

import small_model
from eventscore.artifact import Artifact
from eventscore.delivery.rejection import rejection_messages
from eventscore.errors import ContractViolation
from eventscore.json_schema import producer_schema
from eventscore.records import Record
from eventscore.scoring import Answer, score_messages
from eventscore.sources.recognise import recognise
from eventscore.violations import REASONS

NOW = datetime(2026, 11, 21, tzinfo=UTC)
GOOD = small_model.message(), small_model.message(order=2, amount=990, channel="shop", country=None)
_SCHEMA = Draft202012Validator(producer_schema(small_model.contract()), format_checker=FormatChecker(["date-time"]))


class EventCheck:
    """Checks one input after the other against ``artifact``, the small model."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._alone = [score_messages(artifact, [good], NOW)[0] for good in GOOD]

    def check(self, data: bytes) -> None:
        """Raises AssertionError if ``data``, as a payload or as a source wraps it, does anything but what it may."""
        outcome = self._between_good_ones(data)
        self._agrees_with_another_parser(data, outcome)
        if data:
            self._arrives_whole(data)

    def _between_good_ones(self, data: bytes) -> Answer | ContractViolation:
        before, outcome, after = score_messages(self._artifact, [GOOD[0], data, GOOD[1]], NOW)
        assert [before, after] == self._alone
        if isinstance(outcome, Answer):
            assert 0 <= outcome.score <= 1
            return outcome
        assert outcome.reason in REASONS
        messages = rejection_messages(
            Record(data, "m"), outcome, model="small", version="v1", source="sqs", rejected_at="now"
        )
        parts = [json.loads(message.body)["payload"] for message in messages]
        assert b"".join(map(base64.b64decode, parts)) == data
        return outcome

    @staticmethod
    def _agrees_with_another_parser(data: bytes, outcome: Answer | ContractViolation) -> None:
        if isinstance(outcome, Answer):
            event = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_refused)
            assert event["order"] == outcome.event_id
            # RFC 3339 lets a space and small letters stand for T and Z (section 5.6); the decoder does, the schema's checker does not.
            event["at"] = event["at"][:10].upper() + "T" + event["at"][11:].upper()
            _SCHEMA.validate(event)

    @staticmethod
    def _arrives_whole(data: bytes) -> None:
        """As Kinesis and Kafka wrap it, and unwrapped as if it were base64, which it mostly is not."""
        wrapped = base64.b64encode(data).decode()
        raw = data.decode("utf-8", "surrogateescape")
        for text in (wrapped, raw):
            invocation: Any = {"Records": [{"eventSource": "aws:kinesis", "eventID": "s:1", "kinesis": {"data": text}}]}
            [record] = recognise(invocation).records(invocation)
            assert record.payload is not None
            assert text is raw or record.payload == data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), "a duplicate key was let through"
    return dict(pairs)


def _refused(constant: str) -> float:
    raise AssertionError(f"{constant} was let through")
