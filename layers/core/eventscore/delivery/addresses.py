"""What EVENTSCORE_SINK says: one address for each sink, and the decisions that go to it.

.. code-block:: text

    sqs:https://sqs.us-east-1.amazonaws.com/123456789012/scores
    sqs:<queue url>; eventbridge:<bus>?decisions=decline,review; firehose:<stream>
    kafka:<topic>?brokers=a:9092,b:9092&protocol=SASL_SSL&mechanism=SCRAM-SHA-512&secret=<arn>
    sns:<topic arn>?decisions=decline; discard:?decisions=accept
"""

from __future__ import annotations

import re

import msgspec

from eventscore.errors import SettingsInvalid

SINK = "EVENTSCORE_SINK"
DISCARD, KAFKA = "discard", "kafka"
_TARGETS = {
    "sqs": ("<queue url>", r"https?://[^\s?]+"),
    "kinesis": ("<stream name or ARN>", r"[A-Za-z0-9._-]{1,128}|arn:[^\s?]+:stream/[^\s?]+"),
    "eventbridge": ("<bus name or ARN>", r"[A-Za-z0-9./_-]{1,256}|arn:[^\s?]+:event-bus/[^\s?]+"),
    "firehose": ("<stream name>", r"[A-Za-z0-9._-]{1,64}"),
    "sns": ("<topic ARN>", r"arn:[^\s?]+:[A-Za-z0-9_-]+(\.fifo)?"),
    KAFKA: ("<topic>?brokers=<host:port>,...", r"[A-Za-z0-9._-]{1,249}"),
    DISCARD: ("", ""),
}
_KAFKA_OPTIONS = ("brokers", "protocol", "mechanism", "secret")
_GRAMMAR = (
    "addresses of sinks with a ; between them, each <scheme>:<target>, optionally ?decisions=<name>,<name>; "
    f"the schemes: {', '.join(f'{scheme}:{target}' for scheme, (target, _) in _TARGETS.items())}"
)


class SinkAddress(msgspec.Struct, frozen=True):
    """One sink: ``scheme`` and ``target``, the decisions that it gets (None: all), and Kafka's options."""

    scheme: str
    target: str
    decisions: frozenset[str] | None
    options: dict[str, str]


def parse_addresses(text: str) -> tuple[SinkAddress, ...]:
    """The addresses in ``text``.

    Raises:
        SettingsInvalid: one of them cannot be understood, or none is there.

    """
    addresses = tuple(_address(part.strip()) for part in text.split(";") if part.strip())
    if not addresses:
        raise SettingsInvalid(SINK, _GRAMMAR, text)
    return addresses


def _address(text: str) -> SinkAddress:
    scheme, _, rest = text.partition(":")
    target, _, query = rest.partition("?")
    if scheme not in _TARGETS:
        raise SettingsInvalid(SINK, _GRAMMAR, text)
    shape, pattern = _TARGETS[scheme]
    if not re.fullmatch(pattern, target):
        raise SettingsInvalid(SINK, f"{scheme}:{shape}", text)
    options: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        known = ("decisions", *(_KAFKA_OPTIONS if scheme == KAFKA else ()))
        if name not in known or not value or name in options:
            raise SettingsInvalid(SINK, f"options of {scheme}: {', '.join(known)}, each once and with a value", text)
        options[name] = value
    named = options.pop("decisions", None)
    if scheme == DISCARD and named is None:
        raise SettingsInvalid(SINK, "discard:?decisions=<name>,... - what is dropped has to be named", text)
    if scheme == KAFKA and "brokers" not in options:
        raise SettingsInvalid(SINK, f"{scheme}:{shape}", text)
    if ("mechanism" in options) != ("secret" in options):
        raise SettingsInvalid(SINK, "mechanism and secret together, to log in to Kafka", text)
    decisions = None if named is None else frozenset(name.strip() for name in named.split(","))
    return SinkAddress(scheme, target, decisions, options)
