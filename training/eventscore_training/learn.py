"""From encoded tables to the network that is exported: the fit, with a teacher and with pruning where the configuration asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from eventscore_training.checkpoint import Checkpoint
from eventscore_training.config import NetworkConfig, TrainingConfig
from eventscore_training.distill import fit_distilled, teacher_of
from eventscore_training.encoded import EncodedPart
from eventscore_training.errors import ConfigInvalid
from eventscore_training.fit import FitHistory
from eventscore_training.network import Network
from eventscore_training.progress import OnProgress
from eventscore_training.prune import prune
from eventscore_training.seeds import fit_seeds


@dataclass(frozen=True)
class Learned:
    """The network, how it was fitted, and what teacher and pruning did (empty where there was none)."""

    network: Network
    history: FitHistory
    distillation: Mapping[str, Any] = field(default_factory=dict)
    pruning: Mapping[str, Any] = field(default_factory=dict)


def check_steps(task: str, config: TrainingConfig) -> None:
    """Say so if a step of ``config`` cannot do this task.

    Raises:
        ConfigInvalid: a teacher's answers and the choice of members are those of binary models so far.

    """
    asked = [name for name in ("distill", "prune") if getattr(config, name) is not None]
    if asked and task != "binary":
        sentences = [f"{name}: expected a model of the task 'binary', got {task!r}" for name in asked]
        raise ConfigInvalid("the training configuration", sentences)


def learn(
    new_network: Callable[[NetworkConfig], Network],
    encoded: Mapping[Any, EncodedPart],
    config: TrainingConfig,
    *,
    cost_of: Callable[[Network], tuple[int, float]],
    on_progress: OnProgress,
    checkpoint: Checkpoint | None = None,
) -> Learned:
    """Train as ``config`` says. ``cost_of``: bytes and microseconds per event of a network's graph.

    Raises:
        NothingLearned: a network cannot learn 128 rows by heart.
        TrainingDiverged: a loss is NaN or infinite.
        TrainingInterrupted: the checkpoint was asked to be the last.

    """
    train, validation = encoded["train"], encoded["validation"]
    rest: dict[str, Any] = {"seed": config.seed, "on_progress": on_progress, "checkpoint": checkpoint}
    distillation: dict[str, Any] = {}
    if config.distill is None:
        fitted = fit_seeds(lambda: new_network(config.network), train, validation, config.fit, **rest)
    else:
        teacher = teacher_of(config.network, config.distill)
        distilled = fit_distilled(
            lambda: new_network(config.network),
            lambda: new_network(teacher),
            train,
            validation,
            config.fit,
            config.distill,
            **rest,
        )
        fitted, distillation = distilled.fitted, distilled.as_dict()
    if config.prune is None:
        return Learned(fitted.network, fitted.history, distillation)
    pruned = prune(fitted.network, train, validation, config.prune, cost_of)
    return Learned(pruned.network, fitted.history, distillation, pruned.as_dict())
