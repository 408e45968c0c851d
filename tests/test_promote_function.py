"""The promote function moves one channel of one model, to a version that proves itself, and nothing else."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

import small_model
from conftest import ROOT
from eventscore.errors import ArtifactRefused, NoSuchVersion, SignatureMismatch
from eventscore.signing import Ed25519Signer
from eventscore.store.s3 import S3Store
from eventscore.store.versions import ModelVersions

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch, signer: Ed25519Signer) -> Handler:
    """The function as Lambda imports it, with the stack's environment."""
    for name, value in {
        "EVENTSCORE_STORE": "s3://models",
        "EVENTSCORE_MODEL": small_model.MODEL,
        "EVENTSCORE_CHANNEL": "canary",
        "EVENTSCORE_TRUSTED_KEYS": signer.public_key,
    }.items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("promote_app", ROOT / "functions" / "promote" / "app.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Handler = module.handler
    return made


@pytest.fixture
def versions(signer: Ed25519Signer) -> Iterator[ModelVersions]:
    """The small model on S3, version v1 live."""
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="models")
        yield small_model.publish(S3Store("models", "", client), signer)


def another(versions: ModelVersions, name: str, signer: Ed25519Signer) -> None:
    """Publish a version and leave the channels as they are."""
    contents = small_model.files(0.5)
    document = small_model.manifest(name, contents).to_bytes()
    versions.write(name, contents, document, signer.sign(document))


def test_it_points_its_own_channel_at_the_version(
    handler: Handler, versions: ModelVersions, signer: Ed25519Signer
) -> None:
    another(versions, "v2", signer)
    asked = {"version": "v2", "channel": "live", "model": "other"}
    assert handler(asked, None) == {"channel": "canary", "version": "v2", "was": None}
    assert versions.channels().versions == {"live": "v1", "canary": "v2"}


def test_what_does_not_prove_itself_is_not_promoted(handler: Handler, versions: ModelVersions) -> None:
    another(versions, "forged", small_model.new_signer())
    with pytest.raises(SignatureMismatch):
        handler({"version": "forged"}, None)
    with pytest.raises((ArtifactRefused, NoSuchVersion)):
        handler({"version": "never-there"}, None)
    assert versions.channels().versions == {"live": "v1"}


def test_sam_copies_the_handler_and_nothing_else() -> None:
    makefile = (ROOT / "functions" / "promote" / "Makefile").read_text(encoding="utf-8")
    assert "build-PromoteFunction" in makefile
    assert {path.name for path in Path(ROOT / "functions" / "promote").iterdir()} - {"__pycache__"} == {
        "Makefile",
        "app.py",
    }
