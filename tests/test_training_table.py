"""A training table is checked against the contract column by column, and every problem is told at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import orders
from eventscore_training.config import TrainingConfig
from eventscore_training.errors import ConfigInvalid, TableInvalid
from eventscore_training.split import read_parts
from eventscore_training.table import check_table, graph_inputs, read_frame

SHA = "0" * 64


def check(frame: pl.DataFrame, **kwargs: str) -> None:
    check_table(frame, orders.contract(kwargs), "train", "orders.parquet", SHA)


def problems(frame: pl.DataFrame, **kwargs: str) -> str:
    with pytest.raises(TableInvalid) as caught:
        check(frame, **kwargs)
    return str(caught.value)


def test_a_table_that_keeps_the_contract_becomes_columns() -> None:
    table = orders.table(rows=50)
    inputs = graph_inputs(table.columns, orders.contract())
    assert inputs["numbers"].shape == (50, 4)
    assert inputs["numbers"].dtype == np.float64
    assert inputs["categories"].shape == (50, 2)
    assert np.isnan(inputs["numbers"][:, 2]).sum() == table.columns["age"].null_count() > 0
    assert (inputs["categories"][:, 0] == "").sum() == table.columns["country"].null_count() > 0
    assert set(table.label.tolist()) == {0, 1}


def test_a_missing_column_is_named() -> None:
    assert "column 'amount': missing; the contract names it as a number" in problems(orders.frame(50).drop("amount"))


def test_all_problems_are_told_at_once() -> None:
    frame = orders.frame(50).with_columns(amount=pl.lit("a lot"), channel=pl.lit("fax")).drop("gift")
    assert len(problems(frame).splitlines()) == 4


def test_text_where_numbers_belong_is_shown_with_its_row() -> None:
    amounts = ["1"] * 29 + ["ten"] + ["2"] * 20
    assert "expected numbers; 1 of 50 rows break that, first row 30: 'ten'" in problems(
        orders.frame(50).with_columns(amount=pl.Series(amounts))
    )


def test_numbers_where_strings_belong_are_refused() -> None:
    assert "column 'country': expected strings, got a column of Int32" in problems(
        orders.frame(50).with_columns(country=pl.lit(7))
    )


def test_numbers_out_of_bounds_are_counted() -> None:
    age = pl.Series([40] * 47 + [130, 150, -1])
    assert "column 'age': expected 0 to 120; 3 of 50 rows break that, first row 48: 130.0" in problems(
        orders.frame(50).with_columns(age=age)
    )


def test_infinity_is_out_of_bounds_and_nan_is_a_gap() -> None:
    assert "column 'weight'" in problems(orders.frame(50).with_columns(weight=pl.lit(float("inf"))))
    assert "column 'weight': a gap is refused" in problems(orders.frame(50).with_columns(weight=pl.lit(float("nan"))))
    check(orders.frame(50).with_columns(age=pl.lit(float("nan"))))


def test_a_gap_that_the_contract_refuses_is_refused() -> None:
    frame = orders.frame(50).with_columns(channel=pl.lit(None, pl.String))
    assert 'a gap is refused (the contract may say missing = "own"); 50 of 50 rows' in problems(frame)


def test_an_empty_string_and_a_long_one_are_refused() -> None:
    assert "an empty string is no value" in problems(orders.frame(50).with_columns(country=pl.lit("")))
    assert "expected at most 12 characters" in problems(orders.frame(50).with_columns(country=pl.lit("x" * 13)))


def test_a_label_of_one_class_is_refused() -> None:
    assert "expected two classes in the train part, got only 1" in problems(
        orders.frame(50).with_columns(returned=pl.lit(1))
    )
    assert "expected the positive value 1 in the train part, got only 0" in problems(
        orders.frame(50).with_columns(returned=pl.lit(0))
    )


def test_a_label_with_gaps_three_classes_or_another_type_is_refused() -> None:
    frame = orders.frame(60)
    assert "a row without a label" in problems(frame.with_columns(returned=pl.Series([None] + [0, 1] * 29 + [1])))
    assert "got 3: 0, 1, 2" in problems(frame.with_columns(returned=pl.Series([0, 1, 2] * 20)))
    assert "the positive value is 1, the column is of Boolean" in problems(
        frame.with_columns(returned=pl.Series([True, False] * 30))
    )
    assert "label: column 'returned' is missing" in problems(frame.drop("returned"))


@pytest.mark.parametrize(
    ("positive", "values"),
    [("true", [True, False]), ("true", ["True", "False"]), ('"yes"', ["yes", "no"]), ("1", ["1", "0"])],
)
def test_the_positive_value_may_be_a_boolean_a_number_or_text(positive: str, values: list[object]) -> None:
    contract = orders.contract({"positive = 1": f"positive = {positive}"})
    frame = orders.frame(4).with_columns(returned=pl.Series(values * 2))
    assert check_table(frame, contract, "train", "orders", SHA).label.tolist() == [1, 0, 1, 0]


def test_an_empty_part_is_refused() -> None:
    with pytest.raises(TableInvalid, match="the test part has no rows"):
        check_table(orders.frame(50).head(0), orders.contract(), "test", "orders.parquet", SHA)


def test_csv_reads_as_parquet_does(tmp_path: Path) -> None:
    frame = orders.frame(200)
    frame.write_csv(tmp_path / "orders.csv")
    frame.write_parquet(tmp_path / "orders.parquet")
    tables = [
        check_table(read_frame(tmp_path / f"orders.{kind}")[0], orders.contract(), "train", kind, SHA)
        for kind in ("csv", "parquet")
    ]
    assert tables[0].columns.equals(tables[1].columns)
    assert (tables[0].label == tables[1].label).all()


@pytest.mark.parametrize("name", ["orders.xlsx", "missing.parquet", "broken.parquet"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"not parquet")
    with pytest.raises(TableInvalid, match=name):
        read_frame(tmp_path / name)


def job(folder: Path, **changes: object) -> TrainingConfig:
    return orders.config(folder, changes)


def test_shares_cut_one_table_by_time(tmp_path: Path) -> None:
    parts = read_parts(job(tmp_path), orders.contract())
    assert [table.rows for table in parts.all] == [1800, 600, 600]
    assert parts.periods["train"][1] < parts.periods["validation"][0] < parts.periods["test"][0]


def test_dates_cut_one_table_by_time(tmp_path: Path) -> None:
    dates = {"validation_from": "2026-01-02T00:00:00Z", "test_from": "2026-01-02T12:00:00+00:00"}
    parts = read_parts(job(tmp_path, validation_share=None, test_share=None, **dates), orders.contract())
    assert [table.rows for table in parts.all] == [1440, 720, 840]


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_a_column_of_times_is_split_like_text(tmp_path: Path, zone: str | None) -> None:
    config = job(tmp_path)
    utc = orders.frame()["at"].str.to_datetime("%+", time_zone="UTC")
    times = utc.dt.replace_time_zone(None) if zone is None else utc.dt.convert_time_zone(zone)
    orders.frame().with_columns(at=times).write_parquet(tmp_path / "orders.parquet")
    parts = read_parts(config, orders.contract())
    assert [table.rows for table in parts.all] == [1800, 600, 600]
    assert parts.periods["train"][0] == "2026-01-01T00:00:00+00:00"
    assert "each part lies after the one before" in parts.method


def test_parts_that_overlap_in_time_are_told_of(tmp_path: Path) -> None:
    files = {}
    for seed, part in enumerate(("train", "validation", "test")):
        files[part] = tmp_path / f"{part}.parquet"
        orders.frame(seed=seed).write_parquet(files[part])
    parts = read_parts(job(tmp_path, table=None, validation_share=None, test_share=None, **files), orders.contract())
    assert "overlap in time" in parts.method


def test_a_time_that_is_none_is_refused(tmp_path: Path) -> None:
    config = job(tmp_path)
    orders.frame().with_columns(at=pl.lit("yesterday")).write_parquet(tmp_path / "orders.parquet")
    with pytest.raises(TableInvalid, match="3,000 rows hold no RFC 3339 time"):
        read_parts(config, orders.contract())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"epochs": 3}, "epochs: unknown key"),
        ({"fit": {"epoch": 3}}, "fit.epoch: unknown key"),
        ({"fit": {"epochs": 0}}, "fit.epochs: expected greater than or equal to 1; got 0"),
        ({"table": None}, "expected train, validation and test, or one table"),
        ({"train": "a.csv"}, "got both"),
        ({"test_share": None}, "one table needs"),
        ({"test_share": 0.9}, "leave nothing to train on"),
        (
            {
                "validation_share": None,
                "test_share": None,
                "validation_from": "2026-02-01T00:00:00Z",
                "test_from": "2026-01-01T00:00:00Z",
            },
            "expected validation_from before test_from",
        ),
    ],
)
def test_a_configuration_that_contradicts_itself_is_refused(
    tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        job(tmp_path, **changes)
    assert sentence in str(caught.value)
