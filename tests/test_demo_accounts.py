"""The demo's bookkeeping: what it plans to send, how it breaks events, how it accounts for messages, how it measures the model."""

from __future__ import annotations

import itertools
import json
import math
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

import made_flights
from eventscore.decoding import EventDecoder
from eventscore.errors import ContractViolation
from eventscore_flights.demo.accounts import Accounts
from eventscore_flights.demo.far_ends import CONSUMER_GROUP, left_at_kafka, left_at_kinesis, left_at_sqs
from eventscore_flights.demo.plan import DUPLICATE_SHARE, POISON_SHARE, SOURCES, Plan, Planned, batches, make_plan
from eventscore_flights.demo.poison import POISON, encode
from eventscore_flights.demo.stack import TOPIC, DemoStack
from eventscore_flights.demo.summary import RunFacts, Summary, roc_auc, sum_up
from eventscore_flights.demo.telemetry import FunctionTelemetry
from eventscore_local.emf import MetricForwarder
from eventscore_local.kafka_cluster import KafkaCluster

ROOT = Path(__file__).resolve().parent.parent
ROWS = 3000


# What is sent


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_flights.write_table(tmp_path_factory.mktemp("flights") / "test.parquet", ROWS)


@pytest.fixture(scope="module")
def plan(table: Path) -> Plan:
    return make_plan(table, ROWS)


def test_each_flight_is_sent_over_one_source_and_each_source_gets_a_third(plan: Plan) -> None:
    flights = {
        source: {message.event_id for message in plan.messages[source] if message.poison is None} for source in SOURCES
    }
    assert [len(flights[source]) for source in SOURCES] == [ROWS / 3] * 3
    assert set.union(*flights.values()) == set(plan.labels)
    assert plan.total == sum(map(len, plan.messages.values()))


def test_flights_go_out_in_the_order_of_their_departure(plan: Plan) -> None:
    for lane in plan.messages.values():
        departures: dict[str, str] = {}  # by flight, in the order in which each is sent for the first time
        for message in lane:
            if message.poison is None:
                departures.setdefault(message.event_id, json.loads(message.body or b"")["scheduled_departure"])
        assert list(departures.values()) == sorted(departures.values())


def test_poison_and_duplicates_have_their_shares_and_every_way_to_break_an_event_is_used(plan: Plan) -> None:
    good: Counter[str] = Counter()
    poison: Counter[str] = Counter()
    for source, lane in plan.messages.items():
        good.update(message.event_id for message in lane if message.poison is None)
        reasons = [message.poison for message in lane if message.poison]
        ways = [reason for reason, _ in POISON[source]]
        assert reasons == list(itertools.islice(itertools.cycle(ways), len(reasons))), "in turn"
        poison.update(reasons)
    assert poison.total() == pytest.approx(POISON_SHARE * ROWS, rel=0.5)
    assert good.total() - ROWS == pytest.approx(DUPLICATE_SHARE * ROWS, rel=0.8)


def test_a_duplicate_is_an_earlier_message_of_its_own_source_byte_for_byte(plan: Plan) -> None:
    for lane in plan.messages.values():
        bodies: dict[str, bytes | None] = {}
        for message in (message for message in lane if message.poison is None):
            assert bodies.setdefault(message.event_id, message.body) == message.body


def test_an_event_holds_no_label_and_no_gap(plan: Plan, table: Path) -> None:
    rows = {row["flight_id"]: row for row in made_flights.flights(ROWS)}
    for message in plan.messages["kafka"][:50]:
        if message.poison is None:
            assert json.loads(message.body or b"") == made_flights.event(rows[message.event_id])
    assert plan.labels == {flight: row["late"] for flight, row in rows.items()}


def test_a_smaller_plan_takes_flights_evenly_over_the_whole_period(table: Path) -> None:
    small = make_plan(table, 30)
    ids = [row["flight_id"] for row in made_flights.flights(ROWS)]
    assert list(small.labels) == ids[::100]
    assert make_plan(table, 30) == small, "the same plan every time"


@given(st.integers(0, 50), st.integers(1, 12))
def test_batches_hold_every_message_once_in_order(count: int, size: int) -> None:
    messages = [Planned(b"", str(number), "") for number in range(count)]
    cut = list(batches(messages, size))
    assert list(itertools.chain(*cut)) == messages
    assert all(len(batch) == size for batch in cut[:-1])


# How events break


@pytest.fixture(scope="module")
def decoder() -> EventDecoder:
    return EventDecoder(made_flights.contract())


def good_events() -> list[dict[str, Any]]:
    real = json.loads((ROOT / "events/direct.json").read_text())
    return [*real, *map(made_flights.event, made_flights.flights(20))]


@pytest.mark.parametrize(
    ("source", "position"), [(source, position) for source in SOURCES for position in range(len(POISON[source]))]
)
def test_each_way_to_break_an_event_is_rejected_for_its_very_reason(
    decoder: EventDecoder, source: str, position: int
) -> None:
    reason, broken = POISON[source][position]
    for event in good_events():
        decoder.decode(encode(event))
        body = broken(event)
        if source == "sqs":
            assert body, "SQS takes no empty message"
            body = body.decode().encode()
        with pytest.raises(ContractViolation) as refused:
            decoder.decode(body)
        assert refused.value.reason == reason


def test_poison_is_broken_in_at_least_eight_ways_over_each_source() -> None:
    assert all(len({reason for reason, _ in ways}) >= 8 for ways in POISON.values())


# Where messages ended


def planned(number: int, poison: str | None = None) -> Planned:
    return Planned(b"{}", f"f-{number}", f"N{number}", poison)


Fate = tuple[bool, int, int, bool, bool]
FATES = st.lists(
    st.tuples(st.booleans(), st.integers(0, 2), st.integers(0, 2), st.booleans(), st.booleans()), max_size=30
)


@given(FATES)
def test_every_message_is_in_exactly_one_column_whatever_happened_to_it(fates: list[Fate]) -> None:
    accounts = Accounts()
    returned = set()
    for number, (is_poison, scored, rejected, is_returned, right_reason) in enumerate(fates):
        origin = f"t-0@{number}"
        accounts.note_sent("kafka", origin, planned(number, "not_json" if is_poison else None))
        for _ in range(scored):
            accounts.note_scored("kafka", origin, {"event_id": f"f-{number}"})
        for _ in range(rejected):
            accounts.note_rejected("kafka", origin, "not_json" if right_reason else "too_large")
        if is_returned:
            returned.add(origin)
    account = accounts.settle({"kafka": returned})["kafka"]
    assert account.sent == account.scored + account.rejected + account.returned + account.lost == len(fates)
    assert account.scored == sum(scored > 0 for _, scored, *_ in fates)
    assert account.lost == sum(not (scored or rejected or back) for _, scored, rejected, back, _ in fates)
    assert account.delivered_again == sum(
        max(0, scored - 1) + max(0, rejected - 1) for _, scored, rejected, *_ in fates
    )
    clean = all(
        not (scored and (is_poison or rejected)) and not (rejected and not (is_poison and right))
        for is_poison, scored, rejected, _, right in fates
    )
    assert (account.wrong == 0) == clean


def test_sources_do_not_answer_for_each_other() -> None:
    accounts = Accounts()
    for source in SOURCES:
        accounts.note_sent(source, "1", planned(1))
    accounts.note_scored("sqs", "1", {"event_id": "f-1"})
    settled = accounts.settle({"kinesis": {"1"}})
    assert [(settled[source].scored, settled[source].returned, settled[source].lost) for source in SOURCES] == [
        (1, 0, 0),
        (0, 1, 0),
        (0, 0, 1),
    ]


def test_what_nobody_sent_is_wrong_and_makes_up_for_nothing_that_is_lost() -> None:
    accounts = Accounts()
    accounts.note_sent("sqs", "1", planned(1))
    accounts.note_scored("sqs", "2", {"event_id": "f-1"})
    account = accounts.settle({"sqs": {"3"}})["sqs"]
    assert (account.sent, account.scored, account.returned, account.lost, account.wrong) == (1, 0, 0, 1, 1)


def test_a_producer_waits_while_too_much_is_under_way_and_no_longer() -> None:
    accounts = Accounts()
    accounts.note_sent("sqs", "1", planned(1))
    accounts.wait_for_room("sqs", 2, 60)
    accounts.wait_for_room("kafka", 1, 60)
    waiting = threading.Thread(target=accounts.wait_for_room, args=("sqs", 1, 60), daemon=True)
    waiting.start()
    assert waiting.is_alive()
    accounts.note_rejected("sqs", "1", "not_json")
    waiting.join(30)
    assert not waiting.is_alive()


# What is left at the sources


@pytest.fixture
def stack() -> Iterator[DemoStack]:
    """Queues, and nothing else."""
    with mock_aws():
        sqs = boto3.client("sqs")

        def queue(name: str, **attributes: str) -> str:
            return str(sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])

        dead = queue("dead")
        arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})
        events = queue("events", VisibilityTimeout="0", RedrivePolicy=redrive)
        failures = (queue("stream-failures"), queue("kafka-failures"))
        yield DemoStack(sqs, None, None, None, events, dead, queue("scores"), queue("rejects"), *failures, "arn:stream")


def test_at_sqs_what_lies_in_the_queue_and_in_its_dead_letter_queue_is_left(stack: DemoStack) -> None:
    ids = {
        stack.sqs.send_message(QueueUrl=url, MessageBody=str(number))["MessageId"]
        for url in (stack.events_url, stack.dead_letters_url)
        for number in range(12)
    }
    assert left_at_sqs(stack, 0) == ids


def test_at_sqs_a_message_that_moves_to_the_dead_letter_queue_while_one_looks_is_left_too(stack: DemoStack) -> None:
    sent = stack.sqs.send_message(QueueUrl=stack.events_url, MessageBody="x")["MessageId"]
    assert stack.sqs.receive_message(QueueUrl=stack.events_url)["Messages"], "the one receive that it is allowed"
    assert left_at_sqs(stack, 1) == {sent}


def test_at_sqs_a_message_in_flight_is_waited_for(stack: DemoStack) -> None:
    sent = stack.sqs.send_message(QueueUrl=stack.events_url, MessageBody="x")["MessageId"]
    assert stack.sqs.receive_message(QueueUrl=stack.events_url, VisibilityTimeout=1)["Messages"]
    assert left_at_sqs(stack, 1) == {sent}


def sent_accounts(source: str, *origins: str) -> Accounts:
    accounts = Accounts()
    for number, origin in enumerate(origins):
        accounts.note_sent(source, origin, planned(number))
    return accounts


def test_at_kinesis_what_lies_behind_the_checkpoint_or_was_given_up_is_left(stack: DemoStack) -> None:
    accounts = sent_accounts("kinesis", *(f"shard-{shard}:{number}" for shard in (0, 1) for number in range(100, 110)))
    info = {"shardId": "shard-0", "startSequenceNumber": "102", "endSequenceNumber": "103"}
    stack.sqs.send_message(QueueUrl=stack.stream_failures_url, MessageBody=json.dumps({"KinesisBatchInfo": info}))
    left = left_at_kinesis(stack, accounts, {"shard-0": "109", "shard-1": "107"})
    assert left == {"shard-0:102", "shard-0:103", "shard-1:108", "shard-1:109"}


def test_at_kinesis_a_shard_without_a_checkpoint_is_left_whole(stack: DemoStack) -> None:
    accounts = sent_accounts("kinesis", "shard-0:100", "shard-1:100")
    assert left_at_kinesis(stack, accounts, {"shard-0": "100"}) == {"shard-1:100"}


@pytest.mark.emulator
def test_at_kafka_what_lies_from_the_committed_offset_on_or_was_given_up_is_left(stack: DemoStack) -> None:
    with KafkaCluster() as kafka:
        kafka.create_topic(TOPIC)
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 2})
        for partition, number in itertools.product((0, 1), range(5)):
            producer.produce(TOPIC, str(number), partition=partition)
        assert producer.flush(30) == 0
        consumer_settings = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": CONSUMER_GROUP, "log_level": 2}
        consumer = Consumer(consumer_settings)
        consumer.commit(offsets=[TopicPartition(TOPIC, 0, 3)], asynchronous=False)
        consumer.close()
        records = {f"{TOPIC}-0": {"firstRecordOffset": 1, "lastRecordOffset": 1}}
        body = json.dumps({"KafkaBatchInfo": {"recordsInfo": records}})
        stack.sqs.send_message(QueueUrl=stack.kafka_failures_url, MessageBody=body)
        accounts = sent_accounts("kafka", *(f"{TOPIC}-0@{number}" for number in range(5)), f"{TOPIC}-1@0")
        left = left_at_kafka(stack, accounts, kafka.bootstrap_servers)
    assert left == {f"{TOPIC}-0@1", f"{TOPIC}-0@3", f"{TOPIC}-0@4", f"{TOPIC}-1@0"}


# The figures


def by_scikit_learn(labels: Sequence[bool], scores: Sequence[float]) -> float:
    """ROC-AUC by somebody else's code."""
    from sklearn.metrics import roc_auc_score  # seconds, which only the process that runs these tests should wait for

    return float(roc_auc_score(labels, scores))


@settings(deadline=None)  # the first example waits for an import
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=60))
def test_roc_auc_is_that_of_scikit_learn_ties_included(pairs: list[tuple[bool, int]]) -> None:
    labels = np.array([label for label, _ in pairs])
    scores = np.array([score / 8 for _, score in pairs])
    if labels.all() or not labels.any():
        assert math.isnan(roc_auc(labels, scores))
    else:
        assert roc_auc(labels, scores) == pytest.approx(by_scikit_learn(labels.tolist(), scores.tolist()), abs=1e-12)


@pytest.fixture
def summary() -> Summary:
    """Two flights over each source, all scored, one of them twice."""
    accounts = Accounts()
    labels: dict[str, bool] = {}
    for number, source in enumerate(SOURCES * 2):
        accounts.note_sent(source, str(number), planned(number))
        labels[f"f-{number}"] = number % 2 == 0
        answer = {"event_id": f"f-{number}", "score": number / 10, "decision": "late" if number > 3 else "on-time"}
        accounts.note_scored(source, str(number), answer)
    accounts.note_scored("sqs", "0", {"event_id": "f-0", "score": 0.0, "decision": "on-time"})
    telemetry = FunctionTelemetry(MetricForwarder(None))
    telemetry.latencies_ms["sqs"] += [(0.1, 1.0), (0.2, 3.0)]
    counts = {source: {"received": 2, "scored": 2, "rejected": 0, "returned": 0} for source in SOURCES}
    facts = RunFacts("flight-delay", "v1", "worker-process", 1, 2.0, (100.0,))
    plan = Plan({source: [] for source in SOURCES}, labels)
    return sum_up(plan, accounts, accounts.settle({}), telemetry, counts, facts)


def test_each_flight_counts_once_for_the_figures_of_the_model(summary: Summary) -> None:
    assert summary.problems == ()
    assert summary.series.decisions == {"on-time": 4, "late": 2}
    assert summary.roc_auc == pytest.approx(by_scikit_learn([True, False] * 3, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]))
    assert summary.events_per_s == 3.0
    assert summary.percentiles_ms["sqs"][0] == 2.0
    assert summary.document["sources"]["sqs"]["delivered_again"] == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scored": 1, "lost": 1}, "kafka: 1 of 2 messages are lost"),
        ({"wrong": 1}, "kafka: 1 messages ended where they must not"),
        ({"scored": 1}, "kafka: sent is not scored + rejected + returned"),
    ],
)
def test_an_account_that_is_not_clean_is_a_problem(summary: Summary, changes: dict[str, int], said: str) -> None:
    spoiled = {**summary.sources, "kafka": replace(summary.sources["kafka"], **changes)}
    (problem,) = replace(summary, sources=spoiled).problems
    assert problem.startswith(said)


def test_counts_in_cloudwatch_that_do_not_add_up_are_a_problem(summary: Summary) -> None:
    counts = {**summary.cloudwatch, "kinesis": {**summary.cloudwatch["kinesis"], "scored": 1}}
    (problem,) = replace(summary, cloudwatch=counts).problems
    assert problem.startswith("kinesis: in CloudWatch received is not")
