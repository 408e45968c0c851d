"""What each column of an unknown table seems to be: a number, a boolean, a category, a time, or nothing to learn from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import polars as pl

from eventscore.contract_grammar import FLOAT32_MAX
from eventscore_training.split import times_of

Kind = Literal["number", "boolean", "category", "time", "nothing"]
GAP_WORDS = ("na", "n/a", "null", "none", "nil", "-", "?", "missing", "unknown")
LONGEST_CATEGORY = 1000
FREE_TEXT_LENGTH = 60
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_ID_NAME = re.compile(r"(^|_)(id|key|uuid|guid|no|nr|number|index|row)$|Id$", re.IGNORECASE)
_ENOUGH_TO_JUDGE = 50


@dataclass(frozen=True)
class Column:
    """One column: ``values`` as Float64, Boolean, String or Datetime in UTC; ``left_out`` says why it is no feature."""

    name: str
    kind: Kind
    values: pl.Series
    distinct: int = 0
    whole: bool = False
    """Every number is whole."""
    left_out: str = ""
    remark: str = ""


class ColumnUnusable(Exception):
    """A sentence about a column that must be mended in the table."""


def is_field_name(name: str) -> bool:
    """Whether a contract may name a column so."""
    return _FIELD_NAME.fullmatch(name) is not None


def read_column(series: pl.Series, from_text: bool) -> Column:
    """Find out what ``series`` is. ``from_text``: it comes from a CSV file, where everything is text.

    Raises:
        ColumnUnusable: it holds infinite numbers, or numbers and words for gaps.

    """
    name = series.name
    if not is_field_name(name):
        why = "its name is no field name (letters, digits and _, a letter first): rename the column"
        return Column(name, "nothing", series, left_out=why)
    if series.null_count() == len(series):
        return Column(name, "nothing", series, left_out="it is empty")
    if series.dtype == pl.Boolean:
        return _judged(Column(name, "boolean", series, series.drop_nulls().n_unique()))
    if series.dtype.is_numeric():
        return _number(name, series.cast(pl.Float64).fill_nan(None))
    if series.dtype == pl.String or isinstance(series.dtype, pl.Categorical | pl.Enum):
        return _text(name, series.cast(pl.String), from_text)
    times = times_of(series)
    if times is not None:
        return Column(name, "time", times)
    return Column(name, "nothing", series, left_out=f"a column of {series.dtype} is neither number, boolean nor text")


def _text(name: str, series: pl.Series, from_text: bool) -> Column:
    distinct = series.drop_nulls().unique()
    if (
        set(distinct.head(5).str.to_lowercase()) <= {"true", "false"}
        and distinct.str.to_lowercase().is_in(["true", "false"]).all()
    ):
        return _judged(
            Column(name, "boolean", series.str.to_lowercase() == "true", distinct.str.to_lowercase().n_unique())
        )
    remark = ""
    if from_text:
        numbers = distinct.cast(pl.Float64, strict=False)
        words = distinct.filter(numbers.is_null())
        codes = bool(distinct.str.contains(r"^0\d").any())  # 007 is a name: as a number it would lose its noughts
        if words.is_empty() and not codes:
            return _number(name, series.cast(pl.Float64).fill_nan(None))
        if len(words) < len(distinct) and not codes:
            if words.str.to_lowercase().is_in(list(GAP_WORDS)).all():
                broken = series.is_in(words.implode())
                raise ColumnUnusable(
                    f"column {name!r}: numbers, and {int(broken.sum()):,} of {len(series):,} rows say "
                    f"{', '.join(map(repr, words.sort().head(3).to_list()))} (first row {int(broken.arg_max() or 0) + 1}); "
                    "a gap is an empty field: replace these words"
                )
            share = float(series.drop_nulls().cast(pl.Float64, strict=False).is_not_null().mean() or 0)  # type: ignore[arg-type]
            if share > 0.5:
                remark = (
                    f"{share:.0%} of its values are numbers, and others are not, such as {words.sort()[0]!r}: "
                    "drafted as a category; mend the table if it should be a number"
                )
    times = times_of(distinct.head(1000))
    if times is not None and times.null_count() == 0:
        return Column(name, "time", times_of(series) if len(series) else series)  # type: ignore[arg-type]
    return _judged(Column(name, "category", series, len(distinct), remark=remark))


def _number(name: str, values: pl.Series) -> Column:
    broken = (values.is_infinite() | (values.abs() > FLOAT32_MAX)).fill_null(False)
    if broken.any():
        first = int(broken.arg_max() or 0)
        raise ColumnUnusable(
            f"column {name!r}: {int(broken.sum()):,} of {len(values):,} rows hold an infinite number (first row {first + 1}: "
            f"{values[first]}); expected finite ones below 3.4e38: make them gaps, or drop the column"
        )
    if values.null_count() == len(values):
        return Column(name, "nothing", values, left_out="it is empty")
    known = values.drop_nulls()
    return _judged(Column(name, "number", values, known.n_unique(), whole=bool((known == known.round()).all())))


def _judged(column: Column) -> Column:
    """``column`` with the reason why it is left out, if there is one."""
    rows = len(column.values) - column.values.null_count()
    why = remark = ""
    if column.distinct == 1:
        why = f"every row that has it says {column.values.drop_nulls()[0]!r}: nothing to learn"
        if column.values.null_count():
            why = ""  # that it is there at all may say something
    unique = rows >= _ENOUGH_TO_JUDGE and column.distinct > 0.95 * rows
    if column.kind == "number" and unique and column.whole:
        known = column.values.drop_nulls()
        if _ID_NAME.search(column.name) or known.is_sorted() or known.is_sorted(descending=True):
            why = f"like an id: {column.distinct:,} different whole numbers in {rows:,} rows; learned by heart it says nothing"
    elif column.kind == "number" and column.whole and _ID_NAME.search(column.name):
        remark = "named like an id; if its numbers are names, write them as text, and it becomes a category"
    elif column.kind == "category":
        lengths = column.values.str.len_chars()
        longest, mean = int(lengths.max() or 0), float(lengths.mean() or 0)  # type: ignore[arg-type]
        if unique:
            why = f"like an id or free text: {column.distinct:,} different values in {rows:,} rows; learned by heart it says nothing"
        elif longest > LONGEST_CATEGORY or mean > FREE_TEXT_LENGTH:
            why = f"free text (up to {longest:,} characters): give the network what matters of it as fields"
    return Column(column.name, column.kind, column.values, column.distinct, column.whole, why, column.remark or remark)
