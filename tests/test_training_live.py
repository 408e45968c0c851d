"""No worse than the live version, by the task's own figures: what the gate compares, and when it has nothing to compare with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("polars")
pytest.importorskip("sklearn")

import orders
from eventscore.contract import parse_contract
from eventscore.manifest import (
    CONTRACT,
    MANIFEST,
    SERVED_FILES,
    SIGNATURE,
    FileEntry,
    GoldenTolerance,
    Manifest,
    Provenance,
    TableEntry,
)
from eventscore.signing import Ed25519Signer, Ed25519Verifier
from eventscore.store.folder import FolderStore
from eventscore.store.versions import ModelVersions
from eventscore_training.live import live_gates
from eventscore_training.run import RunReport
from test_training_pages import BINARY, LABELS

pytestmark = pytest.mark.training
GATES = "\n[gates]\nnot_worse_than_live = true\nlive_tolerance = 0.01\n"
TOLERANCE = GoldenTolerance(tolerance=0.001, events=64)
FIGURES = {
    "multiclass": {"roc_auc": 0.8, "log_loss": 0.5},
    "multilabel": {"roc_auc": 0.8, "log_loss": 0.5},
    "anomaly": {"roc_auc": 0.8, "pr_auc": 0.5},
    "regression": {"rmse": 200.0},
    "quantile": {"pinball_loss": 20.0, "rmse": 300.0},
}


def provenance(fit: dict[str, Any]) -> Provenance:
    tables = (TableEntry(part="test", sha256="0" * 64, rows=9, positive_share=None),)
    return Provenance(tables=tables, commit=None, libraries={}, seed=0, device="cpu", configuration={"fit": fit})


def judged(
    folder: Path,
    signer: Ed25519Signer,
    verifier: Ed25519Verifier,
    kind: str,
    ours: dict[str, float],
    live_fit: dict[str, Any] | None = None,
    live_contract: Callable[[str], str] = str,
) -> dict[str, tuple[float, bool, str]]:
    """By gate: limit, verdict and detail of a version with the figures ``ours`` beside a live one with those of the table above.

    ``live_contract``: what the live version's contract says instead.
    """
    task = "regression" if kind == "quantile" else kind
    fit = {"loss": "quantile", "quantile": 0.9} if kind == "quantile" else {}
    text = orders.CONTRACT_TOML.replace('"binary"', f'"{task}"').replace(BINARY, LABELS[task])
    contract = parse_contract((text + GATES).encode(), task)
    theirs = live_contract(text + GATES).encode()
    manifest = Manifest(
        model="orders", version="20261121T101500Z-1a2b3c4d", task=task, created_at=datetime.now(UTC), opset=21,
        files={name: FileEntry.of(theirs if name == CONTRACT else b"x") for name in SERVED_FILES}, golden=TOLERANCE,
        metrics={"int8": FIGURES[kind]},
        provenance=provenance(fit if live_fit is None else live_fit),
    )  # fmt: skip
    versions = ModelVersions(FolderStore(folder), "orders")
    raw = manifest.to_bytes()
    place = folder / versions.key(manifest.version, MANIFEST)
    place.parent.mkdir(parents=True)
    place.write_bytes(raw)
    (folder / versions.key(manifest.version, SIGNATURE)).write_bytes(signer.sign(raw))
    (folder / versions.key(manifest.version, CONTRACT)).write_bytes(theirs)
    versions.promote(manifest.version)
    report = RunReport(
        model="orders", version="v2", task=task, opset=21, duration_s=1, split="by time", periods={}, golden=TOLERANCE,
        metrics={"int8": ours}, validation_metrics={}, calibration={}, quantile=fit.get("quantile"), gates=(), fit=(),
        best=0, provenance=provenance(fit),
    )  # fmt: skip
    gates = live_gates(report, contract, versions, verifier, None)
    return {gate.name: (gate.limit, gate.passed, gate.detail) for gate in gates}


@pytest.mark.parametrize(
    ("kind", "ours", "limits", "missed"),
    [
        ("multiclass", {"roc_auc": 0.795, "log_loss": 0.52}, [0.79, 0.51], ["live.max_log_loss"]),
        ("multilabel", {"roc_auc": 0.78, "log_loss": 0.4}, [0.79, 0.51], ["live.min_roc_auc"]),
        ("anomaly", {"roc_auc": 0.9, "pr_auc": 0.4}, [0.79, 0.49], ["live.min_pr_auc"]),
        ("regression", {"rmse": 201.9}, [202], []),
        ("regression", {"rmse": 202.1}, [202], ["live.max_rmse"]),
        ("quantile", {"pinball_loss": 20.3, "rmse": 1.0}, [20.2], ["live.max_pinball_loss"]),
    ],
)
def test_a_version_is_compared_by_the_figures_of_its_task(
    kind: str,
    ours: dict[str, float],
    limits: list[float],
    missed: list[str],
    tmp_path: Path,
    signer: Ed25519Signer,
    verifier: Ed25519Verifier,
) -> None:
    found = judged(tmp_path, signer, verifier, kind, ours)
    assert [limit for limit, _, _ in found.values()] == pytest.approx(limits)
    assert [name for name, (_, passed, _) in found.items() if not passed] == missed


def test_the_loss_of_another_quantile_is_no_figure_to_compare_with(
    tmp_path: Path, signer: Ed25519Signer, verifier: Ed25519Verifier
) -> None:
    other = {"loss": "quantile", "quantile": 0.5}
    found = judged(tmp_path, signer, verifier, "quantile", {"pinball_loss": 1.0}, other)
    ((_, passed, detail),) = found.values()
    assert not passed
    assert "learned something else than this quantile: name this run's with --test FILE" in detail


def test_the_figures_of_another_label_of_the_same_table_are_no_comparison(
    tmp_path: Path, signer: Ed25519Signer, verifier: Ed25519Verifier
) -> None:
    def of_another_column(text: str) -> str:
        return text.replace('field = "minutes"', 'field = "hours"')

    gates = judged(tmp_path, signer, verifier, "regression", {"rmse": 1.0}, live_contract=of_another_column)
    ((_, passed, detail),) = gates.values()
    assert not passed
    assert "another" in detail
