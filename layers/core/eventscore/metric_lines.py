"""Metrics in CloudWatch's Embedded Metric Format: one JSON line for each document, as Powertools for AWS writes it.

Powertools takes over a hundred microseconds to build such a line, half of what a batch of one event costs, and tens of milliseconds
to be imported. The lines are the same, and so are the environment variables that name namespace and service or switch metrics off;
a test compares the two. Format: docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping
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

    def document(
        self,
        dimensions: Mapping[str, str],
        units: Mapping[str, str],
        metadata: Mapping[str, Any],
        summed_over: Collection[str] = (),
        whole: Collection[str] = (),
    ) -> MetricDocument:
        """A document whose metrics are written again and again, with the same dimensions and metadata.

        ``units`` names the metrics, ``whole`` those whose values are integers; the others' are floats. ``metadata`` is searchable in the
        log and is no dimension. The dimensions ``summed_over`` are left out in a second set: CloudWatch sums no metric over a dimension
        by itself, and an alarm cannot search for what to sum.
        """
        # As Powertools orders them: the service comes last.
        named = {**self._of_all, **dimensions, "service": self._service}
        sets = [list(named)]
        if summed_over:
            sets.append([name for name in named if name not in summed_over])
        definition = {
            "Namespace": self._namespace,
            "Dimensions": sets,
            "Metrics": [{"Name": name, "Unit": unit} for name, unit in units.items()],
        }
        # What is the same in every line is encoded once; what changes are numbers, which need no escapes. As Powertools does it,
        # all are written as floats: to make one of an integer would take longer than to write it as one.
        same = f"{_json({'CloudWatchMetrics': [definition]})[1:]},{_json({**named, **metadata})[1:-1]}"
        values = [f"{_json(name).replace('%', '%%')}:[{'%d.0' if name in whole else '%s'}]" for name in units]
        return MetricDocument(same, ",".join(values), enabled=self._enabled)

    def write(
        self,
        dimensions: Mapping[str, str],
        metrics: Mapping[str, tuple[str, float]],
        metadata: Mapping[str, Any],
        summed_over: Collection[str] = (),
    ) -> None:
        """One document. ``metrics`` names unit and value."""
        units = {name: unit for name, (unit, _) in metrics.items()}
        self.document(dimensions, units, metadata, summed_over).write(
            tuple(float(value) for _, value in metrics.values())
        )


class MetricDocument:
    """A document but for its time and its values: ``same`` is what stands between them, ``values`` gets the latter by ``%``."""

    def __init__(self, same: str, values: str, *, enabled: bool) -> None:
        self._same = same
        self._values = values
        self._enabled = enabled

    def write(self, values: tuple[float, ...]) -> None:
        """One line with these values, in the order of the units."""
        if self._enabled:
            # One call: a line that is written in two may have another one in its midst.
            now_ms, numbers = time.time_ns() // 1_000_000, self._values % values
            sys.stdout.write(f'{{"_aws":{{"Timestamp":{now_ms},{self._same},{numbers}}}\n')


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _enabled(environment: Mapping[str, str]) -> bool:
    """Whether metrics are written: not where they are disabled, nor in Powertools' development mode unless asked for."""
    disabled = truth(environment, _DISABLED)
    return not (disabled or (disabled is None and truth(environment, _DEVELOPMENT)))


def truth(environment: Mapping[str, str], name: str) -> bool | None:
    """A variable that is true or false, in Powertools' words for it; None where it is not set. Raises ``SettingsInvalid``."""
    value = environment.get(name)
    if value is None:
        return None
    if value.lower() not in (*_TRUE, *_FALSE):
        raise SettingsInvalid(name, "true or false", value)
    return value.lower() in _TRUE
