"""The training container: SageMaker's folders below a root of our own, AWS Batch's by environment variables, a SIGTERM to its process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

import orders
from conftest import ROOT
from eventscore.artifact import load_artifact
from eventscore.signing import Ed25519Signer, Ed25519Verifier, parse_trusted_keys, write_new_key
from eventscore.store.folder import FolderStore
from eventscore.store.versions import ModelVersions
from eventscore_training import ConfigInvalid, load_run
from eventscore_training.checkpoint import STATES
from eventscore_training.container import Places, read_order, run_container

pytestmark = pytest.mark.training

COMMAND = [sys.executable, "-m", "eventscore_training.container", "train"]
HYPERPARAMETERS = {
    "seed": "3",
    "device": "cpu",
    "validation_share": "0.2",
    "test_share": "0.2",
    "fit.epochs": "2",
    "fit.batch_size": "128",
    "network.widths": "[16, 8]",
    "network.min_count": "5",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """/opt/ml as SageMaker leaves it before the container starts."""
    made = tmp_path / "ml"
    table, job = made / "input" / "data" / "table", made / "input" / "data" / "job"
    for folder in (table, job, made / "input" / "config", made / "output", made / "model"):
        folder.mkdir(parents=True)
    orders.config(table)
    (table / "contract.toml").rename(job / "contract.toml")
    hyperparameters(made)
    return made


def hyperparameters(root: Path, **more: str) -> None:
    file = root / "input" / "config" / "hyperparameters.json"
    file.write_text(json.dumps(HYPERPARAMETERS | {name.replace("__", "."): value for name, value in more.items()}))


def environment(**names: str | Path) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("SM_", "EVENTSCORE_"))}
    return plain | {name: str(value) for name, value in names.items()}


def test_sagemakers_folders_become_a_published_version(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = root / "input" / "data" / "job" / "signing.pem"
    signer: Ed25519Signer = write_new_key(key)
    store = root.parent / "store"
    hyperparameters(root, store=str(store), promote="live")
    ended = run_container(environment(ML_ROOT=root))
    told = capsys.readouterr()
    assert ended == 0, told.err
    assert re.search(r"^test roc_auc=0\.\d{6};$", told.out, re.MULTILINE)
    (folder,) = (root / "model").iterdir()
    run = load_run(folder)
    assert run.report.provenance.seed == 3
    assert not (root / "output" / "failure").exists()
    assert not list((root / "checkpoints").glob("*"))
    versions = ModelVersions(FolderStore(store), "orders")
    assert versions.resolve("live") == run.version
    load_artifact(versions, run.version, Ed25519Verifier(parse_trusted_keys(signer.public_key)))


def test_a_spot_machines_sigterm_leaves_a_checkpoint_that_the_next_container_goes_on_from(root: Path) -> None:
    hyperparameters(root, fit__epochs="1000", fit__patience="100000")
    with subprocess.Popen(COMMAND, env=environment(ML_ROOT=root), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if re.match(r"fit [1-9]", line):
                process.send_signal(signal.SIGTERM)
                break
        process.communicate(timeout=120)
    assert process.returncode == 75
    assert len(list((root / "checkpoints").glob(STATES))) == 1
    assert not (root / "output" / "failure").exists()
    assert not list((root / "model").iterdir())


def test_batch_says_where_the_folders_are(root: Path, tmp_path: Path) -> None:
    data = root / "input" / "data"
    ended = run_container(
        {
            "ML_ROOT": str(tmp_path / "nothing"),
            "SM_CHANNEL_TABLE": str(data / "table"),
            "SM_CHANNEL_JOB": str(data / "job"),
            "SM_HPS": json.dumps(HYPERPARAMETERS),
            "SM_MODEL_DIR": str(tmp_path / "model"),
            "SM_CHECKPOINT_DIR": str(tmp_path / "checkpoints"),
            "SM_OUTPUT_DIR": str(tmp_path / "output"),
        }
    )
    assert ended == 0
    (folder,) = (tmp_path / "model").iterdir()
    assert load_run(folder).version == folder.name
    assert not (tmp_path / "nothing").exists()


def test_a_failure_is_where_sagemaker_looks_for_it(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contract = root / "input" / "data" / "job" / "contract.toml"
    contract.write_text(contract.read_text().replace("max = 10000", "max = 1"))
    assert run_container(environment(ML_ROOT=root)) == 1
    failure = (root / "output" / "failure").read_text()
    assert "column 'amount': expected 0 to 1" in failure
    assert failure in capsys.readouterr().err
    assert "Traceback" not in failure


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fit__epoch": "3"}, "fit.epoch: unknown key (known here: loss, quantile"),
        ({"fit__epochs": "many"}, "fit.epochs: expected a valid integer"),
        ({"store": "models"}, "publishing to a store needs the key that signs: one .pem file in a channel"),
    ],
)
def test_a_wrong_hyperparameter_is_told_before_anything_is_trained(
    root: Path, change: dict[str, str], said: str
) -> None:
    hyperparameters(root, **change)
    assert run_container({"ML_ROOT": str(root)}) == 1
    assert said in (root / "output" / "failure").read_text()


def test_the_channels_paths_beat_those_of_a_training_file(root: Path) -> None:
    text = 'contract = "there/contract.toml"\ntable = "there/t.csv"\nseed = 9\n[fit]\nepochs = 7\nbatch_size = 64\n'
    (root / "input" / "data" / "job" / "training.toml").write_text(text)
    config = read_order(Places.of({"ML_ROOT": str(root)}), {}).config
    assert config.table == root / "input" / "data" / "table" / "orders.parquet"
    assert (config.seed, config.fit.epochs, config.fit.batch_size) == (3, 2, 128)


def test_channels_without_a_contract_or_with_two_tables_are_refused(root: Path) -> None:
    (root / "input" / "data" / "table" / "more.csv").write_text("order\n")
    with pytest.raises(ConfigInvalid, match=r"channel 'table': expected one .* file, got more\.csv, orders\.parquet"):
        read_order(Places.of({"ML_ROOT": str(root)}), {})
    (root / "input" / "data" / "job" / "contract.toml").unlink()
    with pytest.raises(ConfigInvalid, match=r"expected a contract\.toml in one of them; channels: job"):
        read_order(Places.of({"ML_ROOT": str(root)}), {})


def test_the_dockerfile_copies_what_there_is_and_starts_what_is_tested_here() -> None:
    """No image can be pulled where these tests run, so the file is only read."""
    text = (ROOT / "training" / "Dockerfile").read_text()
    ignored = (ROOT / "training" / "Dockerfile.dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in ignored, f"{source} does not reach the builder"
    packages = re.findall(r'^    "(\S+)/eventscore\w*",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert packages
    assert all(f"COPY {package}" in text for package in packages)
    (torch,) = re.findall(r"^TORCH := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f"ARG TORCH={torch}\n" in text
    entry = json.loads(re.findall(r"^ENTRYPOINT (.+)$", text, re.MULTILINE)[0])
    assert entry[1:] == COMMAND[1:3]
