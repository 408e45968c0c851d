"""An S3 bucket as a model store: conditional writes (``If-None-Match``, ``If-Match``) and checksums do the work of locks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from botocore.exceptions import BotoCoreError, ClientError

from eventscore.errors import AlreadyPublished, NotInStore, PointerMoved, StoreUnavailable
from eventscore.store.objects import StoredObject

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_PRECONDITION = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
_MISSING = {"NoSuchKey", "404"}
_DENIED = {"AccessDenied", "403"}


class S3Store:
    """Objects below ``s3://bucket/prefix``; the client is injected, so that endpoint and credentials are boto3's business."""

    def __init__(self, bucket: str, prefix: str, client: S3Client) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client = client

    @property
    def url(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def read(self, key: str) -> StoredObject:
        """The object under ``key``. Raises ``NotInStore``."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            return StoredObject(answer["Body"].read(), answer["ETag"])
        except (ClientError, BotoCoreError) as error:
            if _code(error) in _MISSING:
                raise NotInStore(key) from None
            self._unavailable(key, error)

    def write_once(self, key: str, content: bytes) -> None:
        """Write an object that must not exist yet. Raises ``AlreadyPublished``."""
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + key,
                Body=content,
                IfNoneMatch="*",
                ChecksumAlgorithm="SHA256",
            )
        except (ClientError, BotoCoreError) as error:
            if _code(error) in _PRECONDITION:
                raise AlreadyPublished(key) from None
            self._unavailable(key, error)

    def replace(self, key: str, content: bytes, expected: str | None) -> None:
        """Write over the object whose etag is ``expected``. Raises ``PointerMoved``."""
        try:
            if expected is None:
                self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=content, IfNoneMatch="*")
            else:
                self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=content, IfMatch=expected)
        except (ClientError, BotoCoreError) as error:
            # An object that was deleted since it was read answers 404 to If-Match: it moved, too.
            if _code(error) in _PRECONDITION | _MISSING:
                raise PointerMoved(key) from None
            self._unavailable(key, error)

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
