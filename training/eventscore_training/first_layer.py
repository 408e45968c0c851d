"""The first layer's product, with what is linear before it folded in.

A piecewise-linear embedding is a linear layer of shares, with no activation behind it, and a number that is scaled by quantiles is a
weighted sum of the very same shares. Where the first layer takes its inputs as they are, both go into its weights: one product of
the shares instead of a block matrix, a sum, and a product of what they answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eventscore_training.encoding import Encoding
from eventscore_training.graph_numbers import Bins, on_grid, rises
from eventscore_training.network import NetworkWeights

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FirstLayer:
    """``shares @ by_share.T + rest @ by_rest.T + bias``; ``rest`` are the inputs that were not folded in, in their order.

    The layer's own bias is in it where the network is no ensemble.
    """

    by_share: Floats
    by_rest: Floats
    bias: Floats


def folds(weights: NetworkWeights, bins: Bins) -> bool:
    """Whether the first layer takes shares at less cost than what they are made into."""
    embedding, first = weights.number_embedding, weights.layers[0]
    if embedding is None or embedding.low is None or first.inner is not None:
        return False
    shares, spread, out = bins.low.size, len(embedding.bias), len(first.weight)
    return shares * out <= shares * spread + spread * out


def fold_first(weights: NetworkWeights, encoding: Encoding, bins: Bins, *, ranked: bool) -> FirstLayer:
    """Fold the embedding in, and the encoded numbers if they are sums of the shares (``ranked``)."""
    embedding = weights.number_embedding
    if embedding is None:
        raise ValueError("expected an embedding of the numbers")
    weight = weights.layers[0].weight.astype(np.float64)
    count, flags = len(encoding.medians), len(encoding.flagged)
    numbers, flagged, spread, looked_up = np.split(
        weight, np.cumsum([count, flags, len(embedding.bias)]).tolist(), axis=1
    )
    by_share = spread @ on_grid(embedding, bins)
    bias = spread @ embedding.bias.astype(np.float64)
    if weights.layers[0].outer is None:
        bias += weights.layers[0].bias
    rest = [flagged, looked_up]
    if ranked:
        rise, first = rises(encoding, bins)
        doubled = np.pad(numbers, ((0, 0), (0, len(first) - count)))
        by_share += (doubled[:, :, None] * rise).reshape(by_share.shape)
        bias += doubled @ first
    else:
        rest.insert(0, numbers)
    parts = (by_share, np.concatenate(rest, axis=1), bias)
    return FirstLayer(*(part.astype(np.float32) for part in parts))
