"""One of several classes: a logit for each, their softmax the probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eventscore_training.calibrate_classes import CLASS_METHODS, ClassScaling, choose_class_calibration
from eventscore_training.graph_nodes import GraphNodes
from eventscore_training.tasks.task import LOGIT, SCORE, Calibrated, Encoded, Logits, ScoreMap, Task, Truth


class ClassMap:
    """The softmax of scaled and shifted logits."""

    def __init__(self, scaling: ClassScaling) -> None:
        self.scaling = scaling

    def scores(self, logits: Logits) -> NDArray[np.float64]:
        """Probabilities ``[n, classes]``."""
        return self.scaling.scores(logits)

    def add_score(self, graph: GraphNodes) -> None:
        """See :class:`~eventscore_training.tasks.task.ScoreMap`."""
        logit = LOGIT
        if self.scaling.method != "none":
            scales = graph.constant("calibration.scales", np.array(self.scaling.scales, np.float32))
            shifts = graph.constant("calibration.shifts", np.array(self.scaling.shifts, np.float32))
            scaled = graph.add("Mul", [logit, scales], "calibration.scaled")
            logit = graph.add("Add", [scaled, shifts], "calibration.shifted")
        graph.add("Softmax", [logit], SCORE, axis=1)

    def as_dict(self) -> dict[str, Any]:
        """Method, and a scale and a shift for each class."""
        return self.scaling.as_dict()


class Multiclass(Task):
    """``classes``: how many there are; a label is a class's place in the contract's list."""

    name = "multiclass"
    selections: ClassVar[Mapping[str, bool]] = {
        "log_loss": False,
        "accuracy": True,
        "macro_f1": True,
        "roc_auc": True,
        "pr_auc": True,
    }
    calibrations = CLASS_METHODS

    def __init__(self, classes: int) -> None:
        self.classes = classes

    @property
    def outputs(self) -> int:
        """One for each class."""
        return self.classes

    def target(self, label: Truth) -> NDArray[Any]:
        """``[n]``."""
        return label.astype(np.int64)

    def loss(
        self, answers: Tensor, target: Tensor, numbers: Tensor, rows: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Softmax cross-entropy; ``weights``: one for each class, the mean is taken over weights."""
        members = answers.shape[1]
        return nn.functional.cross_entropy(
            answers.reshape(-1, self.classes), target.repeat_interleave(members), weight=weights
        )

    def mean(self, answers: Tensor, numbers: Tensor, rows: Tensor) -> Tensor:
        """``[n, classes]``: the logarithm of the members' mean probabilities, which is a logit of theirs."""
        if answers.shape[1] == 1:
            return answers.squeeze(1)
        return torch.logsumexp(nn.functional.log_softmax(answers, dim=2), dim=1) - math.log(answers.shape[1])

    def constant(self, target: Tensor, numbers: Tensor, rows: Tensor) -> Tensor:
        """The logarithms of the classes' shares."""
        return torch.log(torch.bincount(target, minlength=self.classes) / len(target) + 1e-6)

    def class_weights(self, label: Truth) -> NDArray[np.float32] | None:
        """``[classes]``: the mean count over the class's count."""
        counts = np.bincount(label, minlength=self.classes)
        return (len(label) / self.classes / np.maximum(1, counts)).astype(np.float32)

    def strata(self, label: Truth) -> NDArray[np.int64]:
        """The class."""
        return label.astype(np.int64)

    def add_logit(self, graph: GraphNodes, answers: str, members: int, encoded: Encoded) -> None:
        """See :class:`~eventscore_training.tasks.task.Task`."""
        if not members:
            graph.add("Identity", [answers], LOGIT)
            return
        logarithms = graph.add("LogSoftmax", [answers], "members.log", axis=2)
        # Along the last axis: ONNX Runtime sums a lone event's members in another order otherwise.
        turned = graph.add("Transpose", [logarithms], "members.turned", perm=[0, 2, 1])
        summed = graph.add("ReduceLogSumExp", [turned], "members.summed", axes=[2], keepdims=0)
        count = graph.constant("members.count", np.array([-math.log(members)], np.float32))
        graph.add("Add", [summed, count], LOGIT)

    def uncalibrated(self) -> ScoreMap:
        """The softmax."""
        return ClassMap(ClassScaling("none", (1.0,) * self.classes, (0.0,) * self.classes))

    def calibrate(self, logits: Logits, label: Truth, wanted: str, fold: NDArray[np.int64]) -> Calibrated:
        """Temperature or vector scaling."""
        scaling, held_out = choose_class_calibration(logits, label, wanted, fold)
        return Calibrated(ClassMap(scaling), held_out)
