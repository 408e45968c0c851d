"""A dashboard drawn on this machine is the one of the stack: the same panels, computed over what the function wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import ROOT
from eventscore_flights.demo.on_call import on_call_panels
from eventscore_local.dashboard import MetricStore, Panel, dashboard_body, panels
from eventscore_local.emf import MetricValues
from eventscore_local.metric_math import ExpressionUnknown, evaluate
from metric_names import FUNCTION, MODEL, SERVICE
from test_dashboards import QUEUES, stack

WHOLE = {"model": MODEL, "service": SERVICE}


def told(name: str, second: float, *values: float, **dimensions: str) -> MetricValues:
    return MetricValues("eventscore", name, "Count", values, {**WHOLE, **dimensions}, 1_700_000_000 + second)


def drawn(*values: MetricValues) -> dict[str, Panel]:
    return {panel.title: panel for panel in on_call_panels(ROOT, MODEL, SERVICE, values)}


def test_the_body_is_the_one_that_cloudformation_would_make() -> None:
    of_the_stack = stack()
    made = of_the_stack.of_type("AWS::CloudWatch::Dashboard")["OnCallDashboard"]["DashboardBody"]
    values = {
        "Model": MODEL,
        "ServiceName": SERVICE,
        "FunctionName": FUNCTION,
        "AWS::Region": "us-east-1",
        "Queue": QUEUES["EventQueueName"],
        "DeadLetterQueue": QUEUES["EventDeadLetterQueueName"],
        "RejectQueue": QUEUES["RejectQueueName"],
        "StreamFailureQueue": QUEUES["StreamFailureQueueName"],
        "Msk": QUEUES["MskClusterName"],
        "LogGroup": f"/aws/lambda/{FUNCTION}",
        "Alarms": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:eventscore",
    }
    assert dashboard_body(ROOT / "stacks" / "dashboards.yaml", "OnCallDashboard", values) == json.loads(made)


def test_every_metric_panel_of_the_dashboard_is_drawn_in_its_order() -> None:
    (body,) = [
        json.loads(made["DashboardBody"])
        for name, made in stack(Model=MODEL).of_type("AWS::CloudWatch::Dashboard").items()
        if name == "OnCallDashboard"
    ]
    titles = [widget["properties"]["title"] for widget in body["widgets"] if widget["type"] == "metric"]
    here = [title.replace(" a minute", " a second") for title in titles]
    assert list(drawn(told("Received", 0, 1.0))) == here
    assert len(titles) >= 8
    assert here != titles


def test_no_panel_says_a_period_that_its_values_do_not_have() -> None:
    """The stack's panels count by the minute, the demo's by the second."""
    for title, panel in drawn(told("Received", 0, 1.0), told("Latency", 0, 1.0)).items():
        for text in (title, *panel.absent, *(line.label for line in panel.lines)):
            assert "minute" not in text, text


def test_zeros_and_a_single_value_are_seen_and_no_axis_ends_at_a_twentieth_of_a_second() -> None:
    from matplotlib.figure import Figure

    from eventscore_flights.demo.report import _panel

    seen = drawn(told("Received", 0, 1.0), told("Received", 3, 1.0), told("ColdStart", 0, 1.0))
    for title in ("error budget burn (14.4 and 6 page)", "models: loads, and what failed"):
        axes = Figure().add_subplot()
        _panel(axes, seen[title])
        assert axes.get_xlim() == (0, 3)
        assert axes.get_ylim()[1] >= 1
        (line, *_) = axes.get_lines()
        assert not line.get_clip_on()
        assert line.get_marker() == "."


def test_lines_are_sums_percentiles_and_expressions_over_periods() -> None:
    seen = drawn(
        told("Received", 0, 100.0),
        told("Received", 0.5, 100.0),
        told("Received", 0.6, 100.0, source="sqs"),  # already among the sums
        told("Returned", 0, 1.0),
        told("Received", 2.5, 50.0),
        told("Latency", 0, *range(1, 101)),
    )
    ends = {line.label: line.values for line in seen["events a second, and where they ended"].lines}
    assert ends == {"received": [200, None, 50], "returned to the source": [1, None, None]}
    (burn,) = seen["error budget burn (14.4 and 6 page)"].lines
    assert burn.values[0] == pytest.approx(5)  # half a percent of 0.1 %
    assert list(burn.values[1:]) == [None, 0]
    latency = {line.label: line.values[0] for line in seen["latency of the handler, ms"].lines}
    assert latency == {"p50": 50, "p95": 95, "p99": 99}
    assert seen["latency of the handler, ms"].levels == {"objective of the p95": 1000}


def test_a_line_without_data_is_named_and_not_drawn() -> None:
    panel = drawn(told("Received", 0, 1.0))["errors of the function"]
    assert panel.lines == ()
    assert panel.absent == ("errors", "throttles", "timeouts", "killed, most likely for their memory")


def test_nothing_told_draws_nothing() -> None:
    assert all(panel.lines == () for panel in drawn().values())


@pytest.mark.parametrize("expression", ["RATE(a)", "a ** 2", "a +", "lambda: a"])
def test_what_cannot_be_computed_is_said(expression: str) -> None:
    with pytest.raises(ExpressionUnknown):
        evaluate(expression, {"a": [1.0]})


def test_options_of_a_widget_hold_for_its_rows_unless_they_say_otherwise() -> None:
    row: list[Any] = ["eventscore", "Received", "model", MODEL, "service", SERVICE]
    widget = {
        "title": "t",
        "stat": "Sum",
        "metrics": [[*row, {"label": "sum"}], [*row, {"stat": "Maximum", "label": "most"}], row],
    }
    body = {"widgets": [{"type": "metric", "properties": widget}, {"type": "log", "properties": {}}]}
    store = MetricStore([told("Received", 0, 2.0, 3.0)], 60)
    (panel,) = panels(body, store)
    assert [(line.label, list(line.values)) for line in panel.lines] == [("sum", [5]), ("most", [3]), ("Received", [5])]
