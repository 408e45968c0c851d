"""The training job, end to end on a made table: a version that loads, figures that hold, and errors that say what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import orders  # noqa: E402
from eventscore.artifact import load_artifact  # noqa: E402
from eventscore.contract import parse_contract  # noqa: E402
from eventscore.errors import AlreadyPublished, BaselineInvalid, ContractInvalid, GraphInvalid  # noqa: E402
from eventscore.manifest import BASELINE, CONTRACT, GOLDEN, GRAPH, MANIFEST, REPORT  # noqa: E402
from eventscore.signing import Ed25519Signer, Ed25519Verifier  # noqa: E402
from eventscore.store.folder import FolderStore  # noqa: E402
from eventscore.store.versions import ModelVersions  # noqa: E402
from eventscore_training import (  # noqa: E402
    GateFailed,
    Progress,
    RunIncomplete,
    TrainedVersion,
    TrainingDiverged,
    load_run,
    publish,
    train,
)
from eventscore_training.config import FitConfig, NetworkConfig, load_training_config  # noqa: E402
from eventscore_training.encoded import EncodedPart  # noqa: E402
from eventscore_training.encoding import SHARED_ROW, learn_encoding  # noqa: E402
from eventscore_training.fit import fit  # noqa: E402
from eventscore_training.gates import gate_results, require_gates  # noqa: E402
from eventscore_training.golden import choose_golden_events  # noqa: E402
from eventscore_training.job import PHASES  # noqa: E402
from eventscore_training.network import Network  # noqa: E402

pytestmark = pytest.mark.training

GATES = (
    "\n[gates]\nmin_roc_auc = 0.7\nmax_calibration_error = 0.2\nmax_int8_auc_loss = 0.01\nmax_size_bytes = 2000000\n"
)


@pytest.fixture(scope="module")
def told() -> list[Progress]:
    return []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, told: list[Progress]) -> TrainedVersion:
    folder = tmp_path_factory.mktemp("job")
    limits = {"limits": ("Orders of <b>one</b> shop only.",)}
    return train(orders.config(folder, limits, orders.CONTRACT_TOML + GATES), told.append)


def test_the_run_learns_what_there_is_to_learn(run: TrainedVersion) -> None:
    assert run.metrics["roc_auc"] > 0.75
    assert run.metrics["calibration_error"] < 0.1
    assert abs(run.report.metrics["fp32"]["roc_auc"] - run.metrics["roc_auc"]) < 0.01


def test_every_phase_is_told(run: TrainedVersion, told: list[Progress]) -> None:
    assert list(dict.fromkeys(step.phase for step in told)) == list(PHASES)
    assert all(0 <= step.done <= step.total for step in told)


def test_the_version_is_named_after_its_graph_and_its_folder_is_whole(run: TrainedVersion) -> None:
    assert run.folder.name == run.version
    assert {path.name for path in run.folder.iterdir()} == {
        GRAPH, CONTRACT, GOLDEN, BASELINE, REPORT, "report.json", "DONE",
    }  # fmt: skip
    assert load_run(run.folder) == run
    assert run.size_bytes < 500_000


def test_a_published_version_loads_and_answers_its_golden_events(
    run: TrainedVersion, tmp_path: Path, signer: Ed25519Signer, verifier: Ed25519Verifier
) -> None:
    store = FolderStore(tmp_path)
    manifest = publish(run, store, signer)
    versions = ModelVersions(store, "orders")
    artifact = load_artifact(versions, run.version, verifier)
    assert (artifact.model, artifact.version) == (manifest.model, manifest.version)
    assert versions.read_file(run.version, MANIFEST) == manifest.to_bytes()
    assert {table.part for table in manifest.provenance.tables} == {"train", "validation", "test"}
    assert manifest.metrics["int8"]["roc_auc"] == run.metrics["roc_auc"]
    with pytest.raises(AlreadyPublished):
        publish(run, store, signer)


def test_golden_events_go_where_serving_can_differ(run: TrainedVersion) -> None:
    lines = [json.loads(line) for line in (run.folder / GOLDEN).read_text().splitlines()]
    events = [line["event"] for line in lines]
    assert len(events) == 64
    assert any("age" not in event and "gift" not in event and "country" not in event for event in events)
    assert any(event.get("country") == "?" for event in events)
    assert any(event["amount"] == 10_000 for event in events)
    assert len({event["order"] for event in events}) == 64
    scores = [line["score"] for line in lines]
    assert max(scores) - min(scores) > 0.5
    assert run.report.golden.tolerance >= 1e-3


def test_the_baseline_counts_every_row(run: TrainedVersion) -> None:
    baseline = json.loads((run.folder / BASELINE).read_text())
    assert baseline["rows"] == 1800
    for feature in baseline["numbers"].values():
        assert sum(feature["counts"]) + feature["missing"] == 1800
        assert len(feature["counts"]) == len(feature["edges"]) + 1
    for feature in baseline["categories"].values():
        assert sum(feature["values"].values()) + feature["other"] + feature["missing"] == 1800
    assert sum(baseline["score"]["counts"]) == baseline["score"]["rows"] == 600


def test_the_report_stands_alone_and_says_what_the_model_cannot_know(run: TrainedVersion) -> None:
    page = (run.folder / REPORT).read_text()
    assert page.count("<svg") == 7
    assert "Orders of &lt;b&gt;one&lt;/b&gt; shop only." in page
    assert run.version in page
    assert "<script" not in page
    assert not [link for link in ("src=", 'href="http') if link in page.replace("xlink:href", "")]
    assert "min_roc_auc" in page


def test_the_same_seed_makes_the_same_graph(tmp_path: Path, run: TrainedVersion) -> None:
    again = train(orders.config(tmp_path, {}, orders.CONTRACT_TOML + GATES))
    assert (again.folder / GRAPH).read_bytes() == (run.folder / GRAPH).read_bytes()
    other = train(orders.config(tmp_path, {"seed": 1}))
    assert (other.folder / GRAPH).read_bytes() != (run.folder / GRAPH).read_bytes()


def test_a_missed_gate_is_named_and_nothing_is_published(tmp_path: Path, signer: Ed25519Signer) -> None:
    text = orders.CONTRACT_TOML + "\n[gates]\nmin_roc_auc = 0.999\nmax_log_loss = 5.0\n"
    failed = train(orders.config(tmp_path, {"fit": {"epochs": 1}}, text))
    assert [gate.passed for gate in failed.report.gates] == [False, True]
    store = FolderStore(tmp_path / "store")
    with pytest.raises(GateFailed, match=r"min_roc_auc: expected at least 0\.999, got 0\.\d+ \(missed by 0\.\d+\)"):
        publish(failed, store, signer)
    assert ModelVersions(store, "orders").versions() == ()


def test_a_version_that_the_function_would_refuse_is_not_published(tmp_path: Path, signer: Ed25519Signer) -> None:
    assert "max_bytes" not in orders.CONTRACT_TOML
    cramped = orders.CONTRACT_TOML.replace("[event]\n", "[event]\nmax_bytes = 20\n")
    run = train(orders.config(tmp_path, {}, cramped))
    with pytest.raises(GraphInvalid, match=r"golden.jsonl: refused: .*expected at most 20 bytes"):
        publish(run, FolderStore(tmp_path / "store"), signer)
    assert not (tmp_path / "store").exists()


def test_a_version_that_the_function_could_not_watch_is_not_published(
    run: TrainedVersion, tmp_path: Path, signer: Ed25519Signer
) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    baseline = json.loads((tmp_path / "run" / "baseline.json").read_bytes())
    baseline["score"]["edges"].reverse()
    (tmp_path / "run" / "baseline.json").write_text(json.dumps(baseline))
    with pytest.raises(BaselineInvalid, match="expected ascending edges .* of score"):
        publish(load_run(tmp_path / "run"), FolderStore(tmp_path / "store"), signer)
    assert not (tmp_path / "store").exists()


def test_golden_events_hold_real_rows_however_many_categories_there_are() -> None:
    many = orders.CONTRACT_TOML + "".join(f'\n[features.c{n}]\ntype = "category"\n' for n in range(80))
    contract = parse_contract(many.encode(), "many categories")
    columns = {f"c{n}": ["x"] * 20 for n in range(80)}
    table = replace(orders.table("test", 20), events=orders.table("test", 20).events.with_columns(**columns))
    events = choose_golden_events(table, np.linspace(0, 1, 20, dtype=np.float32), contract)
    assert len({event["amount"] for event in events}) >= 8


def test_a_gate_measured_as_nan_is_missed() -> None:
    gates = orders.contract({"[label]": "[gates]\nmin_roc_auc = 0.1\n[label]"}).gates
    nothing = dict.fromkeys(("roc_auc", "pr_auc", "log_loss", "calibration_error"), float("nan"))
    with pytest.raises(GateFailed, match="1 of its gates"):
        require_gates(gate_results(gates, nothing, nothing, 1))


def test_an_unfinished_run_is_not_a_run(run: TrainedVersion, tmp_path: Path) -> None:
    with pytest.raises(RunIncomplete, match="DONE is missing"):
        load_run(tmp_path)


def test_a_contract_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = orders.config(tmp_path)
    (tmp_path / "contract.toml").unlink()
    with pytest.raises(ContractInvalid, match=r"contract\.toml"):
        train(config)


def encoded() -> tuple[Network, EncodedPart]:
    table = orders.table()
    contract = orders.contract()
    config = NetworkConfig(widths=(8,), min_count=10, embedding_width=3, dropout=0.0)
    encoding = learn_encoding(table, contract, config)
    torch.manual_seed(0)
    network = Network(len(encoding.means) + len(encoding.flagged), encoding.vocabularies, config)
    return network, EncodedPart(*encoding.encode(table.columns, contract), table.label)


def test_the_shared_row_learns_even_where_no_value_is_rare() -> None:
    network, part = encoded()
    frequent = EncodedPart(part.numbers, np.where(part.rows == SHARED_ROW, 2, part.rows), part.label)
    before = network.embeddings[0].weight.detach().clone()
    fit(network, frequent, frequent, FitConfig(epochs=1, value_dropout=0.2, embedding_weight_decay=0), seed=0)
    moved = (network.embeddings[0].weight.detach() - before).abs().sum(dim=1)
    assert moved[SHARED_ROW] > 1e-4


def test_a_loss_that_is_no_number_stops_the_job() -> None:
    network, part = encoded()
    with torch.no_grad():
        network.head_bias.fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match="lower the learning rate"):
        fit(network, part, part, FitConfig(), seed=0)


def test_training_stops_when_the_validation_part_gets_no_better() -> None:
    network, part = encoded()
    backwards = EncodedPart(part.numbers, part.rows, (1 - part.label).astype(np.int8))
    config = FitConfig(epochs=50, patience=3, evaluations_per_epoch=1)
    history = fit(network, part, backwards, config, seed=0)
    assert len(history.evaluations) - 1 - history.best == 3


def test_paths_of_a_configuration_start_at_its_file(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    text = 'contract = "../contract.toml"\ntable = "t.csv"\nvalidation_share = 0.1\ntest_share = 0.1\n'
    (tmp_path / "job" / "training.toml").write_text(text)
    config = load_training_config(tmp_path / "job" / "training.toml", {"seed": 7})
    assert config.contract == tmp_path / "contract.toml"
    assert config.table == tmp_path / "job" / "t.csv"
    assert (config.runs, config.seed) == (Path("runs"), 7)


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, eventscore_training; print(*{'torch', 'onnx', 'sklearn', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
