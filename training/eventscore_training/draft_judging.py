"""What a drafted contract says of the scores: decisions and gates that fit the task, cautious enough for a first run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from eventscore.contract_grammar import Task
from eventscore_training.draft_label import DraftLabel
from eventscore_training.draft_leaks import Flags, Numbers
from eventscore_training.toml_text import quoted

_TESTED_SHARE = 0.2
Bands = list[tuple[str, float, str]]
"""Name, lowest score, and why."""


@dataclass(frozen=True)
class Judging:
    """What decisions and gates are drafted from; ``best_alone`` as the label tells it of the best single feature."""

    label: DraftLabel
    rows: int
    best_alone: float

    @property
    def tested(self) -> float:
        """How many rows the test part has."""
        return self.rows * _TESTED_SHARE


def decision_lines(judging: Judging) -> list[str]:
    """``[[decisions]]``, with a comment why each begins where it does."""
    lines = ["", "# What a score means to whoever acts on it: names and thresholds are yours to choose."]
    for name, start, why in _BANDS[judging.label.task](judging.label):
        lines += ["[[decisions]]", f"name = {quoted(name)}", f"from = {start:g}  # {why}", ""]
    return lines


def gate_lines(judging: Judging) -> list[str]:
    """``[gates]``, each with a comment why."""
    return [
        "# A version that misses a gate is not published. Tighten them after the first run.",
        "[gates]",
        *_GATES[judging.label.task](judging),
        "max_size_bytes = 20000000  # 20 MB: pulled and verified at every cold start",
    ]


def _by_share(label: DraftLabel) -> Bands:
    rate = float(label.target.up.mean()) if isinstance(label.target, Flags) else 0.5
    medium, high = float(f"{rate:.2g}"), float(f"{rate + (1 - rate) / 3:.2g}")
    bands = [
        ("low", 0.0, "scores below the share of positives"),
        ("medium", medium, f"above the share of positives ({rate:.2%}); put your costs in its place"),
        ("high", high, "a third of the way from there to certainty"),
    ]
    return [band for at, band in enumerate(bands) if at == 0 or bands[at - 1][1] < band[1] < 1]


def _by_surest_class(label: DraftLabel) -> Bands:
    return [
        ("unsure", 0.0, "of the most likely class's probability"),
        ("likely", 0.5, "more likely than all others together"),
        ("sure", 0.8, "wrong in at most one of five: put your costs in its place"),
    ]


def _by_highest_label(label: DraftLabel) -> Bands:
    return [
        ("none", 0.0, "no label reaches the threshold"),
        ("some", 0.5, "the highest of the labels' probabilities does"),
        ("sure", 0.8, "put your costs in its place"),
    ]


def _by_quantile(label: DraftLabel) -> Bands:
    values = label.target.values if isinstance(label.target, Numbers) else np.zeros(1)
    lowest = 0.0 if values.min() >= 0 else float(f"{values.min():.3g}")
    bands = [("low", lowest, "what lies below belongs to it, too")]
    for name, share, why in (("medium", 0.5, "half of the rows"), ("high", 0.9, "one row in ten")):
        start = float(f"{np.quantile(values, share):.3g}")
        if start > bands[-1][1]:
            bands.append((name, start, f"{why}: put in its place from where on somebody acts"))
    return bands


def _by_rank(label: DraftLabel) -> Bands:
    return [
        ("usual", 0.0, "the score is a rank: the share of held-out events that are less unusual"),
        ("unusual", 0.95, "one event in twenty"),
        ("rare", 0.99, "one event in a hundred: choose by how many can be looked at"),
    ]


_BANDS: Mapping[Task, Callable[[DraftLabel], Bands]] = {
    "binary": _by_share,
    "multiclass": _by_surest_class,
    "multilabel": _by_highest_label,
    "regression": _by_quantile,
    "anomaly": _by_rank,
}


def _probability_gates(judging: Judging) -> list[str]:
    tested = judging.tested
    least = max(0.51, math.floor((0.5 + (judging.best_alone - 0.5) / 2) * 100) / 100)
    finest = 0.05 if tested >= 5000 else 0.1 if tested >= 1000 else 0.2
    return [
        f"min_roc_auc = {least:g}  # half as far above chance as the best feature alone ({judging.best_alone:.2f})",
        f"max_calibration_error = {finest:g}  # {tested:,.0f} test rows measure no finer",
        f"max_int8_auc_loss = {0.002 if tested >= 5000 else 0.01:g}  # what the cheaper arithmetic may cost",
    ]


def _error_gates(judging: Judging) -> list[str]:
    least = max(0.0, math.floor(judging.best_alone / 2 * 100) / 100)
    return [
        f"min_r2 = {least:g}  # half of the variance that the best feature alone explains ({max(0.0, judging.best_alone):.0%})",
        f"max_int8_rmse_increase = {0.01 if judging.tested >= 5000 else 0.03:g}  # what the cheaper arithmetic may cost, as a share",
    ]


def _rank_gates(judging: Judging) -> list[str]:
    if not judging.label.columns:
        return [
            "# Without a label nothing says whether the anomalies that matter are found: name known ones if there are any."
        ]
    return [
        "min_roc_auc = 0.5  # no worse than chance: nothing was learned from the known anomalies",
        f"max_int8_auc_loss = {0.005 if judging.tested >= 5000 else 0.02:g}  # what the cheaper arithmetic may cost",
    ]


_GATES: Mapping[Task, Callable[[Judging], list[str]]] = {
    "binary": _probability_gates,
    "multiclass": _probability_gates,
    "multilabel": _probability_gates,
    "regression": _error_gates,
    "anomaly": _rank_gates,
}
