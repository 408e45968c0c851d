"""What judges a model of one task: its figures, what int8 may cost it, what is told by slice, which score decides.

The one place of the evaluation that knows the tasks by name, beside `weighted` (how figures are computed), `figures` (what they are
called) and `pages` (how they are shown).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventscore.contract import Contract
from eventscore.contract_grammar import Task
from eventscore_training.evaluate import metrics_of
from eventscore_training.figures import RMSE, ROC_AUC, Figure, compared_figures
from eventscore_training.weighted import Weighted, weighted

Truth = NDArray[Any] | None
"""As `Table.label` holds it; None, or zeros that nobody reads, where an anomaly model knows no anomalies."""
Scores = NDArray[np.floating]
"""As the graph answers them: ``[n]``, or ``[n, outputs]``."""


@dataclass(frozen=True)
class Int8Limit:
    """What quantization may cost: the gate that says so, the figure that it reads, and the limit where the contract sets none."""

    gate: str | None
    figure: Figure | None
    default: float


_AUC_LIMIT = Int8Limit("max_int8_auc_loss", ROC_AUC, 0.001)
_INT8: Mapping[str, Int8Limit] = {
    "binary": _AUC_LIMIT,
    "multiclass": _AUC_LIMIT,
    "multilabel": _AUC_LIMIT,
    "regression": Int8Limit("max_int8_rmse_increase", RMSE, 0.005),
    "anomaly": _AUC_LIMIT,
}
_RANKS_LIMIT = Int8Limit(None, None, 0.01)
_SLICED: Mapping[str, tuple[str, ...]] = {
    "binary": ("positive_share", "mean_score", "roc_auc", "calibration_error"),
    "multiclass": ("mean_score", "accuracy", "roc_auc", "calibration_error"),
    "multilabel": ("positive_share", "mean_score", "roc_auc", "calibration_error"),
    "regression": ("mean_truth", "mean_score", "rmse", "mae"),
    "anomaly": ("positive_share", "mean_score", "roc_auc"),
}
_TWO_SIDED = ("binary", "anomaly")


@dataclass(frozen=True)
class Judge:
    """Judges one model. Make one with :func:`judge_of`."""

    task: Task
    labelled: bool
    threshold: float
    quantile: float | None
    int8_limit: float

    def figures(self, label: Truth, scores: Scores) -> Weighted:
        """The figures of rows that may count several times."""
        return weighted(self.task, self._known(label), scores, threshold=self.threshold, quantile=self.quantile)

    def metrics(self, label: Truth, scores: Scores) -> dict[str, float]:
        """The figures by name; one that the rows do not have is left out."""
        return metrics_of(self.task, self._known(label), scores, threshold=self.threshold, quantile=self.quantile)

    @property
    def main(self) -> Figure:
        """The figure that judges this model first."""
        return self.compared[0]

    @property
    def compared(self) -> tuple[Figure, ...]:
        """The figures in which it must not be worse than the live version."""
        return compared_figures(self.task, self.labelled, self.quantile)

    @property
    def sliced(self) -> tuple[str, ...]:
        """The figures that are told of each slice, the main one among them."""
        names = _SLICED[self.task] if self.labelled else ("mean_score",)
        return names if self.main.name in names else (*names, self.main.name)

    def deciding(self, scores: Scores) -> Scores:
        """The score ``[n]`` that the decisions' bands read: the only one, or the highest of a row."""
        return scores if scores.ndim == 1 else scores.max(axis=1)

    def positives(self, label: Truth) -> NDArray[np.bool_] | None:
        """Which rows are positive ``[n]``; None where the task does not tell positives from negatives."""
        known = label is not None and self.labelled and self.task in _TWO_SIDED
        return np.asarray(label) == 1 if known else None

    def comparable(self, scores: Scores, reference: Scores) -> NDArray[np.float64]:
        """``scores`` of an uncalibrated graph, for a comparison with those of the ``reference``.

        Reconstruction errors have no unit that would mean anything: they become ranks among the reference's.
        """
        if self.task != "anomaly":
            return scores.astype(np.float64)
        return np.searchsorted(np.sort(reference), scores, side="left") / max(1, len(reference))

    def int8_loss(self, label: Truth, fp32: Scores, int8: Scores) -> float:
        """What int8 costs in its figure; the mean move of a score without one, or where the rows do not have it."""
        figure = self._int8.figure
        if figure is not None:
            before, after = (self.metrics(label, scores).get(figure.name) for scores in (fp32, int8))
            if before is not None and after is not None:
                return figure.loss(before, after)
        return float(np.abs(int8.astype(np.float64) - fp32.astype(np.float64)).mean())

    @property
    def int8_title(self) -> str:
        """What `int8_loss` is, in words."""
        figure = self._int8.figure
        if figure is None:
            return "mean move of a rank"
        return "increase of RMSE" if figure is RMSE else "loss of ROC-AUC"

    def _known(self, label: Truth) -> Truth:
        """Where the contract names no label, a table's is all zeros, and says nothing."""
        return label if self.labelled else None

    @property
    def _int8(self) -> Int8Limit:
        return _INT8[self.task] if self.labelled else _RANKS_LIMIT


def judge_of(contract: Contract, quantile: float | None = None) -> Judge:
    """Who judges models of ``contract``; ``quantile``: what a regression learned instead of the mean."""
    labelled, task = contract.label is not None, contract.model.task
    limit = _INT8[task] if labelled else _RANKS_LIMIT
    asked = getattr(contract.gates, limit.gate) if limit.gate else None
    threshold = contract.label.threshold if contract.label else 0.5
    return Judge(task, labelled, threshold, quantile, limit.default if asked is None else asked)
