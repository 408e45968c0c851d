"""The report's plots, as SVG text that stands in an HTML page by itself."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from eventscore_training.evaluate import reliability

Scores = Mapping[str, NDArray[np.float32]]
"""Scores by precision: ``fp32`` and ``int8``, each ``[n]``."""

_COLOURS = {"fp32": "#9aa5b1", "int8": "#0b6e99"}
_POINTS = 200


def roc(label: NDArray[np.int8], scores: Scores) -> str:
    """True positive rate over false positive rate."""

    def draw(axes: Axes) -> None:
        for precision, values in scores.items():
            false_positive, true_positive, _ = roc_curve(label, values)
            _curve(axes, false_positive, true_positive, precision)
        axes.plot([0, 1], [0, 1], color="#cccccc", linewidth=0.8)
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        axes.legend(frameon=False)

    return _svg(draw)


def precision_recall(label: NDArray[np.int8], scores: Scores) -> str:
    """Precision over recall; the line is what guessing gives."""

    def draw(axes: Axes) -> None:
        for precision, values in scores.items():
            precise, recalled, _ = precision_recall_curve(label, values)
            _curve(axes, recalled[::-1], precise[::-1], precision)
        axes.axhline(float(label.mean()), color="#cccccc", linewidth=0.8)
        axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02))
        axes.legend(frameon=False)

    return _svg(draw)


def reliability_diagram(label: NDArray[np.int8], before: NDArray[np.floating], after: NDArray[np.floating]) -> str:
    """Share of positives over mean score, by bin, before and after calibration; calibrated scores lie on the diagonal."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color="#cccccc", linewidth=0.8)
        for name, values, colour in (("before", before, _COLOURS["fp32"]), ("after", after, _COLOURS["int8"])):
            bins = [each for each in reliability(label, values) if each.count >= 10]
            means, shares = [each.mean_score for each in bins], [each.positive_share for each in bins]
            axes.plot(means, shares, marker="o", markersize=3, color=colour, label=f"{name} calibration")
        axes.set(xlabel="score", ylabel="share of positives")
        axes.legend(frameon=False)

    return _svg(draw)


def importance_bars(features: list[str], losses: list[float]) -> str:
    """What shuffling each feature costs in ROC-AUC, the largest on top."""

    def draw(axes: Axes) -> None:
        places = np.arange(len(features))[::-1]
        axes.barh(places, losses, color=_COLOURS["int8"], height=0.7)
        axes.set_yticks(places, features)
        axes.set(xlabel="loss of ROC-AUC when shuffled")

    return _svg(draw, height=max(1.2, 0.4 + 0.17 * len(features)))


def score_histogram(label: NDArray[np.int8], scores: NDArray[np.float32]) -> str:
    """How often each score is given, by the truth."""

    def draw(axes: Axes) -> None:
        edges = np.linspace(0, 1, 41)
        for value, name, colour in ((0, "negative", "#9aa5b1"), (1, "positive", "#c2410c")):
            axes.stairs(np.histogram(scores[label == value], edges)[0], edges, label=name, color=colour)
        axes.set(xlabel="score", ylabel="events")
        axes.legend(frameon=False)

    return _svg(draw)


def precision_difference(scores: Scores) -> str:
    """How far int8 moves a score from fp32."""

    def draw(axes: Axes) -> None:
        differences = scores["int8"].astype(np.float64) - scores["fp32"].astype(np.float64)
        axes.hist(differences, bins=60, histtype="step", color=_COLOURS["int8"])
        axes.set(xlabel="int8 score - fp32 score", ylabel="events", yscale="log")
        axes.locator_params(axis="x", nbins=5)

    return _svg(draw)


def learning_curve(epochs: list[float], train: list[float], validation: list[float], best: int) -> str:
    """Log loss while the network learned; the dashed line is where it stopped."""

    def draw(axes: Axes) -> None:
        axes.plot(epochs, train, color="#9aa5b1", label="train")
        axes.plot(epochs, validation, color=_COLOURS["int8"], label="validation")
        axes.axvline(epochs[best], color="#cccccc", linewidth=0.8, linestyle="--")
        axes.set(xlabel="epoch", ylabel="log loss")
        axes.legend(frameon=False)

    return _svg(draw)


def _curve(axes: Axes, x: NDArray[np.floating], y: NDArray[np.floating], precision: str) -> None:
    """A curve has as many points as scores; the eye needs a few hundred, and the page must stay small."""
    places = np.unique(np.searchsorted(x, np.linspace(0, 1, _POINTS)).clip(0, len(x) - 1))
    axes.plot(x[places], y[places], color=_COLOURS[precision], label=precision, linewidth=1.2)


def _svg(draw: Callable[[Axes], None], height: float = 2.7) -> str:
    # Text stays text, ids and dates do not change from run to run; the figure is made without pyplot's global state.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "eventscore", "font.size": 8}):
        figure = Figure(figsize=(3.6, height), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
