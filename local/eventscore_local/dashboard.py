"""A CloudWatch dashboard drawn without CloudWatch: its template filled in, its metric panels computed over metrics out of log lines.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-Dashboard-Body-Structure.html
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from eventscore_local.emf import MetricValues
from eventscore_local.metric_math import Series, evaluate


@dataclass(frozen=True)
class Line:
    """One line of a panel: a value for each period, None where there was no data."""

    label: str
    values: Series


@dataclass(frozen=True)
class Panel:
    """A metric widget. ``absent`` are the labels of lines for which there are no data; ``levels`` its horizontal annotations."""

    title: str
    lines: tuple[Line, ...]
    absent: tuple[str, ...]
    levels: Mapping[str, float]


class MetricStore:
    """Metrics by namespace, name and dimensions, in periods of ``period_s`` from the first value on."""

    def __init__(self, values: Iterable[MetricValues], period_s: float) -> None:
        every = list(values)
        self._began = min((each.timestamp for each in every), default=0.0)
        ended = max((each.timestamp for each in every), default=0.0)
        self._period_s = period_s
        self.periods = int((ended - self._began) / period_s) + 1
        self._buckets: dict[tuple[str, str, frozenset[tuple[str, str]]], dict[int, list[float]]] = defaultdict(dict)
        for each in every:
            period = int((each.timestamp - self._began) / period_s)
            buckets = self._buckets[each.namespace, each.name, frozenset(each.dimensions.items())]
            buckets.setdefault(period, []).extend(each.values)

    def series(self, namespace: str, name: str, dimensions: Mapping[str, str], stat: str) -> list[float | None]:
        """A statistic of a metric, for each period."""
        buckets = self._buckets.get((namespace, name, frozenset(dimensions.items())), {})
        return [_statistic(stat, buckets[period]) if period in buckets else None for period in range(self.periods)]


def dashboard_body(template: Path, resource: str, values: Mapping[str, str]) -> dict[str, Any]:
    """The body of a dashboard in a template whose ``DashboardBody`` is an ``Fn::Sub``.

    ``values`` stand for parameters, pseudo parameters and names of the ``Fn::Sub``; what is not given has its parameter's default.
    """
    loaded = yaml.load(template.read_text(encoding="utf-8"), _Loader)  # noqa: S506  a safe loader with tags
    defaults = {name: str(of["Default"]) for name, of in loaded["Parameters"].items() if "Default" in of}
    text, _ = loaded["Resources"][resource]["Properties"]["DashboardBody"]
    known = {**defaults, **values}
    body: dict[str, Any] = json.loads(re.sub(r"\$\{([^}]+)\}", lambda found: known[found[1]], text))
    return body


def panels(body: Mapping[str, Any], metrics: MetricStore) -> Iterator[Panel]:
    """The metric widgets of a dashboard, in its order. Widgets of other kinds are left out."""
    for widget in body["widgets"]:
        if widget["type"] == "metric":
            yield _panel(widget["properties"], metrics)


def _panel(properties: Mapping[str, Any], metrics: MetricStore) -> Panel:
    by_id: dict[str, Series] = {}
    shown: list[tuple[str, Series | str]] = []
    for row in properties["metrics"]:
        *named, options = row if isinstance(row[-1], dict) else [*row, {}]
        if not named:
            shown.append((options.get("label", options["expression"]), options["expression"]))
            continue
        namespace, name, *pairs = named
        dimensions = dict(zip(pairs[::2], pairs[1::2], strict=True))
        series = metrics.series(namespace, name, dimensions, options.get("stat", properties.get("stat", "Average")))
        by_id[options.get("id", "")] = series
        if options.get("visible", True):
            shown.append((options.get("label", name), series))
    lines = [
        Line(label, evaluate(of, {**by_id, "": [None] * metrics.periods}) if isinstance(of, str) else of)
        for label, of in shown
    ]
    annotated = properties.get("annotations", {}).get("horizontal", [])
    return Panel(
        properties["title"],
        tuple(line for line in lines if any(value is not None for value in line.values)),
        tuple(line.label for line in lines if all(value is None for value in line.values)),
        {level["label"]: float(level["value"]) for level in annotated},
    )


def _statistic(stat: str, values: Sequence[float]) -> float:
    match stat:
        case "Sum":
            return math.fsum(values)
        case "Average":
            return math.fsum(values) / len(values)
        case "Maximum":
            return max(values)
        case "Minimum":
            return min(values)
    ordered = sorted(values)
    share = float(stat.removeprefix("p")) / 100
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class _Loader(yaml.SafeLoader):
    """Takes what stands behind CloudFormation's short forms as it is: only the text of a ``!Sub`` is looked at."""


def _behind(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return node.value


_Loader.add_multi_constructor("!", _behind)
