"""What an invocation of the function comes back with, and how its failures are told apart."""

import json
from dataclasses import dataclass
from enum import StrEnum

PAYLOAD_LIMIT_BYTES = 6 * 1024 * 1024
"""Lambda refuses a larger request of a synchronous invocation; so do we, before the emulator would cut it silently."""


class Failure(StrEnum):
    """Why an invocation failed."""

    EXCEPTION = "exception"
    """The handler raised."""
    TIMEOUT = "timeout"
    """The handler (or the initialisation) was killed at the function's timeout."""
    INIT = "init"
    """The module could not be imported, or has no such handler."""
    EXIT = "exit"
    """The process ended in the middle of the invocation."""
    PAYLOAD_TOO_LARGE = "payload-too-large"
    """The request was over 6 MB and never reached the function."""
    RESPONSE_TOO_LARGE = "response-too-large"
    """The answer was over 6 MB."""


@dataclass(frozen=True)
class FunctionError:
    """A failed invocation. `type` is Lambda's errorType where it gives one (`ValueError`, `Runtime.ExitError`)."""

    failure: Failure
    type: str
    message: str


@dataclass(frozen=True)
class InvocationResult:
    """The answer (JSON bytes, empty if there is none), or the error; durations in milliseconds.

    `duration_ms` is the wall-clock time of the whole invocation as its caller saw it, `init_duration_ms` the part in
    which the function was initialised, None if it was warm.
    """

    payload: bytes
    error: FunctionError | None = None
    duration_ms: float = 0.0
    init_duration_ms: float | None = None


_INIT_ERRORS = {
    "Runtime.ImportModuleError",
    "Runtime.UserCodeSyntaxError",
    "Runtime.HandlerNotFound",
    "Runtime.MalformedHandlerName",
    "Runtime.BuiltInModuleConflict",
}


def refuse_oversized(payload: bytes) -> InvocationResult | None:
    """The answer to a request over Lambda's limit; None for one that may pass."""
    if len(payload) <= PAYLOAD_LIMIT_BYTES:
        return None
    message = f"{len(payload)} bytes; Lambda takes at most {PAYLOAD_LIMIT_BYTES} a request"
    return InvocationResult(b"", FunctionError(Failure.PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", message))


def read_error(status: int, body: bytes) -> FunctionError | None:
    """The error in the Runtime Interface Emulator's answer, None for a success.

    The emulator says 200 for a handler's exception and for a timeout too. A handler that *returns* an object with
    `errorType` and `stackTrace` cannot be told from one that raised.
    """
    text = body.decode(errors="replace")
    if status == 200 and text.startswith("Task timed out after "):
        return FunctionError(Failure.TIMEOUT, "Sandbox.Timedout", text)
    if status == 200 and b'"errorType"' not in body:
        return None
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return None if status == 200 else FunctionError(Failure.EXIT, "Runtime.Unknown", text)
    error_type, message = str(document.get("errorType", "")), str(document.get("errorMessage", text))
    if status == 200:
        raised = "errorType" in document and "stackTrace" in document
        return FunctionError(Failure.EXCEPTION, error_type, message) if raised else None
    if error_type == "Function.ResponseSizeTooLarge":
        return FunctionError(Failure.RESPONSE_TOO_LARGE, error_type, message)
    if error_type == "Runtime.ExitError":
        return FunctionError(Failure.EXIT, error_type, message)
    if error_type in _INIT_ERRORS or "stackTrace" in document:
        return FunctionError(Failure.INIT, error_type, message)
    return FunctionError(Failure.EXIT, error_type, message)
