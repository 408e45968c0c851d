"""Every sink that is called with many messages: limits, retries item by item, time, order."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventscore.delivery.backoff import Backoff
from eventscore.delivery.call_failure import call_failure
from eventscore.delivery.fifo import deduplication_id, group_id
from eventscore.delivery.sink import HELD_BACK, Message, NotTaken
from eventscore.time_left import RESERVE_S, TimeLeft
from fake_services import SINKS, Answer, FakeService, Waits, message, origin_of

EVERY_SINK = pytest.mark.parametrize("name", SINKS)
ENTRIES = {"sqs": 10, "fifo": 10, "sns": 10, "kinesis": 500, "firehose": 500, "eventbridge": 10}
CALL_BYTES = {
    "sqs": 2**20,
    "fifo": 2**20,
    "sns": 2**18,
    "kinesis": 5 * 2**20,
    "firehose": 4 * 2**20,
    "eventbridge": 2**18 - 1,
}
ENTRY_BYTES = {**CALL_BYTES, "kinesis": 2**20, "firehose": 1_024_000}


def on_the_wire(entry: Any) -> int:
    """Bytes of an entry as the services' documentation counts them, counted in another way than the sinks do."""
    if "Data" in entry:
        return len(entry["Data"]) + len(entry.get("PartitionKey", "").encode())
    if "Detail" in entry:
        return sum(len(entry[name].encode()) for name in ("Source", "DetailType", "Detail"))
    attributes = entry["MessageAttributes"].items()
    text = str(entry.get("MessageBody", entry.get("Message")))
    return len(text.encode()) + sum(
        len(f"{name}{of['DataType']}{of['StringValue']}".encode()) for name, of in attributes
    )


@EVERY_SINK
def test_many_messages_go_out_in_as_few_calls_as_the_service_allows(name: str) -> None:
    service = FakeService()
    assert SINKS[name](service, Backoff()).deliver([message(n) for n in range(1234)]) == {}
    assert sorted(service.taken) == sorted(f"o-{n}" for n in range(1234))
    assert len(service.calls) == -(-1234 // ENTRIES[name])


@EVERY_SINK
@settings(deadline=None, max_examples=25)
@given(sizes=st.lists(st.integers(0, 1_100_000) | st.integers(0, 300), max_size=14))
def test_no_call_is_over_the_limits_and_only_what_fits_in_none_is_refused_for_good(name: str, sizes: list[int]) -> None:
    service = FakeService()
    messages = [message(n, size=size) for n, size in enumerate(sizes)]
    not_taken = SINKS[name](service, Backoff()).deliver(messages)
    for call in service.calls:
        assert len(call) <= ENTRIES[name]
        assert sum(map(on_the_wire, call)) <= CALL_BYTES[name]
        assert all(on_the_wire(entry) <= ENTRY_BYTES[name] for entry in call)
    assert sorted(service.taken) == sorted(f"o-{n}" for n in range(len(sizes)) if n not in not_taken)
    for position, failure in not_taken.items():
        assert failure.permanent
        assert sizes[position] > ENTRY_BYTES[name] - 400
        assert f"takes at most {ENTRY_BYTES[name]}" in failure.reason


@EVERY_SINK
def test_only_what_was_throttled_is_sent_again_and_everything_arrives_once(name: str) -> None:
    service = FakeService(lambda origin, tries: "throttled" if int(origin[2:]) % 7 == 3 and tries < 3 else None)
    waits = Waits()
    assert SINKS[name](service, waits.backoff).deliver([message(n) for n in range(100)]) == {}
    assert sorted(service.taken) == sorted(f"o-{n}" for n in range(100))
    assert {origin: tries for origin, tries in service.tries.items() if tries > 1} == {
        f"o-{n}": 4 for n in range(3, 100, 7)
    }
    assert waits.waited == [0.05, 0.05, 0.1], "the second and third round took nothing at all"


@EVERY_SINK
@pytest.mark.parametrize("verdict", ["unavailable", "timeout"])
def test_a_call_that_fails_as_a_whole_for_what_passes_is_tried_again(name: str, verdict: str) -> None:
    service = FakeService(lambda _, tries: verdict if tries == 0 else None)
    assert SINKS[name](service, Waits().backoff).deliver([message(n) for n in range(5)]) == {}
    assert service.taken == [f"o-{n}" for n in range(5)]


@EVERY_SINK
def test_what_will_not_pass_is_not_tried_again(name: str) -> None:
    service = FakeService(lambda origin, _: "refused" if origin == "o-1" else None)
    waits = Waits()
    failures = SINKS[name](service, waits.backoff).deliver([message(n) for n in range(3)])
    assert list(failures) == [1]
    assert not failures[1].permanent, "it is returned to its source, not lost"
    assert service.tries["o-1"] == 1
    assert SINKS[name](FakeService(lambda *_: "denied"), waits.backoff).deliver([message(0)]).keys() == {0}
    assert waits.waited == []


def test_a_sink_that_stays_throttled_is_given_up_after_waits_that_double() -> None:
    waits = Waits()
    service = FakeService(lambda *_: "throttled")
    failures = SINKS["sqs"](service, waits.backoff).deliver([message(0), message(1)])
    assert sorted(failures) == [0, 1]
    assert waits.waited == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6]
    assert service.tries == {"o-0": 7, "o-1": 7}


@given(st.floats(0, 1), st.integers(1, 100))
def test_a_wait_is_a_random_part_of_a_bound_that_doubles_up_to_a_cap(chance: float, tries: int) -> None:
    wait_s = Backoff(base_s=0.05, cap_s=3.2, chance=lambda: chance).wait_s(tries)
    assert 0 <= wait_s <= min(3.2, 0.05 * 2.0 ** (tries - 1))
    assert wait_s == pytest.approx(chance * min(3.2, 0.05 * 2.0 ** (tries - 1)))


@settings(deadline=None)
@given(st.floats(0, 6))
def test_nobody_waits_longer_than_the_invocation_has(remaining_s: float) -> None:
    waits = Waits(remaining_s)
    service = FakeService(lambda *_: "throttled")
    failures = SINKS["kinesis"](service, waits.backoff).deliver([message(0)], TimeLeft(lambda: waits.remaining_s))
    assert list(failures) == [0]
    assert waits.remaining_s >= min(RESERVE_S, remaining_s)
    assert len(service.calls) == len(waits.waited) + (remaining_s > RESERVE_S)


@EVERY_SINK
def test_without_time_nothing_is_sent(name: str) -> None:
    service = FakeService()
    failures = SINKS[name](service, Backoff()).deliver([message(0), message(1)], TimeLeft(lambda: RESERVE_S))
    assert set(failures) == {0, 1}
    assert service.calls == []


def test_a_call_that_hangs_is_not_waited_for_beyond_the_time_left() -> None:
    released = threading.Event()

    class Hangs(FakeService):
        def send_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> Any:  # noqa: N803
            if Entries[0]["Id"] == "0":
                released.wait()
            return super().send_message_batch(QueueUrl=QueueUrl, Entries=Entries)

    remaining = iter([1.0])
    service = Hangs()
    failures = SINKS["sqs"](service, Backoff()).deliver(
        [message(n) for n in range(20)], TimeLeft(lambda: next(remaining, 0.6))
    )
    released.set()
    assert failures == {n: NotTaken("no answer before the invocation's time was over") for n in range(10)}


@EVERY_SINK
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_in_order_nothing_goes_out_behind_a_failure_that_is_known(name: str, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 60))
    lanes = [data.draw(st.integers(0, 2)) for _ in range(count)]
    bad = data.draw(st.dictionaries(st.integers(0, count - 1), st.sampled_from(["refused", "throttled"]), max_size=3))
    service = FakeService(lambda origin, _: bad.get(int(origin[2:])))
    failures = SINKS[name](service, Waits().backoff).deliver([message(n) for n in range(count)], lanes=lanes)
    assert {int(origin[2:]) for origin in service.taken}.isdisjoint(failures)
    assert len(service.taken) + len(failures) == count
    assert len(set(service.taken)) == len(service.taken)
    rounds = 4 * ENTRIES[name]
    for lane in set(lanes):
        lowest = min((n for n in bad if lanes[n] == lane), default=count)
        if lowest < count:
            assert lowest in failures
            beyond = [n for n in range(count) if lanes[n] == lane and n > lowest and n not in failures]
            assert all(n < lowest + rounds for n in beyond), "only what went out side by side with the failure"


def test_one_at_a_time_stays_in_order_while_something_before_it_is_tried_again() -> None:
    service = FakeService(lambda origin, tries: "throttled" if origin == "o-0" and tries < 3 else None)
    assert SINKS["sqs"](service, Waits().backoff).deliver([message(n) for n in range(100)], lanes=[0] * 100) == {}
    assert len(service.taken) == 100
    assert set(service.taken[40:]) == {f"o-{n}" for n in range(40, 100)}
    assert service.taken[39] == "o-0", "behind it only the entries of the same round had gone out"


def test_what_is_held_back_says_so() -> None:
    service = FakeService(lambda origin, _: "refused" if origin == "o-0" else None)
    failures = SINKS["sqs"](service, Waits().backoff).deliver([message(n) for n in range(100)], lanes=[0] * 100)
    assert [n for n, failure in failures.items() if failure == HELD_BACK] == list(range(40, 100))


@pytest.mark.parametrize("name", ["kinesis", "firehose", "eventbridge"])
def test_services_without_attributes_find_source_and_origin_in_the_body(name: str) -> None:
    service = FakeService()
    SINKS[name](service, Backoff()).deliver([message(1)])
    entry = service.calls[0][0]
    content = json.loads(entry.get("Data", entry.get("Detail")))
    assert content == {"event_id": "e-1", "pad": "", "source": "sqs", "origin": "o-1"}
    assert name != "firehose" or entry["Data"].endswith(b"}\n"), "objects in S3 hold a line for each"


def test_an_event_on_the_bus_can_be_matched_by_source_and_type() -> None:
    service = FakeService()
    SINKS["eventbridge"](service, Backoff()).deliver([message(1)])
    entry = service.calls[0][0]
    assert (entry["Source"], entry["DetailType"], entry["EventBusName"]) == ("eventscore", "Event scored", "scores")


def test_a_topics_subscribers_can_filter_by_decision() -> None:
    service = FakeService()
    SINKS["sns"](service, Backoff()).deliver([message(1, decision="decline"), message(2)])
    first, second = service.calls[0]
    assert first["MessageAttributes"]["decision"]["StringValue"] == "decline"
    assert "decision" not in second["MessageAttributes"]
    assert origin_of(first) == "o-1"


@given(st.text(min_size=1, max_size=256))
def test_any_event_id_makes_a_group_and_a_deduplication_id_that_a_fifo_queue_takes(event_id: str) -> None:
    one = Message("{}", {"origin": "o"}, Answer(event_id))
    for made in (group_id(one), deduplication_id(one)):
        assert 1 <= len(made) <= 128
        assert made.isascii()
        assert made.isprintable()
        assert " " not in made


def test_the_same_event_and_version_is_a_duplicate_in_a_fifo_queue_and_nothing_else_is() -> None:
    same = [Message(body, {"origin": body}, Answer("e-1")) for body in ("{}", '{"scored_at": 1}')]
    others = [
        Message("{}", {"origin": "o"}, answer)
        for answer in (Answer("e-2"), Answer("e-1", version="v2"), Answer(1), Answer("1"))
    ]
    assert len({deduplication_id(each) for each in same}) == 1
    assert len({deduplication_id(each) for each in (*same, *others)}) == 5
    assert len({group_id(each) for each in (*same, others[1])}) == 1
    rejections = [Message(body, {"origin": "m-1"}) for body in ('{"part": 1}', '{"part": 2}')]
    assert len({deduplication_id(each) for each in rejections}) == 2
    assert {group_id(each) for each in rejections} == {"m-1"}


def test_only_fifo_queues_are_given_groups() -> None:
    for name, expected in (("sqs", False), ("fifo", True)):
        service = FakeService()
        SINKS[name](service, Backoff()).deliver([message(1)])
        assert ("MessageGroupId" in service.calls[0][0]) is expected


def test_an_answer_that_forgets_an_entry_counts_as_a_failure_that_passes() -> None:
    class Forgets(FakeService):
        def put_records(self, *, StreamName: str, Records: Sequence[Any]) -> Any:  # noqa: N803
            answer = super().put_records(StreamName=StreamName, Records=Records)
            return {"Records": answer["Records"][:1]}

    failures = SINKS["kinesis"](Forgets(), Backoff(tries=0)).deliver([message(0), message(1)])
    assert failures == {1: NotTaken("the sink's answer does not mention the message")}


def test_what_an_unknown_error_says_is_not_repeated() -> None:
    failure = call_failure(ValueError("4111-1111"))
    assert (failure.reason, failure.transient) == ("ValueError", False)
