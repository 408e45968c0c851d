"""Metrics out of a function's log lines: the embedded metric format, as CloudWatch Logs extracts it.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_DATUMS_PER_CALL = 1000
_VALUES_PER_DATUM = 150


@dataclass(frozen=True)
class MetricValues:
    """Values of one metric under one set of dimensions, from one EMF document. `timestamp` is Unix seconds."""

    namespace: str
    name: str
    unit: str
    values: tuple[float, ...]
    dimensions: dict[str, str]
    timestamp: float


def metrics_in(line: str) -> Iterator[MetricValues]:
    """The metrics in a log line; none for a line that is no EMF document, or for parts of it that are malformed."""
    if '"_aws"' not in line:
        return
    try:
        document = json.loads(line)
    except ValueError:
        return
    if not isinstance(document, dict) or not isinstance(document.get("_aws"), dict):
        return
    timestamp = float(document["_aws"].get("Timestamp", 0)) / 1000
    for directive in document["_aws"].get("CloudWatchMetrics", []):
        for names in directive.get("Dimensions") or [[]]:
            dimensions = {name: str(document[name]) for name in names if name in document}
            for metric in directive.get("Metrics", []):
                values = _numbers(document.get(metric["Name"]))
                if values:
                    unit = metric.get("Unit", "None")
                    yield MetricValues(directive["Namespace"], metric["Name"], unit, values, dimensions, timestamp)


class MetricForwarder:
    """Takes log lines and puts the metrics in them to CloudWatch. Safe for several threads.

    `add` only collects; `flush` sends, at most 1,000 metrics a call. `client` is a boto3 CloudWatch client.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._waiting: list[MetricValues] = []

    def add(self, line: str) -> None:
        """Take the metrics out of a log line."""
        found = list(metrics_in(line))
        if found:
            with self._lock:
                self._waiting += found

    def flush(self) -> int:
        """Send all that was collected; returns how many values that were."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        by_namespace: dict[str, list[dict[str, Any]]] = {}
        for metric in waiting:
            by_namespace.setdefault(metric.namespace, []).extend(_datums(metric))
        for namespace, datums in by_namespace.items():
            for start in range(0, len(datums), _DATUMS_PER_CALL):
                part = datums[start : start + _DATUMS_PER_CALL]
                self._client.put_metric_data(Namespace=namespace, MetricData=part)
        return sum(len(metric.values) for metric in waiting)


def _numbers(value: object) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(float(one) for one in values if isinstance(one, int | float) and not isinstance(one, bool))


def _datums(metric: MetricValues) -> Iterator[dict[str, Any]]:
    for start in range(0, len(metric.values), _VALUES_PER_DATUM):
        yield {
            "MetricName": metric.name,
            "Unit": metric.unit,
            "Values": list(metric.values[start : start + _VALUES_PER_DATUM]),
            "Dimensions": [{"Name": name, "Value": value} for name, value in metric.dimensions.items()],
            "Timestamp": datetime.fromtimestamp(metric.timestamp, UTC),
        }
