"""The network's layers as nodes: products that int8 takes, an ensemble's adapters, norms, activations, and the head's answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from eventscore_training.first_layer import FirstLayer
from eventscore_training.graph_nodes import GraphNodes
from eventscore_training.layers import LEAK, NORM_EPSILON
from eventscore_training.network import LayerWeights, NetworkWeights, WideWeights

HEAD = "head"
"""Name of the node that makes the answers: one that stays in float32."""
WIDE = "wide.numbers"
"""Name of the product of the linear model beside the network, which stays in float32 as well."""


def add_first_product(graph: GraphNodes, shares: str, rest: Sequence[str], first: FirstLayer) -> str:
    """The first layer's product ``[n, width]``, the embedding of its numbers folded in."""
    numbers = graph.linear("layer1.numbers", shares, first.by_share, first.bias)
    if not rest:
        return numbers
    inputs = graph.add("Concat", rest, "inputs", axis=1)
    product = graph.add("MatMul", [inputs, graph.constant("layer1.rest.weight", first.by_rest.T)], "layer1.rest")
    return graph.add("Add", [numbers, product], "layer1.begun")


def add_hidden(graph: GraphNodes, inputs: str, weights: NetworkWeights, *, begun: bool = False) -> str:
    """All hidden layers; answers ``[n, width]``, or ``[n, members, width]`` of an ensemble.

    ``begun``: ``inputs`` are the first layer's product already (see :func:`add_first_product`).
    """
    hidden = inputs
    if weights.layers[0].outer is not None:
        hidden = graph.add("Unsqueeze", [hidden, graph.axis(1)], "inputs.members")
    for number, layer in enumerate(weights.layers, start=1):
        name = f"layer{number}"
        if not (begun and number == 1):
            hidden = _product(graph, name, hidden, layer)
        hidden = _normalised(graph, name, _scaled(graph, name, hidden, layer), layer)
        hidden = _activated(graph, name, hidden, weights.activation)
    return hidden


def add_wide(graph: GraphNodes, numbers: str | None, tables: Sequence[str], weights: WideWeights) -> str:
    """The linear model of the raw fields, ``[n, outputs]``: the numbers' share, and what each category's value adds."""
    parts = list(tables)
    if numbers is not None:
        # Not Mul and ReduceSum: ONNX Runtime sums a lone row in another order than many.
        parts.insert(0, graph.linear(WIDE, numbers, weights.weight, np.zeros(len(weights.weight), np.float32)))
    return graph.add("Sum", parts, "wide")


def add_answers(graph: GraphNodes, hidden: str, wide: str | None, weights: NetworkWeights) -> str:
    """What the head says: ``[n, outputs]``, or ``[n, members, outputs]`` of an ensemble."""
    weight, bias = weights.head
    members, outputs, width = weight.shape
    if weights.layers[0].outer is None:
        head = graph.linear(HEAD, hidden, weight[0], bias[0])
        return head if wide is None else graph.add("Add", [head, wide], "head.beside")
    # One product with a block for each member. ReduceSum would be shorter, but the order in which ONNX Runtime sums a row depends
    # on where in memory it lies.
    blocks = np.zeros((members, outputs, members, width), np.float32)
    blocks[np.arange(members), :, np.arange(members)] = weight
    flat = graph.add("Flatten", [hidden], "members.flat", axis=1)
    head = graph.linear(HEAD, flat, blocks.reshape(members * outputs, -1), bias.reshape(-1))
    shape = graph.constant("members.shape", np.array([0, members, outputs], np.int64))  # 0: as many rows as come
    return graph.add("Reshape", [head, shape], "members.answers")


def _product(graph: GraphNodes, name: str, hidden: str, layer: LayerWeights) -> str:
    if layer.outer is None:
        return graph.linear(name, hidden, layer.weight, layer.bias)
    if layer.inner is not None:
        hidden = graph.add("Mul", [hidden, graph.constant(f"{name}.inner", layer.inner)], f"{name}.adapted")
    return graph.add("MatMul", [hidden, graph.constant(f"{name}.weight", layer.weight.T)], f"{name}.product")


def _scaled(graph: GraphNodes, name: str, product: str, layer: LayerWeights) -> str:
    if layer.outer is None:
        return product
    scaled = graph.add("Mul", [product, graph.constant(f"{name}.outer", layer.outer)], f"{name}.scaled")
    return graph.add("Add", [scaled, graph.constant(f"{name}.bias", layer.bias)], name)


def _normalised(graph: GraphNodes, name: str, hidden: str, layer: LayerWeights) -> str:
    if layer.norm is None:
        return hidden
    scale, shift = layer.norm
    # Each member scales by its own: the node's own scale, one for all, is left at 1.
    ones = graph.constant(f"{name}.norm.ones", np.ones(scale.shape[-1], np.float32))
    normal = graph.add("LayerNormalization", [hidden, ones], f"{name}.norm", axis=-1, epsilon=NORM_EPSILON)
    scaled = graph.add("Mul", [normal, graph.constant(f"{name}.norm.scale", scale)], f"{name}.norm.scaled")
    return graph.add("Add", [scaled, graph.constant(f"{name}.norm.shift", shift)], f"{name}.norm.shifted")


def _activated(graph: GraphNodes, name: str, hidden: str, activation: str) -> str:
    output = f"{name}.{activation}"
    if activation == "leaky-relu":
        return graph.add("LeakyRelu", [hidden], output, alpha=LEAK)
    if activation == "silu":
        return graph.add("Mul", [hidden, graph.add("Sigmoid", [hidden], f"{name}.sigmoid")], output)
    if activation == "gelu":
        root = graph.constant("gelu.root", np.array([1 / math.sqrt(2)], np.float32))
        turned = graph.add("Erf", [graph.add("Mul", [hidden, root], f"{name}.gelu.scaled")], f"{name}.gelu.erf")
        above = graph.add("Add", [turned, graph.constant("one", np.array([1], np.float32))], f"{name}.gelu.above")
        doubled = graph.add("Mul", [hidden, above], f"{name}.gelu.doubled")
        return graph.add("Mul", [doubled, graph.constant("half", np.array([0.5], np.float32))], output)
    operators = {"relu": "Relu", "tanh": "Tanh"}
    return graph.add(operators[activation], [hidden], output)
