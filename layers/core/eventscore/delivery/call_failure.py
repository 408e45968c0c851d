"""What a failed call to AWS means for the messages in it: whether another try may help, and whether it cost seconds."""

from __future__ import annotations

import msgspec

_PASSING = (
    *(
        "Throttl",
        "TooManyRequests",
        "RequestLimitExceeded",
        "ProvisionedThroughputExceeded",
        "LimitExceeded",
        "SlowDown",
    ),
    *(
        "ServiceUnavailable",
        "InternalError",
        "InternalFailure",
        "InternalServer",
        "InternalException",
        "RequestTimeout",
    ),
)


class CallFailure(msgspec.Struct, frozen=True):
    """Why a message was not taken. ``transient``: it may be at another try; ``stalled``: nobody answered, which cost seconds."""

    reason: str
    transient: bool
    stalled: bool = False


def passes(code: str) -> bool:
    """Whether an error's code says that another try may help."""
    return any(part in code for part in _PASSING)


def entry_failure(code: str, message: str | None, *, transient: bool | None = None) -> CallFailure:
    """One entry of a call that was not taken; its code tells whether another try may help, unless ``transient`` does."""
    return CallFailure(f"{code}: {message or ''}", passes(code) if transient is None else transient)


NOT_MENTIONED = CallFailure("the sink's answer does not mention the message", transient=True)


def call_failure(error: Exception) -> CallFailure:
    """What an exception out of a client means for each message of the call."""
    # Where a call failed, botocore is there already; a first event that goes well does not wait for its exceptions.
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, HTTPClientError
    from botocore.exceptions import ConnectionError as ConnectionFailed

    if isinstance(error, ClientError):
        told = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return CallFailure(str(error), passes(str(told.get("Code", ""))) or status >= 500 or status == 429)
    if isinstance(
        error, ConnectionClosedError
    ):  # a connection that grew old while the environment was frozen: quickly told
        return CallFailure(str(error), transient=True)
    # A client's own words are safe to log; those of anything else might quote the message.
    reason = str(error) if isinstance(error, BotoCoreError) else type(error).__name__
    passing = isinstance(error, HTTPClientError | ConnectionFailed | OSError)
    return CallFailure(reason, transient=passing, stalled=passing)
