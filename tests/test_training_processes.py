"""Several processes learn what one learns alone, stop together, and none outlives an error of another. Two, on the CPU, by gloo."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import orders  # noqa: E402
import two_processes  # noqa: E402
from eventscore_training import ConfigInvalid, train  # noqa: E402
from eventscore_training.config import parse_training_config  # noqa: E402
from eventscore_training.ranks import ALONE, Ranks, told_ranks  # noqa: E402

pytestmark = pytest.mark.training

TESTS = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Pair:
    """What two processes left behind."""

    folder: Path
    codes: tuple[int, int]
    errors: tuple[str, str]

    def saved(self, name: str, rank: int) -> Any:
        return torch.load(self.folder / f"{name}-{rank}.pt")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(TESTS), *sys.path])
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "PYTHONPATH": path}
    processes = [
        subprocess.Popen(
            [sys.executable, str(TESTS / "two_processes.py"), str(folder)],
            env={**os.environ, **told, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        errors = [process.communicate(timeout=240)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return Pair(folder, (processes[0].returncode, processes[1].returncode), (errors[0], errors[1]))


def test_two_processes_learn_what_one_learns_from_the_same_batches(pair: Pair) -> None:
    network, history = two_processes.fitted()
    together = pair.saved("plain", 0)
    assert len(together["evaluations"]) == len(history.evaluations) > 3
    for ours, theirs in zip(history.evaluations, together["evaluations"], strict=True):
        assert (ours.epoch, ours.train_loss, ours.figures["log_loss"], ours.figures["roc_auc"]) == pytest.approx(
            theirs, rel=1e-4
        )
    torch.testing.assert_close(network.state_dict(), together["weights"], rtol=1e-3, atol=1e-4)
    torch.manual_seed(7)
    other, _ = two_processes.fitted(two_processes.FIT.model_copy(update={"batch_size": 202}))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(other.state_dict(), together["weights"], rtol=1e-3, atol=1e-4)


def test_all_processes_hold_the_same_weights_and_saw_the_same_figures(pair: Pair) -> None:
    for name in ("plain", "dropout"):
        first, second = pair.saved(name, 0), pair.saved(name, 1)
        assert first["evaluations"] == second["evaluations"]
        torch.testing.assert_close(first["weights"], second["weights"], rtol=0, atol=0)


def test_a_sigterm_to_one_process_stops_all_and_they_end_as_if_nothing_had_happened(pair: Pair) -> None:
    assert [(pair.folder / f"interrupted-{rank}").exists() for rank in (0, 1)] == [True, True]
    whole, resumed = pair.saved("dropout", 0), pair.saved("resumed", 0)
    assert whole["evaluations"] == resumed["evaluations"]
    torch.testing.assert_close(whole["weights"], resumed["weights"], rtol=0, atol=0)


def test_an_error_in_one_process_ends_the_other(pair: Pair) -> None:
    assert pair.codes[1] != 0
    assert "ZeroDivisionError" in pair.errors[1]
    assert "one of them has ended" in (pair.folder / "lost-0").read_text()


def test_torchrun_trains_one_version_and_tells_of_it_once(tmp_path: Path) -> None:
    config = orders.config(tmp_path)
    plain = config.model_dump(mode="json", exclude_none=True, include={"validation_share", "test_share", "device"})
    sections = config.model_dump(mode="json", exclude_defaults=True, include={"network", "fit", "quantization"})
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    lines += [f'contract = "{config.contract}"', f'table = "{config.table}"', f'runs = "{tmp_path / "runs"}"']
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    (tmp_path / "training.toml").write_text("\n".join(lines))
    starter = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*starter, "-m", "eventscore_cli", "train", str(tmp_path / "training.toml")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert done.stdout.split() == [str(folder)]
    assert done.stderr.count("test part") == 1
    together = json.loads((folder / "report.json").read_text())["fit"]
    alone = train(config).report.fit
    assert len(together) == len(alone)
    for ours, theirs in zip(together, alone, strict=True):
        assert ours == pytest.approx(dict(theirs), rel=1e-3)


def test_a_batch_smaller_than_the_processes_is_refused() -> None:
    from eventscore_training.batches import Batches

    rows = torch.zeros(10, 2).numpy()
    with pytest.raises(ConfigInvalid, match=r"at least one row of each batch for each of 4 processes, got 3 rows"):
        Batches((rows,), torch.device("cpu"), 3, ranks=Ranks(0, 4, 0))


def test_a_process_alone_needs_no_environment() -> None:
    assert told_ranks({}) is ALONE
    assert told_ranks({"RANK": "0", "WORLD_SIZE": "1"}) is ALONE
    assert told_ranks({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}) == Ranks(3, 4, 1)
    tables = {"contract": "c", "train": "a", "validation": "b", "test": "c"}
    assert parse_training_config({**tables, "fit": {"compile": "never"}}, "here").fit.compile == "never"


def test_threads_wait_asleep_before_torch_comes_in_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from eventscore_cli.main import main\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch': print(os.environ['OMP_WAIT_POLICY']); os._exit(0)\n"
        "sys.meta_path.insert(0, Watch())\n"
        "main(['train', sys.argv[1]])"
    )
    orders.config(tmp_path)
    (tmp_path / "t.toml").write_text('contract = "contract.toml"\ntrain = "a"\nvalidation = "b"\ntest = "c"\n')
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("OMP_WAIT_POLICY", None)
    for told, expected in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        command = [sys.executable, "-c", code, str(tmp_path / "t.toml")]
        done = subprocess.run(command, env={**environment, **told}, capture_output=True, text=True, check=False)
        assert done.stdout.split() == [expected], done.stderr
