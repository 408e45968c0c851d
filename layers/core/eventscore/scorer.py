"""Whoever answers the messages of a batch under one name and version: a loaded version of a model, or who stands in for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

from eventscore.artifact import Artifact
from eventscore.scoring import Outcome, score_messages

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

    def score(self, messages: Sequence[bytes | None], now: datetime) -> list[Outcome]:
        """One outcome per message, in order."""
        ...


class VersionScorer:
    """A version that has proved itself."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self.model = artifact.model
        self.version = artifact.version

    def score(self, messages: Sequence[bytes | None], now: datetime) -> list[Outcome]:
        """One outcome per message, in order; the graph runs once."""
        return score_messages(self.artifact, messages, now)
