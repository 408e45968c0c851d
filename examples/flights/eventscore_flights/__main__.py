"""``python -m eventscore_flights [FOLDER]``: prepare the flights (default ``build/flights``) and say where they lie."""

from __future__ import annotations

import sys
from pathlib import Path

from eventscore_flights.prepare import EXPECTED_ROWS, prepare
from eventscore_flights.source import FlightsUnavailable


def main(arguments: list[str]) -> int:
    """Prepare the tables; the answer is the exit code."""
    folder = Path(arguments[0]) if arguments else Path("build/flights")
    try:
        tables = prepare(folder, on_progress=lambda step: print(f"{step} ...", file=sys.stderr))
    except FlightsUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, rows in EXPECTED_ROWS.items():
        print(f"{getattr(tables, name)}  {rows:,} flights")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
