"""``report.html``: what a version is for, what it was made of, how good it is, and what it cannot know. One file, no scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files as resources

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from eventscore.contract import Contract
from eventscore_training import plots
from eventscore_training.run import RunReport

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
) -> str:
    """The page. ``label`` and ``scores`` (by precision) are those of the test part."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(resources("eventscore_training").joinpath("report.html.j2").read_text("utf-8"))
    fit = report.fit
    figures = {
        "ROC": plots.roc(label, scores),
        "Precision and recall": plots.precision_recall(label, scores),
        "Reliability": plots.reliability_diagram(label, scores),
        "Scores by truth (int8)": plots.score_histogram(label, scores["int8"]),
        "int8 against fp32": plots.precision_difference(scores),
        "Learning": plots.learning_curve(
            [each["epoch"] for each in fit],
            [each["train_loss"] for each in fit],
            [each["log_loss"] for each in fit],
            report.best,
        ),
    }
    moved = np.abs(scores["int8"].astype(np.float64) - scores["fp32"].astype(np.float64))
    return page.render(
        report=report,
        contract=contract,
        limits=limits,
        metric_names=_METRIC_NAMES,
        # The plots are drawn here, from numbers and fixed words; nothing of the data's text is in them.
        figures={name: Markup(svg) for name, svg in figures.items()},  # noqa: S704
        moved={"mean": float(moved.mean()), "largest": float(moved.max())},
        decisions=_decisions(contract, label, scores["int8"]),
    )


def _decisions(
    contract: Contract, label: NDArray[np.int8], scores: NDArray[np.float32]
) -> list[tuple[str, float, float, float]]:
    """Each decision band of the contract: name, start, its share of the events, the share of positives in it."""
    starts = [decision.start for decision in contract.decisions]
    place = np.searchsorted(starts, scores, side="right") - 1
    bands = []
    for index, decision in enumerate(contract.decisions):
        inside = label[place == index]
        bands.append(
            (decision.name, decision.start, len(inside) / len(label), float(inside.mean()) if len(inside) else 0.0)
        )
    return bands
