"""Conservation: every record of a batch is scored and delivered, rejected and delivered, or returned."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import small_model
from eventscore.artifact import Artifact
from eventscore.columns import Table
from eventscore.contract import parse_contract
from eventscore.decoding import Decoded
from eventscore.delivery.rejection import PART_BYTES, rejection_messages
from eventscore.delivery.sink import Message, NotTaken
from eventscore.errors import ContractViolation
from eventscore.records import Record
from eventscore.scorer import VersionScorer
from eventscore.scoring import Answer, score_messages
from eventscore.service import ScoringService
from eventscore.time_left import NO_LIMIT
from test_several_scores import CLASSES

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


class ScoresOf:
    """A graph that answers what it is told."""

    def __init__(self, scores: Any) -> None:
        self.scores = np.asarray(scores, np.float32)

    def score(self, _: object) -> Any:
        return self.scores


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_a_rejection_and_no_answer(small_artifact: Artifact, bad: float) -> None:
    artifact = msgspec.structs.replace(small_artifact, session=ScoresOf([0.25, bad, 0.75]))
    payloads = [small_model.message(order=f"o-{n}") for n in range(3)]
    records = [Record(payload, str(n)) for n, payload in enumerate([payloads[0], b"poison", *payloads[1:]])]
    sink, rejects = FakeSink(), FakeSink()
    result = service(sink, rejects).process(VersionScorer(artifact), "sqs", records)
    answers = [json.loads(message.body) for message in sink.taken]
    assert [(answer["event_id"], answer["score"]) for answer in answers] == [("o-0", 0.25), ("o-2", 0.75)]
    assert (result.scored, result.rejected, result.returned) == (2, {"not_json": 1, "score_not_finite": 1}, {})
    rejected = {body["reason"]: body for body in (json.loads(message.body) for message in rejects.taken)}
    assert base64.b64decode(rejected["score_not_finite"]["payload"]) == payloads[1], (
        "to be scored again by a better one"
    )
    assert rejected["score_not_finite"]["version"] == "v1"


def test_an_event_of_several_scores_is_rejected_for_one_that_is_no_number() -> None:
    contract = parse_contract(CLASSES.encode(), "classes")
    decoder = SimpleNamespace(decode_all=lambda messages: Decoded(messages, Table({}, [], []), {}))
    artifact: Any = SimpleNamespace(
        model="m",
        version="v",
        contract=contract,
        decoder=decoder,
        session=ScoresOf([[0.1, 0.7, 0.2], [0.9, -math.inf, 0.1], [0.3, 0.3, 0.4]]),
    )
    first, second, third = score_messages(artifact, [b"a", b"b", b"c"], NOW)
    assert isinstance(second, ContractViolation)
    assert second.reason == "score_not_finite"
    assert isinstance(first, Answer)
    assert isinstance(third, Answer)
    assert (first.event_id, third.event_id) == (b"a", b"c")


def test_while_the_reject_queue_is_down_nothing_behind_an_answer_too_large_goes_out() -> None:
    class Narrow(FakeSink):
        def deliver(self, messages: Sequence[Message], *_: object) -> Mapping[int, NotTaken]:
            large = {
                place: NotTaken("too large", permanent=True)
                for place, message in enumerate(messages)
                if len(message.body) > 80_000
            }
            super().deliver([message for place, message in enumerate(messages) if place not in large])
            return large

    class Wide:
        """Answers with as many characters as the payload says, as a model of many classes would."""

        model, version, is_rule, memory_bytes = "m", "v", False, 0

        def score(self, payloads: Sequence[bytes | None], _: datetime) -> list[Any]:
            return [Answer("e" * int(payload or 0), 0.5, None, "m", "v", "now") for payload in payloads]

    sizes = (1, 70_000, 100_000, 1, 1, 100_000, 1)
    records = [Record(str(size).encode(), str(n)) for n, size in enumerate(sizes)]
    lanes = ["a", "a", "a", "a", "b", "a", "a"]

    sink, rejects = Narrow(), FakeSink(frozenset({"2"}))
    for _ in range(3):  # as often as its source comes back
        result = service(sink, rejects).process(Wide(), "kinesis", records, NO_LIMIT, lanes)
        assert sorted(result.returned) == [2, 3, 5, 6]
        assert result.scored == 3
    assert set(sink.origins) == {"0", "1", "4"}
    assert rejects.taken == []

    sink, rejects = Narrow(), FakeSink()
    result = service(sink, rejects).process(Wide(), "kinesis", records, NO_LIMIT, lanes)
    assert (result.scored, result.rejected, result.returned) == (5, {"answer_too_large": 2}, {})
    assert [origin for origin in sink.origins if origin != "4"] == ["0", "1", "3", "6"], "in order in their lane"
    assert rejects.origins == ["2", "5"]
