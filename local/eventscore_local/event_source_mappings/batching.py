"""When a batch is closed: it is full, its window is over, or the next record would take the payload over 6 MB."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from eventscore_local.errors import MappingMisconfigured
from eventscore_local.invocation import PAYLOAD_LIMIT_BYTES

_ENVELOPE_BYTES = 4096
"""Room for what surrounds the records in a payload."""
_SEPARATOR_BYTES = 64
"""Room for the comma after a record, or for the name of its partition."""


class Encoded(Protocol):
    """A record that knows its JSON."""

    @property
    def json(self) -> bytes:
        """The record as it will stand in the payload."""


E = TypeVar("E", bound=Encoded)


@dataclass(frozen=True)
class BatchLimits:
    """Batch size (records) and batching window (seconds), as CreateEventSourceMapping takes them."""

    size: int = 100
    window_s: float = 0.0
    payload_bytes: int = PAYLOAD_LIMIT_BYTES

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 10_000:
            raise MappingMisconfigured(f"expected a batch size of 1 to 10000, got {self.size}")
        if not 0 <= self.window_s <= 300:
            raise MappingMisconfigured(f"expected a batching window of 0 to 300 s, got {self.window_s:g}")


class OpenBatch(Generic[E]):
    """A batch that is being gathered. Its window begins with its first record."""

    def __init__(self, limits: BatchLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._opened_at = 0.0
        self._size_bytes = _ENVELOPE_BYTES
        self.records: list[E] = []

    def fits(self, record: E) -> bool:
        """Whether the record may join. One that is too large for any batch goes alone."""
        if not self.records:
            return True
        grown = self._size_bytes + len(record.json) + _SEPARATOR_BYTES
        return len(self.records) < self._limits.size and grown <= self._limits.payload_bytes

    def add(self, record: E) -> None:
        """Take a record in."""
        if not self.records:
            self._opened_at = self._clock()
        self.records.append(record)
        self._size_bytes += len(record.json) + _SEPARATOR_BYTES

    @property
    def room(self) -> int:
        """How many more records it may hold."""
        return self._limits.size - len(self.records)

    @property
    def remaining_window_s(self) -> float:
        """Seconds until the window is over; the whole window if there is no record yet."""
        if not self.records:
            return self._limits.window_s
        return max(0.0, self._opened_at + self._limits.window_s - self._clock())

    @property
    def is_due(self) -> bool:
        """Whether it should be invoked with now."""
        return bool(self.records) and (self.room <= 0 or self.remaining_window_s <= 0)
