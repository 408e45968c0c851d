"""Knots keep their resolution where a number varies, however many rows share one value."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import orders  # noqa: E402
from eventscore_training.config import NetworkConfig  # noqa: E402
from eventscore_training.encoding import learn_encoding  # noqa: E402
from eventscore_training.knots import middle_ranks, spread_knots  # noqa: E402
from eventscore_training.number_embedding import learn_edges  # noqa: E402

pytestmark = pytest.mark.training

CONTRACT = orders.contract()
MOSTLY_ZERO = np.concatenate([np.zeros(11_000), np.arange(1.0, 1001.0)])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.0, 0.0, -1.5, 1.0, 2.0]) | st.floats(-1e9, 1e9), min_size=1, max_size=300),
    st.integers(2, 40),
)
def test_knots_are_different_values_of_the_column_with_both_ends(drawn: list[float], count: int) -> None:
    values = np.array(drawn)
    knots = spread_knots(values, count)
    distinct = np.unique(values)
    assert len(knots) == min(count, len(distinct))
    assert (np.diff(knots) > 0).all()
    assert np.isin(knots, values).all()
    assert {knots[0], knots[-1]} == {distinct[0], distinct[-1]}


def test_knots_of_a_number_that_varies_are_its_quantiles() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    shares = [0, *(np.arange(15) + 0.5) / 15, 1]
    np.testing.assert_allclose(spread_knots(values, 17), np.quantile(values, shares), atol=0.01)


def test_a_number_that_is_mostly_zero_keeps_its_other_values_apart() -> None:
    knots = spread_knots(MOSTLY_ZERO, 33)
    assert knots[0] == 0
    assert len(knots) == 33
    assert np.diff(knots).max() < 40


def test_the_middle_rank_counts_equals_by_half() -> None:
    assert middle_ranks(np.array([0.0, 0, 0, 5]), np.array([0.0, 5.0])).tolist() == [3 / 8, 7 / 8]


def test_scaling_and_bins_tell_the_values_of_a_mostly_zero_number_apart() -> None:
    amount = np.random.default_rng(0).permutation(MOSTLY_ZERO)[:6000]
    frame = orders.frame(6000).with_columns(pl.Series("amount", amount))
    table = orders.check_table(frame, CONTRACT, "train", "orders.parquet", "0" * 64)
    encoding = learn_encoding(table, CONTRACT, NetworkConfig(scaling="quantile"))
    numbers, _ = encoding.encode(table.columns, CONTRACT)
    place = CONTRACT.numbers.index("amount")
    assert len(np.unique(numbers[:, place])) == len(np.unique(amount))
    assert len(learn_edges(numbers, 16)[place]) == 17
