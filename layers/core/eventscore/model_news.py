"""What a live model has to tell. It may happen beside an invocation; it is told by the invocation, from one thread."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class VersionLoaded(msgspec.Struct, frozen=True):
    """A version answers from now on; ``replaced`` is the one that answered before, None on a cold start."""

    model: str
    version: str
    signed_by: str
    parts_ms: Mapping[str, float]
    replaced: str | None


class VersionNotLoaded(msgspec.Struct, frozen=True):
    """A version, or the pointer to one, cannot be had. ``serving`` answers meanwhile; None: nobody does."""

    model: str
    version: str | None
    error: Exception
    serving: str | None
    retry_in_s: float | None


class RuleAnswers(msgspec.Struct, frozen=True):
    """No version can be had: the fallback rule of the contract at ``origin`` answers."""

    model: str
    origin: str


class NotWatched(msgspec.Struct, frozen=True):
    """The version answers, and nobody counts what it meets: its baseline cannot be had. ``retry_in_s`` is None where it never will."""

    model: str
    version: str
    error: Exception
    retry_in_s: float | None


ModelNews = VersionLoaded | VersionNotLoaded | RuleAnswers | NotWatched
