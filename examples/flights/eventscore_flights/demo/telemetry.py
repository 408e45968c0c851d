"""What the function tells: its metrics, out of its log as CloudWatch takes them, and its log lines."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from eventscore_local.emf import MetricForwarder, MetricValues, metrics_in

_COUNTS = ("Received", "Scored", "Rejected", "Returned")


@dataclass
class FunctionTelemetry:
    """Listens to every log line of every environment; safe for several threads."""

    forwarder: MetricForwarder
    latencies_ms: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """By source, (seconds since the start, milliseconds in the handler) of each invocation."""
    batch_sizes: list[float] = field(default_factory=list)
    cold_starts_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By part of the cold start (process, connect, pointer, pull, verify, session, golden, total), one figure per environment."""
    reasons: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    values: list[MetricValues] = field(default_factory=list)
    """Every metric that the function wrote."""
    started: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def listen(self, line: str) -> None:
        """Take one line of the log."""
        self.forwarder.add(line)
        now = time.monotonic() - self.started
        with self._lock:
            if '"level":"ERROR"' in line or "Traceback" in line:
                self.errors.append(line)
            for metric in metrics_in(line):
                self.values.append(metric)
                source = metric.dimensions.get("source")
                # Those without a source are sums of the same over all of them.
                if source and metric.name == "Latency":
                    self.latencies_ms[source] += [(now, value) for value in metric.values]
                elif source and metric.name == "BatchSize":
                    self.batch_sizes += metric.values
                elif source and metric.name == "RejectedByReason":
                    self.reasons[metric.dimensions["reason"]] += int(sum(metric.values))
                elif metric.name.startswith("ColdStart") and metric.name != "ColdStart":
                    self.cold_starts_ms[metric.name.removeprefix("ColdStart").lower()] += metric.values


def counts_in_cloudwatch(
    cloudwatch: Any, model: str, service: str, sources: tuple[str, ...]
) -> dict[str, dict[str, int]]:
    """Received, scored, rejected and returned by source, as CloudWatch sums them."""
    now = datetime.now(UTC)
    counts: dict[str, dict[str, int]] = {}
    for source in sources:
        dimensions = [
            {"Name": "service", "Value": service},
            {"Name": "model", "Value": model},
            {"Name": "source", "Value": source},
        ]
        counts[source] = {}
        for name in _COUNTS:
            answer = cloudwatch.get_metric_statistics(
                Namespace="eventscore",
                MetricName=name,
                Dimensions=dimensions,
                StartTime=now - timedelta(hours=1),
                EndTime=now + timedelta(minutes=1),
                Period=3600,
                Statistics=["Sum"],
            )
            counts[source][name.lower()] = round(sum(point["Sum"] for point in answer["Datapoints"]))
    return counts
