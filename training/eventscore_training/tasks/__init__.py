"""The tasks that the job trains. This is the one place of the job that knows them by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from eventscore.contract import Contract
from eventscore_training.config import FitConfig, TrainingConfig
from eventscore_training.encoding import Encoding
from eventscore_training.errors import ConfigInvalid
from eventscore_training.table import Table
from eventscore_training.tasks.anomaly import Anomaly
from eventscore_training.tasks.binary import Binary
from eventscore_training.tasks.multiclass import Multiclass
from eventscore_training.tasks.multilabel import Multilabel
from eventscore_training.tasks.regression import Regression
from eventscore_training.tasks.task import LOGIT, SCORE, Calibrated, Encoded, ScoreMap, Selection, Task, Truth

__all__ = [
    "BINARY", "LOGIT", "SCORE", "TASKS", "Calibrated", "Encoded", "ScoreMap", "Selection", "Task", "Truth",
    "check_task", "new_task", "without_anomalies",
]  # fmt: skip

TASKS: Mapping[str, type[Task]] = {each.name: each for each in (Binary, Multiclass, Multilabel, Regression, Anomaly)}
BINARY = Binary()
"""The task of a network that is given none."""


def check_task(contract: Contract, config: TrainingConfig) -> None:
    """Say so if ``config`` chooses what models of the contract's task cannot have.

    Raises:
        ConfigInvalid: a sentence for each.

    """
    problems = TASKS[contract.model.task].problems(config)
    if config.fit.select_by in ("roc_auc", "pr_auc") and contract.label is None:
        problems.append(f"fit.select_by: {config.fit.select_by!r} needs a [label] in the contract, which has none")
    if config.network.bottleneck is not None and contract.model.task != Anomaly.name:
        problems.append(f"network.bottleneck belongs to anomaly models, and this one is {contract.model.task}")
    if problems:
        raise ConfigInvalid("the training configuration", problems)


def new_task(contract: Contract, config: FitConfig, encoding: Encoding, label: Truth) -> Task:
    """The contract's task, with what it learns from the training part: its ``label`` and its ``encoding``."""
    section = contract.label
    match contract.model.task:
        case Multiclass.name:
            return Multiclass(len(contract.outputs))
        case Multilabel.name:
            return Multilabel(contract.outputs, section.threshold if section else 0.5)
        case Regression.name:
            return Regression(label, config, *((section.min, section.max) if section else ()))
        case Anomaly.name:
            numbers = len(encoding.means) + len(encoding.flagged)
            return Anomaly(numbers, [each.rows for each in encoding.vocabularies])
        case _:
            return BINARY


def without_anomalies(train: Table, contract: Contract) -> Table:
    """The rows to learn from: of an anomaly model those that are not known to be anomalous, else all of ``train``."""
    if contract.model.task != Anomaly.name or not train.label.any():
        return train
    kept = train.label == 0
    parts = {name: getattr(train, name) for name in ("columns", "events", "aside")}
    left = {name: frame.filter(kept) if frame.width else frame for name, frame in parts.items()}
    return replace(train, label=train.label[kept], **left)
