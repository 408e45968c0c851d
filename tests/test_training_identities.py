"""One event, one row: ids that are missing, doubled, or in two parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import orders
from eventscore_training.errors import TableInvalid
from eventscore_training.split import read_parts

Change = Callable[[pl.DataFrame], pl.DataFrame]


def parts_of(folder: Path, **changes: Change) -> None:
    """Read three parts of 100 orders each, some of them changed."""
    document: dict[str, object] = {"table": None, "validation_share": None, "test_share": None}
    for seed, part in enumerate(("train", "validation", "test")):
        frame = orders.frame(100, seed)
        document[part] = folder / f"{part}.parquet"
        changes.get(part, lambda frame: frame)(frame).write_parquet(folder / f"{part}.parquet")
    read_parts(orders.config(folder, document), orders.contract())


def with_id(row: int, value: str | None) -> Change:
    def change(frame: pl.DataFrame) -> pl.DataFrame:
        ids = frame["order"].to_list()
        ids[row] = value
        return frame.with_columns(pl.Series("order", ids, dtype=pl.String))

    return change


def test_tables_whose_ids_are_all_distinct_are_read(tmp_path: Path) -> None:
    parts_of(tmp_path)


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("train", with_id(9, "o-0-3"), "expected each id once; 1 rows repeat one, first 'o-0-3' in rows 4 and 10"),
        ("test", with_id(0, "o-0-5"), "1 events stand in the train part too, first 'o-0-5'"),
        ("test", with_id(0, "o-1-5"), "1 events stand in the validation part too, first 'o-1-5'"),
        ("validation", with_id(4, None), "column 'order': 1 rows have no id, first row 5"),
        ("train", lambda frame: frame.drop("order"), "column 'order': missing; it is the event's id"),
    ],
)
def test_what_is_wrong_with_the_ids_is_told_with_its_place(
    tmp_path: Path, part: str, change: Change, said: str
) -> None:
    with pytest.raises(TableInvalid, match=f"{part}.parquet") as refused:
        parts_of(tmp_path, **{part: change})
    assert said in str(refused.value)
