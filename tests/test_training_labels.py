"""The truth of a table, task by task: what it becomes, and what is wrong with it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import orders
from eventscore_training.column_checks import Broken
from eventscore_training.labels import Part, read_truth

TASKS = {
    "binary": 'field = "truth"\npositive = 1',
    "multiclass": 'field = "truth"\nclasses = ["card", "cash", 3]',
    "multilabel": 'fields = ["truth", "other"]\npositive = true',
    "regression": 'field = "truth"\nmin = 0\nmax = 100',
    "anomaly": 'field = "truth"\npositive = "odd"',
}


def truth(task: str, values: list[object], part: Part = "train", **columns: list[object]) -> np.ndarray:
    contract = orders.contract({'task = "binary"': f'task = "{task}"', 'field = "returned"\npositive = 1': TASKS[task]})
    return read_truth(pl.DataFrame({"truth": values, **columns}, strict=False), contract, part)


@given(st.lists(st.sampled_from(["card", "cash", "3"]), min_size=1, max_size=30))
def test_a_class_becomes_its_place_in_the_contracts_list(values: list[str]) -> None:
    found = truth("multiclass", ["card", "cash", "3", *values])
    assert found.dtype == np.int64
    assert [("card", "cash", "3")[place] for place in found[3:]] == values


def test_whole_numbers_are_classes_whatever_type_they_came_in() -> None:
    contract = orders.contract(
        {
            'task = "binary"': 'task = "multiclass"',
            'field = "returned"\npositive = 1': 'field = "truth"\nclasses = [1, 2]',
        }
    )
    for values in ([1, 2, 2], [1.0, 2.0, 2.0], ["1", "2", "2"]):
        assert read_truth(pl.DataFrame({"truth": values}), contract, "train").tolist() == [0, 1, 1]


@given(st.lists(st.floats(0, 100, allow_subnormal=False), min_size=1, max_size=30))
def test_a_number_to_predict_is_kept_to_its_last_bit(values: list[float]) -> None:
    kept = truth("regression", [0.25, 99.0, *values])
    assert kept.dtype == np.float64
    assert kept[2:].tolist() == values
    assert truth("regression", ["0.25", "99", *map(repr, values)]).tolist() == kept.tolist()


def test_each_label_is_a_column_of_the_truth() -> None:
    found = truth("multilabel", [True, False, False], other=["false", "True", "false"])
    assert found.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert found.dtype == np.int8


def test_known_anomalies_are_ones_and_without_a_label_nothing_is_known() -> None:
    assert truth("anomaly", ["odd", "fine", "fine"]).tolist() == [1, 0, 0]
    assert truth("anomaly", ["fine", "fine"], "validation").tolist() == [0, 0]
    contract = orders.contract(
        {'task = "binary"': 'task = "anomaly"', '[label]\nfield = "returned"\npositive = 1\n': ""}
    )
    assert read_truth(pl.DataFrame({"any": [1, 2]}), contract, "test").tolist() == [0, 0]


@pytest.mark.parametrize(
    ("task", "values", "part", "said"),
    [
        (
            "multiclass",
            ["card", "cheque", "cash", "3"],
            "train",
            "expected one of the contract's classes (card, cash, 3); 1 of 4 rows break that, first row 2: 'cheque'",
        ),
        ("multiclass", ["card", "cash"], "train", "class '3' has no row in the train part"),
        ("multiclass", ["card", "card"], "test", "expected two classes or more in the test part, got only 'card'"),
        ("multiclass", [True, False], "train", "expected classes, strings or integers, got a column of Boolean"),
        ("multiclass", [1.5, 3.0], "train", "expected classes, strings or integers, got a column of Float64"),
        (
            "multiclass",
            ["card", None, "3"],
            "train",
            "a row without a label teaches nothing; leave it out; 1 of 3 rows break that, first row 2",
        ),
        ("regression", [1.0, float("inf")], "train", "expected 0 to 100; 1 of 2 rows break that, first row 2: inf"),
        (
            "regression",
            [1.0, float("nan")],
            "train",
            "a row without a label teaches nothing; leave it out; 1 of 2 rows break that, first row 2: nan",
        ),
        ("regression", [1.0, 101.0], "test", "expected 0 to 100; 1 of 2 rows break that, first row 2: 101.0"),
        ("regression", ["1", "soon"], "train", "expected numbers; 1 of 2 rows break that, first row 2: 'soon'"),
        ("regression", [True, False], "train", "expected numbers, got a column of Boolean"),
        ("regression", [2.0, 2.0], "validation", "expected numbers that differ in the validation part, got only 2.0"),
        ("anomaly", ["odd", "odd"], "train", "expected events that are no anomalies in the train part, got only 'odd'"),
        ("anomaly", ["fine", "fine"], "test", "expected the positive value 'odd' in the test part, got only 'fine'"),
        ("binary", [1, 1], "train", "expected two classes in the train part, got only 1"),
    ],
)
def test_what_is_wrong_with_a_label_is_told(task: str, values: list[object], part: Part, said: str) -> None:
    with pytest.raises(Broken) as told:
        truth(task, values, part)
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ([False, False], "column 'other': expected the positive value True in the train part, got only False"),
        ([True, True], "column 'other': expected two classes in the train part, got only True"),
        ([0, 1], "column 'other': the positive value is True, the column is of Int64"),
    ],
)
def test_a_label_among_several_is_named_with_what_is_wrong(other: list[object], said: str) -> None:
    with pytest.raises(Broken) as told:
        truth("multilabel", [True, False], other=other)
    assert said in str(told.value)


def test_a_missing_column_of_the_truth_is_named() -> None:
    with pytest.raises(Broken, match="column 'other' is missing; it is the column with the truth"):
        truth("multilabel", [True, False])
