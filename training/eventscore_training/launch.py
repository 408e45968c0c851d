"""A job in this process, or in one of several that torchrun started: process 0 tells, records and returns what all get."""

from __future__ import annotations

from pathlib import Path

from eventscore_training.config import TrainingConfig
from eventscore_training.distributed import joined
from eventscore_training.job import run_job
from eventscore_training.progress import OnProgress, silent
from eventscore_training.run import TrainedVersion
from eventscore_training.tracking import tracked


def launch(config: TrainingConfig, on_progress: OnProgress, checkpoints: Path | None) -> TrainedVersion:
    """Train as ``config`` says; ``checkpoints`` as for :func:`~eventscore_training.job.run_job`.

    Raises:
        TrainingError: see :func:`eventscore_training.train`; in every process, each with its own message.

    """
    with joined(config.device) as ranks:
        if not ranks.first:
            return run_job(config, silent, checkpoints)
        return tracked(config, on_progress, lambda told: run_job(config, told, checkpoints))
