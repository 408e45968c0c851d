"""Stirred networks of each task and their graphs, made once."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

import order_tasks  # noqa: E402
from eventscore_training.config import FitConfig, NetworkConfig  # noqa: E402
from eventscore_training.encoded import EncodedPart  # noqa: E402
from eventscore_training.encoding import Encoding, learn_encoding  # noqa: E402
from eventscore_training.export import build_graph, fold_scores  # noqa: E402
from eventscore_training.fit import predict_logits  # noqa: E402
from eventscore_training.network import Network, build_network  # noqa: E402
from eventscore_training.quantize import quantize  # noqa: E402
from eventscore_training.table import Table  # noqa: E402
from eventscore_training.tasks import TASKS, Task, new_task, without_anomalies  # noqa: E402

SHAPES: dict[str, dict[str, Any]] = {
    "mlp": {},
    "mlp by quantiles": {"scaling": "quantile", "number_embedding": "piecewise-linear", "bins": 4},
    "wide-and-deep": {"kind": "wide-and-deep"},
    "tabm": {"kind": "tabm", "members": 5},
    "tabm folded": {
        "kind": "tabm", "members": 3, "adapt_inputs": False, "scaling": "quantile",
        "number_embedding": "piecewise-linear", "bins": 4,
    },
}  # fmt: skip
CASES = [
    (variant, shape)
    for variant in order_tasks.TASKS
    for shape in SHAPES
    if NetworkConfig(**SHAPES[shape]).kind in TASKS[variant].kinds
]
SIZES = (1, 2, 3, 5, 7, 16, 100, 333)


class Made:
    """A stirred network of a task and its graphs: float32 and int8, calibrated where the task does that."""

    def __init__(self, variant: str, shape: str, *, calibration: str = "auto") -> None:
        self.contract = order_tasks.contract(variant)
        self.table: Table = without_anomalies(order_tasks.table(variant), self.contract)
        config = NetworkConfig(widths=(16, 8), embedding_width=3, min_count=10, **SHAPES[shape])
        self.encoding: Encoding = learn_encoding(self.table, self.contract, config)
        self.task: Task = new_task(self.contract, FitConfig(), self.encoding, self.table.label)
        self.part = EncodedPart(*self.encoding.encode(self.table.columns, self.contract), self.table.label)
        torch.manual_seed(1)
        self.network: Network = build_network(self.encoding, self.part.numbers, config, self.task)
        stir(self.network)
        self.plain = build_graph(self.contract, self.encoding, self.network.weights(), self.task)
        fold = np.arange(self.table.rows) % 5
        logits = predict_logits(self.network, self.part)
        self.calibrated = self.task.calibrate(logits, self.table.label, calibration, fold)
        self.fp32 = fold_scores(self.plain, self.calibrated.map)
        self.int8 = fold_scores(quantize(self.plain, self.contract, self.table.columns, seed=0), self.calibrated.map)

    def logits(self, columns: pl.DataFrame) -> np.ndarray:
        part = EncodedPart(*self.encoding.encode(columns, self.contract), np.zeros(columns.height, np.int8))
        return predict_logits(self.network, part)


def stir(network: Network) -> None:
    """Away from what initialisation leaves at zero, so that every weight matters."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))


@functools.cache
def made(variant: str, shape: str = "mlp") -> Made:
    """Made once."""
    return Made(variant, shape)
