"""The function as Lambda calls it: every kind of invocation, and what happens without a model or a sink."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest
from moto import mock_aws

import small_model
from eventscore.errors import (
    DigestMismatch,
    InvocationNotRecognised,
    NoSuchChannel,
    RecordsReturned,
    SettingsInvalid,
    SignatureMismatch,
)
from eventscore.function import ScoreFunction
from eventscore.signing import Ed25519Signer
from eventscore.store.folder import FolderStore
from eventscore.store.location import open_store
from eventscore.store.versions import ModelVersions
from test_sources import kafka, kinesis, sqs


class Stack:
    """A model bucket, a sink and a reject queue, and the environment that names them."""

    def __init__(self, signer: Ed25519Signer) -> None:
        boto3.client("s3").create_bucket(Bucket="models")
        self.sqs = boto3.client("sqs")
        self.sink = self.sqs.create_queue(QueueName="scores")["QueueUrl"]
        self.rejects = self.sqs.create_queue(QueueName="rejects")["QueueUrl"]
        self.environment = {
            "EVENTSCORE_STORE": "s3://models/store",
            "EVENTSCORE_MODEL": "small",
            "EVENTSCORE_TRUSTED_KEYS": signer.public_key,
            "EVENTSCORE_SINK": f"sqs:{self.sink}",
            "EVENTSCORE_REJECT_QUEUE_URL": self.rejects,
        }

    def received(self, queue_url: str) -> list[dict[str, Any]]:
        bodies = []
        while messages := self.sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages"):
            bodies += [json.loads(message["Body"]) for message in messages]
        return bodies

    def function(self, **changes: str) -> ScoreFunction:
        return ScoreFunction.from_environment({**self.environment, **changes})


@pytest.fixture
def stack(signer: Ed25519Signer) -> Iterator[Stack]:
    with mock_aws():
        stack = Stack(signer)
        small_model.publish(open_store("s3://models/store"), signer)
        yield stack


Emitted = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def emitted(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Emitted:
    """What the function told since the last call: metrics (as JSON lines) and logs (as records; Powertools writes them once a process)."""

    def read() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        logs = [dict(record.__dict__) for record in caplog.records]
        caplog.clear()
        return [line for line in lines if "_aws" in line] + logs

    return read


def metrics(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if "_aws" in line]


GOOD, POISON = small_model.message(), b"no json"


@pytest.mark.parametrize(
    ("name", "invocation", "origins"),
    [
        ("sqs", sqs(GOOD.decode(), POISON.decode()), ("m-0", "m-1")),
        ("kinesis", kinesis(GOOD, POISON), ("shardId-000000000006:100", "shardId-000000000006:101")),
        ("kafka", kafka({"t-0": [GOOD], "t-1": [POISON, None]}), ("t-0@10", "t-1@10")),
        ("kafka", kafka({"t-0": [GOOD, POISON]}, "aws:SelfManagedKafka"), ("t-0@10", "t-0@11")),
    ],
)
def test_a_batch_of_each_source_is_scored_and_its_poison_rejected(
    stack: Stack, emitted: Emitted, name: str, invocation: Any, origins: tuple[str, str]
) -> None:
    assert stack.function()(invocation, None) == {"batchItemFailures": []}
    scored = stack.received(stack.sink)
    assert [answer["event_id"] for answer in scored] == ["o-1"]
    assert scored[0]["score"] == pytest.approx(small_model.expected_score(small_model.EVENT), abs=1e-6)
    rejected = {body["origin"]: body for body in stack.received(stack.rejects)}
    assert base64.b64decode(rejected[origins[1]]["payload"]) == POISON
    assert {body["source"] for body in rejected.values()} == {name}
    (counts,) = [line for line in metrics(emitted()) if "Received" in line]
    assert counts["source"] == name
    assert counts["version"] == "v1"
    assert counts["Received"] == [len(rejected) + 1]
    assert counts["Scored"] == [1]
    assert counts["Rejected"] == [len(rejected)]
    assert counts["Returned"] == [0]


def test_a_sink_that_fails_returns_the_scored_and_rejects_the_poison(stack: Stack, emitted: Emitted) -> None:
    function = stack.function()
    stack.sqs.delete_queue(QueueUrl=stack.sink)
    emitted()
    assert function(sqs(GOOD.decode(), POISON.decode(), GOOD.decode()), None) == {
        "batchItemFailures": [{"itemIdentifier": "m-0"}, {"itemIdentifier": "m-2"}]
    }
    assert len(stack.received(stack.rejects)) == 1
    lines = emitted()
    (counts,) = [line for line in metrics(lines) if "Received" in line]
    assert (counts["Received"], counts["Scored"], counts["Rejected"], counts["Returned"]) == ([3], [0], [1], [2])
    (warning,) = [line for line in lines if line.get("levelname") == "WARNING"]
    assert warning["origins"] == ["m-0", "m-2"]


def test_a_source_without_partial_batch_responses_gets_an_error_in_place_of_one(stack: Stack, emitted: Emitted) -> None:
    function = stack.function(EVENTSCORE_WHOLE_BATCHES="kafka")
    batch = kafka({"t-0": [GOOD], "t-1": [POISON]})
    assert function(batch, None) == {"batchItemFailures": []}
    stack.sqs.delete_queue(QueueUrl=stack.sink)
    emitted()
    with pytest.raises(RecordsReturned, match="1 of 2 kafka records were not delivered") as raised:
        function(batch, None)
    assert (raised.value.returned, raised.value.received) == (1, 2)
    (counts,) = [line for line in metrics(emitted()) if "Received" in line]
    assert counts["Returned"] == [1], "it is told all the same"
    assert function(sqs(GOOD.decode()), None) == {"batchItemFailures": [{"itemIdentifier": "m-0"}]}


def test_a_version_is_replaced_though_a_sink_that_is_down_fails_every_invocation(
    stack: Stack, signer: Ed25519Signer
) -> None:
    now = [1_763_720_100.0]
    environment = {**stack.environment, "EVENTSCORE_WHOLE_BATCHES": "kafka"}
    function = ScoreFunction.from_environment(environment, clock=lambda: now[0])
    stack.sqs.delete_queue(QueueUrl=stack.sink)
    small_model.publish(open_store("s3://models/store"), signer, "v2")
    now[0] += 1000
    with pytest.raises(RecordsReturned):
        function(kafka({"t-0": [GOOD]}), None)
    [answer] = function([small_model.EVENT], None)
    assert answer["version"] == "v2"


def test_a_delivered_batch_does_not_come_again_for_want_of_a_thread(
    stack: Stack, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_763_720_100.0]
    function = ScoreFunction.from_environment(stack.environment, clock=lambda: now[0])
    small_model.publish(open_store("s3://models/store"), signer, "v2")
    now[0] += 1000

    def start(thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without:
        without.setattr(Thread, "start", start)
        assert function(sqs(GOOD.decode()), None) == {"batchItemFailures": []}
    for _ in range(2):
        assert function(sqs(GOOD.decode()), None) == {"batchItemFailures": []}
    assert [answer["version"] for answer in stack.received(stack.sink)] == ["v1", "v1", "v2"]


def test_a_reject_queue_that_fails_returns_the_poison(stack: Stack) -> None:
    function = stack.function()
    stack.sqs.delete_queue(QueueUrl=stack.rejects)
    assert function(kinesis(GOOD, POISON, GOOD), None) == {"batchItemFailures": [{"itemIdentifier": "101"}]}


def test_a_list_of_events_is_answered_with_a_list_of_scores(stack: Stack) -> None:
    events = [small_model.event(), small_model.event(amount=math.nan), small_model.event(channel="fax"), 7]
    first, second, third, fourth = stack.function()(events, None)
    assert first["event_id"] == "o-1"
    assert first["score"] == pytest.approx(small_model.expected_score(small_model.EVENT), abs=1e-6)
    assert second["rejected"]["reason"] == "not_finite"
    assert third["rejected"] == {
        "reason": "unknown_value",
        "field": "channel",
        "detail": "expected one of the 2 values that the contract lists; got another",
    }
    assert fourth["rejected"]["reason"] == "not_an_object"
    json.dumps([first, second, third, fourth])
    assert stack.received(stack.sink) == stack.received(stack.rejects) == []


def test_an_empty_list_has_no_scores(stack: Stack) -> None:
    assert stack.function()([], None) == []


def test_a_warm_up_touches_no_queue_and_says_which_version_is_loaded(stack: Stack) -> None:
    assert stack.function()({"eventscore": "warm-up"}, None) == {"model": "small", "version": "v1"}
    assert stack.received(stack.sink) == []


def test_what_nobody_sends_is_refused(stack: Stack) -> None:
    with pytest.raises(InvocationNotRecognised):
        stack.function()({"source": "aws.s3"}, None)


def test_the_cold_start_is_told_in_parts(stack: Stack, emitted: Emitted) -> None:
    stack.function()
    (line,) = [line for line in metrics(emitted()) if "ColdStart" in line]
    for part in ("Process", "Connect", "Pointer", "Pull", "Verify", "Session", "Golden", "Total"):
        assert line[f"ColdStart{part}"][0] >= 0
    assert line["ColdStart"] == [1]
    assert line["version"] == "v1"


def test_the_model_is_pulled_once(stack: Stack) -> None:
    function = stack.function()
    bucket = boto3.resource("s3").Bucket("models")
    bucket.objects.all().delete()
    assert function(sqs(GOOD.decode()), None) == {"batchItemFailures": []}


@pytest.mark.parametrize(
    "invocation", [sqs("a", "b"), kinesis(b"a", b"b"), [small_model.EVENT], {"eventscore": "warm-up"}]
)
@pytest.mark.parametrize(
    ("file", "error"),
    [
        ("model.onnx", DigestMismatch),
        ("contract.toml", DigestMismatch),
        ("golden.jsonl", DigestMismatch),
        ("manifest.json", SignatureMismatch),
        ("manifest.sig", SignatureMismatch),
    ],
)
def test_one_changed_byte_in_the_bucket_is_refused_loudly(
    stack: Stack, emitted: Emitted, invocation: Any, file: str, error: type[Exception]
) -> None:
    s3 = boto3.client("s3")
    key = f"store/small/versions/v1/{file}"
    content = bytearray(s3.get_object(Bucket="models", Key=key)["Body"].read())
    content[len(content) // 2] ^= 0x01
    s3.put_object(Bucket="models", Key=key, Body=bytes(content))
    function = stack.function()
    lines = emitted()
    assert [line["ModelLoadFailed"] for line in metrics(lines)] == [[1]]
    named = "manifest.sig" if file == "manifest.json" else file
    (log,) = [line for line in lines if line.get("levelname") == "ERROR"]
    assert f"small/versions/v1/{file}" in log["reason"]
    with pytest.raises(error, match=f"small/versions/v1/{named}"):
        function(invocation, None)


def test_a_batch_without_a_model_is_counted_as_returned(stack: Stack, emitted: Emitted) -> None:
    function = stack.function(EVENTSCORE_CHANNEL="canary")
    emitted()
    with pytest.raises(NoSuchChannel, match="channel 'canary' points at no version"):
        function(sqs("a", "b"), None)
    (counts,) = [line for line in metrics(emitted()) if "Received" in line]
    assert (counts["Received"], counts["Returned"]) == ([2], [2])


def test_a_repaired_store_needs_no_new_environment(stack: Stack, signer: Ed25519Signer) -> None:
    function = stack.function(EVENTSCORE_STORE="s3://models/elsewhere")
    with pytest.raises(NoSuchChannel):
        function([small_model.EVENT], None)
    small_model.publish(open_store("s3://models/elsewhere"), signer)
    assert function([small_model.EVENT], None)[0]["event_id"] == "o-1"


def test_a_folder_stands_in_for_the_bucket(tmp_path: Path, signer: Ed25519Signer) -> None:
    versions: ModelVersions = small_model.publish(FolderStore(tmp_path), signer)
    function = ScoreFunction.from_environment(
        {
            "EVENTSCORE_STORE": versions.store.url,
            "EVENTSCORE_MODEL": "small",
            "EVENTSCORE_TRUSTED_KEYS": signer.public_key,
        }
    )
    assert function([small_model.EVENT], None)[0]["version"] == "v1"
    with pytest.raises(SettingsInvalid, match="EVENTSCORE_SINK and EVENTSCORE_REJECT_QUEUE_URL"):
        function(sqs("a"), None)


def test_neither_logs_nor_metrics_hold_anything_of_an_event(stack: Stack, emitted: Emitted) -> None:
    secret = "4111-1111"
    poison = small_model.message(amount=secret, order=secret)
    function = stack.function()
    stack.sqs.delete_queue(QueueUrl=stack.sink)
    function(sqs(small_model.message(order=secret).decode(), poison.decode()), None)
    told = emitted()
    assert len(told) >= 4
    assert secret not in repr(told)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"EVENTSCORE_STORE": ""}, "EVENTSCORE_STORE: expected s3://bucket.*it is not set"),
        ({"EVENTSCORE_MODEL": ""}, "EVENTSCORE_MODEL: expected the name of a model"),
        ({"EVENTSCORE_TRUSTED_KEYS": ""}, "EVENTSCORE_TRUSTED_KEYS: .*it is not set"),
        ({"EVENTSCORE_TRUSTED_KEYS": "abc"}, "EVENTSCORE_TRUSTED_KEYS: expected base64 .* got 'abc'"),
        (
            {"EVENTSCORE_CHANNEL": "beta"},
            "EVENTSCORE_CHANNEL: expected one of live, canary, shadow, previous; got 'beta'",
        ),
        ({"EVENTSCORE_SINK": "https://queue"}, "EVENTSCORE_SINK: expected addresses of sinks.*got 'https://queue'"),
        ({"EVENTSCORE_SINK": "sqs:scores"}, "EVENTSCORE_SINK: expected sqs:<queue url>; got 'sqs:scores'"),
        ({"EVENTSCORE_IDEMPOTENCY_TABLE": "a b"}, "EVENTSCORE_IDEMPOTENCY_TABLE: expected <table>.*got 'a b'"),
        ({"EVENTSCORE_SINK": ""}, "EVENTSCORE_SINK: expected a sink and a reject queue together"),
        (
            {"EVENTSCORE_REJECT_QUEUE_URL": ""},
            "EVENTSCORE_REJECT_QUEUE_URL: expected a sink and a reject queue together",
        ),
        ({"EVENTSCORE_SNIK": "x"}, "EVENTSCORE_SNIK: expected one of EVENTSCORE_STORE.* got 'an unknown name'"),
    ],
)
def test_settings_that_make_no_sense_stop_the_cold_start(stack: Stack, changes: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        stack.function(**changes)


def test_an_event_that_cannot_even_be_written_again_costs_itself_only(stack: Stack) -> None:
    nested: Any = "x"
    for _ in range(100_000):
        nested = [nested]
    deep, long, good = stack.function()([{"x": nested}, {"amount": 10**5000}, small_model.event()], None)
    assert deep["rejected"]["reason"] in ("too_nested", "too_large")
    assert "rejected" in long
    assert good["event_id"] == "o-1"


def test_a_hostile_record_costs_itself_only(stack: Stack) -> None:
    hostile = b'{"\xed\xa0\x80": 1, "\xed\xa0\x80": 2, ' + GOOD[1:]
    invocations = [
        sqs(hostile.decode("utf-8", "surrogatepass"), GOOD.decode()),
        kinesis(hostile, GOOD),
        kafka({"t-0": [hostile, GOOD]}),
    ]
    function = stack.function()
    for invocation in invocations:
        assert function(invocation, None) == {"batchItemFailures": []}
        assert len(stack.received(stack.sink)) == 1
        assert [body["reason"] for body in stack.received(stack.rejects)] == ["wrong_encoding"]


class Context:
    """As much of Lambda's context as the function asks for."""

    def __init__(self, remaining_ms: int) -> None:
        self.remaining_ms = remaining_ms

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


@pytest.mark.parametrize(("remaining_ms", "named"), [(60_000, []), (500, ["m-0", "m-1", "m-2"])])
def test_a_batch_is_worked_on_for_as_long_as_the_context_leaves(
    stack: Stack, remaining_ms: int, named: list[str]
) -> None:
    answer = stack.function()(sqs(GOOD.decode(), POISON.decode(), GOOD.decode()), Context(remaining_ms))
    assert answer == {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in named]}
    assert len(stack.received(stack.sink)) == (0 if named else 2)


def test_behind_a_returned_record_of_a_stream_nothing_is_delivered(stack: Stack) -> None:
    function = stack.function()
    stack.sqs.delete_queue(QueueUrl=stack.rejects)
    invocation = kafka({"t-0": [GOOD, POISON, GOOD, GOOD], "t-1": [GOOD]})
    assert function(invocation, Context(60_000)) == {
        "batchItemFailures": [{"itemIdentifier": {"partition": "t-0", "offset": 11}}]
    }
    assert len(stack.received(stack.sink)) == 2, "the one before it, and the one of the other partition"


def test_answers_go_to_every_sink_that_their_decision_is_routed_to_and_once_where_a_table_remembers(
    stack: Stack,
) -> None:
    kinesis_client, dynamodb = boto3.client("kinesis"), boto3.client("dynamodb")
    kinesis_client.create_stream(StreamName="declined", ShardCount=1)
    dynamodb.create_table(
        TableName="seen",
        KeySchema=[{"AttributeName": "event", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "event", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    function = stack.function(
        EVENTSCORE_SINK=f"sqs:{stack.sink}; kinesis:declined?decisions=decline",
        EVENTSCORE_IDEMPOTENCY_TABLE="seen?hours=1",
    )
    accepted = small_model.message(balance=-50)
    declined = small_model.message(order="o-2", amount=990)
    for _ in range(2):
        assert function(sqs(accepted.decode(), declined.decode()), Context(60_000)) == {"batchItemFailures": []}
    assert sorted(answer["event_id"] for answer in stack.received(stack.sink)) == ["o-1", "o-2"]
    shard = kinesis_client.list_shards(StreamName="declined")["Shards"][0]["ShardId"]
    start = kinesis_client.get_shard_iterator(StreamName="declined", ShardId=shard, ShardIteratorType="TRIM_HORIZON")[
        "ShardIterator"
    ]
    [record] = kinesis_client.get_records(ShardIterator=start)["Records"]
    assert json.loads(record["Data"])["decision"] == "decline"
    assert record["PartitionKey"] == "o-2"


class Invoked(Context):
    """What Lambda says of an invocation."""

    function_name = "score"
    memory_limit_in_mb = 1769
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:score"

    def __init__(self, aws_request_id: str) -> None:
        super().__init__(60_000)
        self.aws_request_id = aws_request_id


def test_a_log_line_names_the_invocation_as_powertools_users_expect(stack: Stack, emitted: Emitted) -> None:
    function = stack.function()
    emitted()
    for number in (1, 2):
        function(sqs("no json"), Invoked(f"request-{number}"))
    first, second = [line for line in emitted() if line.get("levelname") == "INFO"]
    assert (first["function_request_id"], first["cold_start"]) == ("request-1", True)
    assert (second["function_request_id"], second["cold_start"]) == ("request-2", False)
    assert (second["function_name"], second["function_memory_size"]) == ("score", 1769)
    assert second["function_arn"] == Invoked.invoked_function_arn
    function(sqs("no json"), None)
    assert all("function_request_id" not in line for line in emitted())
