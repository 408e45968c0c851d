"""The reject queue: each message is a rejection, or one part of a large one; here the parts are put together again."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime

import msgspec

from eventscore.delivery.rejection import Rejection
from eventscore_cli.replaying.event import Event, Held, Parcel, identity

_Group = tuple[str, str, str, str, str, int]


class RejectReader:
    """Rejections become events. What is none is left where it is, by name."""

    def __init__(self) -> None:
        self._pending: dict[_Group, dict[int, tuple[Rejection, list[Held]]]] = {}

    def add(self, held: Held) -> Parcel | None:
        """The record that is whole with this message."""
        try:
            rejection = msgspec.json.decode(held.body, type=Rejection)
            base64.b64decode(rejection.payload or "", validate=True)
            datetime.fromisoformat(rejection.rejected_at)
            if not 1 <= rejection.part <= rejection.parts:
                raise ValueError("a part that cannot be")
        except (msgspec.MsgspecError, UnicodeError, binascii.Error, ValueError):
            return Parcel((), (held,), "no rejection, as eventscore writes it")
        group = (
            rejection.source,
            rejection.origin,
            rejection.model,
            rejection.version,
            rejection.rejected_at,
            rejection.parts,
        )
        parts = self._pending.setdefault(group, {})
        parts.setdefault(rejection.part, (rejection, []))[1].append(held)
        if len(parts) < rejection.parts:
            return None
        del self._pending[group]
        ordered = [parts[number] for number in sorted(parts)]
        chunks = [part.payload for part, _ in ordered]
        whole = None if chunks == [None] else b"".join(base64.b64decode(chunk or "") for chunk in chunks)
        event = Event(
            source=rejection.source,
            origin=rejection.origin,
            payload=whole,
            at=datetime.fromisoformat(rejection.rejected_at),
            reason=rejection.reason,
            version=rejection.version,
            group=rejection.key,
        )
        return Parcel((event,), _first_part_last([held for _, held in ordered]))

    def rest(self) -> list[Parcel]:
        """Records of which parts are missing. If the first part is here, it can be told whether the record was sent already."""
        parcels = []
        for (source, origin, *_, count), parts in self._pending.items():
            missing = ", ".join(str(number) for number in range(1, count + 1) if number not in parts)
            leftover = None
            if 1 in parts:
                leftover = identity(source, origin, count, base64.b64decode(parts[1][0].payload or ""))
            held = _first_part_last([parts[number][1] for number in sorted(parts)])
            problem = f"part {missing} of {count} is not in the queue"
            parcels.append(Parcel((), held, f"{source} {origin}: {problem}", leftover))
        self._pending.clear()
        return parcels


def _first_part_last(parts: list[list[Held]]) -> tuple[Held, ...]:
    """As long as any is there the first is, which tells whose the others are."""
    return tuple(held for part in (*parts[1:], parts[0]) for held in part)
