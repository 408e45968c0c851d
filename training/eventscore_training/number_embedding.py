"""Embeddings of numbers: each number is spread over several inputs, so that a layer can bend where the data does.

Gorishniy et al., "On embeddings for numerical features in tabular deep learning" (arXiv 2203.05556). One number becomes
``e`` inputs in two steps: a fixed or learned expansion, then a linear layer of its own (for the periodic kind with a ReLU). All
numbers' linear layers together are one matrix with a block for each number: in the graph one product, which int8 makes cheap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eventscore_training.knots import spread_knots

PACKET = 16
"""Sines are taken in whole packets of this many values: ONNX Runtime computes the values that are left over at the end of a batch
with other instructions, and their last bit would depend on the batch's size."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class NumberEmbeddingWeights:
    """A trained embedding as plain arrays. ``columns``: which number each expanded value ``[E]`` is made from.

    ``low``, ``per_width`` (piecewise-linear): the value is ``clip((x - low) * per_width, 0, 1)``; ``frequency``, ``phase``
    (periodic): ``sin(x * frequency + phase)``. Then ``weight [e, E]``, ``bias [e]``.
    """

    columns: NDArray[np.int64]
    weight: Floats
    bias: Floats
    low: Floats | None = None
    per_width: Floats | None = None
    frequency: Floats | None = None
    phase: Floats | None = None


class NumberEmbedding(nn.Module):
    """What both kinds share: which column each expanded value comes from, and the linear layers in blocks."""

    columns: Tensor
    mask: Tensor

    def __init__(self, columns: Sequence[int], numbers: int, width: int, *, padding: int = 0) -> None:
        super().__init__()
        self.width = numbers * width
        owner = torch.tensor(columns, dtype=torch.int64)
        blocks = torch.arange(numbers).repeat_interleave(width)
        mask = (blocks[:, None] == owner[None, :]).to(torch.float32)
        if padding:
            mask[:, len(columns) - padding :] = 0
        fan_in = mask.sum(dim=1, keepdim=True).clamp_min(1)
        self.register_buffer("columns", owner, persistent=False)
        self.register_buffer("mask", mask, persistent=False)
        self.weight = nn.Parameter((torch.rand(mask.shape) * 2 - 1) / fan_in.sqrt() * mask)
        self.bias = nn.Parameter((torch.rand(self.width) * 2 - 1) / fan_in.squeeze(1).sqrt())

    def expand(self, numbers: Tensor) -> Tensor:
        """Expanded values ``[n, E]`` of ``numbers`` ``[n, numbers]``."""
        raise NotImplementedError

    def forward(self, numbers: Tensor) -> Tensor:
        """Embedded numbers ``[n, numbers * width]``."""
        return nn.functional.linear(self.expand(numbers), self.weight * self.mask, self.bias)

    def arrays(self) -> NumberEmbeddingWeights:
        """The trained arrays, copied."""
        raise NotImplementedError

    def _linear(self) -> tuple[NDArray[np.int64], Floats, Floats]:
        weight = (self.weight * self.mask).detach().cpu().numpy().astype(np.float32)
        return self.columns.cpu().numpy(), weight, self.bias.detach().cpu().numpy().astype(np.float32, copy=True)


class PiecewiseLinear(NumberEmbedding):
    """How far a number has come through each of its bins: 1 where it lies above, 0 where below, a share within.

    >>> embedding = PiecewiseLinear([np.array([0.0, 1.0, 3.0])], 2)
    >>> embedding.expand(torch.tensor([[2.0]])).tolist()
    [[1.0, 0.5]]

    """

    low: Tensor
    per_width: Tensor

    def __init__(self, edges: Sequence[NDArray[np.floating]], width: int) -> None:
        columns = [number for number, each in enumerate(edges) for _ in range(len(each) - 1)]
        super().__init__(columns, len(edges), width)
        lows = np.concatenate([each[:-1] for each in edges])
        widths = np.concatenate([np.diff(each) for each in edges])
        self.register_buffer("low", torch.from_numpy(lows.astype(np.float32)))
        self.register_buffer("per_width", torch.from_numpy((1 / widths).astype(np.float32)))

    def expand(self, numbers: Tensor) -> Tensor:
        """Shares ``[n, bins of all numbers]``."""
        return ((numbers[:, self.columns] - self.low) * self.per_width).clamp(0, 1)

    def arrays(self) -> NumberEmbeddingWeights:
        """The trained arrays, copied."""
        return NumberEmbeddingWeights(
            *self._linear(), low=self.low.cpu().numpy().copy(), per_width=self.per_width.cpu().numpy().copy()
        )


class Periodic(NumberEmbedding):
    """Sines and cosines of a number, at frequencies that are learned, then linear and ReLU."""

    def __init__(self, numbers: int, width: int, *, frequencies: int, scale: float) -> None:
        columns = [number for number in range(numbers) for _ in range(2 * frequencies)]
        padding = -len(columns) % PACKET
        super().__init__([*columns, *[0] * padding], numbers, width, padding=padding)
        drawn = torch.randn(numbers * frequencies).clamp(-3, 3) * scale * 2 * math.pi
        quarter = torch.tensor([0, math.pi / 2]).repeat(numbers * frequencies)
        self.frequency = nn.Parameter(nn.functional.pad(drawn.repeat_interleave(2), (0, padding)))
        self.phase = nn.Parameter(nn.functional.pad(quarter, (0, padding)))

    def expand(self, numbers: Tensor) -> Tensor:
        """Sines ``[n, 2 * frequencies of all numbers]``; each starts as a pair with its cosine."""
        return torch.sin(numbers[:, self.columns] * self.frequency + self.phase)

    def forward(self, numbers: Tensor) -> Tensor:
        """Embedded numbers ``[n, numbers * width]``, none below zero."""
        return torch.relu(super().forward(numbers))

    def arrays(self) -> NumberEmbeddingWeights:
        """The trained arrays, copied."""
        frequency, phase = (each.detach().cpu().numpy().copy() for each in (self.frequency, self.phase))
        return NumberEmbeddingWeights(*self._linear(), frequency=frequency, phase=phase)


def learn_edges(numbers: Floats, bins: int) -> tuple[NDArray[np.float32], ...]:
    """Edges of at most ``bins`` bins for each column of the encoded training numbers, about as many rows in each."""
    edges = []
    for column in numbers.T:
        cut = np.unique(spread_knots(column, bins + 1).astype(np.float32))
        # A constant column gets one bin around its value: it says nothing, and must not divide by zero.
        edges.append(cut if len(cut) > 1 else np.array([cut[0], cut[0] + 1], np.float32))
    return tuple(edges)
