"""Execution environments of one function, one per concurrent invocation."""

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from eventscore_local.execution_environment import EmulatedEnvironment
from eventscore_local.function_configuration import FunctionConfiguration
from eventscore_local.invocation import InvocationResult
from eventscore_local.isolated_tools import find_runtime_interface_emulator
from eventscore_local.worker_environment import WorkerEnvironment


class ExecutionEnvironment(Protocol):
    """What runs the function: one invocation at a time."""

    kind: str

    @property
    def init_durations_ms(self) -> tuple[float, ...]:
        """How long each initialisation took, milliseconds."""

    def invoke(self, payload: bytes) -> InvocationResult:
        """Invoke the function with a JSON document."""

    def close(self) -> None:
        """End the environment's processes."""


class EnvironmentPool:
    """A context manager: `size` environments; `invoke` takes a free one, or waits until one is free.

    The most recently used free environment is taken first, as Lambda does, so that idle ones stay cold.
    `kind` says what runs the function: "runtime-interface-emulator", or "worker-process" where that has no binary.
    `on_line` gets every line that the function logs, from several threads at once.
    """

    def __init__(
        self,
        root: Path,
        function: FunctionConfiguration,
        size: int,
        on_line: Callable[[str], None] = lambda _: None,
        *,
        force_worker: bool = False,
    ) -> None:
        emulator = None if force_worker else find_runtime_interface_emulator(root)
        self._environments: list[ExecutionEnvironment] = [
            WorkerEnvironment(function, on_line)
            if emulator is None
            else EmulatedEnvironment(emulator, function, on_line)
            for _ in range(size)
        ]
        self.kind = self._environments[0].kind
        self._free: queue.LifoQueue[ExecutionEnvironment] = queue.LifoQueue()
        for environment in reversed(self._environments):
            self._free.put(environment)
        self._results_lock = threading.Lock()
        self._durations_ms: list[float] = []

    @property
    def init_durations_ms(self) -> tuple[float, ...]:
        """How long each initialisation of any environment took, milliseconds."""
        return tuple(duration for one in self._environments for duration in one.init_durations_ms)

    @property
    def warm_durations_ms(self) -> tuple[float, ...]:
        """Durations of all successful warm invocations so far, milliseconds, as their callers saw them."""
        with self._results_lock:
            return tuple(self._durations_ms)

    def invoke(self, payload: bytes) -> InvocationResult:
        """Invoke the function in a free environment; waits for one. Raises EmulatorFailed if it dies meanwhile."""
        environment = self._free.get()
        try:
            result = environment.invoke(payload)
        finally:
            self._free.put(environment)
        if result.error is None and result.init_duration_ms is None:
            with self._results_lock:
                self._durations_ms.append(result.duration_ms)
        return result

    def close(self) -> None:
        """End all environments; waits for invocations under way."""
        for _ in self._environments:
            self._free.get()
        for environment in self._environments:
            environment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
