"""Plots of numbers: what a regression predicts against what came true, and how the ranks of an anomaly model lie."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from numpy.typing import NDArray

from eventscore_training.plots import BLUE, FAINT, GREY, RED, svg

_CELLS = 60
_PARTS = 10


def predicted_against_true(truth: NDArray[np.floating], scores: NDArray[np.floating], unit: str) -> str:
    """How many events lie where; on the line the prediction is right. The outermost thousandth is left out."""
    both = np.concatenate([truth, scores.astype(np.float64)])
    low, high = np.quantile(both, [0.001, 0.999])
    high = high if high > low else low + 1

    def draw(axes: Axes) -> None:
        edges = np.linspace(low, high, _CELLS + 1)
        counts = np.histogram2d(scores, truth, bins=(edges, edges))[0]
        shown = np.ma.masked_equal(counts, 0)
        # One picture: thousands of points as vectors would make the page heavy.
        norm = LogNorm(1, max(2.0, float(counts.max())))
        axes.imshow(shown, origin="lower", extent=(low, high, low, high), cmap="Blues", norm=norm, aspect="auto")
        axes.plot([low, high], [low, high], color=RED, linewidth=0.8)
        axes.set(xlabel=_with_unit("true", unit), ylabel=_with_unit("predicted", unit))
        axes.locator_params(nbins=5)

    return svg(draw)


def residuals(truth: NDArray[np.floating], scores: NDArray[np.floating], unit: str) -> str:
    """How often a prediction is off by how much. The outermost hundredth is left out."""

    def draw(axes: Axes) -> None:
        off = scores.astype(np.float64) - truth
        low, high = np.quantile(off, [0.005, 0.995])
        edges = np.linspace(low, high if high > low else low + 1, _CELLS + 1)
        axes.stairs(np.histogram(off, edges)[0], edges, color=BLUE)
        axes.axvline(0, color=FAINT, linewidth=0.8)
        axes.set(xlabel=_with_unit("predicted - true", unit), ylabel="events")
        axes.locator_params(axis="x", nbins=5)

    return svg(draw)


def error_by_truth(truth: NDArray[np.floating], scores: NDArray[np.floating], unit: str) -> str:
    """Mean absolute error and mean error in each tenth of the truth: where it is large, and in which direction."""

    def draw(axes: Axes) -> None:
        off = scores.astype(np.float64) - truth
        tenths = [part for part in np.array_split(np.argsort(truth, kind="stable"), _PARTS) if len(part)]
        places = np.arange(1, len(tenths) + 1)
        axes.bar(places, [float(np.abs(off[part]).mean()) for part in tenths], color=GREY, label="absolute")
        means = [float(off[part].mean()) for part in tenths]
        axes.plot(places, means, marker="o", markersize=3, color=RED, label="signed")
        axes.axhline(0, color=FAINT, linewidth=0.8)
        axes.set(xlabel="tenth of the truth, from the least", ylabel=_with_unit("mean error", unit))
        axes.set_xticks(places)
        axes.legend(frameon=False)

    return svg(draw)


def coverage_by_prediction(truth: NDArray[np.floating], scores: NDArray[np.floating], quantile: float) -> str:
    """The share of the truth that is at most what was predicted, in each tenth of the predictions; the line is the quantile."""

    def draw(axes: Axes) -> None:
        tenths = [part for part in np.array_split(np.argsort(scores, kind="stable"), _PARTS) if len(part)]
        places = np.arange(1, len(tenths) + 1)
        covered = [float((truth[part] <= scores[part]).mean()) for part in tenths]
        axes.plot(places, covered, marker="o", markersize=3, color=BLUE)
        axes.axhline(quantile, color=RED, linewidth=0.8, linestyle="--")
        axes.set(xlabel="tenth of the predictions, from the least", ylabel="share at most as predicted", ylim=(0, 1.02))
        axes.set_xticks(places)

    return svg(draw)


def rank_histogram(label: NDArray[Any] | None, scores: NDArray[np.floating]) -> str:
    """Which share of the events has each rank: level for normal ones, far right for the anomalies that are known."""

    def draw(axes: Axes) -> None:
        edges = np.linspace(0, 1, 21)
        known = np.zeros(len(scores), bool) if label is None else np.asarray(label) == 1
        for rows, name, colour in ((~known, "normal", BLUE), (known, "anomaly", RED)):
            if rows.any():
                shares = np.histogram(scores[rows], edges)[0] / rows.sum()
                axes.stairs(shares, edges, label=name, color=colour)
        axes.axhline(1 / 20, color=FAINT, linewidth=0.8, linestyle="--")
        axes.set(xlabel="rank", ylabel="share of the events")
        if label is not None:
            axes.legend(frameon=False)

    return svg(draw)


def _with_unit(what: str, unit: str) -> str:
    return f"{what}, {unit}".replace("$", r"\$") if unit else what
