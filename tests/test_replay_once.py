"""A replay sends each event at most once and loses none, wherever it is interrupted and whatever the queue answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eventscore.delivery.rejection
from eventscore.delivery.rejection import Rejection
from eventscore_cli.replaying import event as event_module
from eventscore_cli.replaying.account import End
from eventscore_cli.replaying.dead_letters import DeadLetterReader
from eventscore_cli.replaying.event import Event, Held, Parcel
from eventscore_cli.replaying.replay import Doubtful
from replay_world import NOW, Life, Stored, run

PART_BYTES = 12


@pytest.fixture(autouse=True, scope="module")
def _small_parts() -> Iterator[None]:
    """Records of more than a dozen bytes are rejected in parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eventscore.delivery.rejection, "PART_BYTES", PART_BYTES)
        patch.setattr(event_module, "PART_BYTES", PART_BYTES)
        yield


def payload(number: int, length: int) -> bytes:
    return json.dumps({"n": number, "pad": "x" * length}).encode()


FATES = ["refused", "throttled", "taken, and the answer is lost", "lost with its answer", "down", "taken, and down"]
records = st.lists(st.integers(0, 20), min_size=1, max_size=12)
"""Events, by the length of their padding: in one to three parts."""
deaths = st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=6)
fates = st.lists(st.sampled_from([None, None, None, *FATES]), max_size=30)


def filled(lengths: list[int], told_twice: bool) -> tuple[Stored, dict[str, list[str]]]:
    """The reject queue, and by body the messages that tell of it."""
    stored = Stored()
    held: dict[str, list[str]] = {}
    for number, length in enumerate(lengths):
        body = payload(number, length)
        held[body.decode()] = stored.reject(body, f"o-{number}")
        if told_twice and number % 3 == 0:
            held[body.decode()] += stored.reject(body, f"o-{number}", rejected_at="2026-11-21T11:05:00.000Z")
    return stored, held


def check(stored: Stored, held: dict[str, list[str]]) -> None:
    sent = Counter(stored.sent())
    assert max(sent.values(), default=0) <= 1, "never twice"
    for body, messages in held.items():
        left = [message for message in messages if message in stored.queues["rejects"]]
        assert sent[body] == 1 or left == messages, "what is not sent is in the queue, with all its parts"


@given(lengths=records, told_twice=st.booleans(), deaths=deaths, fates=fates)
@settings(max_examples=300)
def test_never_twice_and_none_lost_wherever_the_process_dies(
    lengths: list[int], told_twice: bool, deaths: list[tuple[int, bool]], fates: list[str | None]
) -> None:
    stored, held = filled(lengths, told_twice)
    script = iter(fates)
    for step, after in deaths:
        run(stored, Life(step, after=after), lambda _body: next(script, None))
        check(stored, held)
    account = run(stored)
    check(stored, held)
    assert account is not None
    # A run that nothing disturbs settles all but what is in doubt, and that is what was claimed and never answered for.
    doubtful = [json.loads(entry)["origin"] for entry in stored.objects.values() if b'"claimed"' in entry]
    left = {json.loads(message["Body"])["origin"] for message in stored.queues["rejects"].values()}
    assert left == set(doubtful)
    assert (account.ends[End.IN_DOUBT] > 0) == bool(left)
    for body in held:
        origin = f"o-{json.loads(body)['n']}"
        assert origin in doubtful or stored.sent().count(body) == 1
    # Whoever decides that what is in doubt goes out empties the queue.
    before = Counter(stored.sent())
    run(stored, doubtful="send")
    assert stored.queues["rejects"] == {}
    after_all = Counter(stored.sent())
    assert set(after_all) == set(held)
    assert all(after_all[body] - before[body] <= 1 for body in held)


class BatchReader:
    """Each message tells of several records, as the report of a mapping that gave a batch up does."""

    def add(self, held: Held) -> Parcel | None:
        events = [
            Event("kinesis", f"shard:{name}", name.encode(), NOW, "given up", group=name[0])
            for name in json.loads(held.body)
        ]
        return Parcel(tuple(events), (held,))

    def rest(self) -> list[Parcel]:
        return []


batches = st.lists(
    st.lists(
        st.sampled_from([f"{key}{number}" for key in "abc" for number in range(8)]),
        min_size=1,
        max_size=25,
        unique=True,
    ),
    min_size=1,
    max_size=4,
)
"""What each message tells of; batches overlap where one was given up, halved and given up again."""


@given(
    batches=batches,
    deaths=deaths,
    fates=fates,
    doubtful=st.sampled_from(["leave", "send", "remove"]),
    limit=st.one_of(st.none(), st.integers(1, 12)),
    target=st.sampled_from(["events", "events.fifo"]),
)
@settings(max_examples=300)
def test_a_message_that_tells_of_several_events_goes_when_the_last_of_them_is_at_rest_and_not_before(
    batches: list[list[str]],
    deaths: list[tuple[int, bool]],
    fates: list[str | None],
    doubtful: Doubtful,
    limit: int | None,
    target: str,
) -> None:
    stored = Stored()
    told = {stored.put("rejects", json.dumps(batch)): batch for batch in batches}
    script = iter(fates)

    def at_rest(name: str) -> bool:
        """Taken, or decided upon: nothing else lets go of it."""
        entries = [json.loads(entry) for entry in stored.objects.values()]
        states = {entry["state"] for entry in entries if entry["origin"] == f"shard:{name}"}
        assert len(states) <= 1
        return name in stored.sent(target) or (doubtful == "remove" and states == {"sent"})

    def check_batches() -> None:
        if doubtful != "send":  # who says so accepts it
            assert max(Counter(stored.sent(target)).values(), default=0) <= 1, "never twice"
        for message, batch in told.items():
            if message not in stored.queues["rejects"]:
                assert all(map(at_rest, batch)), "what is not sent is in the queue"

    for step, after in deaths:
        before = len(stored.sent(target))
        life = Life(step, after=after)
        more = {"reader": BatchReader(), "target": target, "limit": limit}
        run(stored, life, lambda _body: next(script, None), doubtful="leave", **more)
        check_batches()
        assert limit is None or len(stored.sent(target)) - before <= limit
    for _ in range(200):
        before = len(stored.sent(target))
        account = run(stored, reader=BatchReader(), target=target, limit=limit, doubtful=doubtful)
        assert account is not None
        check_batches()
        assert limit is None or len(stored.sent(target)) - before <= limit
        if not stored.queues["rejects"] or account.ends[End.IN_DOUBT]:
            break
    else:
        raise AssertionError("a limit must not keep a queue from ever becoming empty")


def test_a_limit_counts_what_is_sent_and_goes_on_behind_what_went_out_before() -> None:
    stored = Stored()
    stored.put("rejects", json.dumps([f"a{number}" for number in range(7)]))
    for sent in (3, 6, 7):
        looked = run(stored, reader=BatchReader(), limit=3, send=False)
        assert looked is not None
        assert looked.ends[End.WOULD_SEND] == min(3, 7 - len(stored.sent()))
        account = run(stored, reader=BatchReader(), limit=3)
        assert account is not None
        assert len(stored.sent()) == sent
        assert account.unselected == 7 - sent
    assert stored.queues["rejects"] == {}


@given(lengths=records, told_twice=st.booleans())
def test_undisturbed_each_event_is_sent_once_and_the_queue_is_empty(lengths: list[int], told_twice: bool) -> None:
    stored, held = filled(lengths, told_twice)
    account = run(stored)
    assert account is not None
    assert Counter(stored.sent()) == Counter(list(held))
    assert stored.queues["rejects"] == {}
    assert account.ends[End.SENT] == len(lengths)
    assert set(account.ends) <= {End.SENT, End.SENT_BEFORE}


def test_the_property_would_notice_a_process_that_dies_between_sending_and_deleting() -> None:
    """Each step of a run is one that it is killed at: some leave an event in doubt, most do not, none sends twice."""
    stored, held = filled([0, 20], told_twice=False)
    life = Life()
    run(stored, life)
    seen = Counter[str]()
    for step in range(1, life.steps + 1):
        for after in (False, True):
            stored, held = filled([0, 20], told_twice=False)
            assert run(stored, Life(step, after=after)) is None
            check(stored, held)
            sent_by_then = len(stored.sent())
            account = run(stored)
            check(stored, held)
            assert account is not None
            seen["in doubt"] += account.ends[End.IN_DOUBT] > 0
            seen["only removed"] += account.ends[End.SENT_BEFORE] > 0
            seen["nothing was sent by then"] += sent_by_then == 0
    assert all(seen[what] > 0 for what in ("in doubt", "only removed", "nothing was sent by then")), seen


@given(lengths=records, deaths=deaths, fates=fates)
def test_two_that_replay_the_same_queue_at_once_send_no_event_twice(
    lengths: list[int], deaths: list[tuple[int, bool]], fates: list[str | None]
) -> None:
    """The second begins while the first is under way, sees the same messages, and ends before it goes on."""
    stored, held = filled(lengths, told_twice=False)
    script = iter(fates)
    begins_at = iter([step for step, _ in deaths])

    class Interrupted(Life):
        next_at = next(begins_at, None)

        def step(self, effect):  # type: ignore[no-untyped-def]
            if self.steps == self.next_at:
                self.next_at = next(begins_at, None)
                self.steps += 1
                hidden = set(stored.hidden)
                run(stored, Life(), lambda _body: next(script, None))
                stored.hidden = hidden
            return super().step(effect)

    run(stored, Interrupted(), lambda _body: next(script, None))
    check(stored, held)


def test_what_is_told_of_twice_with_the_first_in_doubt_is_not_sent_for_the_second() -> None:
    for doubtful in ("leave", "send"):
        stored, held = filled([0], told_twice=True)
        run(stored, None, lambda _body: "taken, and the answer is lost", doubtful=doubtful)
        check(stored, held)
        assert len(stored.sent()) == 1


def test_what_is_in_doubt_can_be_removed_by_whoever_knows_that_it_arrived() -> None:
    stored, held = filled([0, 20], told_twice=False)
    run(stored, None, lambda _body: "taken, and the answer is lost")
    account = run(stored)
    assert account is not None
    assert account.ends == {End.IN_DOUBT: 2}
    run(stored, doubtful="remove")
    assert stored.queues["rejects"] == {}
    assert Counter(stored.sent()) == Counter(list(held))


def test_parts_that_are_left_of_a_record_that_was_sent_are_removed_and_others_are_named_and_kept() -> None:
    stored, held = filled([20], told_twice=False)
    ((body, messages),) = held.items()
    assert len(messages) == 4
    keep = dict(stored.queues["rejects"])
    assert run(stored) is not None
    assert stored.sent() == [body]
    stored.queues["rejects"] = {messages[0]: keep[messages[0]], messages[2]: keep[messages[2]]}
    assert run(stored) is not None
    assert stored.queues["rejects"] == {}

    stored, held = filled([20], told_twice=False)
    (messages,) = held.values()
    del stored.queues["rejects"][messages[1]]
    account = run(stored)
    assert account is not None
    assert list(account.problem_counts) == ["sqs o-0: part 2 of 4 is not in the queue"]
    assert list(stored.queues["rejects"]) == [message for message in messages if message != messages[1]]
    assert stored.sent() == []


@given(lengths=st.lists(st.integers(60, 200), min_size=1, max_size=4), data=st.data())
def test_a_message_that_cannot_be_deleted_leaves_the_first_part_which_tells_whose_it_is(
    lengths: list[int], data: st.DataObject
) -> None:
    stored, held = filled(lengths, told_twice=False)
    every = [message for messages in held.values() for message in messages]
    stored.undeletable = data.draw(st.sets(st.sampled_from(every), min_size=1))
    account = run(stored)
    assert account is not None
    assert account.not_removed > 0
    for messages in held.values():
        left = [message for message in messages if message in stored.queues["rejects"]]
        assert not left or messages[0] in left
    stored.undeletable = set()
    again = run(stored)
    assert again is not None
    assert stored.queues["rejects"] == {}
    assert Counter(stored.sent()) == Counter(list(held))


def test_behind_what_is_in_doubt_its_group_waits_in_the_next_run_too() -> None:
    stored = Stored()
    for number in range(3):
        stored.put("rejects", f"{number}", Attributes={"SentTimestamp": "0", "MessageGroupId": "g"})
    more = {"target": "events.fifo", "reader": DeadLetterReader()}
    run(stored, None, lambda _body: "lost with its answer", **more)
    run(stored, **more)
    assert stored.sent("events.fifo") == [], "nothing overtakes what may not have arrived"
    run(stored, doubtful="send", **more)
    assert stored.sent("events.fifo") == ["0", "1", "2"]


def test_the_identity_of_a_record_is_that_of_its_first_part_and_no_other_record_has_it() -> None:
    def identity(payload: bytes | None, origin: str = "o", source: str = "sqs") -> str:
        return Event(source, origin, payload, NOW, "reason").identity

    seen = {
        identity(None),
        identity(b""),
        identity(b"x"),
        identity(b"y"),
        identity(b"x", "p"),
        identity(b"x", "o", "kafka"),
        identity(b"x" * PART_BYTES),
        identity(b"x" * (PART_BYTES + 1)),
        identity(b"x" * (2 * PART_BYTES + 1)),
    }
    assert len(seen) == 9


def test_a_rejection_is_read_by_the_type_that_the_function_writes() -> None:
    assert set(Rejection.__struct_fields__) >= {"reason", "version", "source", "origin", "part", "parts", "payload"}


def test_nothing_overtakes_in_a_fifo_queue_and_its_own_window_drops_what_comes_twice() -> None:
    stored = Stored()
    for number in range(9):
        attributes = {"SentTimestamp": "0", "MessageGroupId": f"g{number % 3}"}
        stored.put("rejects", f"{number}", Attributes=attributes)
    refused = {"3"}
    account = run(
        stored,
        None,
        lambda body: "refused" if body in refused else None,
        target="events.fifo",
        reader=DeadLetterReader(),
    )
    assert account is not None
    sent = stored.sent("events.fifo")
    assert set(sent) == {"0", "1", "4", "7", "2", "5", "8"}, "of the first group nothing behind the refused one"
    assert [body for body in sent if body in "147"] == ["1", "4", "7"]
    entries = [message["entry"] for message in stored.queues["events.fifo"].values()]
    assert {entry["MessageGroupId"] for entry in entries} == {"g0", "g1", "g2"}
    assert len({entry["MessageDeduplicationId"] for entry in entries}) == len(entries)
    refused.clear()
    run(stored, target="events.fifo", reader=DeadLetterReader())
    assert [body for body in stored.sent("events.fifo") if body in "036"] == ["0", "3", "6"]
    assert stored.queues["rejects"] == {}


def test_a_throttle_passes_and_keeps_the_order_of_a_group() -> None:
    stored = Stored()
    for number in range(4):
        stored.put("rejects", f"{number}", Attributes={"SentTimestamp": "0", "MessageGroupId": "g"})
    script = iter(["throttled", None, "throttled", None])
    account = run(stored, None, lambda _body: next(script, None), target="events.fifo", reader=DeadLetterReader())
    assert account is not None
    assert stored.sent("events.fifo") == ["0", "1", "2", "3"]
    assert account.ends == {End.SENT: 4}


def test_no_more_than_so_many_a_second_are_sent_and_what_is_held_stays_held_meanwhile() -> None:
    stored, held = filled([0] * 30, told_twice=False)
    now = 0.0
    sent_at: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def fate(_body: str) -> None:
        sent_at.append(now)

    account = run(stored, None, fate, per_second=5.0, sleep=sleep, seconds=lambda: now)
    assert account is not None
    assert len(sent_at) == 30
    for second in range(int(max(sent_at)) + 1):
        assert sum(second <= moment for moment in sent_at) >= 30 - 10 - 5 * second
        assert sum(moment < second + 1 for moment in sent_at) <= 10 + 5 * second
    check(stored, held)


def test_whoever_asks_a_run_to_stop_gets_everything_back_that_was_not_sent() -> None:
    stored, held = filled([0] * 30, told_twice=False)
    asked = iter([False] * 5)
    account = run(stored, stop=lambda: next(asked, True))
    assert account is not None
    assert account.stopped
    assert not stored.hidden & set(stored.queues["rejects"]), "visible at once"
    assert account.ends[End.IN_DOUBT] == 0
    assert stored.queues["rejects"]
    check(stored, held)


def test_a_look_says_of_each_what_would_become_of_it() -> None:
    stored, held = filled([0] * 4, told_twice=False)
    run(stored, None, lambda _body: "taken, and the answer is lost", limit=1)
    run(stored, limit=1)  # what is in doubt does not count
    stored.reject(list(held)[1].encode(), "o-1", rejected_at="2026-11-21T11:05:00.000Z")
    before = {name: dict(queue) for name, queue in stored.queues.items()}
    objects = dict(stored.objects)
    account = run(stored, send=False)
    assert account is not None
    assert account.ends == {End.IN_DOUBT: 1, End.WOULD_SEND: 2, End.SENT_BEFORE: 1}
    assert (stored.queues, stored.objects) == (before, objects)
    assert not stored.hidden & set(stored.queues["rejects"])
