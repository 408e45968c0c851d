"""The table of the training benchmark: numbers, categories, and a label that follows from both, neither linearly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NUMBERS, CATEGORIES, VALUES = 20, 6, 500
_HELD_OUT = 0.25
"""Rows of the validation and of the test part, as a share of those of the training part."""


class Part(NamedTuple):
    """Encoded: numbers ``[n, 20]`` float32, rows of categories ``[n, 6]`` int64 (2 is the first value's), label ``[n]`` int8."""

    numbers: NDArray[np.float32]
    rows: NDArray[np.int64]
    label: NDArray[np.int8]


class Parts(NamedTuple):
    """A training, a validation and a test part, drawn alike."""

    train: Part
    validation: Part
    test: Part


def make_parts(rows: int, seed: int = 0) -> Parts:
    """``rows`` of training, and a quarter as many for each other part; the same for the same seed."""
    random = np.random.default_rng(seed)
    effects = random.normal(size=(CATEGORIES, VALUES)).astype(np.float32)
    weights = random.normal(size=(NUMBERS, 8)).astype(np.float32) / np.sqrt(NUMBERS)

    def part(count: int) -> Part:
        numbers = random.normal(size=(count, NUMBERS)).astype(np.float32)
        values = random.integers(0, VALUES, (count, CATEGORIES))
        bent = np.abs(numbers @ weights).sum(axis=1) - 6.4
        known = effects[np.arange(CATEGORIES), values]
        logit = bent + 0.6 * known[:, :4].sum(axis=1) + 0.6 * known[:, 4] * np.sign(numbers[:, 0]) - 0.5
        label = (random.random(count) < 1 / (1 + np.exp(-logit))).astype(np.int8)
        return Part(numbers, values + 2, label)

    others = max(200, int(rows * _HELD_OUT))
    return Parts(part(rows), part(others), part(others))
