"""A folder below ``s3://bucket/prefix``: fetched whole, kept up to date while a job writes to its copy, emptied."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from eventscore.errors import StoreUnavailable

_LOOK_EVERY_S = 2.0
_MISSING = ("NoSuchKey", "404")


class S3Folder:
    """Files below ``location``. ``client`` is boto3's, whose transfers take large files in parts."""

    def __init__(self, location: str, client: Any) -> None:
        bucket, _, prefix = location.removeprefix("s3://").partition("/")
        if not location.startswith("s3://") or not bucket or not prefix.strip("/"):
            raise StoreUnavailable(location, "expected s3://bucket/prefix")
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/"
        self._client = client

    @property
    def url(self) -> str:
        """``s3://bucket/prefix/``."""
        return f"s3://{self._bucket}/{self._prefix}"

    def below(self, name: str) -> S3Folder:
        """The folder ``name`` in this one."""
        return S3Folder(f"{self.url}{name}", self._client)

    def fetch(self, folder: Path) -> int:
        """Copy every file into ``folder``; says how many.

        Raises:
            StoreUnavailable: S3 does not answer, refuses the caller, or holds a key that leaves the folder.

        """
        keys = [key for key in self._keys() if not key.endswith("/")]
        for key in keys:
            relative = PurePosixPath(key[len(self._prefix) :])
            if relative.is_absolute() or ".." in relative.parts:
                raise StoreUnavailable(f"s3://{self._bucket}/{key}", "refused: the key leaves its folder")
            file = folder / relative
            file.parent.mkdir(parents=True, exist_ok=True)
            self._asked(self._client.download_file, self._bucket, key, str(file))
        return len(keys)

    def put(self, file: Path, name: str) -> None:
        """Write ``file`` as ``name``, over what is there. Raises ``StoreUnavailable``."""
        self._asked(self._client.upload_file, str(file), self._bucket, self._prefix + name)

    def put_all(self, folder: Path) -> None:
        """Write every file of ``folder``. Raises ``StoreUnavailable``."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.put(file, file.relative_to(folder).as_posix())

    def put_document(self, name: str, document: object) -> None:
        """Write ``document`` as JSON. Raises ``StoreUnavailable``."""
        content = json.dumps(document).encode()
        self._asked(
            self._client.put_object,
            Bucket=self._bucket,
            Key=self._prefix + name,
            Body=content,
            ContentType="application/json",
        )

    def document(self, name: str) -> Any:
        """The JSON document ``name``, None if there is none. Raises ``StoreUnavailable``."""
        try:
            return json.loads(self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)["Body"].read())
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _MISSING:
                return None
            raise self._unavailable(error) from None
        except (BotoCoreError, ValueError) as error:
            raise self._unavailable(error) from None

    def empty(self) -> None:
        """Delete every file. Raises ``StoreUnavailable``."""
        for key in list(self._keys()):
            self._asked(self._client.delete_object, Bucket=self._bucket, Key=key)

    @contextmanager
    def following(self, folder: Path, pattern: str) -> Iterator[None]:
        """While this lasts, what changes among the files of ``folder`` is written here, at the end once more.

        A file has to appear whole, by a rename. What cannot be written is tried again with the next look, and told; at the end it
        is told only: how the job itself ended is what counts.
        """
        done = threading.Event()
        written: dict[Path, tuple[int, int]] = {}

        def look() -> None:
            for file in sorted(folder.glob(pattern)):
                try:
                    state = (file.stat().st_mtime_ns, file.stat().st_size)
                    if written.get(file) != state:
                        self.put(file, file.name)
                        written[file] = state
                except FileNotFoundError:
                    continue  # it was the job's to take away
                except StoreUnavailable as error:
                    print(error, file=sys.stderr, flush=True)

        def watch() -> None:
            while not done.wait(_LOOK_EVERY_S):
                look()

        thread = threading.Thread(target=watch, name="following", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            look()

    def _keys(self) -> Iterator[str]:
        try:
            for page in self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            ):
                yield from (item["Key"] for item in page.get("Contents", ()))
        except (ClientError, BotoCoreError) as error:
            raise self._unavailable(error) from None

    def _asked(self, operation: Any, *arguments: Any, **named: Any) -> None:
        from boto3.exceptions import Boto3Error

        try:
            operation(*arguments, **named)
        except (ClientError, BotoCoreError, Boto3Error) as error:
            raise self._unavailable(error) from None

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(self.url, f"cannot be had: {error}")
