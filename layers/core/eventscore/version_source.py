"""Where a model's versions come from: the store, opened when first needed, with the keys that a version must be signed with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, NamedTuple

from eventscore.background import Background
from eventscore.served_manifest import PULLED_FILES
from eventscore.signing import Verifier
from eventscore.stopwatch import Stopwatch
from eventscore.store.versions import Channels, ModelVersions

if TYPE_CHECKING:
    from eventscore.artifact import Artifact
    from eventscore.served_contract import ServedContract


class _Pulled(NamedTuple):
    """What came of an early pull: the channels, and of the version that one of them names the files, or why they did not come."""

    channels: Channels
    version: str | None
    files: Mapping[str, bytes]
    error: Exception | None
    parts_ms: Mapping[str, float]


class VersionSource:
    """One model's channels, versions and contracts. ``open_versions`` is called again as long as it raises.

    What scores (numpy, ONNX Runtime) is imported when a version is loaded, and not before: a pull that has begun goes on beside it.
    """

    def __init__(self, model: str, open_versions: Callable[[], ModelVersions], verifier: Verifier) -> None:
        self.model = model
        self._open_versions = open_versions
        self._verifier = verifier
        self._pulling: Background[_Pulled] | None = None
        self._pulled: _Pulled | None = None

    @cached_property
    def _versions(self) -> ModelVersions:
        return self._open_versions()

    def begin_pull(self, channel: str) -> None:
        """Begin to fetch the pointer and the version that ``channel`` names; ``channels`` and ``load`` take what has come."""
        self._pulling = Background(partial(self._pull, channel))

    def channels(self, watch: Stopwatch) -> Channels:
        """The model's channels. Raises ``StoreError``."""
        if self._pulling is not None:
            from eventscore import artifact as _beside  # noqa: F401  its imports take longer than the pull, and go on beside it

            pulling, self._pulling = self._pulling, None
            with watch.part("wait"):
                self._pulled = pulling.result()
            watch.parts_ms |= self._pulled.parts_ms
            return self._pulled.channels
        with watch.part("connect"):
            versions = self._versions
        with watch.part("pointer"):
            return versions.channels()

    def changed_channels(self, seen: Channels) -> Channels | None:
        """The model's channels, None where they are what ``seen`` was. Raises ``StoreError``."""
        return self._versions.changed_channels(seen)

    def load(self, version: str, watch: Stopwatch) -> Artifact:
        """A version that has proved itself. Raises ``ArtifactRefused`` and ``StoreError``."""
        from eventscore.artifact import load_artifact, prove_pulled

        pulled, self._pulled = self._pulled, None
        if pulled is None or pulled.version != version:
            return load_artifact(self._versions, version, self._verifier, watch)
        if pulled.error is not None:
            raise pulled.error
        return prove_pulled(self._versions, version, pulled.files, self._verifier, watch)

    def contract(self, version: str) -> ServedContract:
        """The contract of a version, which may have been refused for something else. Raises as ``load`` does."""
        from eventscore.artifact import trusted_contract

        return trusted_contract(self._versions, version, self._verifier)

    def _pull(self, channel: str) -> _Pulled:
        watch = Stopwatch()
        with watch.part("connect"):
            versions = self._versions
        with watch.part("pointer"):
            channels = versions.channels()
        version = channels.versions.get(channel)
        if version is None:
            return _Pulled(channels, None, {}, None, watch.parts_ms)
        try:
            with watch.part("pull"):
                files = versions.read_files(version, PULLED_FILES)
        except Exception as error:  # the channels are good; who loads the version is told
            return _Pulled(channels, version, {}, error, watch.parts_ms)
        return _Pulled(channels, version, files, None, watch.parts_ms)
