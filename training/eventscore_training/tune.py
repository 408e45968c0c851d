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
from eventscore_training.config import TrainingConfig, parse_training_config
from eventscore_training.errors import TableInvalid, TrainingError, TuningFruitless
from eventscore_training.progress import Progress

if TYPE_CHECKING:
    from optuna.trial import Trial

    from eventscore_training.tasks import Selection

_WIDTHS = ("64-32", "128-64", "256-128", "256-256", "512-256")
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
    """The end of a search: what to change (``section -> key -> value``), its figure, the figure it began with, and how many trials."""

    changes: dict[str, dict[str, Any]]
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
    from eventscore_training.tasks import TASKS, check_task

    contract = load_contract(config.contract)
    check_task(contract, config)
    selection = TASKS[contract.model.task].selection(config.fit)
    storage.parent.mkdir(parents=True, exist_ok=True)
    backend = JournalFileBackend(str(storage))
    study = optuna.create_study(
        study_name=_fingerprint(config),
        storage=optuna.storages.JournalStorage(backend),
        direction="maximize" if selection.higher_is_better else "minimize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_TRIALS_BEFORE_PRUNING, n_warmup_steps=2),
    )
    # A search that goes on must not draw again what it drew first.
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + len(study.trials))
    ends_at = time.monotonic() + budget_s
    if not study.trials:
        study.enqueue_trial(_as_it_is(config))

    def objective(trial: Trial) -> float:
        return _fit(_tried(config, _suggested(trial, config)), trial, selection, ends_at)

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

    study.optimize(objective, n_trials=max_trials, timeout=budget_s, catch=(_Fruitless,), callbacks=[told])
    if not _ended_well(study):
        raise TuningFruitless(len(study.trials))
    began_with = study.trials[0].value if study.trials[0].state.name == "COMPLETE" else None
    return Tuned(_sections(study.best_params), selection.name, study.best_value, began_with, len(study.trials))


def _fit(config: TrainingConfig, trial: Trial, selection: Selection, ends_at: float) -> float:
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
        if selection.name not in step.figures:
            return
        figures.append(step.figures[selection.name])
        best = selection.best(figures)
        trial.report(best, len(figures))
        first = trial.number == 0  # is finished in any case, or there would be nothing to compare with
        if not first and (trial.should_prune() or time.monotonic() > ends_at):
            raise optuna.TrialPruned

    with tempfile.TemporaryDirectory(prefix="eventscore-tune-") as folder:
        try:
            with suppress(_Ended):
                run_job(config.model_copy(update={"runs": Path(folder)}), watch)
        except TrainingError as error:
            if "fit" in phases:
                raise _Fruitless(str(error)) from error
            raise
    return selection.best(figures)


def _suggested(trial: Trial, config: TrainingConfig) -> dict[str, Any]:
    """The space. Each choice holds what the configuration says itself."""
    fit, network = config.fit, config.network

    def one_of(name: str, choices: tuple[Any, ...], own: Any) -> None:
        trial.suggest_categorical(name, sorted({*choices, own}))

    def between(name: str, least: float, most: float, own: float) -> None:
        trial.suggest_float(name, min(least, own or least), max(most, own), log=True)

    between("fit.learning_rate", 3e-4, 1e-2, fit.learning_rate)
    between("fit.weight_decay", 1e-4, 1e-1, fit.weight_decay)
    between("fit.embedding_weight_decay", 1e-3, 1.0, fit.embedding_weight_decay)
    one_of("fit.batch_size", (256, 512, 1024, 2048), fit.batch_size)
    one_of("fit.value_dropout", (0.0, 0.1, 0.2, 0.3), fit.value_dropout)
    one_of("network.widths", _WIDTHS, _joined(network.widths))
    one_of("network.dropout", (0.0, 0.1, 0.2, 0.3, 0.4), network.dropout)
    one_of("network.embedding_width", (4, 8, 16), network.embedding_width)
    one_of("network.min_count", (5, 10, 20, 50), network.min_count)
    return dict(trial.params)


def _as_it_is(config: TrainingConfig) -> dict[str, Any]:
    fit, network = config.fit, config.network
    named = {f"fit.{name}": getattr(fit, name) for name in ("learning_rate", "weight_decay", "embedding_weight_decay")}
    named = {name: value or 1e-4 for name, value in named.items()}  # 0 has no logarithm
    named |= {"fit.batch_size": fit.batch_size, "fit.value_dropout": fit.value_dropout}
    named |= {f"network.{name}": getattr(network, name) for name in ("dropout", "embedding_width", "min_count")}
    return {**named, "network.widths": _joined(network.widths)}


def _tried(config: TrainingConfig, params: dict[str, Any]) -> TrainingConfig:
    document = config.model_dump()
    for section, changes in _sections(params).items():
        document[section] = {**document[section], **changes}
    return parse_training_config(document, "the configuration of a trial")


def _sections(params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """``{"fit.learning_rate": 0.001}`` as sections, floats short enough to read."""
    sections: dict[str, dict[str, Any]] = {}
    for name, value in params.items():
        section, _, key = name.partition(".")
        sections.setdefault(section, {})[key] = _plain(value) if key != "widths" else _widths(value)
    return sections


def _plain(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _widths(joined: str) -> list[int]:
    return [int(width) for width in joined.split("-")]


def _joined(widths: tuple[int, ...]) -> str:
    return "-".join(map(str, widths))


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
    return hashlib.sha256(json.dumps([digests, plain], sort_keys=True).encode()).hexdigest()[:16]
