"""A training that SIGTERM stops goes on later, and ends with the very bytes of one that was never stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import orders
from eventscore.manifest import GRAPH
from eventscore_cli.main import main
from eventscore_training import CheckpointMismatch, resume, train
from eventscore_training.checkpoint import JOB, STATE
from eventscore_training.config import load_training_config

pytestmark = pytest.mark.training

TRAINING_TOML = """\
contract = "contract.toml"
table = "orders.parquet"
validation_share = 0.2
test_share = 0.2
runs = "runs"

[network]
widths = [16, 8]
min_count = 5
dropout = 0.2

[fit]
epochs = 4
batch_size = 128
evaluations_per_epoch = 3
"""

# After each evaluation it waits for a line, so that the signal comes where the test wants it.
PATIENT = """
import sys
import eventscore_training
from eventscore_cli.main import main

train = eventscore_training.train

def patient(config, show):
    def told(step):
        if step.phase == "fit" and step.done:
            print(step.done, flush=True)
            sys.stdin.readline()
    return train(config, told)

eventscore_training.train = patient
main(["train", sys.argv[1]])
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job's configuration, with its table and its contract beside it."""
    folder = tmp_path_factory.mktemp("job")
    orders.config(folder)
    (folder / "training.toml").write_text(TRAINING_TOML)
    return folder / "training.toml"


@pytest.fixture(scope="module")
def stopped(job: Path) -> Path:
    """The folder that a training left which got a SIGTERM after its fifth evaluation, in the middle of an epoch."""
    with subprocess.Popen(
        [sys.executable, "-c", PATIENT, str(job)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        for evaluation in range(1, 6):
            assert process.stdout.readline().strip(), process.communicate()[1]
            if evaluation == 5:
                process.send_signal(signal.SIGTERM)
            process.stdin.write("\n")
            process.stdin.flush()
        out, err = process.communicate(timeout=120)
    (folder,) = (job.parent / "runs").glob(".*.unfinished")
    assert process.returncode == 75, err
    assert out == ""
    assert f"go on with: eventscore train --resume {folder}" in err
    return folder


def test_a_resumed_training_ends_with_the_same_bytes(
    job: Path, stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--resume", str(stopped)])
    assert ended.value.code == 0
    resumed = Path(capsys.readouterr().out.strip())
    whole = train(load_training_config(job, {"runs": job.parent / "whole"}))
    assert (resumed / GRAPH).read_bytes() == (whole.folder / GRAPH).read_bytes()
    assert not stopped.exists(), "a finished run leaves no checkpoint"
    assert [path.name for path in (job.parent / "whole").iterdir()] == [whole.version]


def test_a_checkpoint_is_of_one_table_and_one_contract(job: Path, tmp_path: Path) -> None:
    config = load_training_config(job, {"runs": tmp_path / "runs"})

    class Stopped(Exception):
        pass

    def stop_late(step: object) -> None:
        if getattr(step, "phase", "") == "export":
            raise Stopped

    with pytest.raises(Stopped):
        train(config, stop_late)
    (folder,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in folder.iterdir()} == {STATE, JOB}
    changed = tmp_path / "contract.toml"
    changed.write_text(orders.CONTRACT_TOML + "\n")
    (folder / JOB).write_text((folder / JOB).read_text().replace(str(job.parent / "contract.toml"), str(changed)))
    with pytest.raises(CheckpointMismatch, match="one of them has changed since"):
        resume(folder)


def test_what_is_no_checkpoint_is_said_to_be_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--resume", str(tmp_path)])
    assert ended.value.code == 1
    assert "expected a checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["a.toml", "--resume", "b"], ["--resume", "b", "--seed", "3"]])
def test_a_training_begins_or_goes_on(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments])
    assert ended.value.code == 2
