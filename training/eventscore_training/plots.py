"""The report's plots, as SVG text that stands in an HTML page by itself: the frame of each, and what any probability can show.

`plots_several` draws models with several scores, `plots_amounts` regressions and ranks.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from eventscore_training.evaluate import reliability

Scores = Mapping[str, NDArray[np.float32]]
"""Scores by precision: ``fp32`` and ``int8``, each ``[n]``."""

GREY, BLUE, RED, FAINT = "#9aa5b1", "#0b6e99", "#c2410c", "#cccccc"
COLOURS = {"fp32": GREY, "int8": BLUE}
_POINTS = 200


def roc(label: NDArray[Any], scores: Scores) -> str:
    """True positive rate over false positive rate."""

    def draw(axes: Axes) -> None:
        for precision, values in scores.items():
            false_positive, true_positive, _ = roc_curve(label, values)
            curve(axes, false_positive, true_positive, precision)
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        axes.legend(frameon=False)

    return svg(draw)


def precision_recall(label: NDArray[Any], scores: Scores) -> str:
    """Precision over recall; the line is what guessing gives."""

    def draw(axes: Axes) -> None:
        for precision, values in scores.items():
            precise, recalled, _ = precision_recall_curve(label, values)
            curve(axes, recalled[::-1], precise[::-1], precision)
        axes.axhline(float(label.mean()), color=FAINT, linewidth=0.8)
        axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02))
        axes.legend(frameon=False)

    return svg(draw)


def reliability_diagram(
    label: NDArray[Any],
    before: NDArray[np.floating] | None,
    after: NDArray[np.floating],
    what: str = "share of positives",
) -> str:
    """What comes true over the mean score, by bin, before and after calibration; calibrated scores lie on the diagonal."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
        for name, values, colour in (("before", before, GREY), ("after", after, BLUE)):
            if values is None:
                continue
            bins = [each for each in reliability(label, values) if each.count >= 10]
            means, shares = [each.mean_score for each in bins], [each.positive_share for each in bins]
            axes.plot(means, shares, marker="o", markersize=3, color=colour, label=f"{name} calibration")
        axes.set(xlabel="score", ylabel=what)
        axes.legend(frameon=False)

    return svg(draw)


def importance_bars(features: list[str], costs: list[float], figure: str) -> str:
    """What shuffling each feature costs in ``figure``, the largest on top."""

    def draw(axes: Axes) -> None:
        places = np.arange(len(features))[::-1]
        axes.barh(places, costs, color=BLUE, height=0.7)
        axes.set_yticks(places, features)
        axes.set(xlabel=f"{figure}, cost when shuffled")

    return svg(draw, height=max(1.2, 0.4 + 0.17 * len(features)))


def score_histogram(
    label: NDArray[Any], scores: NDArray[np.floating], names: tuple[str, str] = ("negative", "positive")
) -> str:
    """How often each score is given, by the truth (0 and 1, ``names`` in words)."""

    def draw(axes: Axes) -> None:
        edges = np.linspace(0, 1, 41)
        for value, name, colour in ((0, names[0], GREY), (1, names[1], RED)):
            axes.stairs(np.histogram(scores[label == value], edges)[0], edges, label=name, color=colour)
        axes.set(xlabel="score", ylabel="events")
        axes.legend(frameon=False)

    return svg(draw)


def precision_difference(scores: Scores) -> str:
    """How far int8 moves a score from fp32."""

    def draw(axes: Axes) -> None:
        differences = (scores["int8"].astype(np.float64) - scores["fp32"].astype(np.float64)).ravel()
        axes.hist(differences, bins=60, histtype="step", color=BLUE)
        axes.set(xlabel="int8 score - fp32 score", ylabel="events", yscale="log")
        axes.locator_params(axis="x", nbins=5)

    return svg(draw)


def learning_curve(
    epochs: list[float], train: list[float], validation: list[float], best: int, figure: str = "log loss"
) -> str:
    """The training loss and the validation part's ``figure`` while the network learned; the dashed line is where it stopped.

    Only a log loss is in the training loss's unit; other figures have an axis of their own.
    """

    def draw(axes: Axes) -> None:
        apart = figure != "log loss"
        other = axes.twinx() if apart else axes
        lines = [
            *other.plot(epochs, train, color=GREY, label="train, its loss (right)" if apart else "train"),
            *axes.plot(epochs, validation, color=BLUE, label="validation"),
        ]
        axes.axvline(epochs[best], color=FAINT, linewidth=0.8, linestyle="--")
        axes.set(xlabel="epoch", ylabel=figure)
        axes.legend(handles=lines, frameon=False)

    return svg(draw)


def curve(axes: Axes, x: NDArray[np.floating], y: NDArray[np.floating], name: str, colour: Any = None) -> None:
    """A curve has as many points as scores; the eye needs a few hundred, and the page must stay small."""
    places = np.unique(np.searchsorted(x, np.linspace(0, 1, _POINTS)).clip(0, len(x) - 1))
    axes.plot(x[places], y[places], color=colour or COLOURS.get(name), label=name, linewidth=1.2)


def svg(draw: Callable[[Axes], None], height: float = 2.7, width: float = 3.6) -> str:
    """What ``draw`` draws, as SVG; sizes in inches."""
    # Text stays text, ids and dates do not change from run to run; the figure is made without pyplot's global state.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "eventscore", "font.size": 8}):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
