"""`eventscore init` for each task: which one a label asks for, what is drafted for it, and what gives its label away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from eventscore.contract import Contract, parse_contract
from eventscore_cli.main import main
from eventscore_training import DraftImpossible
from eventscore_training.config import load_training_config
from eventscore_training.draft import Draft, draft

ROWS = 600
TRUTHS = ("kind", "minutes", "late", "cancelled", "stars")


def trips(rows: int = ROWS) -> pl.DataFrame:
    """Trips whose distance and weather say something of their kind, their minutes and whether they are late or cancelled."""
    random = np.random.default_rng(5)
    distance = random.uniform(1, 100, rows)
    rain = random.random(rows) < 0.3
    minutes = (distance * 1.5 + 30 * rain + random.gamma(2, 15, rows)).round(2)
    kind = np.select([distance > 66, distance > 33], ["far", "mid"], "near")
    mixed = random.random(rows) < 0.2
    return pl.DataFrame(
        {
            "trip": [f"t-{number}" for number in range(rows)],
            "at": [f"2026-01-{1 + number * 28 // rows:02}T{number % 24:02}:00:00Z" for number in range(rows)],
            "distance": distance.round(1),
            "rain": rain,
            "weekday": np.array(["mon", "tue", "wed"])[random.integers(0, 3, rows)],
            "kind": np.where(mixed, np.array(["near", "mid", "far"])[random.integers(0, 3, rows)], kind),
            "minutes": minutes,
            "late": (minutes + random.normal(0, 20, rows) > 120).astype(int),
            "cancelled": (rain & (random.random(rows) < 0.4)).astype(int),
            "stars": random.integers(1, 6, rows),
        }
    )


Drafted = Callable[..., tuple[Draft, Contract]]


@pytest.fixture
def drafted(tmp_path: Path) -> Drafted:
    """Draft from a frame for some labels; the other truths are no columns of it."""

    def call(
        *labels: str, frame: pl.DataFrame | None = None, suffix: str = ".csv", **changes: Any
    ) -> tuple[Draft, Contract]:
        told = (trips() if frame is None else frame).drop(name for name in TRUTHS if name not in labels)
        file = tmp_path / f"trips{suffix}"
        told.write_csv(file) if suffix == ".csv" else told.write_parquet(file)
        result = draft(file, labels, "trip", "at", tmp_path, **changes)
        return result, parse_contract(result.contract.encode(), "draft")

    return call


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("labels", "changes", "task", "outputs"),
    [
        (("late",), {}, "binary", ()),
        (("kind",), {}, "multiclass", ("far", "mid", "near")),
        (("stars",), {}, "multiclass", ("1", "2", "3", "4", "5")),
        (("stars",), {"task": "regression"}, "regression", ()),
        (("minutes",), {}, "regression", ()),
        (("late", "cancelled"), {}, "multilabel", ("late", "cancelled")),
        (("cancelled",), {"task": "anomaly"}, "anomaly", ()),
        ((), {"task": "anomaly"}, "anomaly", ()),
    ],
    ids=str,
)
def test_the_label_says_which_task_it_is_unless_the_task_is_named(
    drafted: Drafted, suffix: str, labels: tuple[str, ...], changes: dict[str, str], task: str, outputs: tuple[str, ...]
) -> None:
    result, contract = drafted(*labels, suffix=suffix, **changes)
    assert (contract.model.task, result.task) == (task, task)
    assert contract.label_fields == labels
    assert contract.outputs == outputs
    assert set(contract.features) == {"distance", "rain", "weekday"}
    assert len(contract.decisions) >= 2
    assert contract.gates.max_size_bytes == 20_000_000


def test_gates_and_bounds_fit_the_task(drafted: Drafted) -> None:
    _, kinds = drafted("kind")
    assert kinds.gates.min_roc_auc is not None
    assert 0.55 < kinds.gates.min_roc_auc < 0.8  # half as far above chance as the distance alone
    result, minutes = drafted("minutes")
    assert minutes.label is not None
    assert (minutes.label.min, minutes.label.max) == (0, None)
    assert minutes.gates.min_r2 is not None
    assert 0.3 < minutes.gates.min_r2 < 0.45  # half of what the distance alone explains
    assert (minutes.gates.min_roc_auc, minutes.gates.max_calibration_error) == (None, None)
    assert "[features.distance]  # alone it explains 7" in result.contract
    middle = minutes.decisions[1].start
    assert (trips()["minutes"] > middle).mean() == pytest.approx(0.5, abs=0.02)
    unlabelled, without = drafted(task="anomaly")
    assert without.label is None
    assert without.gates.model_fields_set == {"max_size_bytes"}
    assert "ROC-AUC" not in unlabelled.contract
    below = trips().with_columns(minutes=pl.col("minutes") - 200)
    _, shifted = drafted("minutes", frame=below)
    assert shifted.label is not None
    assert shifted.label.min is None
    assert shifted.decisions[0].start < -100


def test_whole_numbers_come_with_the_other_reading_they_may_have(drafted: Drafted) -> None:
    assert any("5 whole numbers, drafted as classes" in warning for warning in drafted("stars")[0].warnings)
    as_number = drafted("stars", task="regression")[0].warnings
    assert any("5 whole numbers, drafted as a number" in warning for warning in as_number)
    rounded = trips().with_columns(minutes=pl.col("minutes").round().cast(pl.Int64))
    assert drafted("minutes", frame=rounded)[1].model.task == "regression"


def leaking(**columns: pl.Expr) -> pl.DataFrame:
    return trips().with_columns(**columns)


# Told with its noise: no exact copy, and gaps that only some rows have.
_FAR = pl.col("kind") == "far"
_NINTH = pl.col("trip") == "t-8"
_THIRD = pl.int_range(pl.len()) % 3 == 0


@pytest.mark.parametrize(
    ("labels", "leak", "said"),
    [
        (("minutes",), pl.col("minutes") * 60 + pl.int_range(pl.len()) % 7, "of the variance of the label"),
        (("minutes",), pl.col("minutes").log(), "of the variance of the label"),
        (("minutes",), pl.when(pl.col("minutes") > 120).then(pl.int_range(pl.len()) % 5), "null exactly when the label is below 120."),
        (("kind",), pl.when(_FAR).then(7.0 + pl.int_range(pl.len()) % 3).otherwise(0.0), "tells the label (ROC-AUC 1.000 for 'far')"),
        (("kind",), pl.when(_FAR & _THIRD).then(pl.lit("yes")), "it is there only in rows whose label is 'far'"),
        (("late", "cancelled"), pl.col("cancelled") * 3.5, "alone it tells the label (ROC-AUC 1.000 for cancelled positive)"),
        (("late", "cancelled"), pl.when(pl.col("late") == 0).then(pl.col("distance")), "null exactly when the label is late positive"),
    ],
    ids=["times-60", "logarithm", "gap-and-number", "one-class", "gap-and-class", "one-label", "gap-and-label"],
)  # fmt: skip
def test_a_column_that_knows_the_label_is_left_out(
    drafted: Drafted, labels: tuple[str, ...], leak: pl.Expr, said: str
) -> None:
    result, contract = drafted(*labels, frame=leaking(leak=leak))
    told = [warning for warning in result.warnings if warning.startswith("leak is left out: likely a leak: ")]
    assert len(told) == 1, result.warnings
    assert said in told[0]
    assert "leak" not in contract.features
    assert "distance" in contract.features


def test_noise_is_no_leak_of_any_task(drafted: Drafted) -> None:
    random = np.random.default_rng(1)
    frame = trips().with_columns(
        noise=random.normal(size=ROWS),
        shop=pl.Series([f"s{number}" for number in random.integers(0, 200, ROWS)]),
        gap=pl.when(pl.Series(random.random(ROWS) < 0.5)).then(1.5).otherwise(pl.lit(None)),
    )
    for labels in (("minutes",), ("kind",), ("late", "cancelled")):
        result, contract = drafted(*labels, frame=frame)
        assert {"noise", "shop", "gap"} <= set(contract.features), result.warnings
        assert not [warning for warning in result.warnings if "leak" in warning]


def test_a_strong_number_stays_with_a_warning(drafted: Drafted) -> None:
    noisy = pl.col("minutes") + pl.Series(np.random.default_rng(2).normal(0, 18, ROWS))
    result, contract = drafted("minutes", frame=leaking(estimate=noisy))
    assert "estimate" in contract.features
    assert any(warning.startswith("estimate: alone it tells much of the label (8") for warning in result.warnings)


@pytest.mark.parametrize(
    ("labels", "frame", "changes", "said"),
    [
        ((), trips(), {}, "no label: name its column with --label; only --task anomaly does without"),
        (("kind",), trips(), {"task": "multilabel"}, "--task multilabel: expected two labels or more"),
        (("late", "kind"), trips(), {"task": "binary"}, "--task binary: expected one label, got 'late', 'kind'"),
        (("late", "kind"), trips(), {}, "label 'kind': expected two classes, got 3: 'far', 'mid', 'near'"),
        (
            ("late", "cancelled"),
            leaking(cancelled=pl.when(pl.col("cancelled") == 1).then(pl.lit("yes")).otherwise(pl.lit("no"))),
            {},
            "labels 'late' and 'cancelled': expected the same two values in each, got '0' and '1' and 'no' and 'yes'",
        ),
        (("kind",), trips(), {"task": "regression"}, "label 'kind': expected numbers, got such as"),
        (("kind",), leaking(kind=pl.col("trip")), {}, "label 'kind': 600 different strings are many classes"),
        (("minutes",), leaking(minutes=pl.lit(3.5)), {"task": "regression"}, "expected numbers that differ, got only 3.5"),
        (("minutes",), leaking(minutes=pl.when(_NINTH).then(float("inf")).otherwise(pl.col("minutes"))), {}, "first row 9: inf"),
        (("kind",), leaking(kind=pl.when(~_NINTH).then("kind")), {}, "1 of 600 rows have none, first row 9"),
    ],
)  # fmt: skip
def test_a_label_that_is_no_truth_of_its_task_is_refused_in_words(
    drafted: Drafted, labels: tuple[str, ...], frame: pl.DataFrame, changes: dict[str, str], said: str
) -> None:
    with pytest.raises(DraftImpossible) as refused:
        drafted(*labels, frame=frame, **changes)
    assert said in str(refused.value)


def test_the_command_takes_several_labels_and_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trips().drop("kind", "minutes", "stars").write_csv(tmp_path / "trips.csv")
    named = ["init", str(tmp_path / "trips.csv"), "--id", "trip", "--time", "at", "--label", "late"]
    for folder, more, said in (
        ("several", ["--label", "cancelled"], "multilabel, 3 features"),
        ("unusual", ["--task", "anomaly"], "anomaly, 4 features"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*named, *more, "--output", str(tmp_path / folder)])
        told = capsys.readouterr()
        assert ended.value.code == 0, told.err
        assert said in told.out
        assert load_training_config(tmp_path / folder / "training.toml").table == tmp_path / "trips.csv"


@pytest.mark.training
@pytest.mark.parametrize(
    ("labels", "changes", "figure", "least"),
    [
        (("kind",), {}, "roc_auc", 0.8),
        (("minutes",), {}, "r2", 0.6),
        (("late", "cancelled"), {}, "roc_auc", 0.8),
        (("odd",), {"task": "anomaly"}, "roc_auc", 0.8),
        ((), {"task": "anomaly"}, None, 0),
    ],
    ids=["multiclass", "regression", "multilabel", "anomaly", "unlabelled"],
)
def test_the_draft_of_each_task_trains_as_it_stands(
    tmp_path: Path, labels: tuple[str, ...], changes: dict[str, Any], figure: str | None, least: float
) -> None:
    pytest.importorskip("torch")
    from eventscore_training import train

    frame = trips(2500)
    odd = pl.Series(np.random.default_rng(9).random(frame.height) < 0.03)
    # Farther away than any other trip: a leak if it were learned, here what there is to find.
    frame = frame.with_columns(
        odd=odd.cast(pl.Int64), distance=pl.when(odd).then(pl.col("distance") + 150).otherwise(pl.col("distance"))
    )
    frame = frame.drop(name for name in (*TRUTHS, "odd") if name not in labels)
    frame.write_parquet(tmp_path / "trips.parquet")
    result = draft(tmp_path / "trips.parquet", labels, "trip", "at", tmp_path, **changes)
    told = any("distance: alone it tells much of the label (ROC-AUC 1.000)" in each for each in result.warnings)
    assert told == (labels == ("odd",))
    (tmp_path / "contract.toml").write_text(result.contract)
    (tmp_path / "training.toml").write_text(result.training)
    small = {"runs": tmp_path / "runs", "quantization": {"weights": "per-channel", "ranges": "min-max"}}
    trained = train(load_training_config(tmp_path / "training.toml", small))
    assert all(gate.passed for gate in trained.report.gates), trained.report.gates
    assert (figure is None) or trained.metrics[figure] > least, trained.metrics
