"""What the model store asks of a place that holds objects: read, write once, compare-and-swap, list."""

from __future__ import annotations

from typing import Protocol

import msgspec

MAX_OBJECT_BYTES = 256 * 2**20
"""No file of a version is larger: what is read is in memory before it can be verified."""
MAX_DOCUMENT_BYTES = 2**20
"""The same for pointers, manifests and signatures."""


class StoredObject(msgspec.Struct, frozen=True):
    """An object's bytes, and the tag that names exactly these bytes in a compare-and-swap."""

    content: bytes
    etag: str


class ObjectStore(Protocol):
    """Keys are paths with ``/``, relative to the store. Every method may raise ``StoreUnavailable``."""

    @property
    def url(self) -> str:
        """Where the store is, as a person writes it: ``s3://bucket/prefix`` or a folder's path."""
        ...

    def read(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> StoredObject:
        """The object under ``key``. Raises ``NotInStore``, and ``ObjectTooLarge`` before more than ``max_bytes`` are read."""
        ...

    def read_if_changed(self, key: str, etag: str, max_bytes: int = MAX_OBJECT_BYTES) -> StoredObject | None:
        """The object under ``key``, or None where it still is the one that ``etag`` names. Raises as ``read`` does."""
        ...

    def write_once(self, key: str, content: bytes) -> None:
        """Write an object that must not exist yet, atomically. Raises ``AlreadyPublished``, also if the bytes are the same."""
        ...

    def replace(self, key: str, content: bytes, expected: str | None) -> None:
        """Write over the object whose etag is ``expected`` (None: that must not exist yet). Raises ``PointerMoved``."""
        ...

    def list_names(self, prefix: str) -> tuple[str, ...]:
        """Names of the objects and folders right below ``prefix`` (which ends in ``/``, or is empty), sorted."""
        ...
