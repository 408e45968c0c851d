"""What the shipped graph is compared with: boosted trees, searched, and a linear model. Nothing but the validation part chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightgbm
import numpy as np
import polars as pl
from accuracy_tasks import Task
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge

from eventscore.contract import Contract
from eventscore_training.encoding import learn_encoding
from eventscore_training.evaluate import metrics_of
from eventscore_training.figures import LOG_LOSS, RMSE, Figure
from eventscore_training.table import Table, numbers_of

Clock = Callable[[], float]
CHOSEN_BY: Mapping[str, Figure] = {"binary": LOG_LOSS, "multiclass": LOG_LOSS, "regression": RMSE}
"""The figure of the validation part that chooses, by task; also the loss that stops the trees."""
_OBJECTIVES: Mapping[str, tuple[str, str]] = {
    "binary": ("binary", "binary_logloss"),
    "multiclass": ("multiclass", "multi_logloss"),
    "regression": ("regression", "rmse"),
}
_PENALTIES: Mapping[str, tuple[float, ...]] = {
    "binary": (0.01, 0.1, 1.0),
    "multiclass": (0.1, 1.0, 10.0),
    "regression": (0.1, 1.0, 10.0, 100.0),
}
_ROUNDS, _STOP_AFTER, _THREADS = 2_000, 50, 2


def boosted_trees(task: Task, budget_s: float, clock: Clock) -> tuple[NDArray[np.float64], int, float]:
    """LightGBM with native categories and early stopping, searched at random within the budget, once at least.

    The test scores of the best on the validation part, how many settings were tried, and the seconds by ``clock``.
    """
    started, kind = clock(), task.contract.model.task
    known = {name: _numbered(task.parts["train"].columns[name]) for name in task.contract.categories}
    tables = {part: _columns(table, task.contract, known) for part, table in task.parts.items()}
    label = {part: table.label.astype(np.float64) for part, table in task.parts.items()}
    first = len(task.contract.numbers)
    options = {"categorical_feature": list(range(first, first + len(known))), "free_raw_data": False}
    fixed: dict[str, Any] = dict(zip(("objective", "metric"), _OBJECTIVES[kind], strict=True))
    if task.contract.outputs:
        fixed["num_class"] = len(task.contract.outputs)
    random, best, best_loss, tried = np.random.default_rng(0), None, np.inf, 0
    while best is None or clock() - started < budget_s:
        parameters = {"learning_rate": 0.05, "num_leaves": 31} if tried == 0 else _draw(random)
        learn = lightgbm.Dataset(tables["train"], label["train"], params={"verbosity": -1}, **options)
        check = lightgbm.Dataset(tables["validation"], label["validation"], reference=learn, **options)
        settings = {**fixed, "num_threads": _THREADS, "verbosity": -1, "seed": tried, **parameters}
        stop = lightgbm.early_stopping(_STOP_AFTER, verbose=False)
        model = lightgbm.train(settings, learn, _ROUNDS, valid_sets=[check], callbacks=[stop])
        loss = _loss(task, np.asarray(model.predict(tables["validation"])))
        tried += 1
        if loss < best_loss:
            best, best_loss = model, loss
    return np.asarray(best.predict(tables["test"])), tried, clock() - started


def linear_model(task: Task, clock: Clock) -> tuple[NDArray[np.float64], float]:
    """Logistic or ridge regression on the encoded numbers and one-hot categories; its test scores, and the seconds."""
    from scipy import sparse

    started, kind = clock(), task.contract.model.task
    encoding = learn_encoding(task.parts["train"], task.contract, task.config.network)
    tables = {}
    for part, table in task.parts.items():
        numbers, rows = encoding.encode(table.columns, task.contract)
        hot = [
            sparse.csr_matrix((np.ones(len(row)), (np.arange(len(row)), row)), shape=(len(row), vocabulary.rows))
            for row, vocabulary in zip(rows.T, encoding.vocabularies, strict=True)
        ]
        tables[part] = sparse.hstack([sparse.csr_matrix(numbers), *hot]).tocsr()
    best, best_loss = np.empty(0), np.inf
    for penalty in _PENALTIES[kind]:
        model = Ridge(alpha=penalty) if kind == "regression" else LogisticRegression(C=penalty, max_iter=300)
        model.fit(tables["train"], task.parts["train"].label)
        loss = _loss(task, _answers(model, tables["validation"]))
        if loss < best_loss:
            best, best_loss = _answers(model, tables["test"]), loss
    return best, clock() - started


def _loss(task: Task, scores: NDArray[np.float64]) -> float:
    kind = task.contract.model.task
    return metrics_of(kind, task.parts["validation"].label, scores)[CHOSEN_BY[kind].name]


def _answers(model: Any, table: Any) -> NDArray[np.float64]:
    if isinstance(model, Ridge):
        return np.asarray(model.predict(table))
    scores = np.asarray(model.predict_proba(table))
    return scores[:, 1] if scores.shape[1] == 2 else scores


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
