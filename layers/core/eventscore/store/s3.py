"""An S3 bucket as a model store: conditional writes (``If-None-Match``, ``If-Match``) and checksums do the work of locks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from botocore.exceptions import BotoCoreError, ClientError

from eventscore.errors import AlreadyPublished, NotInStore, ObjectTooLarge, PointerMoved, StoreUnavailable
from eventscore.store.objects import MAX_OBJECT_BYTES, StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_LOST = {"PreconditionFailed", "412"}
_UNDER_WAY = {"ConditionalRequestConflict", "409"}
_MISSING = {"NoSuchKey", "404"}
_NOT_MODIFIED = {"NotModified", "304"}
_ATTEMPTS = 6
_FIRST_WAIT_S = 0.1
_DENIED = {"AccessDenied", "403"}


class S3Store:
    """Objects below ``s3://bucket/prefix``; the client is injected, so that endpoint and credentials are boto3's business."""

    def __init__(self, bucket: str, prefix: str, client: S3Client, wait: Callable[[float], None] = time.sleep) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client = client
        self._wait = wait

    @property
    def url(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def read(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> StoredObject:
        """The object under ``key``. Raises ``NotInStore`` and ``ObjectTooLarge``."""
        try:
            return self._get(key, max_bytes)
        except (ClientError, BotoCoreError) as error:
            self._not_read(key, error)

    def read_if_changed(self, key: str, etag: str, max_bytes: int = MAX_OBJECT_BYTES) -> StoredObject | None:
        """The object under ``key``, None where S3 answers 304, not modified. Raises ``NotInStore`` and ``ObjectTooLarge``."""
        try:
            return self._get(key, max_bytes, IfNoneMatch=etag)
        except (ClientError, BotoCoreError) as error:
            if _code(error) in _NOT_MODIFIED:
                return None
            self._not_read(key, error)

    def _get(self, key: str, max_bytes: int, **conditions: Any) -> StoredObject:
        answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key, **conditions)
        if answer["ContentLength"] > max_bytes:
            answer["Body"].close()
            raise ObjectTooLarge(key, answer["ContentLength"], max_bytes)
        return StoredObject(answer["Body"].read(), answer["ETag"])

    def _not_read(self, key: str, error: Exception) -> NoReturn:
        if _code(error) in _MISSING:
            raise NotInStore(key) from None
        self._unavailable(key, error)

    def write_once(self, key: str, content: bytes) -> None:
        """Write an object that must not exist yet. Raises ``AlreadyPublished``."""
        try:
            self._put(key, content, IfNoneMatch="*", ChecksumAlgorithm="SHA256")
        except (ClientError, BotoCoreError) as error:
            if _code(error) in _LOST:
                raise AlreadyPublished(key) from None
            self._unavailable(key, error)

    def replace(self, key: str, content: bytes, expected: str | None) -> None:
        """Write over the object whose etag is ``expected``. Raises ``PointerMoved``.

        An object that holds ``content`` by then counts as written: the answer to the first request may have been lost, and its
        repetition refused. A pointer that says what it should say is where it should be, whoever moved it.
        """
        try:
            if expected is None:
                self._put(key, content, IfNoneMatch="*")
            else:
                self._put(key, content, IfMatch=expected)
        except (ClientError, BotoCoreError) as error:
            # An object that was deleted since it was read answers 404 to If-Match: it moved, too.
            if _code(error) in _LOST | _MISSING:
                if not self._holds(key, content):
                    raise PointerMoved(key) from None
            else:
                self._unavailable(key, error)

    def _put(self, key: str, content: bytes, **conditions: Any) -> None:
        """Put, again and again while S3 answers that another conditional write of the key is under way (409)."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=content, **conditions)
            except ClientError as error:
                if _code(error) not in _UNDER_WAY or attempt == _ATTEMPTS:
                    raise
                self._wait(_FIRST_WAIT_S * 2 ** (attempt - 1))
            else:
                return

    def _holds(self, key: str, content: bytes) -> bool:
        """Whether the object is what was to be written: a repeated request answers 412 after one that had succeeded."""
        try:
            return self.read(key).content == content
        except NotInStore:
            return False

    def list_names(self, prefix: str) -> tuple[str, ...]:
        """Names right below ``prefix``, sorted."""
        whole = self._prefix + prefix
        names: set[str] = set()
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=whole, Delimiter="/"
            )
            for page in pages:
                names.update(item["Key"][len(whole) :] for item in page.get("Contents", ()))
                names.update(folder["Prefix"][len(whole) : -1] for folder in page.get("CommonPrefixes", ()))
        except (ClientError, BotoCoreError) as error:
            self._unavailable(prefix, error)
        return tuple(sorted(name for name in names if name))

    def _unavailable(self, key: str, error: Exception) -> NoReturn:
        hint = (
            " (S3 says so of a missing key, too, to callers that may not list the bucket)"
            if _code(error) in _DENIED
            else ""
        )
        raise StoreUnavailable(key, f"cannot be had from {self.url}: {error}{hint}") from None


def _code(error: Exception) -> str:
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""
