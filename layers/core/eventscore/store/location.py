"""From what a person writes, ``s3://bucket/prefix`` or a folder's path, to the store that it names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from eventscore.errors import StoreUnavailable
from eventscore.store.folder import FolderStore
from eventscore.store.objects import ObjectStore


def open_store(location: str) -> ObjectStore:
    """The store at ``location``. Nothing is read yet.

    Raises:
        StoreUnavailable: another scheme than ``s3``, no bucket, or S3 cannot be reached for want of a region.

    """
    parts = urlsplit(location)
    if parts.scheme in ("", "file"):
        return FolderStore(Path(parts.path))
    if parts.scheme != "s3" or not parts.netloc:
        raise StoreUnavailable(location, "expected s3://bucket or s3://bucket/prefix, or a folder's path")
    # Only a bucket needs boto3, which costs 100 ms of a cold start.
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    from eventscore.store.s3 import S3Store

    config = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "max_attempts": 3})
    try:
        client = boto3.client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        raise StoreUnavailable(location, f"S3 cannot be used: {error}") from None
    return S3Store(parts.netloc, parts.path, client)
