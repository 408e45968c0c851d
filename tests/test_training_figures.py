"""The figures of every task: what scikit-learn or the definition says, on whole rows and on rows that count several times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn import metrics as sklearn

from eventscore_training.evaluate import metrics_of
from eventscore_training.figures import TITLES, compared_figures, main_figure
from eventscore_training.weighted import weighted

pytestmark = pytest.mark.training
TASKS: tuple[Any, ...] = ("binary", "multiclass", "multilabel", "regression", "anomaly")
OPTIONS: dict[str, dict[str, float]] = {"multilabel": {"threshold": 0.4}, "regression": {"quantile": 0.8}}


def made(task: str, rows: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truth and scores that say something of it, with ties, in the shapes of ``task``."""
    random = np.random.default_rng(seed)
    if task == "multiclass":
        logits = random.normal(size=(rows, 4)).round(1)
        label = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
        return label, (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    if task == "regression":
        scores = random.normal(100, 20, rows).astype(np.float32)
        return scores + random.normal(0, 8, rows), scores
    scores = random.random((rows, 3) if task == "multilabel" else rows).astype(np.float32).round(2)
    return (random.random(scores.shape) < scores).astype(np.int8), scores


@pytest.mark.parametrize("task", TASKS)
def test_weighted_figures_are_those_of_repeated_rows(task: str) -> None:
    label, scores = made(task)
    options = OPTIONS.get(task, {})
    weight = np.random.default_rng(1).integers(0, 4, len(scores))
    repeated = metrics_of(task, np.repeat(label, weight, axis=0), np.repeat(scores, weight, axis=0), **options)
    measured = weighted(task, label, scores, **options).measure(weight.astype(np.float64))
    assert measured == pytest.approx(repeated, abs=1e-9)
    assert list(measured) == list(repeated), "the order in which they are told"
    assert set(repeated) <= set(TITLES)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_main_figure(task: Any) -> None:
    found = metrics_of(task, *made(task))
    assert main_figure(task).name in found
    assert {each.name for each in compared_figures(task)} <= set(found)


def test_the_figures_of_classes_are_those_of_scikit_learn() -> None:
    label, scores = made("multiclass")
    found, probability = metrics_of("multiclass", label, scores), scores.astype(np.float64)
    probability /= probability.sum(axis=1, keepdims=True)
    assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(label, scores.argmax(axis=1)))
    assert found["macro_f1"] == pytest.approx(sklearn.f1_score(label, scores.argmax(axis=1), average="macro"))
    assert found["log_loss"] == pytest.approx(sklearn.log_loss(label, probability), abs=1e-6)
    assert found["roc_auc"] == pytest.approx(sklearn.roc_auc_score(label, probability, multi_class="ovr"), abs=1e-6)
    precision = [sklearn.average_precision_score(label == place, scores[:, place]) for place in range(4)]
    assert found["pr_auc"] == pytest.approx(np.mean(precision))


def test_calibration_of_classes_is_that_of_the_most_likely_one() -> None:
    scores = np.tile(np.array([[0.7, 0.2, 0.1]], np.float32), (10, 1))
    label = np.array([0] * 4 + [1] * 6)
    assert metrics_of("multiclass", label, scores)["calibration_error"] == pytest.approx(0.3)


def test_the_figures_of_labels_are_averages_of_those_of_each() -> None:
    label, scores = made("multilabel")
    found = metrics_of("multilabel", label, scores, threshold=0.4)
    each = [metrics_of("binary", label[:, place], scores[:, place]) for place in range(3)]
    for name in ("roc_auc", "pr_auc", "log_loss", "calibration_error", "mean_score", "positive_share"):
        assert found[name] == pytest.approx(np.mean([one[name] for one in each]))
    named = (scores >= np.float32(0.4)).astype(int)
    assert found["macro_f1"] == pytest.approx(sklearn.f1_score(label, named, average="macro"))
    assert found["exact_match"] == pytest.approx(sklearn.accuracy_score(label, named))


def test_the_figures_of_amounts_are_those_of_scikit_learn() -> None:
    label, scores = made("regression")
    found = metrics_of("regression", label, scores, quantile=0.8)
    assert found["rmse"] == pytest.approx(sklearn.root_mean_squared_error(label, scores))
    assert found["mae"] == pytest.approx(sklearn.mean_absolute_error(label, scores))
    assert found["r2"] == pytest.approx(sklearn.r2_score(label, scores))
    assert found["pinball_loss"] == pytest.approx(sklearn.mean_pinball_loss(label, scores, alpha=0.8))
    assert found["coverage"] == pytest.approx(np.mean(label <= scores))
    assert not {"pinball_loss", "coverage"} & set(metrics_of("regression", label, scores))


def test_ranks_of_normal_events_should_be_uniform() -> None:
    even = ((np.arange(1000) + 0.5) / 1000).astype(np.float32)
    assert metrics_of("anomaly", None, even)["rank_error"] == pytest.approx(0.0005, abs=1e-6)
    assert metrics_of("anomaly", None, even / 2)["rank_error"] == pytest.approx(0.5, abs=1e-3)
    assert metrics_of("anomaly", None, np.full(4, 0.25, np.float32))["rank_error"] == pytest.approx(0.75)
    known = np.zeros(1000, np.int8)
    known[990:] = 1
    found = metrics_of("anomaly", known, np.where(known, 1, even).astype(np.float32))
    assert found["roc_auc"] == 1
    assert found["rank_error"] < 0.02, "known anomalies are none of the normal events"
    assert "roc_auc" not in metrics_of("anomaly", np.zeros(4, np.int8), even[:4])


def test_what_the_rows_do_not_have_is_left_out() -> None:
    scores = np.array([[0.8, 0.2, 0.0], [0.1, 0.9, 0.0]], np.float32)
    found = metrics_of("multiclass", np.array([0, 1]), scores)
    assert found["roc_auc"] == found["macro_f1"] == 1, "the class that does not occur is no part of the mean"
    assert "roc_auc" not in metrics_of("multiclass", np.array([0, 0]), scores)
    assert "r2" not in metrics_of("regression", np.ones(2), scores[:, 0])
    nothing = metrics_of("multilabel", np.zeros((2, 2), np.int8), np.zeros((2, 2), np.float32))
    assert not {"roc_auc", "macro_f1"} & set(nothing)


def test_a_figure_knows_what_is_worse() -> None:
    auc, rmse, ranks = main_figure("binary"), main_figure("regression"), main_figure("anomaly", labelled=False)
    assert main_figure("regression", quantile=0.9).name == "pinball_loss"
    assert (auc.name, rmse.name, ranks.name) == ("roc_auc", "rmse", "rank_error")
    assert auc.loss(0.8, 0.75) == pytest.approx(0.05)
    assert rmse.loss(200, 210) == pytest.approx(0.05), "in the label's unit no absolute step means anything"
    assert ranks.loss(0.1, 0.15) == pytest.approx(0.05)
    assert (auc.limit(0.8, 0.1), rmse.limit(200, 0.1)) == (pytest.approx(0.7), pytest.approx(220))
    assert auc.better(0.8, 0.7)
    assert rmse.better(1, 2)
