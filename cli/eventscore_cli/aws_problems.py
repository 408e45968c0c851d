"""What botocore raises, as one line that says what to do. Botocore is not imported for it: where it is not, it raised nothing."""

from __future__ import annotations

import re
import sys

_NO_ACCESS = "AccessDenied", "UnauthorizedOperation", "Forbidden", "AuthorizationError"
_STALE = "ExpiredToken", "RequestExpired", "TokenRefreshRequired"
_UNKNOWN_KEY = "InvalidClientTokenId", "UnrecognizedClient", "InvalidAccessKeyId", "SignatureDoesNotMatch"
_NO_CREDENTIALS = "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"
_LOGIN = ("SSOTokenLoadError", "UnauthorizedSSOTokenError", "LoginRefreshRequired")
_NO_ANSWER = (
    "EndpointConnectionError",
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "ReadTimeoutError",
    "ProxyConnectionError",
    "SSLError",
)


def aws_problem(error: Exception) -> str | None:
    """One line about an error of botocore's; None if it is none."""
    exceptions = sys.modules.get("botocore.exceptions")
    if exceptions is None or not isinstance(error, (exceptions.BotoCoreError, exceptions.ClientError)):
        return None
    told = re.sub(r"\s+", " ", str(error)).strip()
    if isinstance(error, exceptions.ClientError):
        return _refused(str(error.response.get("Error", {}).get("Code", "")), error.operation_name, told)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & set(_NO_CREDENTIALS):
        return (
            f"AWS: expected credentials, got none that work ({told}); set AWS_PROFILE or AWS_ACCESS_KEY_ID, or log in"
        )
    if kinds & set(_LOGIN):
        return f"AWS: the login is over ({told}); log in again (`aws sso login`)"
    if "ProfileNotFound" in kinds:
        return f"AWS: {told}; see AWS_PROFILE and `aws configure list-profiles`"
    if "NoRegionError" in kinds:
        return "AWS: expected a region, got none; set AWS_DEFAULT_REGION, or a region in the profile"
    if kinds & set(_NO_ANSWER):
        return (
            f"AWS: no answer ({told}); is the region right, is there a network, does AWS_ENDPOINT_URL point somewhere?"
        )
    return f"AWS: {told}"


def _refused(code: str, operation: str, told: str) -> str:
    if code.startswith(_NO_ACCESS):
        return f"AWS: {operation} is not allowed ({told}); whoever calls needs the right to it"
    if code.startswith(_STALE):
        return f"AWS: the credentials are too old ({told}); log in again"
    if code.startswith(_UNKNOWN_KEY):
        return f"AWS: the credentials are not known there ({told}); see AWS_PROFILE and `aws sts get-caller-identity`"
    return f"AWS: {told}"
