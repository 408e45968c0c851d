"""Numbers as nodes: gaps filled and flagged, scaled, spread over bins or sines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from eventscore_training.encoding import FAR_OUT, Encoding, Ranks
from eventscore_training.graph_nodes import GraphNodes
from eventscore_training.number_embedding import NumberEmbeddingWeights

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Bins:
    """Bins of all numbers on one grid ``[numbers, most bins of a number]``, so that one subtraction meets them all.

    A number's share of a bin is ``clip((x - low) * per_width, 0, 1)``; bins that a number has not got have the share 0.
    """

    low: NDArray[np.floating]
    per_width: NDArray[np.floating]

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers (two at least) and bins."""
        rows, columns = self.low.shape
        return rows, columns


def bins_of_ranks(encoding: Encoding) -> Bins:
    """The steps between the knots, in raw values; a constant number has the share 0 throughout."""
    ranks = _ranks(encoding)
    bins = _empty(len(ranks), max(len(each.knots) for each in ranks) - 1, np.float64)
    for row, each in enumerate(ranks):
        used = len(each.knots) - 1
        bins.low[row, :used] = each.knots[:-1]
        bins.per_width[row, :used] = np.where(np.diff(each.values) > 0, 1 / np.diff(each.knots), 0)
    return bins


def bins_of_embedding(weights: NumberEmbeddingWeights) -> Bins:
    """The bins of a piecewise-linear embedding, in encoded values."""
    if weights.low is None or weights.per_width is None:
        raise ValueError("expected bins")
    counts = np.bincount(weights.columns)
    bins = _empty(max(2, len(counts)), int(counts.max()), np.float32)
    places = _places(weights.columns)
    bins.low[weights.columns, places], bins.per_width[weights.columns, places] = weights.low, weights.per_width
    return bins


def on_grid(weights: NumberEmbeddingWeights, bins: Bins) -> NDArray[np.float32]:
    """The embedding's matrix for the flat grid of ``bins``: ``[e, numbers * bins]``."""
    rows, columns = bins.shape
    weight = np.zeros((len(weights.weight), rows * columns), np.float32)
    weight[:, weights.columns * columns + _places(weights.columns)] = weights.weight
    return weight


def rises(encoding: Encoding, bins: Bins) -> tuple[Doubles, Doubles]:
    """How far the encoded number rises in each bin ``[numbers, bins]``, and where it begins ``[numbers]``."""
    ranks = _ranks(encoding)
    rise = np.zeros(bins.shape)
    for row, each in enumerate(ranks):
        rise[row, : len(each.knots) - 1] = np.diff(each.values)
    return rise, np.array([each.values[0] for each in ranks])


def add_filled(graph: GraphNodes, encoding: Encoding) -> tuple[str, str | None]:
    """The numbers without gaps ``[n, N]`` double, and the flags of gaps in float, if any are flagged."""
    gaps = graph.add("IsNaN", ["numbers"], "numbers.gaps")
    medians = graph.constant("numbers.medians", encoding.medians)
    filled = graph.add("Where", [gaps, medians, "numbers"], "numbers.filled")
    if not encoding.flagged:
        return filled, None
    columns = graph.constant("numbers.flagged", np.array(encoding.flagged, np.int64))
    flags = graph.add("Gather", [gaps, columns], "numbers.flags", axis=1)
    return filled, graph.add("Cast", [flags], "numbers.flags.float", to=TensorProto.FLOAT)


def add_shares(graph: GraphNodes, name: str, numbers: str, bins: Bins, count: int) -> str:
    """Shares ``[n, numbers, bins]`` of ``numbers`` ``[n, count]``, in the precision of ``bins``."""
    column = graph.add("Unsqueeze", [numbers, graph.axis(2)], f"{name}.column")
    if count < len(bins.low):  # a lone number stands twice
        column = graph.add("Concat", [column, column], f"{name}.twice", axis=1)
    above = graph.add("Sub", [column, graph.constant(f"{name}.low", bins.low)], f"{name}.above")
    share = graph.add("Mul", [above, graph.constant(f"{name}.per_width", bins.per_width)], f"{name}.share")
    kind = bins.low.dtype
    ends = [graph.constant(f"{name}.{end}", np.array(value, kind)) for end, value in (("none", 0), ("all", 1))]
    return graph.add("Clip", [share, *ends], f"{name}.gone")


def add_flat(graph: GraphNodes, shares: str, bins: Bins) -> str:
    """Shares as one row of float32 for each event, ``[n, numbers * bins]``."""
    if bins.low.dtype != np.float32:
        shares = graph.add("Cast", [shares], "shares.float", to=TensorProto.FLOAT)
    return graph.add("Flatten", [shares], "shares", axis=1)


def add_scaled(graph: GraphNodes, filled: str, encoding: Encoding) -> str:
    """Numbers less their means, by their scales, smoothly clipped: ``[n, N]`` float."""
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
    return graph.add("Div", [standard, graph.add("Sqrt", [above_one], "numbers.root")], "numbers.clipped")


def add_ranked(graph: GraphNodes, shares: str, encoding: Encoding, bins: Bins) -> str:
    """Each number between its knots ``[n, N]`` float: the first deviate, and of each step that follows the share that was gone."""
    rise, first = rises(encoding, bins)
    risen = graph.add("Mul", [shares, graph.constant("ranks.rise", rise)], "ranks.risen")
    # Never one row of sums alone: ONNX Runtime would sum a lone event's in another order than those of many.
    summed = graph.add("ReduceSum", [risen, graph.axis(2)], "ranks.summed", keepdims=0)
    deviates = graph.add("Add", [summed, graph.constant("ranks.first", first)], "ranks.deviates")
    count = len(encoding.medians)
    if count < len(first):
        deviates = graph.add("Gather", [deviates, graph.constant("ranks.kept", np.arange(count))], "ranks.one", axis=1)
    return graph.add("Cast", [deviates], "numbers.clipped", to=TensorProto.FLOAT)


def add_periodic(graph: GraphNodes, clipped: str, weights: NumberEmbeddingWeights) -> str:
    """Sines of the encoded numbers, through their linear layers."""
    if weights.frequency is None or weights.phase is None:
        raise ValueError("expected frequencies")
    spread = graph.add("Gather", [clipped, graph.constant("spread.columns", weights.columns)], "spread", axis=1)
    turned = graph.add("Mul", [spread, graph.constant("spread.frequency", weights.frequency)], "spread.turned")
    angle = graph.add("Add", [turned, graph.constant("spread.phase", weights.phase)], "spread.angle")
    sine = graph.add("Sin", [angle], "spread.sine")
    return graph.add("Relu", [graph.linear("spread.linear", sine, weights.weight, weights.bias)], "spread.relu")


def _ranks(encoding: Encoding) -> tuple[Ranks, ...]:
    ranks = encoding.ranks or ()
    return ranks * 2 if len(ranks) == 1 else ranks


def _empty(rows: int, columns: int, kind: type[np.floating]) -> Bins:
    return Bins(np.zeros((rows, columns), kind), np.zeros((rows, columns), kind))


def _places(columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each bin its place among those of its number; a number's bins stand together."""
    first = np.searchsorted(columns, columns)
    places: NDArray[np.int64] = np.arange(len(columns)) - first
    return places
