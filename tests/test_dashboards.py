"""Dashboards draw what is really written: metrics by their names and dimensions, fields of log lines by theirs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any

import pytest

from cloudformation import Stack, load
from conftest import ROOT
from eventscore.signing import Ed25519Signer
from metric_names import (
    FUNCTION,
    MODEL,
    SERVICE,
    SKETCH,
    Metric,
    fields,
    lines_of_the_function,
    log_lines,
    metric,
    of_filters,
    of_lines,
    of_search,
    unknown,
)
from test_alarms import ALL_SOURCES, OF_THE_MODEL, acting, alarms

HERE = {"AWS::Partition": "aws", "AWS::Region": "us-east-1", "AWS::AccountId": "123456789012"}
QUEUES = {
    "EventQueueName": "events",
    "EventDeadLetterQueueName": "dead",
    "RejectQueueName": "rejects",
    "StreamFailureQueueName": "failures",
    "MskClusterName": "brokers",
}
_WORDS = {
    *(
        "SOURCE",
        "filter",
        "and",
        "or",
        "in",
        "not",
        "like",
        "ispresent",
        "stats",
        "sum",
        "count",
        "avg",
        "min",
        "max",
        "pct",
        "by",
    ),
    *("bin", "sort", "desc", "asc", "display", "fields", "limit", "as", "parse", "d", "h", "m", "strcontains"),
}
"""The words of Logs Insights' language: docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html"""


def stack(**parameters: str) -> Stack:
    return Stack(load(ROOT / "stacks" / "dashboards.yaml"), **{**HERE, **OF_THE_MODEL, **QUEUES, **parameters})


def bodies(of: Stack) -> dict[str, dict[str, Any]]:
    return {
        name: json.loads(dashboard["DashboardBody"])
        for name, dashboard in of.of_type("AWS::CloudWatch::Dashboard").items()
    }


BODIES = bodies(stack())
WIDGETS = [(name, widget) for name, body in BODIES.items() for widget in body["widgets"]]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory, signer: Ed25519Signer) -> list[dict[str, Any]]:
    return lines_of_the_function(tmp_path_factory.mktemp("store"), signer)


@pytest.fixture(scope="module")
def emitted(lines: list[dict[str, Any]]) -> set[Metric]:
    return of_lines(lines) | of_filters(alarms())


def rows(widget: Mapping[str, Any]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """The metrics of a widget: namespace, name and dimensions, and the options behind them."""
    for row in widget["properties"].get("metrics", []):
        *named, options = row if isinstance(row[-1], dict) else [*row, {}]
        yield named, options


def used(widget: Mapping[str, Any], emitted: set[Metric]) -> Iterable[Metric]:
    for named, options in rows(widget):
        if named:
            namespace, name, *pairs = named
            yield metric(namespace, name, dict(zip(pairs[::2], pairs[1::2], strict=True)))
        yield from of_search(options.get("expression", ""), emitted)


def test_there_is_one_for_whoever_decides_one_for_whoever_is_on_call_and_one_for_whoever_looks_for_a_cause() -> None:
    named = {made["DashboardName"] for made in stack().of_type("AWS::CloudWatch::Dashboard").values()}
    assert named == {"eventscore-executive", "eventscore-on-call", "eventscore-debug"}


def test_every_metric_that_a_dashboard_draws_is_written_by_the_function_or_by_aws(emitted: set[Metric]) -> None:
    drawn = [one for _, widget in WIDGETS for one in used(widget, emitted)]
    assert len(set(drawn)) > 50
    assert unknown(drawn, emitted) == []


@pytest.mark.parametrize(
    "expression",
    [
        "SEARCH('{eventscore,model,service,source} MetricName=\"Recieved\" model=\"small\"', 'Sum', 60)",
        "SEARCH('{eventscore,model,source} MetricName=\"Received\" model=\"small\"', 'Sum', 60)",
        "SEARCH('{eventscore,model,service,source} MetricName=\"Received\" model=\"large\"', 'Sum', 60)",
        "SEARCH('{events,model,service,source} MetricName=\"Received\" model=\"small\"', 'Sum', 60)",
    ],
)
def test_a_search_that_would_find_nothing_is_found(emitted: set[Metric], expression: str) -> None:
    assert unknown(of_search(expression, emitted), emitted)
    good = f"SEARCH('{{eventscore,model,service,source}} MetricName=\"Received\" service=\"{SERVICE}\"', 'Sum', 60)"
    found = of_search(good, emitted)
    assert {dict(one.dimensions)["source"] for one in found} == {"sqs", "kinesis", "kafka", "direct"}
    assert not unknown(found, emitted)


def test_every_expression_names_metrics_of_its_own_widget() -> None:
    for name, widget in WIDGETS:
        ids = {options["id"] for _, options in rows(widget) if "id" in options}
        for _, options in rows(widget):
            expression = options.get("expression", "")
            if expression and "SEARCH" not in expression:
                wanted = set(re.findall(r"\b[a-z]\w*\b", expression))
                assert wanted <= ids, f"{name}, {widget['properties']['title']}"


def fields_of(query: str) -> set[str]:
    """The fields of log lines that a query reads."""
    parsed = re.findall(r"parse @message '[^']*' as ([\w, ]+)", query)
    made = {name.strip() for names in parsed for name in names.split(",")}
    made |= set(re.findall(r"\bas (\w+)", query)) | set(re.findall(r"\(\?<(\w+)>", query))
    query = re.sub(r"'[^']*'|/.*/", "", query)
    return set(re.findall(r"(?<![\w.@])@?[A-Za-z_][\w.]*", query)) - _WORDS - made - {"@timestamp", "@message"}


def test_every_field_that_a_query_reads_stands_in_a_line_that_the_function_writes(lines: list[dict[str, Any]]) -> None:
    known = fields([*lines, *log_lines()])
    queries = [widget["properties"]["query"] for _, widget in WIDGETS if widget["type"] == "log"]
    assert len(queries) >= 6
    for query in queries:
        assert fields_of(query) - known == set(), query
        assert query.startswith(f"SOURCE '/aws/lambda/{FUNCTION}' | ")


def test_what_a_query_parses_out_of_a_sketch_stands_there() -> None:
    line = json.dumps(SKETCH, separators=(",", ":"))
    queries = [widget["properties"]["query"] for _, widget in WIDGETS if widget["type"] == "log"]
    patterns = [found for query in queries for found in re.findall(r"parse @message /(.*)/", query)]
    ((glob, names),) = [
        found for query in queries for found in re.findall(r"parse @message '([^']*)' as ([\w, ]+?) \|", query)
    ]
    bins = re.search(re.escape(glob).replace(r"\*", "(.*?)"), line)
    assert bins
    assert list(map(int, bins.groups())) == SKETCH["sketch"]["score"]
    assert len(names.split(", ")) == len(bins.groups())
    assert len(patterns) == 2
    parsed: dict[str, str] = {}
    for pattern in patterns:
        found = re.search(pattern.replace("(?<", "(?P<"), line)
        assert found, pattern
        parsed |= found.groupdict()
    assert {name: json.loads(text) for name, text in parsed.items()} == {
        name: SKETCH["sketch"][name] for name in ("decisions", "numbers", "categories")
    }


def test_a_field_that_no_line_has_is_found() -> None:
    query = "SOURCE 'x' | filter model = 'y' | stats sum(Scored.0) as scored, max(Skored.0) by verson, bin(1h)"
    assert fields_of(query) == {"model", "Scored.0", "Skored.0", "verson"}
    assert {"Skored.0", "verson"} & fields(log_lines()) == set()


def test_what_a_query_filters_by_its_words_is_what_the_function_says() -> None:
    messages = {line["message"] for line in log_lines()}
    queries = " ".join(widget["properties"]["query"] for _, widget in WIDGETS if widget["type"] == "log")
    sought = set(re.findall(r"message = '([^']*)'", queries))
    assert sought
    assert sought <= messages


def test_widgets_stand_side_by_side_and_each_says_what_it_shows() -> None:
    for name, body in BODIES.items():
        for widget in body["widgets"]:
            assert widget["properties"]["title"], name
            assert widget["x"] + widget["width"] <= 24, "a dashboard is 24 units wide"
            assert "alarms" in widget["properties"] or widget["properties"]["region"] == "us-east-1"
        for one, other in combinations(body["widgets"], 2):
            apart = (
                one["x"] + one["width"] <= other["x"]
                or other["x"] + other["width"] <= one["x"]
                or one["y"] + one["height"] <= other["y"]
                or other["y"] + other["height"] <= one["y"]
            )
            assert apart, f"{one['properties']['title']} lies over {other['properties']['title']}"


def test_the_alarms_that_are_shown_are_there_and_all_that_page_are_shown() -> None:
    (shown,) = [widget["properties"]["alarms"] for _, widget in WIDGETS if widget["type"] == "alarm"]
    paging = {alarm["AlarmName"] for alarm in acting(alarms()).values() if alarm["AlarmActions"] == ["<PageTopic>"]}
    held_back_by = "eventscore-roll-out-under-way"
    assert {arn.rpartition(":")[2] for arn in shown} == paging | {held_back_by}
    assert all(arn.startswith("arn:aws:cloudwatch:us-east-1:123456789012:alarm:") for arn in shown)


def test_the_objectives_are_those_of_the_alarms() -> None:
    watched = alarms().template["Parameters"]
    shown = stack().template["Parameters"]
    for name in shown.keys() & watched.keys():
        assert shown[name].get("Default") == watched[name].get("Default"), name
    assert {"LatencySloMilliseconds", "AvailabilitySloPercent", "NamePrefix"} <= shown.keys() & watched.keys()
    assert {"Model", "FunctionName", *ALL_SOURCES} <= watched.keys()


def test_a_queue_that_is_not_there_leaves_an_empty_line_and_no_empty_name(emitted: set[Metric]) -> None:
    without = bodies(stack(**dict.fromkeys(QUEUES, "")))
    drawn = [one for body in without.values() for widget in body["widgets"] for one in used(widget, emitted)]
    assert unknown(drawn, emitted) == []
    assert all(value for one in drawn for _, value in one.dimensions)
    assert {of for one in drawn for name, of in one.dimensions if name == "QueueName"} == {"none"}


def test_the_model_of_the_template_is_the_one_that_is_drawn(emitted: set[Metric]) -> None:
    drawn = {dict(one.dimensions).get("model") for _, widget in WIDGETS for one in used(widget, emitted)}
    assert drawn == {MODEL, None}
