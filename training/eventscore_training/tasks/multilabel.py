"""Several labels at once, each with a logit of its own: the probabilities are independent and need not add up to one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from eventscore_training.calibrate import Calibration, Method, choose_calibration
from eventscore_training.evaluate import metrics_of
from eventscore_training.fold import add_calibration
from eventscore_training.graph_nodes import GraphNodes
from eventscore_training.tasks.binary import Binary, add_mean_of_probabilities, log_mean_probability, positive_weights
from eventscore_training.tasks.task import (
    LOGIT,
    SCORE,
    Calibrated,
    Encoded,
    Logits,
    ScoreMap,
    Truth,
)


class PerLabel:
    """Each label's column by a calibration of its own."""

    def __init__(self, names: tuple[str, ...], calibrations: tuple[Calibration, ...]) -> None:
        self.names = names
        self.calibrations = calibrations

    def scores(self, logits: Logits) -> NDArray[np.float64]:
        """Probabilities ``[n, labels]``."""
        return np.stack([each.scores(logits[:, k]) for k, each in enumerate(self.calibrations)], axis=1)

    def add_score(self, graph: GraphNodes) -> None:
        """See :class:`~eventscore_training.tasks.task.ScoreMap`."""
        logit = LOGIT
        if any(each.method != "none" for each in self.calibrations):
            columns = []
            for place, each in enumerate(self.calibrations):
                name = f"calibration.label{place}"
                # A scalar index drops the axis: [n, labels] to [n].
                index = graph.constant(f"{name}.index", np.array(place))
                column = graph.add("Gather", [LOGIT, index], name, axis=1)
                columns.append(
                    graph.add(
                        "Unsqueeze", [add_calibration(graph, column, each, name), graph.axis(1)], f"{name}.column"
                    )
                )
            logit = graph.add("Concat", columns, "calibration.labels", axis=1)
        graph.add("Sigmoid", [logit], SCORE)

    def as_dict(self) -> dict[str, Any]:
        """``method``: each label's, or that of all; ``labels``: each label's map."""
        labels = {name: each.as_dict() for name, each in zip(self.names, self.calibrations, strict=True)}
        methods = [each.method for each in self.calibrations]
        return {"method": methods[0] if len(set(methods)) == 1 else ", ".join(methods), "labels": labels}


class Multilabel(Binary):
    """The labels ``names``, in the order of the graph's columns."""

    name = "multilabel"
    selections: ClassVar[Mapping[str, bool]] = {"log_loss": False, "roc_auc": True, "pr_auc": True, "macro_f1": True}

    def __init__(self, names: tuple[str, ...], threshold: float = 0.5) -> None:
        self.names = names
        self.threshold = threshold

    @property
    def outputs(self) -> int:
        """One for each label."""
        return len(self.names)

    def target(self, label: Truth) -> NDArray[Any]:
        """``[n, labels]``."""
        return label.astype(np.float32)

    def mean(self, answers: Tensor, numbers: Tensor, rows: Tensor) -> Tensor:
        """``[n, labels]``."""
        return log_mean_probability(answers)

    def class_weights(self, label: Truth) -> NDArray[np.float32] | None:
        """``[labels]``: negatives for each positive."""
        return positive_weights(label)

    def strata(self, label: Truth) -> NDArray[np.int64]:
        """The combination of labels."""
        return np.unique(label, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)

    def figures(self, logits: Logits, label: Truth) -> dict[str, float]:
        """As of every task; F1 at the contract's threshold."""
        found = metrics_of(self.name, label, self.uncalibrated().scores(logits), threshold=self.threshold)
        return {name: found[name] for name in self.selections if name in found}

    def add_logit(self, graph: GraphNodes, answers: str, members: int, encoded: Encoded) -> None:
        """See :class:`~eventscore_training.tasks.task.Task`."""
        graph.add("Identity", [add_mean_of_probabilities(graph, answers, members)], LOGIT)

    def uncalibrated(self) -> ScoreMap:
        """Sigmoids."""
        return PerLabel(self.names, (Calibration("none"),) * self.outputs)

    def calibrate(self, logits: Logits, label: Truth, wanted: str, fold: NDArray[np.int64]) -> Calibrated:
        """Temperature, Platt or isotonic for each label by itself; ``held_out`` are means over the labels."""
        chosen = [
            choose_calibration(logits[:, k], label[:, k], cast("Method", wanted), fold) for k in range(self.outputs)
        ]
        methods = [method for method in self.calibrations if all(method in each.held_out for each in chosen)]
        held_out = {str(method): float(np.mean([each.held_out[method] for each in chosen])) for method in methods}
        return Calibrated(PerLabel(self.names, tuple(each.calibration for each in chosen)), held_out)
