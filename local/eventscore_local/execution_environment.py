"""One Lambda execution environment: the Runtime Interface Emulator running the handler as the managed runtime would."""

import http.client
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

from eventscore_local.errors import EmulatorFailed
from eventscore_local.function_configuration import FunctionConfiguration
from eventscore_local.invocation import InvocationResult, read_error, refuse_oversized
from eventscore_local.leashed_process import LeashedProcess
from eventscore_local.loopback_ports import LOOPBACK, free_ports, wait_for_listener

LineCallback = Callable[[str], None]

_PATH = "/2015-03-31/functions/function/invocations"
_START_TIMEOUT_S = 10.0
_ATTEMPTS = 3
_MARGIN_S = 15.0
"""How much longer than the function's timeout an answer may take: initialisation, and the emulator's own reset."""

_INIT_REPORT = re.compile(r"INIT REPORT\(durationMs: ([0-9.]+)\)")
_EMULATORS_OWN_LINE = re.compile(r"^\d\d \w{3} \d{4} [\d:,]+ \[\w+\] \(rapid\) ")


class EmulatedEnvironment:
    """A function behind the Runtime Interface Emulator. One invocation at a time, as on Lambda.

    It initialises lazily, at its first invocation. Its START, END and REPORT lines and all that the function writes go
    to `on_line`, from two threads. An emulator that has died is started anew by the next invocation.
    """

    kind = "runtime-interface-emulator"

    def __init__(self, emulator: Path, function: FunctionConfiguration, on_line: LineCallback) -> None:
        self._emulator = emulator
        self._function = function
        self._on_line = on_line
        self._process: LeashedProcess | None = None
        self._port = 0
        self._one_at_a_time = threading.Lock()
        self._init_reported = threading.Condition()
        self._init_durations_ms: list[float] = []
        self._is_cold = True

    @property
    def init_durations_ms(self) -> tuple[float, ...]:
        """How long each initialisation took, milliseconds: the first, and one after each timeout or exit."""
        return tuple(self._init_durations_ms)

    def invoke(self, payload: bytes) -> InvocationResult:
        """Invoke the function with a JSON document. Raises EmulatorFailed if the emulator itself does not answer."""
        refusal = refuse_oversized(payload)
        if refusal is not None:
            return refusal
        with self._one_at_a_time:
            process = self._process
            if process is None or not process.is_running:
                process = self._process = self._start()
            inits_before = len(self._init_durations_ms)
            started = time.monotonic()
            try:
                status, body = self._post(payload)
            except (OSError, http.client.HTTPException) as error:
                process.close()
                self._process = None
                self._is_cold = True
                raise EmulatorFailed(
                    f"the Runtime Interface Emulator of {self._function.name} died during an invocation ({error!r}). "
                    f"The next one starts it anew. It wrote:\n{process.last_output}"
                ) from error
            duration_ms = (time.monotonic() - started) * 1000
            init_ms = self._init_duration_since(inits_before) if self._is_cold else None
            failure = read_error(status, body)
            self._is_cold = failure is not None and failure.failure.value != "exception"
            return InvocationResult(b"" if failure else body, failure, duration_ms, init_ms)

    def close(self) -> None:
        """End the emulator and the function; returns when both are gone."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def _start(self) -> LeashedProcess:
        output = ""
        for _ in range(_ATTEMPTS):
            self._port, api_port = free_ports(2)
            # -S: no site-packages, so that the project's own environment cannot be imported. -B: functions/ stays clean.
            process = LeashedProcess(
                [
                    self._emulator,
                    *("--runtime-interface-emulator-address", f"{LOOPBACK}:{self._port}"),
                    *("--runtime-api-address", f"{LOOPBACK}:{api_port}"),
                    *(self._function.python, "-S", "-B", "-m", "awslambdaric", self._function.handler),
                ],
                environment=self._function.environment,
                folder=self._function.folder,
                on_stdout=self._on_line,
                on_stderr=self._read_emulator_log,
            )
            self._is_cold = True
            if wait_for_listener(self._port, timeout_s=_START_TIMEOUT_S, process=process):
                return process
            process.close()
            output = process.last_output
        raise EmulatorFailed(f"the Runtime Interface Emulator {self._emulator} did not start. It wrote:\n{output}")

    def _post(self, payload: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=self._function.timeout_s + _MARGIN_S)
        try:
            connection.request("POST", _PATH, payload, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _read_emulator_log(self, line: str) -> None:
        if not _EMULATORS_OWN_LINE.match(line):
            self._on_line(line)
            return
        report = _INIT_REPORT.search(line)
        if report and float(report[1]) >= 1:  # after a failed initialisation it also reports one of 0.1 ms
            with self._init_reported:
                self._init_durations_ms.append(float(report[1]))
                self._init_reported.notify_all()

    def _init_duration_since(self, count: int) -> float | None:
        with self._init_reported:
            self._init_reported.wait_for(lambda: len(self._init_durations_ms) > count, timeout=0.5)
            return self._init_durations_ms[-1] if len(self._init_durations_ms) > count else None
