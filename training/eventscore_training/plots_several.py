"""Plots of models with several scores: the confusion of classes, and curves for each class or label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from eventscore_training.evaluate import reliability
from eventscore_training.plots import BLUE, FAINT, curve, svg

SHOWN = 10
"""Outputs that get a curve of their own: of more than that, those which come true most often."""
_ANNOTATED = 12


def confusion(label: NDArray[np.int64], chosen: NDArray[np.int64], names: Sequence[str]) -> str:
    """Which class is taken for which: counts, shaded by the share of the true class."""
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (label, chosen), 1)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))

    def draw(axes: Axes) -> None:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        axes.set(xlabel="answered", ylabel="true")
        if len(names) > _ANNOTATED:
            return
        places = np.arange(len(names))
        axes.set_xticks(places, [_short(name) for name in names], rotation=45, ha="right")
        axes.set_yticks(places, [_short(name) for name in names])
        for row, column in np.ndindex(counts.shape):
            if counts[row, column]:
                colour = "white" if shares[row, column] > 0.5 else "#1f2933"
                axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=colour, fontsize=6)

    side = float(np.clip(1.6 + 0.32 * len(names), 2.7, 5.5))
    return svg(draw, height=side, width=side + 0.6)


def roc_each(truth: NDArray[np.bool_], scores: NDArray[np.float32], names: Sequence[str]) -> str:
    """True positive rate over false positive rate, for each output against the others. ``truth`` and ``scores`` ``[n, outputs]``."""

    def draw(axes: Axes) -> None:
        for place, colour in _shown(truth):
            false_positive, true_positive, _ = roc_curve(truth[:, place], scores[:, place])
            curve(axes, false_positive, true_positive, _short(names[place]), colour)
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        _legend(axes)

    return svg(draw)


def precision_recall_each(truth: NDArray[np.bool_], scores: NDArray[np.float32], names: Sequence[str]) -> str:
    """Precision over recall, for each output against the others."""

    def draw(axes: Axes) -> None:
        for place, colour in _shown(truth):
            precise, recalled, _ = precision_recall_curve(truth[:, place], scores[:, place])
            curve(axes, recalled[::-1], precise[::-1], _short(names[place]), colour)
        axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02))
        _legend(axes)

    return svg(draw)


def reliability_each(truth: NDArray[np.bool_], scores: NDArray[np.floating], names: Sequence[str]) -> str:
    """Share of positives over mean score, by bin, for each label."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
        for place, colour in _shown(truth):
            bins = [each for each in reliability(truth[:, place].astype(np.int8), scores[:, place]) if each.count >= 10]
            means, shares = [each.mean_score for each in bins], [each.positive_share for each in bins]
            axes.plot(means, shares, marker="o", markersize=2.5, linewidth=1, color=colour, label=_short(names[place]))
        axes.set(xlabel="score", ylabel="share of positives")
        _legend(axes)

    return svg(draw)


def _shown(truth: NDArray[np.bool_]) -> list[tuple[int, Any]]:
    """Places of the outputs that are drawn, with their colours; one that always or never comes true has no curve."""
    counts = truth.sum(axis=0)
    able = np.flatnonzero((counts > 0) & (counts < len(truth)))
    places = sorted(able[np.argsort(-counts[able], kind="stable")][:SHOWN].tolist())
    colours = matplotlib.colormaps["tab10"]
    return [(place, BLUE if len(places) == 1 else colours(order)) for order, place in enumerate(places)]


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=6)


def _short(name: str) -> str:
    # A dollar sign would begin matplotlib's mathematics, and a leading underscore hides a legend's entry.
    shown = name if len(name) <= 16 else f"{name[:15]}…"
    return shown.replace("$", r"\$").lstrip("_") or "_ "
