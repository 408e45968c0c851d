"""Golden events: raw events with the score that a version must give them, wherever it is loaded.

Most are test rows, spread over the range of scores; the rest go where serving can differ from training: every gap at once,
unseen values, the bounds of every number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eventscore.contract import Contract
from eventscore.contract_features import NumberFeature
from eventscore_training.inference import run_graph
from eventscore_training.table import Table

GOLDEN_EVENTS = 64
_FEWEST_ROWS = 8
"""Test rows among the golden events, however many features want a made one."""
SMALLEST_TOLERANCE = 1e-3
"""A version that refuses to load on a CPU that nobody tried costs more than a thousandth of the score's unit that goes unnoticed."""
_UNSEEN = "?"
_TIME = "2020-01-01T00:00:00Z"

Event = dict[str, Any]


def choose_golden_events(test: Table, scores: NDArray[np.floating], contract: Contract) -> list[Event]:
    """About 64 raw events: test rows from the lowest to the highest of ``scores [n]``, then made ones. A gap is a key that is left out.

    There are more where there are many categories: each wants an unseen value, and some rows must be real.
    """
    made = len(_made({}, contract))
    count = min(max(_FEWEST_ROWS, GOLDEN_EVENTS - made), test.rows)
    order = np.argsort(scores, kind="stable")
    rows = order[np.linspace(0, test.rows - 1, count).round().astype(np.int64)]
    picked = [_raw(test.events.row(int(row), named=True), contract) for row in rows]
    events = [*picked, *_made(picked[len(picked) // 2], contract)]
    return [{**event, **_identity(contract, number, event)} for number, event in enumerate(events, start=1)]


def golden_lines(graph: bytes, events: list[Event], contract: Contract) -> bytes:
    """``golden.jsonl``: one ``{"event": ..., "score": ...}`` a line, scored by the very bytes of the graph; several scores are a list."""
    scores = run_graph(graph, _columns(events, contract), contract)
    lines = [
        json.dumps({"event": event, "score": score.tolist()}, ensure_ascii=False, allow_nan=False)
        for event, score in zip(events, scores, strict=True)
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def golden_tolerance(graph: bytes, validation: Table, contract: Contract, unit: float = 1.0) -> float:
    """How far a golden score may lie off on another CPU: at least a thousandth of the score's ``unit``.

    Twice the largest difference, over the validation part, between the graph as ONNX Runtime optimises it (integer kernels)
    and as it stands (float arithmetic on the same quantized values): the two round differently, as two CPUs may.
    """
    optimized = run_graph(graph, validation.columns, contract)
    plain = run_graph(graph, validation.columns, contract, optimized=False)
    return max(SMALLEST_TOLERANCE * unit, 2 * float(np.abs(optimized - plain).max()))


def _made(event: Event, contract: Contract) -> list[Event]:
    """Variants of ``event``: all gaps, then each category unseen, then all numbers at their lower and upper bounds."""
    gaps = {name for name, feature in contract.features.items() if feature.missing != "refuse"}
    variants = [{name: value for name, value in event.items() if name not in gaps}] if gaps else []
    for name in contract.categories:
        feature = contract.features[name]
        if feature.type == "category" and feature.unseen == "shared":
            variants.append({**event, name: _UNSEEN})
    bounds = {name: f for name, f in contract.features.items() if isinstance(f, NumberFeature)}
    if bounds:
        variants.append({**event, **{name: feature.min for name, feature in bounds.items()}})
        variants.append({**event, **{name: feature.max for name, feature in bounds.items()}})
    return variants


def _raw(row: Mapping[str, Any], contract: Contract) -> Event:
    """A table's row as a producer would send it. Text of a CSV file becomes what the contract says."""
    event: Event = {}
    for name, feature in contract.features.items():
        value = row[name]
        if value is None or (isinstance(value, float) and np.isnan(value)):
            continue
        if feature.type == "category":
            event[name] = str(value)
        elif feature.type == "boolean":
            event[name] = value.lower() == "true" if isinstance(value, str) else bool(value)
        else:
            number = value if isinstance(value, int | float) else float(value)  # text of a CSV, or a decimal
            if not np.isnan(number):  # the text NaN is a gap, too
                event[name] = number
    time = row.get(contract.event.time) if contract.event.time else None
    if isinstance(time, str):
        event[str(contract.event.time)] = _with_offset(time)
    elif isinstance(time, datetime) and time.tzinfo is not None:
        event[str(contract.event.time)] = time.isoformat()
    return event


def _with_offset(time: str) -> str:
    """A table may leave the offset out, and then means UTC (see `split`); an event may not."""
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return _TIME
    return time if moment.tzinfo is not None else moment.replace(tzinfo=UTC).isoformat()


def _identity(contract: Contract, number: int, event: Event) -> Event:
    """Fields that say which event it is: made up, so that no real id travels in the version."""
    identity: Event = {contract.event.id: f"golden-{number:03}"}
    if contract.event.time is not None:
        identity[contract.event.time] = event.get(contract.event.time, _TIME)
    key = contract.event.rollout_key
    if key is not None and key not in contract.features:
        identity[key] = f"golden-{number:03}"
    return identity


def _columns(events: list[Event], contract: Contract) -> pl.DataFrame:
    types = {name: pl.String if name in contract.categories else pl.Float64 for name in contract.features}
    data = {
        name: [None if event.get(name) is None else _plain(event[name], kind) for event in events]
        for name, kind in types.items()
    }
    return pl.DataFrame(data, schema=types)


def _plain(value: object, kind: type[pl.DataType]) -> object:
    return value if kind is pl.String else float(value)  # type: ignore[arg-type]
