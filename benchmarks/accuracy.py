"""How good the shipped graph is beside boosted trees and a linear model, on the same features, the same split, the same budget.

Example: python benchmarks/accuracy.py --json flights adult
         python benchmarks/accuracy.py --data ~/tables --budget 120 adult

`flights` needs the tables of `python -m eventscore_flights`; `adult` needs adult-train.csv and adult-test.csv of the UCI repository in
--data (no header). Ours is the int8 graph through ONNX Runtime. LightGBM takes categories as such, stops early, and is searched
at random until its time is over: what our training took, or --budget. Nothing but the validation part chooses.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import polars as pl
from machine import describe_machine
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from eventscore.contract import Contract, load_contract
from eventscore.manifest import GRAPH
from eventscore_training import TrainingConfig, load_training_config, train
from eventscore_training.config import parse_training_config
from eventscore_training.encoding import learn_encoding
from eventscore_training.evaluate import evaluate, log_loss
from eventscore_training.split import read_parts
from eventscore_training.table import Table, numbers_of

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
_ROUNDS, _STOP_AFTER = 2_000, 50


@dataclass(frozen=True)
class Task:
    """A job and the tables that it reads, by part."""

    config: TrainingConfig
    contract: Contract
    parts: dict[str, Table]


def flights_task(folder: Path) -> Task:
    """The demo's job, its runs in ``folder``."""
    return _task(load_training_config(ROOT / "examples/flights/training.toml", {"runs": folder}))


def adult_task(folder: Path, data: Path) -> Task:
    """UCI adult: its own test file; a fifth of the training file, drawn at random, validates."""
    rows = {name: _read_adult(data / f"adult-{name}.csv") for name in ("train", "test")}
    order = np.random.default_rng(0).permutation(rows["train"].height)
    cut = rows["train"].height * 4 // 5
    rows["validation"], rows["train"] = rows["train"][order[cut:]], rows["train"][order[:cut]]
    for name, table in rows.items():
        table.write_parquet(folder / f"{name}.parquet")
    lines = ["format = 1", "[model]", 'name = "adult"', 'task = "binary"', "[event]", 'id = "row"', 'time = "at"']
    for name in _ADULT:
        kind = '"number"' if name in _ADULT_NUMBERS else '"category"\nmissing = "own"'
        lines += [f"[features.{name}]", f"type = {kind}"]
    lines += ["[label]", 'field = "rich"', "positive = true", "[[decisions]]", 'name = "all"', "from = 0.0"]
    (folder / "contract.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tables = {name: folder / f"{name}.parquet" for name in rows}
    document = {**tables, "contract": folder / "contract.toml", "runs": folder, "network": _ADULT_NETWORK}
    return _task(parse_training_config({**document, "fit": _ADULT_FIT}, "the benchmark's adult job"))


def compare(task: Task, budget_s: float | None) -> dict[str, Any]:
    """Train and evaluate all three on the test part."""
    started = time.monotonic()
    version = train(task.config)
    ours_s = time.monotonic() - started
    metrics = version.report.metrics
    test = task.parts["test"].label
    ours = _figures(metrics["int8"]) | {"seconds": round(ours_s, 1)}
    ours["graph_bytes"] = (version.folder / GRAPH).stat().st_size
    trees, tried, trees_s = _lightgbm(task, budget_s or ours_s)
    linear, linear_s = _logistic(task)
    return {
        "ours": ours,
        "lightgbm": _figures(evaluate(test, trees).as_dict()) | {"seconds": round(trees_s, 1), "tried": tried},
        "logistic": _figures(evaluate(test, linear).as_dict()) | {"seconds": round(linear_s, 1)},
        "int8_minus_fp32": {
            name: round(metrics["int8"][name] - value, 6) for name, value in _figures(metrics["fp32"]).items()
        },
    }


def _task(config: TrainingConfig) -> Task:
    contract = load_contract(config.contract)
    return Task(config, contract, {table.part: table for table in read_parts(config, contract).all})


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
        pl.int_range(pl.len()).cast(pl.String).alias("row"),
        pl.lit("2026-01-01T00:00:00Z").alias("at"),
        *(pl.col(name).cast(pl.Float64) for name in _ADULT_NUMBERS),
        *(pl.col(name).replace("?", None) for name in _ADULT if name not in _ADULT_NUMBERS),
        pl.col("income").str.starts_with(">50K").alias("rich"),
    )


def _lightgbm(task: Task, budget_s: float) -> tuple[NDArray[np.float64], int, float]:
    """Random search within the budget, at least one; the scores of the best on the validation part."""
    started = time.monotonic()
    known = {name: _numbered(task.parts["train"].columns[name]) for name in task.contract.categories}
    tables = {part: _columns(table, task.contract, known) for part, table in task.parts.items()}
    label = {part: table.label.astype(np.float64) for part, table in task.parts.items()}
    first = len(task.contract.numbers)
    options = {"categorical_feature": list(range(first, first + len(known))), "free_raw_data": False}
    random, best, best_loss, tried = np.random.default_rng(0), None, np.inf, 0
    while best is None or time.monotonic() - started < budget_s:
        parameters = {"learning_rate": 0.05, "num_leaves": 31} if tried == 0 else _draw(random)
        learn = lightgbm.Dataset(tables["train"], label["train"], params={"verbosity": -1}, **options)
        check = lightgbm.Dataset(tables["validation"], label["validation"], reference=learn, **options)
        fixed = {"objective": "binary", "metric": "binary_logloss", "num_threads": 2, "verbosity": -1, "seed": tried}
        stop = lightgbm.early_stopping(_STOP_AFTER, verbose=False)
        model = lightgbm.train({**fixed, **parameters}, learn, _ROUNDS, valid_sets=[check], callbacks=[stop])
        loss = log_loss(task.parts["validation"].label, np.asarray(model.predict(tables["validation"])))
        tried += 1
        if loss < best_loss:
            best, best_loss = model, loss
    return np.asarray(best.predict(tables["test"])), tried, time.monotonic() - started


def _draw(random: np.random.Generator) -> dict[str, float | int]:
    return {
        "learning_rate": float(10 ** random.uniform(-1.7, -0.8)),
        "num_leaves": int(2 ** random.uniform(3, 7)),
        "min_data_in_leaf": int(10 ** random.uniform(1, 2.7)),
        "feature_fraction": float(random.uniform(0.3, 1)),
        "bagging_fraction": float(random.uniform(0.5, 1)),
        "bagging_freq": 1,
        "lambda_l2": float(10 ** random.uniform(-2, 1.7)),
        "cat_smooth": float(10 ** random.uniform(0, 2.3)),
        "cat_l2": float(10 ** random.uniform(0, 2)),
    }


def _numbered(column: pl.Series) -> dict[str, int]:
    return {value: place for place, value in enumerate(column.drop_nulls().unique().sort().to_list())}


def _columns(table: Table, contract: Contract, known: dict[str, dict[str, int]]) -> NDArray[np.float64]:
    """Numbers, then categories by number; a gap and a value that training never saw are NaN."""
    categories = [
        table.columns[name].replace_strict(places, default=None, return_dtype=pl.Float64).to_numpy()
        for name, places in known.items()
    ]
    return np.column_stack([numbers_of(table.columns, contract), *categories])


def _logistic(task: Task) -> tuple[NDArray[np.float64], float]:
    """The encoded numbers and the categories one-hot; the penalty is chosen on the validation part."""
    from scipy import sparse

    started = time.monotonic()
    encoding = learn_encoding(task.parts["train"], task.contract, task.config.network)
    tables = {}
    for part, table in task.parts.items():
        numbers, rows = encoding.encode(table.columns, task.contract)
        hot = [
            sparse.csr_matrix((np.ones(len(row)), (np.arange(len(row)), row)), shape=(len(row), vocabulary.rows))
            for row, vocabulary in zip(rows.T, encoding.vocabularies, strict=True)
        ]
        tables[part] = sparse.hstack([sparse.csr_matrix(numbers), *hot]).tocsr()
    train_label, truth = task.parts["train"].label, task.parts["validation"].label
    best, best_loss = None, np.inf
    for penalty in (0.01, 0.1, 1.0):
        model = LogisticRegression(C=penalty, max_iter=300).fit(tables["train"], train_label)
        loss = log_loss(truth, model.predict_proba(tables["validation"])[:, 1])
        if loss < best_loss:
            best, best_loss = model, loss
    assert best is not None
    return best.predict_proba(tables["test"])[:, 1], time.monotonic() - started


def _figures(metrics: Any) -> dict[str, Any]:
    return {name: round(metrics[name], 6) for name in ("roc_auc", "pr_auc", "log_loss", "calibration_error")}


def main() -> None:
    """Print one line for each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", choices=("flights", "adult"), metavar="TASK", help="flights or adult")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--data", type=Path, default=Path("data"), help="where adult-train.csv and adult-test.csv lie")
    parser.add_argument("--budget", type=float, help="seconds for LightGBM's search; otherwise what ours took")
    arguments = parser.parse_args()
    if not arguments.json:
        print(describe_machine(("torch", "onnxruntime", "lightgbm", "scikit-learn")))
    for name in arguments.tasks:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            task = flights_task(folder) if name == "flights" else adult_task(folder, arguments.data)
            result = {"task": name, **compare(task, arguments.budget)}
        if arguments.json:
            print(json.dumps(result), flush=True)
            continue
        for side, figures in result.items():
            print(f"{side}: {figures}", flush=True)


if __name__ == "__main__":
    main()
