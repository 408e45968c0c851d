"""Sentences about one column: what was expected, how many rows break it, and the first of them."""

from __future__ import annotations

import polars as pl


class Broken(Exception):
    """A sentence about one column."""


def refuse(column: pl.Series, broken: pl.Series, expectation: str) -> None:
    """Raise ``Broken`` if ``broken`` holds anywhere: how often, and the first value with its row, counted from 1."""
    count = int(broken.sum() or 0)
    if count:
        first = int(broken.fill_null(False).arg_max() or 0)
        raise Broken(
            f"{expectation}; {count:,} of {len(column):,} rows break that, first row {first + 1}: {column[first]!r}"
        )


def some_of(column: pl.Series) -> str:
    """The first few values that the column holds, sorted."""
    values = column.unique().sort().to_list()
    return ", ".join(map(repr, values[:5])) + (", ..." if len(values) > 5 else "")


def as_numbers(column: pl.Series) -> pl.Series:
    """The column as Float64, NaN as null; text of a CSV file is parsed. Raises ``Broken`` for anything else."""
    if column.dtype == pl.String:
        parsed = column.cast(pl.Float64, strict=False)
        refuse(column, column.is_not_null() & parsed.is_null(), "expected numbers")
        column = parsed
    if not (column.dtype.is_numeric() or column.dtype == pl.Null):
        raise Broken(f"expected numbers, got a column of {column.dtype}")
    return column.cast(pl.Float64).fill_nan(None)
