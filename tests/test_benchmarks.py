"""The benchmarks run, print the keys that docs/benchmarks.md names, and compare things that do the same. No time is asserted."""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import small_model
from eventscore.signing import Ed25519Signer
from eventscore.store.folder import FolderStore

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


@pytest.mark.training
def test_latency_prints_one_json_object_per_size_and_one_for_the_memory() -> None:
    pytest.importorskip("torch")
    lines = run("latency.py", "--json", "--records", "1", "3", "--invocations", "4", "--events", "10000")
    *sizes, memory = [json.loads(line) for line in lines]
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
