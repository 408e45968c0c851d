"""Alarms look at metrics that are really written, page for what a person must do at once, and say where to look first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudformation import Stack, load
from conftest import ROOT
from eventscore.signing import Ed25519Signer
from eventscore.sketch import parse_sketch
from eventscore.telemetry import Telemetry
from eventscore.violations import REASONS
from metric_names import (
    FUNCTION,
    MODEL,
    NAMED,
    SERVICE,
    SKETCH,
    Metric,
    lines_of_the_function,
    metric,
    of_alarm,
    of_filters,
    of_lines,
    selected,
    unknown,
)

ALL_SOURCES = {
    "EventQueueName": "events",
    "EventDeadLetterQueueName": "dead",
    "StreamFailureQueueName": "failures",
    "RejectQueueName": "rejects",
    "SinkQueueName": "scores",
    "EventStreamName": "stream",
    "EnableKafka": "true",
    "MskClusterName": "brokers",
    "CodeDeployApplication": "application",
    "WatchedDecision": "late",
}
OF_THE_MODEL = {"FunctionName": FUNCTION, "Model": MODEL, "ServiceName": SERVICE}
SUPPRESSED = {
    "LatencyAlarm",
    "FastBurnAlarm",
    "SlowBurnAlarm",
    "ThreeDayBurnAlarm",
    "ColdStartsAlarm",
    "ScoreMovedAlarm",
}
"""What a roll-out sets off by itself."""


def alarms(**parameters: str) -> Stack:
    return Stack(load(ROOT / "stacks" / "alarms.yaml"), **{**OF_THE_MODEL, **ALL_SOURCES, **parameters})


@pytest.fixture(scope="module")
def stack() -> Stack:
    return alarms()


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory, signer: Ed25519Signer, stack: Stack) -> set[Metric]:
    return of_lines(lines_of_the_function(tmp_path_factory.mktemp("store"), signer)) | of_filters(stack)


def every(stack: Stack) -> dict[str, dict[str, Any]]:
    return stack.of_type("AWS::CloudWatch::Alarm") | stack.of_type("AWS::CloudWatch::CompositeAlarm")


def acting(stack: Stack) -> dict[str, dict[str, Any]]:
    """The alarms that tell somebody."""
    return {name: alarm for name, alarm in every(stack).items() if "AlarmActions" in alarm}


def used(stack: Stack) -> Iterator[Metric]:
    for alarm in stack.of_type("AWS::CloudWatch::Alarm").values():
        yield from of_alarm(alarm)


def test_every_metric_that_an_alarm_names_is_written_by_the_function_or_by_aws(
    stack: Stack, emitted: set[Metric]
) -> None:
    assert len(set(used(stack))) > 30
    assert unknown(used(stack), emitted) == []


def test_every_metric_that_a_code_deployment_goes_back_by_is_written_too(emitted: set[Metric]) -> None:
    whole = Stack(load(ROOT / "template.yaml"), Model=MODEL)
    kept = list(whole.of_type("AWS::CloudWatch::Alarm").values())
    assert len(kept) >= 3
    # There the service is named after the stack.
    looked_at = [
        metric(one.namespace, one.name, {key: SERVICE if key == "service" else of for key, of in one.dimensions})
        for alarm in kept
        for one in of_alarm(alarm)
    ]
    assert unknown(looked_at, emitted) == []


@pytest.mark.parametrize(
    ("namespace", "name", "dimensions"),
    [
        ("eventscore", "Recieved", {"model": MODEL, "service": SERVICE}),
        ("eventscore", "Received", {"model": MODEL}),
        ("eventscore", "Received", {"model": "another", "service": SERVICE}),
        ("eventscore", "RejectedByReason", {"model": MODEL, "service": SERVICE, "reason": "not-json"}),
        ("eventscores", "Received", {"model": MODEL, "service": SERVICE}),
        ("AWS/Lambda", "Timeouts", {"FunctionName": FUNCTION}),
        ("AWS/Lambda", "Errors", {"Function": FUNCTION}),
        ("AWS/SQS", "ApproximateAgeOfOldestMessage", {}),
    ],
)
def test_the_comparison_finds_a_name_that_nobody_writes(
    emitted: set[Metric], namespace: str, name: str, dimensions: dict[str, str]
) -> None:
    assert unknown([metric(namespace, name, dimensions)], emitted)
    assert not unknown([metric("eventscore", "Received", {"model": MODEL, "service": SERVICE})], emitted)


def test_the_filters_of_the_watched_decision_find_it_in_a_sketch(stack: Stack) -> None:
    found = {}
    for name in ("DecisionFilter", "SketchedEventsFilter"):
        made = stack.of_type("AWS::Logs::MetricFilter")[name]
        assert made["FilterPattern"] == '{ ($.message = "drift sketch") && ($.sketch.model = "small") }'
        (written,) = made["MetricTransformations"]
        found[written["MetricName"]] = selected(written["MetricValue"])
    assert found == {"WatchedDecisions": "4", "SketchedEvents": "7"}
    assert (selected("$.message"), selected("$.sketch.model")) == ("drift sketch", MODEL)


def test_the_sketch_that_filters_and_queries_are_tried_on_is_one_as_the_function_writes_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sketch = parse_sketch(json.dumps(SKETCH["sketch"]).encode())
    Telemetry(MODEL, NAMED).sketch(sketch)
    line = capsys.readouterr().out
    assert json.loads(line) == SKETCH
    assert list(json.loads(line)["sketch"]) == list(SKETCH["sketch"]), "queries rely on the order"
    assert ": " not in line, "and on there being no blanks"


def test_every_reason_for_a_rejection_is_watched(stack: Stack) -> None:
    watched = {dict(one.dimensions)["reason"] for one in used(stack) if one.name == "RejectedByReason"}
    assert watched == set(REASONS)


def test_every_alarm_that_tells_somebody_says_where_to_look_first_and_what_to_read(stack: Stack) -> None:
    assert len(acting(stack)) > 20
    for name, alarm in every(stack).items():
        description = alarm["AlarmDescription"]
        assert re.search(r"^Runbook: docs/runbooks/[a-z-]+\.md$", description, re.MULTILINE), name
        assert len(description) < 1024, "CloudWatch's limit"
        if name in acting(stack):
            assert re.search(r"[Ll]ook (first )?at|Look first", description), name


def test_an_alarm_that_tells_nobody_is_part_of_one_that_does(stack: Stack) -> None:
    rules = " ".join(alarm["AlarmRule"] for alarm in stack.of_type("AWS::CloudWatch::CompositeAlarm").values())
    silent = set(every(stack)) - set(acting(stack)) - {"RollOutUnderWay"}
    assert {name for name in silent if f'ALARM("<{name}>")' not in rules} == set()
    named = set(re.findall(r'ALARM\("<(\w+)>"\)', rules))
    assert len(named) >= 11
    assert named <= set(stack.of_type("AWS::CloudWatch::Alarm"))
    conditions = {name: of.get("Condition") for name, of in stack.template["Resources"].items()}
    for name, alarm in stack.of_type("AWS::CloudWatch::CompositeAlarm").items():
        for child in re.findall(r'ALARM\("<(\w+)>"\)', alarm["AlarmRule"]):
            assert conditions[child] in (None, conditions[name]), "a rule cannot name an alarm that may not be there"


def test_missing_data_never_alarms(stack: Stack) -> None:
    treated = {name: alarm["TreatMissingData"] for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items()}
    assert {name for name, how in treated.items() if how != "notBreaching"} == {"ModelOldAlarm"}
    assert treated["ModelOldAlarm"] == "ignore", "a day without a cold start says nothing about a version's age"


def test_shares_and_percentiles_are_looked_at_only_where_there_is_traffic(stack: Stack) -> None:
    judged = []
    for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
        expressions = [query["Expression"] for query in alarm.get("Metrics", []) if "Expression" in query]
        if any("/ received" in text or "/ invocations" in text or "p95" in text for text in expressions):
            (text,) = expressions
            assert re.match(r"IF\((received|invocations) >= \d+, .*, 0\)$", text), name
            judged.append(name)
    assert len(judged) >= 11


def test_what_a_roll_out_sets_off_by_itself_is_held_back_while_it_runs(stack: Stack) -> None:
    composite = stack.of_type("AWS::CloudWatch::CompositeAlarm")
    held_back = {name for name, alarm in composite.items() if alarm.get("ActionsSuppressor") == "<RollOutUnderWay>"}
    assert held_back == SUPPRESSED
    assert composite["RollOutUnderWay"]["AlarmRule"] == 'ALARM("<ChannelMove>") OR ALARM("<CodeDeployment>")'
    assert "AlarmActions" not in composite["RollOutUnderWay"]
    for name in ("ChannelMove", "CodeDeployment"):
        alarm = stack.of_type("AWS::CloudWatch::Alarm")[name]
        longest_s = alarm["Period"] * alarm["EvaluationPeriods"]
        assert alarm["DatapointsToAlarm"] == 1
        assert longest_s <= 900, "nothing is held back for longer than that"


@pytest.mark.parametrize(
    ("parameter", "gone"),
    [
        ("EventQueueName", {"QueueAgeAlarm"}),
        ("EventDeadLetterQueueName", {"DeadLettersAlarm"}),
        ("StreamFailureQueueName", {"StreamFailuresAlarm"}),
        ("EventStreamName", {"IteratorAgeAlarm"}),
        ("MskClusterName", {"MskTimeLagAlarm"}),
        ("EnableKafka", {"OffsetLagAlarm", "MskTimeLagAlarm"}),
        ("WatchedDecision", {"ScoreShifted", "ScoreTraffic", "ScoreMovedAlarm"}),
    ],
)
def test_a_source_that_is_off_is_not_watched(stack: Stack, parameter: str, gone: set[str]) -> None:
    off = alarms(**{parameter: "false" if parameter.startswith("Enable") else ""})
    assert set(every(stack)) - set(every(off)) == gone


def test_a_second_model_of_a_function_gets_only_what_is_its_own(stack: Stack) -> None:
    second = alarms(CoverFunction="false", NamePrefix="second")
    namespaces = {one.namespace for name in every(second) if name != "ColdStartsHigh" for one in _of(second, name)}
    assert namespaces == {"eventscore", f"eventscore/{FUNCTION}"}
    names = [alarm["AlarmName"] for both in (stack, second) for alarm in every(both).values()]
    assert len(set(names)) == len(names)


def _of(stack: Stack, name: str) -> list[Metric]:
    alarm = every(stack)[name]
    return [] if "AlarmRule" in alarm else of_alarm(alarm)


def test_topics_are_made_where_none_are_given_and_are_encrypted_with_a_key_that_alarms_may_use(stack: Stack) -> None:
    topics = stack.of_type("AWS::SNS::Topic")
    assert topics.keys() == {"PageTopic", "TicketTopic"}
    assert {topic["KmsMasterKeyId"] for topic in topics.values()} == {"<TopicKey.Arn>"}
    (key,) = stack.of_type("AWS::KMS::Key").values()
    publishers = [made["Principal"] for made in key["KeyPolicy"]["Statement"] if made["Sid"] == "AlarmsMayPublish"]
    assert publishers == [{"Service": "cloudwatch.amazonaws.com"}]
    told = {to for alarm in acting(stack).values() for to in alarm["AlarmActions"]}
    assert told == {"<PageTopic>", "<TicketTopic>"}
    given = alarms(PageTopicArn="arn:page", TicketTopicArn="arn:ticket")
    assert given.of_type("AWS::SNS::Topic") == given.of_type("AWS::KMS::Key") == {}
    assert {to for alarm in acting(given).values() for to in alarm["AlarmActions"]} == {"arn:page", "arn:ticket"}


def test_alarms_may_publish_to_each_topic_and_eventbridge_may_write_to_the_one_log(stack: Stack) -> None:
    (topics,) = stack.of_type("AWS::SNS::TopicPolicy").values()
    (publish,) = topics["PolicyDocument"]["Statement"]
    # SNS takes a policy for a topic only if it speaks of that topic.
    assert (topics["Topics"], publish["Resource"]) == (["<PageTopic>", "<TicketTopic>"], "*")
    (logs,) = stack.of_type("AWS::Logs::ResourcePolicy").values()
    (write,) = json.loads(logs["PolicyDocument"])["Statement"]
    assert write == {
        "Effect": "Allow",
        "Principal": {"Service": ["events.amazonaws.com", "delivery.logs.amazonaws.com"]},
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": "<CodeDeploymentLog.Arn>",
    }, (
        "docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html: no condition on who creates the stream"
    )


def test_the_main_stack_gives_its_nested_stacks_what_they_ask_for() -> None:
    """cfn-lint does not look from one template into another."""
    whole = load(ROOT / "template.yaml")["Resources"]
    for name, path in (("Alarms", "stacks/alarms.yaml"), ("Dashboards", "stacks/dashboards.yaml")):
        properties = whole[name]["Properties"]
        assert properties["Location"] == path
        asked = load(ROOT / path)["Parameters"]
        assert properties["Parameters"].keys() <= asked.keys()
        assert {key for key, of in asked.items() if "Default" not in of} <= properties["Parameters"].keys()


def test_whoever_is_told_of_a_fault_is_told_of_its_end(stack: Stack) -> None:
    assert all(alarm["OKActions"] == alarm["AlarmActions"] for alarm in acting(stack).values())


def test_periods_are_such_as_cloudwatch_takes(stack: Stack) -> None:
    for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
        periods = {query["MetricStat"]["Period"] for query in alarm.get("Metrics", []) if "MetricStat" in query}
        (period,) = periods or {alarm["Period"]}
        longest_s = 604_800 if period >= 3600 else 86_400
        assert period % 60 == 0, name
        assert period * int(alarm["EvaluationPeriods"]) <= longest_s, name
        assert len(alarm.get("Metrics", [])) <= 10, "a math expression of an alarm takes ten metrics"


def test_the_template_works_in_every_partition() -> None:
    text = Path(ROOT / "stacks" / "alarms.yaml").read_text(encoding="utf-8")
    assert "arn:aws:" not in text, "other partitions have other ARNs"
