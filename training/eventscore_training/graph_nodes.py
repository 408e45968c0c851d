"""The nodes of a graph that is being built, and their constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


class GraphNodes:
    """Nodes and their constants, in the order of the computation. A node is named after its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    @staticmethod
    def of(graph: onnx.GraphProto) -> GraphNodes:
        """The nodes and constants of ``graph``, to be added to."""
        nodes = GraphNodes()
        nodes.nodes, nodes.constants = list(graph.node), list(graph.initializer)
        return nodes

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a constant; a second one of the same name is taken for the first."""
        if all(each.name != name for each in self.constants):
            self.constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def axis(self, axis: int) -> str:
        """A constant that names one axis."""
        return self.constant(f"axis{axis}", np.array([axis], np.int64))

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node; the answer is the name of its output."""
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def split(self, inputs: str, sizes: Sequence[int], outputs: Sequence[str]) -> None:
        """Cut ``[n, sum of sizes]`` into ``outputs``, ``[n, size]`` each; a single one takes all."""
        if len(outputs) == 1:
            self.add("Identity", [inputs], outputs[0])
            return
        named = self.constant(f"{outputs[0]}.sizes", np.array(sizes, np.int64))
        self.nodes.append(helper.make_node("Split", [inputs, named], list(outputs), name=f"{outputs[0]}.split", axis=1))

    def linear(self, name: str, inputs: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        """``inputs [n, in] @ weight.T + bias`` with ``weight [out, in]``."""
        constants = [self.constant(f"{name}.weight", weight.T), self.constant(f"{name}.bias", bias)]
        return self.add("Gemm", [inputs, *constants], name)
