"""Publish a run: gates once more, the manifest over its files, the signature, and the store."""

from __future__ import annotations

from pathlib import Path

from eventscore.artifact import prove
from eventscore.baseline import parse_baseline
from eventscore.contract import parse_contract
from eventscore.manifest import BASELINE, CONTRACT, FileEntry, Manifest
from eventscore.signing import Signer, Verifier
from eventscore.store.objects import ObjectStore
from eventscore.store.versions import ModelVersions
from eventscore_training.errors import RunIncomplete
from eventscore_training.gates import gate_results, require_gates
from eventscore_training.run import VERSION_FILES, TrainedVersion


def publish(
    run: TrainedVersion, store: ObjectStore, signer: Signer, verifier: Verifier | None = None, test: Path | None = None
) -> Manifest:
    """Sign ``run`` and write it to ``store`` under its model and version; the manifest and the signature go last.

    ``verifier`` tells whether the live version is to be trusted, where the contract's gates compare with it; ``test`` is the run's
    test table, needed where the live version was tested on another one.

    No channel is moved: a version that nobody points at serves nobody (see ``ModelVersions.promote``).

    Raises:
        GateFailed: the version misses a gate of its contract.
        RunIncomplete: the run's files are not those of its report.
        ArtifactRefused, BaselineInvalid: the function would not load it, or could not watch it for drift.
        AlreadyPublished: the store holds this version.
        StoreError: the store does not answer.

    """
    report = run.report
    files = {name: (run.folder / name).read_bytes() for name in VERSION_FILES}
    contract = parse_contract(files[CONTRACT], str(run.folder / CONTRACT))
    if contract.model.name != report.model:
        raise RunIncomplete(run.folder, f"the contract of {report.model} (there is that of {contract.model.name})")
    # The gates of the contract that travels with the version, on the bytes that are about to be published.
    size_bytes = sum(len(content) for content in files.values())
    gates = gate_results(
        contract.gates, report.metrics["fp32"], report.metrics["int8"], size_bytes, report.measured, report.details
    )
    versions = ModelVersions(store, report.model)
    if contract.gates.not_worse_than_live:
        # polars and the tables' checks, where the gate asks for them.
        from eventscore_training.live import live_gates

        gates += live_gates(report, contract, versions, verifier, test)
    require_gates(gates)
    manifest = Manifest(
        model=report.model,
        version=report.version,
        task=report.task,
        created_at=report.created_at,
        opset=report.opset,
        files={name: FileEntry.of(content) for name, content in files.items()},
        golden=report.golden,
        metrics=report.metrics,
        provenance=report.provenance,
    )
    # What the function will ask of it, before the store has anything of it: a version is written once, and for good.
    prove(manifest, files, "", lambda name: str(run.folder / name))
    parse_baseline(files[BASELINE], str(run.folder / BASELINE), contract)
    raw = manifest.to_bytes()
    versions.write(report.version, files, raw, signer.sign(raw))
    return manifest
