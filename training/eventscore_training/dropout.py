"""Dropout that costs a CPU a quarter of torch's own: four values from each random number, and one pass to make the mask."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEVELS = 1 << 16


class Dropout(nn.Module):
    """Set a share ``p`` of the values to 0 in training, and scale the others so that the mean stays.

    On a CPU ``p`` is taken in steps of 1/65,536 (the scale follows), and the values that fall are drawn from torch's global
    generator, one after the other: the same on any number of threads. Elsewhere it is torch's own.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with some values dropped, same shape."""
        if not self.training or not self.p or not x.numel():
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return nn.functional.dropout(x, self.p, training=True)
        dropped = min(round(self.p * _LEVELS), _LEVELS - 1)
        drawn = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        lots = drawn.view(torch.int16)[: x.numel()].view(x.shape)
        # The comparison writes floats at once; as booleans, the product would first have to convert them.
        kept = torch.ge(lots, dropped - _LEVELS // 2, out=torch.empty(x.shape))
        return x * kept.mul_(_LEVELS / (_LEVELS - dropped)).to(x.dtype)
