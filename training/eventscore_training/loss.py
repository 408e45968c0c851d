"""The loss, on logits."""

from __future__ import annotations

from torch import Tensor, nn


def mean_loss(logits: Tensor, label: Tensor, positive_weight: Tensor | None = None) -> Tensor:
    """The mean of the members' losses. ``logits``: ``[n, members]``, ``label``: ``[n]``.

    Not the loss of the mean: members that are trained together would learn to lean on each other (arXiv 2410.24210).
    """
    truth = label[:, None].expand_as(logits)
    return nn.functional.binary_cross_entropy_with_logits(logits, truth, pos_weight=positive_weight)
