"""What can go wrong in a training job, as one tree below eventscore's own.

.. code-block:: text

    EventscoreError
    └── TrainingError
        ├── ConfigInvalid       the job's configuration contradicts itself, or names a key that does not exist
        ├── TableInvalid        a training table breaks the contract
        ├── DraftImpossible     a table from which no contract can be drafted
        ├── NothingLearned      the network cannot even learn 128 rows by heart
        ├── TrainingDiverged    the loss is no number any more
        ├── TrainingInterrupted a SIGTERM came; the checkpoint says where to go on
        ├── CheckpointMismatch  a folder without a checkpoint, or with that of another job
        ├── RankLost            another process of this training has failed
        ├── TrackingUnavailable MLflow is asked for, and cannot be had
        ├── TuningFruitless     no trial of a search ended with a figure
        ├── GateFailed          the version is not good enough to be published
        └── RunIncomplete       the run's folder is not a finished run
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eventscore.errors import EventscoreError


class TrainingError(EventscoreError):
    """Root of the job's errors."""


class ConfigInvalid(TrainingError):
    """The configuration of a training job cannot be used. ``problems`` holds a sentence for each mistake."""

    def __init__(self, origin: str, problems: Sequence[str]) -> None:
        self.origin = origin
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{origin}: the training configuration is not valid:{lines}")


class TableInvalid(TrainingError):
    """A training table breaks its contract. ``problems`` holds a sentence for each column that does."""

    def __init__(self, origin: str, problems: Sequence[str]) -> None:
        self.origin = origin
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{origin}: the table does not keep the contract:{lines}")


class DraftImpossible(TrainingError):
    """No contract can be drafted from a table. ``problems`` holds a sentence for each thing in the way."""

    def __init__(self, origin: str, problems: Sequence[str]) -> None:
        self.origin = origin
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{origin}: no contract can be drafted:{lines}")


class TrainingDiverged(TrainingError):
    """The loss became NaN or infinite. ``cause``: the first layer whose parameters or outputs are, and for which rows."""

    def __init__(self, epoch: int, step: int, learning_rate: float, cause: str) -> None:
        self.epoch = epoch
        self.step = step
        self.cause = cause
        super().__init__(
            f"the loss is no finite number in epoch {epoch}, step {step}: {cause}; lower the learning rate "
            f"(fit.learning_rate is {learning_rate:g}) and look at the bounds of the number features"
        )


class TrainingInterrupted(TrainingError):
    """A SIGTERM stopped the fit after its checkpoint was written to ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(f"training was stopped by SIGTERM; go on with: eventscore train --resume {folder}")


class CheckpointMismatch(TrainingError):
    """What ``folder`` holds is no checkpoint of this job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(
            f"{folder}: expected a checkpoint of this very contract, these tables and this configuration; there is none, or one of "
            "them has changed since: train again without it"
        )


class RankLost(TrainingError):
    """Another process of the same training ended, so this one cannot go on."""

    def __init__(self, rank: int, reason: str) -> None:
        self.rank = rank
        super().__init__(
            f"process {rank}: expected an answer of the other processes of this training, and one of them has ended ({reason}); "
            "its own message says why"
        )


class TrackingUnavailable(TrainingError):
    """MLflow is asked for by its environment variable, and cannot be used."""

    def __init__(self, uri: str, reason: str) -> None:
        self.uri = uri
        super().__init__(
            f"MLFLOW_TRACKING_URI is {uri!r}, and MLflow cannot be used: {reason}; unset it to train without"
        )


class TuningFruitless(TrainingError):
    """No trial of a search ended with a figure."""

    def __init__(self, trials: int) -> None:
        self.trials = trials
        super().__init__(
            f"none of {trials} trials ended with a figure, all diverged: train the configuration as it is first, "
            "and lower fit.learning_rate"
        )


class NothingLearned(TrainingError):
    """The network could not learn 128 rows by heart, so it would not learn the table."""

    def __init__(self, rows: int, loss: float, target: float, steps: int) -> None:
        self.loss = loss
        super().__init__(
            f"sanity check: expected the network to learn {rows} rows by heart (a loss below {target:.3g} after {steps} "
            f"steps), got {loss:.3g}. Look at the learning rate (too low or too high), the widths (too narrow), the label (rows "
            "with the same features and different labels cannot be told apart), and the features (do they vary?). "
            "fit.sanity = false skips this check"
        )


@dataclass(frozen=True)
class GateResult:
    """One gate: its key in the contract, the limit there, what was measured, and whether that passes."""

    name: str
    limit: float
    measured: float
    passed: bool
    detail: str = ""
    """Where: the slice, the groups, the live version."""

    @property
    def missed_by(self) -> float:
        """How far the measured value lies on the wrong side of the limit; 0 if it passes."""
        return 0.0 if self.passed else abs(self.measured - self.limit)

    def __str__(self) -> str:
        sense = "at least" if self.name.rpartition(".")[2].startswith("min_") else "at most"
        verdict = "passed" if self.passed else f"missed by {self.missed_by:.4g}"
        got = "no figure" if math.isnan(self.measured) else f"{self.measured:.6g}"
        expected = "a figure" if math.isnan(self.limit) else f"{sense} {self.limit:g}"
        where = f" [{self.detail}]" if self.detail else ""
        return f"{self.name}: expected {expected}, got {got}{where} ({verdict if got != 'no figure' else 'missed'})"


class GateFailed(TrainingError):
    """The version misses gates of its contract. ``failed`` names each, with its limit and what was measured."""

    def __init__(self, failed: Sequence[GateResult]) -> None:
        self.failed = tuple(failed)
        lines = "".join(f"\n  - {gate}" for gate in failed)
        super().__init__(f"the version misses {len(failed)} of its gates and is not published:{lines}")


class RunIncomplete(TrainingError):
    """A folder that holds no finished run."""

    def __init__(self, folder: Path, missing: str) -> None:
        self.folder = folder
        self.missing = missing
        super().__init__(f"{folder}: expected a finished training run, and {missing} is missing; train again")
