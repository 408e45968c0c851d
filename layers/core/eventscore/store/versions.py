"""A model's versions, written once, and its channels, moved by compare-and-swap.

Keys mirror ``model_store/`` exactly: ``<model>/versions/<version>/<file>`` and ``<model>/channels.json``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

import msgspec

from eventscore.background import Background
from eventscore.errors import AlreadyPublished, FileMissing, NoSuchChannel, NoSuchVersion, NotInStore, StoreError
from eventscore.served_manifest import MANIFEST, SIGNATURE
from eventscore.store.objects import MAX_DOCUMENT_BYTES, MAX_OBJECT_BYTES, ObjectStore, StoredObject

CHANNELS = "channels.json"
LIVE, PREVIOUS = "live", "previous"
CHANNEL_NAMES = (LIVE, "canary", "shadow", PREVIOUS)
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class _ChannelsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    model: str
    channels: dict[str, str]


class Channels(msgspec.Struct, frozen=True):
    """Which version each channel points at, and the tag to change it by (None: no channels yet)."""

    versions: Mapping[str, str]
    etag: str | None


class ModelVersions:
    """One model in a store. Of a version's file no more than ``max_file_bytes`` are read: a larger one is refused unread."""

    def __init__(self, store: ObjectStore, model: str, max_file_bytes: int = MAX_OBJECT_BYTES) -> None:
        if not _SEGMENT.fullmatch(model):
            raise StoreError(model, "expected a model's name of letters, digits, '.', '_' and '-'")
        self.store = store
        self.model = model
        self._max_file_bytes = max_file_bytes

    def key(self, version: str, file: str) -> str:
        """The key of a version's file."""
        return f"{self._folder(version)}{file}"

    def versions(self) -> tuple[str, ...]:
        """The complete versions, oldest first. A version without a signature is one that is still being written."""
        names = self.store.list_names(f"{self.model}/versions/")
        return tuple(name for name in names if self._is_complete(name))

    def read_file(self, version: str, file: str) -> bytes:
        """One file of a version. Raises ``FileMissing`` and ``ObjectTooLarge``."""
        key = self.key(version, file)
        document = file in (MANIFEST, SIGNATURE)
        try:
            return self.store.read(key, MAX_DOCUMENT_BYTES if document else self._max_file_bytes).content
        except NotInStore:
            raise FileMissing(key) from None

    def read_files(self, version: str, files: tuple[str, ...]) -> dict[str, bytes]:
        """Several files of a version, fetched side by side. Raises ``FileMissing`` and ``ObjectTooLarge``."""
        under_way = [Background(partial(self.read_file, version, file)) for file in files]
        return {file: each.result() for file, each in zip(files, under_way, strict=True)}

    def write(self, version: str, files: Mapping[str, bytes], manifest: bytes, signature: bytes) -> None:
        """Write a version: its files, then the manifest, then the signature that makes it complete.

        What an interrupted writer of the same version left is completed, if it is the same to the byte.

        Raises:
            AlreadyPublished: there is such a version, or a part of another; nothing of it is changed.

        """
        if self._is_complete(version):
            raise AlreadyPublished(self.key(version, SIGNATURE))
        for name, content in (*files.items(), (MANIFEST, manifest), (SIGNATURE, signature)):
            key = self.key(version, name)
            try:
                self.store.write_once(key, content)
            except AlreadyPublished:
                if self.store.read(key).content != content:
                    raise

    def channels(self) -> Channels:
        """The model's channels; none yet is no error.

        Raises:
            StoreError: ``channels.json`` cannot be read, or belongs to another model.

        """
        try:
            return self._channels(self.store.read(self._channels_key, MAX_DOCUMENT_BYTES))
        except NotInStore:
            return Channels({}, None)

    def changed_channels(self, seen: Channels) -> Channels | None:
        """The model's channels, None where they are what ``seen`` was: one conditional read. Raises as ``channels`` does."""
        if seen.etag is None:
            channels = self.channels()
            return None if channels == seen else channels
        try:
            stored = self.store.read_if_changed(self._channels_key, seen.etag, MAX_DOCUMENT_BYTES)
        except NotInStore:
            return Channels({}, None)
        return None if stored is None else self._channels(stored)

    @property
    def _channels_key(self) -> str:
        return f"{self.model}/{CHANNELS}"

    def _channels(self, stored: StoredObject) -> Channels:
        key = self._channels_key
        try:
            parsed = msgspec.json.decode(stored.content, type=_ChannelsFile)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreError(key, f"cannot be read: {error}") from None
        if parsed.format != 1 or parsed.model != self.model:
            raise StoreError(
                key, f"expected format 1 of model {self.model!r}, got format {parsed.format} of {parsed.model!r}"
            )
        for version in parsed.channels.values():
            if not _SEGMENT.fullmatch(version):
                raise StoreError(key, f"expected names of versions, got {version!r}")
        return Channels(parsed.channels, stored.etag)

    def resolve(self, channel: str) -> str:
        """The version that ``channel`` points at. Raises ``NoSuchChannel``."""
        versions = self.channels().versions
        if channel not in versions:
            raise NoSuchChannel(self.model, channel, tuple(versions))
        return versions[channel]

    def promote(self, version: str, channel: str = LIVE, seen: Channels | None = None) -> Channels:
        """Point ``channel`` at ``version``; what was live becomes ``previous``.

        ``seen`` are the channels on which the decision rests (default: read now).

        Raises:
            NoSuchVersion: the store does not hold the version, or not all of it.
            PointerMoved: somebody else moved a channel since ``seen``.

        """
        if not self._is_complete(version):
            raise NoSuchVersion(self.model, version, self.versions())
        seen = seen or self.channels()
        versions = dict(seen.versions)
        if channel == LIVE and LIVE in versions and versions[LIVE] != version:
            versions[PREVIOUS] = versions[LIVE]
        versions[channel] = version
        document = _ChannelsFile(1, self.model, versions)
        content = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
        self.store.replace(self._channels_key, content, seen.etag)
        return self.channels()

    def _is_complete(self, version: str) -> bool:
        return SIGNATURE in self.store.list_names(self._folder(version))

    def _folder(self, version: str) -> str:
        if not _SEGMENT.fullmatch(version):
            raise StoreError(version, "expected a version's name of letters, digits, '.', '_' and '-'")
        return f"{self.model}/versions/{version}/"
