"""Folds a calibration into the graph: two constants, or, for an isotonic map, a piecewise-linear function in ONNX nodes.

.. code-block:: text

    logit [n] ─ Unsqueeze ─ - knots ─ / widths ─ Clip 0..1 ─ x rises ─ ReduceSum over the knots ─┐
      ├─ Min(logit - first, 0) ──────────────────────────────────────────────────────────────────┼─ + ─ Sigmoid ─ score
      └─ Max(logit - last, 0) ───────────────────────────────────────────────────────────────────┘

Each row is summed by itself, so that a score keeps its bits whatever else is in the batch; every term rises with the logit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from eventscore_training.calibrate import Calibration
from eventscore_training.export import LOGIT, calibrated

_PREFIX = "calibration."


def fold_calibration(model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
    """A copy of ``model`` whose score is ``calibration`` of its logit."""
    if not calibration.knots:
        return calibrated(model, calibration.scale, calibration.shift)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _drop_all_after_the_logit(copy.graph)
    at, to = np.array(calibration.knots, np.float32).T
    constants = {
        "first": at[:1],
        "last": at[-1:],
        "start": to[:1],
        "zero": np.zeros(1, np.float32),
        "axis": np.array([1], np.int64),
    }
    nodes: list[tuple[str, tuple[str, ...], str]] = [
        ("Sub", (LOGIT, "first"), "from_first"),
        ("Min", ("from_first", "zero"), "below"),
    ]
    nodes += [("Sub", (LOGIT, "last"), "from_last"), ("Max", ("from_last", "zero"), "above")]
    nodes += [("Add", ("below", "above"), "beyond"), ("Add", ("beyond", "start"), "sum")]
    if len(at) > 1:
        constants |= {"knots": at[None, :-1], "widths": np.diff(at)[None], "rises": np.diff(to)[None]}
        constants |= {"low": np.array(0, np.float32), "high": np.array(1, np.float32)}
        nodes += [("Unsqueeze", (LOGIT, "axis"), "column"), ("Sub", ("column", "knots"), "past")]
        nodes += [("Div", ("past", "widths"), "share"), ("Clip", ("share", "low", "high"), "inside")]
        nodes += [("Mul", ("inside", "rises"), "risen"), ("ReduceSum", ("risen", "axis"), "rise")]
        nodes += [("Add", ("sum", "rise"), "logit")]
    nodes += [("Sigmoid", ("logit" if len(at) > 1 else "sum",), "score")]
    for name, value in constants.items():
        copy.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), _PREFIX + name))
    for operator, inputs, output in nodes:
        named = [each if each == LOGIT and operator != "Sigmoid" else _PREFIX + each for each in inputs]
        result = "score" if output == "score" else _PREFIX + output
        more: dict[str, Any] = {"keepdims": 0} if operator == "ReduceSum" else {}
        copy.graph.node.append(helper.make_node(operator, named, [result], name=result, **more))
    onnx.checker.check_model(copy, full_check=True)
    return copy


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
