"""Several models in one function: each event meets its own, once a batch, and nothing is lost between them."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import small_model
from eventscore.artifact import _MEMORY_PER_GRAPH_BYTE, Artifact
from eventscore.delivery.sink import Message, NotTaken
from eventscore.errors import ContractViolation, DigestMismatch, SettingsInvalid
from eventscore.function import ScoreFunction
from eventscore.manifest import CONTRACT
from eventscore.records import Record
from eventscore.routing import Router
from eventscore.scoring import Answer, Answering, score_messages
from eventscore.service import ScoringService
from eventscore.settings import Settings
from eventscore.signing import Ed25519Signer
from eventscore.sources.origin import source_names
from eventscore.store.folder import FolderStore
from eventscore.store.versions import ModelVersions
from eventscore.violations import REASONS
from test_sources import kafka, kinesis, sqs

NOW = datetime(2026, 11, 21, 10, 15, tzinfo=UTC)
MODELS = ("small", "large", "wide")
BIAS = {"small": 0.0, "large": 0.5, "wide": 1.0}


class Queue:
    """Takes everything, but for what it is told to refuse."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.origins: list[str] = []
        self.refuses: frozenset[str] = frozenset()

    def deliver(self, messages: Sequence[Message], *_: object) -> Mapping[int, NotTaken]:
        failures = {}
        for position, message in enumerate(messages):
            if message.attributes["origin"] in self.refuses:
                failures[position] = NotTaken("throttled")
            else:
                self.bodies.append(json.loads(message.body))
                self.origins.append(message.attributes["origin"])
        return failures


def publish(folder: Path, signer: Ed25519Signer, model: str) -> None:
    contents = small_model.files(BIAS[model])
    contents[CONTRACT] = contents[CONTRACT].replace(b'name = "small"', f'name = "{model}"'.encode())
    document = small_model.manifest("v1", contents).model_copy(update={"model": model}).to_bytes()
    versions = ModelVersions(FolderStore(folder), model)
    versions.write("v1", contents, document, signer.sign(document))
    versions.promote("v1")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, signer: Ed25519Signer) -> Path:
    folder = tmp_path_factory.mktemp("model_store")
    for model in MODELS:
        publish(folder, signer, model)
    return folder


class Several:
    """A function with three models, and its queues."""

    def __init__(self, store: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.environment = {
            "EVENTSCORE_STORE": str(store),
            "EVENTSCORE_MODEL": ",".join(MODELS),
            "EVENTSCORE_TRUSTED_KEYS": signer.public_key,
        }
        self.sink, self.rejects = Queue(), Queue()
        service = ScoringService(self.sink, self.rejects, lambda: NOW)
        monkeypatch.setattr("eventscore.function.scoring_service", lambda settings: service)

    def start(self, **changes: str) -> ScoreFunction:
        return ScoreFunction.from_environment({**self.environment, **changes})


@pytest.fixture
def several(store: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch) -> Several:
    return Several(store, signer, monkeypatch)


BY_FIELD = {"EVENTSCORE_MODEL_FIELD": "scored_by"}


def named(model: object, **changes: Any) -> str:
    return small_model.message(scored_by=model, **changes).decode()


def expected(model: str) -> float:
    return score_of(small_model.EVENT, BIAS[model])


def score_of(fields: dict[str, Any], bias: float) -> float:
    import math

    score = small_model.expected_score(fields)
    return 1 / (1 + math.exp(-(math.log(score / (1 - score)) + bias)))


def test_a_field_of_the_event_names_its_model_in_any_mix(several: Several) -> None:
    order = ["large", "small", "large", "wide", "small"]
    batch = sqs(*(named(model, order=str(number)) for number, model in enumerate(order)))
    assert several.start(**BY_FIELD)(batch, None) == {"batchItemFailures": []}
    answered = {body["event_id"]: body for body in several.sink.bodies}
    assert [answered[str(number)]["model"] for number in range(5)] == order
    for body in answered.values():
        assert body["score"] == pytest.approx(expected(body["model"]), abs=1e-6)


def test_each_model_of_a_batch_runs_once(several: Several, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[str, int]] = []
    outcomes = Answering.outcomes

    def counted(self: Answering, messages: Sequence[bytes | None], now: datetime) -> Any:
        runs.append((self._artifact.model, len(messages)))
        return outcomes(self, messages, now)

    monkeypatch.setattr(Answering, "outcomes", counted)
    several.start(**BY_FIELD)(sqs(*[named("small"), named("wide"), named("small")] * 10), None)
    assert sorted(runs) == [("small", 20), ("wide", 10)]


@pytest.mark.parametrize("model", ["none-such", None, ..., 7, ["small"], "", "SMALL"])
def test_an_event_that_names_no_model_of_the_function_is_rejected_for_that(several: Several, model: object) -> None:
    several.start(**BY_FIELD)(sqs(named("small"), named(model)), None)
    assert len(several.sink.bodies) == 1
    (rejection,) = several.rejects.bodies
    assert (rejection["reason"], rejection["field"]) == ("unknown_model", "scored_by")
    assert (rejection["model"], rejection["version"]) == ("none", "none")
    assert rejection["detail"] == "expected one of small, large, wide; got another"
    assert base64.b64decode(rejection["payload"]) == named(model).encode()


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (None, "tombstone"),
        (b"no json", "not_json"),
        (b"[1]", "not_an_object"),
        (b"\x1f\x8b\x08", "wrong_encoding"),
        (b'{"scored_by": "\xff", ' + small_model.message()[1:], "wrong_encoding"),
        (b'{"scored_by": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "too_nested"),
        (b'{"scored_by": NaN}', "not_finite"),
    ],
)
def test_what_cannot_be_read_is_rejected_for_what_it_is(several: Several, payload: bytes | None, reason: str) -> None:
    assert several.start(**BY_FIELD)(kafka({"t-0": [payload]}), None) == {"batchItemFailures": []}
    assert [body["reason"] for body in several.rejects.bodies] == [reason]
    assert several.sink.bodies == []


PAYLOADS = st.one_of(
    st.builds(
        lambda model, amount: named(model, amount=amount).encode(),
        st.sampled_from([*MODELS, "none-such", None, 7]),
        st.floats(-10, 1000),
    ),
    st.sampled_from([None, b"", b"no json", b"[]", b"\xff", b'{"scored_by": "small"}', b'{"scored_by": "\xff"}']),
    st.binary(max_size=20),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PAYLOADS, max_size=12), st.data())
def test_every_record_ends_in_exactly_one_place_whatever_the_models(
    several: Several, payloads: list[bytes | None], data: st.DataObject
) -> None:
    several.sink.__init__(), several.rejects.__init__()  # type: ignore[misc, func-returns-value]
    batch = kafka({f"t-{number}": [payload] for number, payload in enumerate(payloads)})
    origins = [f"t-{number}@10" for number in range(len(payloads))]
    some = st.frozensets(st.sampled_from(origins or ["none"]))
    several.sink.refuses, several.rejects.refuses = data.draw(some), data.draw(some)
    response = several.start(**BY_FIELD)(batch, None)
    returned = [f"{item['itemIdentifier']['partition']}@10" for item in response["batchItemFailures"]]
    assert sorted([*several.sink.origins, *several.rejects.origins, *returned]) == sorted(origins)
    assert {body["reason"] for body in several.rejects.bodies} <= set(REASONS)


@given(st.lists(PAYLOADS, max_size=12))
def test_what_the_router_gives_to_nobody_is_rejected_and_to_a_model_names_it(payloads: list[bytes | None]) -> None:
    router = Router(MODELS, "scored_by")
    groups = router.batch({}, [Record(payload, "o") for payload in payloads])
    assert sorted(position for positions in groups.values() for position in positions) == list(range(len(payloads)))
    for model, positions in groups.items():
        own = [payloads[position] for position in positions]
        if model is None:
            assert all(isinstance(outcome, ContractViolation) for outcome in router.nobody.score(own, NOW))
        else:
            assert all(json.loads(payload or b"")["scored_by"] == model for payload in own)


def test_the_metrics_of_each_model_are_its_own_and_add_up(several: Several, capsys: pytest.CaptureFixture[str]) -> None:
    function = several.start(**BY_FIELD)
    capsys.readouterr()
    function(sqs(named("small"), named("wide"), named("wide", amount=-1), named("none-such")), None)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    counts = {line["model"]: line for line in lines if "Received" in line}
    assert {name: [line[m][0] for m in ("Received", "Scored", "Rejected")] for name, line in counts.items()} == {
        "small": [1, 1, 0],
        "wide": [2, 1, 1],
        "none": [1, 0, 1],
    }
    assert Counter(line["reason"] for line in lines if "RejectedByReason" in line) == {
        "out_of_bounds": 1,
        "unknown_model": 1,
    }


def test_a_model_that_cannot_be_loaded_costs_its_own_events_only(several: Several, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "store"
    shutil.copytree(several.environment["EVENTSCORE_STORE"], folder)
    small_model.flip_byte(folder / "wide" / "versions" / "v1" / "model.onnx")
    function = several.start(EVENTSCORE_STORE=str(folder), **BY_FIELD)
    batch = sqs(named("wide"), named("small"), named("none-such"), named("wide"))
    assert function(batch, None) == {"batchItemFailures": [{"itemIdentifier": "m-0"}, {"itemIdentifier": "m-3"}]}
    assert (len(several.sink.bodies), len(several.rejects.bodies)) == (1, 1)
    with pytest.raises(DigestMismatch, match="wide/versions/v1/model.onnx"):
        function(sqs(named("wide")), None)


def test_behind_a_record_that_one_model_returned_no_other_model_delivers_in_its_partition(
    several: Several, tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "store"
    shutil.copytree(several.environment["EVENTSCORE_STORE"], folder)
    small_model.flip_byte(folder / "wide" / "versions" / "v1" / "model.onnx")
    function = several.start(EVENTSCORE_STORE=str(folder), **BY_FIELD)
    broken, good, nobodys = (named(model).encode() for model in ("wide", "small", "none-such"))
    batch = kafka({"t-0": [broken, good, nobodys, good], "t-1": [good]})
    assert function(batch, None) == {"batchItemFailures": [{"itemIdentifier": {"partition": "t-0", "offset": 10}}]}
    assert several.sink.origins == ["t-1@10"], "the source comes back to all of t-0"
    assert several.rejects.origins == []


SQS_ARN, KINESIS_ARN = "arn:aws:sqs:eu-west-1:123:orders", "arn:aws:kinesis:eu-west-1:123:stream/clicks"


def from_arn(batch: dict[str, Any], arn: str) -> dict[str, Any]:
    for record in batch["Records"]:
        record["eventSourceARN"] = arn
    return batch


def test_the_source_chooses_the_model(several: Several) -> None:
    sources = {SQS_ARN: "large", KINESIS_ARN: "wide", "t": "small", "direct": "wide"}
    function = several.start(EVENTSCORE_MODEL_SOURCES=json.dumps(sources))
    message = small_model.message()
    for batch, model in (
        (from_arn(sqs(message.decode()), SQS_ARN), "large"),
        (from_arn(kinesis(message), KINESIS_ARN), "wide"),
        (kafka({"t-0": [message], "t-1": [message]}), "small"),
        (kafka({"t-0": [message]}, "aws:SelfManagedKafka"), "small"),
    ):
        function(batch, None)
        assert several.sink.bodies[-1]["model"] == model
    assert function([small_model.EVENT], None)[0]["model"] == "wide"


def test_a_source_without_a_model_keeps_its_batch(several: Several, capsys: pytest.CaptureFixture[str]) -> None:
    function = several.start(EVENTSCORE_MODEL_SOURCES=json.dumps({KINESIS_ARN: "wide"}))
    capsys.readouterr()
    with pytest.raises(SettingsInvalid, match=f"EVENTSCORE_MODEL_SOURCES: expected a model for the source {SQS_ARN}"):
        function(from_arn(sqs("x"), SQS_ARN), None)
    assert several.rejects.bodies == []
    (counts,) = [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "Received" in line]
    assert (counts["model"], counts["Received"], counts["Returned"]) == ("none", [1], [1])
    assert function([small_model.EVENT], None)[0]["model"] == "small", "direct invocations have the first model"


def test_the_narrowest_name_of_a_source_comes_first() -> None:
    msk = kafka({"card-payments-0": [b"x"], "card-payments-11": [b"x"]})
    msk["eventSourceArn"] = "arn:cluster"
    assert source_names(msk) == ("card-payments", "arn:cluster")
    assert source_names({"Records": []}) == ()


def test_direct_events_keep_their_order_whichever_model_answers(several: Several) -> None:
    names = ["wide", "none-such", "small", "wide"]
    events = [small_model.event(scored_by=name, order=str(number)) for number, name in enumerate(names)]
    answers = several.start(**BY_FIELD)(events, None)
    assert [answer["model"] for answer in answers] == ["wide", "none", "small", "wide"]
    assert [answer.get("event_id") for answer in answers] == ["0", None, "2", "3"]
    assert answers[1]["rejected"]["reason"] == "unknown_model"


def test_models_are_loaded_when_first_needed_and_a_warm_up_names_those_that_are(several: Several) -> None:
    function = several.start(**BY_FIELD)
    warm_up = {"eventscore": "warm-up"}
    assert function(warm_up, None) == {"model": "small", "version": "v1", "models": {"small": "v1"}}
    function(sqs(named("wide")), None)
    assert function(warm_up, None)["models"] == {"wide": "v1", "small": "v1"}


def test_a_bound_on_memory_lets_go_of_the_model_that_was_not_used_for_longest(several: Several) -> None:
    one = ModelVersions(FolderStore(Path(several.environment["EVENTSCORE_STORE"])), "small")
    assert one.versions() == ("v1",)
    function = several.start(EVENTSCORE_MODEL_MEMORY_MB="2", **BY_FIELD)
    for model in ("large", "wide"):
        function(sqs(named(model)), None)
    assert list(function({"eventscore": "warm-up"}, None)["models"]) == ["small"], (
        "each is reckoned to take a mebibyte and more"
    )
    function(sqs(named("large"), named("wide"), named("small")), None)
    assert len(several.sink.bodies) == 5


def test_alone_in_a_mixed_batch_or_in_one_of_its_own_an_event_gets_the_same_score(
    several: Several, small_artifact: Artifact
) -> None:
    several.start(**BY_FIELD)(sqs(named("wide"), named("small"), named("large")), None)
    (mixed,) = [body["score"] for body in several.sink.bodies if body["model"] == "small"]
    (alone,) = score_messages(small_artifact, [small_model.message()], NOW)
    assert isinstance(alone, Answer)
    assert mixed == alone.score


# -- settings

MISTAKES: list[tuple[dict[str, str], str]] = [
    (
        {"EVENTSCORE_MODEL": "a,b"},
        "EVENTSCORE_MODEL_FIELD: expected either it or EVENTSCORE_MODEL_SOURCES, to choose among a, b",
    ),
    (
        {"EVENTSCORE_MODEL": "a,b", "EVENTSCORE_MODEL_FIELD": "m", "EVENTSCORE_MODEL_SOURCES": "{}"},
        "either it or EVENTSCORE_MODEL_SOURCES.*got 'both",
    ),
    ({"EVENTSCORE_MODEL": "a,,b"}, "EVENTSCORE_MODEL: expected names of models, each once"),
    ({"EVENTSCORE_MODEL": "a,a"}, "EVENTSCORE_MODEL: expected names of models, each once"),
    ({"EVENTSCORE_MODEL_FIELD": "m"}, "EVENTSCORE_MODEL_FIELD: expected several models in EVENTSCORE_MODEL"),
    ({"EVENTSCORE_MODEL": "a,b", "EVENTSCORE_MODEL_SOURCES": "{"}, "EVENTSCORE_MODEL_SOURCES: expected JSON"),
    (
        {"EVENTSCORE_MODEL": "a,b", "EVENTSCORE_MODEL_SOURCES": '{"x": "c"}'},
        "EVENTSCORE_MODEL_SOURCES: .*got 'c for x'",
    ),
    ({"EVENTSCORE_REFRESH_SECONDS": "-1"}, "EVENTSCORE_REFRESH_SECONDS: expected a whole number from 0 up; got '-1'"),
    ({"EVENTSCORE_REFRESH_SECONDS": "soon"}, "EVENTSCORE_REFRESH_SECONDS: expected a whole number"),
    ({"EVENTSCORE_REFRESH_SECONDS": "٣"}, "EVENTSCORE_REFRESH_SECONDS: expected a whole number"),
    ({"EVENTSCORE_MAX_FILE_MB": "0"}, "EVENTSCORE_MAX_FILE_MB: expected a whole number from 1 up"),
    ({"EVENTSCORE_MODEL_MEMORY_MB": "1.5"}, "EVENTSCORE_MODEL_MEMORY_MB: expected a whole number from 1 up"),
]


def read(signer: Ed25519Signer, **changes: str) -> Settings:
    needed = {"EVENTSCORE_STORE": "s3://b", "EVENTSCORE_MODEL": "a", "EVENTSCORE_TRUSTED_KEYS": signer.public_key}
    return Settings.from_environment({**needed, **changes})


@pytest.mark.parametrize(("changes", "said"), MISTAKES)
def test_settings_of_models_that_make_no_sense_are_told(
    signer: Ed25519Signer, changes: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        read(signer, **changes)


def test_the_defaults_are_sane(signer: Ed25519Signer) -> None:
    plain = read(signer)
    assert (plain.refresh_s, plain.max_file_bytes, plain.model_memory_bytes) == (60, 56 * 2**20, 512 * 2**20)
    assert plain.initialization == "on-demand"
    on_lambda = read(signer, AWS_LAMBDA_FUNCTION_MEMORY_SIZE="1769")
    assert on_lambda.model_memory_bytes == 884 * 2**20, "half of the function's memory"


@pytest.mark.parametrize(("memory_mb", "file_mb"), [(128, 7), (512, 28), (1769, 98), (10_240, 568)])
def test_a_file_may_be_as_large_as_fits_into_the_memory_twice(
    signer: Ed25519Signer, memory_mb: int, file_mb: int
) -> None:
    read_file_bytes = read(signer, AWS_LAMBDA_FUNCTION_MEMORY_SIZE=str(memory_mb)).max_file_bytes
    assert read_file_bytes == file_mb * 2**20
    two_versions = 2 * _MEMORY_PER_GRAPH_BYTE * read_file_bytes
    assert two_versions <= memory_mb * 2**20, "one answers while the other is loaded"
    assert (
        read(signer, AWS_LAMBDA_FUNCTION_MEMORY_SIZE=str(memory_mb), EVENTSCORE_MAX_FILE_MB="9").max_file_bytes
        == 9 * 2**20
    )


def test_a_model_that_is_called_like_a_method_is_only_a_name(signer: Ed25519Signer) -> None:
    routed: Callable[[str], bool] = lambda text: Router(("keys", "b"), "m").direct([text.encode()]) == {"keys": [0]}  # noqa: E731
    assert routed('{"m": "keys"}')
    assert not routed('{"m": "values"}')
