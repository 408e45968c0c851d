"""The ONNX graph, built node by node from the trained arrays: raw fields in, calibrated score out.

.. code-block:: text

    numbers [n, N] float64 ─ IsNaN ─ Where(median) ─ (x - mean) / scale ─ Clip ─ float32 ─ smooth clip ─┐
                               └─ flags of gaps ────────────────────────────────────────────────────────┤
    categories [n, C] string ─ one column ─ LabelEncoder ─ Gather(embedding) ───────────────────────────┴─ Concat
    Concat ─ Gemm ─ Relu ─ ... ─ Gemm = logit ─ x calibration.scale + calibration.shift ─ Sigmoid ─ score [n] float32

No node looks across rows, so a score is the same alone and in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from eventscore.contract import Contract
from eventscore_training.encoding import FAR_OUT, FIRST_VALUE_ROW, MISSING_ROW, SHARED_ROW, Encoding
from eventscore_training.network import NetworkWeights

OPSET = 17
ML_OPSET = 3
IR_VERSION = 8
CALIBRATION_SCALE = "calibration.scale"
CALIBRATION_SHIFT = "calibration.shift"
LOGIT = "logit"
HEAD = "head"
"""Name of the node that makes the logit: the one Gemm that stays in float32."""


class _Graph:
    """Nodes and their constants, in the order of the computation."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output


def build_graph(contract: Contract, encoding: Encoding, weights: NetworkWeights) -> onnx.ModelProto:
    """The graph in float32, its calibration the identity (see :func:`calibrated`)."""
    graph = _Graph()
    parts: list[str] = []
    if contract.numbers:
        parts += _numbers(graph, encoding)
    for index, (vocabulary, table) in enumerate(zip(encoding.vocabularies, weights.embeddings, strict=True)):
        parts.append(_category(graph, index, vocabulary.values, table))
    hidden = graph.add("Concat", parts, "inputs", axis=1)
    for number, (weight, bias) in enumerate(weights.layers[:-1], start=1):
        hidden = _layer(graph, f"layer{number}", hidden, weight, bias)
        hidden = graph.add("Relu", [hidden], f"layer{number}.relu")
    weight, bias = weights.layers[-1]
    logit = graph.add("Squeeze", [_layer(graph, HEAD, hidden, weight, bias), _axis(graph)], LOGIT)
    scaled = graph.add(
        "Mul", [logit, graph.constant(CALIBRATION_SCALE, np.array([1], np.float32))], "calibration.scaled"
    )
    shifted = graph.add(
        "Add", [scaled, graph.constant(CALIBRATION_SHIFT, np.array([0], np.float32))], "calibration.shifted"
    )
    graph.add("Sigmoid", [shifted], "score")
    return _model(graph, contract)


def calibrated(model: onnx.ModelProto, scale: float, shift: float) -> onnx.ModelProto:
    """A copy of ``model`` whose score is ``sigmoid(scale * logit + shift)``."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for constant in copy.graph.initializer:
        if constant.name in (CALIBRATION_SCALE, CALIBRATION_SHIFT):
            value = np.array([scale if constant.name == CALIBRATION_SCALE else shift], np.float32)
            constant.CopyFrom(numpy_helper.from_array(value, constant.name))
    return copy


def with_logit(model: onnx.ModelProto) -> bytes:
    """The bytes of a copy of ``model`` that answers the uncalibrated logit only."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.append(helper.make_tensor_value_info(LOGIT, TensorProto.FLOAT, ["n"]))
    raw: bytes = copy.SerializeToString()
    return raw


def _numbers(graph: _Graph, encoding: Encoding) -> list[str]:
    gaps = graph.add("IsNaN", ["numbers"], "numbers.gaps")
    filled = graph.add(
        "Where", [gaps, graph.constant("numbers.medians", encoding.medians), "numbers"], "numbers.filled"
    )
    centred = graph.add("Sub", [filled, graph.constant("numbers.means", encoding.means)], "numbers.centred")
    scaled = graph.add("Div", [centred, graph.constant("numbers.scales", encoding.scales)], "numbers.scaled")
    ends = [graph.constant(f"numbers.{end}", np.array(value)) for end, value in (("low", -FAR_OUT), ("high", FAR_OUT))]
    bounded = graph.add("Clip", [scaled, *ends], "numbers.bounded")
    standard = graph.add("Cast", [bounded], "numbers.standard", to=TensorProto.FLOAT)
    # z / sqrt(1 + (z / clip)^2): Sqrt and Div round correctly everywhere, which tanh does not.
    slope = graph.constant("numbers.clip", np.array([1 / encoding.clip_at], np.float32))
    bend = graph.add("Mul", [standard, slope], "numbers.bend")
    square = graph.add("Mul", [bend, bend], "numbers.square")
    above_one = graph.add("Add", [square, graph.constant("one", np.array([1], np.float32))], "numbers.above_one")
    root = graph.add("Sqrt", [above_one], "numbers.root")
    parts = [graph.add("Div", [standard, root], "numbers.clipped")]
    if encoding.flagged:
        columns = graph.constant("numbers.flagged", np.array(encoding.flagged, np.int64))
        flags = graph.add("Gather", [gaps, columns], "numbers.flags", axis=1)
        parts.append(graph.add("Cast", [flags], "numbers.flags.float", to=TensorProto.FLOAT))
    return parts


def _category(graph: _Graph, index: int, values: Sequence[str], table: NDArray[np.float32]) -> str:
    name = f"category{index}"
    # A scalar index drops the axis: [n, C] to [n].
    column = graph.add("Gather", ["categories", graph.constant(f"{name}.index", np.array(index))], name, axis=1)
    rows = graph.add(
        "LabelEncoder",
        [column],
        f"{name}.rows",
        domain="ai.onnx.ml",
        keys_strings=["", *values],
        values_int64s=[MISSING_ROW, *range(FIRST_VALUE_ROW, FIRST_VALUE_ROW + len(values))],
        default_int64=SHARED_ROW,
    )
    return graph.add("Gather", [graph.constant(f"{name}.table", table), rows], f"{name}.embedding", axis=0)


def _layer(graph: _Graph, name: str, inputs: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
    constants = [graph.constant(f"{name}.weight", weight.T), graph.constant(f"{name}.bias", bias)]
    return graph.add("Gemm", [inputs, *constants], name)


def _axis(graph: _Graph) -> str:
    return graph.constant("axis", np.array([1], np.int64))


def _model(graph: _Graph, contract: Contract) -> onnx.ModelProto:
    inputs = []
    if contract.numbers:
        inputs.append(helper.make_tensor_value_info("numbers", TensorProto.DOUBLE, ["n", len(contract.numbers)]))
    if contract.categories:
        inputs.append(helper.make_tensor_value_info("categories", TensorProto.STRING, ["n", len(contract.categories)]))
    outputs = [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])]
    model = helper.make_model(
        helper.make_graph(graph.nodes, contract.model.name, inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)],
        ir_version=IR_VERSION,
        producer_name="eventscore",
    )
    onnx.checker.check_model(model, full_check=True)
    return model
