"""What a review of the training job found: each case once went wrong in silence, or ended in a traceback."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch", reason="training needs the train extra")

import orders
from eventscore_training import TrainingInterrupted, fit, resume, train
from eventscore_training.calibrate import LARGEST_SCALE, choose_calibration, stretches
from eventscore_training.checkpoint import unfinished_folder
from eventscore_training.config import parse_training_config
from eventscore_training.errors import ConfigInvalid, TrainingDiverged
from eventscore_training.golden import _raw
from eventscore_training.judges import judge_of
from eventscore_training.progress import Progress
from eventscore_training.run import GateRecord
from eventscore_training.slices import Group, measured_groups

SMALL = {"epochs": 2, "batch_size": 256, "learning_rate": 0.01, "evaluations_per_epoch": 1, "sanity": False}


def test_the_text_nan_of_a_csv_file_is_a_gap_in_a_golden_event_too() -> None:
    row = dict.fromkeys(orders.contract().features, None) | {"amount": "12.5", "age": "NaN"}
    event = _raw(row, orders.contract())
    assert event == {"amount": 12.5}
    json.dumps(event, allow_nan=False)


def test_a_gate_without_a_figure_is_still_read_back_as_missed() -> None:
    record = GateRecord(name="slices.min_roc_auc", limit=0.5, measured=float("nan"), passed=False)
    again = GateRecord.model_validate_json(record.model_dump_json())
    assert np.isnan(again.measured)
    assert not again.passed


def test_one_group_alone_is_no_proof_that_groups_are_treated_alike() -> None:
    one = Group("FR", 500, 0.2, 0.3, 0.5, None)
    assert measured_groups([one], "country") == ({}, {})
    other = Group("DE", 500, 0.2, 0.1, None, None)
    measured, _ = measured_groups([one, other], "country")
    assert measured == {"groups.max_rate_difference": pytest.approx(0.2)}


def test_logits_that_are_no_numbers_at_an_evaluation_are_a_divergence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "predict_logits", lambda network, part: np.full(len(part.label), np.nan, np.float32))
    with pytest.raises(TrainingDiverged, match="lower the learning rate"):
        train(orders.config(tmp_path, {"fit": SMALL}))


def test_a_training_does_not_trip_over_what_another_of_this_process_left(tmp_path: Path) -> None:
    config = orders.config(tmp_path)
    left = unfinished_folder(config, "orders")
    left.mkdir(parents=True)
    assert unfinished_folder(config, "orders") not in (left, None)


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The graph of a job that no signal came to."""
    return (train(orders.config(tmp_path_factory.mktemp("whole"), {"fit": SMALL})).folder / "model.onnx").read_bytes()


@pytest.mark.parametrize("phase", ["export", "calibrate", "describe"])
def test_a_sigterm_behind_the_fit_leaves_the_checkpoint_that_resumes(
    tmp_path: Path, never_stopped: bytes, phase: str
) -> None:
    config = orders.config(tmp_path, {"fit": SMALL})

    def watch(step: Progress) -> None:
        if step.phase == phase:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(TrainingInterrupted) as stopped:
        train(config, watch)
    again = resume(stopped.value.folder)
    assert (again.folder / "model.onnx").read_bytes() == never_stopped


def test_separable_rows_do_not_make_a_calibrated_score_certain() -> None:
    logits = np.concatenate([np.full(200, -1.0), np.full(200, 1.0)]).astype(np.float32)
    label = (logits > 0).astype(np.int8)
    chosen = choose_calibration(logits, label, "temperature", stretches(None, 400, 0))
    assert chosen.calibration.scale <= LARGEST_SCALE


def test_int8_is_judged_by_how_far_it_moves_scores_where_the_rows_have_no_ranking() -> None:
    judge = judge_of(orders.contract())
    label = np.zeros(4, np.int8)
    assert judge.int8_loss(label, np.full(4, 0.2, np.float32), np.full(4, 0.5, np.float32)) == pytest.approx(0.3)


def test_weights_are_not_chosen_by_a_figure_that_the_validation_part_does_not_have(tmp_path: Path) -> None:
    text = orders.CONTRACT_TOML.replace('task = "binary"', 'task = "anomaly"')
    orders.config(tmp_path, contract_text=text)
    for seed, part in enumerate(("train", "validation", "test")):
        frame = orders.frame(600, seed)
        if part == "validation":
            frame = frame.with_columns(returned=pl.lit(0, pl.Int64))
        frame.write_parquet(tmp_path / f"{part}.parquet")
    document = {name: tmp_path / f"{name}.parquet" for name in ("train", "validation", "test")}
    config = parse_training_config(
        {
            **document,
            "contract": tmp_path / "contract.toml",
            "runs": tmp_path / "runs",
            "device": "cpu",
            "network": {"widths": (16,)},
            "fit": {**SMALL, "select_by": "roc_auc"},
        },
        "orders",
    )
    with pytest.raises(ConfigInvalid, match="the rows of the validation part have no roc_auc"):
        train(config)
