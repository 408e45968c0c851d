"""The accounts: what was sent and what became of it, matched by the ids that the sources gave, never by subtraction."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
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


class Accounts:
    """Filled from several threads while the demo runs; closed with `settle`."""

    def __init__(self) -> None:
        self.sent: dict[tuple[str, str], Planned] = {}
        self.scored: dict[tuple[str, str], dict[str, Any]] = {}
        self.rejected: dict[tuple[str, str], str] = {}
        self.arrived_at: list[float] = []
        self._arrivals: Counter[str] = Counter()
        self._sent_by_source: Counter[str] = Counter()
        self._ended_by_source: Counter[str] = Counter()
        self._changed = threading.Condition()

    def note_sent(self, source: str, origin: str, message: Planned) -> None:
        """The source took the message and called it ``origin``."""
        with self._changed:
            self.sent[source, origin] = message
            self._sent_by_source[source] += 1

    def note_scored(self, source: str, origin: str, answer: dict[str, Any]) -> None:
        """An answer arrived in the sink."""
        with self._changed:
            self.arrived_at.append(time.monotonic())
            self._note_end(source, (source, origin) not in self.scored)
            self.scored.setdefault((source, origin), answer)

    def note_rejected(self, source: str, origin: str, reason: str) -> None:
        """A rejection arrived in the reject queue (its first part, if it has several)."""
        with self._changed:
            self._note_end(source, (source, origin) not in self.rejected)
            self.rejected.setdefault((source, origin), reason)

    def ended(self, source: str) -> int:
        """How many of the source's messages have arrived at a far end so far."""
        with self._changed:
            return self._ended_by_source[source]

    def sent_count(self, source: str) -> int:
        """How many messages the source has taken so far."""
        with self._changed:
            return self._sent_by_source[source]

    def wait_for_room(self, source: str, limit: int, timeout_s: float) -> None:
        """Wait until fewer than ``limit`` messages of the source are under way, or until ``timeout_s`` have passed."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._sent_by_source[source] - self._ended_by_source[source] < limit, timeout_s
            )

    def _note_end(self, source: str, first: bool) -> None:
        self._arrivals[source] += 1
        self._ended_by_source[source] += first
        self._changed.notify_all()

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
            delivered_again=self._arrivals[source] - len(scored) - len(rejected),
            wrong=wrong,
        )
