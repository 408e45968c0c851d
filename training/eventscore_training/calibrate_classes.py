"""Calibration of several classes: the logits are scaled and shifted before the softmax, all by one temperature or each by its own.

Temperature and vector scaling: Guo et al., "On calibration of modern neural networks", ICML 2017. Which one, if any, is decided as in
`calibrate`: on rows that did not fit it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from eventscore_training.calibrate import LARGEST_SCALE, MIN_GAIN

ClassMethod = Literal["none", "temperature", "vector"]
CLASS_METHODS: tuple[ClassMethod, ...] = ("none", "temperature", "vector")
"""From the simplest to the richest."""
_LEAST_SCALE = 0.01
_RIDGE = 1e-5
"""A class that the rows do not hold would be shifted away without end."""


@dataclass(frozen=True)
class ClassScaling:
    """``score = softmax(scales * logits + shifts)``, a scale and a shift for each class."""

    method: ClassMethod
    scales: tuple[float, ...]
    shifts: tuple[float, ...]

    def scores(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probabilities ``[n, classes]``."""
        return np.asarray(softmax(logits.astype(np.float64) * self.scales + self.shifts, axis=1))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``report.json``."""
        return {"method": self.method, "scales": list(self.scales), "shifts": list(self.shifts)}


def choose_class_calibration(
    logits: NDArray[np.floating], label: NDArray[np.int64], wanted: str, fold: NDArray[np.int64]
) -> tuple[ClassScaling, dict[str, float]]:
    """The scaling that ``wanted`` names, or for ``auto`` the best on held-out rows, and each method's log loss on those.

    ``fold`` ``[n]`` is each row's fifth. Where the rest of a fold holds one class only, ``auto`` answers ``none``.
    """
    held_out: dict[ClassMethod, NDArray[np.float64]] = {}
    folds = np.unique(fold)
    teachable = len(folds) > 1 and all(len(np.unique(label[fold != each])) > 1 for each in folds)
    for method in CLASS_METHODS if teachable else ():
        losses = np.empty(len(label))
        for each in folds:
            inside = fold == each
            scores = fit_class_calibration(logits[~inside], label[~inside], method).scores(logits[inside])
            losses[inside] = -np.log(np.clip(scores[np.arange(len(scores)), label[inside]], 1e-7, 1))
        held_out[method] = losses
    chosen: ClassMethod = "none" if wanted == "auto" else cast("ClassMethod", wanted)
    if wanted == "auto":
        for method, losses in held_out.items():
            gain = held_out[chosen] - losses
            if gain.mean() > max(MIN_GAIN, float(gain.std() / np.sqrt(len(label)))):
                chosen = method
    told = {str(name): float(losses.mean()) for name, losses in held_out.items()}
    return fit_class_calibration(logits, label, chosen), told


def fit_class_calibration(logits: NDArray[np.floating], label: NDArray[np.int64], method: ClassMethod) -> ClassScaling:
    """The scaling of this kind with the smallest log loss, which is convex in scales and shifts."""
    classes = logits.shape[1]
    if method == "none":
        return ClassScaling("none", (1.0,) * classes, (0.0,) * classes)
    x, truth = logits.astype(np.float64), np.asarray(label[:, None] == np.arange(classes), np.float64)

    def loss(scales: NDArray[np.float64], shifts: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """The mean loss, and its gradient by each calibrated logit ``[n, classes]``."""
        z = x * scales + shifts
        return float(-(truth * log_softmax(z, axis=1)).sum() / len(x)), (softmax(z, axis=1) - truth) / len(x)

    def of_temperature(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, slope = loss(point, np.zeros(1))
        return value, np.array([(slope * x).sum()])

    def of_vector(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        off = point - start
        value, slope = loss(point[:classes], point[classes:])
        gradient = np.concatenate([(slope * x).sum(axis=0), slope.sum(axis=0)])
        return value + _RIDGE * float(off @ off), gradient + 2 * _RIDGE * off

    scales = 1 if method == "temperature" else classes
    start = np.concatenate([np.ones(scales), np.zeros(0 if method == "temperature" else classes)])
    goal: Callable[[NDArray[np.float64]], Any] = of_temperature if method == "temperature" else of_vector
    bounds = [(_LEAST_SCALE, LARGEST_SCALE)] * scales + [(None, None)] * (len(start) - scales)
    found = minimize(goal, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500}).x.tolist()
    if method == "temperature":
        return ClassScaling(method, (found[0],) * classes, (0.0,) * classes)
    return ClassScaling(method, tuple(found[:classes]), tuple(found[classes:]))
