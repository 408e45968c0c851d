"""Calibration as nodes: a scale and a shift, or, for an isotonic map, a piecewise-linear function.

.. code-block:: text

    logit [n] ─ Unsqueeze ─ - knots ─ / widths ─ Clip 0..1 ─ x rises ─ ReduceSum over the knots ─┐
      ├─ Min(logit - first, 0) ──────────────────────────────────────────────────────────────────┼─ + ─ calibrated logit
      └─ Max(logit - last, 0) ───────────────────────────────────────────────────────────────────┘

Each row is summed by itself, so that a score keeps its bits whatever else is in the batch; every term rises with the logit.
"""

from __future__ import annotations

import numpy as np

from eventscore_training.calibrate import Calibration
from eventscore_training.graph_nodes import GraphNodes


def add_calibration(graph: GraphNodes, logit: str, calibration: Calibration, name: str) -> str:
    """Add ``calibration`` of ``logit [n]``; nodes and constants are called after ``name``. Answers the calibrated logit ``[n]``."""
    if calibration.knots:
        return _isotonic(graph, logit, calibration, name)
    if calibration.method == "none":
        return logit
    scale = graph.constant(f"{name}.scale", np.array([calibration.scale], np.float32))
    shift = graph.constant(f"{name}.shift", np.array([calibration.shift], np.float32))
    return graph.add("Add", [graph.add("Mul", [logit, scale], f"{name}.scaled"), shift], f"{name}.shifted")


def _isotonic(graph: GraphNodes, logit: str, calibration: Calibration, name: str) -> str:
    at, to = np.array(calibration.knots, np.float32).T
    first, last, start = (
        graph.constant(f"{name}.{what}", value)
        for what, value in (("first", at[:1]), ("last", at[-1:]), ("start", to[:1]))
    )
    zero = graph.constant(f"{name}.zero", np.zeros(1, np.float32))
    below = graph.add("Min", [graph.add("Sub", [logit, first], f"{name}.from_first"), zero], f"{name}.below")
    above = graph.add("Max", [graph.add("Sub", [logit, last], f"{name}.from_last"), zero], f"{name}.above")
    beyond = graph.add("Add", [below, above], f"{name}.beyond")
    summed = graph.add("Add", [beyond, start], f"{name}.sum")
    if len(at) == 1:
        return summed
    knots, widths, rises = (
        graph.constant(f"{name}.{what}", value[None])
        for what, value in (("knots", at[:-1]), ("widths", np.diff(at)), ("rises", np.diff(to)))
    )
    low, high = (
        graph.constant(f"{name}.{end}", np.array(value, np.float32)) for end, value in (("low", 0), ("high", 1))
    )
    column = graph.add("Unsqueeze", [logit, graph.axis(1)], f"{name}.rows")
    share = graph.add("Div", [graph.add("Sub", [column, knots], f"{name}.past"), widths], f"{name}.share")
    inside = graph.add("Clip", [share, low, high], f"{name}.inside")
    risen = graph.add("Mul", [inside, rises], f"{name}.risen")
    rise = graph.add("ReduceSum", [risen, graph.axis(1)], f"{name}.rise", keepdims=0)
    return graph.add("Add", [summed, rise], f"{name}.logit")
