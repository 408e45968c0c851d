"""A made table of orders under a contract with every kind of feature: what the tests of the training job train on.

Whether an order comes back depends on the amount, on the country and, where the age is missing, on that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eventscore.contract import Contract, parse_contract
from eventscore_training.config import TrainingConfig, parse_training_config
from eventscore_training.labels import Part
from eventscore_training.table import Table, check_table

CONTRACT_TOML = """\
format = 1

[model]
name = "orders"
task = "binary"

[event]
id = "order"
time = "at"
rollout_key = "customer"

[features.amount]
type = "number"
min = 0
max = 10000

[features.weight]
type = "number"

[features.age]
type = "number"
min = 0
max = 120
missing = "median"

[features.gift]
type = "boolean"
missing = "median"

[features.country]
type = "category"
max_length = 12
missing = "own"

[features.channel]
type = "category"
values = ["web", "shop"]
unseen = "refuse"

[label]
field = "returned"
positive = 1

[[decisions]]
name = "keep"
from = 0

[[decisions]]
name = "check"
from = 0.4
"""


def contract(replace: dict[str, str] | None = None) -> Contract:
    """The contract, with pieces of its text replaced."""
    text = CONTRACT_TOML
    for old, new in (replace or {}).items():
        assert old in text
        text = text.replace(old, new)
    return parse_contract(text.encode(), "orders/contract.toml")


def frame(rows: int = 3000, seed: int = 0) -> pl.DataFrame:
    """``rows`` orders in the order of their time, one every minute."""
    random = np.random.default_rng(seed)
    countries = np.array(["FR", "DE", "ES", "IT", "SE"])[random.integers(0, 5, rows)]
    rare = np.array([f"X{number}" for number in random.integers(0, 400, rows)])
    country = np.where(random.random(rows) < 0.1, rare, countries)
    no_country, no_age = random.random(rows) < 0.05, random.random(rows) < 0.2
    amount = random.gamma(2, 100, rows).round(2).clip(0, 10_000)
    logit = 0.01 * (amount - 200) + 1.5 * (country == "FR") - 1.5 * (country == "SE") + 1.0 * no_age - 0.5
    returned = (random.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    age = random.integers(18, 90, rows)
    gift = random.random(rows) < 0.3
    return pl.DataFrame(
        {
            "order": [f"o-{seed}-{number}" for number in range(rows)],
            "at": pl.datetime_range(
                pl.datetime(2026, 1, 1), pl.datetime(2027, 1, 1), "1m", time_zone="UTC", eager=True
            )[:rows].dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "customer": [f"c-{number}" for number in random.integers(0, 50, rows)],
            "amount": amount,
            "weight": random.normal(2, 1, rows),
            "age": [None if gap else int(value) for gap, value in zip(no_age, age, strict=True)],
            "gift": [
                None if value < 0.1 else bool(flag) for value, flag in zip(random.random(rows), gift, strict=True)
            ],
            "country": [None if gap else str(value) for gap, value in zip(no_country, country, strict=True)],
            "channel": np.array(["web", "shop"])[random.integers(0, 2, rows)],
            "returned": returned,
        }
    )


def table(part: Part = "train", rows: int = 3000, seed: int = 0) -> Table:
    """A checked table of orders."""
    return check_table(frame(rows, seed), contract(), part, "orders.parquet", "0" * 64)


def config(folder: Path, overrides: dict[str, Any] | None = None, contract_text: str = CONTRACT_TOML) -> TrainingConfig:
    """A small job in ``folder``: contract and one table are written there, split by time."""
    (folder / "contract.toml").write_text(contract_text, encoding="utf-8")
    frame().write_parquet(folder / "orders.parquet")
    document: dict[str, Any] = {
        "contract": folder / "contract.toml",
        "table": folder / "orders.parquet",
        "validation_share": 0.2,
        "test_share": 0.2,
        "runs": folder / "runs",
        "device": "cpu",
        "network": {"widths": (16, 8), "embedding_width": 3, "min_count": 10, "dropout": 0.0},
        "quantization": {"weights": "per-channel", "ranges": "min-max"},
        "fit": {"epochs": 4, "batch_size": 64, "learning_rate": 0.01, "evaluations_per_epoch": 1},
    }
    return parse_training_config({**document, **(overrides or {})}, "orders")
