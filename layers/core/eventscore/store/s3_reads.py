"""A bucket as a model store that is read without botocore, as the first event of a function reads it.

Only a plain answer counts here: an object, or that there is none. Whatever else happens (another region, a refusal, a throttle, an
error on the way) the botocore store is asked the same, with its retries, and its word is the one that counts. It writes and lists, too.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping

from eventscore.errors import NotInStore, ObjectTooLarge, StoreUnavailable
from eventscore.plain_access import PlainAccess
from eventscore.plain_http import HttpAnswer, HttpPool, Origin, TooLong
from eventscore.signature_v4 import now, signed_headers
from eventscore.store.objects import MAX_OBJECT_BYTES, ObjectStore, StoredObject

_PLAIN_BUCKET = re.compile(r"(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9](?<!-s3alias)")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9._~/-]*")
_NO_SUCH_KEY = b"<Code>NoSuchKey</Code>"


class S3Reads:
    """Reads below ``s3://bucket/prefix``; ``whole`` makes the store that is asked for all else."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        access: PlainAccess,
        whole: Callable[[], ObjectStore],
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
    ) -> None:
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._access = access
        self._make_whole = whole
        self._whole: ObjectStore | None = None
        self._making = threading.Lock()
        self.url = f"s3://{bucket}/{self._prefix}".rstrip("/")
        if access.endpoint is None:
            host = f"{bucket}.s3.{access.region}.amazonaws.com"
            origin, self._root = Origin(True, host, 443, host), "/"
        else:  # as botocore does it: a custom endpoint has the bucket in the path
            origin, self._root = access.endpoint, f"/{bucket}/"
        self._pool = HttpPool(origin, connect_timeout_s=connect_timeout_s, read_timeout_s=read_timeout_s)

    @staticmethod
    def can_read(bucket: str, prefix: str) -> bool:
        """Whether names are of the kind that need neither escapes nor botocore's rules for access points and the like."""
        return bool(_PLAIN_BUCKET.fullmatch(bucket) and _PLAIN_KEY.fullmatch(prefix))

    def read(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> StoredObject:
        """The object under ``key``. Raises ``NotInStore`` and ``ObjectTooLarge``."""
        answer = self._plainly(key, max_bytes, {})
        if answer is not None and answer.status == 200:
            return StoredObject(answer.body, answer.headers["etag"])
        return self._everything().read(key, max_bytes)

    def read_if_changed(self, key: str, etag: str, max_bytes: int = MAX_OBJECT_BYTES) -> StoredObject | None:
        """The object under ``key``, None where S3 answers 304, not modified. Raises ``NotInStore`` and ``ObjectTooLarge``."""
        answer = self._plainly(key, max_bytes, {"If-None-Match": etag})
        if answer is not None:
            return None if answer.status == 304 else StoredObject(answer.body, answer.headers["etag"])
        return self._everything().read_if_changed(key, etag, max_bytes)

    def _plainly(self, key: str, max_bytes: int, condition: Mapping[str, str]) -> HttpAnswer | None:
        """An answer that counts: an object with its tag, or under a condition 304. None where botocore has to be asked."""
        if self._whole is not None or not _PLAIN_KEY.fullmatch(key):
            return None
        try:
            answer = self._get(self._root + self._prefix + key, max_bytes, condition)
        except TooLong as error:
            raise ObjectTooLarge(key, error.size_bytes, max_bytes) from None
        except TimeoutError:
            # botocore would wait at the same door, at each of its addresses and several times: longer than an invocation lasts.
            raise StoreUnavailable(key, f"no answer in time from {self._pool.origin.authority}") from None
        except (OSError, ValueError):
            return None
        if answer.status == 404 and _NO_SUCH_KEY in answer.body:
            raise NotInStore(key)
        if (answer.status == 200 and answer.headers.get("etag")) or (answer.status == 304 and condition):
            return answer
        return None

    def write_once(self, key: str, content: bytes) -> None:
        """Write an object that must not exist yet. Raises ``AlreadyPublished``."""
        self._everything().write_once(key, content)

    def replace(self, key: str, content: bytes, expected: str | None) -> None:
        """Write over the object whose etag is ``expected``. Raises ``PointerMoved``."""
        self._everything().replace(key, content, expected)

    def list_names(self, prefix: str) -> tuple[str, ...]:
        """Names right below ``prefix``, sorted."""
        return self._everything().list_names(prefix)

    def close(self) -> None:
        """Close the connections that are kept for the next read."""
        self._pool.close()

    def _everything(self) -> ObjectStore:
        with self._making:  # the files of a version are read side by side
            if self._whole is None:
                self._whole = self._make_whole()
            return self._whole

    def _get(self, target: str, max_bytes: int, condition: Mapping[str, str]) -> HttpAnswer:
        headers = signed_headers(
            self._access.credentials(),
            "GET",
            target,
            authority=self._pool.origin.authority,
            headers={},
            body=b"",
            region=self._access.region,
            service="s3",
            timestamp=now(),
        )
        return self._pool.request("GET", target, {**headers, **condition}, b"", max_bytes)
