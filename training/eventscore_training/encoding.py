"""How raw fields become the network's inputs: learned from the training part only, frozen, and written into the graph later.

Numbers: a gap is filled with the median and may be flagged; then ``(x - mean) / scale`` and a smooth clip, or the normal deviate of
its rank, linear between knots that are clipped in the same way. Categories: a row number of an embedding table. Row 0 is the gap,
row 1 is shared by unseen and rare values, the rest belong to values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from eventscore.contract import Contract
from eventscore.contract_features import CategoryFeature
from eventscore_training.config import NetworkConfig
from eventscore_training.knots import middle_ranks, spread_knots
from eventscore_training.table import Table, numbers_of

MISSING_ROW = 0
SHARED_ROW = 1
FIRST_VALUE_ROW = 2
QUANTILES = 33
SMALLEST_STEP = 1e-290
FAR_OUT = 1e6
"""Standardised numbers are cut here before they become float32, whose squares would overflow; the smooth clip is flat long before."""


@dataclass(frozen=True)
class Vocabulary:
    """A category's values in the order of their rows (the first has row 2), and the width of their embedding."""

    name: str
    values: tuple[str, ...]
    width: int

    @property
    def rows(self) -> int:
        """Rows of the embedding table."""
        return len(self.values) + FIRST_VALUE_ROW

    def rows_of(self, column: pl.Series) -> NDArray[np.int64]:
        """The row of each value of ``column``; null is the gap."""
        known = {value: row for row, value in enumerate(self.values, FIRST_VALUE_ROW)}
        encoded = column.replace_strict(
            list(known), list(known.values()), default=SHARED_ROW, return_dtype=pl.Int64
        )  # null is looked up like a value, and is none
        return np.where(column.is_null().to_numpy(), MISSING_ROW, encoded.fill_null(SHARED_ROW).to_numpy())


@dataclass(frozen=True)
class Ranks:
    """A number's quantiles in training, ``knots``, and the clipped normal deviates ``values`` that take their places; both rise.

    A constant number has two knots with the value 0.
    """

    knots: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Encoding:
    """The frozen encoding of one contract.

    ``medians``, ``means``, ``scales``: float64 ``[len(numbers)]``. ``flagged``: the columns of ``numbers`` whose gaps the
    network is told of. ``vocabularies``: one for each category, in the contract's order. ``ranks``: one for each number where
    they are scaled by quantiles; then means are 0 and scales 1.
    """

    medians: NDArray[np.float64]
    means: NDArray[np.float64]
    scales: NDArray[np.float64]
    clip_at: float
    flagged: tuple[int, ...]
    vocabularies: tuple[Vocabulary, ...]
    ranks: tuple[Ranks, ...] | None = None

    @property
    def edges(self) -> tuple[NDArray[np.float32], ...] | None:
        """Encoded knots where numbers are scaled by quantiles: bins with these edges are cut once, for the scaling and for themselves."""
        if self.ranks is None:
            return None
        varying = (each.values[-1] > each.values[0] for each in self.ranks)
        return tuple(
            (each.values if varies else np.array([0, 1])).astype(np.float32)
            for each, varies in zip(self.ranks, varying, strict=True)
        )

    @property
    def width(self) -> int:
        """Width of the network's input: numbers, flags, embeddings."""
        return len(self.means) + len(self.flagged) + sum(vocabulary.width for vocabulary in self.vocabularies)

    def encode(self, columns: pl.DataFrame, contract: Contract) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Encode the features of a table: ``[rows, numbers + flags]`` and row numbers ``[rows, categories]``."""
        raw = numbers_of(columns, contract)
        gaps = np.isnan(raw)
        # Double until here, as in the graph: a large number minus a large mean must not lose its digits.
        filled = np.where(gaps, self.medians, raw)
        if self.ranks is None:
            scaled = (filled - self.means) / self.scales
            standard = np.clip(scaled, -FAR_OUT, FAR_OUT).astype(np.float32)
            clipped = smooth_clip(standard, self.clip_at)
        else:
            columns_of_ranks = [np.interp(filled[:, k], each.knots, each.values) for k, each in enumerate(self.ranks)]
            clipped = (np.stack(columns_of_ranks, axis=1) if columns_of_ranks else filled).astype(np.float32)
        rows = [vocabulary.rows_of(columns[vocabulary.name]) for vocabulary in self.vocabularies]
        numbers = np.concatenate([clipped, gaps[:, list(self.flagged)].astype(np.float32)], axis=1)
        return numbers, np.stack(rows, axis=1) if rows else np.zeros((columns.height, 0), np.int64)


def learn_encoding(train: Table, contract: Contract, config: NetworkConfig) -> Encoding:
    """Learn medians, means, scales and vocabularies from the training part."""
    raw = numbers_of(train.columns, contract)
    count = raw.shape[1]
    medians, means, scales = np.zeros(count), np.zeros(count), np.ones(count)
    ranks: list[Ranks] = []
    for index in range(count):
        known = raw[~np.isnan(raw[:, index]), index]
        if len(known):
            medians[index] = np.median(known)
        filled = np.where(np.isnan(raw[:, index]), medians[index], raw[:, index])
        if config.scaling == "quantile":
            ranks.append(_ranks(filled, config))
        elif config.scaling == "robust":
            means[index], scales[index] = medians[index], _robust_scale(filled, medians[index])
        else:
            means[index] = filled.mean()
            scales[index] = _some_scale(float(filled.std()), means[index])
    flagged = tuple(index for index, name in enumerate(contract.numbers) if contract.features[name].missing == "median")
    vocabularies = tuple(
        _vocabulary(name, train.columns[name], contract.features[name], config) for name in contract.categories
    )
    by_quantiles = tuple(ranks) if config.scaling == "quantile" else None
    return Encoding(medians, means, scales, config.clip_at, flagged, vocabularies, by_quantiles)


def smooth_clip(z: NDArray[Any], at: float) -> NDArray[Any]:
    """``z / sqrt(1 + (z / at)^2)``, which never leaves +-at (arXiv 2407.04491, section 3), in the precision of ``z``."""
    bend = z * (1 / at)
    clipped: NDArray[Any] = z / np.sqrt(1 + bend * bend)
    return clipped


def _some_scale(spread: float, centre: float) -> float:
    """A constant column says nothing; it must not divide by zero, and not explode when it starts to vary."""
    return spread if spread > 1e-12 * max(1.0, abs(centre)) else max(1.0, abs(centre))


def _robust_scale(filled: NDArray[np.float64], median: float) -> float:
    """Distance of the quartiles; of a number that rarely leaves its median, half its range (arXiv 2407.04491, appendix A)."""
    low, high = np.quantile(filled, [0.25, 0.75]) if len(filled) else (0.0, 0.0)
    if high > low:
        return float(high - low)
    return _some_scale(float(np.ptp(filled)) / 2 if len(filled) else 0.0, median)


def _ranks(filled: NDArray[np.float64], config: NetworkConfig) -> Ranks:
    """Ranks against a normal distribution; a value that many rows share has their middle rank."""
    count = config.bins + 1 if config.number_embedding == "piecewise-linear" else QUANTILES
    filled = filled if len(filled) else np.zeros(1)
    knots = spread_knots(filled, count)
    deviates = np.array([NormalDist().inv_cdf(float(share)) for share in middle_ranks(filled, knots)])
    values = smooth_clip(deviates, config.clip_at)
    # Two knots that float32 cannot tell apart are one, and so are those whose distance has no reciprocal.
    apart = (np.diff(values.astype(np.float32)) > 0) & (np.diff(knots) > SMALLEST_STEP)
    rising = np.concatenate([[True], apart])
    knots, values = knots[rising], values[rising]
    if len(knots) == 1:
        return Ranks(np.array([knots[0], knots[0] + 1]), np.array([0.0, 0.0]))
    return Ranks(knots, values)


def _vocabulary(name: str, column: pl.Series, feature: object, config: NetworkConfig) -> Vocabulary:
    counts = column.drop_nulls().value_counts(name="n").filter(pl.col("n") >= config.min_count)
    values = counts.sort(["n", name], descending=[True, False])[name].to_list()
    if isinstance(feature, CategoryFeature) and feature.values is not None:
        values = [value for value in values if value in set(feature.values)]
    # Two values need one dimension, a thousand need more: 1.6 n^0.56 (the rule of fastai's tabular learner), bounded.
    width = min(config.embedding_width, math.ceil(1.6 * (len(values) + FIRST_VALUE_ROW) ** 0.56))
    return Vocabulary(name, tuple(values), width)
