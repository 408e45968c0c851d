"""The network: embeddings beside numbers, hidden layers, an answer. Three kinds: a multilayer perceptron, the same beside a
linear model of the raw fields (wide and deep: arXiv 1606.07792), and TabM, an ensemble that shares its weights (arXiv 2410.24210)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eventscore_training.config import NetworkConfig
from eventscore_training.dropout import Dropout
from eventscore_training.encoding import SHARED_ROW, Encoding, Vocabulary
from eventscore_training.layers import ACTIVATIONS, Linear, MemberNorm, initialise, layer_arrays
from eventscore_training.number_embedding import (
    NumberEmbedding,
    NumberEmbeddingWeights,
    Periodic,
    PiecewiseLinear,
    learn_edges,
)
from eventscore_training.tasks import BINARY, Task

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class LayerWeights:
    """One hidden layer: ``((x * inner) @ weight.T) * outer + bias``, layer norm, activation.

    ``weight [out, in]``; ``bias [out]``, or ``[members, out]`` of an ensemble, which also has ``outer [members, out]`` and, unless its
    first layer adapts no inputs, ``inner [members, in]``. ``norm``: scale and shift of the layer norm, shaped as the bias. Batch
    norm is folded in.
    """

    weight: Weights
    bias: Weights
    inner: Weights | None = None
    outer: Weights | None = None
    norm: tuple[Weights, Weights] | None = None


@dataclass(frozen=True)
class WideWeights:
    """The linear model beside the network: ``weight [outputs, numbers]`` and for each category a table ``[rows, outputs]``."""

    weight: Weights
    tables: tuple[Weights, ...]


@dataclass(frozen=True)
class NetworkWeights:
    """A trained network as plain arrays: what the graph is built from.

    ``embeddings``: one ``[rows, width]`` for each category; ``layers``: the hidden ones; ``head``: ``weight [members, outputs, width]``
    and ``bias [members, outputs]``, one member where the network is no ensemble.
    """

    embeddings: tuple[Weights, ...]
    layers: tuple[LayerWeights, ...]
    head: tuple[Weights, Weights]
    activation: str = "relu"
    number_embedding: NumberEmbeddingWeights | None = None
    wide: WideWeights | None = None


class Network(nn.Module):
    """Numbers and row numbers in, the task's logits out. ``members`` is 0 for a network that is no ensemble.

    >>> network = Network(3, [Vocabulary("carrier", ("AA",), 2)], NetworkConfig(widths=(8,)))
    >>> network(torch.zeros(5, 3), torch.zeros(5, 1, dtype=torch.int64)).shape
    torch.Size([5])

    """

    def __init__(
        self,
        numbers: int,
        vocabularies: Sequence[Vocabulary],
        config: NetworkConfig,
        number_embedding: NumberEmbedding | None = None,
        embedded_numbers: int = 0,
        task: Task = BINARY,
    ) -> None:
        super().__init__()
        self.task = task
        self.members = config.members if config.kind == "tabm" else 0
        self.activation = config.activation
        self.embedded_numbers = embedded_numbers
        self.embeddings = nn.ModuleList(nn.Embedding(each.rows, each.width) for each in vocabularies)
        for embedding in self.embeddings:
            # Small at first, so that an id says little until its rows have earned it.
            nn.init.normal_(embedding.weight, std=0.1)  # type: ignore[arg-type]
        self.number_embedding = number_embedding
        spread = 0 if number_embedding is None else number_embedding.width
        sizes = [numbers + spread + sum(each.width for each in vocabularies), *config.widths]
        self.hidden = nn.ModuleList(
            Linear(inner, outer, self.members, first=place == 0, adapt_inputs=place > 0 or config.adapt_inputs)
            for place, (inner, outer) in enumerate(pairwise(sizes))
        )
        self.norms = nn.ModuleList(MemberNorm.of(config.norm, width, self.members) for width in config.widths)
        for layer in self.hidden:
            initialise(layer, config.activation, config.initialisation)
        self.dropout = Dropout(config.dropout)
        bound = 1 / math.sqrt(sizes[-1])
        # One output has no axis of its own: [members, width] and [members].
        shape = (max(1, self.members), *((task.outputs,) if task.outputs > 1 else ()))
        self.head = nn.Parameter((torch.rand(*shape, sizes[-1]) * 2 - 1) * bound)
        self.head_bias = nn.Parameter((torch.rand(*shape) * 2 - 1) * bound)
        self.wide: nn.Linear | None = None
        self.wide_tables = nn.ModuleList()
        if config.kind == "wide-and-deep":
            self.wide = nn.Linear(numbers, task.outputs, bias=False)
            self.wide_tables.extend(nn.Embedding(each.rows, task.outputs) for each in vocabularies)
            for table in self.wide_tables:
                nn.init.zeros_(table.weight)  # type: ignore[arg-type]

    def answers(self, numbers: Tensor, rows: Tensor) -> Tensor:
        """What each member says, ``[n, members, outputs]``; one member if no ensemble.

        ``numbers``: ``[n, numbers]``, float32; ``rows``: ``[n, categories]``, int64.
        """
        parts = [numbers] if self.number_embedding is None else [numbers, self._embed_numbers(numbers)]
        parts += [embedding(rows[:, index]) for index, embedding in enumerate(self.embeddings)]
        hidden = torch.cat(parts, dim=1)
        if self.members:
            hidden = hidden[:, None, :]
        act = ACTIVATIONS[self.activation]
        for layer, norm in zip(self.hidden, self.norms, strict=True):
            hidden = self.dropout(act(norm(layer(hidden))))
        hidden = hidden if self.members else hidden[:, None, :]
        if self.head.dim() == 2:
            answers: Tensor = (hidden.mul(self.head).sum(dim=2) + self.head_bias)[:, :, None]
        elif self.members:
            by_member = torch.baddbmm(self.head_bias[:, None, :], hidden.transpose(0, 1), self.head.transpose(1, 2))
            answers = by_member.transpose(0, 1)
        else:
            answers = nn.functional.linear(hidden, self.head[0], self.head_bias[0])
        if self.wide is not None:
            beside = self.wide(numbers)
            for index, table in enumerate(self.wide_tables):
                beside = beside + table(rows[:, index])
            answers = answers + beside[:, None, :]
        return answers

    def member_logits(self, numbers: Tensor, rows: Tensor) -> Tensor:
        """The members' logits ``[n, members]`` of a task with one output."""
        return self.answers(numbers, rows).squeeze(2)

    def forward(self, numbers: Tensor, rows: Tensor) -> Tensor:
        """Logits ``[n]`` or ``[n, outputs]``: what the members say together (:meth:`.tasks.Task.mean`)."""
        return self.task.mean(self.answers(numbers, rows), numbers, rows)

    def weights(self) -> NetworkWeights:
        """The weights as they stand, copied."""
        layers = tuple(
            LayerWeights(**layer_arrays(layer, norm)) for layer, norm in zip(self.hidden, self.norms, strict=True)
        )
        wide = None
        if self.wide is not None:
            tables = tuple(_array(table.weight) for table in self.wide_tables)
            wide = WideWeights(_array(self.wide.weight), tables)
        return NetworkWeights(
            tuple(_array(embedding.weight) for embedding in self.embeddings),
            layers,
            self._head(),
            self.activation,
            None if self.number_embedding is None else self.number_embedding.arrays(),
            wide,
        )

    def _head(self) -> tuple[Weights, Weights]:
        weight, bias = _array(self.head), _array(self.head_bias)
        return weight.reshape(len(weight), -1, weight.shape[-1]), bias.reshape(len(bias), -1)

    def _embed_numbers(self, numbers: Tensor) -> Tensor:
        if self.number_embedding is None:
            raise RuntimeError("this network does not embed its numbers")
        embedded: Tensor = self.number_embedding(numbers[:, : self.embedded_numbers])
        return embedded


def build_network(encoding: Encoding, numbers: Weights, config: NetworkConfig, task: Task = BINARY) -> Network:
    """The untrained network for an encoding; ``numbers`` are the encoded ones of the training part, which place the bins."""
    count = len(encoding.means)
    embedding: NumberEmbedding | None = None
    if config.number_embedding == "piecewise-linear" and count:
        edges = encoding.edges or learn_edges(numbers[:, :count], config.bins)
        embedding = PiecewiseLinear(edges, config.number_embedding_width)
    elif config.number_embedding == "periodic" and count:
        embedding = Periodic(
            count, config.number_embedding_width, frequencies=config.frequencies, scale=config.frequency_scale
        )
    shape = task.shaped(config)
    return Network(count + len(encoding.flagged), encoding.vocabularies, shape, embedding, count, task)


def drop_values(
    rows: Tensor, share: float, generator: torch.Generator, start: int = 0, whole: int | None = None
) -> Tensor:
    """Take ``share`` of the category values for unseen: their rows become the shared one, which learns from them.

    ``rows`` are those from ``start`` on of a batch of ``whole`` rows: lots are drawn for all of it, the same in every process.
    """
    if not share or not rows.numel():
        return rows
    lots = torch.rand((whole or len(rows), rows.shape[1]), generator=generator, device=rows.device)
    dropped = lots[start : start + len(rows)] < share
    return torch.where(dropped, SHARED_ROW, rows)


def add_noise(
    numbers: Tensor, deviation: float, generator: torch.Generator, start: int = 0, whole: int | None = None
) -> Tensor:
    """Add normal noise to encoded numbers; rows and lots as of :func:`drop_values`."""
    if not deviation or not numbers.numel():
        return numbers
    lots = torch.randn((whole or len(numbers), numbers.shape[1]), generator=generator, device=numbers.device)
    return numbers + deviation * lots[start : start + len(numbers)]


def _array(tensor: object) -> Weights:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"expected a tensor, got {type(tensor).__name__}")
    return tensor.detach().cpu().numpy().astype(np.float32, copy=True)
