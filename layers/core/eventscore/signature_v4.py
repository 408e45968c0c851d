"""AWS Signature Version 4 for a request without a query, as botocore signs it (a test compares the two).

docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from eventscore.digests import hmac_sha256, sha256


class Credentials(NamedTuple):
    """A key pair, with a session token where it is temporary."""

    access_key: str
    secret_key: str
    token: str | None


def now() -> str:
    """The time as a signature holds it, in UTC: ``20261121T101500Z``."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def signed_headers(
    credentials: Credentials,
    method: str,
    target: str,
    *,
    authority: str,
    headers: Mapping[str, str],
    body: bytes,
    region: str,
    service: str,
    timestamp: str,
) -> Mapping[str, str]:
    """All headers of a request but Host, which is ``authority``: ``headers`` (names in lower case), and those that sign it.

    ``target`` holds only characters that need no escape.
    """
    signed = {"host": authority, **headers, "x-amz-date": timestamp}
    digest = sha256(body).hex()
    if service == "s3":
        signed["x-amz-content-sha256"] = digest
    if credentials.token:
        signed["x-amz-security-token"] = credentials.token
    names = sorted(signed)
    lines = [f"{name}:{signed[name]}" for name in names]
    request = "\n".join([method, target, "", *lines, "", ";".join(names), digest])
    scope = f"{timestamp[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{sha256(request.encode()).hex()}"
    signature = hmac_sha256(_signing_key(credentials.secret_key, scope), text.encode()).hex()
    del signed["host"]
    signed["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return signed


@lru_cache(maxsize=4)  # the same all day, for each service
def _signing_key(secret_key: str, scope: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac_sha256(key, part.encode())
    return key
