"""A new version of the score function gets traffic only if it gives the live model's golden events their scores."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

import small_model
from cloudformation import load
from conftest import ROOT
from eventscore import settings
from eventscore.errors import NotInStore
from eventscore.function import ScoreFunction
from eventscore.signing import Ed25519Signer
from eventscore.store.folder import FolderStore
from eventscore.store.versions import ModelVersions
from function_apps import load_app

hook = load_app("verify_version")
EVENT = {"DeploymentId": "d-1", "LifecycleEventHookExecutionId": "e-1"}


def reading(folder: Path) -> Callable[[str], bytes | None]:
    store = FolderStore(folder)

    def read(key: str) -> bytes | None:
        try:
            return store.read(key).content
        except NotInStore:
            return None

    return read


@pytest.fixture
def function(small_versions: ModelVersions, store_folder: Path, signer: Ed25519Signer) -> ScoreFunction:
    """The score function with the small model, version v1 live."""
    return ScoreFunction.from_environment(
        {settings.STORE: str(store_folder), settings.MODEL: small_model.MODEL, settings.TRUSTED_KEYS: signer.public_key}
    )


def through_json(function: ScoreFunction) -> Callable[[bytes], Any]:
    return lambda payload: json.loads(json.dumps(function(json.loads(payload), None)))


def verify(folder: Path, invoke: Callable[[bytes], Any]) -> list[str]:
    found: list[str] = hook.verify(reading(folder), invoke, [small_model.MODEL], "live", "", "")
    return found


def test_a_version_that_scores_the_golden_events_as_the_model_does_is_verified(
    store_folder: Path, function: ScoreFunction
) -> None:
    [told] = verify(store_folder, through_json(function))
    golden = (store_folder / "small/versions/v1/golden.jsonl").read_text().splitlines()
    assert told.startswith(f"small v1: {len(golden)} golden events, at most ")


def test_every_golden_event_is_sent_in_as_many_invocations_as_lambda_needs(
    store_folder: Path, function: ScoreFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    def invoke(payload: bytes) -> Any:
        assert len(payload) <= 400
        sent.extend(json.loads(payload))
        return through_json(function)(payload)

    monkeypatch.setattr(hook, "MOST_BYTES", 400)
    verify(store_folder, invoke)
    golden = (store_folder / "small/versions/v1/golden.jsonl").read_text().splitlines()
    assert sent == [json.loads(line)["event"] for line in golden]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda answers: answers[:-1], "answers to as many golden events"),
        (lambda answers: {"batchItemFailures": []}, "answers to as many golden events"),
        (
            lambda answers: [{**answers[0], "score": answers[0]["score"] + 0.01}, *answers[1:]],
            "golden event 1: expected",
        ),
        (lambda answers: [*answers[:-1], {**answers[-1], "score": float("nan")}], "got nan"),
        (
            lambda answers: [{"rejected": {"reason": "missing"}, "model": "small", "version": "v1"}, *answers[1:]],
            "missing",
        ),
        (lambda answers: [{**one, "version": "v0"} for one in answers], "small v0 answered"),
        (lambda answers: [{**one, "fallback": True, "version": "none"} for one in answers], "small none answered"),
    ],
)
def test_another_answer_is_not_the_same(
    store_folder: Path, function: ScoreFunction, spoil: Callable[[Any], Any], why: str
) -> None:
    right = through_json(function)
    with pytest.raises(hook.NotTheSame, match=why):
        verify(store_folder, lambda payload: spoil(right(payload)))


def test_a_version_without_golden_events_proves_nothing(store_folder: Path, function: ScoreFunction) -> None:
    (store_folder / "small/versions/v1/golden.jsonl").write_bytes(b"")
    with pytest.raises(hook.NotTheSame, match=r"small v1: expected golden events in golden\.jsonl, found none"):
        verify(store_folder, through_json(function))


def test_whoever_waits_for_the_new_version_can_still_tell_code_deploy_that_it_does_not_answer() -> None:
    timeout_s = load(ROOT / "template.yaml")["Resources"]["VerifyVersionFunction"]["Properties"]["Timeout"]
    assert timeout_s - hook.READ_TIMEOUT_S * hook.TRIES >= 60


def test_a_pointer_that_moves_meanwhile_is_followed(
    store_folder: Path, small_versions: ModelVersions, function: ScoreFunction, signer: Ed25519Signer
) -> None:
    small_model.publish(FolderStore(store_folder), signer, version="v2")
    small_versions.promote("v1")
    calls: list[bytes] = []

    def invoke(payload: bytes) -> Any:
        calls.append(payload)
        answers = through_json(function)(payload)
        if len(calls) == 1:
            small_versions.promote("v2")
        return [{**answer, "version": "v2"} for answer in answers]

    assert verify(store_folder, invoke)[0].startswith("small v2: ")
    assert len(calls) == 2


def test_where_nothing_is_live_yet_there_is_nothing_to_verify_with(store_folder: Path) -> None:
    [told] = verify(store_folder, lambda _: pytest.fail("it was invoked"))
    assert told == "small: nothing is live yet, so there is nothing to verify with"


def test_several_models_are_reached_as_their_events_are() -> None:
    asked: list[str] = []

    def nothing(key: str) -> None:
        asked.append(key)

    def verified(field: str, sources: str) -> list[str]:
        asked.clear()
        hook.verify(nothing, None, ["a", "b"], "live", field, sources)
        return list(asked)

    assert verified("scored_by", "") == ["a/channels.json", "b/channels.json"]
    assert verified("", '{"topic": "b"}') == ["a/channels.json"], "direct invocations meet the first model"
    assert verified("", '{"topic": "b", "direct": "b"}') == ["b/channels.json"]


def test_the_field_that_names_the_model_is_added_to_its_events(store_folder: Path, function: ScoreFunction) -> None:
    named: set[str] = set()

    def invoke(payload: bytes) -> Any:
        named.update(event["scored_by"] for event in json.loads(payload))
        return through_json(function)(payload)

    hook.verify(reading(store_folder), invoke, ["small"], "live", "scored_by", "")
    assert named == {"small"}


def test_several_scores_are_compared_one_by_one() -> None:
    lines = [{"event": {}, "score": [0.25, 0.75]}]
    answer = {"model": "m", "version": "v", "score": 0.75, "scores": {"a": 0.25, "b": 0.75}}

    def farthest(answer: object) -> Any:
        return hook._farthest(lambda _: [answer], lines, "m", "v", 0.001, {})

    assert farthest(answer) == 0.0
    for scores in ({"a": 0.25, "b": 0.7}, {"a": 0.25}):
        with pytest.raises(hook.NotTheSame, match="golden event 1"):
            farthest({**answer, "scores": scores})


@pytest.fixture
def codedeploy() -> Iterator[tuple[Any, Stubber]]:
    """CodeDeploy's client, whose calls botocore checks against the service's model; moto does not know this one."""
    client = boto3.client("codedeploy")
    with Stubber(client) as stubber:
        yield client, stubber
        stubber.assert_no_pending_responses()


@pytest.mark.parametrize("status", ["Succeeded", "Failed"])
def test_code_deploy_hears_how_it_went(
    status: str, codedeploy: tuple[Any, Stubber], capsys: pytest.CaptureFixture[str]
) -> None:
    client, stubber = codedeploy
    stubber.add_response(
        "put_lifecycle_event_hook_execution_status",
        {"lifecycleEventHookExecutionId": "e-1"},
        {"deploymentId": "d-1", "lifecycleEventHookExecutionId": "e-1", "status": status},
    )

    def check() -> list[str]:
        if status == "Failed":
            raise hook.NotTheSame("golden event 1: expected 0.5")
        return ["all well"]

    assert hook.answer_hook(EVENT, check, client.put_lifecycle_event_hook_execution_status) == status
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == status
    assert told["details"] == ["all well" if status == "Succeeded" else "NotTheSame: golden event 1: expected 0.5"]


@mock_aws
def test_what_is_not_in_the_bucket_is_not_there_and_what_cannot_be_read_is_an_error() -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="models")
    s3.put_object(Bucket="models", Key="small/channels.json", Body=b"{}")
    read = hook._store("models")
    assert read("small/channels.json") == b"{}"
    assert read("large/channels.json") is None
    with pytest.raises(s3.exceptions.NoSuchBucket):
        hook._store("elsewhere")("small/channels.json")
