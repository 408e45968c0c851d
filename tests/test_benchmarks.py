"""The benchmarks run, print the keys that docs/benchmarks.md names, and compare things that do the same. No time is asserted."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import small_model
from eventscore.signing import Ed25519Signer
from eventscore.store.folder import FolderStore
from eventscore_training.config import QuantizationConfig

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"


def run(program: str, *arguments: str) -> list[str]:
    """The lines that a benchmark prints."""
    command = [sys.executable, str(BENCHMARKS / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.training
def test_throughput_prints_one_json_object_per_size() -> None:
    pytest.importorskip("torch")
    lines = run("throughput.py", "--json", "--records", "1", "3", "--repetitions", "1", "--block-ms", "0.1")
    documents = [json.loads(line) for line in lines]
    assert [document["records"] for document in documents] == [1, 3]
    for document in documents:
        assert list(document) == ["records", "ours_us", "peer_us", "floor_us", "ours_to_floor", "ours_to_peer"]
        assert all(value > 0 for value in document.values())


@pytest.fixture(scope="module")
def throughput() -> Iterator[Any]:
    """The throughput benchmark as a module; its neighbours are found as they are when it runs as a program."""
    pytest.importorskip("torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("throughput")


@pytest.fixture(scope="module")
def version(throughput: Any) -> Iterator[tuple[Any, bytes]]:
    """The version that is scored with, and the bytes of its graph."""
    with throughput.workload_artifact() as version:
        yield version


@pytest.mark.training
def test_throughput_prints_a_table_with_the_machine(
    throughput: Any, version: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Building takes seconds, and this version is as good.
    monkeypatch.setattr(throughput, "workload_artifact", lambda: contextlib.nullcontext(version))
    options = ["--records", "2", "--repetitions", "1", "--block-ms", "0.1", "--sqs-sink", "--utc", "+00:00"]
    throughput.main(options)
    lines = capsys.readouterr().out.splitlines()
    assert "CPUs" in lines[0]
    assert "onnxruntime" in lines[1]
    assert lines[-2].split()[0] == "records"
    assert lines[-1].split()[0] == "2"


@pytest.mark.training
@pytest.mark.parametrize("sqs_sink", [False, True])
def test_all_contestants_give_every_event_the_same_score(throughput: Any, version: Any, sqs_sink: bool) -> None:
    invocation = throughput.sqs_invocation(throughput.make_events(200, seed=7))
    bodies = [json.loads(record["body"]) for record in invocation["Records"]]
    assert any(len(body) < 28 for body in bodies), "no event has a gap, so gaps are not compared"
    scores = {}
    contestants = throughput.all_contestants(*version, sqs_sink=sqs_sink)
    for name, contestant in contestants.items():
        contestant(invocation)
        answers = [json.loads(answer) for answer in contestant.answers()]
        scores[name] = {answer["event_id"]: answer["score"] for answer in answers}
    throughput.check_agreement(contestants, invocation)
    assert scores["ours"].keys() == {body["event_id"] for body in bodies}
    assert scores["peer"] == scores["ours"]
    assert scores["floor"] == scores["ours"]
    assert len(set(scores["ours"].values())) > 100, "the scores say nothing"


@pytest.mark.training
def test_a_contestant_that_scores_otherwise_is_found_out(throughput: Any, version: Any) -> None:
    class Liar:
        def __call__(self, invocation: Any) -> None:
            self.ids = [json.loads(record["body"])["event_id"] for record in invocation["Records"]]

        def answers(self) -> list[bytes]:
            return [json.dumps({"event_id": each, "score": 0.5}).encode() for each in self.ids]

    invocation = throughput.sqs_invocation(throughput.make_events(3, seed=7))
    with pytest.raises(RuntimeError, match="differ by"):
        throughput.check_agreement({"floor": throughput.Floor(version[1]), "liar": Liar()}, invocation)


def made_adult(folder: Path) -> None:
    """adult-train.csv and adult-test.csv as the UCI repository has them, in small: no header, `?` for a gap, a dot in the test's labels."""
    random = np.random.default_rng(0)
    for part, rows, dot in (("train", 400, ""), ("test", 120, ".")):
        lines = ["|1x3 Cross validator"] if part == "test" else []
        for age, hours in zip(random.integers(17, 90, rows), random.integers(1, 99, rows), strict=True):
            rich = ">50K" if age + hours + random.normal(0, 20) > 100 else "<=50K"
            work = random.choice(["Private", "Local-gov", "?"])
            told = f"{work}, {random.integers(9999)}, HS-grad, 9, Divorced, Sales, Husband, White, Male, 0, 0"
            lines.append(f"{age}, {told}, {hours}, Cuba, {rich}{dot}")
        (folder / f"adult-{part}.csv").write_text("\n".join(lines) + "\n\n")


def made_covtype(folder: Path) -> None:
    """covtype-10k-sample.csv in small, with three of its seven classes."""
    random = np.random.default_rng(0)
    elevation, soil = random.integers(1900, 3800, 500), random.integers(0, 3, 500)
    cover = 1 + (elevation + 300 * soil + random.normal(0, 100, 500) > 2700) + 5 * (elevation > 3400)
    hot = {f"Wilderness_Area{place + 1}": (soil == place).astype(int) for place in range(3)}
    hot |= {f"Soil_Type{place + 1}": (soil == place).astype(int) for place in range(3)}
    pl.DataFrame({"Elevation": elevation, **hot, "Cover_Type": cover}).write_csv(folder / "covtype-10k-sample.csv")


def made_california(folder: Path) -> None:
    """california-housing.csv in small, with gaps where the real one has them."""
    random = np.random.default_rng(0)
    income, ocean = random.gamma(4, 1, 500).round(4), random.choice(["INLAND", "NEAR BAY"], 500)
    value = (40_000 * income + 50_000 * (ocean == "INLAND") + random.normal(0, 5_000, 500)).clip(0)
    rooms = [None if gap else int(value) for gap, value in zip(random.random(500) < 0.1, value // 100, strict=True)]
    columns = {"total_bedrooms": rooms, "median_income": income, "median_house_value": value, "ocean_proximity": ocean}
    pl.DataFrame(columns).write_csv(folder / "california-housing.csv")


@pytest.fixture
def accuracy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The comparison as a module."""
    pytest.importorskip("torch")
    pytest.importorskip("lightgbm")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    # Two threads that wait for each other on a busy machine take minutes for a table of this size.
    monkeypatch.setattr(importlib.import_module("baselines"), "_THREADS", 1)
    return importlib.import_module("accuracy")


ACCURACY = {
    "adult": (made_adult, ["roc_auc", "pr_auc", "log_loss", "calibration_error"]),
    "covtype-10k": (
        made_covtype,
        ["accuracy", "macro_f1", "roc_auc", "pr_auc", "log_loss", "calibration_error"],
    ),
    "california": (made_california, ["rmse", "mae", "r2"]),
}


@pytest.mark.training
@pytest.mark.parametrize("name", ACCURACY)
def test_accuracy_compares_all_sides_on_the_same_figures(accuracy: Any, name: str, tmp_path: Path) -> None:
    made, figures = ACCURACY[name]
    made(tmp_path)
    task = accuracy.TASKS[name](tmp_path, tmp_path)
    assert {part: table.rows for part, table in task.parts.items()} == (
        {"train": 320, "validation": 80, "test": 120}
        if name == "adult"
        else {"train": 320, "validation": 80, "test": 100}
    )
    # The benchmark's own networks take minutes; these learn these tables as well.
    small = {
        "network": task.config.network.model_copy(update={"kind": "mlp", "members": 8, "widths": (16,)}),
        "fit": task.config.fit.model_copy(
            update={"epochs": 40, "batch_size": 32, "learning_rate": 0.01, "sanity": False}
        ),
        "quantization": QuantizationConfig(weights="per-channel", ranges="min-max"),
    }
    found = accuracy.compare(dataclasses.replace(task, config=task.config.model_copy(update=small)), 0.01)
    assert list(found) == ["ours", "lightgbm", "logistic", "int8_minus_fp32"]
    assert list(found["ours"]) == [*figures, "seconds", "graph_bytes"]
    assert list(found["lightgbm"]) == [*figures, "seconds", "tried"]
    assert list(found["logistic"]) == [*figures, "seconds"]
    assert list(found["int8_minus_fp32"]) == figures
    json.dumps(found)
    guess = {"roc_auc": 0.5, "r2": 0.0}
    for side in ("ours", "lightgbm", "logistic"):
        for figure, level in guess.items():
            assert found[side].get(figure, 1) > level + 0.15, (side, found[side])


@pytest.mark.training
def test_latency_prints_one_json_object_per_size_and_one_for_the_memory(
    throughput: Any, version: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    latency = importlib.import_module("latency")
    monkeypatch.setattr(latency, "workload_artifact", lambda: contextlib.nullcontext(version))
    latency.main(["--json", "--records", "1", "3", "--invocations", "4", "--events", "10000"])
    *sizes, memory = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(size["records"], size["invocations"]) for size in sizes] == [(1, 4), (3, 4)]
    for size in sizes:
        assert 0 < size["p50_us"] <= size["p99_us"] <= size["p999_us"] <= size["max_us"]
    assert memory["events"] == 10_000
    assert 0 < memory["resident_mib_after_a_tenth"] <= memory["resident_mib_at_most"]
    assert {"resident_mib_at_the_end", "blocks_after_a_tenth", "blocks_at_the_end"} <= memory.keys()


@pytest.mark.emulator
@pytest.mark.sam
def test_cold_start_prints_one_json_object(tmp_path: Path, signer: Ed25519Signer) -> None:
    small_model.publish(FolderStore(tmp_path), signer)
    model = ("--store", str(tmp_path), "--model", small_model.MODEL, "--trusted-key", signer.public_key)
    (line,) = run("cold_start.py", "--json", "--repetitions", "1", *model)
    document = json.loads(line)
    contestants = ["ours_ms", "peer_ms", "floor_ms", "ours_with_sink_ms", "ours_delivered_ms"]
    assert list(document) == [*contestants, "ours_to_floor", "ours_to_peer", "parts_ms"]
    assert all(document[name] > 0 for name in contestants)
    assert {"process", "connect", "pull", "wait", "verify", "session", "golden"} <= document["parts_ms"].keys()


@pytest.mark.training
def test_training_prints_one_json_object_and_all_learn_the_same_table() -> None:
    pytest.importorskip("torch")
    small = ("--rows", "4000", "--epochs", "8", "--batch-size", "64", "--rounds", "1", "--workers", "0")
    (line,) = run("training.py", "--json", "--threads", "1", *small)
    document = json.loads(line)
    contestants = ["ours", "dataloader", "sklearn"]
    ratios = ["dataloader_workers", "ours_to_dataloader", "ours_to_sklearn", "machine"]
    assert list(document) == ["device", "threads", *contestants, *ratios]
    for name in contestants:
        assert list(document[name]) == ["rows_per_second", "cpu_us_per_row", "roc_auc", "log_loss"]
        assert min(document[name]["rows_per_second"], document[name]["cpu_us_per_row"]) > 0
        assert document[name]["roc_auc"] > 0.6, "it learns nothing, so its speed says nothing"
    assert document["ours"]["roc_auc"] > document["dataloader"]["roc_auc"] - 0.02
    assert "CPUs" in document["machine"]


@pytest.mark.training
def test_both_sides_of_the_training_benchmark_have_networks_of_the_same_size(throughput: Any) -> None:
    training, peers = importlib.import_module("training"), importlib.import_module("training_peers")
    plain = peers.PlainNetwork(20, 6, training.EMBEDDING, training.WIDTHS, training.DROPOUT)
    ours = training.new_network(20, 6)
    sizes = [sorted(parameter.numel() for parameter in network.parameters()) for network in (plain, ours)]
    assert sizes[0] == sizes[1]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_model_memory_prints_what_the_bound_on_memory_rests_on() -> None:
    documents = [json.loads(line) for line in run("model_memory.py", "--json")]
    assert [document["graph"] for document in documents] == ["weights", "vocabulary", "flight-delay"]
    assert all(list(document) == ["graph", "file_mib", "memory_per_byte"] for document in documents)
