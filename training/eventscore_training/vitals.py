"""How the steps between two evaluations went: learning rate, norm of gradient and parameters, rows per second.

For whoever watches a fit (MLflow). They are no part of its history: two fits that are equal differ in their speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor


class Vitals:
    """Looks at the steps of one fit. Evaluations between them cost no speed: the clock runs from a step to `told`."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        optimizer: torch.optim.Optimizer,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._parameters = list(parameters)
        self._optimizer = optimizer
        self._clock = clock
        self._began: float | None = None
        self._norms: list[Tensor] = []
        self._rows = 0
        self._rate = 0.0

    def begin(self) -> None:
        """A step begins."""
        if self._began is None:
            self._began = self._clock()

    def step(self, gradient_norm: Tensor, rows: int) -> None:
        """The step has its gradient, of this norm before it is clipped, from so many rows in all processes."""
        self._norms.append(gradient_norm.detach())  # not looked at: on a GPU that would wait for it
        self._rows += rows
        self._rate = float(self._optimizer.param_groups[0]["lr"])

    def told(self) -> dict[str, float]:
        """The last step's learning rate, the mean norm of the gradients, the parameters' norm, and the speed since the last time."""
        gradient = float(torch.stack(self._norms).mean())
        elapsed = self._clock() - (self._began or 0.0)
        norms = [torch.linalg.vector_norm(parameter.detach()) for parameter in self._parameters]
        told = {
            "learning_rate": self._rate,
            "gradient_norm": gradient,
            "parameter_norm": float(torch.linalg.vector_norm(torch.stack(norms))),
            "rows_per_second": self._rows / max(elapsed, 1e-9),
        }
        self._began, self._norms, self._rows = None, [], 0
        return told
