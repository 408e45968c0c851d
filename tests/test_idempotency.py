"""The optional table that remembers which events were sent on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

from eventscore.delivery.idempotency import EXPIRES_AT, KEY, OnceSink, parse_table
from eventscore.delivery.sink import Message, NotTaken
from eventscore.errors import SettingsInvalid
from eventscore.time_left import RESERVE_S, TimeLeft
from fake_services import Answer, Waits, message
from test_route import BROKEN, Memory

NOW = 1_800_000_000.0


@pytest.fixture
def table() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("dynamodb")
        make_table(client)
        yield client


def make_table(client: Any) -> None:
    """The table as the template makes it."""
    client.create_table(
        TableName="seen",
        KeySchema=[{"AttributeName": KEY, "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": KEY, "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    client.update_time_to_live(TableName="seen", TimeToLiveSpecification={"Enabled": True, "AttributeName": EXPIRES_AT})


class InMemoryTable:
    """A table that leaves some of a call undone, or fails, as it is told."""

    def __init__(self, undone: int = 0, fails: frozenset[str] = frozenset()) -> None:
        self.items: dict[str, Any] = {}
        self.undone = undone
        self.fails = fails
        self.calls: list[tuple[str, int]] = []

    def batch_get_item(self, *, RequestItems: Any) -> Any:  # noqa: N803
        keys = RequestItems["seen"]["Keys"]
        self._called("get", len(keys))
        done, left = self._split(keys)
        found = [self.items[key[KEY]["S"]] for key in done if key[KEY]["S"] in self.items]
        return {"Responses": {"seen": found}, "UnprocessedKeys": {"seen": {"Keys": left}} if left else {}}

    def batch_write_item(self, *, RequestItems: Any) -> Any:  # noqa: N803
        self._called("write", len(RequestItems["seen"]))
        done, left = self._split(RequestItems["seen"])
        for request in done:
            item = request["PutRequest"]["Item"]
            self.items[item[KEY]["S"]] = item
        return {"UnprocessedItems": {"seen": left} if left else {}}

    def _called(self, what: str, count: int) -> None:
        assert count <= {"get": 100, "write": 25}[what]
        self.calls.append((what, count))
        if what in self.fails:
            raise ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, what)

    def _split(self, things: list[Any]) -> tuple[list[Any], list[Any]]:
        left = min(self.undone, len(things))
        self.undone -= left
        return things[left:], things[:left]


def once(sink: Memory, client: Any, at: float = NOW) -> OnceSink:
    return OnceSink(sink, "seen", client, keep_s=3600, clock=lambda: at, backoff=Waits().backoff)


def test_a_redelivered_event_is_not_sent_on_twice(table: Any) -> None:
    sink = Memory()
    for _ in range(3):
        assert once(sink, table).deliver([message(n) for n in range(130)]) == {}
    assert sorted(sink.taken) == sorted(f"o-{n}" for n in range(130))


def test_what_was_not_taken_is_not_remembered(table: Any) -> None:
    assert once(Memory([1]), table).deliver([message(0), message(1)]) == {1: BROKEN}
    later = Memory()
    assert once(later, table).deliver([message(0), message(1)]) == {}
    assert later.taken == ["o-1"]


def test_what_is_remembered_is_forgotten_in_the_end(table: Any) -> None:
    sink = Memory()
    once(sink, table).deliver([message(0)])
    [item] = table.scan(TableName="seen")["Items"]
    assert item == {KEY: {"S": "small#s#e-0"}, EXPIRES_AT: {"N": str(int(NOW) + 3600)}}
    once(sink, table, NOW + 3599).deliver([message(0)])
    assert sink.taken == ["o-0"]
    once(sink, table, NOW + 3601).deliver([message(0)])
    assert sink.taken == ["o-0", "o-0"], "expired, though DynamoDB has not removed it yet"


def test_the_types_of_ids_and_the_models_differ() -> None:
    sink, table = Memory(), InMemoryTable()
    other = Answer("7")
    other.model = "other"
    answers = [Answer("7"), Answer(7), other]
    messages = [Message("{}", {"origin": f"o-{n}"}, answer) for n, answer in enumerate(answers)]
    assert once(sink, table).deliver(messages) == {}
    assert len(sink.taken) == len(table.items) == 3


def test_another_version_does_not_send_an_event_again() -> None:
    sink, table = Memory(), InMemoryTable()
    for version in ("v1", "v2"):
        once(sink, table).deliver([Message("{}", {"origin": version}, Answer("e-1", version=version))])
    assert sink.taken == ["v1"]


def test_of_two_messages_of_one_event_the_first_goes_out_and_the_other_shares_its_fate() -> None:
    twice = [Message("{}", {"origin": f"o-{n}"}, Answer("e-1")) for n in range(2)]
    sink = Memory()
    assert once(sink, InMemoryTable()).deliver(twice) == {}
    assert sink.taken == ["o-0"]
    assert once(Memory([0]), InMemoryTable()).deliver(twice) == {0: BROKEN, 1: BROKEN}


def test_a_batch_costs_one_read_for_a_hundred_events_and_one_write_for_twenty_five() -> None:
    table = InMemoryTable()
    once(Memory(), table).deliver([message(n) for n in range(250)])
    assert Counter(table.calls) == {("get", 100): 2, ("get", 50): 1, ("write", 25): 10}


def test_what_a_throttled_table_leaves_undone_is_tried_again() -> None:
    table = InMemoryTable(undone=3)
    assert once(Memory(), table).deliver([message(n) for n in range(10)]) == {}
    assert len(table.items) == 10
    assert table.calls == [("get", 10), ("get", 3), ("write", 10)]


@pytest.mark.parametrize("fails", [{"get"}, {"write"}, {"get", "write"}])
def test_a_table_that_does_not_answer_stops_nothing(fails: set[str]) -> None:
    sink = Memory()
    assert once(sink, InMemoryTable(fails=frozenset(fails))).deliver([message(n) for n in range(5)]) == {}
    assert len(sink.taken) == 5


def test_once_the_table_fails_the_rest_of_the_batch_does_not_wait_for_it() -> None:
    table = InMemoryTable(fails=frozenset({"get", "write"}))
    sink = Memory()
    assert once(sink, table).deliver([message(n) for n in range(3000)]) == {}
    assert len(sink.taken) == 3000
    assert len(table.calls) <= 2 * 2 * 4, "at most two of each of four threads, for the reads and for the writes"


def test_an_environment_that_dies_between_delivery_and_mark_loses_nothing() -> None:
    class Dies(InMemoryTable):
        def batch_write_item(self, *, RequestItems: Any) -> Any:  # noqa: N803
            raise SystemExit

    sink, table = Memory(), Dies()
    with pytest.raises(SystemExit):
        once(sink, table).deliver([message(0)])
    assert once(sink, InMemoryTable()).deliver([message(0)]) == {}
    assert sink.taken == ["o-0", "o-0"], "sent on twice, which is better than never"


def test_without_time_the_table_is_left_alone() -> None:
    table = InMemoryTable()
    once(Memory(), table).deliver([message(0)], TimeLeft(lambda: 0.0))
    assert table.calls == []


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 6), max_size=8), min_size=1, max_size=4), st.data())
def test_whatever_is_redelivered_every_event_is_taken_at_least_once_and_each_record_has_one_fate(
    batches: list[list[int]], data: st.DataObject
) -> None:
    table = InMemoryTable()
    taken: set[int] = set()
    for events in batches:
        sink = Memory(data.draw(st.lists(st.integers(0, 8), max_size=2)))
        messages = [Message("{}", {"origin": f"o-{n}"}, Answer(event)) for n, event in enumerate(events)]
        lanes = data.draw(st.none() | st.just([0] * len(events)))
        failures = once(sink, table).deliver(messages, lanes=lanes)
        sent = [events[int(origin[2:])] for origin in sink.taken]
        assert not taken.intersection(sent), "nothing that was taken goes out again"
        assert len(set(sent)) == len(sent)
        taken.update(sent)
        for position, event in enumerate(events):
            assert (position in failures) == (event not in taken)


@pytest.mark.parametrize(("text", "expected"), [("seen", ("seen", 86_400)), ("a.b-c?hours=48", ("a.b-c", 172_800))])
def test_the_setting_names_the_table_and_how_long_it_remembers(text: str, expected: tuple[str, int]) -> None:
    assert parse_table(text) == expected


@pytest.mark.parametrize("text", ["a", "a b c", "seen?hours=0", "seen?days=1", "seen?hours=1&hours=2"])
def test_what_names_no_table_is_refused(text: str) -> None:
    with pytest.raises(SettingsInvalid, match="EVENTSCORE_IDEMPOTENCY_TABLE: expected <table>"):
        parse_table(text)


def test_a_permanent_failure_is_not_remembered_either() -> None:
    table = InMemoryTable()
    too_large = NotTaken("too large", permanent=True)
    assert once(Memory([0], too_large), table).deliver([message(0)]) == {0: too_large}
    assert table.items == {}


def test_a_row_that_does_not_say_when_it_expires_stops_nothing() -> None:
    sink, table = Memory(), InMemoryTable()
    table.items["small#s#e-0"] = {KEY: {"S": "small#s#e-0"}}
    assert once(sink, table).deliver([message(0), message(1)]) == {}
    assert sink.taken == ["o-0", "o-1"], "better twice than never"


@pytest.mark.parametrize(("left_s", "asked"), [(2.9, []), (3.1, ["get", "write"])])
def test_a_table_is_asked_only_while_there_is_time_for_its_slowest_answer(left_s: float, asked: list[str]) -> None:
    sink, table = Memory(), InMemoryTable()
    once(sink, table).deliver([message(0)], TimeLeft(lambda: left_s + RESERVE_S))
    assert [what for what, _ in table.calls] == asked
    assert sink.taken == ["o-0"]


def test_a_throttled_table_is_asked_again_only_while_there_is_time_for_its_slowest_answer() -> None:
    table = InMemoryTable(undone=1000)
    waits = Waits(remaining_s=3.05)
    sink = Memory()
    guarded = OnceSink(sink, "seen", table, keep_s=3600, clock=lambda: NOW, backoff=waits.backoff)  # type: ignore[arg-type]
    guarded.deliver([message(0)], TimeLeft(lambda: waits.remaining_s + RESERVE_S))
    assert sink.taken == ["o-0"]
    assert (waits.waited, waits.remaining_s) == ([], 3.05)
    assert [what for what, _ in table.calls] == ["get", "write"]
