"""Calibration: a scale and a shift of the logit, so that a score of 0.3 comes true three times in ten.

Fitted on the validation part, on the logits of the very graph that is shipped (quantized), and folded into that graph.
Platt scaling: J. Platt, "Probabilistic outputs for support vector machines", 1999. Temperature: the scale alone, Guo et al., ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_MAX_STEPS = 100
_SMALLEST_STEP = 1e-10
_RIDGE = 1e-9


@dataclass(frozen=True)
class Calibration:
    """``score = sigmoid(scale * logit + shift)``."""

    scale: float
    shift: float

    def scores(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities of ``logits``, ``[n]``."""
        return _sigmoid(self.scale * logits.astype(np.float64) + self.shift)


def fit_calibration(
    logits: NDArray[np.floating], label: NDArray[np.int8], method: Literal["platt", "temperature"]
) -> Calibration:
    """The scale (and for ``platt`` the shift) with the smallest log loss, by Newton's method: the loss is convex.

    Logits that separate the classes backwards keep their order: a scale below 0.01 would throw the ranking away.
    """
    x, truth = logits.astype(np.float64), label.astype(np.float64)
    design = np.stack([x, np.ones_like(x)], axis=1) if method == "platt" else x[:, None]
    weights = np.array([1.0, 0.0])[: design.shape[1]]
    for _ in range(_MAX_STEPS):
        probability = _sigmoid(design @ weights)
        gradient = design.T @ (probability - truth) / len(x)
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design / len(x)
        step = np.linalg.solve(curvature + _RIDGE * np.eye(len(weights)), gradient)
        # Halve until the loss falls: far out the curvature is flat, and a whole step would overshoot.
        factor = 1.0
        while factor > _SMALLEST_STEP and _loss(design @ (weights - factor * step), truth) > _loss(
            design @ weights, truth
        ):
            factor /= 2
        weights = weights - factor * step
        if float(np.abs(factor * step).max()) < _SMALLEST_STEP:
            break
    scale = max(float(weights[0]), 0.01)
    return Calibration(scale, float(weights[1]) if method == "platt" else 0.0)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


def _loss(x: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    return float(np.mean(np.logaddexp(0, x) - truth * x))
