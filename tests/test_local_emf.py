"""Metrics out of log lines in the embedded metric format."""

import json
from typing import Any

from eventscore_local.emf import MetricForwarder, metrics_in


def emf_line(**values: object) -> str:
    metrics = [{"Name": name, "Unit": "Count"} for name in values]
    directive = {"Namespace": "eventscore", "Dimensions": [["service"], []], "Metrics": metrics}
    return json.dumps(
        {"_aws": {"Timestamp": 1_700_000_000_000, "CloudWatchMetrics": [directive]}, "service": "score", **values}
    )


class FakeCloudWatch:
    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def put_metric_data(self, **call: Any) -> None:
        self.calls.append(call)


def test_each_dimension_set_of_a_document_is_a_metric_of_its_own() -> None:
    first, second = metrics_in(emf_line(received=[3, 4.5]))
    assert (first.namespace, first.name, first.unit, first.values) == ("eventscore", "received", "Count", (3.0, 4.5))
    assert (first.dimensions, second.dimensions) == ({"service": "score"}, {})
    assert first.timestamp == 1_700_000_000


def test_lines_that_are_no_documents_hold_no_metrics() -> None:
    lines = ["", "START RequestId: x", "{}", '{"_aws": 5}', '{"_aws": ', '["_aws"]', '{"message": "about \\"_aws\\""}']
    assert [metric for line in lines for metric in metrics_in(line)] == []


def test_a_value_that_is_no_number_is_left_out() -> None:
    assert [metric.name for metric in metrics_in(emf_line(a="text", b=True, c=None, d=1))] == ["d", "d"]


def test_the_forwarder_sends_a_thousand_metrics_a_call_and_each_once() -> None:
    client = FakeCloudWatch()
    forwarder = MetricForwarder(client)
    for _ in range(600):
        forwarder.add(emf_line(received=1))
    assert forwarder.flush() == 1200
    assert forwarder.flush() == 0
    assert [len(call["MetricData"]) for call in client.calls] == [1000, 200]
    assert client.calls[0]["Namespace"] == "eventscore"
    assert client.calls[0]["MetricData"][0]["Dimensions"] == [{"Name": "service", "Value": "score"}]
