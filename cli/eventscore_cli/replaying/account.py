"""What a run saw and did, for the table at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from eventscore_cli.replaying.event import Event

_SOME = 3


class End(StrEnum):
    """Where a selected event ended in this run."""

    SENT = "sent"
    WOULD_SEND = "would be sent"
    SENT_BEFORE = "sent before"
    IN_DOUBT = "in doubt"
    REFUSED = "not taken"
    LEFT = "cannot be sent"


@dataclass
class Row:
    """Events of one reason, version and source."""

    oldest: datetime
    newest: datetime
    events: int = 0
    origins: list[str] = field(default_factory=list)


@dataclass
class Account:
    """Counts of events; ``problems`` are those of events or messages that stay where they are, with a few of their names each."""

    messages: int = 0
    unselected: int = 0
    oldest_message: datetime | None = None
    rows: dict[tuple[str, str | None, str], Row] = field(default_factory=dict)
    ends: Counter[End] = field(default_factory=Counter)
    problems: dict[str, list[str]] = field(default_factory=dict)
    problem_counts: Counter[str] = field(default_factory=Counter)
    targets: Counter[str] = field(default_factory=Counter)
    not_removed: int = 0
    stopped: bool = False

    @property
    def selected(self) -> int:
        """Events that were meant."""
        return self.ends.total()

    def end(self, event: Event, end: End, why: str = "", target: str | None = None) -> None:
        """An event came to rest."""
        self.ends[end] += 1
        row = self.rows.setdefault((event.reason, event.version, event.source), Row(event.at, event.at))
        row.oldest, row.newest = min(row.oldest, event.at), max(row.newest, event.at)
        row.events += 1
        if len(row.origins) < _SOME:
            row.origins.append(event.origin)
        if why:
            self.problem(why, f"{event.source} {event.origin}")
        if target is not None and end in (End.SENT, End.WOULD_SEND):
            self.targets[target] += 1

    def problem(self, why: str, what: str) -> None:
        """Something stays in the queue."""
        self.problem_counts[why] += 1
        names = self.problems.setdefault(why, [])
        if len(names) < _SOME:
            names.append(what)

    @property
    def document(self) -> dict[str, Any]:
        """The account as JSON has it."""
        return {
            "messages": self.messages,
            "unselected": self.unselected,
            "selected": self.selected,
            "ends": {end.value: count for end, count in self.ends.items()},
            "rows": [
                {
                    "reason": reason,
                    "version": version,
                    "source": source,
                    "events": row.events,
                    "oldest": row.oldest.isoformat(),
                    "newest": row.newest.isoformat(),
                    "origins": row.origins,
                }
                for (reason, version, source), row in self.rows.items()
            ],
            "targets": dict(self.targets),
            "problems": [
                {"why": why, "count": self.problem_counts[why], "some": names} for why, names in self.problems.items()
            ],
            "not_removed": self.not_removed,
            "stopped": self.stopped,
        }
