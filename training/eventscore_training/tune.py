"""The search for a better configuration: Optuna over a small space, judged on the validation part, within a budget of time.

Each trial is the very training job, watched by its progress and stopped when its fit is done: no version comes of it. The first trial
is the configuration as it is, so the best is never worse. Trials lie in the storage file; the same search goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventscore.contract import load_contract
from eventscore_training.config import TrainingConfig
from eventscore_training.errors import TableInvalid, TrainingError, TrainingInterrupted, TuningFruitless
from eventscore_training.progress import Progress
from eventscore_training.tasks import check_task
from eventscore_training.tune_space import (
    SPACE,
    AsItIs,
    Changes,
    Drawn,
    Objective,
    changes_of,
    draw_values,
    objective_of,
    tried,
)

if TYPE_CHECKING:
    from optuna.trial import Trial

_AFTER_THE_FIT = "export"
_TRIALS_BEFORE_PRUNING = 5


@dataclass(frozen=True)
class TrialResult:
    """One trial: its number, how it ended, its figure (None: it diverged), what it tried, and the best so far."""

    number: int
    state: str
    value: float | None
    changes: dict[str, Any]
    best: float
    best_number: int


@dataclass(frozen=True)
class Tuned:
    """The end of a search: what to change, its figure, the figure it began with, and how many trials."""

    changes: Changes
    metric: str
    value: float
    began_with: float | None
    trials: int


class _Ended(Exception):
    """The fit is done, or its time is over."""


class _Fruitless(Exception):
    """The fit stopped with an error of its own: this trial is worth nothing, the next may be."""


def tune(
    config: TrainingConfig,
    storage: Path,
    budget_s: float,
    on_trial: Callable[[TrialResult], None] = lambda _: None,
    max_trials: int | None = None,
) -> Tuned:
    """Search for ``budget_s`` seconds (or ``max_trials`` trials) and return the best of all trials in ``storage``.

    Raises:
        TrainingError: the table cannot be trained on, or no trial ended well.

    """
    import optuna  # a second, which only a search needs
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    contract = load_contract(config.contract)
    check_task(contract, config)
    objective = objective_of(contract, config)
    storage.parent.mkdir(parents=True, exist_ok=True)
    backend = JournalFileBackend(str(storage))
    study = optuna.create_study(
        study_name=_fingerprint(config),
        storage=optuna.storages.JournalStorage(backend),
        direction="maximize" if objective.higher_is_better else "minimize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_TRIALS_BEFORE_PRUNING, n_warmup_steps=2),
    )
    # A search that goes on must not draw again what it drew first.
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + len(study.trials))
    ends_at = time.monotonic() + budget_s
    if not _ended_well(study):
        study.enqueue_trial(draw_values(AsItIs(), config, contract, objective))

    def figure_of(trial: Trial) -> float:
        values = draw_values(Drawn(trial), config, contract, objective)
        return _fit(tried(config, changes_of(values, config, objective)), trial, objective, ends_at)

    def told(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if _ended_well(study):
            on_trial(
                TrialResult(
                    trial.number,
                    trial.state.name.lower(),
                    trial.value,
                    trial.params,
                    study.best_value,
                    study.best_trial.number,
                )
            )

    study.optimize(figure_of, n_trials=max_trials, timeout=budget_s, catch=(_Fruitless,), callbacks=[told])
    if not _ended_well(study):
        raise TuningFruitless(len(study.trials))
    began_with = study.trials[0].value if study.trials[0].state.name == "COMPLETE" else None
    changes = changes_of(study.best_params, config, objective)
    return Tuned(changes, objective.name, study.best_value, began_with, len(study.trials))


def _fit(config: TrainingConfig, trial: Trial, objective: Objective, ends_at: float) -> float:
    """The best figure of one fit on the validation part.

    Raises:
        TrialPruned: half of the trials before did better at this point, or the time is over and others are done.

    """
    import optuna

    from eventscore_training.job import run_job

    figures: list[float] = []
    phases: list[str] = []

    def watch(step: Progress) -> None:
        phases.append(step.phase)
        if step.phase == _AFTER_THE_FIT:
            raise _Ended
        if objective.name not in step.figures:
            return
        figures.append(step.figures[objective.name])
        trial.report(objective.best(figures), len(figures))
        first = not _ended_well(trial.study)  # is finished in any case, or there would be nothing to compare with
        if not first and (trial.should_prune() or time.monotonic() > ends_at):
            raise optuna.TrialPruned

    with tempfile.TemporaryDirectory(prefix="eventscore-tune-") as folder:
        try:
            with suppress(_Ended):
                run_job(config.model_copy(update={"runs": Path(folder)}), watch)
        except TrainingInterrupted:
            raise KeyboardInterrupt from None
        except TrainingError as error:
            if "fit" in phases:
                raise _Fruitless(str(error)) from error
            raise
    if not figures:
        raise _Fruitless(f"the validation part has no {objective.name}")
    return objective.best(figures)


def _ended_well(study: Any) -> bool:
    return any(trial.state.name == "COMPLETE" for trial in study.trials)


def _fingerprint(config: TrainingConfig) -> str:
    """Which search it is: the configuration as it is, with the bytes of the contract and of the tables."""
    digests = []
    for path in (config.contract, config.train, config.validation, config.test, config.table):
        if path is None:
            continue
        try:
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise TableInvalid(str(path), [f"cannot be read: {error.strerror}"]) from None
    plain = config.model_dump(
        mode="json", exclude={"contract", "train", "validation", "test", "table", "runs", "limits"}
    )
    return hashlib.sha256(json.dumps([SPACE, digests, plain], sort_keys=True).encode()).hexdigest()[:16]
