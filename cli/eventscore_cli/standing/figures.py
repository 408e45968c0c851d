"""The last hour in figures, and what is left of a month's error budget, as the function told CloudWatch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

SOURCES = ("sqs", "kinesis", "kafka", "direct")
COUNTS = ("Received", "Scored", "Rejected", "Returned")
PERCENTILES = ("p50", "p95", "p99")
_HOUR_S, _DAY_S, _MONTH = 3600, 86400, timedelta(days=30)
_PER_CALL = 500

_Ask = tuple[str, str, Mapping[str, str], timedelta, int]


@dataclass(frozen=True)
class SourceFigures:
    """One model's last hour from one source; milliseconds by percentile."""

    model: str
    source: str
    received: float
    scored: float
    rejected: float
    returned: float
    latency_ms: dict[str, float]


@dataclass(frozen=True)
class Figures:
    """``budget_left`` is the share of 30 days' error budget that is left, by model; negative where more was spent."""

    sources: tuple[SourceFigures, ...]
    cold_starts: dict[str, float]
    budget_left: dict[str, float]
    objective_percent: float


def figures(
    cloudwatch: Any, namespace: str, service: str, models: Sequence[str], now: datetime, objective_percent: float
) -> Figures:
    """All figures in as few calls as it takes; what was not told is not there."""
    hour = timedelta(hours=1)
    asks: dict[tuple[str, ...], _Ask] = {}
    for model in models:
        whole = {"service": service, "model": model}
        asks[model, "", "ColdStart"] = ("ColdStart", "Sum", whole, hour, _HOUR_S)
        for source in SOURCES:
            of = {**whole, "source": source}
            for name in COUNTS:
                asks[model, source, name] = (name, "Sum", of, hour, _HOUR_S)
            for percentile in PERCENTILES:
                asks[model, source, percentile] = ("Latency", percentile, of, hour, _HOUR_S)
            for name in ("Received", "Returned", "FallbackAnswers"):
                asks[model, source, name, "month"] = (name, "Sum", of, _MONTH, _DAY_S)
    # Whole minutes, so that an hour is one period of an hour.
    told = _ask(cloudwatch, namespace, asks, now.replace(second=0, microsecond=0) + timedelta(minutes=1))
    rows = []
    for model in models:
        for source in SOURCES:
            received, scored, rejected, returned = (sum(told[model, source, name], 0.0) for name in COUNTS)
            if received:
                latency = {name: values[0] for name in PERCENTILES if (values := told[model, source, name])}
                rows.append(SourceFigures(model, source, received, scored, rejected, returned, latency))
    budget = {}
    for model in models:
        received, returned, by_rule = (
            sum(
                sum(told[model, source, name, "month"])
                for source in SOURCES
                if source != "direct" or name != "Returned"
            )
            for name in ("Received", "Returned", "FallbackAnswers")
        )
        if received:
            budget[model] = 1 - (returned + by_rule) / (received * (1 - objective_percent / 100))
    cold_starts = {model: sum(values) for model in models if (values := told[model, "", "ColdStart"])}
    return Figures(tuple(rows), cold_starts, budget, objective_percent)


def _ask(
    cloudwatch: Any, namespace: str, asks: Mapping[tuple[str, ...], _Ask], now: datetime
) -> dict[tuple[str, ...], list[float]]:
    """The values of each question. One call for each span of time."""
    told: dict[tuple[str, ...], list[float]] = {}
    for span in {ask[3] for ask in asks.values()}:
        keys = [key for key, ask in asks.items() if ask[3] == span]
        for start in range(0, len(keys), _PER_CALL):
            part = keys[start : start + _PER_CALL]
            queries = [_query(f"q{number}", namespace, asks[key]) for number, key in enumerate(part)]
            values: dict[str, list[float]] = {}
            more: dict[str, Any] = {}
            while True:
                answer = cloudwatch.get_metric_data(
                    MetricDataQueries=queries, StartTime=now - span, EndTime=now, **more
                )
                for result in answer["MetricDataResults"]:
                    values.setdefault(result["Id"], []).extend(result["Values"])
                if not answer.get("NextToken"):
                    break
                more = {"NextToken": answer["NextToken"]}
            told.update({key: values.get(f"q{number}", []) for number, key in enumerate(part)})
    return told


def _query(name: str, namespace: str, ask: _Ask) -> dict[str, Any]:
    metric, statistic, dimensions, _, period_s = ask
    return {
        "Id": name,
        "MetricStat": {
            "Metric": {
                "Namespace": namespace,
                "MetricName": metric,
                "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
            },
            "Period": period_s,
            "Stat": statistic,
        },
    }
