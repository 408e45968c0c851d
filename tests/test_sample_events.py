"""The invocations in events/ have the shapes that AWS sends, and their events are what the demo's contract says."""

import base64
import hashlib
import importlib.util
import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eventscore.contract import load_contract
from eventscore.decoding import EventDecoder
from eventscore.errors import ContractViolation
from eventscore.sources.recognise import is_direct, is_warm_up, recognise

ROOT = Path(__file__).parent.parent
EVENTS = ROOT / "events"
GOOD = ["sqs.json", "kinesis.json", "msk.json", "self-managed-kafka.json"]
POISON = {
    "poison-sqs.json": {"wrong_encoding": 1},
    "poison-kinesis.json": {"wrong_encoding": 2, "tombstone": 1},
    "poison-kafka.json": {"wrong_encoding": 1, "tombstone": 1},
}
EVERYWHERE = [
    *("not_json", "not_an_object", "wrong_type", "missing_field", "out_of_bounds"),
    *("unknown_value", "not_finite", "duplicate_key", "too_large"),
]


def invocation(name: str) -> Any:
    return json.loads((EVENTS / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", EVENTS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def decoder() -> EventDecoder:
    return EventDecoder(load_contract(ROOT / "model_store/flight-delay/contract.toml"))


def outcomes(name: str, decoder: EventDecoder) -> Counter[str]:
    counts: Counter[str] = Counter()
    batch = invocation(name)
    for record in recognise(batch).records(batch):
        try:
            decoder.decode(record.payload)
            counts["good"] += 1
        except ContractViolation as violation:
            counts[violation.reason] += 1
    return counts


@pytest.mark.parametrize("name", GOOD)
def test_good_records_keep_the_contract(name: str, decoder: EventDecoder) -> None:
    assert outcomes(name, decoder) == {"good": 5}


def test_direct_events_keep_the_contract(decoder: EventDecoder) -> None:
    events = invocation("direct.json")
    assert is_direct(events)
    ids = [decoder.decode(json.dumps(event).encode()).event_id for event in events]
    assert len(set(ids)) == 5


def test_the_scheduler_s_input_is_a_warm_up() -> None:
    assert is_warm_up(invocation("warm-up.json"))


@pytest.mark.parametrize("name", POISON)
def test_poison_records_break_the_contract_each_in_its_way(name: str, decoder: EventDecoder) -> None:
    assert outcomes(name, decoder) == {"good": 3, **dict.fromkeys(EVERYWHERE, 1), **POISON[name]}


def test_the_files_are_what_the_generator_writes(generate: ModuleType) -> None:
    written = dict(generate.invocations())
    assert {path.name for path in EVENTS.glob("*.json")} == {"direct.json", *written}
    for name, expected in written.items():
        assert invocation(name) == expected, f"{name} is old: run python events/generate.py"


def test_every_file_is_told_of_in_the_readme() -> None:
    readme = (EVENTS / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in EVENTS.glob("*.json") if f"`{path.name}`" not in readme] == []


@pytest.mark.parametrize("name", ["sqs.json", "poison-sqs.json"])
def test_sqs_messages_have_the_fields_that_aws_sends(name: str) -> None:
    for message in invocation(name)["Records"]:
        assert message.keys() == {
            *("messageId", "receiptHandle", "body", "attributes", "messageAttributes"),
            *("md5OfBody", "eventSource", "eventSourceARN", "awsRegion"),
        }
        assert hashlib.md5(message["body"].encode()).hexdigest() == message["md5OfBody"]
        assert all(isinstance(value, str) for value in message["attributes"].values())


@pytest.mark.parametrize("name", ["kinesis.json", "poison-kinesis.json"])
def test_kinesis_records_have_the_fields_that_aws_sends(name: str) -> None:
    records = invocation(name)["Records"]
    for record in records:
        assert record.keys() == {
            *("kinesis", "eventSource", "eventVersion", "eventID", "eventName"),
            *("invokeIdentityArn", "awsRegion", "eventSourceARN"),
        }
        data = record["kinesis"]
        assert data.keys() == {
            *("kinesisSchemaVersion", "partitionKey", "sequenceNumber", "data", "approximateArrivalTimestamp"),
        }
        assert record["eventID"].endswith(f":{data['sequenceNumber']}")
        base64.b64decode(data["data"], validate=True)
    sequence_numbers = [int(record["kinesis"]["sequenceNumber"]) for record in records]
    assert sequence_numbers == sorted(set(sequence_numbers))
    assert len({record["eventID"].split(":")[0] for record in records}) == 1, "an invocation holds one shard"


@pytest.mark.parametrize("name", ["msk.json", "self-managed-kafka.json", "poison-kafka.json"])
def test_kafka_records_have_the_fields_that_aws_sends(name: str) -> None:
    batch = invocation(name)
    assert ("eventSourceArn" in batch) == (batch["eventSource"] == "aws:kafka")
    for partition, records in batch["records"].items():
        for record in records:
            assert record.keys() | {"key"} == {
                *("topic", "partition", "offset", "timestamp", "timestampType", "key", "value", "headers"),
            }
            assert partition == f"{record['topic']}-{record['partition']}"
            for header in record["headers"]:
                assert all(0 <= byte < 256 for value in header.values() for byte in value)
        offsets = [record["offset"] for record in records]
        assert offsets == sorted(set(offsets))
