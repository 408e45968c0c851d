"""Each sink against its service: moto in this process, ministack over HTTP, and Kafka's own protocol."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from confluent_kafka import Consumer, Producer
from moto import mock_aws

from eventscore.delivery.addresses import parse_addresses
from eventscore.delivery.eventbridge import EventBridgeSink
from eventscore.delivery.firehose import FirehoseSink
from eventscore.delivery.idempotency import EXPIRES_AT, KEY, OnceSink
from eventscore.delivery.kafka import MAX_BYTES, KafkaSink, open_producer
from eventscore.delivery.kinesis import KinesisSink
from eventscore.delivery.open_sinks import open_sinks
from eventscore.delivery.sink import HELD_BACK, Message
from eventscore.delivery.sns import SnsSink
from eventscore.delivery.sqs import SqsSink
from eventscore.errors import SettingsInvalid
from eventscore.time_left import TimeLeft
from eventscore_local.kafka_cluster import KafkaCluster
from eventscore_local.ministack import REGION, Ministack
from fake_services import Answer, message
from test_idempotency import make_table
from test_route import Memory

ROOT = Path(__file__).resolve().parent.parent
COUNT = 523
ACCOUNT = "123456789012"

Clients = Callable[[str], Any]


class OneAtATime:
    """A client whose calls take turns: moto's backends lose records of calls that are made side by side."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._turn = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        of = getattr(self._client, name)
        if not callable(of):
            return of

        def call(*arguments: Any, **named: Any) -> Any:
            with self._turn:
                return of(*arguments, **named)

        return call


@pytest.fixture(params=["moto", pytest.param("ministack", marks=pytest.mark.emulator)])
def clients(request: pytest.FixtureRequest) -> Iterator[Clients]:
    if request.param == "moto":
        with mock_aws():
            yield lambda service: OneAtATime(boto3.client(service))
    else:
        with Ministack(ROOT) as ministack:
            yield ministack.client


def drained(sqs: Any, queue_url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        answer = sqs.receive_message(
            QueueUrl=queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], AttributeNames=["All"]
        )
        if not answer.get("Messages"):
            return found
        for each in answer["Messages"]:
            found.append(each)
            sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=each["ReceiptHandle"])


def queue(clients: Clients, name: str, **attributes: str) -> tuple[str, str]:
    """A queue's URL and ARN."""
    sqs = clients("sqs")
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def expected(count: int = COUNT) -> list[str]:
    return sorted(f"o-{n}" for n in range(count))


def test_a_stream_gets_every_answer_and_an_event_always_the_same_shard(clients: Clients) -> None:
    kinesis = clients("kinesis")
    kinesis.create_stream(StreamName="scores", ShardCount=2)
    kinesis.get_waiter("stream_exists").wait(StreamName="scores", WaiterConfig={"Delay": 1})
    assert KinesisSink("scores", kinesis).deliver([message(n) for n in range(COUNT)]) == {}
    found: list[str] = []
    for shard in kinesis.list_shards(StreamName="scores")["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName="scores", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        records = kinesis.get_records(ShardIterator=iterator, Limit=1000)["Records"]
        assert records, "both shards get some"
        assert all(json.loads(record["Data"])["event_id"] == record["PartitionKey"] for record in records)
        found += [json.loads(record["Data"])["origin"] for record in records]
    assert sorted(found) == expected()


def test_a_bus_gets_every_answer_and_its_rules_match_them(clients: Clients) -> None:
    url, arn = queue(clients, "matched")
    events = clients("events")
    events.create_event_bus(Name="risk")
    pattern = {"source": ["eventscore"], "detail-type": ["Event scored"], "detail": {"source": ["sqs"]}}
    events.put_rule(Name="all", EventBusName="risk", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="all", EventBusName="risk", Targets=[{"Id": "q", "Arn": arn}])
    assert EventBridgeSink("risk", events).deliver([message(n) for n in range(45)]) == {}
    matched = [json.loads(each["Body"]) for each in drained(clients("sqs"), url)]
    assert sorted(each["detail"]["origin"] for each in matched) == expected(45)


def test_a_topic_gets_every_answer_and_its_subscribers_filter_by_decision(clients: Clients) -> None:
    url, arn = queue(clients, "declined")
    sns = clients("sns")
    topic = sns.create_topic(Name="scores")["TopicArn"]
    sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=arn,
        Attributes={"FilterPolicy": '{"decision": ["decline"]}', "RawMessageDelivery": "true"},
    )
    messages = [message(n, decision="decline" if n % 2 else "accept") for n in range(45)]
    assert SnsSink(topic, sns).deliver(messages) == {}
    found = drained(clients("sqs"), url)
    origins = sorted(each["MessageAttributes"]["origin"]["StringValue"] for each in found)
    assert origins == sorted(f"o-{n}" for n in range(1, 45, 2))


def test_a_firehose_writes_a_line_for_each_answer(clients: Clients) -> None:
    clients("s3").create_bucket(Bucket="archive")
    firehose = clients("firehose")
    firehose.create_delivery_stream(
        DeliveryStreamName="archive",
        ExtendedS3DestinationConfiguration={
            "RoleARN": f"arn:aws:iam::{ACCOUNT}:role/firehose",
            "BucketARN": "arn:aws:s3:::archive",
        },
    )
    assert FirehoseSink("archive", firehose).deliver([message(n) for n in range(COUNT)]) == {}
    s3 = clients("s3")
    content = b"".join(
        s3.get_object(Bucket="archive", Key=each["Key"])["Body"].read()
        for each in s3.list_objects_v2(Bucket="archive").get("Contents", ())
    )
    assert sorted(json.loads(line)["origin"] for line in content.splitlines()) == expected()


def test_a_fifo_queue_keeps_each_event_once_however_often_it_is_sent(clients: Clients) -> None:
    url, _ = queue(clients, "scores.fifo", FifoQueue="true")
    sink = SqsSink(url, clients("sqs"))
    for _ in range(2):
        assert sink.deliver([message(n) for n in range(25)], lanes=["fifo"] * 25) == {}
    found = drained(clients("sqs"), url)
    assert sorted(each["MessageAttributes"]["origin"]["StringValue"] for each in found) == expected(25)
    assert {each["Attributes"]["MessageGroupId"] for each in found} == {f"e-{n}" for n in range(25)}


@pytest.mark.parametrize("service", ["kinesis", "firehose", "sns"])
def test_a_service_without_the_target_fails_every_message_and_raises_nothing(clients: Clients, service: str) -> None:
    client = clients(service)
    sink: Any = {
        "kinesis": lambda: KinesisSink("gone", client),
        "firehose": lambda: FirehoseSink("gone", client),
        "sns": lambda: SnsSink(f"arn:aws:sns:us-east-1:{ACCOUNT}:gone", client),
    }[service]()
    failures = sink.deliver([message(n) for n in range(12)])
    assert sorted(failures) == list(range(12))
    assert not any(failure.permanent for failure in failures.values())


def test_a_real_table_remembers_what_was_sent_on(clients: Clients) -> None:
    client = clients("dynamodb")
    make_table(client)
    sink = Memory()
    for moment in (time.time(), time.time() + 10, time.time() + 7200):
        once = OnceSink(sink, "seen", client, keep_s=3600, clock=lambda moment=moment: moment)  # type: ignore[misc]
        assert once.deliver([message(n) for n in range(130)]) == {}
    assert len(sink.taken) == 260, "once, not again ten seconds later, and again when it is forgotten"
    item = client.get_item(TableName="seen", Key={KEY: {"S": "small#s#e-7"}})["Item"]
    assert float(item[EXPIRES_AT]["N"]) > time.time() + 7200


def test_a_table_that_is_not_there_stops_nothing(clients: Clients) -> None:
    sink = Memory()
    once = OnceSink(sink, "gone", clients("dynamodb"), keep_s=1, clock=time.time)
    assert once.deliver([message(0)]) == {}
    assert sink.taken == ["o-0"]


@pytest.mark.emulator
def test_a_service_that_is_gone_is_told_apart_in_time() -> None:
    with Ministack(ROOT) as ministack:
        endpoint = ministack.endpoint_url
    config = Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1})
    client = boto3.client("sqs", endpoint_url=endpoint, region_name=REGION, config=config)
    failures = SqsSink(f"{endpoint}/000000000000/scores", client).deliver([message(n) for n in range(30)])
    assert sorted(failures) == list(range(30))


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster() as cluster:
        yield cluster


def consumed(cluster: KafkaCluster, topic: str, count: int) -> list[Any]:
    consumer = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap_servers,
            "group.id": f"{topic}-reader",
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000,
            "log_level": 2,
        }
    )
    consumer.subscribe([topic])
    found: list[Any] = []
    until = time.monotonic() + 30
    while len(found) < count and time.monotonic() < until:
        found += [each for each in consumer.consume(count - len(found), 0.5) if each.error() is None]
    consumer.close()
    return found


def producer(cluster: KafkaCluster) -> Producer:
    return open_producer({"brokers": cluster.bootstrap_servers, "protocol": "PLAINTEXT"}, None)


@pytest.mark.emulator
@pytest.mark.parametrize("lanes", [None, [n % 3 for n in range(COUNT)]], ids=["any order", "in order"])
def test_a_kafka_topic_gets_every_answer_with_its_event_as_key(cluster: KafkaCluster, lanes: list[int] | None) -> None:
    topic = f"scores-{lanes is None}"
    cluster.create_topic(topic)
    assert KafkaSink(topic, producer(cluster)).deliver([message(n) for n in range(COUNT)], lanes=lanes) == {}
    found = consumed(cluster, topic, COUNT)
    assert sorted(dict(each.headers())["origin"].decode() for each in found) == expected()
    assert all(json.loads(each.value())["event_id"] == each.key().decode() for each in found)
    partitions: dict[bytes, set[int]] = {}
    for each in found:
        partitions.setdefault(each.key(), set()).add(each.partition())
    assert all(len(of) == 1 for of in partitions.values())


@pytest.mark.emulator
def test_an_answer_too_large_for_kafka_is_refused_for_good_and_costs_no_other(cluster: KafkaCluster) -> None:
    cluster.create_topic("large")
    messages = [message(0), message(1, size=MAX_BYTES), message(2)]
    failures = KafkaSink("large", producer(cluster)).deliver(messages, lanes=[0, 0, 0])
    assert [(place, failure.permanent) for place, failure in failures.items()] == [(1, True)]
    assert len(consumed(cluster, "large", 2)) == 2


@pytest.mark.emulator
def test_brokers_that_are_gone_return_every_answer_before_the_time_is_over() -> None:
    with KafkaCluster() as cluster:
        sink = KafkaSink("scores", producer(cluster))
    began = time.monotonic()
    failures = sink.deliver([message(n) for n in range(20)], TimeLeft(lambda: 1.5))
    assert sorted(failures) == list(range(20))
    assert time.monotonic() - began < 30, "it did not wait for the producer's own patience and more"


@pytest.mark.emulator
def test_behind_a_failure_nothing_more_goes_to_kafka_in_its_lane() -> None:
    with KafkaCluster() as cluster:
        sink = KafkaSink("scores", producer(cluster))
    failures = sink.deliver([message(n) for n in range(1200)], TimeLeft(lambda: 1.5), [0] * 1200)
    assert sorted(failures) == list(range(1200))
    assert failures[1100] == HELD_BACK


def test_a_function_without_the_kafka_layer_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(SettingsInvalid, match="EVENTSCORE_SINK: expected a function with the Kafka layer"):
        open_sinks("kafka:scores?brokers=127.0.0.1:1", "https://sqs.us-east-1.amazonaws.com/1/rejects", None)


def test_options_that_librdkafka_does_not_understand_are_settings_that_make_no_sense() -> None:
    with pytest.raises(SettingsInvalid, match="options that librdkafka understands"):
        open_producer(parse_addresses("kafka:scores?brokers=127.0.0.1:1&protocol=CARRIER_PIGEON")[0].options, None)


def test_kafkas_login_is_read_from_secrets_manager() -> None:
    with mock_aws():
        arn = boto3.client("secretsmanager").create_secret(
            Name="login", SecretString=json.dumps({"username": "u", "password": "p"})
        )["ARN"]
        sink, _ = open_sinks(
            f"kafka:scores?brokers=127.0.0.1:1&mechanism=SCRAM-SHA-512&secret={arn}",
            "https://sqs.us-east-1.amazonaws.com/1/rejects",
            None,
        )
    assert isinstance(sink, KafkaSink)


def test_an_event_without_a_usable_key_has_one_all_the_same() -> None:
    assert Message("{}", {"origin": "m-1"}).key == "m-1"
    assert Message("{}", {"origin": "m-1"}, Answer(7)).key == "7"
