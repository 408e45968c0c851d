"""The drift sketch in the function: begun behind the first events, told once a minute, and never at an event's expense."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import snapshot_restore_py

import small_model
from eventscore.delivery.sink import Message, NotTaken
from eventscore.function import ScoreFunction
from eventscore.manifest import BASELINE
from eventscore.service import ScoringService
from eventscore.signing import Ed25519Signer
from eventscore.sketch import Sketch, parse_sketch
from eventscore.store.folder import FolderStore
from eventscore.store.versions import ModelVersions
from test_sketch import RAW
from test_sources import sqs

GOOD = small_model.message().decode()


class Sink:
    """Takes everything."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    def deliver(self, messages: Sequence[Message], *_: object) -> Mapping[int, NotTaken]:
        self.bodies += [json.loads(message.body) for message in messages]
        return {}


class World:
    """A store in a folder, a clock that is moved by hand, and what the function prints."""

    def __init__(self, folder: Path, signer: Ed25519Signer, capsys: pytest.CaptureFixture[str]) -> None:
        self.now = 1_763_720_100.0
        self.sink = Sink()
        self.folder = folder
        self._signer = signer
        self._capsys = capsys
        self._read: list[dict[str, Any]] = []

    def publish(self, version: str, baseline: bytes | None = RAW) -> None:
        versions = ModelVersions(FolderStore(self.folder), small_model.MODEL)
        contents = small_model.files() | ({} if baseline is None else {BASELINE: baseline})
        document = small_model.manifest(version, contents).to_bytes()
        versions.write(version, contents, document, self._signer.sign(document))
        versions.promote(version)

    def file(self, version: str) -> Path:
        return self.folder / small_model.MODEL / "versions" / version / BASELINE

    def start(self, monkeypatch: pytest.MonkeyPatch, **changes: str) -> Callable[..., None]:
        """A function; called, it scores a batch, after so many seconds, of so many good events and one that is poison."""
        service = ScoringService(self.sink, Sink(), lambda: datetime.now(UTC))
        monkeypatch.setattr("eventscore.function.scoring_service", lambda settings: service)
        environment = {
            "EVENTSCORE_STORE": str(self.folder),
            "EVENTSCORE_MODEL": small_model.MODEL,
            "EVENTSCORE_TRUSTED_KEYS": self._signer.public_key,
        }
        function = ScoreFunction.from_environment({**environment, **changes}, clock=lambda: self.now)

        def score(after_s: float = 0.0, good: int = 1) -> None:
            self.now += after_s
            assert function(sqs(*[GOOD] * good, "poison"), None) == {"batchItemFailures": []}

        return score

    def lines(self) -> list[dict[str, Any]]:
        """All lines of standard output so far."""
        self._read += [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]
        return self._read

    def sketches(self) -> list[Sketch]:
        found = [line["sketch"] for line in self.lines() if line.get("message") == "drift sketch"]
        return [parse_sketch(json.dumps(each).encode()) for each in found]

    def metric(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if name in line]


@pytest.fixture
def world(tmp_path: Path, signer: Ed25519Signer, capsys: pytest.CaptureFixture[str]) -> World:
    world = World(tmp_path, signer, capsys)
    world.publish("v1")
    return world


def test_a_sketch_is_told_once_a_minute_and_holds_what_was_scored_behind_the_first_batch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = world.start(monkeypatch)
    score(good=5)
    score(10, good=3)
    score(49, good=2)
    assert world.sketches() == []
    score(1, good=4)
    (first,) = world.sketches()
    assert (first.model, first.version, first.events) == (small_model.MODEL, "v1", 9)
    assert (first.began, first.ended) == ("2025-11-21T10:15:00.000Z", "2025-11-21T10:16:00.000Z")
    assert first.numbers["amount"].missing == 0
    assert sum(first.numbers["amount"].counts) == 9
    score(59)
    assert len(world.sketches()) == 1
    score(1)
    assert [each.events for each in world.sketches()] == [9, 2]
    assert not world.metric("SketchFailed")


def test_a_minute_without_events_is_not_told_of(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    function = world.start(monkeypatch)
    function()
    function(600)
    (only,) = world.sketches()
    assert (only.events, only.ended) == (1, "2025-11-21T10:25:00.000Z")


def test_a_version_that_is_replaced_leaves_its_sketch_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    score = world.start(monkeypatch, EVENTSCORE_REFRESH_SECONDS="5")
    score()
    score(1, good=3)
    world.publish("v2")
    score(5, good=2)  # still by v1; behind it v2 is loaded
    score(1, good=7)
    assert [(each.version, each.events) for each in world.sketches()] == [("v1", 5)]
    score(60)
    assert [(each.version, each.events) for each in world.sketches()] == [("v1", 5), ("v2", 8)]


@pytest.mark.parametrize("broken", [b"{}", RAW.replace(b'"amount"', b'"price"'), b"\xff"])
def test_with_a_baseline_that_does_not_fit_events_are_scored_and_it_is_said_once(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: bytes
) -> None:
    world.publish("v2", broken)
    score = world.start(monkeypatch)
    for _ in range(4):
        score(1000, good=2)
    assert world.sketches() == []
    assert [body["version"] for body in world.sink.bodies] == ["v2"] * 8
    (metric,) = world.metric("SketchFailed")
    assert (metric["error"], metric["version"]) == ("BaselineInvalid", "v2")
    (log,) = [record for record in caplog.records if record.message == "no drift sketch"]
    assert log.__dict__["reason"].startswith("small/versions/v2/baseline.json: no sketch can be made")


def test_a_baseline_that_is_not_the_signed_one_is_not_counted_with(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_model.flip_byte(world.file("v1"))
    score = world.start(monkeypatch)
    for _ in range(3):
        score(60)
    assert world.sketches() == []
    assert [metric["error"] for metric in world.metric("SketchFailed")] == ["DigestMismatch"]
    assert len(world.sink.bodies) == 3


def test_a_baseline_that_the_store_does_not_give_is_asked_for_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eventscore.errors import StoreUnavailable

    real = ModelVersions.read_file
    asked: list[float] = []

    def read_file(self: ModelVersions, version: str, file: str) -> bytes:
        if file == BASELINE:
            asked.append(world.now)
            if len(asked) < 3:
                raise StoreUnavailable("small/versions/v1/baseline.json", "the store does not answer")
        return real(self, version, file)

    monkeypatch.setattr(ModelVersions, "read_file", read_file)
    score = world.start(monkeypatch)
    began = world.now
    for _ in range(20):
        score(20)
    assert [at - began for at in asked] == [20, 80, 200], "after a minute, after two"
    assert [metric["error"] for metric in world.metric("SketchFailed")] == ["StoreUnavailable"] * 2
    assert sum(each.events for each in world.sketches()) == 9


def test_where_sketches_are_off_the_baseline_is_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.file("v1").unlink()
    score = world.start(monkeypatch, EVENTSCORE_SKETCH_SECONDS="0")
    for _ in range(3):
        score(600)
    assert world.sketches() == []
    assert not world.metric("SketchFailed")


def test_a_version_without_a_baseline_is_scored_with_and_nothing_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish("v2", None)
    score = world.start(monkeypatch)
    for _ in range(3):
        score(600)
    assert world.sketches() == []
    assert not world.metric("SketchFailed")
    assert len(world.sink.bodies) == 3


def test_no_log_level_suppresses_a_sketch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "CRITICAL")
    score = world.start(monkeypatch, POWERTOOLS_LOG_LEVEL="CRITICAL")
    score()
    score(60)
    assert len(world.sketches()) == 1


def test_a_snapshot_holds_nothing_that_each_of_its_environments_would_tell_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_restore_py, "_before_snapshot_registry", [])
    monkeypatch.setattr(snapshot_restore_py, "_after_restore_registry", [])
    score = world.start(monkeypatch, AWS_LAMBDA_INITIALIZATION_TYPE="snap-start")
    score()
    score(1, good=6)
    for hook, *_ in snapshot_restore_py.get_before_snapshot():
        hook()
    assert [each.events for each in world.sketches()] == [6]
    world.now += 1_000_000
    for hook, *_ in snapshot_restore_py.get_after_restore():
        hook()
    restored = world.now
    score(1)
    score(59)
    last = world.sketches()[-1]
    assert (last.events, last.began) == (2, f"{datetime.fromtimestamp(restored, UTC):%Y-%m-%dT%H:%M:%S}.000Z")


def test_a_restored_snapshot_counts_from_its_first_batch_on_and_waits_for_no_baseline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_restore_py, "_before_snapshot_registry", [])
    monkeypatch.setattr(snapshot_restore_py, "_after_restore_registry", [])
    score = world.start(monkeypatch, AWS_LAMBDA_INITIALIZATION_TYPE="snap-start")
    for hook, *_ in snapshot_restore_py.get_before_snapshot():
        hook()
    world.file("v1").unlink()
    for hook, *_ in snapshot_restore_py.get_after_restore():
        hook()
    score(1, good=3)
    score(60)
    assert [each.events for each in world.sketches()] == [4]
    assert not world.metric("SketchFailed")
