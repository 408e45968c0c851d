"""Refreshes models beside the invocations: in one thread, which is waited for where nobody else waits.

Lambda freezes an environment as soon as the answer of an invocation is out, and thaws it for the next one. A thread that is frozen
half way harms nobody: it holds no lock that an invocation needs, what it has loaded so far is its own, and the reference to the
model is replaced in one step at the end. What may break is a request that was under way (the other side gave up meanwhile, or the
time in its signature is past): such a failure says nothing about the store and is tried again, quietly the first times.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from eventscore.live_model import LiveModel


class Refresher:
    """``models`` answers the models that are held. Methods belong to the invocation's thread."""

    def __init__(self, models: Callable[[], list[LiveModel]]) -> None:
        self._models = models
        self._thread: threading.Thread | None = None
        self._invocation = 0
        self._started_in = 0

    def invocation_begins(self) -> None:
        """What is still under way from the last invocation has been frozen in between."""
        self._invocation += 1

    def start(self) -> bool:
        """Begin to refresh what is due, unless that is under way; whether anything is."""
        if self._thread is not None:
            if self._thread.is_alive():
                return True
            self._thread = None
        held = self._models()
        due = [live for live in held if live.due()] if held else []
        if due:
            self._thread = threading.Thread(
                target=self._refresh, args=(due, self._invocation), name="refresh-models", daemon=True
            )
            self._started_in = self._invocation
            try:
                self._thread.start()
            except (
                RuntimeError
            ):  # no thread is to be had: what is due stays due, and the events that are delivered stay so
                return False
        return bool(due)

    def wait(self, timeout_s: float) -> None:
        """Wait for the thread, ``timeout_s`` at most; what is not done by then goes on in the next invocation.

        Each invocation after the one that started the thread waits half as long as the one before: a load gets time of its own,
        and a store that hangs costs no more than ``timeout_s`` once again, however many invocations it hangs for.
        """
        if self._thread is not None and timeout_s > 0:
            self._thread.join(timeout_s / 2.0 ** min(self._invocation - self._started_in, 64))

    def _refresh(self, models: list[LiveModel], invocation: int) -> None:
        for live in models:
            live.refresh(lambda: self._invocation != invocation)
