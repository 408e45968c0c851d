"""One event, one row: an id that stands twice is learned twice, and one in two parts lets the test part be learned by heart."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from eventscore.contract import Contract
from eventscore_training.errors import TableInvalid
from eventscore_training.labels import Part


def require_distinct_ids(frames: Mapping[Part, pl.DataFrame], contract: Contract, origins: Mapping[Part, str]) -> None:
    """Check the ids of each part and between the parts; ``origins`` names the parts in errors.

    Raises:
        TableInvalid: a part has no column of ids, an id is missing, stands twice in a part, or stands in two of them.

    """
    field = contract.event.id
    seen: list[tuple[Part, pl.Series]] = []
    for part, frame in frames.items():
        if field not in frame.columns:
            raise TableInvalid(
                origins[part],
                [f"column {field!r}: missing; it is the event's id, which tells whether a row stands twice"],
            )
        # As text: a CSV file's numbers are text, and another part may be Parquet.
        ids = frame[field].cast(pl.String)
        if ids.null_count():
            row = int(ids.is_null().arg_max() or 0) + 1
            raise TableInvalid(
                origins[part], [f"column {field!r}: {ids.null_count():,} rows have no id, first row {row}"]
            )
        doubled = ids.is_duplicated()
        if doubled.any():
            first = ids[int(doubled.arg_max() or 0)]
            rows = [str(row + 1) for row in (ids == first).arg_true()[:2].to_list()]
            surplus = len(ids) - ids.n_unique()
            raise TableInvalid(
                origins[part],
                [
                    f"column {field!r}: expected each id once; {surplus:,} rows repeat one, first {first!r} in rows "
                    f"{' and '.join(rows)}; keep one row for each event"
                ],
            )
        for other, known in seen:
            both = ids.filter(ids.is_in(known.implode()))
            if len(both):
                raise TableInvalid(
                    origins[part],
                    [
                        f"column {field!r}: {len(both):,} events stand in the {other} part too, first {both[0]!r}; "
                        f"the {part} part would say how well they were learned by heart"
                    ],
                )
        seen.append((part, ids))
