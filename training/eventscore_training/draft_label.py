"""The label of an unknown table: which task it asks for, what `[label]` says of it, and what it is in numbers.

With `draft_judging` the one place of the draft that knows the tasks by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eventscore.contract_grammar import FLOAT32_MAX, Task
from eventscore_training.draft_leaks import Flags, Numbers, Target
from eventscore_training.toml_text import quoted

MOST_CLASSES = 50
"""More different values are drafted as classes only if they are asked for by name."""
_ROWS_OF_A_CLASS = 5
_POSITIVE_WORDS = ("true", "yes", "y", "t", "1", "1.0", "positive", "pos")


@dataclass(frozen=True)
class DraftLabel:
    """What is predicted: the lines of ``[label]`` (none without a label), and what the leaks are searched by.

    ``told``: the truth in a few words; ``remarks``: what to look at.
    """

    task: Task
    columns: tuple[str, ...]
    lines: tuple[str, ...]
    told: str
    target: Target
    remarks: tuple[str, ...] = ()


class LabelUnusable(Exception):
    """A sentence about the label."""


def read_label(frame: pl.DataFrame, columns: Sequence[str], task: Task | None) -> DraftLabel:
    """What the label ``columns`` of ``frame`` ask for, or what ``task`` makes of them.

    Raises:
        LabelUnusable: they have gaps, or are no truth of that task.

    """
    for name in columns:
        gaps = frame[name].null_count()
        if gaps:
            first = int(frame[name].is_null().arg_max() or 0) + 1
            raise LabelUnusable(
                f"label {name!r}: {gaps:,} of {frame.height:,} rows have none, first row {first}; "
                "a row without a label teaches nothing: leave it out"
            )
    task = task or _guessed(frame, columns)
    several = task == "multilabel"
    if several != (len(columns) > 1) and not (task == "anomaly" and not columns):
        expected = "two labels or more: --label for each" if several else "one label"
        raise LabelUnusable(f"--task {task}: expected {expected}, got {', '.join(map(repr, columns)) or 'none'}")
    return _READERS[task]([frame[name] for name in columns], frame.height)


def _guessed(frame: pl.DataFrame, columns: Sequence[str]) -> Task:
    if not columns:
        raise LabelUnusable("no label: name its column with --label; only --task anomaly does without")
    if len(columns) > 1:
        return "multilabel"
    column = frame[columns[0]]
    distinct = column.n_unique()
    if column.dtype == pl.Boolean or _is_true_and_false(column) or distinct <= 2:
        return "binary"
    numbers = _numbers(column)
    if numbers is None:
        if distinct > MOST_CLASSES:
            raise LabelUnusable(
                f"label {column.name!r}: {distinct:,} different strings are many classes (a draft has at most {MOST_CLASSES}); "
                "group them, or insist with --task multiclass"
            )
        return "multiclass"
    rarest = int(column.value_counts()["count"].min())  # type: ignore[arg-type]
    whole = bool((numbers == numbers.round()).all())
    return "multiclass" if whole and distinct <= MOST_CLASSES and rarest >= _ROWS_OF_A_CLASS else "regression"


def _binary(columns: Sequence[pl.Series], rows: int) -> DraftLabel:
    flags, positive, why = _two_values(columns)
    told = f"{flags.mean():.2%} positive"
    lines = ("[label]", f"field = {quoted(columns[0].name)}", f"positive = {positive}  # {why}")
    return DraftLabel("binary", (columns[0].name,), lines, told, Flags(flags, ("positive",), ("negative",)))


def _anomaly(columns: Sequence[pl.Series], rows: int) -> DraftLabel:
    if not columns:
        return DraftLabel(
            "anomaly", (), (), "none of them known to be an anomaly", Flags(np.zeros((rows, 0), np.bool_))
        )
    flags, positive, why = _two_values(columns)
    lines = (
        "# Known anomalies: nothing is learned from them, they tell how many of them are found.",
        "[label]",
        f"field = {quoted(columns[0].name)}",
        f"positive = {positive}  # {why}",
    )
    told = f"{flags.mean():.2%} of them known anomalies"
    target = Flags(flags, ("positive",), ("negative",), learned=False)
    return DraftLabel("anomaly", (columns[0].name,), lines, told, target)


def _multilabel(columns: Sequence[pl.Series], rows: int) -> DraftLabel:
    flags, positive, why = _two_values(columns)
    names = [column.name for column in columns]
    shares = ", ".join(f"{name} in {share:.2%}" for name, share in zip(names, flags.mean(axis=0), strict=True))
    lines = (
        "[label]",
        f"fields = [{', '.join(map(quoted, names))}]  # a probability for each, in this order",
        f"positive = {positive}  # {why}",
        "threshold = 0.5  # an answer names the labels that reach it",
    )
    target = Flags(flags, tuple(f"{name} positive" for name in names), tuple(f"{name} negative" for name in names))
    return DraftLabel("multilabel", tuple(names), lines, shares, target)


def _multiclass(columns: Sequence[pl.Series], rows: int) -> DraftLabel:
    (column,) = columns
    if column.dtype.is_float() and (column == column.round()).all():
        column = column.cast(pl.Int64)
    if column.dtype == pl.Boolean or column.dtype.is_float():
        raise LabelUnusable(
            f"label {column.name!r}: expected classes, strings or integers, got a column of {column.dtype}"
        )
    values = column.unique().to_list()
    if len(values) < 2:
        raise LabelUnusable(f"label {column.name!r}: expected two classes or more, got only {values[0]!r}")
    integers = all(_is_integer(str(value)) for value in values)
    values.sort(key=lambda value: int(value) if integers else str(value))
    counts = np.array([int((column == value).sum()) for value in values])
    classes = ", ".join(str(value) if integers else quoted(str(value)) for value in values)
    common, rare = int(counts.argmax()), int(counts.argmin())
    told = (
        f"{len(values)} classes, {values[common]!s} in {counts[common] / rows:.1%}, the rarest {values[rare]!s} in "
        f"{counts[rare] / rows:.2%}"
    )
    lines = (
        "[label]",
        f"field = {quoted(column.name)}",
        f"classes = [{classes}]  # a probability for each, in this order; a row with another value is an error",
    )
    flags = np.stack([(column == value).to_numpy() for value in values], axis=1)
    remark = (
        f"label {column.name}: {len(values)} whole numbers, drafted as classes; if they count or measure something, "
        "draft it again with --task regression"
    )
    target = Flags(flags, tuple(repr(value) for value in values))
    return DraftLabel("multiclass", (column.name,), lines, told, target, (remark,) if integers else ())


def _regression(columns: Sequence[pl.Series], rows: int) -> DraftLabel:
    (column,) = columns
    numbers = _numbers(column)
    if numbers is None:
        raise LabelUnusable(f"label {column.name!r}: expected numbers, got such as {column[0]!r}")
    broken = numbers.is_nan() | (numbers.abs() > FLOAT32_MAX)
    if broken.any():
        first = int(broken.arg_max() or 0)
        raise LabelUnusable(
            f"label {column.name!r}: {int(broken.sum()):,} of {rows:,} rows hold no finite number, first row {first + 1}: "
            f"{numbers[first]}; leave them out"
        )
    values = numbers.to_numpy()
    if values.min() == values.max():
        raise LabelUnusable(f"label {column.name!r}: expected numbers that differ, got only {values[0]:g}")
    lines = ["[label]", f"field = {quoted(column.name)}"]
    if values.min() >= 0:
        lines += ["min = 0  # never negative in the table, so no prediction is"]
    lines += ['# unit = "minutes"  # say what it counts']
    told = f"mean {values.mean():.4g}, from {values.min():g} to {values.max():g}"
    remarks: tuple[str, ...] = ()
    if bool((numbers == numbers.round()).all()) and numbers.n_unique() <= MOST_CLASSES:
        remarks = (
            f"label {column.name}: {numbers.n_unique()} whole numbers, drafted as a number to predict; if they are names, "
            "draft it again with --task multiclass",
        )
    return DraftLabel("regression", (column.name,), tuple(lines), told, Numbers(values), remarks)


_READERS: Mapping[Task, Callable[[Sequence[pl.Series], int], DraftLabel]] = {
    "binary": _binary,
    "multiclass": _multiclass,
    "multilabel": _multilabel,
    "regression": _regression,
    "anomaly": _anomaly,
}


def _two_values(columns: Sequence[pl.Series]) -> tuple[NDArray[np.bool_], str, str]:
    """Which rows are positive ``[n, columns]``, the positive value as TOML, and why it is that one."""
    if all(_is_true_and_false(column) for column in columns):
        columns = [column.str.to_lowercase() == "true" for column in columns]
    for column in columns:
        values = column.unique().sort().to_list()
        if len(values) != 2:
            shown = ", ".join(map(repr, values[:5])) + (", ..." if len(values) > 5 else "")
            raise LabelUnusable(f"label {column.name!r}: expected two classes, got {len(values)}: {shown}")
    values = columns[0].unique().sort().to_list()
    for column in columns[1:]:
        others = column.unique().sort().to_list()
        if others != values or (column.dtype == pl.Boolean) != (columns[0].dtype == pl.Boolean):
            raise LabelUnusable(
                f"labels {columns[0].name!r} and {column.name!r}: expected the same two values in each, got {_shown(values)} "
                f"and {_shown(others)}; write them alike"
            )
    counts = [sum(int((column == value).sum()) for column in columns) for value in values]
    known = [value for value in values if str(value).lower() in _POSITIVE_WORDS]
    if len(known) == 1:
        value, why = known[0], "what counts as 1"
    else:
        value = values[0] if counts[0] <= counts[1] else values[1]
        why = (
            f"the rarer of the two, the other is {values[1 - values.index(value)]!r}: check that it is what you ask for"
        )
    flags = np.stack([(column == value).to_numpy() for column in columns], axis=1)
    return flags, _toml(value, columns[0].dtype == pl.String), why


def _shown(values: Sequence[Any]) -> str:
    return " and ".join(map(repr, values))


def _is_true_and_false(column: pl.Series) -> bool:
    return column.dtype == pl.String and bool(column.str.to_lowercase().is_in(["true", "false"]).all())


def _numbers(column: pl.Series) -> pl.Series | None:
    """Float64; None where the column holds no numbers, or codes such as 007."""
    if column.dtype.is_numeric():
        return column.cast(pl.Float64)
    if column.dtype != pl.String or column.str.contains(r"^0\d").any():
        return None
    numbers = column.cast(pl.Float64, strict=False)
    return None if numbers.null_count() else numbers


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"0|-?[1-9]\d{0,15}", text) is not None


def _toml(value: object, from_text: bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float) and float(value).is_integer():
        return str(int(value))
    # CSV holds text: "1" is drafted as the number that events carry, where reading it gives the same text again.
    if from_text and _is_integer(str(value)):
        return str(value)
    return quoted(str(value))
