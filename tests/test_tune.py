"""`eventscore tune`: a search that begins with what there is, keeps its trials, goes on, and writes what trains."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("optuna")

import orders
from eventscore_cli.main import main
from eventscore_training.config import load_training_config
from eventscore_training.tune import TrialResult, Tuned, tune
from eventscore_training.tuned_text import tuned_text

pytestmark = pytest.mark.training

TRAINING_TOML = """\
contract = "contract.toml"
table = "orders.parquet"
validation_from = 2026-01-02T06:00:00Z
test_from = 2026-01-02T16:00:00Z
limits = ["one \\"shop\\" only"]

[network]
widths = [48]
min_count = 7

[fit]
epochs = 2
evaluations_per_epoch = 1
learning_rate = 1e-2
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    orders.config(tmp_path)
    (tmp_path / "training.toml").write_text(TRAINING_TOML)
    return tmp_path / "training.toml"


def test_a_search_begins_with_the_configuration_goes_on_and_never_ends_worse(job: Path) -> None:
    config, storage = load_training_config(job), job.parent / "search" / "trials.log"
    told: list[TrialResult] = []
    first = tune(config, storage, 600, told.append, max_trials=2)
    assert (first.trials, first.metric) == (2, "log_loss")
    assert told[0].changes["fit.learning_rate"] == 1e-2
    assert told[0].changes["network.widths"] == "48"
    assert (told[0].changes["network.kind"], told[0].changes["network.number_embedding"]) == ("mlp", "none")
    assert first.began_with == told[0].value
    assert first.value == min(trial.value for trial in told if trial.value is not None)
    more = tune(config, storage, 600, told.append, max_trials=1)
    assert more.trials == 3
    assert [trial.number for trial in told] == [0, 1, 2]
    assert more.began_with == first.began_with
    assert more.value <= first.value
    assert not list(job.parent.glob("**/*.unfinished"))


def test_the_command_writes_a_configuration_that_trains(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = job.parent / "tuned" / "best.toml"
    with pytest.raises(SystemExit) as ended:
        main(["tune", str(job), "--budget", "0.01s", "--storage", str(job.parent / "t.log"), "--output", str(output)])
    told = capsys.readouterr()
    assert ended.value.code == 0, told.err
    assert told.out.strip() == str(output)
    assert "trial 0: 0." in told.err
    config, before = load_training_config(output), load_training_config(job)
    assert (config.contract, config.table, config.limits) == (before.contract, before.table, before.limits)
    assert config.network.widths == (48,)
    assert config.fit.epochs == 2


def test_a_regression_is_searched_by_its_error_in_the_labels_unit(job: Path) -> None:
    text = orders.CONTRACT_TOML.replace('"binary"', '"regression"').replace("positive = 1\n", "min = 0\n")
    (job.parent / "contract.toml").write_text(text)
    searched = tune(load_training_config(job), job.parent / "trials.log", 600, max_trials=1)
    assert searched.metric == "rmse"
    assert searched.value == searched.began_with
    assert 0.3 < searched.value < 0.5  # of zeros and ones


def test_the_tuned_file_is_the_old_one_with_the_best_values(tmp_path: Path) -> None:
    (tmp_path / "training.toml").write_text(TRAINING_TOML)
    changes = {"fit": {"learning_rate": 0.0012}, "network": {"widths": [64, 32], "dropout": 0.3, "members": None}}
    text = tuned_text(tmp_path / "training.toml", tmp_path / "x" / "best.toml", Tuned(changes, "log_loss", 0.4, 0.5, 9))
    before, after = tomllib.loads(TRAINING_TOML), tomllib.loads(text)
    assert after["contract"] == "../contract.toml"
    assert after["validation_from"] == before["validation_from"]
    assert after["limits"] == before["limits"]
    assert after["network"] == {"widths": [64, 32], "min_count": 7, "dropout": 0.3}
    assert after["fit"] == {**before["fit"], "learning_rate": 0.0012}


@pytest.mark.parametrize("budget", ["soon", "0", "-3m", "3d"])
def test_what_is_no_duration_is_refused(budget: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tune", "training.toml", f"--budget={budget}", "--storage", "t.log"])
    assert ended.value.code == 2
    assert "expected 90s, 10m or 2h" in capsys.readouterr().err
