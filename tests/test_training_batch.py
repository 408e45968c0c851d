"""The training job on AWS Batch: its folders on S3, a spot machine that goes, gates that are missed, a version that is published once."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import boto3
import pytest
from boto3.exceptions import S3UploadFailedError
from moto import mock_aws

pytest.importorskip("torch")

import orders
from conftest import ROOT
from eventscore.artifact import load_artifact
from eventscore.manifest import GRAPH
from eventscore.signing import Ed25519Verifier, write_new_key
from eventscore.store.s3 import S3Store
from eventscore.store.versions import ModelVersions
from eventscore_local.ministack import CREDENTIALS, Ministack
from eventscore_training import load_run, train
from eventscore_training.batch import RESULT, run_batch
from eventscore_training.config import parse_training_config
from eventscore_training.container import GATES_MISSED, STOPPED, Places
from eventscore_training.errors import GateFailed, TrainingInterrupted
from eventscore_training.s3_folder import S3Folder

pytestmark = pytest.mark.training

BUCKETS = ("training", "models")
JOB = "s3://training/jobs/e-1"
TRAINING_TOML = """\
validation_share = 0.2
test_share = 0.2
seed = 3
device = "cpu"

[network]
widths = [16, 8]
min_count = 5
dropout = 0.2

[fit]
epochs = 12
patience = 1000
batch_size = 128
evaluations_per_epoch = 2
"""


class Bucket:
    """The buckets of a test: what the job is given, and what it leaves."""

    def __init__(self, client: Any, folder: Path) -> None:
        self.client = client
        self.folder = folder
        for name in BUCKETS:
            client.create_bucket(Bucket=name)
        folder.mkdir(exist_ok=True)
        orders.config(folder)
        self.signer = write_new_key(folder / "signing.pem")
        self.put("data/table/orders.parquet", (folder / "orders.parquet").read_bytes())
        self.put("data/job/contract.toml", orders.CONTRACT_TOML.encode())
        self.put("data/job/training.toml", TRAINING_TOML.encode())

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket="training", Key=key, Body=content)

    def names(self, prefix: str) -> list[str]:
        found = self.client.list_objects_v2(Bucket="training", Prefix=prefix).get("Contents", ())
        return [item["Key"].removeprefix(prefix) for item in found]

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = S3Folder(JOB, self.client).document(RESULT)
        return found

    def versions(self) -> ModelVersions:
        return ModelVersions(S3Store("models", "", self.client), "orders")

    def environment(self, machine: Path, **hyperparameters: str) -> dict[str, str]:
        """That of one attempt, on a machine of its own."""
        return {
            "ML_ROOT": str(machine),
            "TRAINING_DATA": "s3://training/data",
            "TRAINING_JOB": JOB,
            "SM_HPS": json.dumps({"store": "s3://models", **hyperparameters}),
            "EVENTSCORE_SIGNING_KEY": str(self.folder / "signing.pem"),
        }


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Bucket]:
    with mock_aws():
        yield Bucket(boto3.client("s3"), tmp_path / "job")


def test_a_batch_job_publishes_a_version_says_so_and_moves_no_channel(bucket: Bucket, tmp_path: Path) -> None:
    environment = bucket.environment(tmp_path / "machine", **{"fit.epochs": "2"})
    assert run_batch(environment, bucket.client) == 0
    result = bucket.result()
    versions = bucket.versions()
    assert (result["outcome"], result["model"]) == ("published", "orders")
    assert [result["version"]] == list(versions.versions())
    assert versions.channels().versions == {}
    load_artifact(versions, result["version"], Ed25519Verifier([base64.b64decode(bucket.signer.public_key)]))
    assert {"DONE", "report.json", "report.html", GRAPH} <= set(bucket.names(f"jobs/e-1/runs/{result['version']}/"))
    assert bucket.names("jobs/e-1/checkpoints/") == []

    # Batch may start an attempt of a job whose end it did not see.
    assert run_batch(bucket.environment(tmp_path / "other"), bucket.client) == 0
    assert bucket.result() == result
    assert len(versions.versions()) == 1


def test_gates_that_are_missed_end_otherwise_than_what_is_broken(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("data/job/contract.toml", (orders.CONTRACT_TOML + "\n[gates]\nmin_roc_auc = 0.999\n").encode())
    environment = bucket.environment(tmp_path / "machine", **{"fit.epochs": "2"})
    assert run_batch(environment, bucket.client) == GATES_MISSED == 3
    result = bucket.result()
    assert result["outcome"] == "gates-missed"
    assert re.search(r"min_roc_auc: expected at least 0\.999, got 0\.\d+", result["message"])
    assert bucket.versions().versions() == ()
    assert any(name.endswith("/report.html") for name in bucket.names("jobs/e-1/runs/")), "what to look at"

    bucket.put("data/job/contract.toml", b"format = 1\n")
    assert run_batch(environment, bucket.client) == 1
    assert bucket.result()["outcome"] == "failed"
    assert "contract" in bucket.result()["message"]


class Forgetful:
    """A client whose uploads below ``folder`` fail."""

    def __init__(self, client: Any, folder: str) -> None:
        self._client = client
        self._folder = folder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def upload_file(self, file: str, bucket: str, key: str) -> None:
        if f"/{self._folder}/" in key:
            raise S3UploadFailedError(f"no {key}: SlowDown")
        self._client.upload_file(file, bucket, key)


@pytest.mark.parametrize("folder", ["checkpoints", "runs"])
def test_a_published_version_is_told_as_published_whatever_of_the_job_is_not_kept(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    environment = bucket.environment(tmp_path / "machine", **{"fit.epochs": "2"})
    assert run_batch(environment, Forgetful(bucket.client, folder)) == 0
    assert (bucket.result()["outcome"], "run" in bucket.result()) == ("published", folder != "runs")
    assert [bucket.result()["version"]] == list(bucket.versions().versions())
    assert "SlowDown" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ends", "code", "outcome"),
    [(TrainingInterrupted(Path("checkpoints")), STOPPED, "started"), (GateFailed(()), GATES_MISSED, "gates-missed")],
)
def test_how_a_job_ended_is_told_though_its_last_checkpoint_is_not_kept(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: Exception, code: int, outcome: str
) -> None:
    def train_and_publish(places: Places, environment: Mapping[str, str]) -> NoReturn:
        places.checkpoints.mkdir(parents=True)
        (places.checkpoints / "checkpoint-1.pt").write_bytes(b"1")
        raise ends

    monkeypatch.setattr("eventscore_training.batch.train_and_publish", train_and_publish)
    environment = bucket.environment(tmp_path / "machine")
    assert run_batch(environment, Forgetful(bucket.client, "checkpoints")) == code
    assert bucket.result()["outcome"] == outcome


def test_a_job_that_is_told_no_store_publishes_nothing_and_says_so_before_it_trains(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_batch(bucket.environment(tmp_path / "machine") | {"SM_HPS": "{}"}, bucket.client) == 1
    assert "expected store, s3://bucket" in capsys.readouterr().err
    assert bucket.result()["outcome"] == "failed"
    assert not (tmp_path / "machine" / "model").exists()


def test_a_version_is_compared_with_the_live_one_of_a_key_that_is_trusted(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("data/job/contract.toml", (orders.CONTRACT_TOML + "\n[gates]\nnot_worse_than_live = true\n").encode())
    environment = bucket.environment(tmp_path / "machine", **{"fit.epochs": "2"})
    assert run_batch(environment, bucket.client) == 0
    bucket.versions().promote(bucket.result()["version"])

    environment["TRAINING_JOB"] = "s3://training/jobs/e-2"
    stranger = write_new_key(tmp_path / "stranger.pem").public_key
    assert run_batch(environment | {"EVENTSCORE_TRUSTED_KEYS": stranger}, bucket.client) == 1
    found = S3Folder("s3://training/jobs/e-2", bucket.client).document(RESULT)
    assert (found["outcome"], "trusted keys" in found["message"]) == ("failed", True)

    # The same seed and table: no worse than itself.
    assert run_batch(environment | {"EVENTSCORE_TRUSTED_KEYS": bucket.signer.public_key}, bucket.client) == 0
    assert len(bucket.versions().versions()) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"TRAINING_JOB": ""}, "expected TRAINING_JOB, s3://bucket/prefix; it is not set"),
        ({"TRAINING_DATA": "training/data"}, "training/data: expected s3://bucket/prefix"),
        ({"TRAINING_DATA": "s3://training/nothing"}, "expected folders with the table and contract.toml"),
        ({"TRAINING_DATA": "s3://nobodys/data"}, "s3://nobodys/data/: cannot be had"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "expected one process"),
    ],
)
def test_a_job_that_cannot_be_done_says_why(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], said: str
) -> None:
    assert run_batch(bucket.environment(tmp_path / "machine") | change, bucket.client) == 1
    message = capsys.readouterr().err
    assert said in message
    assert "Traceback" not in message


def test_a_key_that_leaves_its_folder_is_not_fetched(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("data/../../etc/x", b"")
    assert run_batch(bucket.environment(tmp_path / "machine"), bucket.client) == 1
    assert "leaves its folder" in bucket.result()["message"]


@pytest.fixture(scope="module")
def aws() -> Iterator[Ministack]:
    with Ministack(ROOT) as running:
        yield running


@pytest.mark.emulator
def test_a_spot_job_goes_on_elsewhere_and_ends_with_the_same_bytes(
    aws: Ministack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two attempts of one job, each with an empty disk; all that the second has of the first is what lies on S3."""
    bucket = Bucket(aws.client("s3"), tmp_path / "job")
    told = CREDENTIALS | {"AWS_ENDPOINT_URL": aws.endpoint_url}
    command = [sys.executable, "-m", "eventscore_training.container", "batch"]

    first = os.environ | bucket.environment(tmp_path / "first") | told
    with subprocess.Popen(command, env=first, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if re.match(r"fit [1-9]", line):
                process.send_signal(signal.SIGTERM)
                break
        _, err = process.communicate(timeout=120)
    assert process.returncode == STOPPED == 75, err
    assert bucket.names("jobs/e-1/checkpoints/") == ["checkpoint-3.pt"]
    assert bucket.result() == {"outcome": "started"}

    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert run_batch(bucket.environment(tmp_path / "second")) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "going on from s3://training/jobs/e-1/checkpoints/" in said
    assert "\nfit " in said
    assert f"\n{line.partition('/')[0]}/" not in said, "the first steps are not done again"
    result = bucket.result()
    bucket.versions().read_file(result["version"], GRAPH)

    document = {"contract": bucket.folder / "contract.toml", "table": bucket.folder / "orders.parquet"}
    whole = train(
        parse_training_config({**document, "runs": tmp_path / "whole", **tomllib.loads(TRAINING_TOML)}, "orders")
    )
    resumed = load_run(tmp_path / "second" / "model" / result["version"])
    assert (resumed.folder / GRAPH).read_bytes() == (whole.folder / GRAPH).read_bytes()
    assert bucket.versions().read_file(result["version"], GRAPH) == (whole.folder / GRAPH).read_bytes()
    assert bucket.names("jobs/e-1/checkpoints/") == []


@pytest.mark.emulator
def test_a_machine_that_goes_without_a_word_has_left_its_last_evaluations(aws: Ministack, tmp_path: Path) -> None:
    """The checkpoint is copied while the job trains, and not only at its end: there is none after a SIGKILL."""
    import torch

    client = aws.client("s3")
    bucket = Bucket(client, tmp_path / "job")
    environment = bucket.environment(tmp_path / "machine", **{"fit.epochs": "1000"})
    environment["TRAINING_JOB"] = "s3://training/jobs/e-9"
    told = os.environ | environment | CREDENTIALS | {"AWS_ENDPOINT_URL": aws.endpoint_url}
    command = [sys.executable, "-m", "eventscore_training.container", "batch"]
    with subprocess.Popen(command, env=told, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for _ in process.stdout:
            if bucket.names("jobs/e-9/checkpoints/"):
                break
        assert process.poll() is None, "it ended by itself"
        process.kill()
    (name,) = bucket.names("jobs/e-9/checkpoints/")
    content = client.get_object(Bucket="training", Key=f"jobs/e-9/checkpoints/{name}")["Body"].read()
    saved = torch.load(io.BytesIO(content), weights_only=True)
    assert saved["place"]["steps"] + saved["place"]["epoch"] > 0
