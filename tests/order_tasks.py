"""The made orders under a contract of each task: what the tests of all tasks train on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import orders
from eventscore.contract import Contract, parse_contract
from eventscore_training.config import TrainingConfig, parse_training_config
from eventscore_training.table import Part, Table, check_table

_BINARY = orders.CONTRACT_TOML[: orders.CONTRACT_TOML.index("[label]")]
_LABELS = {
    "binary": 'field = "returned"\npositive = 1\n',
    "multiclass": 'field = "outcome"\nclasses = ["kept", "returned", "lost"]\n',
    "multilabel": 'fields = ["returned", "dear"]\npositive = 1\n',
    "regression": 'field = "minutes"\nmin = 0\nmax = 100000\nunit = "minutes"\n',
    "anomaly": 'field = "odd"\npositive = 1\n',
    "unlabelled": None,
}
VARIANTS = tuple(_LABELS)
"""The tasks, and an anomaly model that knows no anomalies."""
TASKS = VARIANTS[:-1]


def contract_text(variant: str) -> str:
    """The contract of the orders for a task."""
    task, label = ("anomaly" if variant == "unlabelled" else variant), _LABELS[variant]
    text = _BINARY.replace('task = "binary"', f'task = "{task}"')
    return text if label is None else f"{text}[label]\n{label}"


def contract(variant: str) -> Contract:
    """The same, read."""
    return parse_contract(contract_text(variant).encode(), f"{variant}/contract.toml")


def frame(rows: int = 3000, seed: int = 0) -> pl.DataFrame:
    """Orders with a truth for each task; every fiftieth is odd: its fields do not belong together."""
    random, made = np.random.default_rng(seed + 1000), orders.frame(rows, seed)
    amount, returned = made["amount"].to_numpy(), made["returned"].to_numpy()
    lost = (random.random(rows) < 0.15) & (made["channel"].to_numpy() == "web")
    odd = np.arange(rows) % 50 == 7
    return made.with_columns(
        outcome=pl.Series(np.where(lost, "lost", np.where(returned == 1, "returned", "kept"))),
        dear=pl.Series((amount + random.normal(0, 40, rows) > 250).astype(np.int64)),
        minutes=pl.Series(
            (
                30
                + 3 * amount
                + 200 * (made["country"] == "FR").fill_null(False).to_numpy() * 1.0
                + random.normal(0, 40, rows)
            ).clip(0, 100_000)
        ),
        odd=pl.Series(odd.astype(np.int64)),
        weight=pl.Series(np.where(odd, random.choice([-9.0, 14.0], rows), made["weight"].to_numpy())),
        amount=pl.Series(np.where(odd, random.uniform(2_000, 9_000, rows), amount)),
    )


def table(variant: str, part: Part = "train", rows: int = 1500, seed: int = 0) -> Table:
    """A checked table of orders with that truth."""
    return check_table(frame(rows, seed), contract(variant), part, "orders.parquet", "0" * 64)


def config(folder: Path, variant: str, overrides: Mapping[str, Any] | None = None) -> TrainingConfig:
    """A small job in ``folder`` for that truth; contract and table are written there."""
    (folder / "contract.toml").write_text(contract_text(variant), encoding="utf-8")
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
        "fit": {"epochs": 6, "batch_size": 64, "learning_rate": 0.01, "evaluations_per_epoch": 1},
    }
    return parse_training_config({**document, **(overrides or {})}, "orders")
