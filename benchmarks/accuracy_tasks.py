"""The jobs that `accuracy.py` compares on: their tables, contracts and configurations.

Settings were chosen on the validation part alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from eventscore.contract import Contract, load_contract
from eventscore_training import TrainingConfig, load_training_config
from eventscore_training.config import parse_training_config
from eventscore_training.split import read_parts
from eventscore_training.table import Table

ROOT = Path(__file__).resolve().parent.parent
_ADULT = (
    "age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship", "race",
    "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country",
)  # fmt: skip
_ADULT_NUMBERS = ("age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week")
_ADULT_NETWORK = {
    "kind": "tabm", "members": 16, "adapt_inputs": False, "widths": [128, 128], "number_embedding": "piecewise-linear",
    "bins": 128, "scaling": "quantile", "dropout": 0.1, "embedding_width": 8,
}  # fmt: skip
_ADULT_FIT = {
    "epochs": 16, "batch_size": 256, "learning_rate": 2e-3, "evaluations_per_epoch": 1, "patience": 5,
    "weight_decay": 3e-4, "embedding_weight_decay": 1e-2, "value_dropout": 0.05,
}  # fmt: skip
_COVTYPE_NETWORK = {
    "kind": "tabm", "members": 16, "widths": [256, 128], "activation": "silu", "number_embedding": "piecewise-linear",
    "bins": 32, "number_embedding_width": 16, "scaling": "quantile", "dropout": 0.1, "embedding_width": 16, "min_count": 2,
}  # fmt: skip
_COVTYPE_FIT = {
    "epochs": 40, "batch_size": 192, "learning_rate": 4e-3, "evaluations_per_epoch": 1, "patience": 16,
    "weight_decay": 3e-4, "embedding_weight_decay": 3e-4, "gradient_clip": 0.0, "value_dropout": 0.0,
}  # fmt: skip
_CALIFORNIA_NETWORK = {
    "kind": "tabm", "members": 8, "adapt_inputs": False, "widths": [256, 256], "activation": "silu",
    "number_embedding": "piecewise-linear", "bins": 128, "number_embedding_width": 12, "scaling": "quantile", "clip_at": 6.0,
    "dropout": 0.1, "embedding_width": 4,
}  # fmt: skip
_CALIFORNIA_FIT = {
    "epochs": 25, "batch_size": 128, "learning_rate": 5e-3, "evaluations_per_epoch": 1, "patience": 12,
    "loss": "huber", "huber_delta": 0.5, "select_by": "rmse", "weight_decay": 2e-2, "embedding_weight_decay": 1e-2,
    "gradient_clip": 0.0, "value_dropout": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A job and the tables that it reads, by part."""

    config: TrainingConfig
    contract: Contract
    parts: dict[str, Table]


def flights(folder: Path, data: Path) -> Task:
    """The demo's job, its runs in ``folder``."""
    return _task(load_training_config(ROOT / "examples/flights/training.toml", {"runs": folder}))


def adult(folder: Path, data: Path) -> Task:
    """UCI adult: its own test file; a fifth of the training file, drawn at random, validates."""
    rows = {name: _read_adult(data / f"adult-{name}.csv") for name in ("train", "test")}
    rows["train"], rows["validation"] = _drawn(rows["train"], 0.8)
    label = ['field = "rich"', "positive = true"]
    return _made("adult", "binary", label, rows, folder, _ADULT_NETWORK, _ADULT_FIT)


def covtype(folder: Path, data: Path) -> Task:
    """Forest cover, seven classes: 16 % of the rows validate, 20 % test; the 0/1 columns are the categories that they stand for."""
    raw = pl.read_csv(data / "covtype-10k-sample.csv")
    table = raw.select(
        pl.int_range(pl.len()).cast(pl.String).alias("row"),
        pl.lit("2026-01-01T00:00:00Z").alias("at"),
        *(
            pl.col(name).cast(pl.Float64).alias(name.lower())
            for name in raw.columns
            if not name.startswith(("Wilderness", "Soil", "Cover"))
        ),
        *(
            pl.concat_list(pl.col(f"^{prefix}\\d+$")).list.arg_max().cast(pl.String).alias(prefix.lower())
            for prefix in ("Wilderness_Area", "Soil_Type")
        ),
        pl.col("Cover_Type").alias("cover"),
    )
    classes = ", ".join(map(str, sorted(table["cover"].unique().to_list())))
    label = ['field = "cover"', f"classes = [{classes}]"]
    rows = _split(table)
    return _made("covtype-10k", "multiclass", label, rows, folder, _COVTYPE_NETWORK, _COVTYPE_FIT)


def california(folder: Path, data: Path) -> Task:
    """House values from the raw columns, gaps and all: 16 % of the rows validate, 20 % test."""
    raw = pl.read_csv(data / "california-housing.csv")
    table = raw.select(
        pl.int_range(pl.len()).cast(pl.String).alias("row"),
        pl.lit("2026-01-01T00:00:00Z").alias("at"),
        pl.exclude("median_house_value"),
        pl.col("median_house_value").cast(pl.Float64),
    )
    label = ['field = "median_house_value"', "min = 0", 'unit = "dollars"']
    rows = _split(table)
    return _made("california", "regression", label, rows, folder, _CALIFORNIA_NETWORK, _CALIFORNIA_FIT)


TASKS: Mapping[str, Callable[[Path, Path], Task]] = {
    "flights": flights,
    "adult": adult,
    "covtype-10k": covtype,
    "california": california,
}
"""Each makes its job from a scratch folder and the folder of the tables."""


def _made(
    name: str,
    task: str,
    label: list[str],
    rows: dict[str, pl.DataFrame],
    folder: Path,
    network: dict[str, Any],
    fit: dict[str, Any],
) -> Task:
    """Write tables and contract to ``folder``: text is a category, numbers are numbers, a column with gaps may have them."""
    lines = ["format = 1", "[model]", f'name = "{name}"', f'task = "{task}"', "[event]", 'id = "row"', 'time = "at"']
    whole = pl.concat(rows.values())
    for column, kind in whole.schema.items():
        if column in ("row", "at") or f'field = "{column}"' in label:
            continue
        gaps = ("own" if kind == pl.String else "median") if whole[column].null_count() else "refuse"
        lines += [f"[features.{column}]", f'type = "{"category" if kind == pl.String else "number"}"']
        lines += [f'missing = "{gaps}"']
    lines += ["[label]", *label]
    (folder / "contract.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for part, table in rows.items():
        table.write_parquet(folder / f"{part}.parquet")
    tables = {part: folder / f"{part}.parquet" for part in rows}
    document = {**tables, "contract": folder / "contract.toml", "runs": folder, "network": network, "fit": fit}
    return _task(parse_training_config(document, f"the benchmark's {name} job"))


def _task(config: TrainingConfig) -> Task:
    contract = load_contract(config.contract)
    return Task(config, contract, {table.part: table for table in read_parts(config, contract).all})


def _split(table: pl.DataFrame) -> dict[str, pl.DataFrame]:
    rest, test = _drawn(table, 0.8)
    train, validation = _drawn(rest, 0.8)
    return {"train": train, "validation": validation, "test": test}


def _drawn(table: pl.DataFrame, share: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    order = np.random.default_rng(0).permutation(table.height)
    cut = int(table.height * share)
    return table[order[:cut]], table[order[cut:]]


def _read_adult(path: Path) -> pl.DataFrame:
    table = pl.read_csv(
        path,
        has_header=False,
        new_columns=[*_ADULT, "income"],
        infer_schema=False,
        comment_prefix="|",
        truncate_ragged_lines=True,
    )
    stripped = table.with_columns(pl.all().str.strip_chars()).filter(pl.col("income").is_not_null())
    return stripped.select(
        # An id of its own in each part: an event may stand in one of them only.
        pl.format("{}-{}", pl.lit(path.stem), pl.int_range(pl.len())).alias("row"),
        pl.lit("2026-01-01T00:00:00Z").alias("at"),
        *(pl.col(name).cast(pl.Float64) for name in _ADULT_NUMBERS),
        *(pl.col(name).replace("?", None) for name in _ADULT if name not in _ADULT_NUMBERS),
        pl.col("income").str.starts_with(">50K").alias("rich"),
    )
