"""Structured pruning after training: whole members of an ensemble and whole units of its hidden layers go, and the graph gets smaller.

Members are kept one by one: always the one that makes the mean of the kept ones' probabilities best on the validation part. A few
good members of many beat as many that were trained alone (arXiv 2410.24210, section 5.4). Units are kept by what they send on; the mean
of what a unit that goes sent on goes into the biases of the layer behind it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eventscore_training.config_steps import PruneConfig
from eventscore_training.encoded import EncodedPart
from eventscore_training.evaluate import log_loss, roc_auc
from eventscore_training.fit import EVALUATION_BATCH, predict_logits
from eventscore_training.layers import ACTIVATIONS, Linear, MemberNorm
from eventscore_training.network import Network

SAMPLE_ROWS = 8_192
"""Training rows that say what a unit sends on."""


@dataclass(frozen=True)
class Measured:
    """A network before or after pruning: on the validation part, and as a float32 graph."""

    members: int
    widths: tuple[int, ...]
    log_loss: float
    roc_auc: float
    graph_bytes: int
    latency_us: float


@dataclass(frozen=True)
class Pruned:
    """What is left, which members that are, and what it cost and gained."""

    network: Network
    kept: tuple[int, ...]
    before: Measured
    after: Measured

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``report.json``."""
        return {"kept_members": list(self.kept), "before": asdict(self.before), "after": asdict(self.after)}


def prune(
    network: Network,
    train: EncodedPart,
    validation: EncodedPart,
    config: PruneConfig,
    cost_of: Callable[[Network], tuple[int, float]],
) -> Pruned:
    """A smaller copy of ``network``. ``cost_of``: bytes and microseconds per event of a network's graph."""
    before = _measured(network, validation, cost_of)
    pruned = copy.deepcopy(network).eval()
    kept: tuple[int, ...] = tuple(range(network.members))
    if config.members is not None:
        kept = choose_members(member_logits(network, validation), validation.label, config.members)
        keep_members(pruned, kept)
    if config.units < 1:
        keep_units(pruned, train, config.units)
    return Pruned(pruned, kept, before, _measured(pruned, validation, cost_of))


def choose_members(logits: NDArray[np.float32], label: NDArray[np.int8], count: int) -> tuple[int, ...]:
    """The places of ``count`` members, rising: greedily those whose mean probability has the least log loss.

    >>> choose_members(np.array([[3, -3, 2], [-3, 3, -2]], np.float32), np.array([1, 0], np.int8), 1)
    (0,)

    """
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    summed, kept = np.zeros(len(label)), list[int]()
    while len(kept) < count:
        left = [place for place in range(logits.shape[1]) if place not in kept]
        best = min(left, key=lambda place: log_loss(label, (summed + probabilities[:, place]) / (len(kept) + 1)))
        summed += probabilities[:, best]
        kept.append(best)
    return tuple(sorted(kept))


def member_logits(network: Network, part: EncodedPart) -> NDArray[np.float32]:
    """Every member's logit ``[n, members]`` of a part, without dropout."""
    device = next(network.parameters()).device
    network.eval()
    answers: list[Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(part.label), EVALUATION_BATCH):
            numbers, rows = (
                torch.from_numpy(each[start : start + EVALUATION_BATCH]).to(device)
                for each in (part.numbers, part.rows)
            )
            answers.append(network.member_logits(numbers, rows).cpu())
    return torch.cat(answers).numpy()


def keep_members(network: Network, kept: tuple[int, ...]) -> None:
    """Leave only these members in ``network``."""
    places = torch.tensor(kept, device=network.head.device)
    for layer, norm in zip(network.hidden, network.norms, strict=True):
        _cut(layer, ("inner", "outer", "bias"), places, 0)
        _cut_norm(norm, places, 0)
    _cut(network, ("head", "head_bias"), places, 0)
    network.members = len(kept)


def keep_units(network: Network, train: EncodedPart, share: float) -> None:
    """Leave only this share of the units of each hidden layer in ``network``, which is in evaluation mode."""
    for place in range(len(network.hidden)):
        mean, size = _activity(network, train, place)
        sent = _sent_on(network, place)
        importance = (sent.abs().sum(dim=1) * size).sum(dim=0)
        count = max(1, round(share * len(importance)))
        order = torch.argsort(importance, descending=True, stable=True)
        kept, gone = torch.sort(order[:count])[0], torch.sort(order[count:])[0]
        _take_over(network, place, (sent * mean[:, None, :])[:, :, gone].sum(dim=2))
        layer = network.hidden[place]
        _cut(layer, ("weight",), kept, 0)
        _cut(layer, ("outer", "bias"), kept, -1)
        _cut_norm(network.norms[place], kept, -1)
        if place + 1 < len(network.hidden):
            _cut(network.hidden[place + 1], ("weight", "inner"), kept, -1)
        else:
            _cut(network, ("head",), kept, -1)


def _activity(network: Network, train: EncodedPart, place: int) -> tuple[Tensor, Tensor]:
    """Mean and mean size ``[members or 1, units]`` of what a hidden layer's units answer to training rows."""
    device = network.head.device
    rows = np.linspace(0, len(train.label) - 1, min(SAMPLE_ROWS, len(train.label))).astype(np.int64)
    answers: list[Tensor] = []
    hook = network.norms[place].register_forward_hook(lambda _module, _inputs, output: answers.append(output))
    with hook, torch.no_grad():
        network.member_logits(
            torch.from_numpy(train.numbers[rows]).to(device), torch.from_numpy(train.rows[rows]).to(device)
        )
    active = ACTIVATIONS[network.activation](answers[0])
    active = active if active.dim() == 3 else active[:, None, :]
    return active.mean(dim=0), active.abs().mean(dim=0)


def _sent_on(network: Network, place: int) -> Tensor:
    """What one unit of activity of a hidden layer adds behind it: ``[members or 1, outputs, units]``."""
    if place + 1 == len(network.hidden):
        return network.head.detach()[:, None, :]
    layer = _linear(network.hidden[place + 1])
    sent = layer.weight.detach()[None]
    if layer.inner is not None:
        sent = sent * layer.inner.detach()[:, None, :]
    return sent if layer.outer is None else sent * layer.outer.detach()[:, :, None]


def _take_over(network: Network, place: int, added: Tensor) -> None:
    """Add ``[members or 1, outputs]`` to the biases behind a hidden layer."""
    if place + 1 == len(network.hidden):
        bias, added = network.head_bias, added[:, 0]
    else:
        bias = _linear(network.hidden[place + 1]).bias
    with torch.no_grad():
        bias.add_(added.reshape(bias.shape))


def _cut(module: nn.Module, names: tuple[str, ...], places: Tensor, dim: int) -> None:
    for name in names:
        parameter = getattr(module, name)
        if parameter is not None:
            setattr(module, name, nn.Parameter(parameter.detach().index_select(dim, places)))


def _cut_norm(norm: nn.Module, places: Tensor, dim: int) -> None:
    if not isinstance(norm, MemberNorm):
        return
    shape = norm.scale.shape
    _cut(norm, ("scale", "shift"), places, dim)
    if norm.batch is None:
        return
    smaller = nn.BatchNorm1d(norm.scale.numel(), affine=False).to(norm.scale.device)
    for name in ("running_mean", "running_var"):
        statistic = getattr(norm.batch, name).reshape(shape)
        setattr(smaller, name, statistic.index_select(dim, places).flatten())
    norm.batch = smaller.train(norm.batch.training)


def _linear(layer: nn.Module) -> Linear:
    if not isinstance(layer, Linear):
        raise TypeError(f"expected a linear layer, got {type(layer).__name__}")
    return layer


def _measured(network: Network, validation: EncodedPart, cost_of: Callable[[Network], tuple[int, float]]) -> Measured:
    probabilities = 1 / (1 + np.exp(-predict_logits(network, validation).astype(np.float64)))
    loss, rank = log_loss(validation.label, probabilities), roc_auc(validation.label, probabilities)
    widths = tuple(len(_linear(layer).weight) for layer in network.hidden)
    return Measured(network.members, widths, loss, rank, *cost_of(network))
