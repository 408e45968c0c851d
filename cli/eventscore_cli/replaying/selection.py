"""Which events are meant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from eventscore_cli.replaying.event import Event


@dataclass(frozen=True)
class Selection:
    """What is empty or None selects all. ``since`` is in it, ``until`` is not."""

    reasons: frozenset[str] = frozenset()
    versions: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None

    def takes(self, event: Event) -> bool:
        """Whether the event is meant."""
        return (
            (not self.reasons or event.reason in self.reasons)
            and (not self.versions or event.version in self.versions)
            and (not self.sources or event.source in self.sources)
            and (self.since is None or event.at >= self.since)
            and (self.until is None or event.at < self.until)
        )
