"""Stream features: rolling means over the outcomes of other flights that were known when a flight is scored, and who waits.

A flight is scored one hour before its scheduled departure: its *cutoff*. A departure is known when it happens, an
arrival 40 minutes after the time in the air is over (taxi and reporting). An outcome counts for a window of ``w`` minutes
when ``cutoff - w < known <= cutoff``. Beside these: flights that are overdue at the cutoff, since who waits is known before why.
What becomes known a minute after the cutoff changes nothing, as a test proves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

SCORED_BEFORE_DEPARTURE_MIN = 60
ARRIVAL_KNOWN_AFTER_MIN = 40
LATE_AFTER_MIN = 15
WAITS_AT_MOST_MIN = 240
_HOUR, _DAY = 60, 24 * 60

Minutes = NDArray[np.int64]
Outcome = Literal["dep_delay", "arr_delay", "late"]


@dataclass(frozen=True)
class StreamFeature:
    """The mean of ``outcome`` over flights with the same ``keys``, known in the last ``window_min`` minutes."""

    name: str
    keys: tuple[str, ...]
    outcome: Outcome
    window_min: int


STREAM_FEATURES = (
    StreamFeature("origin_dep_delay_2h", ("origin",), "dep_delay", 2 * _HOUR),
    StreamFeature("origin_carrier_dep_delay_3h", ("origin", "carrier"), "dep_delay", 3 * _HOUR),
    StreamFeature("dest_late_rate_6h", ("dest",), "late", 6 * _HOUR),
    StreamFeature("origin_late_rate_6h", ("origin",), "late", 6 * _HOUR),
    StreamFeature("carrier_late_rate_24h", ("carrier",), "late", 24 * _HOUR),
    StreamFeature("flight_late_rate_30d", ("carrier", "flight"), "late", 30 * _DAY),
    StreamFeature("route_late_rate_7d", ("origin", "dest"), "late", 7 * _DAY),
    StreamFeature("tailnum_arr_delay_1d", ("tailnum",), "arr_delay", 1 * _DAY),
)


@dataclass(frozen=True)
class WaitingFeature:
    """Flights with the same ``keys`` that should have left, at most four hours ago, and have not: how many, and their minutes."""

    name: str
    keys: tuple[str, ...]


WAITING_FEATURES = (
    WaitingFeature("origin_overdue", ("origin",)),
    WaitingFeature("origin_carrier_overdue", ("origin", "carrier")),
    WaitingFeature("dest_overdue", ("dest",)),
    WaitingFeature("carrier_overdue", ("carrier",)),
)


def waiting_features(
    flights: pl.DataFrame, *, features: tuple[WaitingFeature, ...] = WAITING_FEATURES
) -> Iterator[pl.Series]:
    """Yield two columns for each feature: minutes overdue, summed, ``<name>_min``, and how many flights, ``<name>_n``.

    A flight waits at the cutoff where ``scheduled <= cutoff < departed`` and ``cutoff < scheduled + 240``: known to whoever
    looks at the board. One that was cancelled waits like the others, since the table does not say when it was. So a flight
    begins to wait at one minute and ends at another, and both sums are differences of sums over all earlier minutes.
    """
    scheduled = flights["scheduled_min"].to_numpy().astype(np.int64)
    cutoff = scheduled - SCORED_BEFORE_DEPARTURE_MIN
    never = flights["dep_delay"].is_null().to_numpy()
    waited = np.where(never, WAITS_AT_MOST_MIN, _whole(flights["dep_delay"]).clip(0, WAITS_AT_MOST_MIN))
    always = int(np.ptp(scheduled)) + _DAY if len(scheduled) else _DAY
    for feature in features:
        key, _ = _codes(flights, feature.keys)
        began, begun = window_sums(key, scheduled, scheduled, key, cutoff, window_min=always)
        ended, over = window_sums(key, scheduled + waited, scheduled, key, cutoff, window_min=always)
        count = begun - over
        yield pl.Series(f"{feature.name}_min", count * cutoff - (began - ended))
        yield pl.Series(f"{feature.name}_n", count)


def stream_features(
    flights: pl.DataFrame, *, features: tuple[StreamFeature, ...] = STREAM_FEATURES
) -> Iterator[pl.Series]:
    """Yield two columns for each feature: its mean (null where nothing was known), and its count, named ``<name>_n``.

    ``flights`` holds the key columns, ``dep_delay``, ``arr_delay`` and ``air_time`` in minutes (null for what did not
    happen) and ``scheduled_min``, the scheduled departure in minutes since 1970 UTC.
    """
    scheduled = flights["scheduled_min"].to_numpy().astype(np.int64)
    cutoff = scheduled - SCORED_BEFORE_DEPARTURE_MIN
    departed = scheduled + _whole(flights["dep_delay"])
    landed = departed + _whole(flights["air_time"]) + ARRIVAL_KNOWN_AFTER_MIN
    happened = {
        "dep_delay": flights["dep_delay"].is_not_null().to_numpy(),
        "arr_delay": (flights["arr_delay"].is_not_null() & flights["air_time"].is_not_null()).to_numpy(),
    }
    happened["late"] = happened["arr_delay"]
    value = {"dep_delay": _whole(flights["dep_delay"]), "arr_delay": _whole(flights["arr_delay"])}
    value["late"] = (value["arr_delay"] > LATE_AFTER_MIN).astype(np.int64)
    for feature in features:
        key, keyed = _codes(flights, feature.keys)
        rows = happened[feature.outcome] & keyed
        known = departed if feature.outcome == "dep_delay" else landed
        total, count = window_sums(
            key[rows], known[rows], value[feature.outcome][rows], key, cutoff, window_min=feature.window_min
        )
        count = np.where(keyed, count, 0)
        mean = pl.Series(feature.name, total / np.maximum(count, 1))
        yield pl.select(pl.when(pl.lit(pl.Series(count > 0))).then(pl.lit(mean)).alias(feature.name)).to_series()
        yield pl.Series(f"{feature.name}_n", count)


def window_sums(
    key: Minutes, known: Minutes, value: Minutes, asked_key: Minutes, cutoff: Minutes, *, window_min: int
) -> tuple[Minutes, Minutes]:
    """Sum and count, per question, of the outcomes of its key with ``cutoff - window_min < known <= cutoff``.

    Key and minute become one composite integer, so two binary searches over the sorted outcomes find a window and a
    difference of prefix sums its total: exact, since delays are whole minutes, without a loop over rows or keys.
    Shapes: ``key``, ``known``, ``value`` ``[outcomes]``; ``asked_key``, ``cutoff`` and both results ``[questions]``.
    """
    if not len(key):
        return np.zeros_like(cutoff), np.zeros_like(cutoff)
    start = min(int(known.min()), int(cutoff.min()) - window_min)
    span = max(int(known.max()), int(cutoff.max())) - start + 1
    composite = key * span + (known - start)
    order = np.argsort(composite, kind="stable")
    composite = composite[order]
    prefix = np.concatenate([np.zeros(1, np.int64), np.cumsum(value[order])])
    asked = asked_key * span + (cutoff - start)
    until = np.searchsorted(composite, asked, side="right")
    since = np.searchsorted(composite, asked - window_min, side="right")
    return prefix[until] - prefix[since], until - since


def _whole(minutes: pl.Series) -> Minutes:
    return minutes.fill_null(0).to_numpy().astype(np.int64)


def _codes(flights: pl.DataFrame, keys: tuple[str, ...]) -> tuple[Minutes, NDArray[np.bool_]]:
    """Number the combinations of ``keys``; the mask says where none of them is null."""
    joined = flights.select(pl.concat_str([pl.col(key).cast(pl.String) for key in keys], separator="\x1f")).to_series()
    return joined.rank("dense").fill_null(0).to_numpy().astype(np.int64), joined.is_not_null().to_numpy()
