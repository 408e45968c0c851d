"""What all event source mappings have in common: threads that poll, a way to stop them, counts, whether all is done."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from eventscore_local.errors import EmulatorFailed
from eventscore_local.invocation import Failure, FunctionError, InvocationResult

Invoke = Callable[[bytes], InvocationResult]
"""How a mapping reaches the function: a payload (JSON) in, its result out. Called from several threads."""

_LONGEST_BACKOFF_S = 2.0


@dataclass(frozen=True)
class MappingStats:
    """Counts since the mapping started.

    `received` records taken from the source (again for one that came back), `invocations` of the function, `failed` ones
    among them (an error, not a partial response), `retries`: records that were handed to the function again by this
    mapping or left for the source to hand out again, `on_failure` records discarded to the on-failure destination.
    """

    received: int = 0
    invocations: int = 0
    failed: int = 0
    retries: int = 0
    on_failure: int = 0


class EventSourceMapping:
    """Base of the mappings: subclasses say what one poller does. Also a context manager: started inside, stopped after.

    An exception that a poller cannot handle (the source is gone) ends the mapping; `wait_until_idle` and `stop` raise it.
    """

    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke
        self._stop_requested = threading.Event()
        self._threads: list[threading.Thread] = []
        self._stats_lock = threading.Lock()
        self._stats = MappingStats()
        self._failure: BaseException | None = None

    @property
    def stats(self) -> MappingStats:
        """The counts so far."""
        with self._stats_lock:
            return self._stats

    @property
    def idle(self) -> bool:
        """Whether the source, when last asked, held nothing that this mapping has not brought to an end."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin to poll."""
        self._stop_requested.clear()
        self._threads = [
            threading.Thread(target=self._guarded, args=(poller,), name=f"{type(self).__name__}-{number}", daemon=True)
            for number, poller in enumerate(self._pollers())
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let invocations under way end, then stop; what was not delivered stays at the source."""
        self._stop_requested.set()
        for thread in self._threads:
            thread.join()
        self._raise_failure()

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Whether the mapping became idle within `timeout_s`."""
        called_at = time.monotonic()
        while not self._idle_since(called_at):
            self._raise_failure()
            if time.monotonic() > called_at + timeout_s:
                return False
            time.sleep(0.05)
        return True

    def _idle_since(self, moment: float) -> bool:
        """As `idle`, by what the source said after `moment` (time.monotonic)."""
        return self.idle

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _pollers(self) -> list[Callable[[], None]]:
        """One function per thread; each returns soon after a stop was requested."""
        raise NotImplementedError

    def _count(
        self, *, received: int = 0, invocations: int = 0, failed: int = 0, retries: int = 0, on_failure: int = 0
    ) -> None:
        with self._stats_lock:
            was = self._stats
            self._stats = replace(
                was,
                received=was.received + received,
                invocations=was.invocations + invocations,
                failed=was.failed + failed,
                retries=was.retries + retries,
                on_failure=was.on_failure + on_failure,
            )

    def _invoke_counted(self, payload: bytes) -> InvocationResult:
        """Invoke the function; an environment that dies is a failed invocation, to be retried like any other."""
        try:
            result = self._invoke(payload)
        except EmulatorFailed as error:
            result = InvocationResult(b"", FunctionError(Failure.EXIT, "EmulatorFailed", str(error)))
        self._count(invocations=1, failed=1 if result.error else 0)
        return result

    def _back_off(self, attempt: int, first_s: float) -> bool:
        """Wait before retry number `attempt` (from 1), twice as long each time; False if a stop was requested."""
        return not self._stop_requested.wait(min(_LONGEST_BACKOFF_S, first_s * 2 ** min(attempt - 1, 16)))

    def _guarded(self, poller: Callable[[], None]) -> None:
        try:
            poller()
        except BaseException as error:
            self._failure = error
            self._stop_requested.set()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
