"""Where a model's versions come from: the store, opened when first needed, with the keys that a version must be signed with."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from eventscore.artifact import Artifact, load_artifact, trusted_contract
from eventscore.contract import Contract
from eventscore.signing import Verifier
from eventscore.stopwatch import Stopwatch
from eventscore.store.versions import Channels, ModelVersions


class VersionSource:
    """One model's channels, versions and contracts. ``open_versions`` is called again as long as it raises."""

    def __init__(self, model: str, open_versions: Callable[[], ModelVersions], verifier: Verifier) -> None:
        self.model = model
        self._open_versions = open_versions
        self._verifier = verifier

    @cached_property
    def _versions(self) -> ModelVersions:
        return self._open_versions()

    def channels(self, watch: Stopwatch) -> Channels:
        """The model's channels. Raises ``StoreError``."""
        with watch.part("connect"):
            versions = self._versions
        with watch.part("pointer"):
            return versions.channels()

    def changed_channels(self, seen: Channels) -> Channels | None:
        """The model's channels, None where they are what ``seen`` was. Raises ``StoreError``."""
        return self._versions.changed_channels(seen)

    def load(self, version: str, watch: Stopwatch) -> Artifact:
        """A version that has proved itself. Raises ``ArtifactRefused`` and ``StoreError``."""
        return load_artifact(self._versions, version, self._verifier, watch)

    def contract(self, version: str) -> Contract:
        """The contract of a version, which may have been refused for something else. Raises as ``load`` does."""
        return trusted_contract(self._versions, version, self._verifier)
