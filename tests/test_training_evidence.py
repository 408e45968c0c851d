"""The evidence beside the metrics: intervals, importance, decisions, slices, and a page that shows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import orders
from eventscore.contract import parse_contract
from eventscore_training import TrainedVersion, train
from eventscore_training.bands import bands_of
from eventscore_training.bootstrap import DAY_US, blocks_of, intervals
from eventscore_training.evaluate import evaluate
from eventscore_training.weighted import weighted

pytestmark = pytest.mark.training


def scored(rows: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    scores = random.random(rows).astype(np.float32).round(2)
    return (random.random(rows) < scores).astype(np.int8), scores


def test_an_interval_holds_the_figure_and_narrows_with_more_rows() -> None:
    widths = []
    for rows in (500, 8000):
        label, scores = scored(rows)
        found = intervals(weighted("binary", label, scores), np.arange(rows))
        for name, value in evaluate(label, scores).as_dict().items():
            low, high = found[name]
            # The calibration error is biased upwards in a resample: noise looks like miscalibration.
            assert low <= value <= high or name == "calibration_error"
        widths.append(found["roc_auc"][1] - found["roc_auc"][0])
    assert widths[0] > 2 * widths[1]


def test_days_that_differ_widen_the_interval() -> None:
    label, scores = scored()
    day = np.arange(len(label)) // 200
    off = np.clip(scores + np.random.default_rng(0).normal(0, 0.3, 20)[day], 0, 1).astype(np.float32)
    by_day, by_row = (
        intervals(weighted("binary", label, off), block)["mean_score"] for block in (day, np.arange(len(label)))
    )
    assert by_day[1] - by_day[0] > 2 * (by_row[1] - by_row[0])


def test_blocks_are_days_or_stretches_or_single_events() -> None:
    times = np.repeat(np.arange(12), 3) * DAY_US + 5
    block, words = blocks_of(times, len(times))
    assert (block == np.repeat(np.arange(12), 3)).all()
    assert words == "12 days"
    block, words = blocks_of(times[:15], 15)
    assert "20 stretches" in words
    assert (np.diff(block) > 0).all()
    assert blocks_of(None, 4)[1] == "single events"


def test_a_resample_of_one_class_has_no_ranking_and_is_left_out_for_it() -> None:
    label, scores = np.array([1, 0, 0, 0], np.int8), np.array([0.9, 0.1, 0.2, 0.3], np.float32)
    assert intervals(weighted("binary", label, scores), np.arange(4))["roc_auc"] == (1, 1)
    found = intervals(weighted("binary", np.zeros(4, np.int8), scores), np.arange(4))
    assert "roc_auc" not in found
    assert "log_loss" in found


COSTLY = orders.CONTRACT_TOML.replace("from = 0.4", "from = 0.4\ncost_if_positive = -10\ncost_if_negative = 2.5")


def test_the_confusion_at_each_band_with_its_cost() -> None:
    contract = parse_contract(COSTLY.encode(), "orders")
    label = np.array([0, 1, 0, 1, 1], np.int8)
    keep, check = bands_of(contract, label, np.array([0.1, 0.39, 0.4, 0.5, 0.9], np.float32))
    assert (keep.positives, keep.negatives, keep.cost, keep.recall) == (1, 1, None, 1.0)
    assert (check.rows, check.cost) == (3, -17.5)
    assert (check.precision, check.recall, check.false_positive_rate) == pytest.approx((2 / 3, 2 / 3, 1 / 2))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedVersion:
    folder: Path = tmp_path_factory.mktemp("evidence")
    gates = '\n[gates]\nmin_roc_auc = 0.999\n[gates.groups]\nfield = "channel"\ndecision = "check"\nmin_rows = 20\n'
    fit = {"epochs": 2, "batch_size": 64, "learning_rate": 0.01, "evaluations_per_epoch": 1}
    return train(orders.config(folder, {"fit": fit}, COSTLY + gates))


def test_importance_finds_what_matters_through_the_shipped_graph(run: TrainedVersion) -> None:
    ranked = {each["feature"]: each["cost"] for each in run.report.importance}
    assert next(iter(ranked)) == "amount"
    assert set(list(ranked)[:3]) == {"amount", "country", "age"}
    assert ranked["weight"] == pytest.approx(0, abs=0.02)


def test_unseen_values_are_counted(run: TrainedVersion) -> None:
    assert 0 < run.report.unseen["country"] < 0.1
    assert run.report.unseen["channel"] == 0


def test_the_figures_have_intervals(run: TrainedVersion) -> None:
    assert run.report.intervals["blocks"].startswith("20 stretches")
    low, high = run.report.intervals["metrics"]["roc_auc"]
    assert low < run.metrics["roc_auc"] < high


def test_the_page_shows_the_evidence_and_stays_small(run: TrainedVersion) -> None:
    page = (run.folder / "report.html").read_text()
    assert len(page) < 300_000
    for words in (
        "95 % interval", "before and", "What its decisions do", "Row by row", "per-channel, min-max", "Where it is weakest",
        "Groups", "training never saw", "What it rests on", "missed by 0.",
    ):  # fmt: skip
        assert words in page, words
    assert "nan" not in page.lower().replace("finance", "")
