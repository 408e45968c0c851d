"""Optimiser and learning rate by name: which parameters decay, and how the rate goes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from eventscore_training.config import FitConfig
from eventscore_training.network import Network


def new_optimizer(network: Network, config: FitConfig) -> torch.optim.Optimizer:
    """The optimiser of the configuration. Ids overfit first, so embeddings decay more; only matrices decay otherwise."""
    embeddings = [*network.embeddings.parameters(), *network.wide_tables.parameters()]
    matrices = [layer.weight for layer in network.modules() if hasattr(layer, "weight") and _is_matrix(layer)]
    taken = {id(parameter) for parameter in (*embeddings, *matrices)}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in taken]
    groups = [
        {"params": embeddings, "weight_decay": config.embedding_weight_decay},
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.learning_rate, fused=True)


def new_schedule(
    optimizer: torch.optim.Optimizer, config: FitConfig, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """The learning rate of each step, as the configuration tells."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, rate_at(config, steps_per_epoch))


def rate_at(config: FitConfig, steps_per_epoch: int) -> Callable[[int], float]:
    """The share of the learning rate at a step (the first is 0)."""
    steps = steps_per_epoch * config.epochs
    rising = round(steps * config.warm_up)

    def share(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        if config.schedule == "constant":
            return 1.0
        if config.schedule == "step":
            return float(config.step_factor ** (step // (config.step_epochs * steps_per_epoch)))
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rising) / max(1, steps - rising))))

    return share


def _is_matrix(layer: nn.Module) -> bool:
    weight = layer.weight
    return not isinstance(layer, nn.Embedding) and isinstance(weight, nn.Parameter) and weight.ndim > 1
