"""Work is counted, not timed: what a batch may cost in runs, calls and memory, whatever the machine."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import small_model
from eventscore.artifact import Artifact, load_artifact
from eventscore.delivery.sink import Message, NotTaken
from eventscore.delivery.sqs import SqsSink
from eventscore.drift_watch import DriftWatch
from eventscore.function import ScoreFunction
from eventscore.service import ScoringService
from eventscore.signing import Ed25519Signer, Ed25519Verifier
from eventscore.store.folder import FolderStore
from eventscore.store.objects import MAX_OBJECT_BYTES, StoredObject
from eventscore.store.versions import ModelVersions
from eventscore.telemetry import Telemetry
from test_sketch import BASELINE
from test_sources import sqs

BASE = 640
"""Records of a batch; where the work of an event is told from that of a batch, one of twice as many is beside it."""


class Sink:
    """Takes everything, and looks at the memory while it does."""

    def __init__(self) -> None:
        self.calls = 0
        self.blocks = 0

    def deliver(self, messages: Sequence[Message], *_: object) -> Mapping[int, NotTaken]:
        self.calls += 1
        self.blocks = sys.getallocatedblocks()
        return {}


class Function:
    """The function with the small model and its drift sketch, and sinks that count."""

    def __init__(self, artifact: Artifact) -> None:
        self.sink, self.rejects = Sink(), Sink()
        service = ScoringService(self.sink, self.rejects, lambda: datetime(2026, 11, 21, tzinfo=UTC))
        watch = DriftWatch(artifact.model, artifact.version, artifact.contract, BASELINE, 0.0)
        self._function = ScoreFunction.of(artifact, service, Telemetry(artifact.model, {}), watch)

    def __call__(self, invocation: Any) -> None:
        assert self._function(invocation, None) == {"batchItemFailures": []}


@pytest.fixture
def function(small_artifact: Artifact, capsys: pytest.CaptureFixture[str]) -> Function:
    return Function(small_artifact)


def batch(records: int) -> Any:
    """Events that differ, some with gaps, null and absent."""
    changes: list[dict[str, Any]] = [{}, {"balance": None}, {"balance": ...}, {"country": "unseen"}, {"is_new": False}]
    messages = [small_model.message(order=f"o-{number}", **changes[number % 5]) for number in range(records)]
    return sqs(*(message.decode() for message in messages))


@pytest.mark.parametrize("records", [1, 10, BASE])
def test_a_batch_is_one_run_of_the_graph_and_one_delivery(
    function: Function, small_artifact: Artifact, monkeypatch: pytest.MonkeyPatch, records: int
) -> None:
    runs: list[int] = []
    real = small_artifact.session._run

    def counting(names: Any, columns: Any, options: Any) -> Any:
        runs.append(len(columns["numbers"]))
        return real(names, columns, options)

    monkeypatch.setattr(small_artifact.session, "_run", counting)
    function(batch(records))
    assert (runs, function.sink.calls, function.rejects.calls) == ([records], 1, 0)


def test_a_thousand_answers_are_a_hundred_calls_of_sqs(small_artifact: Artifact) -> None:
    calls: list[int] = []

    class Client:
        def send_message_batch(self, **request: Any) -> dict[str, Any]:
            calls.append(len(request["Entries"]))
            return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]]}

    sink = SqsSink("queue", Client())  # type: ignore[arg-type]
    assert sink.deliver([Message("{}", {"source": "sqs", "origin": str(number)}) for number in range(1000)]) == {}
    assert calls == [10] * 100


class CountingStore:
    """A store that counts what is read of it."""

    def __init__(self, store: FolderStore) -> None:
        self._store = store
        self.reads: Counter[str] = Counter()
        self.url = store.url

    def read(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> StoredObject:
        self.reads[key.rpartition("/")[2]] += 1
        return self._store.read(key, max_bytes)

    def write_once(self, key: str, content: bytes) -> None:
        raise AssertionError("the function writes nothing")

    def replace(self, key: str, content: bytes, expected: str | None) -> None:
        raise AssertionError("the function writes nothing")

    def list_names(self, prefix: str) -> tuple[str, ...]:
        raise AssertionError("the function may not list a bucket")


def test_a_version_is_pulled_with_one_read_for_each_file_and_a_warm_batch_reads_nothing(
    tmp_path: Path, signer: Ed25519Signer, verifier: Ed25519Verifier, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = FolderStore(tmp_path)
    small_model.publish(folder, signer)
    store = CountingStore(folder)
    versions = ModelVersions(store, small_model.MODEL)
    function = Function(load_artifact(versions, versions.resolve("live"), verifier))
    files = ("channels.json", "manifest.json", "manifest.sig", "model.onnx", "contract.toml", "golden.jsonl")
    assert store.reads == dict.fromkeys(files, 1)
    store.reads.clear()
    function(batch(10))
    assert not store.reads


def calls_of(work: Callable[[], None]) -> int:
    """How many functions, Python's and C's, the interpreter calls; what C calls of itself is not seen, and is what is wanted."""
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def per_event(measured: Callable[[int], int]) -> float:
    """What each event adds: the difference between a batch and one of twice as many."""
    return (measured(2 * BASE) - measured(BASE)) / BASE


def test_an_event_costs_few_calls_of_the_interpreter(function: Function) -> None:
    batches = {records: batch(records) for records in (BASE, 2 * BASE)}
    function(batches[BASE])

    def calls(records: int) -> int:
        return calls_of(lambda: function(batches[records]))

    # None but the sketch's and the search's, one for some dozens of rows: everything else is a loop in C over the batch.
    assert per_event(calls) < 0.2


def test_a_batch_costs_few_calls_of_the_interpreter(function: Function) -> None:
    one = batch(1)
    function(one)
    # What the caches have to hold beside the graph is what one record alone waits for.
    assert calls_of(lambda: function(one)) < 125


def test_an_event_in_flight_holds_few_objects_and_a_delivered_one_none(function: Function) -> None:
    batches = {records: batch(records) for records in (BASE, 2 * BASE)}
    gc.collect()
    gc.disable()
    try:
        for each in batches.values():
            function(each)

        def held(records: int) -> int:
            before = sys.getallocatedblocks()
            function(batches[records])
            return function.sink.blocks - before

        # Its bytes, its decoded fields, its answer, its message: at most so many blocks while it is delivered.
        assert per_event(held) < 8
        before = sys.getallocatedblocks()
        for _ in range(20):
            function(batches[BASE])
        assert sys.getallocatedblocks() - before < BASE, "less than a twentieth of a block an event: nothing is kept"
    finally:
        gc.enable()
