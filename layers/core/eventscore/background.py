"""One piece of work on a thread of its own, whose answer is asked for later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Begins ``work`` at once. A thread and no pool: `concurrent.futures` brings the logging package into a cold start."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._answer: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer.append(self._work())
        except BaseException as error:  # raised again where the answer is asked for
            self._error = error

    def result(self) -> T:
        """The answer, as soon as it is there. Raises whatever ``work`` raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._answer[0]
