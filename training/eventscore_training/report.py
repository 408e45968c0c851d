"""``report.html``: what a version is for, what it was made of, how good it is, and what it cannot know. One file, no scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files as resources
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from eventscore.contract import Contract
from eventscore_training import plots
from eventscore_training.figures import TITLES
from eventscore_training.judges import Judge
from eventscore_training.page import Page, Table, percent, told
from eventscore_training.run import RunReport

_SHOWN = 15
"""Rows of a table and bars of a figure that a reader still takes in."""

_NOT_WATCHED = ("epoch", "train_loss")


def draw_figures(report: RunReport, judge: Judge, page: Page) -> dict[str, str]:
    """The plots of the page by title, as SVG: by far most of its work, and none of them shows a gate."""
    return {
        **page.figures(),
        "int8 against fp32": plots.precision_difference(page.scores),
        **_of_the_run(report, judge),
    }


def render_report(
    report: RunReport,
    contract: Contract,
    limits: Sequence[str],
    judge: Judge,
    page: Page,
    figures: Mapping[str, str],
) -> str:
    """The page around its ``figures``, those of :func:`draw_figures`."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {"told": told, "percent": percent}
    template = environment.from_string(resources("eventscore_training").joinpath("report.html.j2").read_text("utf-8"))
    moved = np.abs(page.scores["int8"].astype(np.float64) - page.scores["fp32"].astype(np.float64))
    return template.render(
        report=report,
        contract=contract,
        limits=limits,
        page=page,
        decisions=page.decisions(),
        titles=TITLES,
        main=TITLES[judge.main.name],
        lowest="lowest" if judge.main.higher_is_better else "highest",
        int8_title=judge.int8_title,
        # The plots are drawn here, from numbers, fixed words and names that matplotlib escapes.
        figures={name: Markup(svg) for name, svg in figures.items()},  # noqa: S704
        moved={
            "mean": float(moved.mean()),
            "percentile": float(np.quantile(moved, 0.99)),
            "largest": float(moved.max()),
        },
        before=judge.metrics(page.label, page.before) if page.before is not None else None,
        slices=worst_slices(report, judge),
        sliced=judge.sliced,
        groups=_groups(report),
        unseen=sorted(((share, name) for name, share in report.unseen.items() if share >= 0.0005), reverse=True)[
            :_SHOWN
        ],
    )


def worst_slices(report: RunReport, judge: Judge) -> list[Mapping[str, Any]]:
    """The slices with the worst main figure, the worst first; those that do not have it (a ranking of one class) are left out."""
    name, sign = judge.main.name, 1 if judge.main.higher_is_better else -1
    ranked = [each for each in report.slices if each[name] is not None]
    return sorted(ranked, key=lambda each: sign * float(each[name]))[:_SHOWN]


def _of_the_run(report: RunReport, judge: Judge) -> dict[str, str]:
    """How it learned, and what the main figure rests on."""
    figures = {}
    told_of_each = [name for name in (report.fit[0] if report.fit else ()) if name not in _NOT_WATCHED]
    liked = [name for name in ("log_loss", judge.main.name) if name in told_of_each]
    watched = next(iter([*liked, *told_of_each]), None)
    if watched is not None:
        epochs, train, validation = ([each[name] for each in report.fit] for name in ("epoch", "train_loss", watched))
        title = TITLES.get(watched, watched.replace("_", " "))
        figures["Learning"] = plots.learning_curve(epochs, train, validation, report.best, title)
    if report.importance:
        top = report.importance[:_SHOWN]
        names, costs = [str(each["feature"]) for each in top], [float(each["cost"]) for each in top]
        figures["What it rests on"] = plots.importance_bars(names, costs, TITLES[judge.main.name])
    return figures


def _groups(report: RunReport) -> Table | None:
    """The groups, with the columns that the task has."""
    titles = {
        "positive_share": "positives",
        "rate": "chosen",
        "true_positive_rate": "of the positives",
        "false_positive_rate": "of the negatives",
    }
    there = [name for name in titles if any(each[name] is not None for each in report.groups)]
    rows = [
        (str(each["value"]), f"{each['rows']:,}", *(percent(each[name]) for name in there)) for each in report.groups
    ]
    return Table(("group", "events", *(titles[name] for name in there)), tuple(rows)) if rows else None
