"""One piece of work on a thread of its own, whose answer is asked for later."""

from __future__ import annotations

import _thread
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Begins ``work`` as soon as whoever asks for it lets go of the interpreter, which it does wherever it waits or leaves Python.

    A thread and no pool: `concurrent.futures` brings the logging package into a cold start. And not one of `threading`, whose start
    hands the interpreter over: what should be done beside this work would wait for the next switch, some milliseconds.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._answer: list[T] = []
        self._error: BaseException | None = None
        self._under_way = _thread.allocate_lock()
        self._under_way.acquire()
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        try:
            self._answer.append(self._work())
        except BaseException as error:  # raised again where the answer is asked for
            self._error = error
        finally:
            self._under_way.release()

    def result(self) -> T:
        """The answer, as soon as it is there. Raises whatever ``work`` raised."""
        with self._under_way:
            if self._error is not None:
                raise self._error
            return self._answer[0]
