"""The demo's page: one self-contained HTML file with its figures and plots."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from eventscore_flights.demo.on_call import PERIOD_S
from eventscore_flights.demo.plan import SOURCES
from eventscore_flights.demo.summary import Series, Summary
from eventscore_local.dashboard import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _MUTED = "#1f2933", "#9aa5b1"
_COLOURS = {"sqs": "#d9730d", "kinesis": "#6941c6", "kafka": "#0e7c66"}
_BINS = 20


def render_report(summary: Summary) -> str:
    """The page as HTML; every plot is an SVG inside it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    series = summary.series
    plots = [
        (
            "Scores",
            "How the model's probabilities spread over the flights that came late and those that did not.",
            _scores,
        ),
        (
            "Calibration",
            "Of flights scored near p, the share that came late. On the diagonal, a probability is one.",
            _calibration,
        ),
        ("Latency", "Milliseconds in the handler, one invocation a point.", _latency),
        ("Throughput", "Answers that arrived in the sink in each second of the run.", _throughput),
    ]
    return environment.get_template("report.html.j2").render(
        summary=summary,
        document=summary.document,
        plots=[(title, caption, _svg(partial(draw, series=series))) for title, caption, draw in plots],
        panels=[
            (panel.title, panel.absent, _svg(partial(_panel, panel=panel)) if panel.lines else "")
            for panel in series.on_call
        ],
    )


def _svg(draw: Callable[[Axes], None]) -> Markup:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "eventscore", "font.size": 9, "axes.edgecolor": _MUTED, "text.color": _INK}):
        figure = Figure(figsize=(5.2, 3.1), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e4e7eb", linewidth=0.6)
        axes.set_axisbelow(True)
        draw(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704  matplotlib's own drawing of figures


def _panel(axes: Axes, panel: Panel) -> None:
    for line in panel.lines:
        seconds = [PERIOD_S * place for place, value in enumerate(line.values) if value is not None]
        values = [value for value in line.values if value is not None]
        # Zeros and a single value lie on the axes; they shall be seen there.
        axes.plot(seconds, values, marker=".", markersize=6, linewidth=1, label=line.label, clip_on=False, zorder=3)
    for label, level in panel.levels.items():
        # Where a level lies far above all that is drawn, it would press the lines to the ground.
        if level <= 2 * max(value for line in panel.lines for value in line.values if value is not None):
            axes.axhline(level, color=_MUTED, linewidth=1, linestyle="--", label=f"{label} ({level:g})")
    top = max(value for line in panel.lines for value in line.values if value is not None)
    periods = max(len(line.values) for line in panel.lines)
    axes.set(
        xlabel="seconds since the first metric",
        ylim=(0, None if top > 0 else 1),
        xlim=(0, PERIOD_S * max(1, periods - 1)),
    )
    axes.legend(frameon=False, fontsize=7)


def _scores(axes: Axes, series: Series) -> None:
    edges = np.linspace(0, 1, 41).tolist()
    for label, name, colour in ((False, "on time", "#3e6fb0"), (True, "late", "#c2413b")):
        axes.hist(series.scores[series.labels == label], edges, density=True, alpha=0.6, label=name, color=colour)
    axes.set(xlabel="score", ylabel="density", xlim=(0, 1))
    axes.legend(frameon=False)


def _calibration(axes: Axes, series: Series) -> None:
    bins = np.minimum((series.scores * _BINS).astype(int), _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    filled = counts >= 20
    predicted = np.bincount(bins, series.scores, _BINS)[filled] / counts[filled]
    observed = np.bincount(bins, series.labels, _BINS)[filled] / counts[filled]
    deviation = 1.96 * np.sqrt(observed * (1 - observed) / counts[filled])
    axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=1, linestyle="--")
    axes.errorbar(predicted, observed, deviation, fmt="o-", color="#3e6fb0", markersize=4, linewidth=1.2, capsize=2)
    axes.set(xlabel="mean score of the bin (95 % interval)", ylabel="share late", xlim=(0, 1), ylim=(0, 1))


def _latency(axes: Axes, series: Series) -> None:
    for source in SOURCES:
        if series.latencies_ms[source]:
            seconds, milliseconds = zip(*series.latencies_ms[source], strict=True)
            axes.plot(seconds, milliseconds, ".", color=_COLOURS[source], markersize=4, alpha=0.7, label=source)
    axes.set(xlabel="seconds since the first message", ylabel="ms", ylim=(0, None), xlim=(0, None))
    axes.legend(frameon=False)


def _throughput(axes: Axes, series: Series) -> None:
    if len(series.arrived_s):
        end = int(np.ceil(series.arrived_s.max()))
        counts = np.bincount(np.maximum(series.arrived_s, 0).astype(int), minlength=end)
        edges, heights = np.arange(len(counts) + 1), np.append(counts, counts[-1])  # the last second, too, has a width
        axes.step(edges, heights, where="post", color="#3e6fb0")
        axes.fill_between(edges, heights, step="post", alpha=0.2, color="#3e6fb0")
    axes.set(xlabel="seconds since the first message", ylabel="answers per second", ylim=(0, None), xlim=(0, None))
