"""How good scores are against the truth, by task: ranking, probability, calibration, distance.

`metrics_of` is the entry; the figures of a binary model are scikit-learn's and this module's own, the others those of `weighted`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from eventscore_training.figures import CALIBRATION_BINS, Figure, main_figure
from eventscore_training.weighted import CLIP, weighted

__all__ = [
    "CALIBRATION_BINS", "Figure", "Metrics", "ReliabilityBin", "calibration_error", "evaluate", "log_loss",
    "main_figure", "metrics_of", "reliability", "roc_auc",
]  # fmt: skip

Label = NDArray[np.int8]
Scores = NDArray[np.floating]


@dataclass(frozen=True)
class Metrics:
    """Figures on one part; ``calibration_error`` is the expected calibration error over 15 equally wide bins."""

    roc_auc: float
    pr_auc: float
    log_loss: float
    calibration_error: float
    mean_score: float
    positive_share: float

    def as_dict(self) -> dict[str, float]:
        """The figures by name, as the manifest keeps them."""
        return asdict(self)


@dataclass(frozen=True)
class ReliabilityBin:
    """Scores of one bin: how many, their mean, and the share of positives among them."""

    count: int
    mean_score: float
    positive_share: float


def metrics_of(
    task: str,
    label: NDArray[Any] | None,
    scores: Scores,
    *,
    threshold: float = 0.5,
    quantile: float | None = None,
) -> dict[str, float]:
    """The figures of ``scores`` (as the graph answers them) against ``label`` (as `Table.label` holds it), by name.

    ``threshold``: from which probability a label of a multilabel model is named. ``quantile``: what a regression learned, if it
    learned one. A figure that these rows do not have is left out: a ranking among one class, R² of a truth that does not vary.
    """
    if task == "binary" and label is not None and 0 < np.mean(label) < 1:
        return evaluate(label, scores).as_dict()
    return weighted(task, label, scores, threshold=threshold, quantile=quantile).measure(np.ones(len(scores)))


def evaluate(label: Label, scores: Scores) -> Metrics:
    """All figures of a binary model: ``scores`` (probabilities ``[n]``) against ``label`` (0 or 1, ``[n]``)."""
    return Metrics(
        roc_auc=roc_auc(label, scores),
        pr_auc=float(average_precision_score(label, scores)),
        log_loss=log_loss(label, scores),
        calibration_error=calibration_error(label, scores),
        mean_score=float(np.mean(scores, dtype=np.float64)),
        positive_share=float(label.mean()),
    )


def roc_auc(label: Label, scores: Scores) -> float:
    """Probability that a positive scores above a negative."""
    return float(roc_auc_score(label, scores))


def log_loss(label: Label, scores: Scores) -> float:
    """Mean negative log likelihood in nats; scores are kept 1e-7 away from 0 and 1, float32's own resolution."""
    probability = np.clip(scores.astype(np.float64), CLIP, 1 - CLIP)
    return float(-np.mean(np.where(label == 1, np.log(probability), np.log1p(-probability))))


def reliability(label: Label, scores: Scores, bins: int = CALIBRATION_BINS) -> tuple[ReliabilityBin, ...]:
    """The non-empty ones of ``bins`` equally wide bins of the score."""
    place = np.minimum((scores.astype(np.float64) * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins)
    summed = np.bincount(place, weights=scores.astype(np.float64), minlength=bins)
    positive = np.bincount(place, weights=label.astype(np.float64), minlength=bins)
    return tuple(
        ReliabilityBin(int(counts[k]), float(summed[k] / counts[k]), float(positive[k] / counts[k]))
        for k in np.flatnonzero(counts)
    )


def calibration_error(label: Label, scores: Scores, bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error: the mean distance of score and share of positives, weighted by the bins' counts.

    Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.
    """
    distances = [each.count * abs(each.mean_score - each.positive_share) for each in reliability(label, scores, bins)]
    return float(sum(distances) / len(label))
