"""The page of the reasons for which an event is rejected."""

from __future__ import annotations

from pathlib import Path

from eventscore.violations import REASONS
from eventscore_website.tables import code, table


def write(root: Path) -> str:
    """The table."""
    return table(["reason", "what it means"], [(code(reason), words) for reason, words in REASONS.items()])
