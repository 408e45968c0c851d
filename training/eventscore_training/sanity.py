"""Before the table is learned: can the network learn a few rows by heart? What cannot do that is broken, not merely weak."""

from __future__ import annotations

import copy

import numpy as np
import torch

from eventscore_training.config import FitConfig
from eventscore_training.encoded import EncodedPart
from eventscore_training.errors import NothingLearned
from eventscore_training.loss import mean_loss
from eventscore_training.network import Network
from eventscore_training.optimise import new_optimizer

SANITY_ROWS = 128
SANITY_STEPS = 2_000
_BY_HEART = 0.5
"""Below this share of a constant answer's loss, on rows that can be told apart, the rows are as good as learned."""
_NOTHING = 0.8
"""Above this share after all steps nothing was learned. Between the two lie noisy tables, which are no fault."""
FEWEST_COLUMNS = 6
"""With fewer columns that vary, a sound network may fail to learn the lots of noise by heart, and the check would accuse it wrongly."""


def check_sanity(network: Network, train: EncodedPart, config: FitConfig, seed: int) -> float:
    """Let a copy of ``network`` learn 128 rows, half of either class, without dropout and decay; the answer is its loss.

    Rows with the same features and another label count once: nothing could tell them apart. Tables of fewer than
    ``FEWEST_COLUMNS`` columns are not checked.

    Raises:
        NothingLearned: the loss stays too high.

    """
    device = next(network.parameters()).device
    rows = _rows(train, seed)
    label = torch.from_numpy(train.label[rows].astype(np.float32)).to(device)
    numbers = torch.from_numpy(train.numbers[rows]).to(device)
    values = torch.from_numpy(train.rows[rows]).to(device)
    share = float(label.mean())
    constant = -(share * np.log(share) + (1 - share) * np.log(1 - share)) if 0 < share < 1 else 0.0
    if not constant:
        return 0.0  # fewer than two classes that can be told apart: nothing to learn by heart
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
        answer = mean_loss(learner.member_logits(numbers, values), label)
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


def _rows(train: EncodedPart, seed: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Up to 128 rows with features of their own, as even between the classes as they come."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(train.label))[: 64 * SANITY_ROWS]
    features = np.concatenate([train.numbers[order], train.rows[order]], axis=1)
    _, first = np.unique(features, axis=0, return_index=True)
    order = order[np.sort(first)]
    positives, negatives = order[train.label[order] == 1], order[train.label[order] == 0]
    half = SANITY_ROWS // 2
    taken = max(half, SANITY_ROWS - len(negatives))
    chosen = positives[:taken]
    return np.concatenate([chosen, negatives[: SANITY_ROWS - len(chosen)]])
