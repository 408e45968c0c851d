"""How long to wait before another try: full jitter, so that those who were throttled together do not come back together.

The formula is that of https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/: a random part of
``min(cap, base * 2 ** tries)``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec


def _chance() -> float:
    import random  # it loads OpenSSL's hashes, which a first event need not wait for

    return random.random()  # noqa: S311 - no secret hangs on it


class Backoff(msgspec.Struct, frozen=True):
    """Waits of a random part of ``base_s``, doubled at each try up to ``cap_s``; ``chance`` answers from 0 to 1."""

    base_s: float = 0.05
    cap_s: float = 3.2
    tries: int = 7
    """Rounds in a row in which nothing was taken, after which a sink is given up."""
    chance: Callable[[], float] = _chance
    sleep: Callable[[float], None] = time.sleep

    def wait_s(self, tries: int) -> float:
        """Seconds to wait after ``tries`` tries that failed (1 or more)."""
        return self.chance() * min(self.cap_s, self.base_s * 2.0 ** (tries - 1))
