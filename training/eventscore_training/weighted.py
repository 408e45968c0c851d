"""The figures of each task over rows that count several times or not at all: what a bootstrap asks for, and with weights of 1 the figures.

What does not depend on the weights is computed once. A figure that the rows do not have (a ranking among one class) is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eventscore_training.figures import CALIBRATION_BINS

Weights = NDArray[np.float64]
CLIP = 1e-7
"""Probabilities are kept this far away from 0 and 1 in a logarithm: float32's own resolution."""


class Weighted(Protocol):
    """The figures of one task on fixed rows."""

    def measure(self, weight: Weights) -> dict[str, float]:
        """The figures by name under ``weight`` ``[n]``."""


class Probability:
    """One probability ``[n]`` against yes or no ``[n]``: ranking, likelihood, calibration. The figures of a binary model."""

    def __init__(self, label: NDArray[Any], scores: NDArray[np.floating]) -> None:
        self._positive = np.asarray(label) == 1
        self._scores = scores.astype(np.float64)
        self._rank = np.unique(scores, return_inverse=True)[1]
        probability = np.clip(self._scores, CLIP, 1 - CLIP)
        self._loss = -np.where(self._positive, np.log(probability), np.log1p(-probability))
        self._bin = np.minimum((self._scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)

    def measure(self, weight: Weights) -> dict[str, float]:
        """ROC-AUC, PR-AUC, log loss, calibration error, mean score, share of positives."""
        whole = float(weight.sum())
        return {
            **self.ranking(weight),
            "log_loss": float(weight @ self._loss / whole),
            "calibration_error": self.calibration_error(weight),
            "mean_score": float(weight @ self._scores / whole),
            "positive_share": float(weight @ self._positive / whole),
        }

    def ranking(self, weight: Weights) -> dict[str, float]:
        """ROC-AUC and PR-AUC; nothing where only one class weighs anything."""
        whole, positives = weight.sum(), weight[self._positive].sum()
        if positives in (0, whole):
            return {}
        positive = np.bincount(self._rank, weight * self._positive)
        negative = np.bincount(self._rank, weight * ~self._positive)
        above, chosen = np.cumsum(positive[::-1]), np.cumsum((positive + negative)[::-1])
        precision = np.divide(above, chosen, out=np.zeros_like(above), where=chosen > 0)
        ranked = float(positive @ (np.cumsum(negative) - negative / 2))
        return {
            "roc_auc": ranked / float(positives * (whole - positives)),
            "pr_auc": float(precision @ positive[::-1] / positives),
        }

    def calibration_error(self, weight: Weights) -> float:
        """The expected calibration error."""
        gap = np.bincount(self._bin, weight * (self._scores - self._positive), minlength=CALIBRATION_BINS)
        return float(np.abs(gap).sum() / weight.sum())


class Classes:
    """Probabilities ``[n, K]`` of K classes against the true one's place ``[n]``.

    AUCs: one class against the rest, averaged over the classes that occur. Calibration: of the most likely class.
    """

    def __init__(self, label: NDArray[Any], scores: NDArray[np.floating]) -> None:
        self._label, self._classes = np.asarray(label, np.int64), scores.shape[1]
        self._chosen = scores.argmax(axis=1)
        self._top = Probability(self._chosen == self._label, scores.max(axis=1))
        self._each = [Probability(self._label == place, scores[:, place]) for place in range(self._classes)]
        true = scores[np.arange(len(scores)), self._label].astype(np.float64)
        self._loss = -np.log(np.clip(true, CLIP, None))
        self._confidence = scores.max(axis=1).astype(np.float64)

    def measure(self, weight: Weights) -> dict[str, float]:
        """Accuracy, macro F1, macro ROC-AUC and PR-AUC, log loss, calibration error, mean probability of the most likely class."""
        whole, right = float(weight.sum()), weight * (self._chosen == self._label)
        hits = np.bincount(self._label, right, minlength=self._classes)
        true = np.bincount(self._label, weight, minlength=self._classes)
        taken = np.bincount(self._chosen, weight, minlength=self._classes)
        return {
            "accuracy": float(right.sum() / whole),
            "macro_f1": macro_f1(hits, true, taken),
            **_macro([each.ranking(weight) for each in self._each]),
            "log_loss": float(weight @ self._loss / whole),
            "calibration_error": self._top.calibration_error(weight),
            "mean_score": float(weight @ self._confidence / whole),
        }


class Labels:
    """Probabilities ``[n, L]`` of L independent labels against yes or no ``[n, L]``: averages over the labels, F1 at ``threshold``."""

    def __init__(self, label: NDArray[Any], scores: NDArray[np.floating], threshold: float = 0.5) -> None:
        self._label = np.asarray(label) == 1
        self._taken = scores >= scores.dtype.type(threshold)
        self._exact = (self._taken == self._label).all(axis=1)
        self._each = [Probability(true, score) for true, score in zip(self._label.T, scores.T, strict=True)]

    def measure(self, weight: Weights) -> dict[str, float]:
        """The macro averages, and the share of rows of which every label is right."""
        each = _macro([one.measure(weight) for one in self._each])
        true, taken, hits = (weight @ chosen for chosen in (self._label, self._taken, self._label & self._taken))
        ranking = {name: each.pop(name) for name in ("roc_auc", "pr_auc") if name in each}
        exact = float(weight @ self._exact / weight.sum())
        found = {**ranking, "macro_f1": macro_f1(hits, true, taken), "exact_match": exact, **each}
        return {name: value for name, value in found.items() if not math.isnan(value)}


class Amounts:
    """Predictions ``[n]`` against the truth ``[n]``, in the label's unit; for a learned ``quantile`` its loss and coverage, too.

    Pinball loss: Koenker and Bassett, "Regression quantiles", Econometrica 1978. Coverage: the share of the truth that is at most
    what was predicted, which should be the quantile.
    """

    def __init__(self, label: NDArray[Any], scores: NDArray[np.floating], quantile: float | None = None) -> None:
        self._truth, self._scores = np.asarray(label, np.float64), scores.astype(np.float64)
        error = self._truth - self._scores
        self._absolute, self._squared, self._covered = np.abs(error), error**2, self._truth <= self._scores
        self._pinball = None if quantile is None else np.maximum(quantile * error, (quantile - 1) * error)

    def measure(self, weight: Weights) -> dict[str, float]:
        """RMSE, MAE, R² (left out where the truth does not vary), for a quantile pinball loss and coverage, and both means."""
        whole = weight.sum()
        mean, squared = float(weight @ self._truth / whole), float(weight @ self._squared / whole)
        varies = float(weight @ (self._truth - mean) ** 2 / whole)
        found = {"rmse": math.sqrt(squared), "mae": float(weight @ self._absolute / whole)}
        if varies > 0:
            found["r2"] = 1 - squared / varies
        if self._pinball is not None:
            found["pinball_loss"] = float(weight @ self._pinball / whole)
            found["coverage"] = float(weight @ self._covered / whole)
        return {**found, "mean_score": float(weight @ self._scores / whole), "mean_truth": mean}


class Strangeness:
    """Ranks ``[n]`` of an anomaly model, against known anomalies ``[n]`` where there are any (else None).

    ``rank_error``: a rank says which share of normal events is less strange, so normal events' ranks should be uniform; this is the
    largest distance of their distribution from that (Kolmogorov's).
    """

    def __init__(self, label: NDArray[Any] | None, scores: NDArray[np.floating]) -> None:
        self._ranked = None if label is None else Probability(label, scores)
        self._normal = np.ones(len(scores), bool) if label is None else np.asarray(label) != 1
        self._scores = scores.astype(np.float64)
        self._order = np.argsort(self._scores, kind="stable")

    def measure(self, weight: Weights) -> dict[str, float]:
        """ROC-AUC, PR-AUC and share of positives where anomalies are known; rank error and mean score."""
        whole, found = float(weight.sum()), {}
        if self._ranked is not None:
            found = self._ranked.ranking(weight)
            found["positive_share"] = float(weight @ ~self._normal / whole)
        normal = (weight * self._normal)[self._order]
        if normal.sum() > 0:
            below = np.cumsum(normal) / normal.sum()
            scores = self._scores[self._order]
            # Of equal ranks only the last has all of them below it, and only the first none.
            last = np.append(scores[1:] != scores[:-1], True)
            upper, lower = below[last], np.append(0.0, below[last][:-1])
            found["rank_error"] = float(np.maximum(np.abs(upper - scores[last]), np.abs(lower - scores[last])).max())
        return {**found, "mean_score": float(weight @ self._scores / whole)}


def weighted(
    task: str,
    label: NDArray[Any] | None,
    scores: NDArray[np.floating],
    *,
    threshold: float = 0.5,
    quantile: float | None = None,
) -> Weighted:
    """The figures of ``task`` on these rows; ``threshold`` belongs to multilabel, ``quantile`` to regression."""
    of: Mapping[str, Callable[[Any], Weighted]] = {
        "binary": lambda truth: Probability(truth, scores),
        "multiclass": lambda truth: Classes(truth, scores),
        "multilabel": lambda truth: Labels(truth, scores, threshold),
        "regression": lambda truth: Amounts(truth, scores, quantile),
        "anomaly": lambda truth: Strangeness(truth, scores),
    }
    return of[task](label)


def macro_f1(hits: NDArray[Any], true: NDArray[Any], taken: NDArray[Any]) -> float:
    """The mean F1 over what occurs in the truth or in the answers; NaN where nothing does."""
    there = true + taken > 0
    return float(np.mean(2 * hits[there] / (true + taken)[there])) if there.any() else float("nan")


def _macro(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """By figure, the mean over those that have it."""
    names = dict.fromkeys(name for one in each for name in one)
    return {name: float(np.mean([one[name] for one in each if name in one])) for name in names}
