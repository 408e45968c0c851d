"""`eventscore replay` against queues, a stream and a bucket as AWS has them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

import small_model
from deployed_stack import BUCKET, NAME, deploy, emulated_aws
from eventscore.delivery.rejection import PART_BYTES, Rejection, rejection_messages
from eventscore.delivery.sqs import SqsSink
from eventscore.errors import ContractViolation
from eventscore.records import Record
from eventscore_cli import replay as replay_module
from eventscore_cli.replaying.held_queue import HeldQueue
from test_cli import Run, run

__all__ = ["run"]


@dataclass(frozen=True)
class Deployed:
    """The stack's outputs, and what its queues hold."""

    outputs: Mapping[str, str]
    sqs: Any
    kinesis: Any

    def reject(
        self, payload: bytes | None, origin: str, reason: str = "unknown_value", *, key: str | None = None, **told: str
    ) -> None:
        """Put into the reject queue what the function would put there."""
        given = {"model": "small", "version": "v1", "source": "sqs", "rejected_at": "2026-11-20T11:00:00.000Z", **told}
        messages = rejection_messages(Record(payload, origin, key), ContractViolation(reason, "so"), **given)
        assert SqsSink(self.outputs["RejectQueueUrl"], self.sqs).deliver(messages) == {}

    def depth(self, output: str) -> tuple[int, int]:
        """Messages that are visible, and messages that are not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.outputs[output], AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])

    def taken(self, output: str) -> list[Any]:
        """All messages of a queue, deleted."""
        found: list[Any] = []
        while True:
            answer = self.sqs.receive_message(
                QueueUrl=self.outputs[output],
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            )
            if not answer.get("Messages"):
                return found
            for message in answer["Messages"]:
                self.sqs.delete_message(QueueUrl=self.outputs[output], ReceiptHandle=message["ReceiptHandle"])
                found.append(message)

    def records(self) -> list[tuple[str, bytes]]:
        """All records of the stream: partition key and data, shard after shard."""
        stream = self.outputs["EventStreamName"]
        found = []
        for shard in self.kinesis.list_shards(StreamName=stream)["Shards"]:
            iterator = self.kinesis.get_shard_iterator(
                StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            for record in self.kinesis.get_records(ShardIterator=iterator)["Records"]:
                found.append((record["PartitionKey"], record["Data"]))
        return found


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    def hasty(*arguments: Any, **more: Any) -> HeldQueue:
        return HeldQueue(*arguments, wait_s=0, **more)

    monkeypatch.setattr(replay_module, "HeldQueue", hasty)
    with emulated_aws():
        outputs = deploy(TrustedKeys="x")
        yield Deployed(outputs, boto3.client("sqs"), boto3.client("kinesis"))


def test_a_look_shows_what_there_is_and_changes_nothing(run: Run, deployed: Deployed) -> None:
    for number in range(12):
        deployed.reject(b"{}", f"o-{number}", "unknown_value" if number else "not_json", version="v1")
    deployed.reject(b"{}", "k-1", "not_json", version="v2", source="kinesis")
    looked = run("replay", "rejected", "--stack", NAME)
    assert looked.code == 0
    rows = {tuple(line.split()[:4]) for line in looked.out.splitlines()}
    assert {
        ("unknown_value", "v1", "sqs", "11"),
        ("not_json", "v1", "sqs", "1"),
        ("not_json", "v2", "kinesis", "1"),
    } <= rows
    assert "13 messages" in looked.out
    assert "13 would be sent" in looked.out
    assert "Nothing was changed" in looked.out
    assert "is deleted by the queue in" in looked.out
    assert deployed.depth("RejectQueueUrl") == (13, 0), "all of them, and visible at once"
    assert deployed.depth("EventQueueUrl") == (0, 0)
    assert "Contents" not in boto3.client("s3").list_objects_v2(Bucket=BUCKET)


def test_what_is_sent_is_what_came_and_goes_back_to_where_it_came_from(run: Run, deployed: Deployed) -> None:
    deployed.reject('{"näme": "ü"}'.encode(), "m-1")
    deployed.reject(b"\x00\xff", "shardId-000000000000:7", source="kinesis")
    large = json.dumps({"pad": "x" * (PART_BYTES + 20_000)}).encode()
    deployed.reject(large, "m-2")
    sent = run("replay", "rejected", "--stack", NAME, "--send")
    assert (sent.code, sent.err) == (0, "")
    assert "3 sent, and removed from the queue" in sent.out
    messages = {message["Body"]: message for message in deployed.taken("EventQueueUrl")}
    assert set(messages) == {'{"näme": "ü"}', large.decode()}
    attribute = messages[large.decode()]["MessageAttributes"]["eventscore-replay"]
    assert attribute["StringValue"] == "sqs m-2"
    assert deployed.records() == [("shardId-000000000000:7", b"\x00\xff")]
    assert deployed.depth("RejectQueueUrl") == (0, 0)
    keys = [item["Key"] for item in boto3.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert len(keys) == 3
    assert all(key.startswith("_replays/") for key in keys)


def test_a_rejected_event_goes_back_with_the_key_that_it_had(run: Run, deployed: Deployed) -> None:
    """Then it reaches the shard, or the group, in which its producer's other events are."""
    deployed.reject(b"{}", "shardId-000000000000:7", source="kinesis", key="card-1")
    deployed.reject(b"{}", "shardId-000000000000:8", source="kinesis", key="k" * 300)
    assert run("replay", "rejected", "--stack", NAME, "--send").code == 0
    assert sorted(deployed.records()) == [("card-1", b"{}"), ("k" * 256, b"{}")]
    fifo = deployed.sqs.create_queue(QueueName="again.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    for number, key in enumerate(("card-1", "no group: ü", "no group: ü")):
        deployed.reject(b"{}", f"m-{number}", key=key)
    assert run("replay", "rejected", "--stack", NAME, "--to", f"sqs:{fifo}", "--send").code == 0
    sent = deployed.sqs.receive_message(QueueUrl=fifo, MaxNumberOfMessages=10, AttributeNames=["All"])["Messages"]
    groups = [message["Attributes"]["MessageGroupId"] for message in sent]
    assert groups.count("card-1") == 1
    assert len(set(groups)) == 2, "what no queue takes for a group becomes one all the same"


def test_a_rejection_of_before_there_were_keys_is_read_as_ever(run: Run, deployed: Deployed) -> None:
    old = (
        '{"reason":"unknown_value","detail":"so","field":"carrier","model":"small","version":"v1","source":"kinesis",'
        '"origin":"shardId-000000000000:7","rejected_at":"2026-11-20T11:00:00.000Z","part":1,"parts":1,"payload":"e30="}'
    )
    deployed.sqs.send_message(QueueUrl=deployed.outputs["RejectQueueUrl"], MessageBody=old)
    assert run("replay", "rejected", "--stack", NAME, "--send").code == 0
    assert deployed.records() == [("shardId-000000000000:7", b"{}")]


def test_a_rejection_holds_a_key_whole_or_not_at_all_and_without_one_it_is_what_it_was() -> None:
    def told(key: Any) -> Any:
        violation = ContractViolation("not_json", "so")
        given = {"model": "m", "version": "v", "source": "kafka", "rejected_at": "2026-11-20T11:00:00.000Z"}
        (message,) = rejection_messages(Record(b"{}", "o", key), violation, **given)
        return json.loads(message.body)

    assert told("card-1")["key"] == "card-1"
    assert told("\ud800")["key"] == "?"
    for none in (None, "x" * 1_025, {"a": "record of a schema registry"}):
        assert "key" not in told(none)
    assert list(told(None)) == [field for field in Rejection.__struct_fields__ if field != "key"]


def test_what_was_sent_is_not_sent_again_when_another_message_tells_of_it(run: Run, deployed: Deployed) -> None:
    deployed.reject(b"{}", "m-1")
    assert run("replay", "rejected", "--stack", NAME, "--send").code == 0
    deployed.reject(b"{}", "m-1", "not_json", version="v2")
    looked = run("replay", "rejected", "--stack", NAME)
    assert "1 went out before" in looked.out
    again = run("replay", "rejected", "--stack", NAME, "--send")
    assert again.code == 0
    assert "1 went out before" in again.out
    assert deployed.depth("RejectQueueUrl") == (0, 0)
    assert deployed.depth("EventQueueUrl") == (1, 0)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--reason", "not_json"), {"b"}),
        (("--reason", "not_json", "--reason", "tombstone"), {"b"}),
        (("--version", "v2"), {"c", "d"}),
        (("--source", "kinesis"), {"d"}),
        (("--since", "2026-11-20T12:00:00Z"), {"b", "c", "d"}),
        (("--since", "2026-11-20T12:00", "--until", "2026-11-20T14:00:00+00:00"), {"b", "c"}),
        (("--until", "2026-11-20"), set()),
        (("--since", "2026-11-20T12:00:00Z", "--version", "v1"), {"b"}),
        (("--limit", "4"), {"a", "b", "c", "d"}),
    ],
)
def test_only_what_is_selected_is_sent_and_the_rest_is_visible_at_once(
    run: Run, deployed: Deployed, options: tuple[str, ...], expected: set[str]
) -> None:
    deployed.reject(b"a", "1", rejected_at="2026-11-20T11:00:00.000Z")
    deployed.reject(b"b", "2", "not_json", rejected_at="2026-11-20T12:00:00.000Z")
    deployed.reject(b"c", "3", version="v2", rejected_at="2026-11-20T13:00:00.000Z")
    deployed.reject(b"d", "4", version="v2", source="kinesis", rejected_at="2026-11-20T14:00:00.000Z")
    ended = run("replay", "rejected", "--stack", NAME, "--send", "--to", "sqs", *options)
    assert ended.code == 0, ended
    assert {message["Body"] for message in deployed.taken("EventQueueUrl")} == expected
    assert deployed.depth("RejectQueueUrl") == (4 - len(expected), 0)


def test_the_limit_is_kept(run: Run, deployed: Deployed) -> None:
    for number in range(25):
        deployed.reject(b"x%d" % number, f"o-{number}")
    assert run("replay", "rejected", "--stack", NAME, "--send", "--limit", "7").code == 0
    assert deployed.depth("EventQueueUrl") == (7, 0)
    assert deployed.depth("RejectQueueUrl") == (18, 0)


def test_what_no_queue_can_take_is_named_and_left(run: Run, deployed: Deployed) -> None:
    deployed.reject(None, "t-0@1", "tombstone", source="kafka")
    deployed.reject(b"\xff\xfe", "m-1", "wrong_encoding")
    deployed.reject(b"", "m-2", "not_json")
    deployed.reject(b"\x00{}", "m-3", "not_json")
    deployed.reject(b"x" * (2**20 + 1), "m-4", "too_large")
    deployed.reject(b"{}", "m-5")
    ended = run("replay", "rejected", "--stack", NAME, "--to", "sqs", "--send")
    assert ended.code == 1
    assert "1 sent" in ended.out
    assert "5 cannot be sent" in ended.out
    for said in ("tombstone", "not UTF-8", "empty", "characters that no queue takes", "a queue takes 1,048,576"):
        assert said in ended.out
    assert deployed.depth("RejectQueueUrl") == (4 + 2, 0), "the last of them in two parts"


def test_what_came_from_kafka_needs_to_be_told_where_it_goes(run: Run, deployed: Deployed) -> None:
    deployed.reject(b"{}", "flights-0@17", source="kafka")
    ended = run("replay", "rejected", "--stack", NAME, "--send")
    assert ended.code == 1
    assert "came from kafka" in ended.out
    assert deployed.depth("RejectQueueUrl") == (1, 0)
    assert run("replay", "rejected", "--stack", NAME, "--send", "--to", "kinesis").code == 0
    assert deployed.records() == [("flights-0@17", b"{}")]


def test_a_foreign_message_is_left_alone(run: Run, deployed: Deployed) -> None:
    for body in ("no rejection", '{"reason": "x"}', '{"payload": 3}'):
        deployed.sqs.send_message(QueueUrl=deployed.outputs["RejectQueueUrl"], MessageBody=body)
    ended = run("replay", "rejected", "--stack", NAME, "--send")
    assert ended.code == 1
    assert "3 x no rejection, as eventscore writes it" in ended.out
    assert deployed.depth("RejectQueueUrl") == (3, 0)


def test_dead_messages_go_back_with_their_attributes_to_the_queue_that_they_came_from(
    run: Run, deployed: Deployed
) -> None:
    attributes = {
        "trace": {"DataType": "String", "StringValue": "t-1"},
        "raw": {"DataType": "Binary", "BinaryValue": b"\x01"},
    }
    body = small_model.message().decode()
    sent = deployed.sqs.send_message(
        QueueUrl=deployed.outputs["EventDeadLetterQueueUrl"], MessageBody=body, MessageAttributes=attributes
    )
    assert run("replay", "dead", "--stack", NAME, "--send").code == 0
    (message,) = deployed.taken("EventQueueUrl")
    assert message["Body"] == body
    found = message["MessageAttributes"]
    assert found["trace"]["StringValue"] == "t-1"
    assert found["raw"]["BinaryValue"] == b"\x01"
    assert found["eventscore-replay"]["StringValue"] == f"sqs {sent['MessageId']}"
    assert deployed.depth("EventDeadLetterQueueUrl") == (0, 0)


def given_up(deployed: Deployed, shard: str, numbers: list[str], size: int) -> None:
    document = {
        "requestContext": {"condition": "RetryAttemptsExhausted"},
        "timestamp": "2026-11-20T12:00:00.000Z",
        "KinesisBatchInfo": {
            "shardId": shard,
            "startSequenceNumber": numbers[0],
            "endSequenceNumber": numbers[-1],
            "batchSize": size,
            "streamArn": f"arn:aws:kinesis:us-east-1:123456789012:stream/{deployed.outputs['EventStreamName']}",
        },
    }
    deployed.sqs.send_message(QueueUrl=deployed.outputs["StreamFailureQueueUrl"], MessageBody=json.dumps(document))


def put(deployed: Deployed, count: int) -> tuple[str, list[str]]:
    """Records of one key in the stream: their shard, and their numbers."""
    answers = [
        deployed.kinesis.put_record(
            StreamName=deployed.outputs["EventStreamName"], Data=b"event %d" % number, PartitionKey="card-1"
        )
        for number in range(count)
    ]
    return answers[0]["ShardId"], [answer["SequenceNumber"] for answer in answers]


def test_records_that_a_mapping_gave_up_are_read_from_the_stream_again_and_keep_key_and_order(
    run: Run, deployed: Deployed
) -> None:
    shard, numbers = put(deployed, 6)
    given_up(deployed, shard, numbers[1:4], 3)
    looked = run("replay", "given-up", "--stack", NAME)
    assert "3 would be sent" in looked.out
    assert "given up: RetryAttemptsExhausted" in looked.out
    assert run("replay", "given-up", "--stack", NAME, "--send").code == 0
    assert deployed.depth("StreamFailureQueueUrl") == (0, 0)
    events = [("card-1", b"event %d" % number) for number in (*range(6), 1, 2, 3)]
    assert deployed.records() == events


def test_what_the_stream_no_longer_holds_is_told_and_its_position_is_kept(run: Run, deployed: Deployed) -> None:
    shard, numbers = put(deployed, 3)
    given_up(deployed, shard, numbers[1:], 5)
    for _ in range(2):
        ended = run("replay", "given-up", "--stack", NAME, "--send")
        assert ended.code == 1
        assert "3 of 5 records are no longer in the stream" in ended.out
        assert deployed.depth("StreamFailureQueueUrl") == (1, 0)
        assert len(deployed.records()) == 3 + 2, "those that are there went out, once"


def test_positions_of_kafka_are_named(run: Run, deployed: Deployed) -> None:
    info = {"recordsInfo": {"flights-0": {"firstRecordOffset": 3, "lastRecordOffset": 9}}}
    url = deployed.outputs["StreamFailureQueueUrl"]
    deployed.sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"KafkaBatchInfo": info}))
    deployed.sqs.send_message(QueueUrl=url, MessageBody="[]")
    ended = run("replay", "given-up", "--stack", NAME, "--send")
    assert ended.code == 1
    assert "flights-0 offsets 3 to 9" in ended.out
    assert "no report of an event source mapping" in ended.out
    assert deployed.depth("StreamFailureQueueUrl") == (2, 0)


def test_without_a_stack_the_queue_the_target_and_the_journal_are_named(
    run: Run, deployed: Deployed, tmp_path: Path
) -> None:
    deployed.reject(b"{}", "m-1")
    queue, to = deployed.outputs["RejectQueueUrl"], f"sqs:{deployed.outputs['EventQueueUrl']}"
    assert "nobody says where" in run("replay", "rejected", "--queue", queue).out
    ended = run("replay", "rejected", "--queue", queue, "--to", to, "--send")
    assert ended.code == 2
    assert "--send needs --stack or --journal" in ended.err
    ended = run("replay", "rejected", "--queue", queue, "--to", to, "--send", "--journal", tmp_path / "journal")
    assert ended.code == 0
    assert len(list((tmp_path / "journal").rglob("*.json"))) == 1
    assert deployed.depth("EventQueueUrl") == (1, 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ("rejected",),
        ("dead", "--stack", NAME, "--reason", "not_json"),
        ("given-up", "--stack", NAME, "--version", "v1"),
        ("dead", "--stack", NAME, "--source", "sqs"),
        ("rejected", "--stack", NAME, "--since", "yesterday"),
        ("rejected", "--stack", NAME, "--reason", "because"),
        ("rejected", "--stack", NAME, "--per-second", "0"),
        ("lost", "--stack", NAME),
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, deployed: Deployed, arguments: tuple[str, ...]) -> None:
    ended = run("replay", *arguments)
    assert (ended.code, ended.out) == (2, "")


@pytest.mark.parametrize("to", ["sns:x", "sqs:REJECTS"])
def test_a_target_that_cannot_be_is_refused_and_everything_stays(run: Run, deployed: Deployed, to: str) -> None:
    deployed.reject(b"{}", "m-1")
    named = to.replace("REJECTS", deployed.outputs["RejectQueueUrl"])
    assert run("replay", "rejected", "--stack", NAME, "--to", named, "--send").code == 2
    assert deployed.depth("RejectQueueUrl") == (1, 0)


def test_a_queue_that_moves_what_was_received_often_is_warned_of(run: Run, deployed: Deployed) -> None:
    ended = run("replay", "rejected", "--queue", deployed.outputs["EventQueueUrl"])
    assert "moves a message away after 5 receives" in ended.err


def test_json_for_scripts(run: Run, deployed: Deployed) -> None:
    deployed.reject(b"{}", "m-1")
    deployed.reject(None, "m-2", "tombstone")
    (document,) = run("replay", "rejected", "--stack", NAME, "--json", "--send").lines
    assert document["ends"] == {"sent": 1, "cannot be sent": 1}
    assert document["journal"] == f"s3://{BUCKET}/_replays"
    assert document["problems"][0]["some"] == ["sqs m-2"]


def test_a_journal_that_cannot_be_written_sends_nothing(run: Run, deployed: Deployed) -> None:
    deployed.reject(b"{}", "m-1")
    ended = run("replay", "rejected", "--stack", NAME, "--send", "--journal", "s3://nowhere")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("Error: ")
    assert deployed.depth("RejectQueueUrl") == (1, 0)
    assert deployed.depth("EventQueueUrl") == (0, 0)


def test_a_rejection_holds_the_bytes_in_base64() -> None:
    (message,) = rejection_messages(
        Record(b"\xff", "o"),
        ContractViolation("not_json", "so"),
        model="m",
        version="v",
        source="sqs",
        rejected_at="2026-11-20T11:00:00.000Z",
    )
    assert base64.b64decode(json.loads(message.body)["payload"]) == b"\xff"
