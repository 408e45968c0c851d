"""The plain way to AWS: credentials, region and endpoint from the environment, as in every Lambda function.

botocore finds them in many more places, and takes a third of a second to be imported. Where the environment asks for any of those
(a profile, a file, FIPS or dual-stack endpoints, a proxy, a certificate bundle) there is no plain way, and botocore is asked.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from eventscore.plain_http import HttpConnection, Origin
from eventscore.signature_v4 import Credentials

_SPECIAL = (
    *("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE"),
    *("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_DATA_PATH"),
    *(
        "AWS_DEFAULTS_MODE",
        "AWS_SECURITY_TOKEN",
        "AWS_S3_DISABLE_MULTIREGION_ACCESS_POINTS",
        "AWS_S3_USE_ARN_REGION",
        "REQUESTS_CA_BUNDLE",
    ),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"),
)
"""Variables that change where botocore goes or as whom; whoever sets one of them gets botocore."""
_REGION = re.compile(r"(us-gov|us|ca|mx|sa|eu|me|il|af|ap)-(north|south|east|west|central)(east|west)?-\d")
_URL = re.compile(r"(https?)://([A-Za-z0-9.-]+)(?::(\d{1,5}))?/?")
_CREDENTIALS_URL = re.compile(
    r"http://(127\.0\.0\.1|localhost|169\.254\.170\.2|169\.254\.170\.23)(?::(\d{1,5}))?(/[!-~]*)?"
)
_CREDENTIALS_TIMEOUT_S = 2
_MAX_CREDENTIALS_BYTES = 65_536
_RENEWED_BEFORE_S = 300.0


class PlainAccess(msgspec.Struct, frozen=True):
    """Region and endpoint (None: AWS's own) of a service, and a function that answers credentials or raises."""

    region: str
    endpoint: Origin | None
    credentials: Callable[[], Credentials]


def plain_access(service: str, environment: Mapping[str, str]) -> PlainAccess | None:
    """The plain way to ``service`` (as in ``AWS_ENDPOINT_URL_S3``), None where only botocore knows the way."""
    if any(environment.get(name) for name in _SPECIAL):
        return None
    if os.path.exists(os.path.join(os.path.expanduser("~"), ".aws")):  # noqa: PTH110, PTH111, PTH118 - pathlib costs an import
        return None
    # AWS_REGION is not botocore's: it reads AWS_DEFAULT_REGION, and Lambda sets both.
    region = environment.get("AWS_DEFAULT_REGION", "")
    url = environment.get(f"AWS_ENDPOINT_URL_{service.upper()}") or environment.get("AWS_ENDPOINT_URL")
    endpoint = None if not url else origin_of(url)
    credentials = _credentials(environment)
    if credentials is None or not _REGION.fullmatch(region) or (url and endpoint is None):
        return None
    return PlainAccess(region, endpoint, credentials)


def origin_of(url: str) -> Origin | None:
    """The origin of a URL without a path; None for any other text."""
    found = _URL.fullmatch(url)
    if found is None:
        return None
    scheme, host, port = found.groups()
    secure = scheme == "https"
    usual = "443" if secure else "80"
    return Origin(secure, host, int(port or usual), host if port in (None, usual) else f"{host}:{port}")


def _credentials(environment: Mapping[str, str]) -> Callable[[], Credentials] | None:
    key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if key and secret:
        fixed = Credentials(key, secret, environment.get("AWS_SESSION_TOKEN") or None)
        return lambda: fixed
    if key or secret or environment.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        return None
    url = environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
    found = _CREDENTIALS_URL.fullmatch(url)
    if (
        found is None
        or environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        or environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    ):
        return None
    origin = origin_of(url[: len(url) - len(found[3] or "")])
    token = environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
    if origin is None:
        return None
    held: list[tuple[Credentials, float]] = []

    def kept() -> Credentials:
        # Wall time, which is right again after a snapshot or a freeze.
        if not held or time.time() > held[0][1] - _RENEWED_BEFORE_S:
            held[:] = [_from_container(origin, found[3] or "/", token)]
        return held[0][0]

    return kept


class _ContainerCredentials(msgspec.Struct, rename="pascal"):
    access_key_id: str
    secret_access_key: str
    token: str
    expiration: datetime | None = None


def _from_container(origin: Origin, target: str, token: str | None) -> tuple[Credentials, float]:
    """Credentials as Lambda hands them out under SnapStart, and until when they hold (0: unknown). Raises ``OSError`` or ``ValueError``."""
    headers = {"Accept": "application/json", **({"Authorization": token} if token else {})}
    connection = HttpConnection(origin, connect_timeout_s=_CREDENTIALS_TIMEOUT_S, read_timeout_s=_CREDENTIALS_TIMEOUT_S)
    try:
        answer = connection.request("GET", target, headers, b"", _MAX_CREDENTIALS_BYTES)
    finally:
        connection.close()
    if answer.status != 200:
        raise ValueError(f"the container's credentials: expected status 200, got {answer.status}")
    try:
        found = msgspec.json.decode(answer.body, type=_ContainerCredentials)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the container's credentials cannot be read: {error}") from None
    until = found.expiration.timestamp() if found.expiration else 0.0
    return Credentials(found.access_key_id, found.secret_access_key, found.token), until
