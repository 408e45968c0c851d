"""``report.html``: what a version is for, what it was made of, how good it is, and what it cannot know. One file, no scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as resources
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from eventscore.contract import Contract
from eventscore_training import plots
from eventscore_training.evaluate import calibration_error, log_loss
from eventscore_training.run import RunReport

_SHOWN = 15
"""Rows of a table and bars of a figure that a reader still takes in."""

_METRIC_NAMES = {
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
    "mean_score": "mean score",
    "positive_share": "share of positives",
}


def render_report(
    report: RunReport,
    contract: Contract,
    limits: Sequence[str],
    label: NDArray[np.int8],
    scores: Mapping[str, NDArray[np.float32]],
    uncalibrated: NDArray[np.float64],
) -> str:
    """The page. ``label``, ``scores`` (by precision) and ``uncalibrated`` (int8 without calibration) are those of the test part."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(resources("eventscore_training").joinpath("report.html.j2").read_text("utf-8"))
    fit = report.fit
    figures = {
        "ROC": plots.roc(label, scores),
        "Precision and recall": plots.precision_recall(label, scores),
        "Reliability (int8)": plots.reliability_diagram(label, uncalibrated, scores["int8"]),
        "Scores by truth (int8)": plots.score_histogram(label, scores["int8"]),
        "int8 against fp32": plots.precision_difference(scores),
        "Learning": plots.learning_curve(
            [each["epoch"] for each in fit],
            [each["train_loss"] for each in fit],
            [each["log_loss"] for each in fit],
            report.best,
        ),
    }
    if report.importance:
        top = report.importance[:_SHOWN]
        names, losses = [str(each["feature"]) for each in top], [float(each["roc_auc_loss"]) for each in top]
        figures["What the ranking rests on"] = plots.importance_bars(names, losses)
    moved = np.abs(scores["int8"].astype(np.float64) - scores["fp32"].astype(np.float64))
    return page.render(
        report=report,
        contract=contract,
        limits=limits,
        metric_names=_METRIC_NAMES,
        # The plots are drawn here, from numbers and fixed words; nothing of the data's text is in them.
        figures={name: Markup(svg) for name, svg in figures.items()},  # noqa: S704
        moved={
            "mean": float(moved.mean()),
            "percentile": float(np.quantile(moved, 0.99)),
            "largest": float(moved.max()),
            "redecided": _redecided(contract, scores),
        },
        before={
            "log_loss": log_loss(label, uncalibrated),
            "calibration_error": calibration_error(label, uncalibrated),
        },
        bands=bands_of(contract, label, scores["int8"]),
        slices=worst_slices(report),
        unseen=sorted(((share, name) for name, share in report.unseen.items() if share >= 0.0005), reverse=True)[
            :_SHOWN
        ],
    )


@dataclass(frozen=True)
class Band:
    """One decision band: who is in it, and what drawing the line at its start would mean.

    ``precision`` and ``recall`` are those of choosing this band and all above it. ``cost`` is None where the contract gives none.
    """

    name: str
    start: float
    positives: int
    negatives: int
    precision: float
    recall: float
    false_positive_rate: float
    cost: float | None

    @property
    def rows(self) -> int:
        """How many events are in the band."""
        return self.positives + self.negatives


def bands_of(contract: Contract, label: NDArray[np.int8], scores: NDArray[np.float32]) -> tuple[Band, ...]:
    """The confusion at each decision band of the contract."""
    place = _places(contract, scores)
    all_positives, all_negatives = int(label.sum()), int(len(label) - label.sum())
    bands = []
    for index, decision in enumerate(contract.decisions):
        inside, chosen = label[place == index], label[place >= index]
        positives, taken = int(inside.sum()), int(chosen.sum())
        negatives = len(inside) - positives
        costs = (decision.cost_if_positive, decision.cost_if_negative)
        known = any(cost is not None for cost in costs)
        bands.append(
            Band(
                decision.name,
                decision.start,
                positives,
                negatives,
                precision=taken / max(1, len(chosen)),
                recall=taken / max(1, all_positives),
                false_positive_rate=(len(chosen) - taken) / max(1, all_negatives),
                cost=(costs[0] or 0.0) * positives + (costs[1] or 0.0) * negatives if known else None,
            )
        )
    return tuple(bands)


def worst_slices(report: RunReport) -> list[Mapping[str, Any]]:
    """The slices with the lowest ROC-AUC, the worst first; those of one class, which have none, are left out."""
    ranked = [each for each in report.slices if each["roc_auc"] is not None]
    return sorted(ranked, key=lambda each: float(each["roc_auc"]))[:_SHOWN]


def _redecided(contract: Contract, scores: Mapping[str, NDArray[np.float32]]) -> int:
    """How many events int8 puts into another band than fp32 does."""
    return int((_places(contract, scores["int8"]) != _places(contract, scores["fp32"])).sum())


def _places(contract: Contract, scores: NDArray[np.float32]) -> NDArray[np.int64]:
    starts = [decision.start for decision in contract.decisions]
    return np.searchsorted(starts, scores, side="right").astype(np.int64) - 1
