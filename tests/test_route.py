"""Several sinks as one: what EVENTSCORE_SINK says, and where a message goes by its decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventscore import settings
from eventscore.delivery import addresses
from eventscore.delivery.addresses import SinkAddress, parse_addresses
from eventscore.delivery.batched import BatchedSink
from eventscore.delivery.eventbridge import EventBridgeSink
from eventscore.delivery.firehose import FirehoseSink
from eventscore.delivery.idempotency import TABLE, OnceSink
from eventscore.delivery.kinesis import KinesisSink
from eventscore.delivery.open_sinks import open_sinks
from eventscore.delivery.route import Discard, Route, RoutedSink
from eventscore.delivery.sink import HELD_BACK, Lanes, Message, NotTaken
from eventscore.delivery.sns import SnsSink
from eventscore.delivery.sqs import SqsSink
from eventscore.errors import SettingsInvalid
from eventscore.time_left import NO_LIMIT, TimeLeft
from fake_services import message

QUEUE = "https://sqs.us-east-1.amazonaws.com/123456789012/scores"
TOPIC = "arn:aws:sns:us-east-1:123456789012:declined"
BROKEN = NotTaken("broken")


class Memory:
    """Takes messages, but for those of the numbers that it is told to refuse."""

    def __init__(self, refuses: Sequence[int] = (), failure: NotTaken = BROKEN) -> None:
        self.refuses = {f"o-{number}" for number in refuses}
        self.failure = failure
        self.taken: list[str] = []

    def deliver(
        self, messages: Sequence[Message], time_left: TimeLeft = NO_LIMIT, lanes: Lanes | None = None
    ) -> Mapping[int, NotTaken]:
        assert lanes is None or len(lanes) == len(messages)
        origins = [each.attributes["origin"] for each in messages]
        self.taken += [origin for origin in origins if origin not in self.refuses]
        return {position: self.failure for position, origin in enumerate(origins) if origin in self.refuses}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"sqs:{QUEUE}", [("sqs", QUEUE, None)]),
        (f" sqs:{QUEUE} ;", [("sqs", QUEUE, None)]),
        ("sqs:http://127.0.0.1:4577/000000000000/scores", [("sqs", "http://127.0.0.1:4577/000000000000/scores", None)]),
        (
            f"sqs:{QUEUE};eventbridge:risk?decisions=decline,review",
            [("sqs", QUEUE, None), ("eventbridge", "risk", {"decline", "review"})],
        ),
        (
            "eventbridge:arn:aws:events:us-east-1:123456789012:event-bus/risk",
            [("eventbridge", "arn:aws:events:us-east-1:123456789012:event-bus/risk", None)],
        ),
        (f"sns:{TOPIC}.fifo?decisions=too late", [("sns", f"{TOPIC}.fifo", {"too late"})]),
        (
            "kinesis:scores\nfirehose:archive".replace("\n", ";\n"),
            [("kinesis", "scores", None), ("firehose", "archive", None)],
        ),
        (
            "kinesis:arn:aws:kinesis:us-east-1:123456789012:stream/scores",
            [("kinesis", "arn:aws:kinesis:us-east-1:123456789012:stream/scores", None)],
        ),
        (
            f"sqs:{QUEUE}?decisions=decline;discard:?decisions=accept",
            [("sqs", QUEUE, {"decline"}), ("discard", "", {"accept"})],
        ),
    ],
)
def test_addresses_are_read(text: str, expected: list[tuple[str, str, set[str] | None]]) -> None:
    assert [(each.scheme, each.target, each.decisions) for each in parse_addresses(text)] == expected


def test_kafka_has_options_of_its_own() -> None:
    [address] = parse_addresses(
        "kafka:scores?brokers=a:9092,b:9092&mechanism=SCRAM-SHA-512&secret=arn:aws:x&decisions=decline"
    )
    assert address == SinkAddress(
        "kafka",
        "scores",
        frozenset({"decline"}),
        {"brokers": "a:9092,b:9092", "mechanism": "SCRAM-SHA-512", "secret": "arn:aws:x"},
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (";", "addresses of sinks with a ; between them"),
        ("queue", "the schemes: sqs:<queue url>, kinesis:.*; got 'queue'"),
        ("sqs:scores", "expected sqs:<queue url>; got 'sqs:scores'"),
        (f"sqs:{QUEUE};lambda:x", "the schemes: .*got 'lambda:x'"),
        ("sns:declined", "expected sns:<topic ARN>"),
        ("eventbridge:", "expected eventbridge:<bus name or ARN>"),
        ("kinesis:a b", "expected kinesis:<stream name or ARN>"),
        ("kafka:scores", "expected kafka:<topic>.brokers=<host:port>,..."),
        ("kafka:scores?brokers=a:9092&secret=arn", "mechanism and secret together"),
        ("firehose:a?decision=decline", "options of firehose: decisions, each once and with a value"),
        ("firehose:a?decisions=", "options of firehose: decisions"),
        ("firehose:a?decisions=x&decisions=y", "each once"),
        ("firehose:a?brokers=a", "options of firehose: decisions"),
        ("discard:", "what is dropped has to be named"),
        ("discard:x?decisions=a", "expected discard:"),
    ],
)
def test_what_cannot_be_an_address_is_said_to_be_none(text: str, said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said) as refused:
        parse_addresses(text)
    assert refused.value.variable == "EVENTSCORE_SINK"


def test_the_settings_are_named_as_the_settings_module_names_them() -> None:
    assert (addresses.SINK, TABLE) == (settings.SINK, settings.IDEMPOTENCY_TABLE)


def test_each_address_opens_its_sink() -> None:
    several = f"kinesis:a;firehose:b;eventbridge:c;sns:{TOPIC};discard:?decisions=accept"
    sink, rejects = open_sinks(several, QUEUE, None)
    assert isinstance(sink, RoutedSink)
    kinds = [type(route.sink) for route in sink._routes]
    assert kinds == [KinesisSink, FirehoseSink, EventBridgeSink, SnsSink, Discard]
    assert isinstance(rejects, SqsSink)


def test_one_queue_alone_is_opened_without_routes_and_shares_its_client_with_the_reject_queue() -> None:
    sink, rejects = open_sinks(f"sqs:{QUEUE}", QUEUE, None)
    assert isinstance(sink, SqsSink)
    assert isinstance(rejects, SqsSink)
    assert sink._client is rejects._client


def test_a_client_makes_one_attempt_because_its_sink_tries_again_item_by_item() -> None:
    sink, _ = open_sinks("kinesis:scores", QUEUE, None)
    assert isinstance(sink, KinesisSink)
    assert sink._client.meta.config.retries == {"mode": "standard", "total_max_attempts": 1}


def test_a_table_makes_any_sink_send_once() -> None:
    sink, rejects = open_sinks(f"sqs:{QUEUE}", QUEUE, "seen")
    assert isinstance(sink, OnceSink)
    assert isinstance(rejects, BatchedSink)


def test_without_a_region_no_sink_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(SettingsInvalid, match="AWS_DEFAULT_REGION: expected the region of the queues"):
        open_sinks(f"sqs:{QUEUE}", QUEUE, None)


def test_a_message_goes_to_every_sink_that_its_decision_is_routed_to() -> None:
    everything, declined, reviewed = Memory(), Memory(), Memory()
    sink = RoutedSink(
        [Route(everything), Route(declined, frozenset({"decline"})), Route(reviewed, frozenset({"review", "decline"}))]
    )
    decisions = ["accept", "decline", "review", None]
    assert sink.deliver([message(n, decision=decision) for n, decision in enumerate(decisions)]) == {}
    assert everything.taken == ["o-0", "o-1", "o-2", "o-3"]
    assert declined.taken == ["o-1"]
    assert reviewed.taken == ["o-1", "o-2"]


def test_a_message_that_no_sink_takes_is_not_lost_in_silence() -> None:
    sink = RoutedSink([Route(Memory(), frozenset({"declien"})), Route(Discard(), frozenset({"accept"}))])
    failures = sink.deliver([message(0, decision="accept"), message(1, decision="decline"), message(2)])
    assert failures == {
        1: NotTaken("no sink takes the decision 'decline': name it, or discard it"),
        2: NotTaken("no sink takes the decision None: name it, or discard it"),
    }


def test_what_one_sink_did_not_take_is_not_sent_to_those_behind_it() -> None:
    first, second, third = Memory([1]), Memory([2]), Memory()
    failures = RoutedSink([Route(first), Route(second), Route(third)]).deliver([message(n) for n in range(4)])
    assert failures == {1: BROKEN, 2: BROKEN}
    assert (first.taken, second.taken, third.taken) == (["o-0", "o-2", "o-3"], ["o-0", "o-3"], ["o-0", "o-3"])


def test_in_order_nothing_behind_a_failure_goes_to_a_later_sink() -> None:
    second = Memory()
    failures = RoutedSink([Route(Memory([1])), Route(second)]).deliver(
        [message(n) for n in range(4)], lanes=list("aaab")
    )
    assert failures == {1: BROKEN, 2: HELD_BACK}
    assert second.taken == ["o-0", "o-3"]


def test_while_a_later_sink_is_down_an_earlier_one_gets_no_more_of_a_lane_than_its_first_message() -> None:
    first = Memory()
    failures = RoutedSink([Route(first), Route(Memory(range(6)))]).deliver(
        [message(n) for n in range(6)], lanes="aabbab"
    )
    assert sorted(failures) == list(range(6))
    assert first.taken == ["o-0", "o-2"]


def test_what_is_rejected_for_good_holds_nothing_back() -> None:
    second = Memory()
    too_large = Memory([0], NotTaken("too large", permanent=True))
    RoutedSink([Route(too_large), Route(second)]).deliver([message(0), message(1)], lanes="aa")
    assert second.taken == ["o-1"]


DECISIONS = st.sampled_from(["accept", "review", "decline", None])


@given(st.lists(DECISIONS, max_size=12), st.data())
def test_a_message_is_taken_exactly_when_every_sink_of_its_decision_took_it(
    decisions: list[str | None], data: st.DataObject
) -> None:
    numbers = st.lists(st.sampled_from(range(max(1, len(decisions)))), max_size=3)
    routed = st.none() | st.frozensets(st.sampled_from(["accept", "review", "decline"]), min_size=1)
    routes = [Route(Memory(data.draw(numbers)), data.draw(routed)) for _ in range(data.draw(st.integers(1, 4)))]
    lanes = data.draw(st.none() | st.just([n % 2 for n in range(len(decisions))]))
    messages = [message(n, decision=decision) for n, decision in enumerate(decisions)]
    failures = RoutedSink(routes).deliver(messages, lanes=lanes)
    for position, each in enumerate(messages):
        mine = [route.sink for route in routes if route.takes(each)]
        took = [f"o-{position}" in sink.taken for sink in mine if isinstance(sink, Memory)]
        assert (position not in failures) == (all(took) and bool(mine))
    for route in routes:
        assert isinstance(route.sink, Memory)
        assert len(set(route.sink.taken)) == len(route.sink.taken)


def test_a_decision_that_no_sink_takes_holds_back_what_lies_behind_it_in_its_lane() -> None:
    sink = Memory()
    routed = RoutedSink([Route(sink, frozenset({"accept"}))])
    messages = [
        message(n, decision=decision) for n, decision in enumerate(["accept", "lost", "accept", "accept", "accept"])
    ]
    for _ in range(3):  # as often as its source comes back
        failed = routed.deliver(messages, lanes=["a", "a", "a", "b", "a"])
        assert sorted(failed) == [1, 2, 4]
        assert failed[1].reason == "no sink takes the decision 'lost': name it, or discard it"
        assert failed[2] == failed[4] == HELD_BACK
    assert set(sink.taken) == {"o-0", "o-3"}
    assert sorted(routed.deliver(messages)) == [1], "and without lanes only itself"
