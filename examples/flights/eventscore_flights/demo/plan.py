"""What the demo sends: flights of the test period in time order, over three sources in turn, with poison and duplicates among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import polars as pl

from eventscore_flights.demo.poison import POISON, encode
from eventscore_flights.events import LABEL_FIELD

SOURCES = ("sqs", "kinesis", "kafka")
POISON_SHARE = 0.01
DUPLICATE_SHARE = 0.005


@dataclass(frozen=True, slots=True)
class Planned:
    """One message: its bytes, the event's id and partition key; for poison the reason for which it must be rejected."""

    body: bytes | None
    event_id: str
    key: str
    poison: str | None = None


@dataclass(frozen=True)
class Plan:
    """What goes over each source, in order, and the truth by event id: late or not."""

    messages: dict[str, list[Planned]]
    labels: dict[str, bool]

    @property
    def total(self) -> int:
        """Messages over all sources."""
        return sum(map(len, self.messages.values()))


def make_plan(test: Path, events: int, seed: int = 2013) -> Plan:
    """Take ``events`` flights, evenly over the whole of the test table, and mix in the poison and the duplicates."""
    frame = pl.read_parquet(test)
    step = max(1.0, frame.height / events)
    chosen = frame[[int(position * step) for position in range(min(events, frame.height))]]
    random = Random(seed)  # noqa: S311  reproducible, not secret
    breakers = {source: cycle(POISON[source]) for source in SOURCES}
    # Evenly among the good events, and each way to break one at least once.
    every = {
        source: max(1, min(round(1 / POISON_SHARE), events // len(SOURCES) // len(POISON[source])))
        for source in SOURCES
    }
    messages: dict[str, list[Planned]] = {source: [] for source in SOURCES}
    labels: dict[str, bool] = {}
    for position, (source, row) in enumerate(zip(cycle(SOURCES), chosen.iter_rows(named=True), strict=False)):
        labels[row["flight_id"]] = row.pop(LABEL_FIELD)
        event = _without_gaps(row)
        key = row["tailnum"] or row["flight"]
        lane = messages[source]
        lane.append(Planned(encode(event), row["flight_id"], key))
        if position // len(SOURCES) % every[source] == every[source] - 1:
            reason, broken = next(breakers[source])
            lane.append(Planned(broken(event), row["flight_id"], key, reason))
        if random.random() < DUPLICATE_SHARE:
            lane.append(random.choice([message for message in lane[-500:] if message.poison is None]))
    return Plan(messages, labels)


def batches(messages: list[Planned], size: int) -> Iterator[list[Planned]]:
    """``messages`` in order, ``size`` at a time."""
    for start in range(0, len(messages), size):
        yield messages[start : start + size]


def _without_gaps(row: dict[str, Any]) -> dict[str, Any]:
    """What a producer leaves out it does not know: gaps are absent fields."""
    return {name: value for name, value in row.items() if value is not None}
