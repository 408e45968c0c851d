"""Calibration: a monotone map of the logit, so that a score of 0.3 comes true three times in ten; or none, where none helps.

Fitted on the validation part, on the logits of the very graph that is shipped (quantized), and folded into that graph (`fold`).
Which map is best is decided on rows that did not fit it: the validation part is cut in five, and each fifth is scored by a map
that was fitted on the other four.

Platt scaling: J. Platt, "Probabilistic outputs for support vector machines", 1999. Temperature: the scale alone, Guo et al., ICML 2017.
Isotonic: Zadrozny and Elkan, KDD 2002; here over bins of equal counts and linear between their centres, which keeps the ranking.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

Method = Literal["none", "temperature", "platt", "isotonic"]
METHODS: tuple[Method, ...] = ("none", "temperature", "platt", "isotonic")
"""From the simplest to the richest."""
FOLDS = 5
MIN_GAIN = 1e-5
"""A richer map must beat a simpler one by this much log loss (nats) on held-out rows, and by more than one standard error."""
LARGEST_SCALE = 100.0
"""A steeper sigmoid says 0 or 1, of which no few separable rows are proof."""
_MAX_STEPS = 100
_SMALLEST_STEP = 1e-10
_RIDGE = 1e-9
_MAX_BINS = 32
_MIN_BIN_ROWS = 50


@dataclass(frozen=True)
class Calibration:
    """``score = sigmoid(scale * logit + shift)``; with ``knots``, ``score = sigmoid(g(logit))``.

    ``g`` goes through the knots ``(logit, calibrated logit)``, linear between them and with slope 1 beyond the first and the last.
    """

    method: Method
    scale: float = 1.0
    shift: float = 0.0
    knots: tuple[tuple[float, float], ...] = ()

    def scores(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities of ``logits``, ``[n]``."""
        x = logits.astype(np.float64)
        if not self.knots:
            return _sigmoid(self.scale * x + self.shift)
        at, to = np.array(self.knots).T
        return _sigmoid(np.interp(x, at, to) + np.minimum(x - at[0], 0) + np.maximum(x - at[-1], 0))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``report.json``."""
        return {**asdict(self), "knots": [list(knot) for knot in self.knots]}


@dataclass(frozen=True)
class CalibrationChoice:
    """The chosen map, fitted on all rows, and the log loss of each method that was tried on rows that did not fit it."""

    calibration: Calibration
    held_out: Mapping[str, float]


def choose_calibration(
    logits: NDArray[np.floating], label: NDArray[np.int8], wanted: Method | Literal["auto"], fold: NDArray[np.int64]
) -> CalibrationChoice:
    """The map that ``wanted`` names, or for ``auto`` the best on held-out rows; ``fold`` ``[n]`` is each row's fifth.

    A fold whose other rows hold one class teaches nothing; if that is so anywhere, ``auto`` answers ``none``.
    """
    held_out: dict[Method, NDArray[np.float64]] = {}
    folds = np.unique(fold)
    teachable = len(folds) > 1 and all(0 < label[fold != each].mean() < 1 for each in folds)
    for method in METHODS if teachable else ():
        scores = np.empty(len(label))
        for each in folds:
            inside = fold == each
            scores[inside] = fit_calibration(logits[~inside], label[~inside], method).scores(logits[inside])
        clipped = np.clip(scores, 1e-7, 1 - 1e-7)
        held_out[method] = -np.where(label == 1, np.log(clipped), np.log1p(-clipped))
    chosen: Method = "none" if wanted == "auto" else wanted
    if wanted == "auto":
        for method, losses in held_out.items():
            gain = held_out[chosen] - losses
            if gain.mean() > max(MIN_GAIN, float(gain.std() / np.sqrt(len(label)))):
                chosen = method
    return CalibrationChoice(
        fit_calibration(logits, label, chosen), {str(name): float(losses.mean()) for name, losses in held_out.items()}
    )


def stretches(order: NDArray[np.int64] | None, rows: int, seed: int) -> NDArray[np.int64]:
    """Five folds ``[rows]``: stretches of equal length along ``order`` (the events' times), at random where there is none."""
    keys = np.random.default_rng(seed).permutation(rows) if order is None else order
    fold = np.empty(rows, np.int64)
    fold[np.argsort(keys, kind="stable")] = np.arange(rows) * FOLDS // max(1, rows)
    return fold


def fit_calibration(logits: NDArray[np.floating], label: NDArray[np.int8], method: Method) -> Calibration:
    """The map of this kind with the smallest log loss."""
    match method:
        case "none":
            return Calibration("none")
        case "isotonic":
            return _isotonic(logits.astype(np.float64), label)
        case _:
            return _scaling(logits, label, method)


def _scaling(logits: NDArray[np.floating], label: NDArray[np.int8], method: Method) -> Calibration:
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
    scale = min(max(float(weights[0]), 0.01), LARGEST_SCALE)
    return Calibration(method, scale, float(weights[1]) if method == "platt" else 0.0)


def _isotonic(x: NDArray[np.float64], label: NDArray[np.int8]) -> Calibration:
    order = np.argsort(x, kind="stable")
    bins = int(np.clip(len(x) // _MIN_BIN_ROWS, 1, _MAX_BINS))
    # Half a row of each class in every bin: a bin of one class alone has no logit.
    counts, means, shares = [], [], []
    for part in np.array_split(order, bins):
        counts.append(len(part))
        means.append(float(x[part].mean()))
        shares.append((float(label[part].sum()) + 0.5) / (len(part) + 1))
    fitted = IsotonicRegression().fit_transform(means, shares, sample_weight=counts)
    knots: list[tuple[float, float]] = []
    for level in np.unique(fitted):
        pooled = np.flatnonzero(fitted == level)
        at = float(np.average(np.array(means)[pooled], weights=np.array(counts)[pooled]))
        # Bins of (nearly) equal logits make one knot: in float32 two of them would divide by zero.
        if not knots or at > knots[-1][0] + 1e-4 * (1 + abs(at)):
            knots.append((at, float(np.log(level) - np.log1p(-level))))
    return Calibration("isotonic", knots=tuple(knots))


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


def _loss(x: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    return float(np.mean(np.logaddexp(0, x) - truth * x))
