"""The model that answers: loaded from its channel when first asked for, and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventscore.artifact import Artifact


class LiveModel:
    """Holds one artifact. ``load`` answers a verified one or raises; a failed load is tried again at the next call."""

    def __init__(self, load: Callable[[], Artifact]) -> None:
        self._load = load
        self._artifact: Artifact | None = None

    def get(self) -> Artifact:
        """The artifact. Raises whatever ``load`` raises; nothing unverified is ever held."""
        if self._artifact is None:
            self._artifact = self._load()
        return self._artifact
