"""When alarms go off, with numbers: what pages, what does not, and what ministack says to the same.

ministack evaluates alarms on one metric and the rules of composite alarms. It knows no metric math and no percentile of an expression,
looks at a metric's name without its dimensions, does not count periods, knows nothing of missing data and holds no action back. What it
cannot say is computed here (`alarm_rules`, `eventscore_local.metric_math`): about as much of CloudWatch as the stack uses. AWS itself has
not been asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alarm_rules import rule, state
from cloudformation import Stack, load
from conftest import ROOT
from eventscore.telemetry import Telemetry
from eventscore_local.emf import MetricForwarder
from eventscore_local.metric_math import Series, evaluate
from eventscore_local.ministack import Ministack
from metric_names import MODEL, NAMED
from test_alarms import alarms

STACK = alarms()
ALARMS = STACK.of_type("AWS::CloudWatch::Alarm")
COMPOSITES = STACK.of_type("AWS::CloudWatch::CompositeAlarm")


def says(name: str, **data: Series) -> str:
    return state(ALARMS[name], data)


def burns(**bad_share: float) -> dict[str, str]:
    """The states of the readings when so large a share of 10,000 events was returned in each window."""
    windows = {"Burn1Hour": "h1", "Burn5Minutes": "m5", "Burn6Hours": "h6", "Burn30Minutes": "m30"}
    windows |= {"Burn3Days": "d3", "Burn6HoursOfThree": "h6"}
    return {
        name: says(name, received=[10_000], returned=[10_000 * bad_share.get(window, 0)])
        for name, window in windows.items()
    }


# -- the error budget


@pytest.mark.parametrize(
    ("bad", "fast", "slow", "ticket"),
    [
        ({}, "OK", "OK", "OK"),
        ({"h1": 0.02, "m5": 0.02}, "ALARM", "OK", "OK"),
        ({"h1": 0.0144, "m5": 0.0144}, "ALARM", "OK", "OK"),
        ({"h1": 0.0143, "m5": 0.5}, "OK", "OK", "OK"),  # five bad minutes are no bad hour
        ({"h1": 0.02, "m5": 0}, "OK", "OK", "OK"),  # a bad hour that is over
        ({"h6": 0.006, "m30": 0.006}, "OK", "ALARM", "OK"),
        ({"h6": 0.007, "m30": 0.001}, "OK", "OK", "OK"),
        ({"d3": 0.001, "h6": 0.001}, "OK", "OK", "ALARM"),
        ({"d3": 0.002, "h6": 0.0005}, "OK", "OK", "OK"),
        ({"d3": 0.03, "h6": 0.03, "h1": 0.03, "m30": 0.03, "m5": 0.03}, "ALARM", "ALARM", "ALARM"),
    ],
)
def test_the_budget_pages_when_it_burns_in_the_long_window_and_still_in_the_short_one(
    bad: dict[str, float], fast: str, slow: str, ticket: str
) -> None:
    states = burns(**bad)
    verdicts = [
        rule(COMPOSITES[name]["AlarmRule"], states) for name in ("FastBurnAlarm", "SlowBurnAlarm", "ThreeDayBurnAlarm")
    ]
    assert verdicts == [fast, slow, ticket]


def test_the_windows_of_the_budget_are_those_of_the_workbook() -> None:
    def window(name: str) -> tuple[int, float]:
        (period,) = {query["MetricStat"]["Period"] for query in ALARMS[name]["Metrics"] if "MetricStat" in query}
        return period // 60, float(ALARMS[name]["Threshold"])

    assert [window("Burn1Hour"), window("Burn5Minutes")] == [(60, 14.4), (5, 14.4)]
    assert [window("Burn6Hours"), window("Burn30Minutes")] == [(360, 6), (30, 6)]
    assert [window("Burn3Days"), window("Burn6HoursOfThree")] == [(3 * 24 * 60, 1), (360, 1)]


def test_another_objective_moves_the_burn() -> None:
    loose = alarms(AvailabilitySloPercent="99").of_type("AWS::CloudWatch::Alarm")
    data: dict[str, Series] = {"received": [10_000], "returned": [200]}
    assert (state(ALARMS["Burn1Hour"], data), state(loose["Burn1Hour"], data)) == ("ALARM", "OK")


def test_answers_of_the_rule_burn_the_budget_as_returned_events_do() -> None:
    assert says("Burn1Hour", received=[1000], returned=[0], rule=[15]) == "ALARM"
    assert says("Burn1Hour", received=[1000], returned=[0], rule=[None]) == "OK"


# -- low traffic and missing data


def test_little_traffic_pages_nobody_however_bad_it_is() -> None:
    assert says("Burn1Hour", received=[299], returned=[299]) == "OK"
    assert says("Burn1Hour", received=[300], returned=[300]) == "ALARM"
    assert says("LatencyHigh", received=[10] * 3, p95=[60_000] * 3) == "OK"
    assert says("UnreadableEventsAlarm", received=[100], notjson=[100]) == "OK"
    assert says("ColdStartsHigh", invocations=[99] * 3, cold=[99] * 3) == "OK"
    assert says("FailedInvocationsAlarm", invocations=[19] * 3, errors=[19] * 3) == "OK"


LEARNT = {name for name, alarm in ALARMS.items() if "ThresholdMetricId" in alarm}
"""Judged against a band that CloudWatch learns: what it says nobody can compute here."""


@pytest.mark.parametrize("name", sorted(ALARMS.keys() - LEARNT))
def test_no_data_at_all_is_no_alarm(name: str) -> None:
    periods = int(ALARMS[name]["EvaluationPeriods"])
    metrics = [query["Id"] for query in ALARMS[name].get("Metrics", []) if "MetricStat" in query]
    nothing: Series = [None] * periods
    assert state(ALARMS[name], dict.fromkeys([*metrics, ALARMS[name].get("MetricName", "")], nothing)) == "OK"


# -- what pages


@pytest.mark.parametrize(("p95", "verdict"), [(1001, "ALARM"), (1000, "OK")])
def test_latency_pages_over_its_objective_and_not_at_it(p95: float, verdict: str) -> None:
    assert says("LatencyHigh", received=[5000] * 3, p95=[p95] * 3) == verdict


def test_one_slow_window_is_no_incident() -> None:
    assert says("LatencyHigh", received=[5000] * 3, p95=[900, 9000, 900]) == "OK"


def test_one_refused_signature_pages_and_so_does_a_wrong_digest() -> None:
    assert says("SignatureRefusedAlarm", signature=[1]) == "ALARM"
    assert says("SignatureRefusedAlarm", digest=[1]) == "ALARM"
    assert says("SignatureRefusedAlarm", signature=[None]) == "OK"


def test_a_source_pages_when_it_is_behind_and_does_not_catch_up() -> None:
    rising = [400 + 10 * minute for minute in range(10)]
    falling = rising[::-1]
    assert says("QueueAgeAlarm", age=rising) == says("MskTimeLagAlarm", age=rising) == "ALARM"
    assert says("QueueAgeAlarm", age=falling) == says("MskTimeLagAlarm", age=falling) == "OK"
    assert says("QueueAgeAlarm", age=[299] * 10) == "OK"
    assert says("IteratorAgeAlarm", age=[1000 * age for age in rising]) == "ALARM", "Lambda's metric is in milliseconds"
    assert says("IteratorAgeAlarm", age=rising) == "OK"
    assert says("OffsetLagAlarm", lag=[100_001 + minute for minute in range(10)]) == "ALARM"
    assert says("OffsetLagAlarm", lag=[200_000 - minute for minute in range(10)]) == "OK"
    assert says("QueueAgeAlarm", age=[500] * 10) == "ALARM", "stuck is not catching up"


def test_what_happens_once_and_passes_pages_nobody() -> None:
    assert says("ModelLoadFailedAlarm", ModelLoadFailed=[None, 1]) == "OK"
    assert says("ModelLoadFailedAlarm", ModelLoadFailed=[1, 1]) == "ALARM"
    assert says("TimeoutsAlarm", Timeouts=[None, 1, None]) == "OK"
    assert says("TimeoutsAlarm", Timeouts=[2, None, 2]) == "ALARM"
    assert says("ThrottlesAlarm", Throttles=[0, 5, 0, 0, 5]) == "OK"
    assert says("ThrottlesAlarm", Throttles=[0, 5, 5, 0, 5]) == "ALARM"
    assert says("FailedInvocationsAlarm", invocations=[100] * 3, errors=[0, 50, 0]) == "OK"
    assert says("FailedInvocationsAlarm", invocations=[100] * 3, errors=[6, 0, 6]) == "ALARM"
    assert says("OutOfMemoryAlarm", OutOfMemory=[1]) == "ALARM", "whatever was killed once is killed again"


# -- what opens a ticket


def test_the_most_frequent_reason_alone_decides_about_rejections() -> None:
    assert says("ContractBrokenAlarm", received=[1000], missingfield=[11]) == "ALARM"
    assert says("ContractBrokenAlarm", received=[1000], missingfield=[9], wrongtype=[9]) == "OK"
    assert says("UnreadableEventsAlarm", received=[1000], notjson=[11], missingfield=[0]) == "ALARM"
    assert says("GoodEventsRejectedAlarm", notfinite=[1]) == "ALARM"


def test_an_old_version_and_many_cold_starts_open_tickets() -> None:
    assert says("ModelOldAlarm", ModelAgeDays=[90.5]) == "ALARM"
    assert says("ModelOldAlarm", ModelAgeDays=[89.5]) == "OK"
    assert says("ColdStartsHigh", invocations=[1000] * 3, cold=[51] * 3) == "ALARM"
    assert says("ColdStartsHigh", invocations=[1000] * 3, cold=[1] * 3, restored=[50] * 3) == "ALARM"
    assert says("ColdStartsHigh", invocations=[1000] * 3, cold=[60, 60, 40]) == "OK"


def test_scores_have_moved_only_where_there_are_enough_of_them() -> None:
    assert {"ScoreShifted"} == LEARNT
    assert evaluate("100 * decided / events", {"decided": [4, None], "events": [8, 8]}) == [50, None]
    for events, verdict in (([300] * 3, "ALARM"), ([299, 300, 300], "OK")):
        states = {"ScoreShifted": "ALARM", "ScoreTraffic": says("ScoreTraffic", SketchedEvents=events)}
        assert rule(COMPOSITES["ScoreMovedAlarm"]["AlarmRule"], states) == verdict
    assert rule(COMPOSITES["ScoreMovedAlarm"]["AlarmRule"], {"ScoreShifted": "OK", "ScoreTraffic": "ALARM"}) == "OK"


def test_what_lies_too_long_in_any_queue_opens_a_ticket_before_sqs_throws_it_away() -> None:
    day = 86_400
    queues = ("rejected", "dead", "givenup", "answers")
    for queue in queues:
        assert says("AboutToExpireAlarm", **{queue: [7.1 * day]}) == "ALARM"
        assert says("AboutToExpireAlarm", **{queue: [6.9 * day]}) == "OK"
    assert says("AboutToExpireAlarm", **{queue: [None] for queue in queues}) == "OK"
    retention_s = {
        name: queue["MessageRetentionPeriod"]
        for name, queue in Stack(load(ROOT / "template.yaml"), EnableKinesis="true").of_type("AWS::SQS::Queue").items()
    }
    in_the_queue_of_events_s = retention_s.pop("EventQueue")
    most_days = load(ROOT / "stacks" / "alarms.yaml")["Parameters"]["MaximumWaitDays"]["MaxValue"]
    assert len(retention_s) == 4
    assert all(most_days * day + in_the_queue_of_events_s < kept_s for kept_s in retention_s.values())


# -- roll-outs


@pytest.mark.parametrize(
    ("moved", "deployed", "verdict"), [([None] * 10, [None] * 15, "OK"), ([None] * 9 + [3], [None] * 15, "ALARM")]
)
def test_a_channel_move_is_a_roll_out_for_ten_minutes(moved: Series, deployed: Series, verdict: str) -> None:
    states = {
        "ChannelMove": says("ChannelMove", ModelLoaded=moved),
        "CodeDeployment": says("CodeDeployment", CodeDeployments=deployed),
    }
    assert rule(COMPOSITES["RollOutUnderWay"]["AlarmRule"], states) == verdict
    assert says("CodeDeployment", CodeDeployments=[1, *[None] * 14]) == "ALARM", "a code deployment for fifteen"


# -- the evaluator itself


def test_metric_math_is_computed_as_cloudwatch_tells() -> None:
    data: dict[str, Series] = {"a": [1, None, 4], "b": [2, 2, 0]}
    assert evaluate("a / b", data) == [0.5, None, None]
    assert evaluate("FILL(a, 0) + b", data) == [3, 2, 4]
    assert evaluate("IF(b > 1, MAX([FILL(a, 0), b]), -1)", data) == [2, 2, -1]
    assert evaluate("DIFF(b)", data) == [None, 0, -2]
    assert evaluate("IF(b > 1 AND FILL(a, 9) > 1, 1, 0)", data) == [0, 1, 0]


@pytest.mark.parametrize(("text", "verdict"), [("ALARM(a) OR ALARM(b)", "ALARM"), ("ALARM(a) AND ALARM(b)", "OK")])
def test_rules_of_composite_alarms_are_read(text: str, verdict: str) -> None:
    assert rule(text, {"a": "ALARM", "b": "OK"}) == verdict


# -- ministack: the metrics that the function writes, alarms on one metric, and the rules above them


@pytest.fixture(scope="module")
def cloudwatch() -> Iterator[Any]:
    with Ministack(ROOT) as aws:
        yield aws.client("cloudwatch")


ONE_METRIC = ("AlarmName", "Namespace", "MetricName", "Statistic", "Period", "EvaluationPeriods", "Threshold")


def put(cloudwatch: Any, name: str) -> str:
    alarm = ALARMS[name]
    given = {key: alarm[key] for key in (*ONE_METRIC, "ComparisonOperator", "TreatMissingData")}
    given |= {"Threshold": float(alarm["Threshold"]), "Dimensions": alarm.get("Dimensions", [])}
    cloudwatch.put_metric_alarm(**given)
    return str(alarm["AlarmName"])


def state_of(cloudwatch: Any, name: str) -> str:
    answer = cloudwatch.describe_alarms(AlarmNames=[name], AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    (alarm,) = answer["MetricAlarms"] + answer["CompositeAlarms"]
    return str(alarm["StateValue"])


TOLD: dict[str, Callable[[Telemetry], None]] = {
    "ModelLoadFailedAlarm": lambda telemetry: telemetry.model_load_failed(ValueError("secret")),
    "FallbackAlarm": lambda telemetry: telemetry.fallback("sqs", 7),
    "ModelOldAlarm": lambda telemetry: telemetry.restored("20260101T000000Z-1a2b3c4d"),
    "ChannelMove": lambda telemetry: telemetry.model_loaded("v2", "v1", {}, "key"),
}


@pytest.mark.emulator
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", TOLD)
def test_what_the_function_writes_sets_the_alarm_off_in_an_emulated_cloudwatch(
    cloudwatch: Any, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    alarm_name = put(cloudwatch, name)
    before = state_of(cloudwatch, alarm_name)
    TOLD[name](Telemetry(MODEL, NAMED))
    forwarder = MetricForwarder(cloudwatch)
    for line in capsys.readouterr().out.splitlines():
        forwarder.add(line)
    assert forwarder.flush() > 0
    assert (before, state_of(cloudwatch, alarm_name)) == ("INSUFFICIENT_DATA", "ALARM")


@pytest.mark.emulator
@pytest.mark.timeout(120)
def test_a_composite_alarm_goes_off_with_its_children_in_an_emulated_cloudwatch(cloudwatch: Any) -> None:
    children = {name: put(cloudwatch, name) for name in ("ChannelMove", "CodeDeployment")}
    text = STACK.of_type("AWS::CloudWatch::CompositeAlarm")["RollOutUnderWay"]["AlarmRule"]
    for name, called in children.items():
        text = text.replace(f'ALARM("<{name}>")', f'ALARM("{called}")')
    cloudwatch.put_composite_alarm(AlarmName="roll-out", AlarmRule=text)
    for moved, deployed in (("OK", "OK"), ("ALARM", "OK"), ("OK", "ALARM"), ("OK", "OK")):
        for name, value in (("ChannelMove", moved), ("CodeDeployment", deployed)):
            cloudwatch.set_alarm_state(AlarmName=children[name], StateValue=value, StateReason="a test")
        expected = rule(COMPOSITES["RollOutUnderWay"]["AlarmRule"], {"ChannelMove": moved, "CodeDeployment": deployed})
        assert state_of(cloudwatch, "roll-out") == expected


@pytest.mark.emulator
@pytest.mark.timeout(120)
def test_the_emulator_still_knows_no_metric_math(cloudwatch: Any) -> None:
    """When it does, the readings of the error budget belong above."""
    query = {"Id": "burn", "Expression": "1 + 1", "ReturnData": True}
    now = datetime.now(UTC)
    answer = cloudwatch.get_metric_data(MetricDataQueries=[query], StartTime=now - timedelta(hours=1), EndTime=now)
    assert "not implemented" in str(answer["MetricDataResults"])
