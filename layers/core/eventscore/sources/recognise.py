"""Tells the invocations apart: a batch of a source, a list of events, a warm-up, or something that nobody sends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from eventscore.errors import InvocationNotRecognised
from eventscore.sources.kafka import KafkaSource
from eventscore.sources.kinesis import KinesisSource
from eventscore.sources.source import Source
from eventscore.sources.sqs import SqsSource

WARM_UP = "warm-up"
HOLD_MS = "hold_ms"
# What Lambda's runtime parses is a dict, which is told at once; asking the abstract class takes ten times as long.
_MAPPING = (dict, Mapping)
_SERVICE = re.compile(r"aws:[A-Za-z0-9-]{1,32}")
_OF_KAFKA = ("aws:kafka", "aws:SelfManagedKafka")
_SQS, _KINESIS, _KAFKA = SqsSource(), KinesisSource(), KafkaSource()


def is_direct(invocation: object) -> bool:
    """Whether the function is called with a list of events, for their scores."""
    return isinstance(invocation, list)


def is_warm_up(invocation: object) -> bool:
    """Whether somebody calls to keep the environment warm: ``{"eventscore": "warm-up"}``, perhaps with ``hold_ms``."""
    return isinstance(invocation, _MAPPING) and invocation.get("eventscore") == WARM_UP


def recognise(invocation: object) -> Source:
    """The source that sent a batch.

    Raises:
        InvocationNotRecognised: no source sends such a thing.

    """
    if isinstance(invocation, _MAPPING):
        records = invocation.get("Records")
        if isinstance(records, list) and not records:
            return _SQS  # no source sends an empty batch; the answer to one is the same for all
        if isinstance(records, list) and isinstance(records[0], _MAPPING):
            kind = records[0].get("eventSource")
            if kind == "aws:sqs":
                return _SQS
            if kind == "aws:kinesis":
                return _KINESIS
            known = isinstance(kind, str) and _SERVICE.fullmatch(kind)
            raise InvocationNotRecognised(f"records of {f'eventSource {kind}' if known else 'an unknown eventSource'}")
        if invocation.get("eventSource") in _OF_KAFKA and isinstance(invocation.get("records"), _MAPPING):
            return _KAFKA
        # Its keys are not named: it may be an event.
        raise InvocationNotRecognised("another object (to score one event directly, send a list of one)")
    raise InvocationNotRecognised(_described(invocation))


def _described(invocation: Any) -> str:
    return "nothing" if invocation is None else f"a value of type {type(invocation).__name__}"
