"""The module that Lambda imports: garbage is not collected while it loads the model, and is afterwards, whatever came of that."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

import small_model
from eventscore.errors import SettingsInvalid
from eventscore.signing import Ed25519Signer
from eventscore.store.folder import FolderStore
from function_apps import load_app


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_loaded_is_frozen_and_garbage_is_collected_again(
    tmp_path: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(tmp_path, signer, monkeypatch)
    app = load_app("score")
    assert app.handler([small_model.EVENT], None)[0]["version"] == "v1"
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_an_import_that_fails_leaves_the_collector_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVENTSCORE_MODEL", raising=False)
    with pytest.raises(SettingsInvalid, match="EVENTSCORE_MODEL"):
        load_app("score")
    assert gc.isenabled()


def test_a_version_that_was_frozen_is_let_go_when_it_is_replaced(
    tmp_path: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment(tmp_path, signer, monkeypatch)
    monkeypatch.setenv("EVENTSCORE_REFRESH_SECONDS", "1")
    app = load_app("score")
    (live,) = app._function._models.held()
    graph = weakref.ref(live.serving.artifact.session._session)
    assert graph() is not None
    small_model.publish(FolderStore(tmp_path), signer, "v2")
    live.look_at_once()
    assert app.handler({"eventscore": "warm-up"}, None)["version"] == "v2"
    assert graph() is None, "it would stay for as long as the environment lives: nobody looks through what is frozen"


def environment(store: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a function whose store is the folder ``store``, with one version in it."""
    small_model.publish(FolderStore(store), signer)
    monkeypatch.setenv("EVENTSCORE_STORE", str(store))
    monkeypatch.setenv("EVENTSCORE_MODEL", small_model.MODEL)
    monkeypatch.setenv("EVENTSCORE_TRUSTED_KEYS", signer.public_key)
