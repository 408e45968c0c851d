"""The accounts: what was sent and what became of it, matched by the ids that the sources gave, never by subtraction."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from eventscore_flights.demo.plan import SOURCES, Planned


@dataclass(frozen=True)
class SourceAccount:
    """One source's messages. A duplicate is a message of its own; each counts once, in exactly one place, or it is lost."""

    sent: int
    scored: int
    rejected: int
    returned: int
    lost: int
    delivered_again: int
    """Arrivals beyond the first of a message: delivery is at least once."""
    wrong: int
    """Messages that ended where they must not: poison scored, a good event rejected, another reason, or in two places."""


@dataclass
class Accounts:
    """Filled from several threads while the demo runs; closed with `settle`."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    sent: dict[tuple[str, str], Planned] = field(default_factory=dict)
    scored: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    rejected: dict[tuple[str, str], str] = field(default_factory=dict)
    arrivals: Counter[str] = field(default_factory=Counter)
    arrived_at: list[float] = field(default_factory=list)

    def note_sent(self, source: str, origin: str, message: Planned) -> None:
        """The source took the message and called it ``origin``."""
        with self._lock:
            self.sent[source, origin] = message

    def note_scored(self, source: str, origin: str, answer: dict[str, Any]) -> None:
        """An answer arrived in the sink."""
        with self._lock:
            self.arrivals[source] += 1
            self.arrived_at.append(time.monotonic())
            self.scored.setdefault((source, origin), answer)

    def note_rejected(self, source: str, origin: str, reason: str) -> None:
        """A rejection arrived in the reject queue (its first part, if it has several)."""
        with self._lock:
            self.arrivals[source] += 1
            self.rejected.setdefault((source, origin), reason)

    def ended(self, source: str) -> int:
        """How many of the source's messages have arrived at a far end so far."""
        with self._lock:
            return sum(1 for key in (*self.scored, *self.rejected) if key[0] == source)

    def sent_count(self, source: str) -> int:
        """How many messages the source has taken so far."""
        with self._lock:
            return sum(1 for key in self.sent if key[0] == source)

    def settle(self, returned: dict[str, set[str]]) -> dict[str, SourceAccount]:
        """Match everything. ``returned`` are, by source, the ids in its dead letter queue or still at the source."""
        return {source: self._settle(source, returned.get(source, set())) for source in SOURCES}

    def _settle(self, source: str, returned: set[str]) -> SourceAccount:
        sent = {origin: message for (at, origin), message in self.sent.items() if at == source}
        scored = {origin for at, origin in self.scored if at == source}
        rejected = {origin: reason for (at, origin), reason in self.rejected.items() if at == source}
        left = {origin for origin in returned if origin in sent and origin not in scored and origin not in rejected}
        wrong = sum(message.poison is not None for origin, message in sent.items() if origin in scored)
        wrong += sum(message.poison != rejected[origin] for origin, message in sent.items() if origin in rejected)
        wrong += len(scored & set(rejected)) + len((scored | set(rejected)) - set(sent))
        return SourceAccount(
            sent=len(sent),
            scored=len(scored & set(sent)),
            rejected=len((set(rejected) - scored) & set(sent)),
            returned=len(left),
            lost=len(set(sent) - scored - set(rejected) - left),
            delivered_again=self.arrivals[source] - len(scored) - len(rejected),
            wrong=wrong,
        )
