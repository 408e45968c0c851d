"""The split: three files as they are, or one table cut by the event's time, so that no row of a part precedes the part before it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eventscore.contract import Contract
from eventscore_training.config import TrainingConfig
from eventscore_training.errors import TableInvalid
from eventscore_training.identities import require_distinct_ids
from eventscore_training.labels import Part
from eventscore_training.table import Table, check_table, read_frame


@dataclass(frozen=True)
class Parts:
    """The checked tables. ``method`` says in words how they were split, ``periods`` each part's first and last event."""

    train: Table
    validation: Table
    test: Table
    method: str
    periods: dict[str, tuple[str, str]]

    @property
    def all(self) -> tuple[Table, Table, Table]:
        """Train, validation, test."""
        return self.train, self.validation, self.test


def read_parts(config: TrainingConfig, contract: Contract) -> Parts:
    """Read and check the tables of ``config``.

    Raises:
        TableInvalid: a file cannot be read, a column breaks the contract, a part is empty or holds one class.

    """
    frames: dict[Part, tuple[pl.DataFrame, str, str]] = {}
    if config.table is None:
        paths = {"train": config.train, "validation": config.validation, "test": config.test}
        for part in _PARTS:
            path = paths[part]
            if path is None:
                raise TableInvalid(
                    part, ["no file is named"]
                )  # the configuration sees to it; told here to the type checker
            frames[part] = (*read_frame(path), str(path))
        method = "separate files"
    else:
        frame, sha256 = read_frame(config.table)
        cut, method = _cut(frame, config, contract, str(config.table))
        frames = {part: (cut[part], sha256, f"{config.table} ({part} part)") for part in _PARTS}
    tables = {part: check_table(frames[part][0], contract, part, frames[part][2], frames[part][1]) for part in _PARTS}
    require_distinct_ids(
        {part: frames[part][0] for part in _PARTS}, contract, {part: frames[part][2] for part in _PARTS}
    )
    periods, order = _periods({part: frames[part][0] for part in _PARTS}, contract)
    method += f"; {order}" if order else ""
    return Parts(tables["train"], tables["validation"], tables["test"], method, periods)


_PARTS: tuple[Part, ...] = ("train", "validation", "test")
_WITHOUT_ZONE = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
"""Shapes of a time in a CSV file besides RFC 3339."""


def _cut(
    frame: pl.DataFrame, config: TrainingConfig, contract: Contract, origin: str
) -> tuple[dict[Part, pl.DataFrame], str]:
    time = event_time(frame, contract)
    if time is None:
        raise TableInvalid(
            origin, ["a split by time needs the event's time: [event] time in the contract, and that column"]
        )
    if time.null_count():
        raise TableInvalid(
            origin, [f"column {contract.event.time!r}: {time.null_count():,} rows hold no RFC 3339 time"]
        )
    if config.validation_from and config.test_from:
        validation_from, test_from = config.validation_from, config.test_from
        method = f"by time: validation from {validation_from.isoformat()}, test from {test_from.isoformat()}"
    else:
        validation_share, test_share = config.validation_share or 0.0, config.test_share or 0.0
        ordered = time.sort()
        validation_from = ordered[int(len(ordered) * (1 - validation_share - test_share))]
        test_from = ordered[int(len(ordered) * (1 - test_share))]
        method = f"by time: the last {test_share:.0%} for test, the {validation_share:.0%} before for validation"
    return {
        "train": frame.filter(time < validation_from),
        "validation": frame.filter((time >= validation_from) & (time < test_from)),
        "test": frame.filter(time >= test_from),
    }, method


def time_order(table: Table, contract: Contract) -> NDArray[np.int64] | None:
    """Microseconds since 1970 of each event of ``table``, ``[n]``; None where the events have no time, or one of them has none."""
    time = event_time(table.events, contract)
    if time is None or time.null_count():
        return None
    return time.dt.epoch("us").to_numpy().astype(np.int64)


def event_time(frame: pl.DataFrame, contract: Contract) -> pl.Series | None:
    """The event's time in UTC; null where the text is no time. A time without a zone is taken for UTC."""
    if contract.event.time is None or contract.event.time not in frame.columns:
        return None
    return times_of(frame[contract.event.time])


def times_of(column: pl.Series) -> pl.Series | None:
    """Times or dates in UTC, null where the text is none; None for a column of another kind. Without a zone it is UTC."""
    if column.dtype == pl.String:
        found = column.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
        for shape in _WITHOUT_ZONE:
            if found.null_count() == column.null_count():
                break
            plain = column.str.to_datetime(shape, time_unit="us", strict=False).dt.replace_time_zone("UTC")
            found = found.fill_null(plain)
        return found
    if column.dtype == pl.Date:
        column = column.cast(pl.Datetime("us"))
    if not isinstance(column.dtype, pl.Datetime):
        return None
    zoned = column.dt.replace_time_zone("UTC") if column.dtype.time_zone is None else column
    return zoned.dt.convert_time_zone("UTC")


def _periods(frames: dict[Part, pl.DataFrame], contract: Contract) -> tuple[dict[str, tuple[str, str]], str]:
    periods: dict[str, tuple[datetime, datetime]] = {}
    for part, frame in frames.items():
        time = event_time(frame, contract)
        first, last = (time.min(), time.max()) if time is not None else (None, None)
        if isinstance(first, datetime) and isinstance(last, datetime):
            periods[part] = (first, last)
    order = ""
    if len(periods) == len(frames):
        train, validation, test = (periods[part] for part in _PARTS)
        ordered = train[1] < validation[0] and validation[1] < test[0]
        order = (
            "each part lies after the one before it in time"
            if ordered
            else "the parts overlap in time, so the figures may be better than life"
        )
    return {part: (first.isoformat(), last.isoformat()) for part, (first, last) in periods.items()}, order
