"""The ONNX graph, built node by node from the trained arrays: raw fields in, calibrated score out.

.. code-block:: text

    numbers [n, N] float64 ─ IsNaN ─ Where(median) ─ scale ─ Clip ─ float32 ─ smooth clip ─┬─ number embedding ─┐
                               └─ flags of gaps ───────────────────────────────────────────┴────────────────────┤
    categories [n, C] string ─ one column ─ LabelEncoder ─ Gather(embedding) ───────────────────────────────────┴─ Concat
    Concat ─ hidden layers (graph_layers) ─ logit ─ x calibration.scale + calibration.shift ─ Sigmoid ─ score [n] float32

No node looks across rows, and none computes the end of a batch with other instructions than its middle (ONNX Runtime's Sin, Cos,
Log and Softplus do), so a score is the same bits alone and in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from eventscore.contract import Contract
from eventscore_training.encoding import FAR_OUT, FIRST_VALUE_ROW, MISSING_ROW, SHARED_ROW, Encoding
from eventscore_training.graph_layers import HEAD, LOGIT, add_hidden, add_logit, add_wide
from eventscore_training.graph_nodes import GraphNodes
from eventscore_training.network import NetworkWeights
from eventscore_training.number_embedding import NumberEmbeddingWeights

__all__ = ["HEAD", "LOGIT", "OPSET", "build_graph", "calibrated", "with_logit"]

OPSET = 17
ML_OPSET = 3
IR_VERSION = 8
CALIBRATION_SCALE = "calibration.scale"
CALIBRATION_SHIFT = "calibration.shift"


def build_graph(contract: Contract, encoding: Encoding, weights: NetworkWeights) -> onnx.ModelProto:
    """The graph in float32, its calibration the identity (see :func:`calibrated`)."""
    graph = GraphNodes()
    parts: list[str] = []
    numbers: str | None = None
    if contract.numbers:
        clipped, flags = _numbers(graph, encoding)
        numbers = clipped if flags is None else graph.add("Concat", [clipped, flags], "numbers.encoded", axis=1)
        parts.append(numbers)
        if weights.number_embedding is not None:
            parts.append(_number_embedding(graph, clipped, weights.number_embedding))
    rows = [_rows(graph, index, each.values) for index, each in enumerate(encoding.vocabularies)]
    for index, (row, table) in enumerate(zip(rows, weights.embeddings, strict=True)):
        parts.append(_looked_up(graph, f"category{index}", row, table))
    hidden = add_hidden(graph, graph.add("Concat", parts, "inputs", axis=1), weights)
    beside = None
    if weights.wide is not None:
        tables = [
            _looked_up(graph, f"wide{index}", row, table)
            for index, (row, table) in enumerate(zip(rows, weights.wide.tables, strict=True))
        ]
        beside = add_wide(graph, numbers, tables, weights.wide)
    logit = add_logit(graph, hidden, beside, weights)
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


def _numbers(graph: GraphNodes, encoding: Encoding) -> tuple[str, str | None]:
    """The encoded numbers and the flags of their gaps, if any are flagged."""
    gaps = graph.add("IsNaN", ["numbers"], "numbers.gaps")
    filled = graph.add(
        "Where", [gaps, graph.constant("numbers.medians", encoding.medians), "numbers"], "numbers.filled"
    )
    if encoding.ranks is None:
        centred = graph.add("Sub", [filled, graph.constant("numbers.means", encoding.means)], "numbers.centred")
        scaled = graph.add("Div", [centred, graph.constant("numbers.scales", encoding.scales)], "numbers.scaled")
    else:
        scaled = _deviates(graph, filled, encoding)
    ends = [graph.constant(f"numbers.{end}", np.array(value)) for end, value in (("low", -FAR_OUT), ("high", FAR_OUT))]
    bounded = graph.add("Clip", [scaled, *ends], "numbers.bounded")
    standard = graph.add("Cast", [bounded], "numbers.standard", to=TensorProto.FLOAT)
    # z / sqrt(1 + (z / clip)^2): Sqrt and Div round correctly everywhere, which tanh does not.
    slope = graph.constant("numbers.clip", np.array([1 / encoding.clip_at], np.float32))
    bend = graph.add("Mul", [standard, slope], "numbers.bend")
    square = graph.add("Mul", [bend, bend], "numbers.square")
    above_one = graph.add("Add", [square, graph.constant("one", np.array([1], np.float32))], "numbers.above_one")
    root = graph.add("Sqrt", [above_one], "numbers.root")
    clipped = graph.add("Div", [standard, root], "numbers.clipped")
    if not encoding.flagged:
        return clipped, None
    columns = graph.constant("numbers.flagged", np.array(encoding.flagged, np.int64))
    flags = graph.add("Gather", [gaps, columns], "numbers.flags", axis=1)
    return clipped, graph.add("Cast", [flags], "numbers.flags.float", to=TensorProto.FLOAT)


def _deviates(graph: GraphNodes, filled: str, encoding: Encoding) -> str:
    """Each number between its knots: the first deviate, and of each step that follows the share that was gone."""
    ranks = encoding.ranks or ()
    # Never one row of sums alone: ONNX Runtime would sum a lone event's in another order than those of many.
    ranks, count = (ranks * 2 if len(ranks) == 1 else ranks), len(ranks)
    steps = max(len(each.knots) for each in ranks) - 1
    low, width, rise = (np.zeros((len(ranks), steps)), np.ones((len(ranks), steps)), np.zeros((len(ranks), steps)))
    for row, each in enumerate(ranks):
        used = len(each.knots) - 1
        low[row, :used], width[row, :used] = each.knots[:-1], np.diff(each.knots)
        rise[row, :used] = np.diff(each.values)
    column = graph.add("Unsqueeze", [filled, graph.axis(2)], "numbers.column")
    above = graph.add("Sub", [column, graph.constant("ranks.low", low)], "ranks.above")
    share = graph.add("Div", [above, graph.constant("ranks.width", width)], "ranks.share")
    ends = [graph.constant(f"ranks.{end}", np.array(value)) for end, value in (("none", 0.0), ("all", 1.0))]
    gone = graph.add("Clip", [share, *ends], "ranks.gone")
    risen = graph.add("Mul", [gone, graph.constant("ranks.rise", rise)], "ranks.risen")
    summed = graph.add("ReduceSum", [risen, graph.axis(2)], "ranks.summed", keepdims=0)
    first = np.array([each.values[0] for each in ranks])
    deviates = graph.add("Add", [summed, graph.constant("ranks.first", first)], "ranks.deviates")
    if count == len(ranks):
        return deviates
    return graph.add("Gather", [deviates, graph.constant("ranks.kept", np.arange(count))], "ranks.one", axis=1)


def _number_embedding(graph: GraphNodes, clipped: str, weights: NumberEmbeddingWeights) -> str:
    spread = graph.add("Gather", [clipped, graph.constant("spread.columns", weights.columns)], "spread", axis=1)
    if weights.low is not None and weights.per_width is not None:
        above = graph.add("Sub", [spread, graph.constant("spread.low", weights.low)], "spread.above")
        share = graph.add("Mul", [above, graph.constant("spread.per_width", weights.per_width)], "spread.share")
        ends = [
            graph.constant(f"spread.{end}", np.array(value, np.float32)) for end, value in (("none", 0), ("all", 1))
        ]
        return graph.linear(
            "spread.linear", graph.add("Clip", [share, *ends], "spread.gone"), weights.weight, weights.bias
        )
    if weights.frequency is None or weights.phase is None:
        raise ValueError("expected bins or frequencies")
    turned = graph.add("Mul", [spread, graph.constant("spread.frequency", weights.frequency)], "spread.turned")
    angle = graph.add("Add", [turned, graph.constant("spread.phase", weights.phase)], "spread.angle")
    sine = graph.add("Sin", [angle], "spread.sine")
    return graph.add("Relu", [graph.linear("spread.linear", sine, weights.weight, weights.bias)], "spread.relu")


def _rows(graph: GraphNodes, index: int, values: Sequence[str]) -> str:
    name = f"category{index}"
    # A scalar index drops the axis: [n, C] to [n].
    column = graph.add("Gather", ["categories", graph.constant(f"{name}.index", np.array(index))], name, axis=1)
    return graph.add(
        "LabelEncoder",
        [column],
        f"{name}.rows",
        domain="ai.onnx.ml",
        keys_strings=["", *values],
        values_int64s=[MISSING_ROW, *range(FIRST_VALUE_ROW, FIRST_VALUE_ROW + len(values))],
        default_int64=SHARED_ROW,
    )


def _looked_up(graph: GraphNodes, name: str, rows: str, table: NDArray[np.float32]) -> str:
    return graph.add("Gather", [graph.constant(f"{name}.table", table), rows], f"{name}.embedding", axis=0)


def _model(graph: GraphNodes, contract: Contract) -> onnx.ModelProto:
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
