"""Several processes learn one network: each from its share of every batch, with the gradients of all.

torchrun starts them (``torchrun --nproc-per-node 2 -m eventscore_cli train training.toml``); they talk by NCCL between GPUs and by
gloo otherwise. Every process holds the same weights after every step. Process 0 evaluates, and tells the others what it saw, so
that all stop at the same step; then it exports and writes alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from eventscore_training.errors import RankLost
from eventscore_training.ranks import ALONE, Ranks, told_ranks

_PATIENCE = timedelta(hours=2)
"""For the slowest thing that process 0 does while the others wait: export, the search for a quantization, the evaluation."""

T = TypeVar("T")
P = ParamSpec("P")


@contextlib.contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """While this lasts, the processes that torchrun started are one group. ``device`` is that of the configuration."""
    told = told_ranks()
    if told.world == 1 or dist.is_initialized():
        yield told
        return
    on_gpus = device != "cpu" and torch.cuda.is_available()
    if on_gpus:
        torch.cuda.set_device(told.local_rank)
    # Objects travel by gloo also between GPUs: no kernel has to spin while process 0 exports.
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo", timeout=_PATIENCE)
    try:
        yield told
    finally:
        dist.destroy_process_group()


def ranks() -> Ranks:
    """This process among those of its group; alone where there is none."""
    return told_ranks() if dist.is_initialized() else ALONE


def from_first(make: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What ``make`` returns in process 0, for all; only there it is called.

    Raises:
        RankLost: another process has failed.

    """
    here = ranks()
    box: list[Any] = [make(*arguments, **named) if here.first else None]
    if here.world > 1:
        with _others():
            dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    received: T = box[0]
    return received


def in_any(flag: bool) -> bool:
    """Whether ``flag`` is set in any process. All wait for each other here."""
    if ranks().world == 1:
        return flag
    raised = torch.tensor(int(flag))
    with _others():
        dist.all_reduce(raised, dist.ReduceOp.MAX)
    return bool(raised)


def agree(network: nn.Module) -> None:
    """Let all begin with the weights of process 0."""
    if ranks().world == 1:
        return
    with _others():
        for tensor in (*network.parameters(), *network.buffers()):
            dist.broadcast(tensor.detach(), src=0)


def sum_gradients(parameters: Iterable[nn.Parameter], loss: Tensor) -> Tensor:
    """Add up the gradients of all processes in place, and return the sum of ``loss``: one message of one tensor a step.

    Each process's loss must be weighted by its share of the batch; the sum then is the mean over the whole batch.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), loss.detach().reshape(1)])
    with _others():
        dist.all_reduce(flat)
    parts = torch.split(flat, [*(gradient.numel() for gradient in gradients), 1])
    torch._foreach_copy_(gradients, [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=False)])
    return parts[-1].squeeze(0)


def apart(seed: int, steps: int) -> None:
    """Give each process random numbers of its own from here on, or all would drop the same values of their rows."""
    here = ranks()
    if here.world > 1:
        torch.manual_seed((seed * 1_000_003 + steps) * here.world + here.rank)


@contextlib.contextmanager
def _others() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RankLost(ranks().rank, str(error).splitlines()[0]) from error
