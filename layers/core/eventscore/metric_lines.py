"""Metrics in CloudWatch's Embedded Metric Format: one JSON line for each document, as Powertools for AWS writes it.

Powertools takes over a hundred microseconds to build such a line, half of what a batch of one event costs, and tens of milliseconds
to be imported. The lines are the same, and so are the environment variables that name namespace and service or switch metrics off;
a test compares the two. Format: docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from eventscore.errors import SettingsInvalid

COUNT, MILLISECONDS = "Count", "Milliseconds"
_TRUE, _FALSE = ("1", "y", "yes", "t", "true", "on"), ("0", "n", "no", "f", "false", "off")
_DISABLED, _DEVELOPMENT = "POWERTOOLS_METRICS_DISABLED", "POWERTOOLS_DEV"


class MetricLines:
    """Writes documents with the dimensions ``of_all`` and ``service`` to standard output, where Lambda's log agent reads them."""

    def __init__(self, namespace: str, service: str, of_all: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self._namespace = namespace
        self._service = service
        self._of_all = of_all
        self._enabled = _enabled(environment)
        self._encode = msgspec.json.Encoder().encode

    def write(
        self, dimensions: Mapping[str, str], metrics: Mapping[str, tuple[str, float]], metadata: Mapping[str, Any]
    ) -> None:
        """One document. ``metrics`` names unit and value; ``metadata`` is searchable in the log and is no dimension."""
        if not self._enabled:
            return
        # As Powertools orders them: the service comes last.
        named = {**self._of_all, **dimensions, "service": self._service}
        document = {
            "_aws": {
                "Timestamp": time.time_ns() // 1_000_000,
                "CloudWatchMetrics": [
                    {
                        "Namespace": self._namespace,
                        "Dimensions": [list(named)],
                        "Metrics": [{"Name": name, "Unit": unit} for name, (unit, _) in metrics.items()],
                    }
                ],
            },
            **named,
            **metadata,
        }
        for name, (_, value) in metrics.items():
            document[name] = [float(value)]
        # One call: a line that is written in two may have another one in its midst.
        sys.stdout.write(self._encode(document).decode() + "\n")


def _enabled(environment: Mapping[str, str]) -> bool:
    """Whether metrics are written: not where they are disabled, nor in Powertools' development mode unless asked for."""
    disabled = _truth(environment, _DISABLED)
    return not (disabled or (disabled is None and _truth(environment, _DEVELOPMENT)))


def _truth(environment: Mapping[str, str], name: str) -> bool | None:
    value = environment.get(name)
    if value is None:
        return None
    if value.lower() not in (*_TRUE, *_FALSE):
        raise SettingsInvalid(name, "true or false", value)
    return value.lower() in _TRUE
