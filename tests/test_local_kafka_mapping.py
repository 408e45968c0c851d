"""The Kafka event source mapping, against librdkafka's mock cluster."""

import base64
import itertools
import json
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from eventscore_local.errors import MappingMisconfigured
from eventscore_local.event_source_mappings.batching import BatchLimits
from eventscore_local.event_source_mappings.kafka import KafkaMapping, KafkaSource
from eventscore_local.event_source_mappings.on_failure import KafkaDestination
from eventscore_local.event_source_mappings.ordered_delivery import RetryPolicy
from eventscore_local.kafka_cluster import PARTITIONS, KafkaCluster
from local_fakes import Document, FakeFunction, report

pytestmark = pytest.mark.emulator

TIMEOUT_S = 30.0
BATCH = BatchLimits(50, 0.2)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster() as cluster:
        yield cluster


@pytest.fixture
def source(cluster: KafkaCluster) -> KafkaSource:
    topic = f"events-{next(_numbers)}"
    cluster.create_topic(topic)
    return KafkaSource(cluster.bootstrap_servers, topic, "scoring")


def produce(source: KafkaSource, values: list[str | None]) -> None:
    producer = Producer({"bootstrap.servers": source.bootstrap_servers, "log_level": 2})
    for n, value in enumerate(values):
        producer.produce(source.topic, value, partition=n % PARTITIONS, headers=[("n", str(n).encode())])
    producer.flush(TIMEOUT_S)


def records(document: Document) -> list[Document]:
    return [record for group in document["records"].values() for record in group]


def value_of(record: Document) -> str | None:
    return None if record["value"] is None else base64.b64decode(record["value"]).decode()


def delivered(function: FakeFunction) -> list[str | None]:
    return [value_of(record) for document in function.invocations for record in records(document)]


def fail_values(*failing: str) -> FakeFunction:
    return FakeFunction(
        lambda document: report(
            *(
                {"partition": f"{one['topic']}-{one['partition']}", "offset": one["offset"]}
                for one in records(document)
                if value_of(one) in failing
            )
        )
    )


def test_all_records_arrive_once_and_a_batch_spans_partitions(source: KafkaSource) -> None:
    produce(source, [str(n) for n in range(200)])
    function = FakeFunction()
    with KafkaMapping(function, source, batch=BatchLimits(120, 1)) as mapping:
        assert mapping.wait_until_idle(TIMEOUT_S)
    assert sorted(delivered(function), key=str) == sorted((str(n) for n in range(200)), key=str)
    assert any(len(document["records"]) > 1 for document in function.invocations)
    assert mapping.stats.received == 200
    assert function.invocations[0]["eventSource"] == "aws:SelfManagedKafka"


def test_a_tombstone_arrives_as_null_and_headers_as_bytes(source: KafkaSource) -> None:
    produce(source, [None])
    function = FakeFunction()
    with KafkaMapping(function, source, batch=BATCH) as mapping:
        assert mapping.wait_until_idle(TIMEOUT_S)
    (record,) = records(function.invocations[0])
    assert record["value"] is None
    assert "key" not in record
    assert record["headers"] == [{"n": [48]}]
    assert record["timestampType"] == "CREATE_TIME"


def test_a_hopeless_record_goes_to_a_topic_and_its_partition_moves_on(
    cluster: KafkaCluster, source: KafkaSource
) -> None:
    produce(source, [str(n) for n in range(40)])
    cluster.create_topic("failures")
    policy = RetryPolicy(1, bisect_batch_on_function_error=True, first_delay_s=0.001)
    function = fail_values("9")
    destination = KafkaDestination(source.bootstrap_servers, "failures")
    with KafkaMapping(function, source, batch=BATCH, retry=policy, on_failure=destination) as mapping:
        assert mapping.wait_until_idle(TIMEOUT_S)
    assert set(delivered(function)) == {str(n) for n in range(40)}
    assert mapping.stats.on_failure == 1
    consumer = Consumer(
        {
            "bootstrap.servers": source.bootstrap_servers,
            "group.id": "test",
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000,
            "log_level": 2,
        }
    )
    consumer.assign([TopicPartition("failures", n) for n in range(PARTITIONS)])
    (message,) = consumer.consume(1, TIMEOUT_S)
    consumer.close()
    document = json.loads(message.value() or b"")
    assert document["KafkaBatchInfo"]["recordsInfo"] == {
        f"{source.topic}-1": {
            **document["KafkaBatchInfo"]["recordsInfo"][f"{source.topic}-1"],
            "firstRecordOffset": "2",
        }
    }
    assert value_of(records(json.loads(document["payload"]))[0]) == "9"


def test_a_group_goes_on_where_it_committed_and_reads_failed_records_again(source: KafkaSource) -> None:
    produce(source, [str(n) for n in range(8)])
    first = fail_values("5")
    mapping = KafkaMapping(first, source, batch=BATCH, retry=RetryPolicy(first_delay_s=0.001))
    mapping.start()
    while set(delivered(first)) != {str(n) for n in range(8)} or mapping.stats.retries < 3:
        assert not mapping.idle
    mapping.stop()
    second = FakeFunction()
    with KafkaMapping(second, source, batch=BATCH) as mapping:
        assert mapping.wait_until_idle(TIMEOUT_S)
    assert delivered(second) == ["5"]


def test_pollers_share_the_partitions_out(source: KafkaSource) -> None:
    produce(source, [str(n) for n in range(80)])
    function = FakeFunction()
    with KafkaMapping(function, source, batch=BATCH, pollers=3) as mapping:
        assert mapping.wait_until_idle(TIMEOUT_S)
    assert sorted(delivered(function), key=str) == sorted((str(n) for n in range(80)), key=str)


def test_no_poller_is_a_mistake(source: KafkaSource) -> None:
    with pytest.raises(MappingMisconfigured, match="poller"):
        KafkaMapping(FakeFunction(), source, pollers=0)
