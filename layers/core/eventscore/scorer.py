"""Whoever answers the messages of a batch under one name and version: a loaded version of a model, or who stands in for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from eventscore.artifact import Artifact
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
    def stands_in(self) -> bool:
        """Whether a rule answers, for want of a version."""
        ...

    def score(self, messages: Sequence[bytes | None], now: datetime) -> list[Outcome]:
        """One outcome per message, in order."""
        ...


class VersionScorer:
    """A version that has proved itself."""

    stands_in = False

    def __init__(self, artifact: Artifact) -> None:
        # numpy and ONNX Runtime: there by now, and not before the pull of the version has begun.
        from eventscore.scoring import score_messages

        self.artifact = artifact
        self.model = artifact.model
        self.version = artifact.version
        self._score = partial(score_messages, artifact)

    def score(self, messages: Sequence[bytes | None], now: datetime) -> list[Outcome]:
        """One outcome per message, in order; the graph runs once."""
        return self._score(messages, now)
