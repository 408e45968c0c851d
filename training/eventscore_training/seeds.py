"""Several networks from several seeds, the best on the validation part kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from eventscore_training.checkpoint import Checkpoint
from eventscore_training.config import FitConfig
from eventscore_training.encoded import EncodedPart
from eventscore_training.fit import FitHistory, fit
from eventscore_training.network import Network
from eventscore_training.progress import OnProgress, Progress, silent
from eventscore_training.sanity import check_sanity


@dataclass(frozen=True)
class SeedResult:
    """One seed's network on the validation part, at its best."""

    seed: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class BestOfSeeds:
    """The kept network, how it was fitted, its seed, and what each seed reached."""

    network: Network
    history: FitHistory
    seed: int
    results: tuple[SeedResult, ...]


def fit_seeds(
    new_network: Callable[[], Network],
    train: EncodedPart,
    validation: EncodedPart,
    config: FitConfig,
    *,
    seed: int,
    on_progress: OnProgress = silent,
    checkpoint: Checkpoint | None = None,
) -> BestOfSeeds:
    """Train ``config.seeds`` networks, from ``seed`` on; ``new_network`` makes one from torch's global generator.

    Raises:
        NothingLearned: the first network cannot learn 128 rows by heart.
        TrainingDiverged: a loss is NaN or infinite.
        TrainingInterrupted: the checkpoint was asked to be the last.

    """
    best: BestOfSeeds | None = None
    results: list[SeedResult] = []
    for number in range(config.seeds):
        torch.manual_seed(seed + number)
        network = new_network()
        if config.sanity and number == 0:
            check_sanity(network, train, config, seed)
        history = fit(
            network,
            train,
            validation,
            config,
            seed=seed + number,
            on_progress=_of(on_progress, number, config),
            checkpoint=checkpoint,
        )
        reached = history.evaluations[history.best]
        results.append(SeedResult(seed + number, reached.figures))
        selection = network.task.selection(config)
        if best is None or selection.better(results[-1].figures, results[best.seed - seed].figures):
            best = BestOfSeeds(network, history, seed + number, ())
    if best is None:
        raise ValueError("expected at least one seed")
    return BestOfSeeds(best.network, best.history, best.seed, tuple(results))


def _of(on_progress: OnProgress, number: int, config: FitConfig) -> OnProgress:
    """Progress of one seed as progress of all."""
    if config.seeds == 1:
        return on_progress

    def tell(step: Progress) -> None:
        detail = f"seed {number + 1} of {config.seeds}: {step.detail}"
        on_progress(
            Progress(step.phase, number * step.total + step.done, config.seeds * step.total, detail, step.figures)
        )

    return tell
