"""From what a person writes, ``s3://bucket/prefix`` or a folder's path, to the store that it names."""

from __future__ import annotations

import os
import sys
from functools import partial

from eventscore.errors import StoreUnavailable
from eventscore.store.objects import ObjectStore

_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S = 3.0, 10.0


def open_store(location: str) -> ObjectStore:
    """The store at ``location``. Nothing is read yet.

    Raises:
        StoreUnavailable: another scheme than ``s3``, no bucket, or S3 cannot be reached for want of a region.

    """
    place = _bucket_and_prefix(location)
    return _folder(location) if place is None else _s3(location, *place)


def open_store_to_read(location: str) -> ObjectStore:
    """The same store, for a process that reads a model and ends or serves: botocore is loaded only if it is needed.

    Raises:
        StoreUnavailable: as :func:`open_store`.

    """
    place = _bucket_and_prefix(location)
    if place is None:
        return _folder(location)
    # Where somebody has loaded botocore already, it costs little and knows all.
    if "botocore" not in sys.modules:
        from eventscore.plain_access import plain_access
        from eventscore.store.s3_reads import S3Reads

        access = plain_access("s3", os.environ)
        if access is not None and S3Reads.can_read(*place):
            whole = partial(_s3, location, *place)
            return S3Reads(*place, access, whole, connect_timeout_s=_CONNECT_TIMEOUT_S, read_timeout_s=_READ_TIMEOUT_S)
    return _s3(location, *place)


def _bucket_and_prefix(location: str) -> tuple[str, str] | None:
    """Bucket and prefix of an S3 location, None for a folder's path."""
    scheme, separator, rest = location.partition(":")
    # A single letter is a drive.
    if not separator or len(scheme) == 1 or "/" in scheme:
        return None
    bucket, _, prefix = rest.removeprefix("//").partition("/")
    # s3:/bucket is a slip, too, and would make a folder of that name.
    if scheme != "s3" or not rest.startswith("//") or not bucket:
        raise StoreUnavailable(location, "expected s3://bucket or s3://bucket/prefix, or a folder's path")
    return bucket, prefix


def _folder(path: str) -> ObjectStore:
    # Its temporary files and locks are no business of a function that reads from S3.
    from pathlib import Path

    from eventscore.store.folder import FolderStore

    return FolderStore(Path(path))


def _s3(location: str, bucket: str, prefix: str) -> ObjectStore:
    # botocore costs as much as the rest of a cold start.
    from botocore.exceptions import BotoCoreError

    from eventscore.aws import client
    from eventscore.store.s3 import S3Store

    try:
        s3 = client("s3", connect_timeout_s=_CONNECT_TIMEOUT_S, read_timeout_s=_READ_TIMEOUT_S)
    except (BotoCoreError, ValueError) as error:
        raise StoreUnavailable(location, f"S3 cannot be used: {error}") from None
    return S3Store(bucket, prefix, s3)
