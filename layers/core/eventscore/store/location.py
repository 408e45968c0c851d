"""From what a person writes, ``s3://bucket/prefix`` or a folder's path, to the store that it names."""

from __future__ import annotations

from pathlib import Path

from eventscore.errors import StoreUnavailable
from eventscore.store.folder import FolderStore
from eventscore.store.objects import ObjectStore


def open_store(location: str) -> ObjectStore:
    """The store at ``location``. Nothing is read yet.

    Raises:
        StoreUnavailable: another scheme than ``s3``, no bucket, or S3 cannot be reached for want of a region.

    """
    scheme, separator, rest = location.partition(":")
    # A single letter is a drive.
    if not separator or len(scheme) == 1 or "/" in scheme:
        return FolderStore(Path(location))
    bucket, _, prefix = rest.removeprefix("//").partition("/")
    # s3:/bucket is a slip, too, and would make a folder of that name.
    if scheme != "s3" or not rest.startswith("//") or not bucket:
        raise StoreUnavailable(location, "expected s3://bucket or s3://bucket/prefix, or a folder's path")
    # Only a bucket needs botocore, which costs a third of a cold start.
    from botocore.exceptions import BotoCoreError

    from eventscore.aws import client
    from eventscore.store.s3 import S3Store

    try:
        s3 = client("s3", connect_timeout_s=3, read_timeout_s=10)
    except (BotoCoreError, ValueError) as error:
        raise StoreUnavailable(location, f"S3 cannot be used: {error}") from None
    return S3Store(bucket, prefix, s3)
