"""A training table, read as columns and checked against the contract column by column."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eventscore.contract import Contract
from eventscore.contract_features import BooleanFeature, CategoryFeature, Feature, NumberFeature
from eventscore_training.column_checks import Broken, as_numbers, refuse
from eventscore_training.errors import TableInvalid
from eventscore_training.labels import Part, Truth, read_truth

GraphInputs = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Table:
    """One part of the data, known to keep the contract.

    ``columns`` holds the features: Float64 for numbers and booleans, String for categories, null for a gap. ``events`` holds
    the same rows as they came (id, time, rollout key and features), ``label`` the truth (`labels.Truth`).
    """

    part: Part
    origin: str
    sha256: str
    columns: pl.DataFrame
    events: pl.DataFrame
    label: Truth
    aside: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Columns that are no features and that the contract's gates name, as they came."""
    labelled: bool = True
    """Whether the table holds the truth; without it ``label`` is zeros."""

    @property
    def rows(self) -> int:
        """How many rows the part has."""
        return len(self.label)

    @property
    def positive_share(self) -> float | None:
        """The share of rows whose label is the positive value; None where the truth is no such thing."""
        told = self.labelled and self.label.dtype == np.int8 and self.label.ndim == 1
        return float(self.label.mean()) if told else None


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
        except Broken as broken:
            problems.append(f"column {name!r}: {broken}")
    aside = [name for name in _gated_fields(contract) if name not in contract.features]
    for name in aside:
        if name not in frame.columns:
            problems.append(f"column {name!r}: missing; the contract's gates name it")
    label = None
    try:
        label = read_truth(frame, contract, part)
    except Broken as broken:
        problems.append(f"label: {broken}")
    if problems or label is None:
        raise TableInvalid(origin, problems)
    event_fields = (contract.event.id, contract.event.time, contract.event.rollout_key, *contract.features)
    kept = [name for name in dict.fromkeys(event_fields) if name is not None and name in frame.columns]
    events = frame.select(kept)
    columns = pl.DataFrame(checked).select(*contract.features)
    return Table(part, origin, sha256, columns, events, label, frame.select(aside), contract.label is not None)


def _gated_fields(contract: Contract) -> tuple[str, ...]:
    slices, groups = contract.gates.slices, contract.gates.groups
    return tuple(dict.fromkeys([*(slices.fields if slices else ()), *((groups.field,) if groups else ())]))


def _number(column: pl.Series, feature: NumberFeature) -> pl.Series:
    values = as_numbers(column)
    bounds = f"expected {feature.min:g} to {feature.max:g}"
    refuse(values, (values < feature.min) | (values > feature.max), bounds)
    if feature.missing == "refuse":
        refuse(values, values.is_null(), 'a gap is refused (the contract may say missing = "median")')
    return values


def _boolean(column: pl.Series, feature: BooleanFeature) -> pl.Series:
    if column.dtype == pl.String:
        words = column.str.to_lowercase()
        refuse(column, words.is_not_null() & ~words.is_in(["true", "false"]), "expected true or false")
        column = words == "true"
    if column.dtype not in (pl.Boolean, pl.Null):
        raise Broken(f"expected booleans, got a column of {column.dtype}")
    if feature.missing == "refuse":
        refuse(column, column.is_null(), 'a gap is refused (the contract may say missing = "median")')
    return column.cast(pl.Float64)


def _category(column: pl.Series, feature: CategoryFeature) -> pl.Series:
    if column.dtype not in (pl.String, pl.Null) and not isinstance(column.dtype, pl.Categorical | pl.Enum):
        raise Broken(f"expected strings, got a column of {column.dtype}; write the values as text")
    values = column.cast(pl.String)
    refuse(values, values.str.len_chars() == 0, "an empty string is no value; a gap is a null")
    too_long = values.str.len_chars() > feature.max_length
    refuse(values, too_long, f"expected at most {feature.max_length} characters")
    if feature.values is not None and feature.unseen == "refuse":
        refuse(values, ~values.is_in(list(feature.values)), f"expected one of {', '.join(feature.values[:10])}")
    if feature.missing == "refuse":
        refuse(values, values.is_null(), 'a gap is refused (the contract may say missing = "own")')
    return values


def _checked(column: pl.Series, feature: Feature) -> pl.Series:
    match feature:
        case NumberFeature():
            return _number(column, feature)
        case BooleanFeature():
            return _boolean(column, feature)
        case CategoryFeature():
            return _category(column, feature)
