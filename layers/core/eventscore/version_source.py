"""Where a model's versions come from: the store, opened when first needed, with the keys that a version must be signed with.

A cold start pulls beside its imports: `begin` starts to pull in a thread, and what scores (numpy, ONNX Runtime) is imported while the
files are on their way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from eventscore.background import Background
from eventscore.served_manifest import BASELINE, PULLED_FILES
from eventscore.signing import Verifier
from eventscore.stopwatch import Stopwatch
from eventscore.store.versions import Channels, ModelVersions

if TYPE_CHECKING:
    from eventscore.artifact import Artifact
    from eventscore.drift_watch import DriftWatch
    from eventscore.served_contract import ServedContract


class _Pulled(msgspec.Struct, frozen=True):
    channels: Channels
    version: str | None
    files: Mapping[str, bytes] | Exception
    parts_ms: Mapping[str, float]


class VersionSource:
    """One model's channels, versions and contracts. ``open_versions`` is called again as long as it raises."""

    def __init__(self, model: str, open_versions: Callable[[], ModelVersions], verifier: Verifier) -> None:
        self.model = model
        self._open_versions = open_versions
        self._opened: ModelVersions | None = None
        self._verifier = verifier
        self._pulling: Background[_Pulled] | None = None
        self._pulled: _Pulled | None = None

    def begin(self, channel: str) -> None:
        """Begin to pull the version that ``channel`` points at, for the next ``channels`` and ``load``."""
        if self._pulling is None:
            self._pulling = Background(partial(self._pull, channel))

    def channels(self, watch: Stopwatch) -> Channels:
        """The model's channels. Raises ``StoreError``."""
        pulling, self._pulling, self._pulled = self._pulling, None, None
        if pulling is None:
            return self._read_channels(watch)
        # Here, and not where it is needed first: its imports take longer than the pull, and go on beside it.
        import eventscore.artifact  # noqa: F401

        with watch.part("wait"):
            self._pulled = pulling.result()
        watch.parts_ms |= self._pulled.parts_ms
        return self._pulled.channels

    def changed_channels(self, seen: Channels) -> Channels | None:
        """The model's channels, None where they are what ``seen`` was. Raises ``StoreError``."""
        return self._versions().changed_channels(seen)

    def load(self, version: str, watch: Stopwatch) -> Artifact:
        """A version that has proved itself. Raises ``ArtifactRefused`` and ``StoreError``."""
        from eventscore.artifact import load_artifact, prove_pulled

        pulled, self._pulled = self._pulled, None
        if pulled is None or pulled.version != version:
            return load_artifact(self._versions(), version, self._verifier, watch)
        if isinstance(pulled.files, Exception):
            raise pulled.files
        return prove_pulled(self._versions(), version, pulled.files, self._verifier, watch)

    def contract(self, version: str) -> ServedContract:
        """The contract of a version, which may have been refused for something else. Raises as ``load`` does."""
        from eventscore.artifact import trusted_contract

        return trusted_contract(self._versions(), version, self._verifier)

    def watch(self, artifact: Artifact, began: float) -> DriftWatch | None:
        """Who counts what ``artifact`` scores from ``began`` on, into the bins of its baseline; None for a version without one.

        Raises:
            ArtifactRefused: the baseline is not the one that was signed.
            BaselineInvalid: nothing can be counted with it.
            StoreError: the store does not answer.

        """
        entry = artifact.manifest.files.get(BASELINE)
        if entry is None:
            return None
        # Here, behind the first events, and not before them.
        from eventscore.artifact import check_digest
        from eventscore.baseline import parse_baseline
        from eventscore.drift_watch import DriftWatch

        versions = self._versions()
        key = versions.key(artifact.version, BASELINE)
        content = versions.read_file(artifact.version, BASELINE)
        check_digest(key, content, entry)
        baseline = parse_baseline(content, key, artifact.contract)
        return DriftWatch(artifact.model, artifact.version, artifact.contract, baseline, began)

    def _versions(self) -> ModelVersions:
        if self._opened is None:
            self._opened = self._open_versions()
        return self._opened

    def _read_channels(self, watch: Stopwatch) -> Channels:
        with watch.part("connect"):
            versions = self._versions()
        with watch.part("pointer"):
            return versions.channels()

    def _pull(self, channel: str) -> _Pulled:
        watch = Stopwatch()
        channels = self._read_channels(watch)
        version = channels.versions.get(channel)
        files: Mapping[str, bytes] | Exception = {}
        if version is not None:
            try:
                with watch.part("pull"):
                    files = self._versions().read_files(version, PULLED_FILES)
            except Exception as error:  # raised again where the version is loaded
                files = error
        return _Pulled(channels, version, files, watch.parts_ms)
