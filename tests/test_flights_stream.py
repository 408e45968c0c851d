"""Stream features hold what was known one hour before a flight's scheduled departure, and nothing else."""

from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from eventscore_flights.stream import STREAM_FEATURES, WAITING_FEATURES, stream_features, waiting_features

FLIGHTS = {
    "carrier": pl.String,
    "origin": pl.String,
    "dest": pl.String,
    "flight": pl.String,
    "tailnum": pl.String,
    "scheduled_min": pl.Int64,
    "dep_delay": pl.Float64,
    "arr_delay": pl.Float64,
    "air_time": pl.Float64,
}
DAY = 24 * 60
Row = dict[str, object]


# Few different minutes, all within one of a multiple of 20: outcomes fall on both sides of every cutoff and window's end.
near_twenties = st.builds(lambda twenties, off: 20 * twenties + off, st.integers(0, 20), st.sampled_from([-1, 0, 0, 1]))


@st.composite
def flights(draw: st.DrawFn) -> Row:
    """A flight that flew, was diverted, or never left."""
    kind = draw(st.sampled_from(["flew", "flew", "flew", "diverted", "cancelled"]))
    return {
        "carrier": draw(st.sampled_from(["UA", "B6"])),
        "origin": draw(st.sampled_from(["EWR", "JFK"])),
        "dest": draw(st.sampled_from(["ORD", "MIA"])),
        "flight": draw(st.sampled_from(["UA1", "B62"])),
        "tailnum": draw(st.sampled_from(["N1", "N2", None])),
        "scheduled_min": 40 * DAY + 20 * draw(st.integers(0, 60)),
        "dep_delay": None if kind == "cancelled" else draw(near_twenties) - 40,
        "arr_delay": draw(st.integers(-80, 300)) if kind == "flew" else None,
        "air_time": draw(near_twenties) + 20 if kind == "flew" else None,
    }


def computed(rows: list[Row]) -> list[Row]:
    table = pl.DataFrame(rows, schema=FLIGHTS)
    return pl.DataFrame([*stream_features(table), *waiting_features(table)]).to_dicts()


def by_hand(rows: list[Row], asked: Row) -> Row:
    """The definition, row by row, without any of the vectorised code's ideas."""
    cutoff = asked["scheduled_min"] - 60
    answer: Row = {}
    for feature in STREAM_FEATURES:
        seen = []
        for row in rows:
            if any(row[key] is None or row[key] != asked[key] for key in feature.keys):
                continue
            delay = row["dep_delay"] if feature.outcome == "dep_delay" else row["arr_delay"]
            if delay is None:
                continue
            known = row["scheduled_min"] + row["dep_delay"]
            if feature.outcome != "dep_delay":
                known += row["air_time"] + 40
            if cutoff - feature.window_min < known <= cutoff:
                seen.append(delay > 15 if feature.outcome == "late" else delay)
        answer[feature.name] = sum(seen) / len(seen) if seen else None
        answer[f"{feature.name}_n"] = len(seen)
    for waiting in WAITING_FEATURES:
        minutes = []
        for row in rows:
            left = row["dep_delay"] is not None and row["scheduled_min"] + row["dep_delay"] <= cutoff
            overdue = cutoff - row["scheduled_min"]
            if all(row[key] == asked[key] for key in waiting.keys) and 0 <= overdue < 240 and not left:
                minutes.append(overdue)
        answer[f"{waiting.name}_min"] = sum(minutes)
        answer[f"{waiting.name}_n"] = len(minutes)
    return answer


@settings(max_examples=80, deadline=None)
@given(st.lists(flights(), min_size=1, max_size=25))
def test_stream_features_are_those_of_the_definition(rows: list[Row]) -> None:
    assert computed(rows) == [by_hand(rows, row) for row in rows]


@settings(max_examples=60, deadline=None)
@given(st.lists(flights(), min_size=2, max_size=20), st.data())
def test_an_outcome_that_becomes_known_after_the_cutoff_changes_nothing(rows: list[Row], data: st.DataObject) -> None:
    asked = data.draw(st.integers(0, len(rows) - 1))
    cutoff = rows[asked]["scheduled_min"] - 60
    changed = []
    for row in rows:
        new = dict(row)
        departed = row["scheduled_min"] + (row["dep_delay"] or 0)
        if row["dep_delay"] is not None and departed > cutoff:
            # It left later than that, whenever; it still had not left at the cutoff.
            new["dep_delay"] = row["dep_delay"] + data.draw(st.integers(0, 500))
        if row["arr_delay"] is not None and departed + row["air_time"] + 40 > cutoff:
            new["arr_delay"] = data.draw(st.integers(-80, 1000))
        changed.append(new)
    assert computed(changed)[asked] == computed(rows)[asked]


def flight(at: int, dep_delay: int | None, **fields: object) -> Row:
    row: Row = {"carrier": "UA", "origin": "EWR", "dest": "ORD", "flight": "UA1", "tailnum": "N1"}
    return {**row, "scheduled_min": at, "dep_delay": dep_delay, "arr_delay": None, "air_time": None, **fields}


def test_a_departure_is_known_in_its_minute_and_leaves_the_window_after_two_hours() -> None:
    asked = flight(40 * DAY, 0)
    cutoff = 40 * DAY - 60
    for left, known in ((cutoff + 1, False), (cutoff, True), (cutoff - 119, True), (cutoff - 120, False)):
        answer = computed([flight(left, 0), asked])[1]
        assert answer["origin_dep_delay_2h_n"] == int(known), left - cutoff


def test_an_arrival_is_known_forty_minutes_after_the_time_in_the_air() -> None:
    asked = flight(40 * DAY, 0)
    departed = 40 * DAY - 60 - 100 - 40
    on_time = flight(departed - 7, 7, arr_delay=16, air_time=100)
    assert computed([on_time, asked])[1]["origin_late_rate_6h"] == 1.0
    assert computed([{**on_time, "air_time": 101}, asked])[1]["origin_late_rate_6h"] is None


def test_a_flight_without_a_tail_number_has_no_history() -> None:
    earlier = flight(39 * DAY + 600, 5, arr_delay=30, air_time=60, tailnum=None)
    answer = computed([earlier, flight(40 * DAY, 0, tailnum=None)])[1]
    assert (answer["tailnum_arr_delay_1d"], answer["tailnum_arr_delay_1d_n"]) == (None, 0)
    assert answer["carrier_late_rate_24h_n"] == 1


def test_a_flight_waits_from_its_minute_until_it_leaves_and_for_four_hours_at_most() -> None:
    asked = flight(40 * DAY, 0)
    cutoff = 40 * DAY - 60
    for scheduled, dep_delay, waits in (
        (cutoff + 1, None, False), (cutoff, None, True), (cutoff - 239, None, True), (cutoff - 240, None, False),
        (cutoff - 30, 30, False), (cutoff - 30, 31, True), (cutoff, 0, False), (cutoff, -5, False), (cutoff + 5, -9, False),
    ):  # fmt: skip
        answer = computed([flight(scheduled, dep_delay), asked])[1]
        assert answer["origin_overdue_n"] == int(waits), (scheduled - cutoff, dep_delay)
        assert answer["origin_overdue_min"] == (cutoff - scheduled if waits else 0)
