"""Calibration: the best map on rows that did not fit it, none if none helps, and the same in the graph as in numpy."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

pytest.importorskip("onnx")
pytest.importorskip("sklearn")

import onnxruntime as ort
from onnx import TensorProto, helper

from eventscore_training.calibrate import (
    METHODS,
    Calibration,
    choose_calibration,
    fit_calibration,
    stretches,
)
from eventscore_training.export import fold_scores
from eventscore_training.tasks import LOGIT
from eventscore_training.tasks.binary import BinaryMap

pytestmark = pytest.mark.training

ROWS = 20_000


def truth(logit: np.ndarray, seed: int = 1) -> np.ndarray:
    return (np.random.default_rng(seed).random(len(logit)) < 1 / (1 + np.exp(-logit))).astype(np.int8)


def true_logits(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(-0.5, 1.5, ROWS)


def choice(logits: np.ndarray, label: np.ndarray, wanted: str = "auto") -> tuple[str, dict[str, float]]:
    chosen = choose_calibration(logits, label, wanted, stretches(None, len(label), 0))  # type: ignore[arg-type]
    return chosen.calibration.method, dict(chosen.held_out)


def bent(logit: np.ndarray) -> np.ndarray:
    """Overconfident on one side only: no scale and no shift mends it."""
    return np.where(logit > 0, 3 * logit, 0.5 * logit)


def test_none_is_chosen_where_none_helps() -> None:
    logit = true_logits()
    assert choice(logit, truth(logit))[0] == "none"


@pytest.mark.parametrize(
    ("distortion", "expected"), [(lambda x: 2.5 * x, "temperature"), (lambda x: x + 1, "platt"), (bent, "isotonic")]
)
def test_the_map_that_mends_the_distortion_wins(distortion: object, expected: str) -> None:
    logit = true_logits()
    assert choice(distortion(logit), truth(logit))[0] == expected  # type: ignore[operator]


def test_each_method_can_be_asked_for_by_name_and_all_are_reported() -> None:
    logit = true_logits()
    for method in METHODS:
        chosen, held_out = choice(2 * logit, truth(logit), method)
        assert chosen == method
        assert set(held_out) == set(METHODS)


def test_rows_that_fitted_a_map_do_not_judge_it() -> None:
    random = np.random.default_rng(0)
    logit, label = random.normal(size=300), (random.random(300) < 0.5).astype(np.int8)
    _, held_out = choice(logit * 0.01, label)
    # On its own rows the richest map could not lose; here it pays for what it made of noise.
    assert held_out["isotonic"] > held_out["none"] - 1e-3


def test_a_label_of_one_class_in_a_fold_leaves_the_scores_alone() -> None:
    label = np.zeros(100, np.int8)
    label[:5] = 1
    fold = stretches(np.arange(100), 100, 0)
    assert choose_calibration(np.linspace(0, 1, 100), label, "auto", fold).calibration.method == "none"


def test_stretches_follow_time() -> None:
    fold = stretches(np.array([50, 10, 40, 20, 30]), 5, 0)
    assert fold.tolist() == [4, 0, 3, 1, 2]
    assert sorted(np.bincount(stretches(None, 11, 0))) == [2, 2, 2, 2, 3]


def test_isotonic_keeps_the_ranking_even_beyond_its_knots() -> None:
    logit = true_logits()
    fitted = fit_calibration(bent(logit), truth(logit), "isotonic")
    assert 2 <= len(fitted.knots) <= 32
    scores = fitted.scores(np.linspace(-14, 14, 5001))
    assert (np.diff(scores) > 0).all()
    assert ((scores > 0) & (scores < 1)).all()


def test_isotonic_of_a_constant_logit_is_its_share_of_positives() -> None:
    label = (np.arange(1000) % 4 == 0).astype(np.int8)
    fitted = fit_calibration(np.full(1000, 0.3), label, "isotonic")
    assert len(fitted.knots) == 1
    assert fitted.scores(np.array([0.3]))[0] == pytest.approx(0.25, abs=0.01)
    np.testing.assert_allclose(run(fitted, np.full(3, 0.3)), 0.25, atol=0.01)


def graph() -> onnx.ModelProto:
    """A graph that is nothing but its logit and the sigmoid of that, named as the exporter names them."""
    nodes = [helper.make_node("Identity", ["x"], [LOGIT]), helper.make_node("Sigmoid", [LOGIT], ["score"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "score")]
    body = helper.make_graph(nodes, "logit", ends[:1], ends[1:])
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(calibration: Calibration, logits: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(fold_scores(graph(), BinaryMap(calibration)).SerializeToString(), options)
    answers: np.ndarray = session.run(None, {"x": logits.astype(np.float32)})[0]
    return answers


@pytest.mark.parametrize("method", METHODS)
def test_the_graph_calibrates_as_numpy_does_and_no_row_sees_another(method: str) -> None:
    logit = true_logits()
    calibration = fit_calibration(bent(logit), truth(logit), method)  # type: ignore[arg-type]
    x = np.concatenate([np.linspace(-12, 12, 999), [1e4]]).astype(np.float32)
    whole = run(calibration, x)
    np.testing.assert_allclose(whole, calibration.scores(x), atol=2e-6)
    assert (np.diff(whole) >= -2e-7).all()  # as far as ONNX Runtime's sigmoid itself rises
    for size in (1, 3, 7, 100):
        parts = [run(calibration, x[start : start + size]) for start in range(0, 60, size)]
        assert (np.concatenate(parts)[:60] == whole[:60]).all(), size
    assert run(calibration, x[:0]).shape == (0,)
