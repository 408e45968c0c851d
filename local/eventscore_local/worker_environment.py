"""An execution environment without Lambda's emulator: a plain process that runs the handler (macOS)."""

import json
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from eventscore_local.function_configuration import FunctionConfiguration
from eventscore_local.invocation import Failure, FunctionError, InvocationResult, refuse_oversized
from eventscore_local.leashed_process import LeashedProcess
from eventscore_local.worker import read_frame, write_frame

_WORKER = Path(__file__).with_name("worker.py")
_CONNECT_TIMEOUT_S = 10.0


class _Worker:
    """A running worker process and the connection to it."""

    def __init__(self, function: FunctionConfiguration, on_line: Callable[[str], None]) -> None:
        with tempfile.TemporaryDirectory(prefix="eventscore-") as folder, socket.socket(socket.AF_UNIX) as listener:
            address = str(Path(folder) / "socket")
            listener.bind(address)
            listener.listen(1)
            listener.settimeout(_CONNECT_TIMEOUT_S)
            command: list[str | Path] = [function.python, "-S", "-B", _WORKER, function.handler, address]
            environment = {**function.environment, "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:0"}
            self.process = LeashedProcess(
                command, environment=environment, folder=function.folder, on_stdout=on_line, on_stderr=on_line
            )
            try:
                self._connection, _ = listener.accept()
            except TimeoutError:
                self.process.close()
                raise
        self._stream = self._connection.makefile("rwb")

    def send(self, document: object) -> None:
        write_frame(self._stream, json.dumps(document).encode())

    def receive(self, timeout_s: float) -> dict[str, object]:
        """The next frame. Raises TimeoutError, or ConnectionError when the process is gone."""
        self._connection.settimeout(timeout_s)
        frame = read_frame(self._stream)
        if frame is None:
            raise ConnectionError("the worker process has ended")
        document: dict[str, object] = json.loads(frame)
        return document

    def close(self) -> None:
        self.process.close()
        self._stream.close()
        self._connection.close()


class WorkerEnvironment:
    """The same interface as EmulatedEnvironment, over a plain process. One invocation at a time."""

    kind = "worker-process"

    def __init__(self, function: FunctionConfiguration, on_line: Callable[[str], None]) -> None:
        self._function = function
        self._on_line = on_line
        self._worker: _Worker | None = None
        self._one_at_a_time = threading.Lock()
        self._init_durations_ms: list[float] = []

    @property
    def init_durations_ms(self) -> tuple[float, ...]:
        """How long each initialisation took, milliseconds."""
        return tuple(self._init_durations_ms)

    def invoke(self, payload: bytes) -> InvocationResult:
        """Invoke the function with a JSON document."""
        refusal = refuse_oversized(payload)
        if refusal is not None:
            return refusal
        with self._one_at_a_time:
            started = time.monotonic()
            init_ms: float | None = None
            try:
                if self._worker is None:
                    self._worker = _Worker(self._function, self._on_line)
                    report = self._worker.receive(self._function.timeout_s)
                    init_ms = float(str(report["init_duration_ms"]))
                    self._init_durations_ms.append(init_ms)
                    if "error" in report:
                        return self._failed(Failure.INIT, report["error"], started, init_ms)
                request = {
                    "deadline": time.time() + self._function.timeout_s,
                    "request_id": str(uuid.uuid4()),
                    "event": json.loads(payload),
                }
                self._worker.send(request)
                answer = self._worker.receive(self._function.timeout_s)
            except TimeoutError:
                message = f"Task timed out after {self._function.timeout_s:.2f} seconds"
                error = {"errorType": "Sandbox.Timedout", "errorMessage": message}
                return self._failed(Failure.TIMEOUT, error, started, init_ms)
            except ConnectionError as error:
                document = {"errorType": "Runtime.ExitError", "errorMessage": str(error)}
                return self._failed(Failure.EXIT, document, started, init_ms)
            if "error" in answer:
                return self._failed(Failure.EXCEPTION, answer["error"], started, init_ms)
            duration_ms = (time.monotonic() - started) * 1000
            return InvocationResult(str(answer["payload"]).encode(), None, duration_ms, init_ms)

    def close(self) -> None:
        """End the process; returns when it is gone."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _failed(self, failure: Failure, document: object, started: float, init_ms: float | None) -> InvocationResult:
        if failure is not Failure.EXCEPTION:
            self.close()
        fields = document if isinstance(document, dict) else {}
        error = FunctionError(failure, str(fields.get("errorType", "")), str(fields.get("errorMessage", "")))
        return InvocationResult(b"", error, (time.monotonic() - started) * 1000, init_ms)
