"""A warm function before a real HTTP store: it follows the channel behind its events, and outlives every bad version."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx
import pytest
import snapshot_restore_py
from onnx import helper

import small_model
from eventscore.delivery.sink import Message
from eventscore.errors import EventscoreError, StoreUnavailable
from eventscore.function import ScoreFunction
from eventscore.live_model import LiveModel
from eventscore.manifest import CONTRACT, GOLDEN, GRAPH, MANIFEST, SIGNATURE
from eventscore.refresher import Refresher
from eventscore.service import ScoringService
from eventscore.signing import Ed25519Signer
from eventscore.store.folder import FolderStore
from eventscore.store.versions import ModelVersions
from object_server import ObjectServer, object_server
from test_sources import kinesis, sqs

GOOD = small_model.message()
BATCH = sqs(GOOD.decode(), "poison")
WARM_UP = {"eventscore": "warm-up"}
RULE = f"{small_model.CONTRACT_TOML}[fallback]\nscore = 0.25\n".encode()


class Context:
    """What Lambda hands over beside the event."""

    def __init__(self, remaining_ms: int = 60_000) -> None:
        self.remaining_ms = remaining_ms

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


class Queue:
    """Takes everything."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.while_delivering: Callable[[], object] = lambda: None

    def deliver(self, messages: list[Message], *_: object) -> dict[int, Any]:
        self.while_delivering()
        self.bodies += [json.loads(message.body) for message in messages]
        return {}


class Warm:
    """A function with its store behind HTTP, its queues in memory, and a clock that is moved by hand."""

    def __init__(self, server: ObjectServer, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = server
        self.signer = signer
        self.store = FolderStore(server.folder)
        self.now = 1_000_000.0
        self.sink, self.rejects = Queue(), Queue()
        self._patch = monkeypatch
        self.environment = {
            "EVENTSCORE_STORE": "s3://models",
            "EVENTSCORE_MODEL": "small",
            "EVENTSCORE_TRUSTED_KEYS": signer.public_key,
        }

    def start(self, **changes: str) -> ScoreFunction:
        service = ScoringService(self.sink, self.rejects, lambda: datetime.now(UTC))
        self._patch.setattr("eventscore.function.scoring_service", lambda settings: service)
        return ScoreFunction.from_environment({**self.environment, **changes}, clock=lambda: self.now)

    def publish(self, version: str, bias: float = 0.0, **files: bytes) -> ModelVersions:
        """A signed version, live; ``files`` replace contents (graph, contract, golden)."""
        versions = ModelVersions(self.store, "small")
        names = {"graph": GRAPH, "contract": CONTRACT, "golden": GOLDEN}
        contents = small_model.files(bias) | {names[name]: content for name, content in files.items()}
        document = small_model.manifest(version, contents).to_bytes()
        versions.write(version, contents, document, self.signer.sign(document))
        versions.promote(version)
        return versions

    def file(self, version: str, name: str) -> Path:
        return self.server.folder / "small" / "versions" / version / name

    def scored(self, function: ScoreFunction, after_s: float = 0.0) -> list[str]:
        """Let time pass, send one batch, and say which versions answered it."""
        self.now += after_s
        before = len(self.sink.bodies), len(self.rejects.bodies)
        assert function(BATCH, Context()) == {"batchItemFailures": []}
        return [body["version"] for body in (*self.sink.bodies[before[0] :], *self.rejects.bodies[before[1] :])]


@pytest.fixture
def warm(tmp_path: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warm]:
    with object_server(tmp_path / "store") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        world = Warm(server, signer, monkeypatch)
        world.publish("v1")
        yield world


@pytest.fixture
def emitted(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    """Metrics and logs since the last call."""

    def read() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        logs = [dict(record.__dict__) for record in caplog.records]
        caplog.clear()
        return [line for line in lines if "_aws" in line] + logs

    return read


Emitted = Callable[[], list[dict[str, Any]]]


def test_a_promoted_version_answers_the_batch_after_the_one_behind_which_it_was_seen(
    warm: Warm, emitted: Emitted
) -> None:
    function = warm.start()
    assert warm.scored(function) == ["v1", "v1"]
    warm.publish("v2", bias=0.5)
    assert warm.scored(function, after_s=59) == ["v1", "v1"], "nobody has looked yet"
    emitted()
    assert warm.scored(function, after_s=1) == ["v1", "v1"], "the batch does not wait for the new version"
    told = emitted()
    assert [line["ModelLoaded"] for line in told if "ModelLoaded" in line] == [[1]]
    (log,) = [line for line in told if line.get("msg") == "model loaded"]
    assert (log["version"], log["replaced"]) == ("v2", "v1")
    assert warm.scored(function) == ["v2", "v2"], "answers and rejections name their version"
    assert warm.sink.bodies[-1]["score"] > warm.sink.bodies[0]["score"]


def test_an_unchanged_pointer_costs_one_request_an_interval_which_is_answered_with_not_modified(warm: Warm) -> None:
    function = warm.start()
    for _ in range(10):
        warm.scored(function, after_s=30)
    assert warm.server.asked_for("channels.json") == [200] + 5 * [304]
    assert warm.server.asked_for(GRAPH) == [200]


def test_the_pointer_is_looked_at_when_everything_is_delivered(warm: Warm) -> None:
    function = warm.start()
    asked: list[int] = []
    warm.sink.while_delivering = warm.rejects.while_delivering = lambda: asked.append(len(warm.server.answers))
    before = len(warm.server.answers)
    warm.scored(function, after_s=60)
    assert asked == [before, before]
    assert len(warm.server.answers) == before + 1


def test_the_interval_is_a_setting_and_zero_means_never(warm: Warm) -> None:
    often, never = warm.start(EVENTSCORE_REFRESH_SECONDS="5"), warm.start(EVENTSCORE_REFRESH_SECONDS="0")
    warm.publish("v2", bias=0.5)
    for function, version in ((often, "v2"), (never, "v1")):
        warm.scored(function, after_s=5)
        assert warm.scored(function) == [version, version]


def broken(spoil: Callable[[onnx.ModelProto], object]) -> bytes:
    model = onnx.load_from_string(small_model.graph())
    spoil(model)
    return bytes(model.SerializeToString())


def rename(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "NoSuchOperator"


def foreign(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.evil", 1))


def down(warm: Warm) -> None:
    warm.server.faults[""] = "hung up"


def gone(warm: Warm) -> None:
    warm.publish("v2")
    shutil.rmtree(warm.server.folder / "small" / "versions" / "v2")


def flipped(warm: Warm) -> None:
    warm.publish("v2")
    small_model.flip_byte(warm.file("v2", GRAPH))


def cut_short(warm: Warm) -> None:
    warm.publish("v2")
    path = warm.file("v2", GRAPH)
    path.write_bytes(path.read_bytes()[:-10])


def signed_by_another(warm: Warm) -> None:
    warm.publish("v2")
    document = warm.file("v2", MANIFEST).read_bytes()
    warm.file("v2", SIGNATURE).write_bytes(small_model.new_signer().sign(document))


def fault(name: str, of: str = GRAPH) -> Callable[[Warm], None]:
    def happen(warm: Warm) -> None:
        warm.publish("v2")
        warm.server.faults[f"v2/{of}"] = name

    return happen


def pointer(name: str) -> Callable[[Warm], None]:
    def happen(warm: Warm) -> None:
        warm.publish("v2")
        warm.server.faults["channels.json"] = name

    return happen


def pointer_says(text: bytes) -> Callable[[Warm], None]:
    return lambda warm: (warm.server.folder / "small" / "channels.json").write_bytes(text) and None


FAILURES: dict[str, tuple[Callable[[Warm], object], str]] = {
    "S3 is down": (down, "StoreUnavailable"),
    "S3 forbids the pointer": (pointer("forbidden"), "StoreUnavailable"),
    "the pointer is cut off": (pointer("truncated"), "StoreUnavailable"),
    "the pointer is no JSON": (pointer_says(b"{"), "StoreError"),
    "the pointer leaves the store": (
        pointer_says(b'{"format": 1, "model": "small", "channels": {"live": "../../etc"}}'),
        "StoreError",
    ),
    "the pointer points nowhere": (pointer_says(b'{"format": 1, "model": "small", "channels": {}}'), "NoSuchChannel"),
    "S3 forbids a file": (fault("forbidden"), "StoreUnavailable"),
    "a file is cut off on its way": (fault("truncated"), "StoreUnavailable"),
    "a file is cut short": (cut_short, "DigestMismatch"),
    "a digest is wrong": (flipped, "DigestMismatch"),
    "a signature is wrong": (signed_by_another, "SignatureMismatch"),
    "the version is not there": (gone, "FileMissing"),
    "the manifest is forbidden": (fault("forbidden", MANIFEST), "StoreUnavailable"),
    "it is not ONNX": (lambda warm: warm.publish("v2", graph=b"MZ, no graph"), "GraphInvalid"),
    "an operator is unknown": (lambda warm: warm.publish("v2", graph=broken(rename)), "GraphInvalid"),
    "an operator is foreign": (lambda warm: warm.publish("v2", graph=broken(foreign)), "GraphInvalid"),
    "golden events differ": (lambda warm: warm.publish("v2", graph=small_model.graph(bias=1.0)), "GoldenMismatch"),
    "the contract is unreadable": (lambda warm: warm.publish("v2", contract=b"format = 99"), "ManifestInvalid"),
    "a file is too large": (lambda warm: warm.publish("v2", golden=b"\n" * (2**20 + 1)), "ObjectTooLarge"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_whatever_is_wrong_with_the_new_version_the_old_one_goes_on_and_the_reason_is_told(
    warm: Warm, emitted: Emitted, failure: str
) -> None:
    happen, error = FAILURES[failure]
    function = warm.start(EVENTSCORE_MAX_FILE_MB="1")
    happen(warm)
    emitted()
    assert warm.scored(function, after_s=60) == ["v1", "v1"]
    told = emitted()
    assert [line["ModelLoadFailed"] for line in told if "ModelLoadFailed" in line] == [[1]]
    (log,) = [line for line in told if line.get("levelname") == "ERROR"]
    assert (log["error"], log["serving"], log["retry_in_s"]) == (error, "v1", 60)
    assert "small" in log["reason"]
    assert warm.scored(function) == ["v1", "v1"]
    assert emitted() != []
    warm.scored(function, after_s=60)
    assert warm.scored(function) == ["v1", "v1"]


def test_a_file_that_is_too_large_is_not_even_read(warm: Warm, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    whole = ModelVersions.read_file

    def counted(self: ModelVersions, version: str, file: str) -> bytes:
        content = whole(self, version, file)
        read.append(len(content))
        return content

    monkeypatch.setattr(ModelVersions, "read_file", counted)
    function = warm.start(EVENTSCORE_MAX_FILE_MB="1")
    warm.publish("v2", golden=b"\n" * (2**20 + 1))
    warm.scored(function, after_s=60)
    assert len(read) > 5
    assert max(read) < 2**20


def test_a_version_that_was_mended_is_taken_when_it_is_tried_again(warm: Warm) -> None:
    function = warm.start()
    fault("forbidden")(warm)
    for _ in range(3):
        warm.scored(function, after_s=60)
    warm.server.faults.clear()
    warm.scored(function, after_s=240)
    assert warm.scored(function) == ["v2", "v2"]


# -- invocations that wait for nothing


def test_a_direct_invocation_does_not_wait_for_the_look_that_it_sets_off(
    warm: Warm, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = warm.start()
    warm.publish("v2", bias=0.5)
    go_on, refreshed = threading.Event(), threading.Event()
    refresh = LiveModel.refresh

    def held_up(self: LiveModel, interrupted: Callable[[], bool]) -> None:
        go_on.wait(30)
        refresh(self, interrupted)
        refreshed.set()

    monkeypatch.setattr(LiveModel, "refresh", held_up)
    warm.now += 60
    assert function([small_model.EVENT], Context())[0]["version"] == "v1"
    assert function([small_model.EVENT], Context())[0]["version"] == "v1", "nor do those that follow"
    go_on.set()
    assert refreshed.wait(30)
    assert function([small_model.EVENT], Context())[0]["version"] == "v2"


def test_an_invocation_whose_time_is_nearly_over_begins_nothing(warm: Warm) -> None:
    function = warm.start()
    warm.now += 60
    before = len(warm.server.answers)
    function(BATCH, Context(remaining_ms=1_500))
    assert len(warm.server.answers) == before
    function(BATCH, Context())
    assert len(warm.server.answers) == before + 1


def test_a_refresh_that_was_frozen_half_way_goes_on_in_the_next_invocation() -> None:
    class Slow:
        def __init__(self) -> None:
            self.refreshes: list[bool] = []
            self.go_on = threading.Event()

        def due(self) -> bool:
            return True

        def refresh(self, interrupted: Callable[[], bool]) -> None:
            self.go_on.wait(30)
            self.refreshes.append(interrupted())

    slow = Slow()
    refresher = Refresher(lambda: [slow])  # type: ignore[list-item]
    refresher.invocation_begins()
    refresher.start()
    refresher.wait(0.001)
    assert slow.refreshes == []
    refresher.invocation_begins()
    refresher.start()  # one at a time
    slow.go_on.set()
    refresher.wait(30)
    assert slow.refreshes == [True]
    refresher.start()
    refresher.wait(30)
    assert slow.refreshes == [True, False]


def test_a_look_that_hangs_costs_the_invocations_after_it_no_more_than_it_cost_the_first() -> None:
    class Hung:
        def __init__(self) -> None:
            self.waits: list[float] = []

        def is_alive(self) -> bool:
            return True

        def join(self, timeout_s: float) -> None:
            self.waits.append(timeout_s)

    class Due:
        def due(self) -> bool:
            return True

        def refresh(self, interrupted: Callable[[], bool]) -> None:
            pass

    refresher, hung = Refresher(lambda: [Due()]), Hung()  # type: ignore[list-item]
    refresher.invocation_begins()
    refresher.start()
    refresher._thread = hung  # type: ignore[assignment]
    for _ in range(1000):
        refresher.start()
        refresher.wait(5.0)
        refresher.invocation_begins()
    assert hung.waits[:4] == [5.0, 2.5, 1.25, 0.625]
    assert sum(hung.waits) <= 10.0


def test_a_warm_up_looks_at_the_pointer_and_touches_no_queue(warm: Warm) -> None:
    function = warm.start()
    warm.publish("v2", bias=0.5)
    warm.now += 60
    assert function(WARM_UP, Context()) == {"model": "small", "version": "v2"}
    assert warm.sink.bodies == warm.rejects.bodies == []


# -- cold starts without a good version


def test_a_cold_start_takes_the_version_before_where_the_live_one_is_bad(warm: Warm, emitted: Emitted) -> None:
    flipped(warm)
    function = warm.start()
    told = emitted()
    assert [line["ModelLoadFailed"] for line in told if "ModelLoadFailed" in line] == [[1]]
    assert [line["version"] for line in told if "ColdStart" in line] == ["v1"]
    assert warm.scored(function) == ["v1", "v1"]
    small_model.flip_byte(warm.file("v2", GRAPH))
    warm.scored(function, after_s=60)
    assert warm.scored(function) == ["v2", "v2"]


def test_the_rule_of_the_refused_versions_contract_answers_and_its_answers_are_marked(
    warm: Warm, emitted: Emitted
) -> None:
    shutil.rmtree(warm.server.folder / "small")
    warm.publish("v2", contract=RULE, graph=small_model.graph(bias=1.0))
    function = warm.start()
    emitted()
    assert warm.scored(function) == ["none", "none"]
    answer = warm.sink.bodies[-1]
    assert (answer["score"], answer["decision"], answer["fallback"]) == (0.25, "accept", True)
    told = emitted()
    assert [line["FallbackAnswers"] for line in told if "FallbackAnswers" in line] == [[1]]
    direct = function([small_model.EVENT, {}], Context())
    assert direct[0]["fallback"] is True
    assert direct[1]["rejected"]["reason"] == "missing_field"
    assert function(WARM_UP, Context()) == {"model": "small", "version": "none", "fallback": True}
    warm.publish("v3")
    warm.scored(function, after_s=10)
    assert warm.scored(function) == ["v3", "v3"]
    assert "fallback" not in warm.sink.bodies[-1]


def test_a_contract_that_was_deployed_answers_where_the_store_is_silent(
    warm: Warm, tmp_path: Path, emitted: Emitted
) -> None:
    contract = tmp_path / "contracts" / "small" / "contract.toml"
    contract.parent.mkdir(parents=True)
    contract.write_bytes(RULE)
    warm.server.faults["channels.json"] = "forbidden"
    function = warm.start(EVENTSCORE_FALLBACK_CONTRACTS=str(tmp_path / "contracts"))
    (log,) = [line for line in emitted() if "contract" in line and line.get("levelname") == "ERROR"]
    assert log["contract"] == str(contract)
    assert warm.scored(function) == ["none", "none"]
    warm.server.faults.clear()
    warm.scored(function, after_s=60)
    assert warm.scored(function) == ["v1", "v1"]


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"format = 99",
        RULE.replace(b'"small"', b'"large"', 1),
        RULE.replace(b"[fallback]", b"[fallback]\nscores = { a = 1 }"),
    ],
)
def test_a_deployed_contract_that_is_no_help_is_told_of(
    warm: Warm, tmp_path: Path, emitted: Emitted, content: bytes | None
) -> None:
    folder = tmp_path / "contracts" / "small"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "contract.toml").write_bytes(content)
    warm.server.faults["channels.json"] = "forbidden"
    function = warm.start(EVENTSCORE_FALLBACK_CONTRACTS=str(tmp_path / "contracts"))
    errors = [line["error"] for line in emitted() if line.get("levelname") == "ERROR"]
    assert errors == ["StoreUnavailable", "ContractInvalid"]
    with pytest.raises(StoreUnavailable):
        function(BATCH, Context())


def test_without_any_of_them_everything_is_returned_and_an_error_says_why(warm: Warm, emitted: Emitted) -> None:
    small_model.flip_byte(warm.file("v1", GRAPH))
    function = warm.start()
    emitted()
    for batch in (BATCH, kinesis(GOOD, b"poison")):
        with pytest.raises(EventscoreError, match=r"v1/model.onnx: refused"):
            function(batch, Context())
        (counts,) = [line for line in emitted() if "Received" in line]
        assert (counts["Received"], counts["Returned"], counts["Scored"]) == ([2], [2], [0])
    assert warm.sink.bodies == warm.rejects.bodies == []


# -- environments that are started before there are events


def test_provisioned_concurrency_loads_every_model_before_the_first_event(warm: Warm) -> None:
    several = {"EVENTSCORE_MODEL": "small,none-such", "EVENTSCORE_MODEL_FIELD": "m"}
    warm.start(AWS_LAMBDA_INITIALIZATION_TYPE="provisioned-concurrency", **several)
    assert len(warm.server.asked_for("none-such/channels.json")) == 1
    warm.start(**several)
    assert len(warm.server.asked_for("none-such/channels.json")) == 1, "on demand the first model only"


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], list[Any]]:
    """Lambda's registry of hooks, empty."""
    registries: tuple[list[Any], list[Any]] = ([], [])
    monkeypatch.setattr(snapshot_restore_py, "_before_snapshot_registry", registries[0])
    monkeypatch.setattr(snapshot_restore_py, "_after_restore_registry", registries[1])
    return registries


def call(hooks: list[Any]) -> None:
    """As Lambda's runtime does it."""
    for hook, arguments, named in hooks:
        hook(*arguments, **named)


SNAP_START = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}


def test_a_snapshot_holds_the_model_and_a_restored_one_catches_up_before_its_first_event(
    warm: Warm, hooks: tuple[list[Any], list[Any]], emitted: Emitted
) -> None:
    function = warm.start(**SNAP_START)
    call(hooks[0])
    loaded = len(warm.server.asked_for(GRAPH))
    assert loaded == 1
    warm.publish("v2", bias=0.5)
    emitted()
    call(hooks[1])  # the clock of the snapshot need not have moved
    assert [(line["Restored"], line["version"]) for line in emitted() if "Restored" in line] == [([1], "v2")]
    assert warm.scored(function) == ["v2", "v2"]


def test_what_an_old_snapshot_loads_at_each_start_is_no_channel_that_moves(
    warm: Warm, hooks: tuple[list[Any], list[Any]], emitted: Emitted
) -> None:
    """Alarms are held back while ModelLoaded says that a channel was moved (stacks/alarms.yaml)."""

    def moves() -> list[str]:
        return [line["version"] for line in emitted() if "ModelLoaded" in line]

    function = warm.start(**SNAP_START)
    call(hooks[0])
    warm.publish("v2", bias=0.5)
    moves()
    call(hooks[1])
    assert warm.scored(function) == ["v2", "v2"]
    assert moves() == []
    warm.publish("v3", bias=0.7)
    warm.now += 61
    warm.scored(function)
    assert warm.scored(function) == ["v3", "v3"]
    assert moves() == ["v3"]


def test_a_restored_snapshot_serves_what_it_holds_where_the_store_is_away(
    warm: Warm, hooks: tuple[list[Any], list[Any]], emitted: Emitted
) -> None:
    function = warm.start(**SNAP_START)
    call(hooks[0])
    down(warm)
    emitted()
    call(hooks[1])
    assert [line["ModelLoadFailed"] for line in emitted() if "ModelLoadFailed" in line] == [[1]]
    assert warm.scored(function) == ["v1", "v1"]


def test_a_snapshot_without_a_model_fails_no_hook_and_loads_when_it_is_restored(
    warm: Warm, hooks: tuple[list[Any], list[Any]]
) -> None:
    warm.server.faults["channels.json"] = "forbidden"
    function = warm.start(**SNAP_START)
    call(hooks[0])
    warm.server.faults.clear()
    call(hooks[1])
    before = len(warm.server.asked_for(GRAPH))
    assert warm.scored(function) == ["v1", "v1"]
    assert len(warm.server.asked_for(GRAPH)) == before == 1


def test_an_environment_that_is_started_on_demand_registers_no_hook(
    warm: Warm, hooks: tuple[list[Any], list[Any]]
) -> None:
    warm.start()
    assert hooks == ([], [])
