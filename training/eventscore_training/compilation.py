"""torch.compile for the loss of a step: worth its start on a GPU, where launching small kernels takes longer than running them."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from eventscore_training.config import FitConfig

LEAST_STEPS = 2_000
"""Compiling takes as long as thousands of steps; ``auto`` compiles no shorter fit."""
_logger = logging.getLogger(__name__)

Loss = Callable[..., Tensor]
"""The loss of tensors whose first axis is the batch's rows."""


def compiled(loss_of: Loss, config: FitConfig, device: torch.device, steps: int) -> Loss:
    """``loss_of``, compiled if the configuration wants it, for batches of one size; others (an epoch's last) run as they are.

    ``auto`` compiles on CUDA only, for fits of at least ``LEAST_STEPS`` steps, and goes on without where the compiler fails.
    """
    wanted = config.compile == "always" or (config.compile == "auto" and device.type == "cuda" and steps >= LEAST_STEPS)
    return _Compiled(loss_of, device, must=config.compile == "always") if wanted else loss_of


class _Compiled:
    def __init__(self, loss_of: Loss, device: torch.device, *, must: bool) -> None:
        # CUDA graphs on a GPU: one launch for the whole forward pass and one for the backward pass.
        mode = "reduce-overhead" if device.type == "cuda" else "default"
        self._plain, self._must, self._cuda = loss_of, must, device.type == "cuda"
        self._compiled: Loss | None = torch.compile(loss_of, mode=mode, dynamic=False)
        self._size: int | None = None

    def __call__(self, *batch: Tensor) -> Tensor:
        self._size = self._size or len(batch[0])
        if self._compiled is None or len(batch[0]) != self._size:
            return self._plain(*batch)
        if self._cuda:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        try:
            # A copy: the next replay of a CUDA graph writes over its own output.
            return self._compiled(*batch).clone()
        except torch._dynamo.exc.TorchDynamoException as error:
            if self._must:
                raise
            _logger.warning(
                "torch.compile failed, the fit goes on without: %s", str(error).splitlines()[0] if str(error) else error
            )
            self._compiled = None
            return self._plain(*batch)
