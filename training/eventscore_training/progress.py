"""What a job tells whoever watches it: the phase, how far it is, one figure. The command line draws it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` steps of ``phase`` are done; ``detail`` is a figure worth reading (a score, a count)."""

    phase: str
    done: int
    total: int
    detail: str = ""


OnProgress = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Watch nothing."""
