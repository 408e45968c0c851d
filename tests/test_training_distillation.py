"""A network learns from a teacher's answers and from the labels; the better of with and without goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import orders  # noqa: E402
from eventscore.manifest import GRAPH  # noqa: E402
from eventscore_training import TrainingInterrupted, resume, train  # noqa: E402
from eventscore_training.checkpoint import Checkpoint  # noqa: E402
from eventscore_training.config import FitConfig, NetworkConfig, TrainingConfig, parse_training_config  # noqa: E402
from eventscore_training.config_steps import DistillConfig  # noqa: E402
from eventscore_training.distill import Distilled, fit_distilled, teacher_of  # noqa: E402
from eventscore_training.encoded import EncodedPart  # noqa: E402
from eventscore_training.encoding import learn_encoding  # noqa: E402
from eventscore_training.errors import ConfigInvalid  # noqa: E402
from eventscore_training.fit import fit, predict_logits  # noqa: E402
from eventscore_training.network import Network, build_network  # noqa: E402
from eventscore_training.progress import Progress  # noqa: E402
from eventscore_training.run import load_run  # noqa: E402

pytestmark = pytest.mark.training

CONTRACT = orders.contract()
TABLE = orders.table(rows=1000)
SMALL = NetworkConfig(widths=(8,), embedding_width=3, min_count=10)
ENCODING = learn_encoding(TABLE, CONTRACT, SMALL)
PART = EncodedPart(*ENCODING.encode(TABLE.columns, CONTRACT), TABLE.label)
TEACHER = DistillConfig(members=4, widths=(16,), seeds=2, weight=0.7)


def network(shape: NetworkConfig = SMALL) -> Network:
    return build_network(ENCODING, PART.numbers, shape)


def distilled(told: list[Progress] | None = None) -> Distilled:
    return fit_distilled(
        network,
        lambda: network(teacher_of(SMALL, TEACHER)),
        PART,
        PART,
        FitConfig(epochs=2, batch_size=128, sanity=False),
        TEACHER,
        seed=3,
        on_progress=(told if told is not None else []).append,
    )


def test_the_fit_learns_the_target_where_there_is_one() -> None:
    torch.manual_seed(0)
    taught, judged = network(), replace(PART, label=(np.arange(1000) % 10 > 0).astype(np.int8))
    told = replace(PART, target=np.full(1000, 0.9, np.float32))
    fit(taught, told, judged, FitConfig(epochs=20, batch_size=64, learning_rate=1e-2), seed=0)
    answered = 1 / (1 + np.exp(-predict_logits(taught, PART)))
    assert PART.label.mean() < 0.5
    assert np.abs(answered - 0.9).max() < 0.1


def test_the_better_of_with_and_without_goes_on_and_all_are_told() -> None:
    result = distilled()
    told = result.as_dict()
    assert told["kept"] == min(("with_teacher", "without_teacher"), key=lambda name: told[name]["log_loss"])
    reached = result.fitted.history.evaluations[result.fitted.history.best].figures["log_loss"]
    assert reached == pytest.approx(told[told["kept"]]["log_loss"], abs=1e-6)
    assert told["with_teacher"] != told["without_teacher"]


def test_only_the_taught_network_tells_figures() -> None:
    told: list[Progress] = []
    distilled(told)
    assert {step.detail.split(":")[0] for step in told if not step.figures} == {
        "teacher 1 of 2",
        "teacher 2 of 2",
        "without the teacher",
    }
    assert len([step for step in told if step.figures]) == 8


def test_a_teacher_shares_the_encoding_and_is_an_ensemble() -> None:
    teacher = teacher_of(NetworkConfig(scaling="quantile", number_embedding="piecewise-linear", bins=7), TEACHER)
    assert (teacher.kind, teacher.members, teacher.widths) == ("tabm", 4, (16,))
    assert (teacher.scaling, teacher.bins) == ("quantile", 7)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"network": {"kind": "tabm", "widths": [64]}, "distill": {"members": 8, "widths": [64]}},
            r"a teacher of 8 members and widths \[64\] is no larger than the network",
        ),
        ({"distill": {"member": 8}}, r"distill\.member: unknown key \(known here: members, widths, dropout"),
        ({"distill": {"weight": 0}}, r"distill\.weight"),
    ],
)
def test_what_cannot_teach_is_told(sections: dict[str, Any], said: str) -> None:
    tables = {"contract": "c", "train": "a", "validation": "b", "test": "c"}
    with pytest.raises(ConfigInvalid, match=said):
        parse_training_config({**tables, **sections}, "training.toml")


def job(folder: Path) -> TrainingConfig:
    """A small job with a teacher: three fits of four evaluations each."""
    return orders.config(
        folder,
        {
            "network": {"widths": [16], "min_count": 10},
            "fit": {"epochs": 2, "batch_size": 256, "evaluations_per_epoch": 2, "sanity": False},
            "distill": {"members": 4, "widths": [16]},
            "quantization": {"weights": "per-tensor", "ranges": "min-max"},
        },
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a job that was never stopped."""
    return train(job(tmp_path_factory.mktemp("whole"))).folder


def test_a_job_reports_its_teacher(whole: Path) -> None:
    assert "What the teacher taught" in (whole / "report.html").read_text("utf-8")
    assert load_run(whole).report.distillation["kept"] in ("with_teacher", "without_teacher")


@pytest.mark.parametrize("saves", [2, 6, 10], ids=["in the teacher", "with it", "without it"])
def test_a_job_with_a_teacher_that_was_stopped_ends_with_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: int
) -> None:
    save, done = Checkpoint.save, []

    def stopping(checkpoint: Checkpoint, *arguments: Any, **parts: Any) -> None:
        done.append(None)
        checkpoint._stop = len(done) == saves
        save(checkpoint, *arguments, **parts)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "save", stopping)
        with pytest.raises(TrainingInterrupted) as stopped:
            train(job(tmp_path))
    resumed = resume(stopped.value.folder)
    assert (resumed.folder / GRAPH).read_bytes() == (whole / GRAPH).read_bytes()
    assert not stopped.value.folder.exists()
