"""What a job tells whoever watches it: the phase, how far it is, one figure. The command line draws it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` steps of ``phase`` are done; ``detail`` is a figure worth reading (a score, a count).

    ``figures``: all that an evaluation of the fit found, by name.
    """

    phase: str
    done: int
    total: int
    detail: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


OnProgress = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Watch nothing."""
