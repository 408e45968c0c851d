"""Before the table is learned: can the network learn a few rows by heart? What cannot do that is broken, not merely weak."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray

from eventscore_training.config import FitConfig
from eventscore_training.encoded import EncodedPart
from eventscore_training.errors import NothingLearned
from eventscore_training.network import Network
from eventscore_training.optimise import new_optimizer

SANITY_ROWS = 128
SANITY_STEPS = 2_000
_BY_HEART = 0.5
"""Below this share of a constant answer's loss, on rows that can be told apart, the rows are as good as learned."""
_NOTHING = 0.8
"""Above this share after all steps nothing was learned. Between the two lie noisy tables, which are no fault."""
_NOTHING_TO_LEARN = 1e-4
FEWEST_COLUMNS = 6
"""With fewer columns that vary, a sound network may fail to learn the lots of noise by heart, and the check would accuse it wrongly."""


def check_sanity(network: Network, train: EncodedPart, config: FitConfig, seed: int) -> float:
    """Let a copy of ``network`` learn 128 rows, spread over the classes, without dropout and decay; the answer is its loss.

    Rows with the same features and another label count once: nothing could tell them apart. Tables of fewer than
    ``FEWEST_COLUMNS`` columns are not checked.

    Raises:
        NothingLearned: the loss stays too high.

    """
    device, task = next(network.parameters()).device, network.task
    rows = _rows(train, task.strata(train.label), seed)
    arrays = task.target(train.label[rows]), train.numbers[rows], train.rows[rows]
    target, numbers, values = (torch.from_numpy(array).to(device) for array in arrays)
    answer = task.constant(target, numbers, values).expand(len(rows), 1, task.outputs)
    constant = float(task.loss(answer, target, numbers, values))
    if constant < _NOTHING_TO_LEARN:
        return 0.0  # one class, or one number: nothing to learn by heart
    columns = np.unique(np.concatenate([train.numbers[rows], train.rows[rows]], axis=1), axis=1)
    if int((columns != columns[0]).any(axis=0).sum()) < FEWEST_COLUMNS:
        return 0.0
    learner = copy.deepcopy(network)
    learner.dropout.p = 0.0
    plain = config.model_copy(update={"weight_decay": 0.0, "embedding_weight_decay": 0.0})
    optimizer = new_optimizer(learner, plain)
    learner.train()
    loss = constant
    for _ in range(SANITY_STEPS):
        optimizer.zero_grad(set_to_none=True)
        answer = task.loss(learner.answers(numbers, values), target, numbers, values)
        loss = float(answer.detach())
        if loss < _BY_HEART * constant:
            return loss
        if not np.isfinite(loss):
            break
        answer.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learner.parameters(), config.gradient_clip or 1.0)
        optimizer.step()
    if loss < _NOTHING * constant:
        return loss
    raise NothingLearned(len(rows), loss, _NOTHING * constant, SANITY_STEPS)


def _rows(train: EncodedPart, strata: NDArray[np.int64], seed: int) -> NDArray[np.intp]:
    """Up to 128 rows with features of their own, as even between the strata as they come."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(train.label))[: 64 * SANITY_ROWS]
    features = np.concatenate([train.numbers[order], train.rows[order]], axis=1)
    _, first = np.unique(features, axis=0, return_index=True)
    order = order[np.sort(first)]
    # Each row's place among those of its stratum: the first of all, then the second of all, ...
    places = np.empty(len(order), np.int64)
    for stratum in np.unique(strata[order]):
        inside = strata[order] == stratum
        places[inside] = np.arange(inside.sum())
    return order[np.argsort(places, kind="stable")][:SANITY_ROWS]
