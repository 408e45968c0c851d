"""A plain process that runs the handler where Lambda's emulator cannot: `python -S -B worker.py app.handler SOCKET`.

It connects to the Unix socket, reports how the handler's loading went, then answers requests. All are frames: 4 bytes of
length, big-endian, then JSON. A request is `{"deadline": <Unix seconds>, "request_id": "...", "event": ...}`, an answer
`{"payload": "<JSON>"}` or `{"error": {...}}`. Stand-alone: imports the standard library only.
"""

import importlib
import json
import os
import socket
import struct
import sys
import time
import traceback
from typing import Any, Protocol


class ByteStream(Protocol):
    """A buffered stream that can be read and written."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, fewer only at the end."""

    def write(self, content: bytes, /) -> object:
        """Write all of `content`."""

    def flush(self) -> None:
        """Send what was written."""


class LambdaContext:
    """The part of Lambda's context object that functions use."""

    def __init__(self, request_id: str, deadline: float) -> None:
        self._deadline = deadline
        self.aws_request_id = request_id
        self.function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "function")
        self.function_version = "$LATEST"
        self.memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        self.invoked_function_arn = f"arn:aws:lambda:us-east-1:000000000000:function:{self.function_name}"
        self.log_group_name = f"/aws/lambda/{self.function_name}"
        self.log_stream_name = "local"
        self.identity = None
        self.client_context = None

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is killed."""
        return max(0, int((self._deadline - time.time()) * 1000))


def read_frame(stream: ByteStream) -> bytes | None:
    """The next frame's content; None at the end of the stream."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    return stream.read(struct.unpack(">I", head)[0])


def write_frame(stream: ByteStream, content: bytes) -> None:
    """Write one frame."""
    stream.write(struct.pack(">I", len(content)) + content)
    stream.flush()


def error_document(error: BaseException, error_type: str | None = None) -> dict[str, Any]:
    """An exception as Lambda reports it."""
    return {
        "errorMessage": str(error),
        "errorType": error_type or type(error).__name__,
        "stackTrace": traceback.format_tb(error.__traceback__),
    }


def load(handler: str) -> tuple[Any, dict[str, Any]]:
    """The handler and how its loading went: `{"init_duration_ms": ...}`, with "error" if it failed."""
    started = time.monotonic()
    report: dict[str, Any] = {}
    function = None
    try:
        module, _, name = handler.rpartition(".")
        function = getattr(importlib.import_module(module), name)
    except Exception as error:
        missing = "Runtime.ImportModuleError" if isinstance(error, ImportError) else None
        traceback.print_exc()
        report["error"] = error_document(error, missing)
    report["init_duration_ms"] = (time.monotonic() - started) * 1000
    return function, report


def main(handler: str, address: str) -> None:
    """Load the handler, report, then answer requests until the connection ends."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        stream = connection.makefile("rwb")
        function, report = load(handler)
        write_frame(stream, json.dumps(report).encode())
        while function is not None and (frame := read_frame(stream)) is not None:
            request = json.loads(frame)
            context = LambdaContext(request["request_id"], request["deadline"])
            try:
                answer: dict[str, Any] = {"payload": json.dumps(function(request["event"], context))}
            except Exception as error:
                traceback.print_exc()
                answer = {"error": error_document(error)}
            write_frame(stream, json.dumps(answer).encode())


if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # noqa: PTH109  the function's folder, not this script's
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    main(sys.argv[1], sys.argv[2])
