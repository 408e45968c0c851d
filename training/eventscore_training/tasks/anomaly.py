"""What is unlike the events that were learned: an autoencoder, and the rank of its reconstruction error among held-out events.

The network sees an event with noise on its numbers and some categories taken for unseen, and has to say the event as it was, through
a narrow middle. The error is the mean over what it says: the squared difference of each scaled number and of each flag of a gap, and
for each category one minus the probability of its true row. Categories with more than ``MAX_ROWS`` rows are seen and not said.

Vincent et al., "Extracting and composing robust features with denoising autoencoders", ICML 2008.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eventscore_training.config import NetworkConfig
from eventscore_training.graph_nodes import GraphNodes
from eventscore_training.tasks.task import LOGIT, SCORE, Calibrated, Encoded, Logits, ScoreMap, Task, Truth

MAX_ROWS = 256
ERROR = "error.mean"
"""Name of the product that takes the mean of the errors; it stays in float32."""
KNOTS = (*np.linspace(0, 0.9, 31).tolist(), 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995, 0.998, 0.999)
_DOUBLINGS = 4


@dataclass(frozen=True)
class ErrorMap:
    """The error itself: what a graph answers before its ranks are known."""

    def scores(self, logits: Logits) -> NDArray[np.float64]:
        """The error ``[n]``."""
        return logits.astype(np.float64)

    def add_score(self, graph: GraphNodes) -> None:
        """See :class:`~eventscore_training.tasks.task.ScoreMap`."""
        graph.add("Identity", [LOGIT], SCORE)

    def as_dict(self) -> dict[str, Any]:
        """No calibration."""
        return {"method": "none"}


@dataclass(frozen=True)
class Ranks:
    """The share of held-out events with a smaller error, linear between the knots ``(error, rank)``, both rising."""

    knots: tuple[tuple[float, float], ...]

    def scores(self, logits: Logits) -> NDArray[np.float64]:
        """Ranks ``[n]``, 0 to 1."""
        at, to = np.array(self.knots).T
        return np.asarray(np.interp(logits.astype(np.float64), at, to))

    def add_score(self, graph: GraphNodes) -> None:
        """The knot below by counting, which no order of summation changes; then a line."""
        at, to = np.array(self.knots, np.float32).T
        column = graph.add("Unsqueeze", [LOGIT, graph.axis(1)], "rank.column")
        inner = graph.constant("rank.knots", at[1:-1])
        passed = graph.add("GreaterOrEqual", [column, inner], "rank.passed")
        counted = graph.add("Cast", [passed], "rank.counted", to=7)  # int64
        place = graph.add("ReduceSum", [counted, graph.axis(1)], "rank.place", keepdims=0)
        slopes = np.diff(to.astype(np.float64)) / np.diff(at.astype(np.float64))
        tables = {"low": at[:-1], "start": to[:-1], "slope": slopes.astype(np.float32)}
        low, start, slope = (
            graph.add("Gather", [graph.constant(f"rank.{name}s", values), place], f"rank.{name}")
            for name, values in tables.items()
        )
        above = graph.add("Sub", [LOGIT, low], "rank.above")
        risen = graph.add("Mul", [above, slope], "rank.risen")
        rank = graph.add("Add", [risen, start], "rank.unbounded")
        ends = [graph.constant(f"rank.{name}", np.array(end, np.float32)) for name, end in (("least", 0), ("most", 1))]
        graph.add("Clip", [rank, *ends], SCORE)

    def as_dict(self) -> dict[str, Any]:
        """The knots. A rank is not calibrated."""
        return {"method": "none", "ranks": [list(knot) for knot in self.knots]}


class Anomaly(Task):
    """``numbers``: how many encoded numbers and flags there are; ``rows``: of each category its embedding's rows."""

    name = "anomaly"
    losses = ("reconstruction",)
    selections: ClassVar[Mapping[str, bool]] = {"reconstruction_error": False, "roc_auc": True, "pr_auc": True}
    kinds = ("mlp",)
    weighs_classes = False
    noise = 0.1
    needs_inputs = True

    def __init__(self, numbers: int, rows: Sequence[int]) -> None:
        self.numbers = numbers
        self.said = tuple((place, count) for place, count in enumerate(rows) if count <= MAX_ROWS)
        self.fields = numbers + len(self.said)

    @property
    def outputs(self) -> int:
        """Numbers and flags, then a column for each row of each category that is said."""
        return self.numbers + sum(count for _, count in self.said)

    def shaped(self, config: NetworkConfig) -> NetworkConfig:
        """The widths, the narrow middle, and the widths backwards."""
        middle = config.bottleneck or max(1, min(32, self.fields // 2))
        return config.model_copy(update={"widths": (*config.widths, middle, *reversed(config.widths))})

    def target(self, label: Truth) -> NDArray[Any]:
        """Nothing is learned from it."""
        return label.astype(np.float32)[:, None]

    def loss(
        self, answers: Tensor, target: Tensor, numbers: Tensor, rows: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Squared differences and cross-entropies, the mean over what is said."""
        said = answers.squeeze(1)
        summed = (said[:, : self.numbers] - numbers).square().sum()
        for logits, place in self._categories(said):
            summed = summed + nn.functional.cross_entropy(logits, rows[:, place], reduction="sum")
        return summed / (self.fields * len(answers))

    def mean(self, answers: Tensor, numbers: Tensor, rows: Tensor) -> Tensor:
        """The error ``[n]``."""
        said = answers.squeeze(1)
        summed = (said[:, : self.numbers] - numbers).square().sum(dim=1)
        for logits, place in self._categories(said):
            true = torch.softmax(logits, dim=1).gather(1, rows[:, [place]]).squeeze(1)
            summed = summed + (1 - true)
        return summed / self.fields

    def constant(self, target: Tensor, numbers: Tensor, rows: Tensor) -> Tensor:
        """Means, and the logarithms of shares."""
        shares = [
            torch.log(torch.bincount(rows[:, place], minlength=count) / len(rows) + 1e-6) for place, count in self.said
        ]
        return torch.cat([numbers.mean(dim=0), *shares])

    def figures(self, logits: Logits, label: Truth) -> dict[str, float]:
        """The error of the events that are not known to be anomalous, and how well it ranks where both kinds are known."""
        normal = label == 0
        figures = super().figures(logits, label) if 0 < normal.mean() < 1 else {}
        if normal.any():
            figures["reconstruction_error"] = float(logits[normal].mean(dtype=np.float64))
        return figures

    def add_logit(self, graph: GraphNodes, answers: str, members: int, encoded: Encoded) -> None:
        """See :class:`~eventscore_training.tasks.task.Task`."""
        sizes = [self.numbers, *(count for _, count in self.said)]
        names = ["said.numbers", *(f"said.category{place}" for place, _ in self.said)]
        used = [(size, name) for size, name in zip(sizes, names, strict=True) if size]
        graph.split(answers, [size for size, _ in used], [name for _, name in used])
        errors = []
        if self.numbers and encoded.numbers is not None:
            off = graph.add("Sub", ["said.numbers", encoded.numbers], "error.off")
            errors.append(graph.add("Mul", [off, off], "error.squares"))
        for place, _ in self.said:
            name = f"error.category{place}"
            shares = graph.add("Softmax", [f"said.category{place}"], f"{name}.shares", axis=1)
            row = graph.add("Unsqueeze", [encoded.rows[place], graph.axis(1)], f"{name}.row")
            true = graph.add("GatherElements", [shares, row], f"{name}.true", axis=1)
            one = graph.constant("one", np.array([1], np.float32))
            errors.append(graph.add("Sub", [one, true], name))
        all_errors = graph.add("Concat", errors, "errors", axis=1)
        weight = np.full((1, self.fields), 1 / self.fields, np.float32)
        # A product, since the order in which ReduceMean sums a row depends on where in memory it lies.
        mean = graph.linear(ERROR, all_errors, weight, np.zeros(1, np.float32))
        graph.add("Squeeze", [mean, graph.axis(1)], LOGIT)

    def uncalibrated(self) -> ScoreMap:
        """The error."""
        return ErrorMap()

    def calibrate(self, logits: Logits, label: Truth, wanted: str, fold: NDArray[np.int64]) -> Calibrated:
        """Ranks among the events that are not known to be anomalous."""
        return Calibrated(learn_ranks(logits[label == 0]), {})

    def _categories(self, said: Tensor) -> list[tuple[Tensor, int]]:
        parts = torch.split(said[:, self.numbers :], [count for _, count in self.said], dim=1) if self.said else ()
        return [(logits, place) for logits, (place, _) in zip(parts, self.said, strict=True)]


def learn_ranks(errors: Logits) -> Ranks:
    """Knots at quantiles of held-out ``errors``, closer together where they are large.

    Beyond the largest error the rank goes on rising, by half of what is left with each doubling, so that what is far out keeps its order.
    """
    count = len(errors)
    found = np.quantile(errors.astype(np.float64), KNOTS)
    most = float(errors.max())
    knots = [(max(0.0, float(found[0]) * 0.999), 0.0)]
    rest = 1 / (count + 1)
    beyond = [(most * 2**k, 1 - rest * 0.5**k) for k in range(_DOUBLINGS + 1)] + [(most * 2 ** (_DOUBLINGS + 1), 1.0)]
    for at, to in [*zip(found.tolist(), KNOTS, strict=True), *beyond]:
        # In float32, too, each knot lies above the one before.
        low = knots[-1]
        if at > low[0] * (1 + 1e-5) + 1e-9 and to > low[1]:
            knots.append((at, to))
    if len(knots) < 2:
        knots.append((knots[0][0] + 1.0, 1.0))
    return Ranks(tuple(knots))
