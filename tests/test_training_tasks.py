"""Every task from its table to its folder; what does not fit it is an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest

torch = pytest.importorskip("torch")

import order_tasks  # noqa: E402
from eventscore_training import TrainedVersion, train  # noqa: E402
from eventscore_training.config import FitConfig, NetworkConfig  # noqa: E402
from eventscore_training.encoded import EncodedPart  # noqa: E402
from eventscore_training.errors import ConfigInvalid, NothingLearned  # noqa: E402
from eventscore_training.fit import fit, predict_logits  # noqa: E402
from eventscore_training.inference import run_graph  # noqa: E402
from eventscore_training.network import build_network  # noqa: E402
from eventscore_training.sanity import check_sanity  # noqa: E402
from eventscore_training.tasks import TASKS, check_task, new_task, without_anomalies  # noqa: E402
from order_networks import made  # noqa: E402

pytestmark = pytest.mark.training


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
def test_a_sound_network_passes_the_sanity_check_and_a_hopeless_one_does_not(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made(variant)
    torch.manual_seed(0)
    network = build_network(one.encoding, one.part.numbers, NetworkConfig(widths=(32, 16)), one.task)
    assert check_sanity(network, one.part, FitConfig(learning_rate=0.01), seed=0) > 0
    monkeypatch.setattr("eventscore_training.sanity.SANITY_STEPS", 50)
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
