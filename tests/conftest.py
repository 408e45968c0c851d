"""Fixtures that several test files share: the small model, and an environment without the developer's own settings."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import settings

import small_model
from eventscore.artifact import Artifact, load_artifact
from eventscore.signing import Ed25519Signer, Ed25519Verifier
from eventscore.store.folder import FolderStore
from eventscore.store.versions import ModelVersions

# Test processes share the cores; torch's threads must not spin while they wait for each other. Before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Nothing is timed in a test: how long an example takes is the machine's affair.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parent.parent


SLOW = ("training", "emulator", "sam")
"""Marks of the tests that take longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that processes which share the files end together. A file stays in one piece."""
    slow = {item.path for item in items if any(item.get_closest_marker(name) for name in SLOW)}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the developer's AWS account or settings."""
    for name in list(os.environ):
        if name.startswith(("EVENTSCORE_", "AWS_", "POWERTOOLS_")):
            monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def signer() -> Ed25519Signer:
    """The key that signs the small model."""
    return small_model.new_signer()


@pytest.fixture(scope="session")
def verifier(signer: Ed25519Signer) -> Ed25519Verifier:
    """Trusts the small model's key, and no other."""
    return Ed25519Verifier([base64.b64decode(signer.public_key)])


@pytest.fixture
def store_folder(tmp_path: Path) -> Path:
    """A folder for a model store."""
    return tmp_path / "model_store"


@pytest.fixture
def small_versions(store_folder: Path, signer: Ed25519Signer) -> ModelVersions:
    """The small model in a folder, version v1 live."""
    return small_model.publish(FolderStore(store_folder), signer)


@pytest.fixture(scope="session")
def small_artifact(
    tmp_path_factory: pytest.TempPathFactory, signer: Ed25519Signer, verifier: Ed25519Verifier
) -> Artifact:
    """The small model, loaded."""
    versions = small_model.publish(FolderStore(tmp_path_factory.mktemp("model_store")), signer)
    return load_artifact(versions, "v1", verifier)
