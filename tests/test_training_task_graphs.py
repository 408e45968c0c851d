"""The graph of every task is its network: the same scores from raw fields, calibrated, in int8, alone and in any batch."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import order_tasks  # noqa: E402
from eventscore.columns import Columns  # noqa: E402
from eventscore.session import ScoringSession  # noqa: E402
from eventscore_training.evaluate import metrics_of  # noqa: E402
from eventscore_training.export import with_logit  # noqa: E402
from eventscore_training.inference import run_graph  # noqa: E402
from eventscore_training.table import graph_inputs  # noqa: E402
from eventscore_training.tasks.anomaly import learn_ranks  # noqa: E402
from order_networks import CASES, SIZES, Made, made  # noqa: E402

pytestmark = pytest.mark.training

rows = st.lists(
    st.fixed_dictionaries(
        {
            "amount": st.floats(0, 10_000),
            "weight": st.floats(-1e6, 1e6),
            "age": st.none() | st.floats(0, 120),
            "gift": st.none() | st.sampled_from([0.0, 1.0]),
            "country": st.none() | st.sampled_from(["FR", "DE", "SE", "X1", "Ž"]) | st.text(min_size=1, max_size=12),
            "channel": st.sampled_from(["web", "shop"]),
        }
    ),
    min_size=1,
    max_size=20,
)


def columns_of(drawn: list[dict[str, object]]) -> pl.DataFrame:
    contract = order_tasks.contract("binary")
    types = {name: pl.String if name in contract.categories else pl.Float64 for name in contract.features}
    return pl.DataFrame(drawn, schema=types)


@pytest.mark.parametrize(("variant", "shape"), CASES)
@settings(max_examples=15, deadline=None)
@given(drawn=rows)
def test_the_graph_answers_what_the_network_answers(variant: str, shape: str, drawn: list[dict[str, object]]) -> None:
    one, table = made(variant, shape), columns_of(drawn)
    logits = one.logits(table)
    np.testing.assert_allclose(run_graph(with_logit(one.fp32), table, one.contract), logits, rtol=2e-4, atol=2e-4)
    scores = run_graph(one.fp32.SerializeToString(), table, one.contract)
    expected = one.calibrated.map.scores(logits)
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-3 * one.task.unit)
    for graph in (one.fp32, one.int8):
        scores = run_graph(graph.SerializeToString(), table, one.contract)
        assert np.isfinite(scores).all()
        assert scores.shape == ((len(drawn), len(one.contract.outputs)) if one.contract.outputs else (len(drawn),))
        if variant != "regression":
            assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize(("variant", "shape"), CASES)
def test_scores_are_the_same_bits_alone_and_in_any_batch(variant: str, shape: str, precision: str) -> None:
    one = made(variant, shape)
    session = ScoringSession(getattr(one, precision).SerializeToString(), one.contract, "orders")
    inputs: Columns = dict(graph_inputs(one.table.columns.head(700), one.contract))
    inputs["numbers"][7] = [10_000, 3.4e38, 120, 1]
    whole = session.score(inputs)
    assert len(np.unique(whole, axis=0)) > 100, "scores that are all alike would prove nothing"
    for size in SIZES:
        parts = [
            session.score({name: values[start : start + size] for name, values in inputs.items()})
            for start in range(0, 700, size)
        ]
        assert (np.concatenate(parts) == whole).all(), size
    assert len(session.score({name: values[:0] for name, values in inputs.items()})) == 0


@pytest.mark.parametrize("variant", order_tasks.TASKS)
def test_int8_is_close_to_fp32(variant: str) -> None:
    one = made(variant)
    assert any(node.op_type == "QuantizeLinear" for node in one.int8.graph.node)
    answers = [run_graph(graph.SerializeToString(), one.table.columns, one.contract) for graph in (one.fp32, one.int8)]
    assert np.abs(answers[0] - answers[1]).mean() < 0.05 * one.task.unit
    assert (answers[0] != answers[1]).any()


@pytest.mark.parametrize(
    ("variant", "method"),
    [("multiclass", "none"), ("multiclass", "temperature"), ("multiclass", "vector")]
    + [("multilabel", method) for method in ("none", "temperature", "platt", "isotonic")],
)
def test_every_calibration_of_several_scores_is_folded_in_and_keeps_the_bits(variant: str, method: str) -> None:
    one = Made(variant, "tabm", calibration=method)
    assert method in one.calibrated.as_dict()["method"]
    columns = one.table.columns.head(500)
    graph = one.fp32.SerializeToString()
    whole = run_graph(graph, columns, one.contract)
    np.testing.assert_allclose(whole, one.calibrated.map.scores(one.logits(columns)), atol=1e-5)
    for size in (1, 3, 17):
        parts = [run_graph(graph, columns.slice(start, size), one.contract) for start in range(0, 500, size)]
        assert (np.concatenate(parts) == whole).all()


@pytest.mark.parametrize("variant", ["multiclass", "multilabel"])
def test_calibration_mends_logits_that_are_too_large(variant: str) -> None:
    one = made(variant)
    random = np.random.default_rng(0)
    outputs = len(one.contract.outputs)
    logits = random.normal(0, 1.5, (6000, outputs))
    if variant == "multiclass":
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        label: np.ndarray = (random.random((6000, 1)) > shares.cumsum(axis=1)[:, :-1]).sum(axis=1)
    else:
        label = (random.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.int8)
    found = one.task.calibrate(3 * logits + 1.0, label, "auto", np.arange(6000) % 5)
    task = one.contract.model.task
    true, before, after = (
        metrics_of(task, label, scores)["log_loss"]
        for scores in (
            one.task.uncalibrated().scores(logits),
            one.task.uncalibrated().scores(3 * logits + 1.0),
            found.map.scores(3 * logits + 1.0),
        )
    )
    assert before > true + 0.1
    assert after == pytest.approx(true, abs=0.01)
    assert min(found.held_out.values()) < found.held_out["none"]


def test_ranks_of_held_out_errors_are_even_and_rise_beyond_the_largest() -> None:
    errors = np.random.default_rng(0).gamma(2, 1, 20_000)
    ranks = learn_ranks(errors[:10_000])
    told = ranks.scores(errors[10_000:])
    assert np.abs(np.sort(told) - np.linspace(0, 1, 10_000)).max() < 0.03
    beyond = ranks.scores(np.array([0.0, errors.max() * 1.5, errors.max() * 3, errors.max() * 1e6]))
    assert beyond[0] == 0
    assert beyond[-1] == 1
    assert (np.diff(beyond) > 0).all()


def test_equal_errors_have_ranks_too() -> None:
    for errors in (np.zeros(100), np.ones(1), np.repeat([0.0, 1.0], 50)):
        told = learn_ranks(errors).scores(np.array([0.0, 0.5, 1.0, 100.0]))
        assert (np.diff(told) >= 0).all()
        assert ((told >= 0) & (told <= 1)).all()
