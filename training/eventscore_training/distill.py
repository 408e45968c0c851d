"""Distillation: a large teacher is trained first, and the network learns from what it answers, mixed with the labels.

A soft target of 0.3 says more than a label of 0, and what the teacher's many members agree on is less noisy than one draw of the
truth. Whether that helps is a question of the table, so the network is trained without the teacher as well, and the better of the two
on the validation part goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eventscore_training.checkpoint import Checkpoint, Place, Stateful
from eventscore_training.config import FitConfig, NetworkConfig
from eventscore_training.config_steps import DistillConfig
from eventscore_training.encoded import EncodedPart
from eventscore_training.evaluate import log_loss, roc_auc
from eventscore_training.fit import predict_logits
from eventscore_training.network import Network
from eventscore_training.progress import OnProgress, Progress, silent
from eventscore_training.seeds import BestOfSeeds, fit_seeds

_SEEDS = 2**32
"""Above every seed that a configuration may have: the checkpoints of the steps of one seed are told apart by multiples of it."""


@dataclass(frozen=True)
class Standing:
    """A network on the validation part."""

    log_loss: float
    roc_auc: float


@dataclass(frozen=True)
class Distilled:
    """The network that goes on, and how teacher, network with and network without the teacher did on the validation part."""

    fitted: BestOfSeeds
    teacher: Standing
    with_teacher: Standing
    without_teacher: Standing
    kept: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``report.json``."""
        sides = ("teacher", "with_teacher", "without_teacher")
        return {"kept": self.kept, **{side: asdict(getattr(self, side)) for side in sides}}


def teacher_of(network: NetworkConfig, config: DistillConfig) -> NetworkConfig:
    """The teacher: the network's encoding and embeddings, with more members and wider layers."""
    changes = {"kind": "tabm", "members": config.members, "widths": config.widths, "dropout": config.dropout}
    return NetworkConfig.model_validate(network.model_dump() | changes)


def fit_distilled(
    new_network: Callable[[], Network],
    new_teacher: Callable[[], Network],
    train: EncodedPart,
    validation: EncodedPart,
    config: FitConfig,
    distill: DistillConfig,
    *,
    seed: int,
    on_progress: OnProgress = silent,
    checkpoint: Checkpoint | None = None,
) -> Distilled:
    """Train ``distill.seeds`` teachers, then the network with and without them.

    Raises:
        NothingLearned, TrainingDiverged, TrainingInterrupted: as :func:`~eventscore_training.seeds.fit_seeds`.

    """
    answers: dict[str, list[NDArray[np.float64]]] = {"train": [], "validation": []}
    alone = config.model_copy(update={"seeds": 1, "sanity": False, "epochs": distill.epochs or config.epochs})
    for number in range(distill.seeds):
        fitted = fit_seeds(
            new_teacher,
            train,
            validation,
            alone,
            seed=seed + number,
            on_progress=_of(on_progress, f"teacher {number + 1} of {distill.seeds}"),
            checkpoint=_of_step(checkpoint, 1),
        )
        for name, part in (("train", train), ("validation", validation)):
            answers[name].append(_probabilities(fitted.network, part))
    soft, judged = (np.mean(answers[name], axis=0) for name in ("train", "validation"))
    target = distill.weight * soft + (1 - distill.weight) * train.label
    taught = replace(train, target=target.astype(np.float32))
    results = {}
    for step, (name, part) in enumerate((("with_teacher", taught), ("without_teacher", train)), start=2):
        tell = on_progress if name == "with_teacher" else _of(on_progress, "without the teacher")
        results[name] = fit_seeds(
            new_network,
            part,
            validation,
            config,
            seed=seed,
            on_progress=tell,
            checkpoint=_of_step(checkpoint, step),
        )
    standings = {
        name: _standing(validation, _probabilities(each.network, validation)) for name, each in results.items()
    }
    selection = results["with_teacher"].network.task.selection(config)
    reached = {name: each.history.evaluations[each.history.best].figures for name, each in results.items()}
    worse = selection.better(reached["without_teacher"], reached["with_teacher"])
    kept = "without_teacher" if worse else "with_teacher"
    return Distilled(results[kept], _standing(validation, judged), **standings, kept=kept)


class _StepOfCheckpoint(Checkpoint):
    """The checkpoint of one step of the job: its files stand beside those of the other steps."""

    def __init__(self, whole: Checkpoint, step: int) -> None:
        self._whole = whole
        self._first = step * _SEEDS

    def load(self, seed: int, device: torch.device, **parts: Stateful) -> Place | None:
        return self._whole.load(self._first + seed, device, **parts)

    def save(self, seed: int, place: Place, device: torch.device, **parts: Stateful) -> None:
        self._whole.save(self._first + seed, place, device, **parts)


def _of_step(checkpoint: Checkpoint | None, step: int) -> Checkpoint | None:
    return None if checkpoint is None else _StepOfCheckpoint(checkpoint, step)


def _of(on_progress: OnProgress, name: str) -> OnProgress:
    """Progress of a fit that makes no version: without figures, so that nobody takes them for the network's."""

    def tell(step: Progress) -> None:
        on_progress(Progress(step.phase, step.done, step.total, f"{name}: {step.detail}"))

    return tell


def _probabilities(network: Network, part: EncodedPart) -> NDArray[np.float64]:
    probabilities: NDArray[np.float64] = 1 / (1 + np.exp(-predict_logits(network, part).astype(np.float64)))
    return probabilities


def _standing(part: EncodedPart, probabilities: NDArray[np.float64]) -> Standing:
    return Standing(log_loss(part.label, probabilities), roc_auc(part.label, probabilities))
