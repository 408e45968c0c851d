"""AWS Signature Version 4 for a GET without query and body, as botocore signs it (a test compares the two).

docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import NamedTuple

_EMPTY = hashlib.sha256(b"").hexdigest()


class Credentials(NamedTuple):
    """A key pair, with a session token where it is temporary."""

    access_key: str
    secret_key: str
    token: str | None


def signed_headers(
    credentials: Credentials, *, authority: str, target: str, region: str, service: str, timestamp: str
) -> Mapping[str, str]:
    """The headers that sign ``GET target`` beside ``Host: authority``; ``timestamp`` is UTC, ``20261121T101500Z``.

    ``target`` holds only characters that need no escape.
    """
    signed = {"host": authority, "x-amz-content-sha256": _EMPTY, "x-amz-date": timestamp}
    if credentials.token:
        signed["x-amz-security-token"] = credentials.token
    names = ";".join(signed)
    request = "\n".join(["GET", target, "", *(f"{name}:{value}" for name, value in signed.items()), "", names, _EMPTY])
    scope = f"{timestamp[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    del signed["host"]
    signed["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return signed
