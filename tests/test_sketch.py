"""Drift sketches: every scored event is counted once, in the bins of its version's baseline, and sketches add up in any order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import reduce
from operator import add
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import small_model
from eventscore.artifact import Artifact
from eventscore.baseline import Baseline, parse_baseline
from eventscore.columns import Table
from eventscore.contract import parse_contract
from eventscore.decision_bands import band_of
from eventscore.drift_watch import ROWS_THAT_WAIT, DriftWatch
from eventscore.errors import BaselineInvalid, SketchesDiffer
from eventscore.scorer import VersionScorer
from eventscore.scoring import Answer
from eventscore.sketch import Sketch, parse_sketch
from eventscore_training.baseline import _histogram, build_baseline

NOW = datetime(2026, 11, 21, 10, 15, tzinfo=UTC)
BEGAN, ENDED = 1_763_720_100.0, 1_763_720_160.0
CONTRACT = small_model.contract()
COUNTRIES = ["FR", "DE", "IT", "ES"]


def table(rows: int) -> pl.DataFrame:
    """A training part: numbers with ties, gaps and few values, categories with a long tail."""
    chance = np.random.default_rng(7)
    return pl.DataFrame(
        {
            "amount": chance.integers(0, 40, rows) * 12.5,
            "balance": [
                None if gap else value
                for gap, value in zip(chance.random(rows) < 0.2, chance.normal(0, 3, rows), strict=True)
            ],
            "is_new": (chance.random(rows) < 0.3).astype(np.float64),
            "country": chance.choice([*COUNTRIES, None], rows).tolist(),
            "channel": chance.choice(["web", "shop"], rows).tolist(),
        }
    )


SCORES = np.random.default_rng(8).random(500).astype(np.float32)
DOCUMENT = build_baseline(table(500), CONTRACT, SCORES, SCORES)
RAW = json.dumps(DOCUMENT).encode()
BASELINE = parse_baseline(RAW, "baseline.json", CONTRACT)


def watch(version: str = "v1", baseline: Baseline = BASELINE) -> DriftWatch:
    return DriftWatch("small", version, CONTRACT, baseline, BEGAN)


def edges(name: str) -> list[float]:
    found: list[float] = DOCUMENT["numbers"][name]["edges"]
    return found


EVENTS = st.builds(
    small_model.event,
    amount=st.sampled_from(edges("amount")) | st.floats(0, 1000),
    balance=st.sampled_from([*edges("balance"), None, ...]) | st.floats(-100, 100),
    is_new=st.sampled_from([True, False, None, ...]),
    country=st.sampled_from([*COUNTRIES, "unseen", "é", None, ...]),
    channel=st.sampled_from(["web", "shop"]),
)
POISON = st.sampled_from([{}, {"order": "o-1"}, small_model.event(amount="much"), small_model.event(channel="fax")])
BATCHES = st.lists(st.lists(EVENTS | POISON, max_size=12), max_size=6)


def sketch_of(artifact: Artifact, batches: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[Sketch | None, list[Any]]:
    """The sketch of what a scorer met in these batches; and of each scored event, the event with its answer."""
    scorer = VersionScorer(artifact)
    scorer.watch = watch()
    scored = []
    for batch in batches:
        outcomes = scorer.score([json.dumps(event).encode() for event in batch], NOW)
        scored += [(event, of) for event, of in zip(batch, outcomes, strict=True) if isinstance(of, Answer)]
    return scorer.watch.take(ENDED), scored


@given(BATCHES)
def test_every_scored_event_is_counted_once_and_no_rejected_one(
    small_artifact: Artifact, batches: list[list[dict[str, Any]]]
) -> None:
    sketch, scored = sketch_of(small_artifact, batches)
    if not scored:
        assert sketch is None
        return
    assert sketch is not None
    assert sketch.events == len(scored)
    for name, number in sketch.numbers.items():
        values = [event.get(name) for event, _ in scored]
        present = np.array([value for value in values if value is not None], np.float64)
        # The very histogram of the training job, with the same borders.
        expected = _histogram(present, np.array(DOCUMENT["numbers"][name]["edges"]))
        assert list(number.counts) == expected["counts"]
        assert number.missing == values.count(None)
    for name, category in sketch.categories.items():
        texts = [event.get(name) for event, _ in scored]
        known = list(DOCUMENT["categories"][name]["values"])
        assert list(category.counts) == [texts.count(value) for value in known]
        assert category.missing == texts.count(None)
        assert category.other == len(scored) - sum(category.counts) - category.missing
    scores = np.array([answer.score for _, answer in scored])
    assert list(sketch.score) == _histogram(scores, np.array(DOCUMENT["score"]["edges"]))["counts"]
    decided = [answer.decision for _, answer in scored]
    assert sketch.decisions == {name: decided.count(name) for name in ("accept", "decline")}


@given(BATCHES, st.randoms())
def test_sketches_add_up_to_the_sketch_of_all_in_any_order(
    small_artifact: Artifact, batches: list[list[dict[str, Any]]], chance: Any
) -> None:
    whole, _ = sketch_of(small_artifact, batches)
    parts = [part for part, _ in (sketch_of(small_artifact, [batch]) for batch in batches) if part is not None]
    chance.shuffle(parts)
    assert (reduce(add, parts) if parts else None) == whole


@given(BATCHES)
def test_a_sketch_is_the_same_when_it_was_written_and_read(
    small_artifact: Artifact, batches: list[list[dict[str, Any]]]
) -> None:
    sketch, _ = sketch_of(small_artifact, batches)
    if sketch is not None:
        assert parse_sketch(msgspec.json.encode(sketch)) == sketch


def test_a_sketch_says_from_when_to_when_it_counts_and_the_next_begins_there(small_artifact: Artifact) -> None:
    scorer, of = VersionScorer(small_artifact), watch()
    scorer.watch = of
    scorer.score([small_model.message()], NOW)
    assert not of.due(ENDED - 0.1, 60.0)
    assert of.due(ENDED, 60.0)
    first = of.take(ENDED)
    assert first is not None
    assert (first.began, first.ended) == ("2025-11-21T10:15:00.000Z", "2025-11-21T10:16:00.000Z")
    assert of.take(ENDED + 60) is None, "nothing was scored"
    scorer.score([small_model.message()], NOW)
    second = of.take(ENDED + 120)
    assert second is not None
    assert (second.began, second.ended, second.events) == ("2025-11-21T10:17:00.000Z", "2025-11-21T10:18:00.000Z", 1)


def test_what_waits_to_be_counted_and_what_unseen_values_take_is_bounded(small_artifact: Artifact) -> None:
    scorer, of = VersionScorer(small_artifact), watch()
    scorer.watch = of
    rows = 0
    for start in range(0, 8 * ROWS_THAT_WAIT, 100):
        scorer.score([small_model.message(country=f"c{number}") for number in range(start, start + 100)], NOW)
        rows += 100
        assert of._waiting_rows < ROWS_THAT_WAIT
        assert sum(len(values) // 2 for _, values, _ in of._waiting) == of._waiting_rows
    sketch = of.take(ENDED)
    assert sketch is not None
    assert sketch.categories["country"].other == sketch.events == rows
    assert len(sketch.categories["country"].counts) == len(COUNTRIES)


@pytest.mark.parametrize(("max_length", "waits"), [(12, 511), (256, 511), (10_000, 203)])
def test_the_larger_a_row_may_be_the_fewer_wait(small_artifact: Artifact, max_length: int, waits: int) -> None:
    toml = small_model.CONTRACT_TOML.replace("max_length = 12", f"max_length = {max_length}")
    contract = parse_contract(toml.replace("max_bytes = 2000", "max_bytes = 60000").encode(), "large rows")
    of = DriftWatch("small", "v1", contract, BASELINE, BEGAN)
    decoded, seen = small_artifact.decoder.decode_all([small_model.message()]), 0
    for _ in range(ROWS_THAT_WAIT):
        of.observe(decoded.table, SCORES[:1])
        seen = max(seen, of._waiting_rows)
    assert (seen, of.events) == (waits, ROWS_THAT_WAIT)


def test_a_sketch_that_cannot_be_made_ends_the_watch_and_costs_no_event(small_artifact: Artifact) -> None:
    scorer, of = VersionScorer(small_artifact), watch()
    of._of_values.append(of._of_values[0])
    of._of_score._borders.append(np.zeros(3))  # no score has a second column
    scorer.watch = of
    messages = [small_model.message()] * ROWS_THAT_WAIT
    assert all(isinstance(outcome, Answer) for outcome in scorer.score(messages, NOW))
    assert of.error is not None
    assert of.due(BEGAN, 60.0), "to be told of"
    assert of.take(ENDED) is None
    assert not of._waiting
    assert isinstance(scorer.score([small_model.message()], NOW)[0], Answer)
    assert not of._waiting


CLASSES = """
format = 1
[model]
name = "classes"
task = "multiclass"
[event]
id = "order"
[features.amount]
type = "number"
[label]
field = "kind"
classes = ["a", "b"]
"""


def test_of_several_scores_each_is_counted_and_the_highest_decides() -> None:
    contract = parse_contract(CLASSES.encode(), "classes")
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], np.float32)
    document = build_baseline(pl.DataFrame({"amount": [1.0, 2.0, 3.0]}), contract, scores, scores.max(axis=1))
    of = DriftWatch("classes", "v", contract, parse_baseline(json.dumps(document).encode(), "b", contract), BEGAN)
    of.observe(Table({"numbers": np.array([[1.0], [2.0], [3.0]])}, [], []), scores)
    sketch = of.take(ENDED)
    assert sketch is not None
    assert list(sketch.score) == document["score"]["counts"]
    assert {name: list(counts) for name, counts in sketch.outputs.items()} == {
        name: each["counts"] for name, each in document["outputs"].items()
    }
    assert list(sketch.numbers["amount"].counts) == document["numbers"]["amount"]["counts"]


def test_sketches_of_different_versions_or_bins_do_not_add_up(small_artifact: Artifact) -> None:
    sketch, _ = sketch_of(small_artifact, [[small_model.event()]])
    assert sketch is not None
    with pytest.raises(SketchesDiffer, match="small/v2"):
        sketch + msgspec.structs.replace(sketch, version="v2")
    with pytest.raises(SketchesDiffer, match="bins"):
        sketch + msgspec.structs.replace(sketch, score=(*sketch.score, 0))


def changed(change: Any) -> bytes:
    document = json.loads(RAW)
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "truncated"),
        (RAW[:-1], "truncated"),
        (b"\xff{}", "utf-8|malformed|invalid"),
        (changed(lambda document: document.update(format=2)), "format"),
        (changed(lambda document: document["numbers"].pop("amount")), "expected the contract's numbers"),
        (
            changed(lambda document: document["categories"].update(more={"values": {}})),
            "expected the contract's categories",
        ),
        (
            changed(lambda document: document.update(outputs={"a": document["score"]})),
            "expected the contract's outputs",
        ),
        (changed(lambda document: document["score"]["counts"].pop()), "one bin more than edges of score"),
        (changed(lambda document: document["numbers"]["amount"]["edges"].reverse()), "ascending edges .* of amount"),
    ],
)
def test_a_baseline_that_cannot_be_counted_with_says_why(raw: bytes, said: str) -> None:
    with pytest.raises(BaselineInvalid, match=said):
        parse_baseline(raw, "small/versions/v1/baseline.json", CONTRACT)


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1e-3, 1e9, 1e30])
def test_numbers_of_every_size_have_bins_that_the_function_can_count_in(scale: float) -> None:
    amounts = np.random.default_rng(9).random(500) * scale
    part = table(500).with_columns(amount=pl.Series(amounts))
    document = build_baseline(part, CONTRACT, SCORES, SCORES)
    bins = parse_baseline(json.dumps(document).encode(), "baseline.json", CONTRACT).numbers["amount"]
    assert bins.counts == (25,) * 20
    assert _histogram(amounts, np.array(bins.edges))["counts"] == list(bins.counts), "as written, so counted"


def test_borders_that_cannot_be_told_apart_are_one() -> None:
    part = table(500).with_columns(amount=pl.Series(1e9 + np.arange(500) // 12 * 2.0**-23))
    document = build_baseline(part, CONTRACT, SCORES, SCORES)
    bins = parse_baseline(json.dumps(document).encode(), "baseline.json", CONTRACT).numbers["amount"]
    assert sum(bins.counts) == 500


def test_a_score_on_the_border_of_two_decisions_is_counted_where_it_is_decided() -> None:
    bands = [("low", 0.0), ("middle", 0.25), ("high", 0.5)]
    decisions = "".join(f'[[decisions]]\nname = "{name}"\nfrom = {start}\n' for name, start in bands)
    toml = CLASSES.replace("multiclass", "binary").replace('classes = ["a", "b"]', "") + decisions
    contract = parse_contract(toml.encode(), "bands")
    one_below = np.nextafter(np.float32(0.5), np.float32(0))
    scores = np.array([0.0, 0.25, one_below, 0.5, 1.0], np.float32)
    document = build_baseline(pl.DataFrame({"amount": [1.0]}), contract, scores, scores)
    of = DriftWatch("bands", "v", contract, parse_baseline(json.dumps(document).encode(), "b", contract), BEGAN)
    of.observe(Table({"numbers": np.ones((5, 1))}, [], []), scores)
    sketch = of.take(ENDED)
    assert sketch is not None
    decided = [band_of(score, bands) for score in scores.tolist()]
    assert sketch.decisions == {name: decided.count(name) for name, _ in bands} == {"low": 1, "middle": 2, "high": 2}
