"""What the training job must know of a task; each module beside this one knows one of them, and nothing else asks which it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from eventscore_training.config import FitConfig, NetworkConfig, TrainingConfig
from eventscore_training.evaluate import metrics_of
from eventscore_training.graph_nodes import GraphNodes

Truth = NDArray[Any]
"""The label of a part: int8 ``[n]`` (binary, anomaly), int64 ``[n]`` (multiclass), int8 ``[n, labels]``, float64 ``[n]`` (regression)."""
Logits = NDArray[np.floating]
LOGIT = "logit"
"""Name of the graph's value that the calibration starts from: ``[n]``, or ``[n, outputs]``."""
SCORE = "score"


@dataclass(frozen=True)
class Selection:
    """The figure of the validation part that decides which weights are kept."""

    name: str
    higher_is_better: bool

    def best(self, figures: Sequence[float]) -> float:
        """The best of ``figures``."""
        return max(figures) if self.higher_is_better else min(figures)

    def better(self, now: Mapping[str, float], best: Mapping[str, float]) -> bool:
        """Whether ``now`` beats ``best``; rows without the figure beat nothing and are beaten by any."""
        if self.name not in now or self.name not in best:
            return self.name in now
        return now[self.name] > best[self.name] if self.higher_is_better else now[self.name] < best[self.name]


@dataclass(frozen=True)
class Encoded:
    """Names of the graph's values that hold the encoded inputs: numbers with flags ``[n, numbers]``, and each category's row ``[n]``."""

    numbers: str | None
    rows: tuple[str, ...]


class ScoreMap(Protocol):
    """From logits to scores, in numpy and as the last nodes of the graph."""

    def scores(self, logits: Logits) -> NDArray[np.float64]:
        """Scores of ``logits``, same shape."""

    def add_score(self, graph: GraphNodes) -> None:
        """Add the nodes from :data:`LOGIT` to :data:`SCORE`."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``report.json``, ``method`` among them."""


@dataclass(frozen=True)
class Calibrated:
    """The chosen map, and the log loss of each method that was tried on rows that did not fit it."""

    map: ScoreMap
    held_out: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``report.json``."""
        return {**self.map.as_dict(), "held_out": dict(self.held_out)}


class Task(ABC):
    """A task: its loss, what its members' answers mean together, how it is judged while it learns, and its end of the graph.

    ``answers``: what the members of a network say, ``[n, members, outputs]``; their mean is the ``logit``, ``[n]`` or
    ``[n, outputs]``, and a :class:`ScoreMap` makes scores of it.
    """

    name: ClassVar[str]
    losses: ClassVar[tuple[str, ...]] = ("cross-entropy",)
    """By name, the first is the default."""
    selections: ClassVar[Mapping[str, bool]]
    """Figures that may select the weights, and whether more is better; the first is the default."""
    calibrations: ClassVar[tuple[str, ...]] = ("none",)
    kinds: ClassVar[tuple[str, ...]] = ("mlp", "wide-and-deep", "tabm")
    weighs_classes: ClassVar[bool] = True
    noise: ClassVar[float] = 0.0
    """The deviation of what is added to the encoded numbers while the network learns."""
    needs_inputs: ClassVar[bool] = False
    """Whether the end of the graph reads the encoded inputs."""

    @classmethod
    def problems(cls, config: TrainingConfig) -> list[str]:
        """A sentence for each choice of ``config`` that this task cannot take."""
        chosen = {
            "fit.loss": (config.fit.loss, cls.losses),
            "fit.select_by": (config.fit.select_by, tuple(cls.selections)),
            "calibration": (config.calibration, cls.calibrations),
            "network.kind": (config.network.kind, cls.kinds),
            "fit.class_weights": (config.fit.class_weights, ("none", "balanced") if cls.weighs_classes else ("none",)),
        }
        return [
            f"{key}: expected one of {', '.join(fitting)} for a model of the task {cls.name!r}, got {value!r}"
            for key, (value, fitting) in chosen.items()
            if value not in (*fitting, "auto")
        ]

    @property
    def outputs(self) -> int:
        """Columns of a member's answer."""
        return 1

    @property
    def quantile(self) -> float | None:
        """What is predicted instead of a mean."""
        return None

    @property
    def unit(self) -> float:
        """How far apart two scores are that differ a lot."""
        return 1.0

    @classmethod
    def selection(cls, config: FitConfig) -> Selection:
        """The figure that ``config`` selects by."""
        name = next(iter(cls.selections)) if config.select_by == "auto" else config.select_by
        return Selection(name, cls.selections[name])

    def shaped(self, config: NetworkConfig) -> NetworkConfig:
        """The network that is built where the configuration asks for ``config``."""
        return config

    @abstractmethod
    def target(self, label: Truth) -> NDArray[Any]:
        """The label as the loss takes it: ``[n, outputs]`` float32, or ``[n]`` int64."""

    @abstractmethod
    def loss(
        self, answers: Tensor, target: Tensor, numbers: Tensor, rows: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """The mean of the members' losses.

        Not the loss of the mean: members that are trained together would learn to lean on each other (arXiv 2410.24210).
        ``numbers`` and ``rows`` are the inputs as they were before noise and dropout.
        """

    @abstractmethod
    def mean(self, answers: Tensor, numbers: Tensor, rows: Tensor) -> Tensor:
        """The logit: of the mean of the members' probabilities, or the mean of their numbers."""

    @abstractmethod
    def constant(self, target: Tensor, numbers: Tensor, rows: Tensor) -> Tensor:
        """The best answer that does not look at the event, ``[outputs]``."""

    def class_weights(self, label: Truth) -> NDArray[np.float32] | None:
        """What lets all classes weigh the same."""
        return None

    def strata(self, label: Truth) -> NDArray[np.int64]:
        """A number for each row; rows that are drawn for the sanity check are spread evenly over them."""
        return np.zeros(len(label), np.int64)

    def figures(self, logits: Logits, label: Truth) -> dict[str, float]:
        """What is told of the validation part while the network learns: those of ``selections`` that the rows have."""
        found = metrics_of(self.name, label, self.uncalibrated().scores(logits), quantile=self.quantile)
        return {name: found[name] for name in self.selections if name in found}

    @abstractmethod
    def add_logit(self, graph: GraphNodes, answers: str, members: int, encoded: Encoded) -> None:
        """Add the nodes from the answers (``[n, outputs]``; of an ensemble ``[n, members, outputs]``) to :data:`LOGIT`."""

    @abstractmethod
    def uncalibrated(self) -> ScoreMap:
        """The map that calibrates nothing."""

    def calibrate(self, logits: Logits, label: Truth, wanted: str, fold: NDArray[np.int64]) -> Calibrated:
        """The map that ``wanted`` names, or for ``auto`` the best on held-out rows; ``fold`` ``[n]`` is each row's fifth."""
        return Calibrated(self.uncalibrated(), {})
