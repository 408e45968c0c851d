"""Who may send an event: one small document for each, claimed before it is sent and closed after it was taken.

.. code-block:: text

    (nothing) ── claim ──► claimed ── taken ──► sent        the event went out once; what still tells of it can be deleted
                             │  ▲
                     refused │  │ claim                     surely not sent: another try may
                             ▼  │
                            refused

A run that ends between the sending and its answer leaves ``claimed``: nobody knows whether the event went out, so nobody sends it
again without being told to. Claims are conditional writes of the store: of two that want to send the same event one may.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

from eventscore.errors import AlreadyPublished, NotInStore, PointerMoved, StoreError
from eventscore.store.objects import ObjectStore
from eventscore_cli.replaying.event import Event

State = Literal["claimed", "refused", "sent"]


class Standing(StrEnum):
    """What may be done with an event."""

    FREE = "free"
    """It may be sent; if it was claimed, by whoever claimed it."""
    SENT = "sent"
    IN_DOUBT = "in doubt"


class _Entry(msgspec.Struct, frozen=True):
    format: int
    state: State
    source: str
    origin: str
    run: str
    at: str


class Journal:
    """The claims of one run. ``send_doubtful``: what is in doubt is claimed as well."""

    def __init__(
        self, store: ObjectStore, clock: Callable[[], datetime], *, run: str | None = None, send_doubtful: bool = False
    ) -> None:
        self._store = store
        self._clock = clock
        self._send_doubtful = send_doubtful
        self._claimed: set[str] = set()
        self.run = run or f"{clock():%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"

    @property
    def url(self) -> str:
        """Where the journal is."""
        return self._store.url

    def standing(self, identity: str) -> Standing:
        """What may be done with the event, without claiming it."""
        try:
            return _standing(self._read(identity)[0].state)
        except NotInStore:
            return Standing.FREE

    def claim(self, event: Event) -> Standing:
        """Claim the event; ``FREE`` says that this run, and no other, is to send it now."""
        content = self._content(event, "claimed")
        key = _key(event.identity)
        again = event.identity in self._claimed
        self._claimed.add(event.identity)
        try:
            self._store.write_once(key, content)
        except AlreadyPublished:
            entry, etag = self._read(event.identity)
            own = entry.state == "claimed" and entry.run == self.run
            if own and not again:
                return Standing.FREE  # the first try was written, and its answer was lost
            standing = _standing(entry.state)
            if standing is Standing.SENT or (standing is Standing.IN_DOUBT and (own or not self._send_doubtful)):
                return standing
            try:
                self._store.replace(key, content, etag)
            except PointerMoved:  # another run was faster, and is sending it now
                return Standing.IN_DOUBT
        return Standing.FREE

    def close(self, event: Event, state: Literal["refused", "sent"]) -> None:
        """Write down what became of an event that this run claimed, or that a person decided on."""
        for _ in range(3):
            entry, etag = self._read(event.identity)
            if state == "refused" and entry.run != self.run:
                return  # another run has taken it over meanwhile, and may have sent it
            try:
                self._store.replace(_key(event.identity), self._content(event, state), etag)
            except PointerMoved:
                continue
            return
        raise StoreError(_key(event.identity), "another run writes to it all the time; end one of the two")

    def _content(self, event: Event, state: State) -> bytes:
        origin = event.origin.encode("utf-8", "replace").decode()
        return msgspec.json.encode(_Entry(1, state, event.source, origin, self.run, self._clock().isoformat()))

    def _read(self, identity: str) -> tuple[_Entry, str]:
        key = _key(identity)
        stored = self._store.read(key)
        try:
            return msgspec.json.decode(stored.content, type=_Entry), stored.etag
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreError(key, f"expected an entry of the replay journal, cannot be read: {error}") from None


def _key(identity: str) -> str:
    return f"{identity[:2]}/{identity}.json"


def _standing(state: State) -> Standing:
    return {"claimed": Standing.IN_DOUBT, "refused": Standing.FREE, "sent": Standing.SENT}[state]
