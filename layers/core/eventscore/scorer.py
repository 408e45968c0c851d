"""Whoever answers the messages of a batch under one name and version: a loaded version of a model, or who stands in for it.

Nothing heavy is imported before a version is here: this belongs to what a cold start loads first.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from eventscore.artifact import Artifact
    from eventscore.drift_watch import DriftWatch
    from eventscore.scoring import Outcome

NO_MODEL: Final = "none"
NO_VERSION: Final = "none"
"""Stand where a model's or a version's name stands, where there is none: in answers, rejections and metrics."""


class Scorer(Protocol):
    """``model`` and ``version`` name whoever answers; every answer and every rejection carries them."""

    @property
    def model(self) -> str:
        """The name of the model."""
        ...

    @property
    def version(self) -> str:
        """The name of the version."""
        ...

    @property
    def is_rule(self) -> bool:
        """Whether no version answers but the fallback rule of a contract."""
        ...

    def score(self, messages: Sequence[bytes | None], now: datetime) -> list[Outcome]:
        """One outcome per message, in order."""
        ...


class VersionScorer:
    """A version that has proved itself. ``memory_bytes`` is what it is reckoned to hold."""

    is_rule = False

    def __init__(self, artifact: Artifact) -> None:
        from eventscore.scoring import Answering  # whoever has an artifact has loaded all that this needs

        self.artifact = artifact
        self.model = artifact.model
        self.version = artifact.version
        self.memory_bytes = artifact.memory_bytes
        self._answering = Answering(artifact)
        self.score = self._answering.outcomes
        """One outcome per message, in order; the graph runs once."""

    @property
    def watch(self) -> DriftWatch | None:
        """Who counts what is answered; None where nobody does, or not yet."""
        return self._answering.watch

    @watch.setter
    def watch(self, watch: DriftWatch) -> None:
        self._answering.watch = watch
