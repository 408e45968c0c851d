"""The search for an int8 recipe: the cheapest that loses little enough on the validation part.

Tried are weights per channel and per tensor, each with min-max, percentile and entropy ranges; if none of them passes, the best of
them with its first or its last hidden layer left in float. A candidate passes if the task's figure (`judges.Judge.int8_loss`: ROC-AUC,
RMSE, or the ranks themselves) and its single scores keep the contract's gates: ``max_int8_auc_loss`` (0.001 where there is none) or
``max_int8_rmse_increase`` (0.005), and ``max_int8_row_difference``.

The cheapest has the fewest layers in float, then the fewest bytes; candidates within one per cent of bytes cost the same, and the one
that moves scores least is taken. Microseconds are measured and told but choose nothing: the same seed has to make the same bytes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
import polars as pl

from eventscore.contract import Contract
from eventscore_training.config import QuantizationConfig
from eventscore_training.inference import run_graph
from eventscore_training.judges import Judge
from eventscore_training.latency import latency_us
from eventscore_training.quantize import Recipe, layers_of, quantize
from eventscore_training.table import Table

MAX_ROWS = 20_000
"""Validation rows that judge a candidate; the shipped one is judged on the whole test part."""


@dataclass(frozen=True)
class Candidate:
    """A recipe and what it costs and loses against float32 (differences of uncalibrated scores, on validation rows).

    ``loss``: of the task's figure (`judges.Judge.int8_loss`).
    """

    recipe: str
    size_bytes: int
    latency_us: float
    loss: float
    mean_difference: float
    largest_difference: float
    passed: bool
    chosen: bool = False


@dataclass(frozen=True)
class QuantizationSearch:
    """The chosen graph, and every candidate that was tried; the first is float32, for comparison."""

    model: onnx.ModelProto
    recipe: Recipe
    candidates: tuple[Candidate, ...]

    def as_dicts(self) -> tuple[dict[str, Any], ...]:
        """Plain values for ``report.json``."""
        return tuple(asdict(candidate) for candidate in self.candidates)


def search_quantization(
    fp32: onnx.ModelProto,
    contract: Contract,
    train: Table,
    validation: Table,
    config: QuantizationConfig,
    seed: int,
    judge: Judge,
) -> QuantizationSearch:
    """Try the recipes that ``config`` allows and choose; if none passes, the one that costs the task's figure the least."""
    end = time.monotonic() + config.budget_s
    trial = _Trial(fp32, contract, validation, seed, judge)
    tried: list[tuple[Recipe, onnx.ModelProto, Candidate]] = []

    def attempt(recipe: Recipe) -> None:
        if not tried or time.monotonic() < end:
            model = quantize(fp32, contract, train.columns, seed, recipe)
            tried.append((recipe, model, trial.candidate(str(recipe), model)))

    for recipe in _uniform(config):
        attempt(recipe)
    layers = layers_of(fp32)
    if config.float_layers == "auto" and len(layers) > 1 and not any(each.passed for _, _, each in tried):
        best = _choose(tried)[0]
        for layer in (layers[0], layers[-1]):
            attempt(Recipe(best.weights, best.ranges, (layer,)))
    chosen, model, _ = _choose(tried)
    candidates = [trial.float32]
    for recipe, _, candidate in tried:
        candidates.append(Candidate(**{**asdict(candidate), "chosen": recipe == chosen}))
    return QuantizationSearch(model, chosen, tuple(candidates))


def _uniform(config: QuantizationConfig) -> Iterator[Recipe]:
    fixed = () if config.float_layers == "auto" else config.float_layers
    # The likeliest first, in case the budget ends.
    for ranges in ("min-max", "percentile", "entropy"):
        for weights in ("per-channel", "per-tensor"):
            if config.ranges in ("auto", ranges) and config.weights in ("auto", weights):
                yield Recipe(weights, ranges, fixed)


def _choose(
    tried: list[tuple[Recipe, onnx.ModelProto, Candidate]],
) -> tuple[Recipe, onnx.ModelProto, Candidate]:
    passed = [each for each in tried if each[2].passed]
    if not passed:
        return min(tried, key=lambda each: (each[2].loss, each[2].largest_difference))
    fewest = min(len(recipe.float_layers) for recipe, _, _ in passed)
    equal = [each for each in passed if len(each[0].float_layers) == fewest]
    smallest = min(candidate.size_bytes for _, _, candidate in equal)
    near = [each for each in equal if each[2].size_bytes <= 1.01 * smallest]
    return min(near, key=lambda each: (each[2].mean_difference, str(each[0])))


class _Trial:
    """Measures candidates against the float32 graph on the same rows."""

    def __init__(self, fp32: onnx.ModelProto, contract: Contract, validation: Table, seed: int, judge: Judge) -> None:
        rows = np.sort(np.random.default_rng(seed).permutation(validation.rows)[:MAX_ROWS])
        self._columns: pl.DataFrame = validation.columns[rows]
        self._label = validation.label[rows] if judge.labelled else None
        self._contract, self._judge = contract, judge
        self._row_limit = contract.gates.max_int8_row_difference or math.inf
        raw = fp32.SerializeToString()
        self._answers = run_graph(raw, self._columns, contract)
        self._reference = judge.comparable(self._answers, self._answers)
        self.float32 = Candidate("float32", len(raw), self._latency_us(raw), 0.0, 0.0, 0.0, True)

    def candidate(self, recipe: str, model: onnx.ModelProto) -> Candidate:
        raw = model.SerializeToString()
        scores = self._judge.comparable(run_graph(raw, self._columns, self._contract), self._answers)
        moved = np.abs(scores - self._reference)
        loss = self._judge.int8_loss(self._label, self._reference, scores)
        mean, largest = float(moved.mean()), float(moved.max())
        passed = bool(loss <= self._judge.int8_limit and largest <= self._row_limit)
        return Candidate(recipe, len(raw), self._latency_us(raw), loss, mean, largest, passed)

    def _latency_us(self, raw: bytes) -> float:
        return round(latency_us(raw, self._columns, self._contract, round_s=0.02), 3)
