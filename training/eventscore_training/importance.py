"""Permutation importance through the graph that is shipped: what each feature carries (Breiman, "Random Forests", 2001).

A feature that another one repeats looks unimportant, since the other one still tells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eventscore.contract import Contract
from eventscore.session import ScoringSession
from eventscore_training.judges import Judge
from eventscore_training.table import Table, graph_inputs

MAX_ROWS = 4_096
REPEATS = 3


@dataclass(frozen=True)
class Importance:
    """What shuffling a feature among the events costs in the task's main figure, on average over the repeats.

    In the figure's own unit, positive where it gets worse: lost ROC-AUC, added RMSE.
    """

    feature: str
    cost: float


def permutation_importance(
    graph: bytes, contract: Contract, test: Table, judge: Judge, seed: int = 0
) -> tuple[Importance, ...]:
    """Every feature, the most important first, on a sample of up to 4,096 rows; none where the sample lacks the main figure."""
    random = np.random.default_rng(seed)
    rows = np.sort(random.permutation(test.rows)[:MAX_ROWS])
    inputs = graph_inputs(test.columns[rows], contract)
    label = test.label[rows] if judge.labelled else None
    session = ScoringSession(graph, contract, "the run's graph")
    name, sign = judge.main.name, 1 if judge.main.higher_is_better else -1
    base = judge.metrics(label, session.score(dict(inputs))).get(name)
    if base is None:
        return ()
    found = []
    for feature in contract.features:
        key, columns = (
            ("numbers", contract.numbers) if feature in contract.numbers else ("categories", contract.categories)
        )
        place, costs = columns.index(feature), []
        for _ in range(REPEATS):
            shuffled = inputs[key].copy()
            shuffled[:, place] = random.permutation(shuffled[:, place])
            costs.append(sign * (base - judge.metrics(label, session.score({**inputs, key: shuffled}))[name]))
        found.append(Importance(feature, float(np.mean(costs))))
    return tuple(sorted(found, key=lambda each: -each.cost))
