"""What a graph costs in the function: microseconds per event, in batches, on one thread."""

from __future__ import annotations

import time

import numpy as np
import onnx
import onnxruntime as ort
import polars as pl

import eventscore.session  # noqa: F401 - switches ONNX Runtime's telemetry off before it is imported
from eventscore.contract import Contract
from eventscore_training.table import graph_inputs

BATCH = 100
_ROUNDS = 5
_WARM_UP = 20


def latency_us(graph: bytes, columns: pl.DataFrame, contract: Contract, *, round_s: float = 0.05) -> float:
    """Microseconds per event at a batch of 100 rows (fewer if there are fewer), the graph alone: no decoding, no delivery.

    The median of the middles of five rounds of ``round_s`` seconds each: other processes on the machine disturb some rounds, seldom most.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    batch = columns.head(BATCH)
    inputs = graph_inputs(batch, contract)
    for _ in range(_WARM_UP):
        session.run(None, inputs)
    medians = []
    for _ in range(_ROUNDS):
        taken: list[int] = []
        end = time.perf_counter() + round_s
        while not taken or time.perf_counter() < end:
            start = time.perf_counter_ns()
            session.run(None, inputs)
            taken.append(time.perf_counter_ns() - start)
        medians.append(np.median(taken))
    return float(np.median(medians)) / 1_000 / batch.height


def graph_cost(model: onnx.ModelProto, columns: pl.DataFrame, contract: Contract) -> tuple[int, float]:
    """Bytes of a graph, and microseconds per event."""
    raw = model.SerializeToString()
    return len(raw), round(latency_us(raw, columns, contract, round_s=0.02), 3)
