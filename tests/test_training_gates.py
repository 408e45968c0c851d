"""Gates: a version that misses one is not published, and the message says which, by how much and where."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")

import orders
from eventscore.contract import Contract, parse_contract
from eventscore.errors import ContractInvalid
from eventscore.signing import Ed25519Signer, Ed25519Verifier
from eventscore.store.folder import FolderStore
from eventscore.store.versions import ModelVersions
from eventscore_cli.main import cli
from eventscore_training import GateFailed, TableInvalid, TrainedVersion, publish, train
from eventscore_training.gates import gate_results
from eventscore_training.judges import judge_of
from eventscore_training.slices import MISSING, groups_of, measured_groups, measured_slices, slices_of
from eventscore_training.table import check_table

pytestmark = pytest.mark.training

SLICES = '\n[gates.slices]\nfields = ["country", "amount", "region"]\nmin_roc_auc = 0.9\nmin_rows = 50\n'
GROUPS = '\n[gates.groups]\nfield = "region"\ndecision = "check"\nmax_rate_difference = 0.1\n'
FAST = {"fit": {"epochs": 1, "batch_size": 64, "learning_rate": 0.01, "evaluations_per_epoch": 1}}


def contract(gates: str) -> Contract:
    return parse_contract((orders.CONTRACT_TOML + gates).encode(), "orders/contract.toml")


def with_region(frame: pl.DataFrame) -> pl.DataFrame:
    """Regions are no feature: the gates look at them, the network never does."""
    return frame.with_columns(region=pl.when(pl.col("amount") > 200).then(pl.lit("north")).otherwise(pl.lit("south")))


def test_every_limit_has_its_result_and_names_what_it_measured() -> None:
    gates = contract("\n[gates]\nmax_latency_us = 5\nmax_int8_row_difference = 0.1\nmin_roc_auc = 0.5\n" + SLICES).gates
    measured = {"max_latency_us": 6.5, "slices.min_roc_auc": 0.8}
    results = gate_results(gates, {}, {"roc_auc": 0.7}, 1, measured, {"slices.min_roc_auc": "country = FR, 60 rows"})
    told = {result.name: str(result) for result in results}
    assert told["max_latency_us"] == "max_latency_us: expected at most 5, got 6.5 (missed by 1.5)"
    assert told["slices.min_roc_auc"] == (
        "slices.min_roc_auc: expected at least 0.9, got 0.8 [country = FR, 60 rows] (missed by 0.1)"
    )
    assert told["max_int8_row_difference"].endswith("got no figure (missed)")
    assert [result.passed for result in results if result.name == "min_roc_auc"] == [True]


def test_slices_are_values_quarters_and_gaps() -> None:
    terms = contract(SLICES)
    table = check_table(with_region(orders.frame()), terms, "test", "orders", "0" * 64)
    scores = np.where(table.label == 1, 0.7, 0.3).astype(np.float32)
    bad = (table.columns["country"] == "SE").fill_null(False).to_numpy()
    scores[bad] = 1 - scores[bad]
    found = slices_of(table, ("country", "amount", "region"), scores, 50, judge_of(terms))
    assert {each.value for each in found if each.field == "country"} == {"FR", "DE", "ES", "IT", "SE", MISSING}
    amounts = [each for each in found if each.field == "amount"]
    assert sum(each.rows for each in amounts) == 3000
    assert [each.rows for each in amounts] == pytest.approx([750] * 4, abs=30)
    measured, details = measured_slices(found)
    assert measured["slices.min_roc_auc"] == 0
    assert details["slices.min_roc_auc"].startswith("country = SE, ")


def test_groups_are_compared_at_the_decision() -> None:
    terms = contract(GROUPS)
    assert terms.gates.groups is not None
    table = check_table(with_region(orders.frame()), terms, "test", "orders", "0" * 64)
    north = (table.aside["region"] == "north").to_numpy()
    scores = np.where(north, 0.4, 0.39).astype(np.float32)
    groups = groups_of(table, terms.gates.groups, terms, scores, judge_of(terms))
    assert {group.value: group.rate for group in groups} == {"north": 1.0, "south": 0.0}
    measured, details = measured_groups(groups, "region")
    assert measured["groups.max_rate_difference"] == 1
    assert details["groups.max_rate_difference"] == "region: north 1.000, south 0.000"


def test_a_field_of_the_gates_that_the_table_lacks_is_named() -> None:
    with pytest.raises(TableInvalid, match="column 'region': missing; the contract's gates name it"):
        check_table(orders.frame(), contract(GROUPS), "test", "orders", "0" * 64)


@pytest.mark.parametrize(
    ("gates", "problem"),
    [
        (
            GROUPS.replace('"check"', '"refuse"'),
            r"gates.groups.decision: expected one of the decisions \(keep, check\)",
        ),
        (SLICES.replace('"region"', '"returned"'), "gates.slices: field 'returned' is the label"),
        (SLICES.replace("min_rows", "min_row"), r"gates.slices.min_row: unknown key \(did you mean 'min_rows'\?\)"),
        (SLICES.replace('["country", "amount", "region"]', "[]"), "gates.slices.fields"),
    ],
)
def test_gates_that_make_no_sense_are_refused_in_words(gates: str, problem: str) -> None:
    with pytest.raises(ContractInvalid, match=problem):
        contract(gates)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedVersion:
    folder = tmp_path_factory.mktemp("gates")
    text = orders.CONTRACT_TOML + "\n[gates]\nmax_latency_us = 1e-3\nnot_worse_than_live = true\n" + SLICES + GROUPS
    config = orders.config(folder, FAST, text)
    with_region(orders.frame()).write_parquet(folder / "orders.parquet")
    return train(config)


def test_a_run_measures_latency_slices_and_groups_and_is_refused_for_each(
    run: TrainedVersion, tmp_path: Path, signer: Ed25519Signer
) -> None:
    store = FolderStore(tmp_path)
    with pytest.raises(GateFailed) as failed:
        publish(run, store, signer)
    missed = {gate.name: gate for gate in failed.value.failed}
    assert set(missed) == {"max_latency_us", "slices.min_roc_auc", "groups.max_rate_difference"}
    assert "region: north" in str(failed.value)
    assert 0.01 < missed["max_latency_us"].measured < 1000
    assert {group["value"] for group in run.report.groups} == {"north", "south"}
    assert ModelVersions(store, "orders").versions() == ()


def live_gate(run: TrainedVersion, folder: Path, text: str) -> TrainedVersion:
    """The same run under other gates."""
    copied = folder / run.version
    copied.mkdir(parents=True)
    for path in run.folder.iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    (copied / "contract.toml").write_text(orders.CONTRACT_TOML + text)
    return TrainedVersion(copied, run.version, run.metrics, run.report)


def test_a_version_worse_than_the_live_one_is_not_published(
    run: TrainedVersion, tmp_path: Path, signer: Ed25519Signer, verifier: Ed25519Verifier
) -> None:
    gates = "\n[gates]\nnot_worse_than_live = true\nlive_tolerance = 0.001\n"
    free = live_gate(run, tmp_path / "run", gates)
    store = FolderStore(tmp_path / "store")
    publish(free, store, signer, verifier)  # nothing is live: nothing to be worse than
    versions = ModelVersions(store, "orders")
    versions.promote(run.version)

    def later(loss: float, version: str, rows: int | None = None) -> TrainedVersion:
        int8 = {**run.report.metrics["int8"], "roc_auc": run.metrics["roc_auc"] - loss}
        tables = run.report.provenance.tables
        if rows is not None:
            tables = tuple(each.model_copy(update={"rows": rows}) for each in tables)
        provenance = run.report.provenance.model_copy(update={"tables": tables})
        changes = {"metrics": {**run.report.metrics, "int8": int8}, "version": version, "provenance": provenance}
        return TrainedVersion(free.folder, version, int8, run.report.model_copy(update=changes))

    worse = (
        rf"live.min_roc_auc: expected at least 0\.\d+, got 0\.\d+ \[live version {run.version}\] \(missed by 0.004\)"
    )
    with pytest.raises(GateFailed, match=worse):
        publish(later(0.005, "v2"), store, signer, verifier)
    with pytest.raises(GateFailed, match=r"was tested on another table: name this run's with --test FILE"):
        publish(later(0, "v3", rows=7), store, signer, verifier)
    with pytest.raises(GateFailed, match="given no verifier"):
        publish(later(0, "v4"), store, signer)
    publish(later(0.0005, "v5"), store, signer, verifier)
    assert len(versions.versions()) == 2


def test_the_live_graph_scores_the_runs_test_set_where_it_was_tested_elsewhere(
    run: TrainedVersion, tmp_path: Path, signer: Ed25519Signer, verifier: Ed25519Verifier
) -> None:
    gates = "\n[gates]\nnot_worse_than_live = true\nlive_tolerance = 0.0\n"
    store = FolderStore(tmp_path / "store")
    elsewhere = [each.model_copy(update={"sha256": "1" * 64}) for each in run.report.provenance.tables]
    provenance = run.report.provenance.model_copy(update={"tables": tuple(elsewhere)})
    live = live_gate(run, tmp_path / "live", gates)
    report = run.report.model_copy(update={"provenance": provenance})
    publish(TrainedVersion(live.folder, run.version, run.metrics, report), store, signer, verifier)
    ModelVersions(store, "orders").promote(run.version)
    again = TrainedVersion(live.folder, "v2", run.metrics, run.report.model_copy(update={"version": "v2"}))
    table = run.folder.parent.parent / "orders.parquet"
    publish(again, store, signer, verifier, table)  # its own graph is no worse than itself
    other = tmp_path / "other.parquet"
    with_region(orders.frame(seed=5)).write_parquet(other)
    third = TrainedVersion(live.folder, "v3", run.metrics, run.report.model_copy(update={"version": "v3"}))
    with pytest.raises(TableInvalid, match="expected the test set of run v3"):
        publish(third, store, signer, verifier, other)


def test_nan_passes_no_gate() -> None:
    gates = contract(SLICES).gates
    assert [each.passed for each in gate_results(gates, {}, {}, 1, {"slices.min_roc_auc": math.nan})] == [False]


def test_the_contract_check_tells_the_gates_that_are_set(tmp_path: Path) -> None:
    path = tmp_path / "contract.toml"
    path.write_text(orders.CONTRACT_TOML + "\n[gates]\nnot_worse_than_live = true\n" + SLICES + GROUPS)
    said = CliRunner().invoke(cli, ["contract", "check", str(path)])
    assert said.exit_code == 0
    assert "gates      not_worse_than_live, slices.fields country/amount/region, slices.min_roc_auc 0.9" in said.output
    assert "groups.decision check, groups.max_rate_difference 0.1" in said.output
