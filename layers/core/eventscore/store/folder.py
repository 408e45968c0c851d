"""A folder as a model store. Writers on one machine exclude each other by a lock on the folder; readers never wait."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventscore.errors import AlreadyPublished, NotInStore, ObjectTooLarge, PointerMoved, StoreUnavailable
from eventscore.store.objects import MAX_OBJECT_BYTES, StoredObject


class FolderStore:
    """Objects are files below ``root``; the key is the path."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def url(self) -> str:
        """The folder's path."""
        return str(self._root)

    def read(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> StoredObject:
        """The object under ``key``. Raises ``NotInStore`` and ``ObjectTooLarge``."""
        path = self._root / key
        try:
            if (size_bytes := path.stat().st_size) > max_bytes:
                raise ObjectTooLarge(key, size_bytes, max_bytes)
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotInStore(key) from None
        except OSError as error:
            raise StoreUnavailable(key, f"cannot be read below {self._root}: {error.strerror}") from None
        return StoredObject(content, _etag(content))

    def read_if_changed(self, key: str, etag: str, max_bytes: int = MAX_OBJECT_BYTES) -> StoredObject | None:
        """The object under ``key``, None where its etag is ``etag``. Raises ``NotInStore`` and ``ObjectTooLarge``."""
        stored = self.read(key, max_bytes)
        return None if stored.etag == etag else stored

    def write_once(self, key: str, content: bytes) -> None:
        """Write an object that must not exist yet, atomically. Raises ``AlreadyPublished``."""
        path = self._root / key
        with self._aside(path, key, content) as aside:
            try:
                os.link(aside, path)
            except FileExistsError:
                raise AlreadyPublished(key) from None
            except OSError as error:
                raise StoreUnavailable(key, f"cannot be written below {self._root}: {error.strerror}") from None

    def replace(self, key: str, content: bytes, expected: str | None) -> None:
        """Write over the object whose etag is ``expected``. Raises ``PointerMoved``."""
        path = self._root / key
        with self._aside(path, key, content) as aside, self._lock(path):
            try:
                current = self.read(key).etag
            except NotInStore:
                current = None
            if current != expected:
                raise PointerMoved(key)
            aside.replace(path)

    def list_names(self, prefix: str) -> tuple[str, ...]:
        """Names right below ``prefix``, sorted, without the store's own hidden files."""
        folder = self._root / prefix
        if not folder.is_dir():
            return ()
        return tuple(sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(".")))

    @contextmanager
    def _aside(self, path: Path, key: str, content: bytes) -> Iterator[Path]:
        """A file beside ``path`` with the whole content, so that the step to its name is one atomic call."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
        except OSError as error:
            raise StoreUnavailable(key, f"cannot be written below {self._root}: {error.strerror}") from None
        aside = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.chmod(0o644)
            yield aside
        finally:
            aside.unlink(missing_ok=True)

    @contextmanager
    def _lock(self, path: Path) -> Iterator[None]:
        # The folder itself is locked: a lock file would lie in the store and be copied with it.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
