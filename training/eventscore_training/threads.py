"""How torch's threads wait for each other: asleep. Spinning, OpenMP's default, is quick only where every thread has a processor to itself.

On two cores that other processes wanted, too, a step took 15 to 30 times as long with threads that spin (docs/benchmarks.md).
"""

from __future__ import annotations

import os

WAIT_POLICY = "OMP_WAIT_POLICY"


def wait_asleep() -> None:
    """Ask for it; of use before torch is imported only. Whoever has set the variable keeps what it says."""
    os.environ.setdefault(WAIT_POLICY, "PASSIVE")
