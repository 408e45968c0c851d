"""Hidden layers by name: linear with an ensemble's adapters, activations, norms, and the initialisation that matches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LEAK = 0.01
"""What LeakyReLU lets through of a negative value."""
NORM_EPSILON = 1e-5

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "leaky-relu": lambda x: nn.functional.leaky_relu(x, LEAK),
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
}


class Linear(nn.Module):
    """A linear layer; with ``members``, one weight that all share, and for each its rank-one adapters and bias.

    ``[n, in]`` to ``[n, out]``; an ensemble's ``[n, 1 or members, in]`` to ``[n, members, out]``. Without ``adapt_inputs`` the
    members differ in what they make of the product only, which is then taken once for all of them.
    """

    inner: nn.Parameter | None
    outer: nn.Parameter | None

    def __init__(
        self, inputs: int, outputs: int, members: int = 0, *, first: bool = False, adapt_inputs: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        if members:
            # Members start apart in the first layer only: with random signs, as in arXiv 2410.24210.
            signs = torch.randint(0, 2, (members, inputs if adapt_inputs else outputs)).float() * 2 - 1
            self.register_parameter("inner", None)
            if adapt_inputs:
                self.inner = nn.Parameter(signs if first else torch.ones(members, inputs))
            self.outer = nn.Parameter(signs if first and not adapt_inputs else torch.ones(members, outputs))
            self.bias = nn.Parameter(torch.zeros(members, outputs))
        else:
            self.register_parameter("inner", None)
            self.register_parameter("outer", None)
            self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if self.outer is None:
            return nn.functional.linear(x, self.weight, self.bias)
        if self.inner is None:
            return nn.functional.linear(x, self.weight) * self.outer + self.bias
        # Each member's own matrix, made anew in each step: it is far smaller than the batch, which the adapters would be multiplied
        # with otherwise, forth and back.
        matrices = self.weight * self.inner[:, None, :] * self.outer[:, :, None]
        if x.shape[1] == 1:
            together = nn.functional.linear(x.squeeze(1), matrices.flatten(0, 1), self.bias.flatten())
            return together.reshape(-1, *self.bias.shape)
        return torch.baddbmm(self.bias[:, None, :], x.transpose(0, 1), matrices.transpose(1, 2)).transpose(0, 1)


class MemberNorm(nn.Module):
    """Layer norm over the last axis (``kind`` layer) or batch norm (``kind`` batch); a member's statistics are its own."""

    def __init__(self, kind: str, width: int, members: int) -> None:
        super().__init__()
        self.kind = kind
        shape = (members, width) if members else (width,)
        self.scale = nn.Parameter(torch.ones(shape))
        self.shift = nn.Parameter(torch.zeros(shape))
        self.batch = nn.BatchNorm1d(math.prod(shape), affine=False) if kind == "batch" else None

    @staticmethod
    def of(kind: str, width: int, members: int) -> nn.Module:
        """The norm of that name; ``none`` does nothing."""
        return nn.Identity() if kind == "none" else MemberNorm(kind, width, members)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised ``x``, same shape."""
        if self.batch is not None:
            normal: Tensor = self.batch(x.flatten(1)).reshape(x.shape)
        else:
            normal = nn.functional.layer_norm(x, x.shape[-1:], eps=NORM_EPSILON)
        return normal * self.scale + self.shift


def initialise(layer: nn.Module, activation: str, initialisation: str) -> None:
    """He for activations that pass positives only, Xavier for tanh; ``auto`` picks. Biases start at zero."""
    if not isinstance(layer, Linear):
        raise TypeError(f"expected a linear layer, got {type(layer).__name__}")
    if initialisation == "auto":
        initialisation = "xavier" if activation == "tanh" else "he"
    if initialisation == "xavier":
        nn.init.xavier_uniform_(layer.weight, gain=nn.init.calculate_gain("tanh") if activation == "tanh" else 1.0)
    else:
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")


def layer_arrays(layer: nn.Module, norm: nn.Module) -> dict[str, Any]:
    """Arrays of a layer and its norm, by the names of :class:`~eventscore_training.network.LayerWeights`.

    A batch norm is frozen: its running statistics scale and shift what the linear layer answers.
    """
    if not isinstance(layer, Linear):
        raise TypeError(f"expected a linear layer, got {type(layer).__name__}")

    def array(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
        return tensor.detach().cpu().numpy().astype(np.float32, copy=True)

    weight, bias, outer = layer.weight.detach(), layer.bias.detach(), layer.outer
    arrays: dict[str, Any] = {}
    if isinstance(norm, MemberNorm) and norm.batch is not None:
        mean, variance = norm.batch.running_mean, norm.batch.running_var
        if mean is None or variance is None:
            raise TypeError("expected a batch norm that keeps running statistics")
        gain = norm.scale.detach() / torch.sqrt(variance.reshape(bias.shape) + norm.batch.eps)
        bias = (bias - mean.reshape(bias.shape)) * gain + norm.shift.detach()
        if outer is None:
            weight = weight * gain[:, None]
        else:
            outer = outer * gain  # type: ignore[assignment]
    elif isinstance(norm, MemberNorm):
        arrays["norm"] = (array(norm.scale), array(norm.shift))
    if outer is not None:
        arrays["outer"] = array(outer)
    if layer.inner is not None:
        arrays["inner"] = array(layer.inner)
    return {"weight": array(weight), "bias": array(bias), **arrays}
