"""Every task from its table to its folder: the graph is the network, alone and in any batch; what does not fit is an error."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import order_tasks  # noqa: E402
from eventscore.columns import Columns  # noqa: E402
from eventscore.session import ScoringSession  # noqa: E402
from eventscore_training import TrainedVersion, train  # noqa: E402
from eventscore_training.config import FitConfig, NetworkConfig  # noqa: E402
from eventscore_training.encoded import EncodedPart  # noqa: E402
from eventscore_training.encoding import Encoding, learn_encoding  # noqa: E402
from eventscore_training.errors import ConfigInvalid, NothingLearned  # noqa: E402
from eventscore_training.evaluate import metrics_of  # noqa: E402
from eventscore_training.export import build_graph, fold_scores, with_logit  # noqa: E402
from eventscore_training.fit import fit, predict_logits  # noqa: E402
from eventscore_training.inference import run_graph  # noqa: E402
from eventscore_training.network import Network, build_network  # noqa: E402
from eventscore_training.quantize import quantize  # noqa: E402
from eventscore_training.sanity import check_sanity  # noqa: E402
from eventscore_training.table import Table, graph_inputs  # noqa: E402
from eventscore_training.tasks import TASKS, Task, check_task, new_task, without_anomalies  # noqa: E402
from eventscore_training.tasks.anomaly import learn_ranks  # noqa: E402

pytestmark = pytest.mark.training

SHAPES: dict[str, dict[str, Any]] = {
    "mlp": {},
    "mlp by quantiles": {"scaling": "quantile", "number_embedding": "piecewise-linear", "bins": 4},
    "wide-and-deep": {"kind": "wide-and-deep"},
    "tabm": {"kind": "tabm", "members": 5},
    "tabm folded": {
        "kind": "tabm", "members": 3, "adapt_inputs": False, "scaling": "quantile",
        "number_embedding": "piecewise-linear", "bins": 4,
    },
}  # fmt: skip
CASES = [
    (variant, shape)
    for variant in order_tasks.TASKS
    for shape in SHAPES
    if NetworkConfig(**SHAPES[shape]).kind in TASKS[variant].kinds
]
SIZES = (1, 2, 3, 5, 7, 16, 100, 333)


class Made:
    """A stirred network of a task and its graphs: float32 and int8, calibrated where the task does that."""

    def __init__(self, variant: str, shape: str, *, calibration: str = "auto") -> None:
        self.contract = order_tasks.contract(variant)
        self.table: Table = without_anomalies(order_tasks.table(variant), self.contract)
        config = NetworkConfig(widths=(16, 8), embedding_width=3, min_count=10, **SHAPES[shape])
        self.encoding: Encoding = learn_encoding(self.table, self.contract, config)
        self.task: Task = new_task(self.contract, FitConfig(), self.encoding, self.table.label)
        self.part = EncodedPart(*self.encoding.encode(self.table.columns, self.contract), self.table.label)
        torch.manual_seed(1)
        self.network: Network = build_network(self.encoding, self.part.numbers, config, self.task)
        stir(self.network)
        self.plain = build_graph(self.contract, self.encoding, self.network.weights(), self.task)
        fold = np.arange(self.table.rows) % 5
        logits = predict_logits(self.network, self.part)
        self.calibrated = self.task.calibrate(logits, self.table.label, calibration, fold)
        self.fp32 = fold_scores(self.plain, self.calibrated.map)
        self.int8 = fold_scores(quantize(self.plain, self.contract, self.table.columns, seed=0), self.calibrated.map)

    def logits(self, columns: pl.DataFrame) -> np.ndarray:
        part = EncodedPart(*self.encoding.encode(columns, self.contract), np.zeros(columns.height, np.int8))
        return predict_logits(self.network, part)


def stir(network: Network) -> None:
    """Away from what initialisation leaves at zero, so that every weight matters."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))


@functools.cache
def made(variant: str, shape: str = "mlp") -> Made:
    """Made once."""
    return Made(variant, shape)


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


@pytest.mark.parametrize(
    ("loss", "centre"),
    [({"loss": "mse"}, np.mean), ({"loss": "mae"}, np.median), ({"loss": "huber", "huber_delta": 0.1}, np.median)]
    + [({"loss": "quantile", "quantile": share}, lambda y, share=share: np.quantile(y, share)) for share in (0.1, 0.9)],
)
def test_a_regression_learns_what_its_loss_stands_for(loss: dict[str, Any], centre: Any) -> None:
    """On features that say nothing the best answer is one number, by the loss."""
    one = made("regression")
    random = np.random.default_rng(0)
    label = 100 * random.gamma(0.7, 1, one.table.rows)
    config = FitConfig(
        epochs=12, batch_size=128, learning_rate=0.02, evaluations_per_epoch=1, sanity=False, value_dropout=0, **loss
    )
    task = new_task(one.contract, config, one.encoding, label)
    nothing = EncodedPart(np.zeros_like(one.part.numbers), np.zeros_like(one.part.rows), label)
    torch.manual_seed(0)
    network = build_network(one.encoding, nothing.numbers, NetworkConfig(widths=(4,), dropout=0), task)
    fit(network, nothing, nothing, config, seed=0)
    learned = task.uncalibrated().scores(predict_logits(network, nothing)).mean()
    assert learned == pytest.approx(centre(label), abs=0.12 * label.std())


@pytest.mark.parametrize("variant", order_tasks.TASKS)
def test_the_loss_of_an_ensemble_is_the_mean_of_its_members_losses(variant: str) -> None:
    shape = "tabm" if "tabm" in TASKS[variant].kinds else "mlp"
    one = made(variant, shape)
    numbers, values = torch.from_numpy(one.part.numbers[:50]), torch.from_numpy(one.part.rows[:50])
    target = torch.from_numpy(one.task.target(one.part.label[:50]))
    answers = one.network.answers(numbers, values)
    whole = one.task.loss(answers, target, numbers, values)
    alone = [one.task.loss(answers[:, [member]], target, numbers, values) for member in range(answers.shape[1])]
    torch.testing.assert_close(whole, torch.stack(alone).mean())


@pytest.mark.parametrize("variant", order_tasks.TASKS)
def test_a_sound_network_passes_the_sanity_check_and_a_hopeless_one_does_not(variant: str) -> None:
    one = made(variant)
    torch.manual_seed(0)
    network = build_network(one.encoding, one.part.numbers, NetworkConfig(widths=(32, 16)), one.task)
    assert check_sanity(network, one.part, FitConfig(learning_rate=0.01), seed=0) > 0
    with pytest.raises(NothingLearned):
        check_sanity(network, one.part, FitConfig(learning_rate=1e-8), seed=0)


@pytest.mark.parametrize("variant", ["multiclass", "multilabel"])
def test_balanced_classes_weigh_the_same(variant: str) -> None:
    one = made(variant)
    weights = one.task.class_weights(one.table.label)
    assert weights is not None
    if variant == "multiclass":
        weight = weights * np.bincount(one.table.label)
        np.testing.assert_allclose(weight, weight[0], rtol=1e-5)
    else:
        positives = one.table.label.sum(axis=0)
        np.testing.assert_allclose(weights * positives, one.table.rows - positives, rtol=1e-5)


@pytest.mark.parametrize(
    ("variant", "config", "sentence"),
    [
        ("binary", {"fit": {"loss": "mse"}}, "fit.loss: expected one of cross-entropy .* 'binary', got 'mse'"),
        ("regression", {"fit": {"loss": "cross-entropy"}}, "fit.loss: expected one of mse, mae, huber, quantile"),
        ("regression", {"fit": {"class_weights": "balanced"}}, "fit.class_weights"),
        ("regression", {"fit": {"select_by": "roc_auc"}}, "fit.select_by: expected one of rmse, mae, pinball_loss"),
        ("regression", {"fit": {"select_by": "pinball_loss"}}, "belongs to fit.loss = 'quantile'"),
        ("regression", {"calibration": "platt"}, "calibration: expected one of none .* got 'platt'"),
        ("anomaly", {"calibration": "temperature"}, "calibration: expected one of none"),
        ("anomaly", {"network": {"kind": "tabm"}}, "network.kind: expected one of mlp"),
        ("multiclass", {"calibration": "isotonic"}, "expected one of none, temperature, vector"),
        ("multilabel", {"calibration": "vector"}, "expected one of none, temperature, platt, isotonic"),
        ("multiclass", {"network": {"bottleneck": 4}}, "network.bottleneck belongs to anomaly models"),
        ("unlabelled", {"fit": {"select_by": "roc_auc"}}, "needs a \\[label\\]"),
        ("multiclass", {"prune": {"units": 0.5}}, "prune: expected a model of the task 'binary'"),
    ],
)
def test_what_does_not_fit_the_task_is_an_error_before_anything_is_read(
    tmp_path: Path, variant: str, config: dict[str, Any], sentence: str
) -> None:
    told = order_tasks.config(tmp_path, variant, config)
    (tmp_path / "orders.parquet").unlink()
    with pytest.raises(ConfigInvalid, match=sentence):
        train(told)


@pytest.mark.parametrize("variant", order_tasks.VARIANTS)
def test_every_choice_that_a_task_knows_is_accepted(tmp_path: Path, variant: str) -> None:
    contract = order_tasks.contract(variant)
    task = TASKS[contract.model.task]
    for loss in task.losses:
        check_task(contract, order_tasks.config(tmp_path, variant, {"fit": {"loss": loss}}))
    for calibration in task.calibrations:
        check_task(contract, order_tasks.config(tmp_path, variant, {"calibration": calibration}))


@pytest.fixture(scope="module", params=order_tasks.VARIANTS[1:])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, TrainedVersion]:
    """A small job of each task but the binary one, which has tests of its own."""
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, train(order_tasks.config(folder, request.param))


def test_a_job_learns_and_ships_what_it_learned(run: tuple[str, TrainedVersion]) -> None:
    variant, trained = run
    better_than = {
        "multiclass": ("roc_auc", 0.7),
        "multilabel": ("roc_auc", 0.8),
        "regression": ("r2", 0.7),
        "anomaly": ("roc_auc", 0.9),
        "unlabelled": ("rank_error", None),
    }
    name, least = better_than[variant]
    assert name in trained.metrics
    if least is not None:
        assert trained.metrics[name] > least
    else:
        assert trained.metrics[name] < 0.1
        assert "roc_auc" not in trained.metrics
    shares = [table.positive_share for table in trained.report.provenance.tables]
    assert all(share is not None for share in shares) if variant == "anomaly" else not any(shares)
    assert (trained.folder / "report.html").stat().st_size > 10_000


def test_golden_events_keep_their_scores(run: tuple[str, TrainedVersion]) -> None:
    variant, trained = run
    contract = order_tasks.contract(variant)
    lines = [json.loads(line) for line in (trained.folder / "golden.jsonl").read_text(encoding="utf-8").splitlines()]
    scores = np.array([line["score"] for line in lines])
    assert scores.shape == ((len(lines), len(contract.outputs)) if contract.outputs else (len(lines),))
    events = pl.DataFrame(
        {
            name: pl.Series(
                [line["event"].get(name) for line in lines],
                dtype=pl.String if name in contract.categories else pl.Float64,
                strict=False,
            )
            for name in contract.features
        }
    )
    answered = run_graph((trained.folder / "model.onnx").read_bytes(), events, contract)
    np.testing.assert_allclose(answered, scores, atol=trained.report.golden.tolerance)
    spread = scores.std() if variant == "regression" else 1.0
    assert 1e-4 * spread < trained.report.golden.tolerance < 0.1 * spread


def test_the_baseline_counts_every_score(run: tuple[str, TrainedVersion]) -> None:
    variant, trained = run
    contract = order_tasks.contract(variant)
    baseline = json.loads((trained.folder / "baseline.json").read_text(encoding="utf-8"))
    counted = [baseline["score"], *baseline.get("outputs", {}).values()]
    assert tuple(baseline.get("outputs", {})) == contract.outputs
    assert all(sum(each["counts"]) == 600 for each in counted)
    assert sum(count > 0 for count in baseline["score"]["counts"]) > 5


def test_a_graph_of_several_scores_says_how_many(run: tuple[str, TrainedVersion]) -> None:
    variant, trained = run
    contract = order_tasks.contract(variant)
    output = onnx.load_from_string((trained.folder / "model.onnx").read_bytes()).graph.output[0]
    shape = [each.dim_param or each.dim_value for each in output.type.tensor_type.shape.dim]
    assert (output.name, shape) == ("score", ["n", len(contract.outputs)] if contract.outputs else ["n"])


def test_known_anomalies_are_not_learned() -> None:
    contract = order_tasks.contract("anomaly")
    whole = order_tasks.table("anomaly")
    kept = without_anomalies(whole, contract)
    assert whole.label.sum() == 30
    assert kept.rows == kept.columns.height == whole.rows - 30
    assert not kept.label.any()
    assert without_anomalies(order_tasks.table("binary"), order_tasks.contract("binary")).rows == whole.rows
