"""Runs a graph over a whole table with ONNX Runtime, as the function would: one thread, batches."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import polars as pl
from numpy.typing import NDArray

import eventscore.session  # noqa: F401 - switches ONNX Runtime's telemetry off before it is imported
from eventscore.contract import Contract
from eventscore_training.table import graph_inputs

_BATCH = 4_096


def run_graph(
    graph: bytes, columns: pl.DataFrame, contract: Contract, *, optimized: bool = True
) -> NDArray[np.float32]:
    """The graph's only output for every row of ``columns``, float32 ``[n]``.

    ``optimized=False`` switches ONNX Runtime's graph optimizations off: the same mathematics, rounded elsewhere.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    output = session.get_outputs()[0].name
    answers = [
        session.run([output], graph_inputs(columns.slice(start, _BATCH), contract))[0]
        for start in range(0, columns.height, _BATCH)
    ]
    return np.concatenate(answers)
