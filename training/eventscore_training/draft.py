"""Draft a contract and a configuration from a table: a beginning that trains as it stands, with its reasons and its warnings."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eventscore.contract import parse_contract
from eventscore_training.config import TrainingConfig
from eventscore_training.draft_columns import Column, ColumnUnusable, is_field_name, read_column
from eventscore_training.draft_leaks import ALMOST_ALONE, SUSPICIOUS, auc_alone, gap_leak, share_after
from eventscore_training.draft_text import LARGE_VOCABULARY, ContractDraft, contract_text, quoted, training_text
from eventscore_training.errors import DraftImpossible
from eventscore_training.split import read_parts, times_of
from eventscore_training.table import read_frame

CONTRACT_FILE = "contract.toml"
TRAINING_FILE = "training.toml"
_POSITIVE_WORDS = ("true", "yes", "y", "t", "1", "1.0", "positive", "pos")


@dataclass(frozen=True)
class Draft:
    """The text of ``contract.toml`` and ``training.toml``, and what to look at before anything is trained."""

    contract: str
    training: str
    warnings: tuple[str, ...]
    features: int
    rows: int


def draft(table: Path, label: str, event_id: str, time: str, folder: Path, name: str | None = None) -> Draft:
    """Draft both files for ``table``; nothing is written. ``folder``: where they will lie, for the paths in them.

    Raises:
        TableInvalid: the table cannot be read, or a part of it cannot be trained on.
        DraftImpossible: a column is missing, ids are not unique, the label has not two classes, numbers are infinite.

    """
    frame, _ = read_frame(table)
    origin = str(table)
    _require_columns(frame, {"label": label, "id": event_id, "time": time}, origin)
    truth, positive, positive_why = _label(frame[label], origin)
    moments = _times(frame[time], origin)
    _require_unique(frame[event_id], origin)
    # Early and late mean something below only in the order of time.
    order = moments.arg_sort()
    frame, moments, truth = frame[order], moments[order], truth[order.to_numpy()]
    features, left_out, warnings = _features(frame, {label, event_id, time}, truth, moments, origin)
    if not features:
        reasons = [f"column {column!r} is left out: {why}" for column, why in left_out]
        raise DraftImpossible(origin, ["no column is left to learn from", *reasons])
    described = ContractDraft(
        name=name or _model_name(table),
        origin=table.name,
        rows=frame.height,
        id=event_id,
        time=time,
        label=label,
        positive=positive,
        positive_why=positive_why,
        positive_share=float(truth.mean()),
        best_alone=max(auc for _, auc in features),
        features=features,
        left_out=left_out,
    )
    result = Draft(
        contract_text(described),
        training_text(described, Path(os.path.relpath(table, folder)).as_posix()),
        tuple(warnings),
        len(features),
        frame.height,
    )
    _prove(result, table)
    return result


def _prove(result: Draft, table: Path) -> None:
    """The draft goes through the very reader of the training job: what stands in its way is told now."""
    contract = parse_contract(result.contract.encode(), f"the contract drafted from {table}")
    config = TrainingConfig(contract=Path(CONTRACT_FILE), table=table, validation_share=0.2, test_share=0.2)
    read_parts(config, contract)


def _require_columns(frame: pl.DataFrame, named: dict[str, str], origin: str) -> None:
    problems: list[str] = []
    for role, column in named.items():
        if column not in frame.columns:
            there = ", ".join(frame.columns[:20]) + (", ..." if len(frame.columns) > 20 else "")
            problems.append(f"--{role}: there is no column {column!r}; there are {there}")
        elif not is_field_name(column):
            problems.append(f"--{role}: {column!r} is no field name (letters, digits and _, a letter first); rename it")
    twice = [column for column, count in Counter(named.values()).items() if count > 1]
    problems += [f"column {column!r} is named more than once; label, id and time are three columns" for column in twice]
    if not problems and frame.height == 0:
        problems.append("the table has no rows")
    if problems:
        raise DraftImpossible(origin, problems)


def _label(column: pl.Series, origin: str) -> tuple[NDArray[np.int8], str, str]:
    """0 and 1 for each row, the positive value as TOML, and why it is that one."""
    name = column.name
    if column.null_count():
        first = int(column.is_null().arg_max() or 0) + 1
        raise DraftImpossible(
            origin,
            [
                f"label {name!r}: {column.null_count():,} of {len(column):,} rows have none, first row {first}; "
                "a row without a label teaches nothing: leave it out"
            ],
        )
    if column.dtype == pl.String and column.str.to_lowercase().is_in(["true", "false"]).all():
        column = column.str.to_lowercase() == "true"
    values = column.unique().sort().to_list()
    if len(values) != 2:
        shown = ", ".join(map(repr, values[:5])) + (", ..." if len(values) > 5 else "")
        hint = "; a model of two classes is drafted so far: make the label one" if len(values) > 2 else ""
        raise DraftImpossible(origin, [f"label {name!r}: expected two classes, got {len(values)}: {shown}{hint}"])
    counts = [int((column == value).sum()) for value in values]
    known = [value for value in values if str(value).lower() in _POSITIVE_WORDS]
    if len(known) == 1:
        value, why = known[0], "what counts as 1"
    else:
        value = values[0] if counts[0] <= counts[1] else values[1]
        why = (
            f"the rarer of the two, the other is {values[1 - values.index(value)]!r}: check that it is what you ask for"
        )
    truth = (column == value).to_numpy().astype(np.int8)
    return truth, _toml(value, column.dtype == pl.String), why


def _toml(value: object, from_text: bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float) and float(value).is_integer():
        return str(int(value))
    # CSV holds text: "1" is drafted as the number that events carry, where reading it gives the same text again.
    if from_text and re.fullmatch(r"0|-?[1-9]\d{0,15}", str(value)):
        return str(value)
    return quoted(str(value))


def _times(column: pl.Series, origin: str) -> pl.Series:
    times = times_of(column)
    if times is None:
        expected = f"time {column.name!r}: expected times as RFC 3339 writes them, got a column of {column.dtype}"
        raise DraftImpossible(origin, [expected])
    broken = times.is_null()
    if broken.any():
        first = int(broken.arg_max() or 0)
        raise DraftImpossible(
            origin,
            [
                f"time {column.name!r}: {int(broken.sum()):,} of {len(times):,} rows hold no time, first row {first + 1}: "
                f"{column[first]!r}; expected RFC 3339 (2026-11-21T10:15:00Z); without an offset it is taken for UTC"
            ],
        )
    return times


def _require_unique(column: pl.Series, origin: str) -> None:
    if column.null_count():
        raise DraftImpossible(
            origin, [f"id {column.name!r}: {column.null_count():,} rows have none; every event has an id"]
        )
    doubled = column.is_duplicated()
    if not doubled.any():
        return
    value = column.filter(doubled)[0]
    rows = [int(row) + 1 for row in (column == value).arg_true().head(3)]
    raise DraftImpossible(
        origin,
        [
            f"id {column.name!r}: {int(doubled.sum()):,} of {len(column):,} rows share theirs with another, such as {value!r} "
            f"in rows {', '.join(map(str, rows))}; one row is one event: drop the repetitions, or name another column"
        ],
    )


def _features(
    frame: pl.DataFrame, named: set[str], truth: NDArray[np.int8], moments: pl.Series, origin: str
) -> tuple[list[tuple[Column, float]], list[tuple[str, str]], list[str]]:
    features: list[tuple[Column, float]] = []
    left_out: list[tuple[str, str]] = []
    warnings: list[str] = []
    problems: list[str] = []
    from_text = all(kind == pl.String for kind in frame.dtypes)
    for series in frame:
        if series.name in named:
            continue
        try:
            column = read_column(series, from_text)
        except ColumnUnusable as error:
            problems.append(str(error))
            continue
        auc, why, warning = _verdict(column, truth, moments)
        if why:
            left_out.append((column.name, why))
            warnings.append(f"{column.name} is left out: {why}")
        else:
            features.append((column, auc))
        warnings += [f"{column.name}: {text}" for text in (warning, column.remark) if text and not why]
    if problems:
        raise DraftImpossible(origin, problems)
    return features, left_out, warnings


def _verdict(column: Column, truth: NDArray[np.int8], moments: pl.Series) -> tuple[float, str, str]:
    """ROC-AUC alone, why the column is left out (empty: it stays), and a warning (empty: none)."""
    if column.kind == "time":
        later = share_after(column.values, moments)
        if later > 0:
            return (
                0.5,
                f"a time, in {later:.0%} of its rows after the event's: likely a leak, as all that is derived from it",
                "",
            )
        return 0.5, "a time: give the network its parts (hour, weekday) or ages as numbers", ""
    if column.left_out or column.kind == "nothing":
        return 0.5, column.left_out, ""
    gaps = gap_leak(column, truth)
    if gaps:
        return 0.5, f"likely a leak: {gaps}", ""
    auc = auc_alone(column, truth)
    if auc >= ALMOST_ALONE:
        return (
            auc,
            f"likely a leak: alone it tells the label (ROC-AUC {auc:.3f}); is it known when an event is scored?",
            "",
        )
    if auc >= SUSPICIOUS:
        return auc, "", f"alone it reaches a ROC-AUC of {auc:.3f}; make sure that it is known when an event is scored"
    if column.kind == "category" and column.distinct > LARGE_VOCABULARY:
        return (
            auc,
            "",
            f"{column.distinct:,} values; only those that occur often enough (network.min_count) get a row of their own",
        )
    return auc, "", ""


def _model_name(table: Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", table.stem.lower()).strip("-")
    return name[:63].rstrip("-") or "model"
