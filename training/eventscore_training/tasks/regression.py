"""A number: learned in standard deviations of the training part, answered in the label's unit, within the contract's bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eventscore_training.config import FitConfig, TrainingConfig
from eventscore_training.graph_nodes import GraphNodes
from eventscore_training.tasks.task import LOGIT, SCORE, Encoded, Logits, ScoreMap, Selection, Task, Truth

MEAN = "members.mean"
"""Name of the product that takes the mean of an ensemble's numbers; it stays in float32."""
_SELECTED = {"mse": "rmse", "mae": "mae", "huber": "mae", "quantile": "pinball_loss"}


@dataclass(frozen=True)
class Unscaling:
    """``score = logit * scale + centre``, cut at ``low`` and ``high`` where they are given."""

    scale: float
    centre: float
    low: float | None
    high: float | None

    def scores(self, logits: Logits) -> NDArray[np.float64]:
        """Numbers in the label's unit ``[n]``."""
        score = logits.astype(np.float64) * self.scale + self.centre
        return score if self.low is None and self.high is None else np.clip(score, self.low, self.high)

    def add_score(self, graph: GraphNodes) -> None:
        """See :class:`~eventscore_training.tasks.task.ScoreMap`."""
        scale = graph.constant("unit.scale", np.array([self.scale], np.float32))
        centre = graph.constant("unit.centre", np.array([self.centre], np.float32))
        scaled = graph.add("Mul", [LOGIT, scale], "unit.scaled")
        bounded = self.low is not None or self.high is not None
        graph.add("Add", [scaled, centre], "unit.unbounded" if bounded else SCORE)
        if bounded:
            ends = [
                "" if end is None else graph.constant(f"unit.{name}", np.array(end, np.float32))
                for name, end in (("low", self.low), ("high", self.high))
            ]
            graph.add("Clip", ["unit.unbounded", *(ends if ends[1] else ends[:1])], SCORE)

    def as_dict(self) -> dict[str, Any]:
        """A number is not calibrated."""
        return {"method": "none"}


class Regression(Task):
    """``label``: the training part's, whose mean and deviation scale the target."""

    name = "regression"
    losses = ("mse", "mae", "huber", "quantile")
    selections: ClassVar[Mapping[str, bool]] = {"rmse": False, "mae": False, "pinball_loss": False}
    weighs_classes = False

    def __init__(
        self, label: NDArray[np.float64], config: FitConfig, low: float | None = None, high: float | None = None
    ) -> None:
        spread = float(label.std())
        self.centre = float(label.mean())
        self.scale = spread if spread > 0 else 1.0
        self.low, self.high = low, high
        self.kind = self.losses[0] if config.loss == "auto" else config.loss
        self.share = config.quantile
        self.delta = config.huber_delta

    @classmethod
    def problems(cls, config: TrainingConfig) -> list[str]:
        """As of every task, and the pinball loss is that of a learned quantile."""
        found = super().problems(config)
        if config.fit.select_by == "pinball_loss" and config.fit.loss != "quantile":
            found.append("fit.select_by: 'pinball_loss' belongs to fit.loss = 'quantile'")
        return found

    @property
    def quantile(self) -> float | None:
        """That of the quantile loss."""
        return self.share if self.kind == "quantile" else None

    @property
    def unit(self) -> float:
        """The training labels' deviation."""
        return self.scale

    @classmethod
    def selection(cls, config: FitConfig) -> Selection:
        """By default the figure that the loss stands for."""
        kind = cls.losses[0] if config.loss == "auto" else config.loss
        name = _SELECTED[kind] if config.select_by == "auto" else config.select_by
        return Selection(name, higher_is_better=False)

    def target(self, label: Truth) -> NDArray[Any]:
        """``[n, 1]``, in standard deviations from the mean."""
        return ((label - self.centre) / self.scale).astype(np.float32)[:, None]

    def loss(
        self, answers: Tensor, target: Tensor, numbers: Tensor, rows: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """The loss of that name; ``huber_delta`` counts standard deviations."""
        off = answers - target[:, None, :]
        losses: dict[str, Callable[[], Tensor]] = {
            "mse": off.square,
            "mae": off.abs,
            "huber": lambda: torch.nn.functional.huber_loss(
                off, torch.zeros_like(off), reduction="none", delta=self.delta
            ),
            # Koenker and Bassett, "Regression quantiles", 1978: q of what is too low, 1 - q of what is too high.
            "quantile": lambda: torch.maximum(-self.share * off, (1 - self.share) * off),
        }
        return losses[self.kind]().mean()

    def mean(self, answers: Tensor, numbers: Tensor, rows: Tensor) -> Tensor:
        """``[n]``."""
        return answers.mean(dim=1).squeeze(1)

    def constant(self, target: Tensor, numbers: Tensor, rows: Tensor) -> Tensor:
        """The mean, the median or the quantile of the labels."""
        shares = {"mse": None, "quantile": self.share}
        share = shares.get(self.kind, 0.5)
        return target.mean(dim=0) if share is None else target.quantile(share, dim=0)

    def strata(self, label: Truth) -> NDArray[np.int64]:
        """Below and above the median."""
        return np.asarray(label > np.median(label), np.int64)

    def add_logit(self, graph: GraphNodes, answers: str, members: int, encoded: Encoded) -> None:
        """See :class:`~eventscore_training.tasks.task.Task`."""
        if members:
            # A product, since the order in which ReduceMean sums a row depends on where in memory it lies.
            flat = graph.add("Flatten", [answers], "members.numbers", axis=1)
            weight = np.full((1, members), 1 / members, np.float32)
            answers = graph.linear(MEAN, flat, weight, np.zeros(1, np.float32))
        graph.add("Squeeze", [answers, graph.axis(1)], LOGIT)

    def uncalibrated(self) -> ScoreMap:
        """Back to the label's unit."""
        return Unscaling(self.scale, self.centre, self.low, self.high)
