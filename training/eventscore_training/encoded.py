"""A table as the network takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class EncodedPart:
    """An encoded table: numbers ``[n, numbers]`` float32, rows ``[n, categories]`` int64, the task's label.

    ``target``: what the fit learns instead of a binary label, ``[n]`` from 0 to 1, float32.
    """

    numbers: NDArray[np.float32]
    rows: NDArray[np.int64]
    label: NDArray[Any]
    target: NDArray[np.float32] | None = None
