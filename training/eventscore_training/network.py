"""The network: embeddings for categories beside numbers, then a multilayer perceptron to one logit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eventscore_training.encoding import SHARED_ROW, Vocabulary

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class NetworkWeights:
    """A trained network as plain arrays: what the graph is built from.

    ``embeddings``: one ``[rows, width]`` for each category; ``layers``: ``(weight [out, in], bias [out])``, the last one to one logit.
    """

    embeddings: tuple[Weights, ...]
    layers: tuple[tuple[Weights, Weights], ...]


class Network(nn.Module):
    """Numbers and row numbers in, logits out.

    >>> network = Network(3, [Vocabulary("carrier", ("AA",), 2)], (8,), dropout=0.0)
    >>> network(torch.zeros(5, 3), torch.zeros(5, 1, dtype=torch.int64)).shape
    torch.Size([5])

    """

    def __init__(
        self, numbers: int, vocabularies: Sequence[Vocabulary], widths: Sequence[int], *, dropout: float
    ) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(each.rows, each.width) for each in vocabularies)
        for embedding in self.embeddings:
            # Small at first, so that an id says little until its rows have earned it.
            nn.init.normal_(embedding.weight, std=0.1)  # type: ignore[arg-type]
        sizes = [numbers + sum(each.width for each in vocabularies), *widths]
        self.hidden = nn.ModuleList(nn.Linear(inner, outer) for inner, outer in pairwise(sizes))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(sizes[-1], 1)

    def forward(self, numbers: Tensor, rows: Tensor) -> Tensor:
        """Logits ``[n]`` of ``numbers`` ``[n, numbers]`` (float32) and ``rows`` ``[n, categories]`` (int64)."""
        embedded = [embedding(rows[:, index]) for index, embedding in enumerate(self.embeddings)]
        hidden = torch.cat([numbers, *embedded], dim=1)
        for layer in self.hidden:
            hidden = self.dropout(torch.relu(layer(hidden)))
        logits: Tensor = self.head(hidden).squeeze(1)
        return logits

    def weights(self) -> NetworkWeights:
        """The weights as they stand, copied."""
        linear = [*self.hidden, self.head]
        return NetworkWeights(
            tuple(_array(embedding.weight) for embedding in self.embeddings),
            tuple((_array(layer.weight), _array(layer.bias)) for layer in linear),
        )


def drop_values(rows: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Take ``share`` of the category values for unseen: their rows become the shared one, which learns from them."""
    if not share or not rows.numel():
        return rows
    dropped = torch.rand(rows.shape, generator=generator, device=rows.device) < share
    return torch.where(dropped, SHARED_ROW, rows)


def _array(tensor: object) -> Weights:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"expected a tensor, got {type(tensor).__name__}")
    return tensor.detach().cpu().numpy().astype(np.float32, copy=True)
