"""When something may be tried again: after an interval, which doubles with each failure in a row, up to a cap."""

from __future__ import annotations

from typing import Final

_DOUBLINGS: Final = 30


class RetrySchedule:
    """All times are seconds of one clock. A clock that was set back makes what waits due: too early is better than never."""

    def __init__(self, interval_s: float, cap_s: float) -> None:
        self._interval_s = interval_s
        self._cap_s = max(interval_s, cap_s)
        self._failures = 0
        self._began_s = 0.0
        self.wait_s = 0.0
        """How long the wait is that began with the last try; 0 before the first."""

    def due(self, now_s: float) -> bool:
        """Whether the wait is over."""
        return not 0 <= now_s - self._began_s < self.wait_s

    def succeeded(self, now_s: float) -> None:
        """The try worked: the next is due after one interval."""
        self._failures = 0
        self._began_s, self.wait_s = now_s, self._interval_s

    def failed(self, now_s: float) -> None:
        """The try failed: the next is due after an interval, after two, after four, up to the cap."""
        self.wait_s = min(self._cap_s, self._interval_s * 2 ** min(self._failures, _DOUBLINGS))
        self._failures += 1
        self._began_s = now_s

    def at_once(self) -> None:
        """Forget what failed: the next try is due now."""
        self._failures = 0
        self.wait_s = 0.0
