"""From the bytes of a message to a typed event, or to the exact reason why it is none.

The decoder is a msgspec struct built from the contract: typed decoding and bounds in one pass over the bytes, about a
microsecond an event. Only an event that fails is looked at twice (`violations`). Messages are decoded by the batch, where what is
the same for all is done once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from eventscore.columns import ABSENT, ABSENT_CATEGORY, ColumnBuilder, Row, Table
from eventscore.duplicate_keys import DuplicateKeys, first_duplicate
from eventscore.errors import ContractViolation
from eventscore.violations import ViolationReader

if TYPE_CHECKING:
    from eventscore.contract import AnyContract, AnyFeature

ID_MAX_LENGTH = 256

EventId = str | int
_Id = Annotated[str, Meta(min_length=1, max_length=ID_MAX_LENGTH)] | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Event(msgspec.Struct, gc=False):
    """A decoded event. Its fields are made from the contract: ``event_id`` first, then ``n0, n1, ...`` and ``c0, c1, ...``.

    ``n<i>`` is the i-th of ``contract.numbers`` (float or bool; None for ``null``, ``ABSENT`` where the message does not hold it),
    ``c<i>`` the i-th of ``contract.categories`` (str; None for ``null``, ``ABSENT_CATEGORY`` where the message does not hold it).
    """

    if TYPE_CHECKING:  # a field of every struct that is made from a contract

        @property
        def event_id(self) -> EventId:
            """The event's id, as the producer wrote it."""


class Decoded(msgspec.Struct, gc=False):
    """A batch of messages. ``ids`` and ``table`` are those of the events, in order; ``refused`` holds the violation of each message that
    is none, by its place among the messages.
    """

    ids: list[EventId]
    table: Table
    refused: dict[int, ContractViolation]


class EventDecoder:
    """Decodes and validates the messages of one contract."""

    def __init__(self, contract: AnyContract) -> None:
        self._max_bytes = contract.event.max_bytes
        self._decode = msgspec.json.Decoder(_event_type(contract)).decode
        self._columns = ColumnBuilder(contract)
        self._duplicate_keys = DuplicateKeys(contract)
        self._violations = ViolationReader(contract)

    def decode(self, message: bytes | None) -> Event:
        """The event in ``message``.

        Raises:
            ContractViolation: the message breaks the contract; the error tells the reason and the field.

        """
        refused = self.decode_all([message]).refused
        if refused:
            raise refused[0]
        return self._decode(message or b"")

    def decode_all(self, messages: Sequence[bytes | None]) -> Decoded:
        """What is in ``messages``."""
        refused: dict[int, ContractViolation] = {}
        places: Sequence[int] = range(len(messages))
        readable: Sequence[bytes] = messages  # type: ignore[assignment] # a tombstone is unreadable
        if not all(messages) or max(map(len, readable), default=0) > self._max_bytes:
            refused = self._unreadable(messages)
            places, readable = _others(messages, refused)
        rows: list[Row] = []
        left = iter(readable)
        while len(rows) + len(refused) < len(messages):
            try:
                # What was decoded before a message that raises stays in the list, and the iterator stands behind that message.
                rows.extend(map(_VALUES, map(self._decode, left)))
            except _NO_EVENT as error:
                at = len(rows) + len(refused) - (len(messages) - len(readable))
                refused[places[at]] = self._violations.read(error, readable[at])
        if len(rows) < len(readable):
            places, readable = _others(messages, refused)
        table = self._columns.build(rows)
        if not self._duplicate_keys.found_none(readable, rows, table):
            count = len(rows)
            for at in reversed(self._duplicate_keys.suspects(readable, rows)):
                violation = self._of_duplicates(readable[at])
                if violation is not None:
                    refused[places[at]] = violation
                    del rows[at]
            if len(rows) < count:
                table = self._columns.build(rows)
        return Decoded(list(map(_ID, rows)), table, refused)

    def _unreadable(self, messages: Sequence[bytes | None]) -> dict[int, ContractViolation]:
        """The messages that are not even looked into."""
        return {
            place: ContractViolation(
                "too_large",
                f"expected at most {self._max_bytes} bytes, got {len(message)} (contract: event.max_bytes)",
            )
            if message
            else ContractViolation("tombstone", "expected an event, got a message without content")
            for place, message in enumerate(messages)
            if not message or len(message) > self._max_bytes
        }

    def _of_duplicates(self, message: bytes) -> ContractViolation | None:
        try:
            twice = first_duplicate(message)
        except (UnicodeDecodeError, RecursionError) as error:  # in a field that the contract does not name
            return self._violations.read(error, message)
        if twice is None:
            return None
        return ContractViolation("duplicate_key", "the object has this key more than once", twice)


def _others(messages: Sequence[bytes | None], refused: Collection[int]) -> tuple[Sequence[int], Sequence[bytes]]:
    """The messages that are not refused, and their positions."""
    places = [place for place in range(len(messages)) if place not in refused]
    return places, [messages[place] or b"" for place in places]


_VALUES = msgspec.structs.astuple
_ID = itemgetter(0)
_NO_EVENT = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def _event_type(contract: AnyContract) -> type[Event]:
    """The struct whose fields are those of the contract, in the order of a `Row`: id, time, rollout key, numbers, categories."""
    event = contract.event
    fields: list[Any] = [("event_id", _Id, msgspec.field(name=event.id))]
    if event.time is not None:
        fields.append(("event_time", Annotated[datetime, Meta(tz=True)], msgspec.field(name=event.time)))
    if contract.own_rollout_key is not None:
        fields.append(("rollout_key", _Id, msgspec.field(name=contract.own_rollout_key)))
    kinds: tuple[Any, ...] = (("n", contract.numbers, ABSENT), ("c", contract.categories, ABSENT_CATEGORY))
    for letter, names, absent in kinds:
        for position, name in enumerate(names):
            feature = contract.features[name]
            kind = _field_type(feature)
            if feature.missing == "refuse":
                fields.append((f"{letter}{position}", kind, msgspec.field(name=name)))
            else:
                fields.append((f"{letter}{position}", kind | None, msgspec.field(default=absent, name=name)))
    event_type: type[Any] = msgspec.defstruct(
        "ContractEvent",
        fields,
        bases=(Event,),
        kw_only=True,
        gc=False,
        forbid_unknown_fields=event.extra_fields == "refuse",
    )
    return event_type


def _field_type(feature: AnyFeature) -> Any:
    if feature.type == "number":
        return Annotated[float, Meta(ge=feature.min, le=feature.max)]
    if feature.type == "boolean":
        return bool
    if feature.values is not None and feature.unseen == "refuse":
        return Literal[feature.values]
    return Annotated[str, Meta(min_length=1, max_length=feature.max_length)]
