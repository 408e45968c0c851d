"""One row per flight: what is known of it one hour before its scheduled departure, and whether it came late."""

from __future__ import annotations

import polars as pl

from eventscore_flights.source import SourceTables
from eventscore_flights.stream import (
    LATE_AFTER_MIN,
    STREAM_FEATURES,
    WAITING_FEATURES,
    stream_features,
    waiting_features,
)

WEATHER_AGE_H = 2
"""The weather of two hours before the scheduled hour: what an observer had written down when the flight is scored."""
STRONGEST_WIND_MPH = 200
"""One anemometer reads 1,048 mph once; above this a reading is a broken instrument's, and missing."""

_WEATHER_FIELDS = {
    "temp": "temperature",
    "dewp": "dew_point",
    "humid": "humidity",
    "wind_dir": "wind_direction",
    "wind_speed": "wind_speed",
    "wind_gust": "wind_gust",
    "precip": "precipitation",
    "pressure": "pressure",
    "visib": "visibility",
}
_STREAM_FIELDS = tuple(f"{feature.name}{suffix}" for feature in STREAM_FEATURES for suffix in ("", "_n"))
_WAITING_FIELDS = tuple(f"{feature.name}{suffix}" for feature in WAITING_FEATURES for suffix in ("_min", "_n"))
EVENT_FIELDS = (
    "flight_id",
    "scheduled_departure",
    "carrier",
    "origin",
    "dest",
    "route",
    "flight",
    "tailnum",
    "plane_model",
    "month",
    "day_of_week",
    "departure_minute",
    "arrival_minute",
    "distance",
    "scheduled_departures",
    "plane_age",
    "plane_seats",
    "plane_engines",
    *_WEATHER_FIELDS.values(),
    *_STREAM_FIELDS,
    *_WAITING_FIELDS,
)
LABEL_FIELD = "late"


def build_events(source: SourceTables) -> pl.DataFrame:
    """Join the tables into events, in the order of scheduled departures: ``EVENT_FIELDS``, ``late``, ``time_hour``.

    Flights without a label (cancelled, diverted) are left out as events and stay in as outcomes: a diverted flight did
    depart. The split goes by ``time_hour`` (UTC); it is no field of the event.
    """
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
    flights = source.flights.with_columns(
        hour,
        pl.concat_str("carrier", "flight").alias("flight"),
        pl.concat_str("origin", "dest", separator="-").alias("route"),
    ).with_columns((pl.col("time_hour") + pl.duration(minutes="minute")).alias("scheduled"))
    flights = flights.with_columns(
        (pl.col("scheduled").dt.epoch("s") // 60).alias("scheduled_min"),
        pl.len().over("origin", "time_hour").cast(pl.Int32).alias("scheduled_departures"),
    )
    flights = flights.with_columns(*stream_features(flights), *waiting_features(flights))
    weather = source.weather.select(
        "origin",
        (hour + pl.duration(hours=WEATHER_AGE_H)).alias("time_hour"),
        *(pl.col(column).alias(field) for column, field in _WEATHER_FIELDS.items()),
    ).with_columns(pl.when(pl.col("wind_speed") <= STRONGEST_WIND_MPH).then("wind_speed").alias("wind_speed"))
    planes = source.planes.select(
        "tailnum",
        pl.col("year").alias("plane_year"),
        pl.col("model").alias("plane_model"),
        pl.col("engines").alias("plane_engines"),
        pl.col("seats").alias("plane_seats"),
    )
    return (
        flights.filter(pl.col("arr_delay").is_not_null())
        .join(weather, on=["origin", "time_hour"], how="left", validate="m:1", maintain_order="left")
        .join(planes, on="tailnum", how="left", validate="m:1", maintain_order="left")
        .with_columns(
            pl.col("scheduled").dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("scheduled_departure"),
            pl.date("year", "month", "day").dt.weekday().cast(pl.Int32).alias("day_of_week"),
            (pl.col("hour") * 60 + pl.col("minute")).alias("departure_minute"),
            (pl.col("sched_arr_time") // 100 * 60 + pl.col("sched_arr_time") % 100).alias("arrival_minute"),
            (pl.col("year") - pl.col("plane_year")).alias("plane_age"),
            (pl.col("arr_delay") > LATE_AFTER_MIN).alias(LABEL_FIELD),
        )
        .with_columns(pl.concat_str("flight", "route", "scheduled_departure", separator="-").alias("flight_id"))
        .sort("scheduled", "flight_id")
        .select(*EVENT_FIELDS, LABEL_FIELD, "time_hour")
    )
