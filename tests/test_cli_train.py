"""`eventscore train` that publishes what it trained."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from click.testing import CliRunner, Result
from moto import mock_aws

pytest.importorskip("torch", reason="training needs the train extra")

import orders
from eventscore.artifact import load_artifact
from eventscore.signing import Ed25519Verifier, parse_trusted_keys
from eventscore.store.location import open_store
from eventscore.store.versions import ModelVersions
from eventscore_cli.main import cli

TRAINING_TOML = """\
contract = "contract.toml"
table = "orders.parquet"
validation_share = 0.2
test_share = 0.2
device = "cpu"
[network]
widths = [8]
min_count = 10
[quantization]
weights = "per-channel"
ranges = "min-max"
[fit]
epochs = 1
batch_size = 256
evaluations_per_epoch = 1
"""


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a job and a key that signs."""
    monkeypatch.chdir(tmp_path)
    orders.config(tmp_path)
    (tmp_path / "training.toml").write_text(TRAINING_TOML)
    assert tomllib.loads(TRAINING_TOML)
    assert run("keys", "new", "key.pem").exit_code == 0
    return tmp_path


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        boto3.client("s3").create_bucket(
            Bucket="my-models", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        yield "s3://my-models/scores"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_a_trained_version_is_published_to_the_bucket_and_a_channel_points_at_it(job: Path, bucket: str) -> None:
    ended = run(
        *("train", "training.toml", "--runs", "runs", "--store", bucket, "--signing-key", "key.pem"),
        *("--promote", "canary"),
    )
    assert ended.exit_code == 0, ended.output
    (folder,) = (job / "runs").iterdir()
    versions = ModelVersions(open_store(bucket), "orders")
    assert f"published orders {folder.name} to {bucket}" in ended.stdout
    assert versions.resolve("canary") == folder.name
    public = run("keys", "show", "key.pem").stdout.strip()
    artifact = load_artifact(versions, folder.name, Ed25519Verifier(parse_trusted_keys(public)))
    assert artifact.version == folder.name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--store", "models"), "--store needs --signing-key KEY (or EVENTSCORE_SIGNING_KEY)"),
        (("--promote", "live"), "--promote needs --store"),
        (("--store", "models", "--signing-key", "nowhere.pem"), "nowhere.pem"),
        (("--store", "s3:/bucket/", "--signing-key", "key.pem"), "s3:/bucket/"),
    ],
)
def test_what_keeps_a_version_from_being_published_is_told_before_the_training(
    job: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.delenv("EVENTSCORE_SIGNING_KEY", raising=False)
    ended = run("train", "training.toml", "--runs", "runs", *arguments)
    told = ended.output + str(ended.exception or "")
    assert ended.exit_code != 0
    assert said in told
    assert not (job / "runs").exists()
