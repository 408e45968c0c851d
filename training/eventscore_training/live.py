"""No worse than the live version, on the same test set: the gate that only the store can answer, asked when a version is published.

Where the live version was tested on the very same table (digest and rows are equal), its manifest has the figures. Else its graph
scores that table, under its own contract; `eventscore publish --test FILE` names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eventscore.contract import Contract, parse_contract
from eventscore.manifest import CONTRACT, GRAPH, MANIFEST, SIGNATURE, Manifest, Provenance, TableEntry, parse_manifest
from eventscore.signing import Verifier
from eventscore.store.versions import LIVE, ModelVersions
from eventscore_training.config import parse_training_config
from eventscore_training.errors import GateResult, TableInvalid
from eventscore_training.figures import Figure
from eventscore_training.gates import gate_result
from eventscore_training.judges import Judge, judge_of
from eventscore_training.run import RunReport
from eventscore_training.split import read_parts
from eventscore_training.table import Table, check_table, read_frame


def live_gates(
    report: RunReport, contract: Contract, versions: ModelVersions, verifier: Verifier | None, test: Path | None
) -> tuple[GateResult, ...]:
    """The task's figures against those of the live version; nothing where the contract does not ask or nothing is live.

    ``live_tolerance`` is taken from the figure; of one in the label's unit (RMSE, pinball loss) it is a share.

    Raises:
        ArtifactRefused: the live version's manifest or its signature is not what it claims to be.
        TableInvalid: ``test`` is not the run's test set, or breaks the live version's contract.
        StoreError: the store does not answer.

    """
    version = versions.channels().versions.get(LIVE)
    if not contract.gates.not_worse_than_live or version is None:
        return ()
    detail, unknown, ours = f"live version {version}", float("nan"), report.metrics["int8"]
    judge = judge_of(contract, report.quantile)
    main = judge.main
    if verifier is None:
        detail += " cannot be trusted: publish was given no verifier"
        return (gate_result(_gate(main), unknown, ours.get(main.name, unknown), detail),)
    raw = versions.read_files(version, (MANIFEST, SIGNATURE, CONTRACT))
    key, signature_key = versions.key(version, MANIFEST), versions.key(version, SIGNATURE)
    from eventscore.artifact import check_digest  # onnxruntime, in this case only

    verifier.verify(raw[MANIFEST], raw[SIGNATURE], key=key, signature_key=signature_key)
    manifest = parse_manifest(raw[MANIFEST], key, model=versions.model, version=version)
    check_digest(versions.key(version, CONTRACT), raw[CONTRACT], manifest.files[CONTRACT])
    theirs = parse_contract(raw[CONTRACT], versions.key(version, CONTRACT))
    # One table may hold several labels.
    same_table = theirs.label == contract.label and _test_entry(manifest.provenance.tables) == _test_entry(
        report.provenance.tables
    )
    if same_table and (report.quantile is None or _quantile(manifest.provenance) == report.quantile):
        live = dict(manifest.metrics["int8"])
    elif test is not None:
        live = _scored(versions, manifest, report, contract, test, judge)
    else:
        live = {}
        other = "learned something else than this quantile" if same_table else "was tested on another table"
        detail += f" {other}: name this run's with --test FILE"
    tolerance = contract.gates.live_tolerance
    return tuple(
        gate_result(
            _gate(figure),
            figure.limit(live.get(figure.name, unknown), tolerance),
            ours.get(figure.name, unknown),
            detail,
        )
        for figure in judge.compared
    )


def _gate(figure: Figure) -> str:
    return f"live.{'min' if figure.higher_is_better else 'max'}_{figure.name}"


def _quantile(provenance: Provenance) -> float | None:
    """What the version learned instead of the mean: its pinball loss is that of another quantile."""
    fit: Mapping[str, Any] = provenance.configuration.get("fit", {})
    return fit.get("quantile") if fit.get("loss") == "quantile" else None


def _test_entry(tables: tuple[TableEntry, ...]) -> tuple[str, int, float | None] | None:
    return next(((each.sha256, each.rows, each.positive_share) for each in tables if each.part == "test"), None)


def _scored(
    versions: ModelVersions, manifest: Manifest, report: RunReport, contract: Contract, path: Path, judge: Judge
) -> dict[str, float]:
    """The live graph's figures on the run's test set. The digests of what is loaded are checked against its signed manifest."""
    # onnxruntime, in this case only: publishing is otherwise done without it.
    from eventscore.artifact import check_digest
    from eventscore_training.inference import run_graph

    files = versions.read_files(manifest.version, (GRAPH, CONTRACT))
    for name, content in files.items():
        check_digest(versions.key(manifest.version, name), content, manifest.files[name])
    theirs = parse_contract(files[CONTRACT], versions.key(manifest.version, CONTRACT))
    own, table = _test_table(report, contract, path), _test_table(report, theirs, path)
    if (own.sha256, own.rows, own.positive_share) != _test_entry(report.provenance.tables):
        raise TableInvalid(str(path), [f"expected the test set of run {report.version}; the digest or the rows differ"])
    if not np.array_equal(own.label, table.label):
        raise TableInvalid(str(path), [f"the live version {manifest.version} has another label than this run"])
    return judge.metrics(table.label if judge.labelled else None, run_graph(files[GRAPH], table.columns, theirs))


def _test_table(report: RunReport, contract: Contract, path: Path) -> Table:
    """The run's test part under ``contract``: ``path`` as it is, or cut as the run's configuration cut it."""
    configuration = dict(report.provenance.configuration)
    cuts = ("validation_from", "test_from", "validation_share", "test_share")
    if any(name in configuration for name in cuts):
        told = {name: configuration[name] for name in cuts if name in configuration}
        config = parse_training_config({**told, "contract": path, "table": path}, report.version)
        return read_parts(config, contract).test
    frame, sha256 = read_frame(path)
    return check_table(frame, contract, "test", str(path), sha256)
