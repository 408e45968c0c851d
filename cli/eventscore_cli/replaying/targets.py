"""Where events are sent to again: a queue or a stream. What is not surely one thing or the other counts as unknown.

A client for a target must not try again by itself: a call that timed out may have been taken.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
)

from eventscore.delivery.message_text import utf8_length
from eventscore.delivery.sqs import MAX_BYTES, MAX_ENTRIES
from eventscore_cli.replaying.event import Event

ATTRIBUTE = "eventscore-replay"
"""The attribute that a message sent again has in a queue: the id of the record that it was."""
_MOST_ATTRIBUTES = 10
_NO_TEXT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that SQS refuses."""
_A_GROUP = re.compile("[!-~]{1,128}")
_STREAM_ENTRIES, _STREAM_BYTES = 100, 2**20
_FIFO = ".fifo"
_WAITS = "held back: one before it, of the same group, was not taken"
_NOT_SENT = (EndpointConnectionError, ConnectTimeoutError, NoCredentialsError)


class Fate(Enum):
    """What became of an event that was sent."""

    TAKEN = "taken"
    REFUSED = "refused"
    """Surely not taken."""
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Outcome:
    """What became of one event, and why. ``passes``: a throttle; another try may help."""

    fate: Fate
    why: str = ""
    passes: bool = False


class Target(Protocol):
    """A place that events are sent to."""

    @property
    def name(self) -> str:
        """As a person knows it."""
        ...

    def refusal(self, event: Event) -> str | None:
        """Why the place can never take the event; None if it can."""
        ...

    def send(self, events: Sequence[Event], *, last: bool = True) -> list[Outcome]:
        """Send the events; those of one group go out in their order, and none past one that was not taken. Does not raise.

        Not the ``last`` try: what a throttle refused is tried once more before anything overtakes it.
        """
        ...

    def hold_back(self, event: Event) -> None:
        """Let nothing of the event's group be sent any more: it may or may not have gone out."""
        ...


class SqsTarget:
    """A queue, standard or FIFO. Bodies and attributes are those that the events had, and one attribute more."""

    def __init__(self, client: Any, url: str) -> None:
        self.url = url
        self._client = client
        self._is_fifo = url.endswith(_FIFO)
        self._held_back: set[str | None] = set()

    @property
    def name(self) -> str:
        """The queue's name."""
        return f"queue {self.url.rpartition('/')[2]}"

    def refusal(self, event: Event) -> str | None:
        """A queue takes texts, not any bytes."""
        if event.payload is None:
            return "a tombstone has no content that a queue could take"
        try:
            text = event.payload.decode("utf-8")
        except UnicodeDecodeError:
            return "not UTF-8, and a queue takes text only"
        if not text:
            return "empty, and a queue takes no empty message"
        if _NO_TEXT.search(text):
            return "characters that no queue takes"
        size = _size(self._entry(0, event))
        return f"{size:,} bytes with its attributes, and a queue takes {MAX_BYTES:,}" if size > MAX_BYTES else None

    def send(self, events: Sequence[Event], *, last: bool = True) -> list[Outcome]:
        """Ten a call; of a FIFO group one a call."""
        return _in_waves(events, self._group, self._held_back, self._send, last)

    def hold_back(self, event: Event) -> None:
        """In a FIFO queue nothing overtakes."""
        self._held_back |= {self._group(event)} - {None}

    def _group(self, event: Event) -> str | None:
        if not self._is_fifo:
            return None
        group = event.group or event.identity
        # What a stream takes for a key a queue may refuse for a group; a digest keeps the same together just as well.
        return group if _A_GROUP.fullmatch(group) else hashlib.sha256(group.encode("utf-8", "replace")).hexdigest()

    def _send(self, events: Sequence[Event]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for part in _parts([self._entry(n, event) for n, event in enumerate(events)], _size, MAX_ENTRIES, MAX_BYTES):
            outcomes += self._call(part)
        return outcomes

    def _call(self, entries: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        try:
            answer = self._client.send_message_batch(QueueUrl=self.url, Entries=list(entries))
        except (BotoCoreError, ClientError) as error:
            return [_failed(error)] * len(entries)
        taken = {entry["Id"] for entry in answer.get("Successful", ())}
        failed = {
            entry["Id"]: Outcome(
                Fate.REFUSED, f"{entry['Code']}: {entry.get('Message', '')}", not entry.get("SenderFault")
            )
            for entry in answer.get("Failed", ())
        }
        unknown = Outcome(Fate.UNKNOWN, "the queue's answer does not mention it")
        return [Outcome(Fate.TAKEN) if entry["Id"] in taken else failed.get(entry["Id"], unknown) for entry in entries]

    def _entry(self, number: int, event: Event) -> dict[str, Any]:
        attributes = {
            name: {key: value for key, value in given.items() if key in ("DataType", "StringValue", "BinaryValue")}
            for name, given in event.attributes.items()
        }
        if len(attributes) < _MOST_ATTRIBUTES or ATTRIBUTE in attributes:
            origin = _NO_TEXT.sub("?", f"{event.source} {event.origin}"[:256])
            attributes[ATTRIBUTE] = {"DataType": "String", "StringValue": origin}
        entry: dict[str, Any] = {"Id": str(number), "MessageBody": (event.payload or b"").decode()}
        if attributes:
            entry["MessageAttributes"] = attributes
        if self._is_fifo:
            entry["MessageGroupId"] = self._group(event)
            entry["MessageDeduplicationId"] = event.identity
        return entry


class KinesisTarget:
    """A stream. Records keep the partition key that they had; those of which none is known get their origin as one."""

    def __init__(self, client: Any, stream: str) -> None:
        self._client = client
        self._stream = stream
        self._held_back: set[str | None] = set()

    @property
    def name(self) -> str:
        """The stream's name."""
        return f"stream {self._stream}"

    def refusal(self, event: Event) -> str | None:
        """A stream takes any bytes up to its limit."""
        if event.payload is None:
            return "a tombstone has no content that a stream could take"
        size = len(event.payload) + utf8_length(_key(event))
        return f"{size:,} bytes, and a stream takes {_STREAM_BYTES:,}" if size > _STREAM_BYTES else None

    def send(self, events: Sequence[Event], *, last: bool = True) -> list[Outcome]:
        """All in one call, but of a partition key one a call: within a call Kinesis keeps no order."""
        return _in_waves(events, _partition_key, self._held_back, self._send, last)

    def hold_back(self, event: Event) -> None:
        """Of a partition key nothing overtakes."""
        self._held_back |= {_partition_key(event)} - {None}

    def _send(self, events: Sequence[Event]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        records = [{"Data": event.payload or b"", "PartitionKey": _key(event)} for event in events]
        size = lambda record: len(record["Data"]) + len(record["PartitionKey"])  # noqa: E731
        for part in _parts(records, size, _STREAM_ENTRIES, 4 * _STREAM_BYTES):
            outcomes += self._call(part)
        return outcomes

    def _call(self, records: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        try:
            answer = self._client.put_records(StreamName=self._stream, Records=list(records))
        except (BotoCoreError, ClientError) as error:
            return [_failed(error)] * len(records)
        return [_of_record(entry) for entry in answer["Records"]]


def _of_record(entry: Mapping[str, Any]) -> Outcome:
    code = entry.get("ErrorCode")
    if not code:
        return Outcome(Fate.TAKEN)
    if code == "ProvisionedThroughputExceededException":
        return Outcome(Fate.REFUSED, code, passes=True)
    return Outcome(Fate.UNKNOWN, f"{code}: {entry.get('ErrorMessage', '')}")


def _key(event: Event) -> str:
    return (event.group or event.origin)[:256] or "none"


def _partition_key(event: Event) -> str | None:
    return event.group


def _failed(error: Exception) -> Outcome:
    """Of a call as a whole: refused if the service said so or nobody heard it; a fault of the service or a time-out is neither."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        throttled = "Throttl" in str(error) or "ProvisionedThroughputExceeded" in str(error)
        fate = Fate.REFUSED if throttled or 400 <= status < 500 else Fate.UNKNOWN
        return Outcome(fate, str(error), throttled)
    return Outcome(Fate.REFUSED if isinstance(error, _NOT_SENT) else Fate.UNKNOWN, str(error))


def _in_waves(
    events: Sequence[Event],
    group_of: Callable[[Event], str | None],
    held_back: set[str | None],
    send: Callable[[Sequence[Event]], list[Outcome]],
    last: bool,
) -> list[Outcome]:
    """Each wave has at most one event of a group. After one that was not taken its group waits: ``held_back`` remembers which."""
    outcomes: dict[int, Outcome] = {}
    throttled: set[str | None] = set()
    left = list(range(len(events)))
    while left:
        wave: dict[int, str | None] = {}
        later: list[int] = []
        for place in left:
            group = group_of(events[place])
            if group in held_back | throttled:
                outcomes[place] = Outcome(Fate.REFUSED, _WAITS, passes=group in throttled)
            elif group is not None and group in wave.values():
                later.append(place)
            else:
                wave[place] = group
        sent = send([events[place] for place in wave]) if wave else []
        for (place, group), outcome in zip(wave.items(), sent, strict=True):
            outcomes[place] = outcome
            if outcome.fate is not Fate.TAKEN and group is not None:
                (throttled if outcome.passes and not last else held_back).add(group)
        left = later
    return [outcomes[place] for place in range(len(events))]


def _parts(
    entries: Sequence[Any], size_of: Callable[[Any], int], most: int, most_bytes: int
) -> Iterator[Sequence[Any]]:
    """The entries in order, cut so that no part has more of them or more bytes than a call takes."""
    part: list[Any] = []
    size_bytes = 0
    for entry in entries:
        own = size_of(entry)
        if part and (len(part) == most or size_bytes + own > most_bytes):
            yield part
            part, size_bytes = [], 0
        part.append(entry)
        size_bytes += own
    if part:
        yield part


def _size(entry: Mapping[str, Any]) -> int:
    """Bytes of a queue's entry, as SQS counts them."""
    size = utf8_length(entry["MessageBody"])
    for name, value in entry.get("MessageAttributes", {}).items():
        size += utf8_length(name) + len(value["DataType"])
        size += utf8_length(value.get("StringValue", "")) + len(value.get("BinaryValue", b""))
    return size
