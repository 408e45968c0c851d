"""Vocabularies of categories that have more values than a network could learn of."""

from __future__ import annotations

import numpy as np
import polars as pl

import orders
from eventscore_training.config import NetworkConfig
from eventscore_training.encoding import FIRST_VALUE_ROW, SHARED_ROW, learn_encoding
from eventscore_training.table import check_table

ROWS = 1_000_000


def test_values_by_the_million_share_one_row_and_frequent_ones_keep_theirs() -> None:
    some = orders.frame(1000)
    many = some[np.arange(ROWS) % some.height].with_columns(
        order=pl.int_range(ROWS, eager=True).cast(pl.String),
        # One row in two says FR; every other value occurs once.
        country=pl.when(pl.int_range(ROWS, eager=True) % 2 == 0)
        .then(pl.lit("FR"))
        .otherwise(pl.format("c{}", pl.int_range(ROWS, eager=True))),
    )
    contract = orders.contract()
    table = check_table(many, contract, "train", "orders.parquet", "0" * 64)
    encoding = learn_encoding(table, contract, NetworkConfig(min_count=20))
    country = encoding.vocabularies[contract.categories.index("country")]
    assert (country.values, country.rows) == (("FR",), FIRST_VALUE_ROW + 1)
    _, rows = encoding.encode(table.columns.head(4), contract)
    place = contract.categories.index("country")
    assert rows[:, place].tolist() == [FIRST_VALUE_ROW, SHARED_ROW, FIRST_VALUE_ROW, SHARED_ROW]
