"""The truth of a table, as each task needs it: classes, numbers, flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eventscore.contract import Contract
from eventscore.contract_grammar import FLOAT32_MAX, Task
from eventscore.contract_label import LabelSection
from eventscore_training.column_checks import Broken, as_numbers, refuse, some_of

Part = Literal["train", "validation", "test"]
Truth = NDArray[Any]
"""Binary: int8 ``[n]``, 1 for the positive value. Multiclass: int64 ``[n]``, the place in the contract's classes. Multilabel: int8
``[n, labels]``. Regression: float64 ``[n]``. Anomaly: int8 ``[n]``, 1 for a known anomaly; zeros where the contract names no label."""


def read_truth(frame: pl.DataFrame, contract: Contract, part: Part) -> Truth:
    """The truth of ``frame``.

    Raises:
        Broken: a column is missing, a value has no meaning, or there is nothing to tell apart.

    """
    if contract.label is None:
        return np.zeros(frame.height, np.int8)
    for field in contract.label_fields:
        if field not in frame.columns:
            raise Broken(f"column {field!r} is missing; it is the column with the truth")
        column = frame[field]
        gaps = column.is_null() | column.is_nan() if column.dtype.is_float() else column.is_null()
        refuse(column, gaps, "a row without a label teaches nothing; leave it out")
    return _READERS[contract.model.task](frame, contract.label, part)


def _binary(frame: pl.DataFrame, label: LabelSection, part: Part) -> Truth:
    column = _comparable(frame[label.columns[0]], label.positive)
    positives = _positives(column, label.positive, part)
    if positives.all():
        raise Broken(f"expected two classes in the {part} part, got only {some_of(column)}")
    if column.n_unique() > 2:
        raise Broken(f"expected two classes for a binary task, got {column.n_unique()}: {some_of(column)}")
    return positives.to_numpy().astype(np.int8)


def _anomaly(frame: pl.DataFrame, label: LabelSection, part: Part) -> Truth:
    column = _comparable(frame[label.columns[0]], label.positive)
    if column.n_unique() > 2:
        raise Broken(f"expected two values, got {column.n_unique()}: {some_of(column)}")
    known = column == _wanted(column, label.positive)
    if known.all():
        raise Broken(f"expected events that are no anomalies in the {part} part, got only {some_of(column)}")
    # What judges must hold both; what is learned from, and what the ranks are taken from, are the others.
    return (_positives(column, label.positive, part) if part == "test" else known).to_numpy().astype(np.int8)


def _multiclass(frame: pl.DataFrame, label: LabelSection, part: Part) -> Truth:
    column, classes = frame[label.columns[0]], label.classes or ()
    if column.dtype == pl.Boolean or column.dtype.is_float():
        whole = column.dtype.is_float() and bool((column == column.round()).all())
        if not whole:
            raise Broken(f"expected classes, strings or integers, got a column of {column.dtype}")
        column = column.cast(pl.Int64)
    names = column.cast(pl.String)
    known = [str(each) for each in classes]
    shown = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
    refuse(frame[label.columns[0]], ~names.is_in(known), f"expected one of the contract's classes ({shown})")
    places = names.replace_strict(known, list(range(len(known))), return_dtype=pl.Int64).to_numpy()
    absent = [name for place, name in enumerate(known) if not (places == place).any()]
    if absent and part == "train":
        raise Broken(
            f"class {absent[0]!r} has no row in the train part, so it cannot be learned; take it out of classes"
        )
    if len(known) - len(absent) < 2:
        raise Broken(f"expected two classes or more in the {part} part, got only {some_of(column)}")
    return places.astype(np.int64)


def _multilabel(frame: pl.DataFrame, label: LabelSection, part: Part) -> Truth:
    truths = []
    for field in label.columns:
        try:
            column = _comparable(frame[field], label.positive)
            positives = _positives(column, label.positive, part)
            if positives.all():
                raise Broken(f"expected two classes in the {part} part, got only {some_of(column)}")
        except Broken as broken:
            raise Broken(f"column {field!r}: {broken}") from None
        truths.append(positives.to_numpy().astype(np.int8))
    return np.stack(truths, axis=1)


def _regression(frame: pl.DataFrame, label: LabelSection, part: Part) -> Truth:
    told = frame[label.columns[0]]
    values = as_numbers(told)
    refuse(told, values.is_null(), "expected a number in each row")
    low = -FLOAT32_MAX if label.min is None else label.min
    high = FLOAT32_MAX if label.max is None else label.max
    refuse(values, (values < low) | (values > high), f"expected {low:g} to {high:g}")
    if values.n_unique() < 2:
        raise Broken(f"expected numbers that differ in the {part} part, got only {some_of(values)}")
    return values.to_numpy().astype(np.float64)


_READERS: Mapping[Task, Callable[[pl.DataFrame, LabelSection, Part], Truth]] = {
    "binary": _binary,
    "multiclass": _multiclass,
    "multilabel": _multilabel,
    "regression": _regression,
    "anomaly": _anomaly,
}


def _comparable(column: pl.Series, positive: bool | int | str) -> pl.Series:
    if column.dtype == pl.String:
        return column.str.to_lowercase() if isinstance(positive, bool) else column
    if isinstance(positive, bool) != (column.dtype == pl.Boolean) or isinstance(positive, str):
        raise Broken(f"the positive value is {positive!r}, the column is of {column.dtype}")
    return column


def _wanted(column: pl.Series, positive: bool | int | str) -> bool | int | str:
    if column.dtype != pl.String:
        return positive
    return str(positive).lower() if isinstance(positive, bool) else str(positive)


def _positives(column: pl.Series, positive: bool | int | str, part: Part) -> pl.Series:
    if column.n_unique() > 2:
        raise Broken(f"expected two values, got {column.n_unique()}: {some_of(column)}")
    positives = column == _wanted(column, positive)
    if not positives.any():
        raise Broken(f"expected the positive value {positive!r} in the {part} part, got only {some_of(column)}")
    return positives
