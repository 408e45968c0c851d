"""The demo in figures: where every message ended, how fast, how well the model did."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eventscore_flights.demo.accounts import Accounts, SourceAccount
from eventscore_flights.demo.plan import SOURCES, Plan
from eventscore_flights.demo.telemetry import FunctionTelemetry
from eventscore_local.dashboard import Panel

COLD_START_PARTS = ("process", "connect", "pointer", "pull", "verify", "session", "golden", "total")


@dataclass(frozen=True)
class RunFacts:
    """What the run itself knows: the version, what ran the function, how long it took until the last arrival (seconds)."""

    model: str
    version: str
    kind: str
    environments: int
    elapsed_s: float
    init_durations_ms: tuple[float, ...]


@dataclass(frozen=True)
class Series:
    """What the plots need. Times are seconds since the first message was sent."""

    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.bool_]
    decisions: Mapping[str, int]
    arrived_s: npt.NDArray[np.float64]
    latencies_ms: Mapping[str, list[tuple[float, float]]]
    on_call: tuple[Panel, ...]


@dataclass(frozen=True)
class Summary:
    """All figures of a run; ``document`` is what summary.json holds."""

    facts: RunFacts
    sources: Mapping[str, SourceAccount]
    cloudwatch: Mapping[str, Mapping[str, int]]
    percentiles_ms: Mapping[str, tuple[float, float]]
    roc_auc: float
    cold_start_parts_ms: Mapping[str, float]
    reasons: Counter[str]
    batch_size: float
    errors: tuple[str, ...]
    series: Series

    @property
    def events_per_s(self) -> float:
        """Messages that ended at a far end, over the time until the last of them."""
        ended = sum(account.scored + account.rejected for account in self.sources.values())
        return ended / self.facts.elapsed_s if self.facts.elapsed_s else 0.0

    @property
    def problems(self) -> tuple[str, ...]:
        """What must not be: a lost message, one in the wrong place, counts that do not add up, here or in CloudWatch."""
        found = []
        for source, account in self.sources.items():
            if account.lost:
                found.append(f"{source}: {account.lost} of {account.sent} messages are lost")
            if account.wrong:
                found.append(f"{source}: {account.wrong} messages ended where they must not")
            if account.sent != account.scored + account.rejected + account.returned + account.lost:
                found.append(f"{source}: sent is not scored + rejected + returned + lost: {account}")
            counts = self.cloudwatch[source]
            if counts["received"] != counts["scored"] + counts["rejected"] + counts["returned"]:
                found.append(f"{source}: in CloudWatch received is not scored + rejected + returned: {dict(counts)}")
        return tuple(found)

    @property
    def document(self) -> dict[str, Any]:
        """summary.json."""
        return {
            "model": self.facts.model,
            "version": self.facts.version,
            "sources": {source: asdict(account) for source, account in self.sources.items()},
            "events_per_s": round(self.events_per_s, 1),
            "roc_auc": round(self.roc_auc, 4),
            "p50_ms": round(self.percentiles_ms["all"][0], 2),
            "p99_ms": round(self.percentiles_ms["all"][1], 2),
            "cold_start_ms": round(self.cold_start_parts_ms.get("total", 0.0), 1),
            "cold_start_parts_ms": {name: round(value, 1) for name, value in self.cold_start_parts_ms.items()},
            "init_duration_ms": [round(value, 1) for value in self.facts.init_durations_ms],
            "handler_ms": {
                name: {"p50": round(p50, 2), "p99": round(p99, 2)} for name, (p50, p99) in self.percentiles_ms.items()
            },
            "rejected_by_reason": dict(self.reasons.most_common()),
            "decisions": dict(self.series.decisions),
            "mean_batch_size": round(self.batch_size, 1),
            "elapsed_s": round(self.facts.elapsed_s, 2),
            "environments": self.facts.environments,
            "runtime": self.facts.kind,
            "cloudwatch": {source: dict(counts) for source, counts in self.cloudwatch.items()},
            "function_errors": len(self.errors),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
            "problems": list(self.problems),
        }


def sum_up(
    plan: Plan,
    accounts: Accounts,
    settled: Mapping[str, SourceAccount],
    telemetry: FunctionTelemetry,
    cloudwatch: Mapping[str, Mapping[str, int]],
    facts: RunFacts,
    on_call: tuple[Panel, ...] = (),
) -> Summary:
    """Put everything into figures. Each flight counts once for ROC-AUC, however often it was sent.

    ``on_call`` are the panels of the on-call dashboard.
    """
    by_event = {answer["event_id"]: answer for answer in accounts.scored.values()}
    scores = np.array([answer["score"] for answer in by_event.values()], dtype=np.float64)
    labels = np.array([plan.labels[event_id] for event_id in by_event], dtype=np.bool_)
    percentiles = {source: _percentiles(telemetry.latencies_ms[source]) for source in SOURCES}
    every = [pair for source in SOURCES for pair in telemetry.latencies_ms[source]]
    return Summary(
        facts=facts,
        sources=settled,
        cloudwatch=cloudwatch,
        percentiles_ms={"all": _percentiles(every), **percentiles},
        roc_auc=roc_auc(labels, scores),
        cold_start_parts_ms={
            part: float(np.median(telemetry.cold_starts_ms[part]))
            for part in COLD_START_PARTS
            if telemetry.cold_starts_ms.get(part)
        },
        reasons=Counter(accounts.rejected.values()),
        batch_size=float(np.mean(telemetry.batch_sizes)) if telemetry.batch_sizes else 0.0,
        errors=tuple(telemetry.errors),
        series=Series(
            scores=scores,
            labels=labels,
            decisions=Counter(answer["decision"] for answer in by_event.values()),
            arrived_s=np.array(accounts.arrived_at) - telemetry.started,
            latencies_ms={source: list(telemetry.latencies_ms[source]) for source in SOURCES},
            on_call=on_call,
        ),
    )


def roc_auc(labels: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> float:
    """Area under the ROC curve, by the ranks of the positives (Mann-Whitney U; ties share their mean rank). NaN for one class."""
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _percentiles(latencies: list[tuple[float, float]]) -> tuple[float, float]:
    if not latencies:
        return 0.0, 0.0
    p50, p99 = np.percentile([milliseconds for _, milliseconds in latencies], [50, 99])
    return float(p50), float(p99)
