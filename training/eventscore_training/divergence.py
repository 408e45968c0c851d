"""Where a number stopped being finite: the first layer, and the rows of the batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from eventscore_training.network import Network


def first_not_finite(network: Network, numbers: Tensor, rows: Tensor) -> str:
    """A sentence that names the first layer with a NaN or infinite parameter or output for this batch."""
    for name, parameter in network.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"the parameters {name!r} are not finite"
    if not torch.isfinite(numbers).all():
        bad = (~torch.isfinite(numbers)).any(dim=1).nonzero().flatten().tolist()
        return f"the encoded numbers of rows {_some(bad)} of the batch are not finite"
    found: list[str] = []

    def look(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if not found and isinstance(output, Tensor) and not torch.isfinite(output).all():
                bad = (~torch.isfinite(output)).flatten(1).any(dim=1).nonzero().flatten().tolist()
                found.append(f"layer {name!r} answers no finite number for rows {_some(bad)} of the batch")

        return hook

    handles = [module.register_forward_hook(look(name)) for name, module in network.named_modules() if name]
    try:
        with torch.no_grad():
            network.answers(numbers, rows)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else "the layers are finite, their loss is not"


def _some(rows: list[int]) -> str:
    shown = ", ".join(str(row) for row in rows[:5])
    return f"{shown} and {len(rows) - 5} more" if len(rows) > 5 else shown
