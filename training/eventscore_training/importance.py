"""Permutation importance through the graph that is shipped: how much ranking a feature carries (Breiman, "Random Forests", 2001).

A feature that another one repeats looks unimportant, since the other one still tells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eventscore.contract import Contract
from eventscore.session import ScoringSession
from eventscore_training.evaluate import log_loss, roc_auc
from eventscore_training.table import Table, graph_inputs

MAX_ROWS = 4_096
REPEATS = 3


@dataclass(frozen=True)
class Importance:
    """What shuffling a feature among the events costs, on average over the repeats."""

    feature: str
    roc_auc_loss: float
    log_loss_gain: float


def permutation_importance(graph: bytes, contract: Contract, test: Table, seed: int = 0) -> tuple[Importance, ...]:
    """Every feature, the most important first, on a sample of up to 4,096 rows; none where the sample holds one class."""
    random = np.random.default_rng(seed)
    rows = np.sort(random.permutation(test.rows)[:MAX_ROWS])
    label, inputs = test.label[rows], graph_inputs(test.columns[rows], contract)
    if not 0 < label.mean() < 1:
        return ()
    session = ScoringSession(graph, contract, "the run's graph")
    scores = session.score(dict(inputs))
    base = roc_auc(label, scores), log_loss(label, scores)
    found = []
    for name in contract.features:
        key, columns = (
            ("numbers", contract.numbers) if name in contract.numbers else ("categories", contract.categories)
        )
        place, losses = columns.index(name), []
        for _ in range(REPEATS):
            shuffled = inputs[key].copy()
            shuffled[:, place] = random.permutation(shuffled[:, place])
            scores = session.score({**inputs, key: shuffled})
            losses.append((base[0] - roc_auc(label, scores), log_loss(label, scores) - base[1]))
        auc, loss = np.mean(losses, axis=0)
        found.append(Importance(name, float(auc), float(loss)))
    return tuple(sorted(found, key=lambda each: -each.roc_auc_loss))
