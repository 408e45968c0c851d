"""int8 by static quantization: uint8 activations and int8 weights, the scales frozen on training rows.

Never dynamic: a dynamic scale is taken over the whole batch, and an event's score would depend on its neighbours. Weights use
seven of their eight bits (``reduce_range``), because uint8 x int8 products saturate in 16 bits on x86 without VNNI, and a
version must be right on a CPU that it was not made on.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import polars as pl

import eventscore.session  # noqa: F401 - switches ONNX Runtime's telemetry off before it is imported
from eventscore.contract import Contract
from eventscore_training.graph_layers import HEAD, WIDE
from eventscore_training.table import graph_inputs
from eventscore_training.tasks.anomaly import ERROR
from eventscore_training.tasks.regression import MEAN

CALIBRATION_ROWS = 8_192
PERCENTILE = 99.99
"""What ``percentile`` ranges keep of the activations; the rest is clipped."""
_OPERATORS = ("Gemm", "MatMul")
_BATCH = 1_024
_IN_FLOAT = (HEAD, WIDE, ERROR, MEAN)


@dataclass(frozen=True)
class Recipe:
    """How a graph is quantized. ``float_layers`` are names of matrix products that keep computing in float32."""

    weights: Literal["per-channel", "per-tensor"] = "per-channel"
    ranges: Literal["min-max", "percentile", "entropy"] = "min-max"
    float_layers: tuple[str, ...] = ()

    def __str__(self) -> str:
        rest = f", {' and '.join(self.float_layers)} in float" if self.float_layers else ""
        return f"{self.weights}, {self.ranges}{rest}"


def layers_of(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the matrix products that may be quantized, in the order of the computation: not the head, the wide part, means."""
    return tuple(node.name for node in model.graph.node if node.op_type in _OPERATORS and node.name not in _IN_FLOAT)


def quantize(
    model: onnx.ModelProto, contract: Contract, columns: pl.DataFrame, seed: int, recipe: Recipe = Recipe()
) -> onnx.ModelProto:
    """A copy of ``model`` whose hidden layers compute in int8; activation ranges come from a sample of ``columns``.

    The head stays in float32: its rounding would be the score's.
    """
    # Heavy, and needed in this phase only.
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    methods = {
        "min-max": CalibrationMethod.MinMax,
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }
    sample = columns.sample(min(columns.height, CALIBRATION_ROWS), seed=seed)
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        source, target = Path(scratch) / "fp32.onnx", Path(scratch) / "int8.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(model), source)
        quantize_static(
            source,
            target,
            _Reader(sample, contract),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_OPERATORS),
            nodes_to_exclude=[*_IN_FLOAT, *recipe.float_layers],
            per_channel=recipe.weights == "per-channel",
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=methods[recipe.ranges],
            extra_options={"CalibPercentile": PERCENTILE} if recipe.ranges == "percentile" else {},
        )
        return onnx.load(target)


class _Reader:
    """Hands the sample to ONNX Runtime's calibrator, batch by batch."""

    def __init__(self, sample: pl.DataFrame, contract: Contract) -> None:
        self._batches = _batches(sample, contract)

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        return next(self._batches, None)

    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> dict[str, np.ndarray[Any, Any]]:
        return next(self._batches)


def _batches(sample: pl.DataFrame, contract: Contract) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    # Batches of one size, which the histograms of percentile and entropy ranges need; the few rows that remain are left out.
    size = sample.height // -(-sample.height // _BATCH)
    for start in range(0, sample.height - size + 1, size):
        yield graph_inputs(sample.slice(start, size), contract)


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer advises on the root logger to optimise first, and prints; the graph is built as it should be."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
