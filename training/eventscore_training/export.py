"""The ONNX graph, built node by node from the trained arrays: raw fields in, score out.

.. code-block:: text

    numbers [n, N] float64 ─ IsNaN ─ Where(median) ─ scale ─ Clip ─ float32 ─ smooth clip ─┬─ number embedding ─┐
                               └─ flags of gaps ───────────────────────────────────────────┴────────────────────┤
                                                                (or, see first_layer: shares of bins, folded into the first layer)
    categories [n, C] string ─ one column ─ LabelEncoder ─ Gather(embedding) ───────────────────────────────────┴─ Concat
    Concat ─ hidden layers and head (graph_layers) ─ logit ─ (calibration) ─ score float32 [n] or [n, outputs] (both by the task)

No node looks across rows, and none computes the end of a batch with other instructions than its middle (ONNX Runtime's Sin, Cos,
Log and Softplus do), so a score is the same bits alone and in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from eventscore.contract import Contract
from eventscore_training.encoding import FIRST_VALUE_ROW, MISSING_ROW, SHARED_ROW, Encoding
from eventscore_training.first_layer import fold_first, folds
from eventscore_training.graph_layers import HEAD, add_answers, add_first_product, add_hidden, add_wide
from eventscore_training.graph_nodes import GraphNodes
from eventscore_training.graph_numbers import (
    add_filled,
    add_flat,
    add_periodic,
    add_ranked,
    add_scaled,
    add_shares,
    bins_of_embedding,
    bins_of_ranks,
    on_grid,
)
from eventscore_training.network import NetworkWeights
from eventscore_training.tasks import BINARY, LOGIT, SCORE, Encoded, ScoreMap, Task

__all__ = ["HEAD", "LOGIT", "OPSET", "build_graph", "fold_scores", "with_logit"]

OPSET = 17
ML_OPSET = 3
IR_VERSION = 8


def build_graph(
    contract: Contract, encoding: Encoding, weights: NetworkWeights, task: Task = BINARY
) -> onnx.ModelProto:
    """The graph in float32, not calibrated (see :func:`fold_scores`)."""
    graph = GraphNodes()
    rows = [_rows(graph, index, each.values) for index, each in enumerate(encoding.vocabularies)]
    tables = [
        _looked_up(graph, f"category{index}", row, table)
        for index, (row, table) in enumerate(zip(rows, weights.embeddings, strict=True))
    ]
    numbers, hidden = None, None
    if contract.numbers:
        numbers, hidden = _behind_numbers(graph, encoding, weights, tables, needed=task.needs_inputs)
    if hidden is None:
        hidden = add_hidden(graph, graph.add("Concat", tables, "inputs", axis=1), weights)
    beside = None
    if weights.wide is not None:
        tables = [
            _looked_up(graph, f"wide{index}", row, table)
            for index, (row, table) in enumerate(zip(rows, weights.wide.tables, strict=True))
        ]
        beside = add_wide(graph, numbers, tables, weights.wide)
    answers = add_answers(graph, hidden, beside, weights)
    members = 0 if weights.layers[0].outer is None else len(weights.head[0])
    task.add_logit(graph, answers, members, Encoded(numbers, tuple(rows)))
    task.uncalibrated().add_score(graph)
    return _model(graph, contract)


def fold_scores(model: onnx.ModelProto, scores: ScoreMap) -> onnx.ModelProto:
    """A copy of ``model`` whose score is what ``scores`` makes of its logit."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _drop_all_after_the_logit(copy.graph)
    graph = GraphNodes.of(copy.graph)
    scores.add_score(graph)
    del copy.graph.node[:], copy.graph.initializer[:]
    copy.graph.node.extend(graph.nodes)
    copy.graph.initializer.extend(graph.constants)
    onnx.checker.check_model(copy, full_check=True)
    return copy


def with_logit(model: onnx.ModelProto) -> bytes:
    """The bytes of a copy of ``model`` that answers the uncalibrated logit only."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    shape = [
        dimension.dim_param or dimension.dim_value for dimension in model.graph.output[0].type.tensor_type.shape.dim
    ]
    copy.graph.output.append(helper.make_tensor_value_info(LOGIT, TensorProto.FLOAT, shape))
    raw: bytes = copy.SerializeToString()
    return raw


def _behind_numbers(
    graph: GraphNodes, encoding: Encoding, weights: NetworkWeights, tables: Sequence[str], *, needed: bool
) -> tuple[str | None, str]:
    """The encoded numbers with their flags (none unless ``needed`` or read by a wide part), and the hidden layers' answer."""
    embedding, count, ranked = weights.number_embedding, len(encoding.medians), encoding.ranks is not None
    piecewise = embedding is not None and embedding.low is not None
    filled, flags = add_filled(graph, encoding)
    beside = [] if flags is None else [flags]
    encoded = "" if ranked else add_scaled(graph, filled, encoding)
    shares, bins = "", None
    if ranked:
        bins = bins_of_ranks(encoding)
        shares = add_shares(graph, "ranks", filled, bins, count)
    elif embedding is not None and piecewise:
        bins = bins_of_embedding(embedding)
        shares = add_shares(graph, "spread", encoded, bins, count)
    fold = bins is not None and folds(weights, bins)
    if ranked and bins is not None and (not fold or needed or weights.wide is not None):
        encoded = add_ranked(graph, shares, encoding, bins)
    numbers = graph.add("Concat", [encoded, *beside], "numbers.encoded", axis=1) if encoded and beside else encoded
    if bins is not None and piecewise:
        shares = add_flat(graph, shares, bins)
    if fold and bins is not None:
        first = fold_first(weights, encoding, bins, ranked=ranked)
        rest = [*([] if ranked else [encoded]), *beside, *tables]
        return numbers or None, add_hidden(graph, add_first_product(graph, shares, rest, first), weights, begun=True)
    parts = [numbers]
    if embedding is not None and piecewise and bins is not None:
        parts.append(graph.linear("spread.linear", shares, on_grid(embedding, bins), embedding.bias))
    elif embedding is not None:
        parts.append(add_periodic(graph, encoded, embedding))
    return numbers, add_hidden(graph, graph.add("Concat", [*parts, *tables], "inputs", axis=1), weights)


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
    shape: list[str | int | None] = ["n", len(contract.outputs)] if contract.outputs else ["n"]
    outputs = [helper.make_tensor_value_info(SCORE, TensorProto.FLOAT, shape)]
    model = helper.make_model(
        helper.make_graph(graph.nodes, contract.model.name, inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)],
        ir_version=IR_VERSION,
        producer_name="eventscore",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _drop_all_after_the_logit(graph: onnx.GraphProto) -> None:
    """Remove what stands between the logit and the score: the nodes that feed on it, and the constants that only they use."""
    after, kept = {LOGIT}, []
    for node in graph.node:  # in the order of the computation
        if after.isdisjoint(node.input):
            kept.append(node)
        else:
            after.update(node.output)
    used = {name for node in kept for name in node.input}
    constants = [constant for constant in graph.initializer if constant.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(constants)
    # Shapes of intermediate values that the quantizer wrote down may name what is gone.
    known = {name for node in kept for name in node.output}
    values = [value for value in graph.value_info if value.name in known]
    del graph.value_info[:]
    graph.value_info.extend(values)
