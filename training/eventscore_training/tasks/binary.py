"""Two classes: one logit, its sigmoid the probability of the positive one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eventscore_training.calibrate import METHODS, Calibration, Method, choose_calibration
from eventscore_training.fold import add_calibration
from eventscore_training.graph_nodes import GraphNodes
from eventscore_training.tasks.task import (
    LOGIT,
    SCORE,
    Calibrated,
    Encoded,
    Logits,
    ScoreMap,
    Task,
    Truth,
)


class BinaryMap:
    """The sigmoid of a calibrated logit."""

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration

    def scores(self, logits: Logits) -> NDArray[np.float64]:
        """Probabilities ``[n]``."""
        return self.calibration.scores(logits)

    def add_score(self, graph: GraphNodes) -> None:
        """See :class:`~eventscore_training.tasks.task.ScoreMap`."""
        graph.add("Sigmoid", [add_calibration(graph, LOGIT, self.calibration, "calibration")], SCORE)

    def as_dict(self) -> dict[str, Any]:
        """Method, scale and shift, or knots."""
        return self.calibration.as_dict()


class Binary(Task):
    """One label with two values."""

    name = "binary"
    selections: ClassVar[Mapping[str, bool]] = {"log_loss": False, "roc_auc": True, "pr_auc": True}
    calibrations = METHODS

    def target(self, label: Truth) -> NDArray[Any]:
        """``[n, 1]``."""
        return label.astype(np.float32)[:, None]

    def loss(
        self, answers: Tensor, target: Tensor, numbers: Tensor, rows: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Binary cross-entropy; ``weights``: of the positives."""
        truth = target[:, None, :].expand_as(answers)
        return nn.functional.binary_cross_entropy_with_logits(answers, truth, pos_weight=weights)

    def mean(self, answers: Tensor, numbers: Tensor, rows: Tensor) -> Tensor:
        """``[n]``."""
        return log_mean_probability(answers).squeeze(1)

    def constant(self, target: Tensor, numbers: Tensor, rows: Tensor) -> Tensor:
        """The logit of the share of positives."""
        return torch.logit(target.mean(dim=0), eps=1e-6)

    def class_weights(self, label: Truth) -> NDArray[np.float32] | None:
        """``[1]``: negatives for each positive."""
        return positive_weights(label[:, None])

    def strata(self, label: Truth) -> NDArray[np.int64]:
        """The class."""
        return label.astype(np.int64)

    def add_logit(self, graph: GraphNodes, answers: str, members: int, encoded: Encoded) -> None:
        """See :class:`~eventscore_training.tasks.task.Task`."""
        means = add_mean_of_probabilities(graph, answers, members)
        graph.add("Squeeze", [means, graph.axis(1)], LOGIT)

    def uncalibrated(self) -> ScoreMap:
        """The sigmoid."""
        return BinaryMap(Calibration("none"))

    def calibrate(self, logits: Logits, label: Truth, wanted: str, fold: NDArray[np.int64]) -> Calibrated:
        """Temperature, Platt or isotonic."""
        chosen = choose_calibration(logits, label, cast("Method", wanted), fold)
        return Calibrated(BinaryMap(chosen.calibration), chosen.held_out)


def log_mean_probability(logits: Tensor) -> Tensor:
    """The logit of the members' mean probability: ``[n, members, ...]`` to ``[n, ...]``, without rounding one to 0 or 1."""
    if logits.shape[1] == 1:
        return logits.squeeze(1)
    positive, negative = nn.functional.logsigmoid(logits), nn.functional.logsigmoid(-logits)
    return torch.logsumexp(positive, dim=1) - torch.logsumexp(negative, dim=1)


def positive_weights(label: Truth) -> NDArray[np.float32]:
    """For each column of ``label`` ``[n, labels]`` how many negatives there are for each positive."""
    positives = np.maximum(1, label.sum(axis=0, dtype=np.int64))
    return np.asarray(np.maximum(1, len(label) - positives) / positives, np.float32)


def add_mean_of_probabilities(graph: GraphNodes, answers: str, members: int) -> str:
    """The logits of the members' mean probabilities, ``[n, outputs]``."""
    if not members:
        return answers
    # log softmax over (-l/2, l/2) is (log(1 - p), log p), and never rounds a probability to 0 or 1. Softplus and Log would
    # be shorter, but ONNX Runtime computes the last few values of a batch with other instructions.
    column = graph.add("Unsqueeze", [answers, graph.axis(3)], "members.column")
    halves = graph.constant("members.halves", np.array([-0.5, 0.5], np.float32))
    pairs = graph.add("Mul", [column, halves], "members.pairs")
    logarithms = graph.add("LogSoftmax", [pairs], "members.log", axis=3)
    # Along the last axis and never over all but one: ONNX Runtime sums a lone event's members in another order otherwise.
    turned = graph.add("Transpose", [logarithms], "members.turned", perm=[0, 2, 3, 1])
    summed = graph.add("ReduceLogSumExp", [turned], "members.summed", axes=[3], keepdims=0)
    signs = graph.constant("members.signs", np.array([-1, 1], np.float32))
    signed = graph.add("Mul", [summed, signs], "members.signed")
    return graph.add("ReduceSum", [signed, graph.axis(2)], "members.logits", keepdims=0)
