"""Conservation: every record of a batch is scored and delivered, rejected and delivered, or returned."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import small_model
from eventscore.artifact import Artifact
from eventscore.delivery.rejection import PART_BYTES, rejection_messages
from eventscore.delivery.sink import Message, NotTaken
from eventscore.errors import ContractViolation
from eventscore.records import Record
from eventscore.scorer import VersionScorer
from eventscore.scoring import Answer, score_messages
from eventscore.service import ScoringService

NOW = datetime(2026, 11, 21, 10, 15, 0, 123_456, tzinfo=UTC)


class FakeSink:
    """Takes messages, but for those whose origin it is told to refuse."""

    def __init__(self, refuses: frozenset[str] = frozenset()) -> None:
        self.refuses = refuses
        self.taken: list[Message] = []
        self.calls = 0

    def deliver(self, messages: Sequence[Message], *_: object) -> Mapping[int, NotTaken]:
        self.calls += 1
        failures = {}
        for position, message in enumerate(messages):
            if message.attributes["origin"] in self.refuses:
                failures[position] = NotTaken("throttled")
            else:
                self.taken.append(message)
        return failures

    @property
    def origins(self) -> list[str]:
        return [message.attributes["origin"] for message in self.taken]


def service(sink: FakeSink, rejects: FakeSink) -> ScoringService:
    return ScoringService(sink, rejects, lambda: NOW)


MESSAGES = st.one_of(
    st.builds(
        small_model.message,
        order=st.text(min_size=1, max_size=4),
        amount=st.floats(0, 1000),
        balance=st.one_of(st.none(), st.floats(-100, 100)),
        country=st.one_of(st.none(), st.sampled_from(["FR", "DE", "unseen"])),
    ),
    st.sampled_from([None, b"", b"no json", small_model.message(amount=-1), small_model.message(order=...), b"\xff"]),
)


@given(st.lists(MESSAGES, max_size=12), st.data())
def test_every_record_ends_in_exactly_one_place(
    small_artifact: Artifact, messages: list[bytes | None], data: st.DataObject
) -> None:
    records = [Record(message, str(position)) for position, message in enumerate(messages)]
    some = st.frozensets(st.sampled_from([record.origin for record in records] or ["none"]))
    sink, rejects = FakeSink(data.draw(some)), FakeSink(data.draw(some))
    result = service(sink, rejects).process(VersionScorer(small_artifact), "sqs", records)
    returned = [records[position].origin for position in result.returned]
    assert sorted(sink.origins + rejects.origins + returned) == sorted(record.origin for record in records)
    assert result.received == result.scored + result.rejected.total() + len(result.returned)
    assert result.scored == len(sink.taken)
    assert result.rejected.total() == len(rejects.taken)


@given(st.lists(MESSAGES, min_size=1, max_size=12))
def test_poison_costs_itself_only_and_each_event_gets_the_score_that_it_gets_alone(
    small_artifact: Artifact, messages: list[bytes | None]
) -> None:
    together = score_messages(small_artifact, messages, NOW)
    alone = [score_messages(small_artifact, [message], NOW)[0] for message in messages]
    for one, other in zip(together, alone, strict=True):
        if isinstance(one, Answer):
            assert one == other
        else:
            assert isinstance(other, ContractViolation)
            assert one.reason == other.reason


@pytest.mark.parametrize("count", [1, 2, 17, 1000])
def test_a_batch_of_any_size_is_one_run(small_artifact: Artifact, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    runs: list[int] = []
    score = small_artifact.session.score

    def counted(columns: Any) -> Any:
        runs.append(len(columns["numbers"]))
        return score(columns)

    monkeypatch.setattr(small_artifact.session, "score", counted)
    sink = FakeSink()
    records = [Record(small_model.message(), str(position)) for position in range(count)]
    service(sink, FakeSink()).process(VersionScorer(small_artifact), "sqs", [*records, Record(b"poison", "p")])
    assert runs == [count]
    assert sink.calls == 1


def test_a_batch_of_nothing_but_poison_runs_no_graph_and_calls_no_sink(small_artifact: Artifact) -> None:
    sink, rejects = FakeSink(), FakeSink()
    result = service(sink, rejects).process(
        VersionScorer(small_artifact), "sqs", [Record(b"x", "1"), Record(None, "2")]
    )
    assert (sink.calls, rejects.calls) == (0, 1)
    assert result.rejected == {"not_json": 1, "tombstone": 1}


def test_an_answer_says_what_was_decided_by_which_version_and_when(small_artifact: Artifact) -> None:
    sink = FakeSink()
    fields = small_model.event(amount=500, order=42)
    record = Record(json.dumps(fields).encode(), "m-1")
    service(sink, FakeSink()).process(VersionScorer(small_artifact), "sqs", [record])
    answer = json.loads(sink.taken[0].body)
    assert answer.pop("score") == pytest.approx(small_model.expected_score(fields), abs=1e-6)
    assert answer == {
        "event_id": 42,
        "decision": "decline",
        "model": "small",
        "version": "v1",
        "scored_at": "2026-11-21T10:15:00.123Z",
    }
    assert dict(sink.taken[0].attributes) == {"source": "sqs", "origin": "m-1"}


def test_a_rejection_holds_the_original_bytes_the_reason_and_where_it_came_from(small_artifact: Artifact) -> None:
    rejects = FakeSink()
    payload = small_model.message(amount="\x00twelve")
    service(FakeSink(), rejects).process(VersionScorer(small_artifact), "kinesis", [Record(payload, "shard:7")])
    rejection = json.loads(rejects.taken[0].body)
    assert base64.b64decode(rejection.pop("payload")) == payload
    assert rejection == {
        "reason": "wrong_type",
        "field": "amount",
        "detail": "expected a number from 0 to 1000; got a string",
        "model": "small",
        "version": "v1",
        "source": "kinesis",
        "origin": "shard:7",
        "rejected_at": "2026-11-21T10:15:00.123Z",
        "part": 1,
        "parts": 1,
    }


@given(st.integers(0, 3), st.integers(-1, 1))
def test_a_record_too_large_for_one_message_is_rejected_in_parts_and_nothing_is_cut(parts: int, more: int) -> None:
    payload = bytes(range(256)) * (max(0, parts * PART_BYTES + more) // 256 + 1)
    violation = ContractViolation("too_large", "x" * 2000, "f" * 2000)
    messages = rejection_messages(
        Record(payload, "m"), violation, model="m", version="v", source="sqs", rejected_at="now"
    )
    bodies = [json.loads(message.body) for message in messages]
    assert b"".join(base64.b64decode(body["payload"]) for body in bodies) == payload
    assert [(body["part"], body["parts"]) for body in bodies] == [(n + 1, len(bodies)) for n in range(len(bodies))]
    assert all(len(message.body.encode()) < 1_000_000 for message in messages)


def test_a_record_of_which_one_part_was_not_taken_is_returned(small_artifact: Artifact) -> None:
    class TakesOnlyFirstParts(FakeSink):
        def deliver(self, messages: Sequence[Message], *_: object) -> Mapping[int, NotTaken]:
            return {
                i: NotTaken("throttled")
                for i, message in enumerate(messages)
                if msgspec.json.decode(message.body)["part"] > 1
            }

    big = Record(b"x" * (PART_BYTES + 1), "big")
    result = service(FakeSink(), TakesOnlyFirstParts()).process(
        VersionScorer(small_artifact), "sqs", [big, Record(b"y", "small")]
    )
    assert list(result.returned) == [0]
    assert result.rejected == {"not_json": 1}


def test_a_reason_that_no_encoder_takes_is_told_all_the_same() -> None:
    violation = ContractViolation("duplicate_key", "\ud800", "\ud800" * 300)
    (message,) = rejection_messages(
        Record(b"x", "m"), violation, model="m", version="v", source="sqs", rejected_at="now"
    )
    assert json.loads(message.body)["field"] == "?" * 128
