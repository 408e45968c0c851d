"""A training table, read as columns and checked against the contract column by column."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eventscore.contract import BooleanFeature, CategoryFeature, Contract, Feature, NumberFeature
from eventscore_training.errors import TableInvalid

Part = Literal["train", "validation", "test"]
GraphInputs = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Table:
    """One part of the data, known to keep the contract.

    ``columns`` holds the features: Float64 for numbers and booleans, String for categories, null for a gap. ``events`` holds
    the same rows as they came (id, time, rollout key and features), ``label`` is 1 for the positive value.
    """

    part: Part
    origin: str
    sha256: str
    columns: pl.DataFrame
    events: pl.DataFrame
    label: NDArray[np.int8]
    aside: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Columns that are no features and that the contract's gates name, as they came."""

    @property
    def rows(self) -> int:
        """How many rows the part has."""
        return len(self.label)

    @property
    def positive_share(self) -> float:
        """The share of rows whose label is the positive value."""
        return float(self.label.mean())


def numbers_of(columns: pl.DataFrame, contract: Contract) -> NDArray[np.float64]:
    """The graph's input ``numbers``: ``[rows, len(contract.numbers)]``, NaN for a gap."""
    if not contract.numbers:
        return np.zeros((columns.height, 0))
    return columns.select(pl.col(contract.numbers).fill_null(float("nan"))).to_numpy(order="c").astype(np.float64)


def graph_inputs(columns: pl.DataFrame, contract: Contract) -> GraphInputs:
    """Everything that the graph takes: ``numbers`` as above and ``categories``, strings, ``""`` for a gap."""
    inputs: GraphInputs = {}
    if contract.numbers:
        inputs["numbers"] = numbers_of(columns, contract)
    if contract.categories:
        categories = np.empty((columns.height, len(contract.categories)), dtype=object)
        for index, name in enumerate(contract.categories):
            categories[:, index] = columns[name].fill_null("").to_list()
        inputs["categories"] = categories
    return inputs


def read_frame(path: Path) -> tuple[pl.DataFrame, str]:
    """Read a Parquet or CSV file; the second value is the SHA-256 of its bytes. Every column of a CSV file is text.

    Raises:
        TableInvalid: there is no such file, it is of another kind, or it cannot be read.

    """
    if path.suffix not in (".parquet", ".csv"):
        raise TableInvalid(
            str(path), [f"expected a file that ends in .parquet or .csv, got {path.suffix or 'no suffix'}"]
        )
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        # Numbers are parsed below, where a value that is none can be named with its row.
        frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
    except OSError as error:
        raise TableInvalid(str(path), [f"cannot be read: {error.strerror or error}"]) from None
    except pl.exceptions.PolarsError as error:
        raise TableInvalid(str(path), [f"cannot be read: {error}"]) from None
    return frame, sha256


def check_table(frame: pl.DataFrame, contract: Contract, part: Part, origin: str, sha256: str) -> Table:
    """Check every column of ``frame`` and keep what the contract names. All problems are told at once.

    Raises:
        TableInvalid: with one sentence for each column that breaks the contract.

    """
    if frame.height == 0:
        raise TableInvalid(origin, [f"the {part} part has no rows"])
    problems: list[str] = []
    checked: dict[str, pl.Series] = {}
    for name, feature in contract.features.items():
        if name not in frame.columns:
            problems.append(f"column {name!r}: missing; the contract names it as a {feature.type}")
            continue
        try:
            checked[name] = _checked(frame[name], feature)
        except _Broken as broken:
            problems.append(f"column {name!r}: {broken}")
    aside = [name for name in _gated_fields(contract) if name not in contract.features]
    for name in aside:
        if name not in frame.columns:
            problems.append(f"column {name!r}: missing; the contract's gates name it")
    label = None
    try:
        label = _label(frame, contract, part)
    except _Broken as broken:
        problems.append(f"label: {broken}")
    if problems or label is None:
        raise TableInvalid(origin, problems)
    event_fields = (contract.event.id, contract.event.time, contract.event.rollout_key, *contract.features)
    kept = [name for name in dict.fromkeys(event_fields) if name is not None and name in frame.columns]
    events = frame.select(kept)
    columns = pl.DataFrame(checked).select(*contract.features)
    return Table(part, origin, sha256, columns, events, label, frame.select(aside))


def _gated_fields(contract: Contract) -> tuple[str, ...]:
    slices, groups = contract.gates.slices, contract.gates.groups
    return tuple(dict.fromkeys([*(slices.fields if slices else ()), *((groups.field,) if groups else ())]))


class _Broken(Exception):
    """A sentence about one column."""


def _number(column: pl.Series, feature: NumberFeature) -> pl.Series:
    if column.dtype == pl.String:
        parsed = column.cast(pl.Float64, strict=False)
        _refuse(column, column.is_not_null() & parsed.is_null(), "expected numbers")
        column = parsed
    if not (column.dtype.is_numeric() or column.dtype == pl.Null):
        raise _Broken(f"expected numbers, got a column of {column.dtype}")
    values = column.cast(pl.Float64).fill_nan(None)
    bounds = f"expected {feature.min:g} to {feature.max:g}"
    _refuse(values, (values < feature.min) | (values > feature.max), bounds)
    if feature.missing == "refuse":
        _refuse(values, values.is_null(), 'a gap is refused (the contract may say missing = "median")')
    return values


def _boolean(column: pl.Series, feature: BooleanFeature) -> pl.Series:
    if column.dtype == pl.String:
        words = column.str.to_lowercase()
        _refuse(column, words.is_not_null() & ~words.is_in(["true", "false"]), "expected true or false")
        column = words == "true"
    if column.dtype not in (pl.Boolean, pl.Null):
        raise _Broken(f"expected booleans, got a column of {column.dtype}")
    if feature.missing == "refuse":
        _refuse(column, column.is_null(), 'a gap is refused (the contract may say missing = "median")')
    return column.cast(pl.Float64)


def _category(column: pl.Series, feature: CategoryFeature) -> pl.Series:
    if column.dtype not in (pl.String, pl.Null) and not isinstance(column.dtype, pl.Categorical | pl.Enum):
        raise _Broken(f"expected strings, got a column of {column.dtype}; write the values as text")
    values = column.cast(pl.String)
    _refuse(values, values.str.len_chars() == 0, "an empty string is no value; a gap is a null")
    too_long = values.str.len_chars() > feature.max_length
    _refuse(values, too_long, f"expected at most {feature.max_length} characters")
    if feature.values is not None and feature.unseen == "refuse":
        _refuse(values, ~values.is_in(list(feature.values)), f"expected one of {', '.join(feature.values[:10])}")
    if feature.missing == "refuse":
        _refuse(values, values.is_null(), 'a gap is refused (the contract may say missing = "own")')
    return values


def _label(frame: pl.DataFrame, contract: Contract, part: Part) -> NDArray[np.int8]:
    if contract.label is None:
        raise _Broken("the contract names no [label]")
    field, positive = contract.label.field, contract.label.positive
    if field not in frame.columns:
        raise _Broken(f"column {field!r} is missing; it is the column with the truth")
    column = frame[field]
    _refuse(column, column.is_null(), "a row without a label teaches nothing; leave it out")
    wanted: object = positive
    if column.dtype == pl.String:
        wanted = str(positive).lower() if isinstance(positive, bool) else str(positive)
        column = column.str.to_lowercase() if isinstance(positive, bool) else column
    elif isinstance(positive, bool) != (column.dtype == pl.Boolean) or isinstance(positive, str):
        raise _Broken(f"the positive value is {positive!r}, the column is of {column.dtype}")
    values = column.unique().sort().to_list()
    shown = ", ".join(map(repr, values[:5])) + (", ..." if len(values) > 5 else "")
    if wanted not in values:
        raise _Broken(f"expected the positive value {positive!r} in the {part} part, got only {shown}")
    if len(values) == 1:
        raise _Broken(f"expected two classes in the {part} part, got only {shown}")
    if len(values) > 2:
        raise _Broken(f"expected two classes for a binary task, got {len(values)}: {shown}")
    return (column == wanted).to_numpy().astype(np.int8)


def _checked(column: pl.Series, feature: Feature) -> pl.Series:
    match feature:
        case NumberFeature():
            return _number(column, feature)
        case BooleanFeature():
            return _boolean(column, feature)
        case CategoryFeature():
            return _category(column, feature)


def _refuse(column: pl.Series, broken: pl.Series, expectation: str) -> None:
    """Raise if ``broken`` holds anywhere: how often, and the first value with its row, counted from 1."""
    count = int(broken.sum() or 0)
    if count:
        first = int(broken.fill_null(False).arg_max() or 0)
        raise _Broken(
            f"{expectation}; {count:,} of {len(column):,} rows break that, first row {first + 1}: {column[first]!r}"
        )
