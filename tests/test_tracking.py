"""MLflow, with its real SQLite store: what a training run leaves there, and what happens where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
mlflow = pytest.importorskip("mlflow")

import orders  # noqa: E402
from eventscore_training import TableInvalid, TrackingUnavailable, train  # noqa: E402

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("default")]  # MLflow's own warnings are its own affair


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    told = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.chdir(tmp_path)  # artifacts go to ./mlruns
    monkeypatch.setenv("MLFLOW_TRACKING_URI", told)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "orders")
    return told


def test_parameters_figures_and_files_of_a_run_are_in_mlflow_and_a_failed_one_is_marked(
    uri: str, tmp_path: Path
) -> None:
    config = orders.config(tmp_path, {"fit": {"epochs": 2, "evaluations_per_epoch": 2}})
    trained = train(config)
    client = mlflow.tracking.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("orders")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert (run.data.params["fit.epochs"], run.data.params["seed"]) == ("2", str(config.seed))
    history = client.get_metric_history(run.info.run_id, "validation_log_loss")
    assert [point.value for point in history] == [evaluation["log_loss"] for evaluation in trained.report.fit]
    assert [point.step for point in history] == sorted({point.step for point in history})
    for name in ("learning_rate", "gradient_norm", "parameter_norm", "rows_per_second"):
        told = client.get_metric_history(run.info.run_id, name)
        assert [point.step for point in told] == [point.step for point in history]
        assert all(0 < point.value < float("inf") for point in told), (name, told)
    rates = [point.value for point in client.get_metric_history(run.info.run_id, "learning_rate")]
    assert rates == sorted(rates, reverse=True)  # a cosine, its rise over before the first evaluation
    assert rates[0] > rates[-1]
    assert run.data.metrics["test_int8_roc_auc"] == trained.metrics["roc_auc"]
    assert run.data.tags["version"] == trained.version
    assert {"model.onnx", "report.html", "report.json"} <= {
        file.path for file in client.list_artifacts(run.info.run_id)
    }

    (tmp_path / "contract.toml").write_text(orders.CONTRACT_TOML.replace("max = 10000", "max = 1"))
    with pytest.raises(TableInvalid):
        train(config)
    statuses = [run.info.status for run in client.search_runs([experiment.experiment_id])]
    assert sorted(statuses) == ["FAILED", "FINISHED"]


def test_a_store_that_cannot_be_had_is_told_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    with pytest.raises(TrackingUnavailable, match="nonsense://nowhere.*unset it to train without"):
        train(orders.config(tmp_path))


def test_nobody_who_does_not_ask_for_it_pays_for_mlflow() -> None:
    import subprocess
    import sys

    code = "import sys, eventscore_training.tracking; print('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
