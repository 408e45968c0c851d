"""From the bytes of a message to a typed event, or to the exact reason why it is none.

The decoder is a msgspec struct built from the contract: typed decoding and bounds in one pass over the bytes, about a
microsecond an event. Only an event that fails is looked at twice (`violations`).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from eventscore.contract import BooleanFeature, CategoryFeature, Contract, Feature, NumberFeature
from eventscore.duplicate_keys import DuplicateKeys
from eventscore.errors import ContractViolation
from eventscore.violations import ViolationReader

ID_MAX_LENGTH = 256

EventId = str | int
_Id = Annotated[str, Meta(min_length=1, max_length=ID_MAX_LENGTH)] | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Event(msgspec.Struct, gc=False):
    """A decoded event. Its fields are made from the contract: ``event_id`` first, then ``n0, n1, ...`` and ``c0, c1, ...``.

    ``n<i>`` is the i-th of ``contract.numbers`` (float, bool or None), ``c<i>`` the i-th of ``contract.categories`` (str or None).
    """

    if TYPE_CHECKING:  # a field of every struct that is made from a contract

        @property
        def event_id(self) -> EventId:
            """The event's id, as the producer wrote it."""


class EventDecoder:
    """Decodes and validates the messages of one contract."""

    def __init__(self, contract: Contract) -> None:
        self._max_bytes = contract.event.max_bytes
        self._decode = msgspec.json.Decoder(_event_type(contract)).decode
        self._duplicate_keys = DuplicateKeys(contract)
        self._violations = ViolationReader(contract)

    def decode(self, message: bytes | None) -> Event:
        """The event in ``message``.

        Raises:
            ContractViolation: the message breaks the contract; the error tells the reason and the field.

        """
        if not message:
            raise ContractViolation("tombstone", "expected an event, got a message without content")
        if len(message) > self._max_bytes:
            raise ContractViolation(
                "too_large", f"expected at most {self._max_bytes} bytes, got {len(message)} (contract: event.max_bytes)"
            )
        try:
            event: Event = self._decode(message)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self._violations.read(error, message) from None
        try:
            twice = self._duplicate_keys.find(message, event)
        except (UnicodeDecodeError, RecursionError) as error:  # in a field that the contract does not name
            raise self._violations.read(error, message) from None
        if twice is not None:
            raise ContractViolation("duplicate_key", "the object has this key more than once", twice)
        return event


def _event_type(contract: Contract) -> type[Event]:
    """The struct whose fields are those of the contract, in the order: id, time, rollout key, numbers, categories."""
    event = contract.event
    fields: list[Any] = [("event_id", _Id, msgspec.field(name=event.id))]
    if event.time is not None:
        fields.append(("event_time", Annotated[datetime, Meta(tz=True)], msgspec.field(name=event.time)))
    if contract.own_rollout_key is not None:
        fields.append(("rollout_key", _Id, msgspec.field(name=contract.own_rollout_key)))
    for letter, names in (("n", contract.numbers), ("c", contract.categories)):
        for position, name in enumerate(names):
            feature = contract.features[name]
            kind = _field_type(feature)
            if feature.missing == "refuse":
                fields.append((f"{letter}{position}", kind, msgspec.field(name=name)))
            else:
                fields.append((f"{letter}{position}", kind | None, msgspec.field(default=None, name=name)))
    event_type: type[Any] = msgspec.defstruct(
        "ContractEvent",
        fields,
        bases=(Event,),
        kw_only=True,
        gc=False,
        forbid_unknown_fields=event.extra_fields == "refuse",
    )
    return event_type


def _field_type(feature: Feature) -> Any:
    match feature:
        case NumberFeature():
            return Annotated[float, Meta(ge=feature.min, le=feature.max)]
        case BooleanFeature():
            return bool
        case CategoryFeature(values=values) if values is not None and feature.unseen == "refuse":
            return Literal[values]
        case CategoryFeature():
            return Annotated[str, Meta(min_length=1, max_length=feature.max_length)]
