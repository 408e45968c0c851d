"""What a search may try: the choices that fit the contract and the configuration, so that no two that are drawn exclude each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from eventscore.contract import Contract
from eventscore_training.config import TrainingConfig, parse_training_config
from eventscore_training.split import read_parts
from eventscore_training.tasks import TASKS, Selection
from eventscore_training.tasks.anomaly import Anomaly

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

SPACE = 2
"""Counts up when the space changes: trials of another space are another search."""
_WIDTHS = ("64-32", "128-64", "256-128", "256-256", "512-256")
_AUTO = "auto"
Changes = dict[str, dict[str, Any]]
"""``section -> key -> value``; None takes the key out of the file, since nothing would read it."""


class Draw(Protocol):
    """How a value is chosen; ``own`` is the configuration's."""

    def one_of(self, name: str, choices: tuple[Any, ...], own: Any) -> Any:
        """One of ``choices`` or ``own``."""

    def between(self, name: str, least: float, most: float, own: float) -> float:
        """A number, its logarithm drawn evenly; the range takes ``own`` in, except 0, which has no logarithm."""


@dataclass
class Drawn:
    """Optuna draws."""

    trial: BaseTrial

    def one_of(self, name: str, choices: tuple[Any, ...], own: Any) -> Any:
        """See :class:`Draw`."""
        return self.trial.suggest_categorical(name, sorted({*choices, own}))

    def between(self, name: str, least: float, most: float, own: float) -> float:
        """See :class:`Draw`."""
        return self.trial.suggest_float(name, min(least, own or least), max(most, own), log=True)


@dataclass(frozen=True)
class AsItIs:
    """The configuration's own values."""

    def one_of(self, name: str, choices: tuple[Any, ...], own: Any) -> Any:
        """See :class:`Draw`."""
        return own

    def between(self, name: str, least: float, most: float, own: float) -> float:
        """See :class:`Draw`."""
        return own or least


@dataclass(frozen=True)
class Objective(Selection):
    """The figure of the validation part that the search is for; ``named``: whether it must be told to the fit."""

    named: bool = False


def objective_of(contract: Contract, config: TrainingConfig) -> Objective:
    """What selects the weights is what is searched for: ``fit.select_by``, or what the task and its loss stand for.

    An anomaly model whose validation part knows anomalies is searched by how well it ranks them, and its weights are selected by
    that: how well it reconstructs says little about what it finds.
    """
    task = TASKS[contract.model.task]
    selection = task.selection(config.fit)
    guessed = config.fit.select_by == _AUTO and task is Anomaly and contract.label is not None
    if guessed and read_parts(config, contract).validation.label.any():
        return Objective("roc_auc", higher_is_better=True, named=True)
    return Objective(selection.name, selection.higher_is_better)


def draw_values(draw: Draw, config: TrainingConfig, contract: Contract, objective: Objective) -> dict[str, Any]:
    """A value for each choice, ``"fit.learning_rate" -> 0.001``, widths as ``"128-64"``."""
    task, fit, network = TASKS[contract.model.task], config.fit, config.network
    values: dict[str, Any] = {}

    def one_of(name: str, choices: tuple[Any, ...], own: Any) -> Any:
        values[name] = draw.one_of(name, choices, own)
        return values[name]

    def between(name: str, least: float, most: float, own: float) -> None:
        values[name] = draw.between(name, least, most, own)

    between("fit.learning_rate", 3e-4, 1e-2, fit.learning_rate)
    between("fit.weight_decay", 1e-4, 1e-1, fit.weight_decay)
    one_of("fit.batch_size", (256, 512, 1024, 2048), fit.batch_size)
    one_of("network.dropout", (0.0, 0.1, 0.2, 0.3, 0.4), network.dropout)
    one_of("network.activation", ("relu", "gelu", "silu"), network.activation)  # tanh takes no initialisation "he"
    one_of("network.norm", ("none", "batch", "layer"), network.norm)
    # An error of reconstruction is small where there is less to reconstruct: what is told of an event must stay as it is.
    event_may_change = objective.name != "reconstruction_error"
    if contract.categories:
        between("fit.embedding_weight_decay", 1e-3, 1.0, fit.embedding_weight_decay)
        one_of("fit.value_dropout", (0.0, 0.1, 0.2, 0.3), fit.value_dropout)
        one_of("network.embedding_width", (4, 8, 16), network.embedding_width)
        if event_may_change:
            one_of("network.min_count", (5, 10, 20, 50), network.min_count)
    if contract.numbers:
        if event_may_change:
            one_of("network.scaling", ("standard", "robust", "quantile"), network.scaling)
        embedding = one_of(
            "network.number_embedding", ("none", "piecewise-linear", "periodic"), network.number_embedding
        )
        if embedding == "piecewise-linear":
            one_of("network.bins", (8, 16, 32), network.bins)
        if embedding == "periodic":
            between("network.frequency_scale", 0.01, 1.0, network.frequency_scale)
    # Pruning and a teacher are told in members and widths of the network as it is.
    if config.prune is None and config.distill is None:
        one_of("network.widths", _WIDTHS, _joined(network.widths))
        kinds = tuple(kind for kind in ("mlp", "tabm", "wide-and-deep") if kind in task.kinds)
        if len(kinds) > 1 and one_of("network.kind", kinds, network.kind) == "tabm":
            one_of("network.members", (4, 8, 16), network.members)
    if task is Anomaly and event_may_change:
        own = _AUTO if network.bottleneck is None else str(network.bottleneck)
        one_of("network.bottleneck", (_AUTO, "4", "8", "16", "32"), own)
    return values


def changes_of(values: dict[str, Any], config: TrainingConfig, objective: Objective) -> Changes:
    """``values`` as sections, floats short enough to read, without what they leave nothing to be read by."""
    changes: Changes = {}
    for name, value in values.items():
        section, _, key = name.partition(".")
        changes.setdefault(section, {})[key] = _DECODED[key](value) if key in _DECODED else _plain(value)
    if objective.named:
        changes.setdefault("fit", {})["select_by"] = objective.name
    network = changes.setdefault("network", {})
    kind = network.get("kind", config.network.kind)
    embedding = network.get("number_embedding", config.network.number_embedding)
    unread = {
        "members": kind != "tabm",
        "adapt_inputs": kind != "tabm",
        "number_embedding_width": embedding == "none",
        "bins": embedding != "piecewise-linear",
        "frequencies": embedding != "periodic",
        "frequency_scale": embedding != "periodic",
    }
    network |= {key: None for key, stray in unread.items() if stray}
    return changes


def tried(config: TrainingConfig, changes: Changes) -> TrainingConfig:
    """``config`` with ``changes``."""
    document = config.model_dump()
    for section, values in changes.items():
        merged = {**document[section], **values}
        document[section] = {key: value for key, value in merged.items() if value is not None or key not in values}
    return parse_training_config(document, "the configuration of a trial")


def _plain(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _joined(widths: tuple[int, ...]) -> str:
    return "-".join(map(str, widths))


_DECODED: Mapping[str, Callable[[Any], Any]] = {
    "widths": lambda joined: [int(width) for width in joined.split("-")],
    "bottleneck": lambda told: None if told == _AUTO else int(told),
}
