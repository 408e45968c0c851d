"""Which figures judge a task, by name: the main one, those compared with the live version, and what they are called in words.

Names only, so that publishing and the command line read it without the numerical packages; `evaluate` computes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Figure:
    """A figure and its direction. ``relative``: changes of it are told as a share of it, since it has the label's unit."""

    name: str
    higher_is_better: bool
    relative: bool = False

    def loss(self, before: float, after: float) -> float:
        """How much worse ``after`` is than ``before``; negative where it is better."""
        if self.relative:
            return after / before - 1 if before else float("inf") if after else 0.0
        return before - after if self.higher_is_better else after - before

    def limit(self, live: float, tolerance: float) -> float:
        """The worst value that is within ``tolerance`` of ``live``."""
        if self.relative:
            return live * (1 + tolerance)
        return live - tolerance if self.higher_is_better else live + tolerance

    def better(self, one: float, other: float) -> bool:
        """Whether ``one`` is strictly better than ``other``."""
        return one > other if self.higher_is_better else one < other


ROC_AUC = Figure("roc_auc", higher_is_better=True)
PR_AUC = Figure("pr_auc", higher_is_better=True)
LOG_LOSS = Figure("log_loss", higher_is_better=False)
RMSE = Figure("rmse", higher_is_better=False, relative=True)
PINBALL_LOSS = Figure("pinball_loss", higher_is_better=False, relative=True)
RANK_ERROR = Figure("rank_error", higher_is_better=False)

_COMPARED: Mapping[str, tuple[Figure, ...]] = {
    "binary": (ROC_AUC, LOG_LOSS),
    "multiclass": (ROC_AUC, LOG_LOSS),
    "multilabel": (ROC_AUC, LOG_LOSS),
    "regression": (RMSE,),
    "anomaly": (ROC_AUC, PR_AUC),
}

TITLES: Mapping[str, str] = {
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "exact_match": "all labels right",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "pinball_loss": "pinball loss",
    "coverage": "coverage",
    "rank_error": "rank error",
    "mean_score": "mean score",
    "mean_truth": "mean of the truth",
    "positive_share": "share of positives",
}
"""Each figure's name in words."""


def compared_figures(task: str, labelled: bool = True, quantile: float | None = None) -> tuple[Figure, ...]:
    """The figures in which a version must not be worse than the live one; the first is the main one."""
    if task == "anomaly" and not labelled:
        return (RANK_ERROR,)
    return (PINBALL_LOSS,) if quantile is not None else _COMPARED[task]


def main_figure(task: str, labelled: bool = True, quantile: float | None = None) -> Figure:
    """The figure that judges a model of ``task``.

    Areas under the ROC curve are macro averages where there are several scores. ``labelled`` False: an anomaly model without known
    anomalies, of which only the fit of its ranks can be judged. ``quantile``: a regression that learned this quantile of the truth.
    """
    return compared_figures(task, labelled, quantile)[0]
