"""How long the parts of a piece of work took, in milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Collects named parts; ``clock`` answers seconds and is injected in tests."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.parts_ms: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time inside the block to the part ``name``, also when the block raises."""
        began = self._clock()
        try:
            yield
        finally:
            self.parts_ms[name] = self.parts_ms.get(name, 0.0) + (self._clock() - began) * 1000
