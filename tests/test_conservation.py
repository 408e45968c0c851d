"""Nothing is lost: for any batch of any source, whatever the sink, the reject queue and the clock do.

Every record is exactly one of: scored and delivered, rejected and delivered to the reject queue, returned. What runs here is the function
itself, with the fakes of `fake_services` behind both queues.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import small_model
from eventscore.artifact import Artifact
from eventscore.delivery.route import Discard, Route, RoutedSink
from eventscore.delivery.sqs import SqsSink
from eventscore.records import Record
from eventscore.scorer import VersionScorer
from eventscore.scoring import Answer, score_messages
from eventscore.service import NOT_SCORED, BatchResult, ScoringService
from eventscore.sources.recognise import recognise
from eventscore.time_left import RESERVE_S, TimeLeft
from fake_services import SINKS, FakeService, Verdict, Waits, message
from test_sources import kafka, kinesis, sqs

NOW = datetime(2026, 11, 21, 10, 15, tzinfo=UTC)
POISON = [
    *(b"", b"no json", b"\xff", b"{}", b"[" * 3000, b'"\\ud800"', b"\x1f\x8b\x08\x00", b"NaN", b"9" * 1999),
    *(small_model.message(amount=-1), small_model.message(order=...), b'{"order": 1, ' + small_model.message()[1:]),
]
GOOD = st.builds(
    small_model.message,
    order=st.sampled_from(["o-1", "o-2", 7, "7", "é"]),  # few, so that duplicates are many
    amount=st.floats(0, 1000),
    country=st.sampled_from([None, "FR", "DE", "unseen"]),
)
PAYLOADS = st.lists(GOOD | GOOD | st.sampled_from(POISON), min_size=1, max_size=40)
VERDICTS: st.SearchStrategy[Verdict] = st.sampled_from(
    [None, None, None, "throttled", "refused", "unavailable", "timeout", "denied"]
)


def text(payload: bytes) -> str:
    """A payload as an SQS body, which is text already."""
    return payload.decode("utf-8", "replace")


def invocations(payloads: Sequence[bytes], data: st.DataObject) -> Any:
    """The payloads as a batch of some source."""
    match data.draw(st.sampled_from(["sqs", "fifo", "kinesis", "kafka"])):
        case "sqs":
            return sqs(*map(text, payloads))
        case "fifo":
            return sqs(*map(text, payloads), fifo=True)
        case "kinesis":
            return kinesis(*payloads)
        case _:
            partitions: dict[str, list[bytes | None]] = {}
            for payload in payloads:
                partitions.setdefault(f"t-{data.draw(st.integers(0, 2))}", []).append(payload or None)
            return kafka(partitions)


class Boundary:
    """A fake queue whose verdicts are drawn: each origin has a script of what becomes of it, try after try."""

    def __init__(self, data: st.DataObject) -> None:
        # Drawn before the sinks' threads start, who come in any order.
        self._scripts = data.draw(
            st.just([[None]]) | st.lists(st.lists(VERDICTS, min_size=1, max_size=3), min_size=1, max_size=7)
        )
        self.service = FakeService(self._verdict)

    def _verdict(self, origin: str, tries: int) -> Verdict:
        script = self._scripts[crc32(origin.encode()) % len(self._scripts)]
        return script[min(tries, len(script) - 1)]


def process(
    artifact: Artifact, invocation: Any, sink: Any, rejects: Any, time_left: TimeLeft | None = None
) -> tuple[BatchResult, list[Record]]:
    source = recognise(invocation)
    records = source.records(invocation)
    scoring = ScoringService(sink, rejects, lambda: NOW)
    left = time_left or TimeLeft(lambda: 60.0)
    return scoring.process(VersionScorer(artifact), source.name, records, left, source.lanes(invocation)), records


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(payloads=PAYLOADS, data=st.data())
def test_every_record_of_any_batch_ends_in_exactly_one_place(
    small_artifact: Artifact, payloads: list[bytes], data: st.DataObject
) -> None:
    invocation = invocations(payloads, data)
    answers, rejects = Boundary(data), Boundary(data)
    kind = data.draw(st.sampled_from(sorted(SINKS)))
    waits = Waits(remaining_s=data.draw(st.sampled_from([60.0, 2.0, 0.8])))
    result, records = process(
        small_artifact,
        invocation,
        SINKS[kind](answers.service, waits.backoff),
        SqsSink("https://rejects", rejects.service, waits.backoff),  # type: ignore[arg-type] # a fake
        TimeLeft(lambda: waits.remaining_s),
    )
    ended = Counter(answers.service.taken) + Counter(rejects.service.taken)
    ended.update(records[place].origin for place in result.returned)
    # A call that timed out may have been taken by a real service, and is then sent again: at least once. The fake takes none of it.
    assert ended == Counter(record.origin for record in records)
    assert result.received == len(records) == result.scored + result.rejected.total() + len(result.returned)
    assert result.scored == len(answers.service.taken)
    assert result.rejected.total() == len(rejects.service.taken)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(payloads=PAYLOADS, data=st.data())
def test_the_source_sends_again_all_that_was_returned_and_names_it_as_it_must(
    small_artifact: Artifact, payloads: list[bytes], data: st.DataObject
) -> None:
    invocation = invocations(payloads, data)
    answers, rejects = Boundary(data), Boundary(data)
    waits = Waits()
    result, _ = process(
        small_artifact,
        invocation,
        SINKS["sqs"](answers.service, waits.backoff),
        SqsSink("https://rejects", rejects.service, waits.backoff),  # type: ignore[arg-type] # a fake
    )
    named = [
        item["itemIdentifier"]
        for item in recognise(invocation).response(invocation, result.returned)["batchItemFailures"]
    ]
    if "records" in invocation:
        places = [(partition, each["offset"]) for partition, of in invocation["records"].items() for each in of]
        lowest: dict[str, int] = {}
        for place in sorted(result.returned):
            lowest.setdefault(*places[place])
        assert named == [{"partition": partition, "offset": offset} for partition, offset in lowest.items()]
        again = {
            place for place, (partition, offset) in enumerate(places) if offset >= lowest.get(partition, offset + 1)
        }
    else:
        first = invocation["Records"][0]
        identifiers = [each.get("messageId") or each["kinesis"]["sequenceNumber"] for each in invocation["Records"]]
        if first["eventSource"] == "aws:kinesis":
            assert named == [identifiers[place] for place in sorted(result.returned)][:1]
            again = set(range(min(result.returned, default=len(identifiers)), len(identifiers)))
        else:
            again = {place for place, identifier in enumerate(identifiers) if identifier in named}
            assert len(named) == len(again)
            if not first["eventSourceARN"].endswith(".fifo"):
                assert again == result.returned.keys()
    assert again >= result.returned.keys()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(payloads=PAYLOADS, data=st.data())
def test_while_a_queue_is_down_nothing_of_a_stream_is_delivered_again_at_every_try(
    small_artifact: Artifact, payloads: list[bytes], data: st.DataObject
) -> None:
    """The source comes back from the lowest failure on; until the queue works again, it finds all there delivered at most once more."""
    down = data.draw(st.sampled_from(["sink", "reject queue"]))
    dead, alive = FakeService(lambda *_: "denied"), FakeService()
    waits = Waits()
    sink = SINKS["sqs"](dead if down == "sink" else alive, waits.backoff)
    rejects: Any = SqsSink("https://rejects", dead if down != "sink" else alive, waits.backoff)  # type: ignore[arg-type]
    invocation = kinesis(*payloads)
    for _ in range(5):
        result, _records = process(small_artifact, invocation, sink, rejects)
        if not result.returned:
            break
        invocation = {"Records": invocation["Records"][min(result.returned) :]}
    assert max(Counter(alive.taken).values(), default=0) <= 2
    assert dead.taken == []


@pytest.mark.parametrize("size", [1, 2, 3, 10, 100, 1000])
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_poison_at_any_place_costs_itself_only_bit_for_bit(
    small_artifact: Artifact, size: int, data: st.DataObject
) -> None:
    good = [
        small_model.message(order=f"o-{n}", amount=n % 997 / 3, country=["FR", "DE", "x"][n % 3]) for n in range(size)
    ]
    alone = [score_messages(small_artifact, [each], NOW)[0] for each in good]
    batch: list[bytes | None] = list(good)
    for _ in range(data.draw(st.integers(0, 5))):
        batch.insert(data.draw(st.integers(0, len(batch))), data.draw(st.sampled_from([None, *POISON])))
    together = [each for each in score_messages(small_artifact, batch, NOW) if isinstance(each, Answer)]
    assert together == alone  # dataclass equality of floats: the same bits, as no score is NaN or a zero of either sign
    assert [each.score.hex() for each in together] == [each.score.hex() for each in alone if isinstance(each, Answer)]


class Clock:
    """An invocation's time: what remains, and what scoring an event takes of it."""

    def __init__(self, remaining_s: float, event_s: float) -> None:
        self.remaining_s = remaining_s
        self.event_s = event_s
        self.now = 0.0

    def scoring(self, artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Let the session take its time; the answer lists the sizes of its runs."""
        runs: list[int] = []
        score = artifact.session.score

        def slow(columns: Any) -> Any:
            count = len(columns["numbers"])
            runs.append(count)
            self.now += count * self.event_s
            self.remaining_s -= count * self.event_s
            return score(columns)

        monkeypatch.setattr(artifact.session, "score", slow)
        return runs

    @property
    def left(self) -> TimeLeft:
        return TimeLeft(lambda: self.remaining_s)


def test_close_to_the_timeout_it_stops_taking_work_delivers_what_is_scored_and_returns_the_rest(
    small_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(remaining_s=60, event_s=0.01)
    runs = clock.scoring(small_artifact, monkeypatch)
    service = FakeService()
    sink = SINKS["sqs"](service, Waits().backoff)
    scoring = ScoringService(sink, sink, lambda: NOW, lambda: clock.now)
    records = [Record(small_model.message(order=n + 1), f"m-{n}") for n in range(1000)]
    first = scoring.process(VersionScorer(small_artifact), "sqs", records, clock.left)
    assert (first.scored, runs) == (1000, [1000]), "with time enough, one batch is one run"
    clock.remaining_s = 4 + RESERVE_S
    service.taken.clear()
    second = scoring.process(VersionScorer(small_artifact), "sqs", records, clock.left)
    assert runs == [1000, 200], "half of 4 s are 200 events of 10 ms"
    assert (second.scored, len(second.returned)) == (200, 800)
    assert sorted(service.taken) == sorted(f"m-{n}" for n in range(200))
    assert set(second.returned.values()) == {NOT_SCORED}
    assert min(second.returned) == 200
    assert clock.remaining_s >= RESERVE_S


def test_one_batch_that_took_very_long_does_not_cut_all_later_ones_short(
    small_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(remaining_s=60, event_s=0.2)
    runs = clock.scoring(small_artifact, monkeypatch)
    service = FakeService()
    sink = SINKS["sqs"](service, Waits().backoff)
    scoring = ScoringService(sink, sink, lambda: NOW, lambda: clock.now)
    records = [Record(small_model.message(order=n + 1), f"m-{n}") for n in range(100)]
    scorer = VersionScorer(small_artifact)
    scoring.process(scorer, "sqs", records, clock.left)
    clock.event_s = 1e-4  # whatever it was, it has passed
    for _ in range(2):
        clock.remaining_s = 20
        last = scoring.process(scorer, "sqs", records, clock.left)
    assert runs == [100, 48, 100]
    assert not last.returned


@pytest.mark.parametrize("remaining_s", [0.0, RESERVE_S, RESERVE_S + 1e-9])
def test_without_time_nothing_is_scored_or_sent_and_everything_returned(
    small_artifact: Artifact, monkeypatch: pytest.MonkeyPatch, remaining_s: float
) -> None:
    runs = Clock(0, 0).scoring(small_artifact, monkeypatch)
    service = FakeService()
    sink = SINKS["sqs"](service, Waits().backoff)
    invocation = kafka({"t-0": [small_model.message(), b"poison"], "t-1": [small_model.message()]})
    result, _ = process(small_artifact, invocation, sink, sink, TimeLeft(lambda: remaining_s))
    assert (result.scored, result.rejected.total(), len(result.returned)) == (0, 0, 3)
    assert runs == service.calls == []
    named = recognise(invocation).response(invocation, result.returned)["batchItemFailures"]
    assert [item["itemIdentifier"]["offset"] for item in named] == [10, 10]


def test_time_that_runs_out_while_delivering_returns_what_was_not_sent(small_artifact: Artifact) -> None:
    remaining = [10.0]

    def verdict(_origin: str, _tries: int) -> Verdict:
        remaining[0] -= 0.1
        return None

    service = FakeService(verdict)
    sink = SINKS["sqs"](service, Waits().backoff)
    result, records = process(
        small_artifact,
        kinesis(*(small_model.message(order=n + 1) for n in range(200))),
        sink,
        sink,
        TimeLeft(lambda: remaining[0]),
    )
    assert 0 < result.scored < 200
    assert result.scored == len(service.taken)
    assert [record.origin for place, record in enumerate(records) if place not in result.returned] == sorted(
        service.taken, key=lambda origin: int(origin.partition(":")[2])
    )


def test_the_context_says_how_much_time_is_left() -> None:
    class Context:
        def get_remaining_time_in_millis(self) -> int:
            return 2500

    assert TimeLeft.of(Context()).seconds() == 2.5 - RESERVE_S
    assert TimeLeft.of(None).seconds() == float("inf")


def test_an_answer_that_no_sink_can_take_is_rejected_with_its_event_and_not_lost(
    small_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqsSink, "max_entry_bytes", 330)
    answers, rejects = FakeService(), FakeService()
    long = small_model.message(order="o" * 250)
    sink = SINKS["sqs"](answers, Waits().backoff)
    monkeypatch.setattr(rejects, "send_message_batch", rejects.send_message_batch)
    reject_sink = SINKS["sqs"](rejects, Waits().backoff)
    reject_sink.max_entry_bytes = 2**20  # type: ignore[misc] # the reject queue takes more than this sink
    result, _ = process(small_artifact, kinesis(small_model.message(), long, small_model.message()), sink, reject_sink)
    assert result.rejected == {"answer_too_large": 1}
    assert (result.scored, result.returned) == (2, {})
    [rejection] = [json.loads(entry["MessageBody"]) for entry in rejects.calls[0]]
    assert rejection["reason"] == "answer_too_large"
    assert rejection["detail"].startswith("its answer is too large: ")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(payloads=PAYLOADS, data=st.data())
def test_with_several_sinks_a_record_counts_as_scored_only_when_every_sink_of_its_decision_took_it(
    small_artifact: Artifact, payloads: list[bytes], data: st.DataObject
) -> None:
    everything, declined = Boundary(data), Boundary(data)
    waits = Waits()
    sink = RoutedSink(
        [
            Route(SINKS["kinesis"](everything.service, waits.backoff)),
            Route(SINKS["eventbridge"](declined.service, waits.backoff), frozenset({"decline"})),
            Route(Discard(), frozenset({"accept"})),
        ]
    )
    rejects: Any = SINKS["sqs"](FakeService(), waits.backoff)
    invocation = invocations(payloads, data)
    result, records = process(small_artifact, invocation, sink, rejects)
    lanes = recognise(invocation).lanes(invocation)
    outcomes = score_messages(small_artifact, [record.payload for record in records], NOW)
    for place, (record, outcome) in enumerate(zip(records, outcomes, strict=True)):
        if isinstance(outcome, Answer):
            took = record.origin in everything.service.taken
            if outcome.decision == "decline":
                took = took and record.origin in declined.service.taken
            if lanes is None:
                assert (place not in result.returned) == took
            else:  # what is held back behind another record may have been on its way already
                assert took or place in result.returned
    assert result.received == result.scored + result.rejected.total() + len(result.returned)


def test_the_fakes_would_notice_a_loss() -> None:
    service = FakeService(lambda origin, _: "refused" if origin == "o-1" else None)
    SINKS["sqs"](service, Waits().backoff).deliver([message(0), message(1)])
    assert service.taken == ["o-0"]
