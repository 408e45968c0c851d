"""The precision of the forward and backward pass: bfloat16 on GPUs that compute in it, else float32. Losses are float32 always."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from eventscore_training.config import FitConfig


def choose_precision(config: FitConfig, device: torch.device) -> torch.dtype:
    """``auto`` is bfloat16 on a GPU that has it. CPUs compute in it, too, but few of them faster."""
    if config.precision == "auto":
        has_it = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_it else torch.float32
    return torch.bfloat16 if config.precision == "bfloat16" else torch.float32


def in_precision(
    logits_of: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype, device: torch.device
) -> Callable[[Tensor, Tensor], Tensor]:
    """``logits_of(numbers, rows)`` with its matrix products in ``dtype``; its answers are float32.

    Parameters stay float32, and so do gradients and what the optimiser keeps: bfloat16 needs no scaling of the loss.
    """
    if dtype == torch.float32:
        return logits_of

    def answer(numbers: Tensor, rows: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=dtype):
            logits = logits_of(numbers, rows)
        return logits.float()

    return answer
