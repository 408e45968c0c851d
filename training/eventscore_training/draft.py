"""Draft a contract and a configuration from a table: a beginning that trains as it stands, with its reasons and its warnings."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from eventscore.contract import parse_contract
from eventscore.contract_grammar import Task
from eventscore_training.config import TrainingConfig
from eventscore_training.draft_columns import Column, ColumnUnusable, is_field_name, read_column
from eventscore_training.draft_label import DraftLabel, LabelUnusable, read_label
from eventscore_training.draft_leaks import Alone, Target, share_after
from eventscore_training.draft_text import LARGE_VOCABULARY, ContractDraft, contract_text, training_text
from eventscore_training.errors import DraftImpossible
from eventscore_training.split import read_parts, times_of
from eventscore_training.table import read_frame

CONTRACT_FILE = "contract.toml"
TRAINING_FILE = "training.toml"


@dataclass(frozen=True)
class Draft:
    """The text of ``contract.toml`` and ``training.toml``, and what to look at before anything is trained."""

    contract: str
    training: str
    warnings: tuple[str, ...]
    task: Task
    features: int
    rows: int


def draft(
    table: Path,
    label: str | Sequence[str],
    event_id: str,
    time: str,
    folder: Path,
    name: str | None = None,
    task: Task | None = None,
) -> Draft:
    """Draft both files for ``table``; nothing is written. ``folder``: where they will lie, for the paths in them.

    ``label``: the column with the truth, or several; the ``task`` is guessed from them if it is not given.

    Raises:
        TableInvalid: the table cannot be read, or a part of it cannot be trained on.
        DraftImpossible: a column is missing, ids are not unique, the label is none of that task, numbers are infinite.

    """
    frame, _ = read_frame(table)
    origin = str(table)
    labels = [label] if isinstance(label, str) else list(label)
    _require_columns(frame, [*(("label", each) for each in labels), ("id", event_id), ("time", time)], origin)
    try:
        truth = read_label(frame, labels, task)
    except LabelUnusable as error:
        raise DraftImpossible(origin, [str(error)]) from None
    moments = _times(frame[time], origin)
    _require_unique(frame[event_id], origin)
    # Early and late mean something below only in the order of time.
    order = moments.arg_sort()
    frame, moments = frame[order], moments[order]
    truth = replace(truth, target=truth.target.sorted(order.to_numpy()))
    features, left_out, warnings = _features(frame, {*labels, event_id, time}, truth, moments, origin)
    if not features:
        reasons = [f"column {column!r} is left out: {why}" for column, why in left_out]
        raise DraftImpossible(origin, ["no column is left to learn from", *reasons])
    described = ContractDraft(
        name=name or _model_name(table),
        origin=table.name,
        rows=frame.height,
        id=event_id,
        time=time,
        label=truth,
        features=features,
        left_out=left_out,
    )
    result = Draft(
        contract_text(described),
        training_text(described, Path(os.path.relpath(table, folder)).as_posix()),
        (*truth.remarks, *warnings),
        truth.task,
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


def _require_columns(frame: pl.DataFrame, named: Sequence[tuple[str, str]], origin: str) -> None:
    problems: list[str] = []
    for role, column in named:
        if column not in frame.columns:
            there = ", ".join(frame.columns[:20]) + (", ..." if len(frame.columns) > 20 else "")
            problems.append(f"--{role}: there is no column {column!r}; there are {there}")
        elif not is_field_name(column):
            problems.append(f"--{role}: {column!r} is no field name (letters, digits and _, a letter first); rename it")
    twice = [column for column, count in Counter(column for _, column in named).items() if count > 1]
    problems += [
        f"column {column!r} is named more than once; label, id and time are columns of their own" for column in twice
    ]
    if not problems and frame.height == 0:
        problems.append("the table has no rows")
    if problems:
        raise DraftImpossible(origin, problems)


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
    frame: pl.DataFrame, named: set[str], label: DraftLabel, moments: pl.Series, origin: str
) -> tuple[list[tuple[Column, Alone]], list[tuple[str, str]], list[str]]:
    features: list[tuple[Column, Alone]] = []
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
        alone, why, warning = _verdict(column, label.target, moments)
        if why:
            why = f"{why}; {column.remark}" if column.remark else why
            left_out.append((column.name, why))
            warnings.append(f"{column.name} is left out: {why}")
        else:
            features.append((column, alone))
        warnings += [f"{column.name}: {text}" for text in (warning, column.remark) if text and not why]
    if problems:
        raise DraftImpossible(origin, problems)
    return features, left_out, warnings


def _verdict(column: Column, target: Target, moments: pl.Series) -> tuple[Alone, str, str]:
    """What it tells alone, why the column is left out (empty: it stays), and a warning (empty: none)."""
    nothing = Alone(target.nothing, target.nothing)
    if column.kind == "time":
        later = share_after(column.values, moments)
        if later > 0:
            why = f"a time, in {later:.0%} of its rows after the event's: likely a leak, as all that is derived from it"
            return nothing, why, ""
        return nothing, "a time: give the network its parts (hour, weekday) or ages as numbers", ""
    if column.left_out or column.kind == "nothing":
        return nothing, column.left_out, ""
    gaps = target.gap_leak(column)
    if gaps:
        return nothing, f"likely a leak: {gaps}", ""
    alone = target.alone(column)
    told = target.strength_told(alone)
    if alone.strength >= target.almost_alone:
        return alone, f"likely a leak: alone it tells the label ({told}); is it known when an event is scored?", ""
    warning = ""
    if alone.strength >= target.suspicious:
        warning = f"alone it tells much of the label ({told}); make sure that it is known when an event is scored"
    elif column.kind == "category" and column.distinct > LARGE_VOCABULARY:
        warning = (
            f"{column.distinct:,} values; only those that occur often enough (network.min_count) get a row of their own"
        )
    return alone, "", warning


def _model_name(table: Path) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", table.stem.lower()).strip("-")
    return name[:63].rstrip("-") or "model"
