"""Which metrics there are: those that the function really emits, those of a template's metric filters, those of AWS. And a comparison.

What is compared is all that CloudWatch tells metrics apart by: namespace, name, and the exact set of dimensions.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import small_model
from cloudformation import Stack
from eventscore import errors
from eventscore.delivery.sink import Message, NotTaken
from eventscore.function import ScoreFunction
from eventscore.scorer import NO_MODEL
from eventscore.service import BatchResult, ScoringService
from eventscore.signing import Ed25519Signer
from eventscore.store.folder import FolderStore
from eventscore.telemetry import Telemetry
from eventscore.violations import REASONS
from eventscore_local.emf import metrics_in
from test_sources import kafka, kinesis, sqs

MODEL, SERVICE, FUNCTION = "small", "watched", "stack-score"
NAMED = {"POWERTOOLS_SERVICE_NAME": SERVICE}
MADE = "20261121T101500Z-1a2b3c4d"
ONLY_IN_KINESIS = frozenset({"StreamName"})

OF_AWS: Mapping[tuple[str, str], tuple[frozenset[str], ...]] = {
    # docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html; by function, and by alias or version
    **{
        ("AWS/Lambda", name): (frozenset({"FunctionName"}), frozenset({"FunctionName", "Resource"}))
        for name in (
            *("Invocations", "Errors", "Throttles", "Duration", "ConcurrentExecutions", "IteratorAge", "OffsetLag"),
            *("ProvisionedConcurrencyUtilization", "ProvisionedConcurrencySpilloverInvocations"),
        )
    },
    # docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    **{
        ("AWS/SQS", name): (frozenset({"QueueName"}),)
        for name in (
            *("ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage", "NumberOfMessagesSent"),
            *("NumberOfMessagesReceived", "NumberOfMessagesDeleted", "ApproximateNumberOfMessagesNotVisible"),
        )
    },
    # docs.aws.amazon.com/streams/latest/dev/monitoring-with-cloudwatch.html
    ("AWS/Kinesis", "IncomingRecords"): (ONLY_IN_KINESIS,),
    ("AWS/Kinesis", "GetRecords.IteratorAgeMilliseconds"): (ONLY_IN_KINESIS,),
    # docs.aws.amazon.com/msk/latest/developerguide/metrics-details.html, consumer-lag metrics
    ("AWS/Kafka", "EstimatedMaxTimeLag"): (frozenset({"Cluster Name", "Consumer Group", "Topic"}),),
}
"""AWS's own metrics, and the sets of dimensions under which each is there."""


class Metric(NamedTuple):
    """A metric as CloudWatch tells it apart."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]

    def __str__(self) -> str:
        return f"{self.namespace} {self.name} {dict(sorted(self.dimensions))}"


def metric(namespace: str, name: str, dimensions: Mapping[str, str]) -> Metric:
    return Metric(namespace, name, frozenset(dimensions.items()))


def unknown(used: Iterable[Metric], emitted: Iterable[Metric]) -> list[str]:
    """Those among the metrics in use that nobody writes: neither the function nor AWS."""
    known = set(emitted)
    return sorted({str(one) for one in used if one not in known and not _is_of_aws(one)})


def _is_of_aws(one: Metric) -> bool:
    names = frozenset(name for name, _ in one.dimensions)
    return names in OF_AWS.get((one.namespace, one.name), ())


def of_filters(stack: Stack) -> set[Metric]:
    """What the metric filters of a template write."""
    return {
        metric(
            written["MetricNamespace"],
            written["MetricName"],
            {of["Key"]: selected(of["Value"]) for of in written.get("Dimensions", [])},
        )
        for made in stack.of_type("AWS::Logs::MetricFilter").values()
        for written in made["MetricTransformations"]
    }


SKETCH: Mapping[str, Any] = {
    "level": "INFO",
    "message": "drift sketch",
    "service": SERVICE,
    "sketch": {
        "format": 1,
        "model": MODEL,
        "version": MADE,
        "from": "2026-11-21T10:15:00Z",
        "to": "2026-11-21T10:16:00Z",
        "events": 7,
        "numbers": {},
        "categories": {},
        "score": [3, 4, *[0] * 18],
        "outputs": {},
        "decisions": {"low": 3, "late": 4},
    },
}
"""A line of the drift sketch: docs/function.md."""


def selected(selector: str) -> str:
    """What a selector of a metric filter (``$.a.b``) finds in the drift sketch."""
    found: Any = SKETCH
    for name in selector.removeprefix("$.").split("."):
        found = found[name]
    return str(found)


class _Queue:
    """Takes everything but what it is told not to."""

    def __init__(self, *refused: int) -> None:
        self._refused = refused

    def deliver(self, messages: list[Message], *_: object) -> Mapping[int, NotTaken]:
        return {place: NotTaken("sink is down") for place in self._refused if place < len(messages)}


def lines_of_the_function(folder: Path, signer: Ed25519Signer) -> list[dict[str, Any]]:
    """Every metric line that the function can write, written by it: of each source, each reason, each error."""
    small_model.publish(FolderStore(folder), signer)
    environment = {
        **NAMED,
        "EVENTSCORE_STORE": str(folder),
        "EVENTSCORE_MODEL": MODEL,
        "EVENTSCORE_TRUSTED_KEYS": signer.public_key,
    }
    good = small_model.message()
    with contextlib.redirect_stdout(io.StringIO()) as out:
        started = ScoreFunction.from_environment(environment)
        started._service = _service()
        batches: list[Any] = [
            sqs(good.decode(), "no json", good.decode()),
            kinesis(good, b"no json"),
            kafka({"t-0": [good, None]}),
            [small_model.EVENT],
        ]
        for invocation in batches:
            started(invocation, None)
        _tell_the_rest()
    return [line for line in map(json.loads, out.getvalue().splitlines()) if "_aws" in line]


def log_lines() -> list[dict[str, Any]]:
    """The log lines that dashboards read, written by the function."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        telemetry = Telemetry(
            MODEL, {"POWERTOOLS_SERVICE_NAME": uuid4().hex}
        )  # Powertools configures each service once
        result = BatchResult(2, 0, Counter(not_json=1), {1: "sink is down"})
        telemetry.batch("sqs", MADE, result, 1.0, {1: "m-1"})
        telemetry.model_load_failed(ValueError("why"), MADE, "v1", 60.0)
        telemetry.model_loaded(MADE, "v1", {"pull": 1.0}, "key")
    return [dict(SKETCH), *(line for line in map(json.loads, out.getvalue().splitlines()) if "_aws" not in line)]


def fields(lines: Iterable[Mapping[str, Any]]) -> set[str]:
    """The fields of log lines as Logs Insights names them: those of an array are ``<name>.0``, ``<name>.1``."""
    found = set()
    for line in lines:
        for name, of in line.items():
            found |= {f"{name}.{place}" for place in range(len(of))} if isinstance(of, list) else {name}
            if isinstance(of, dict):
                found |= {f"{name}.{part}" for part in fields([of])}
    return found


def _service() -> ScoringService:
    return ScoringService(_Queue(1), _Queue(), lambda: datetime(2026, 11, 21, tzinfo=UTC))


def _tell_the_rest() -> None:
    """What needs a bad day: every reason, every error, the rule, a replacement, a snapshot."""
    telemetry = Telemetry(MODEL, NAMED)
    every = Counter(dict.fromkeys(set(REASONS) - {"unknown_model"}, 1))
    nobody = Telemetry(NO_MODEL, NAMED)
    for source in ("sqs", "kinesis", "kafka"):
        telemetry.batch(source, MADE, BatchResult(every.total(), 0, every, {}), 1.0, {})
        nobody.batch(source, "none", BatchResult(1, 0, Counter(unknown_model=1), {}), 1.0, {})
        telemetry.fallback(source, 1)
    for error in (errors.SignatureMismatch("k", "m"), errors.DigestMismatch("k", "a", "b"), ValueError()):
        telemetry.model_load_failed(error)
    parts = ("connect", "pointer", "pull", "process", "wait", "verify", "session", "golden", "total")
    telemetry.cold_start(MADE, dict.fromkeys(parts, 1.0), "key")
    telemetry.model_loaded(MADE, "v1", {}, "key")
    telemetry.restored(MADE)
    telemetry.not_watched(ValueError(), MADE, None)


def of_lines(lines: Iterable[dict[str, Any]]) -> set[Metric]:
    """The metrics in metric lines."""
    found = (one for line in lines for one in metrics_in(json.dumps(line)))
    return {metric(one.namespace, one.name, one.dimensions) for one in found}


def of_alarm(properties: Mapping[str, Any]) -> list[Metric]:
    """The metrics that an alarm looks at."""
    if "MetricName" in properties:
        return [_of(properties)]
    return [_of(query["MetricStat"]["Metric"]) for query in properties["Metrics"] if "MetricStat" in query]


def _of(named: Mapping[str, Any]) -> Metric:
    dimensions = {of["Name"]: of["Value"] for of in named.get("Dimensions", [])}
    return metric(named["Namespace"], named["MetricName"], dimensions)


_SEARCH = re.compile(r"""SEARCH\(\s*'\{(?P<schema>[^}]*)\}(?P<filter>[^']*)'""")


def of_search(expression: str, emitted: Iterable[Metric]) -> list[Metric]:
    """What a ``SEARCH`` names: the metrics in use that fit, or one that nobody writes where none fits."""
    found: list[Metric] = []
    for match in _SEARCH.finditer(expression):
        namespace, *names = [part.strip().strip('"') for part in match["schema"].split(",")]
        wanted = dict(re.findall(r'(\w+)="([^"]*)"', match["filter"]))
        name = wanted.pop("MetricName", "")
        fits = [
            one
            for one in emitted
            if (one.namespace, one.name) == (namespace, name)
            and {key for key, _ in one.dimensions} == set(names)
            and all(dict(one.dimensions).get(key) == of for key, of in wanted.items())
        ]
        found += fits or [metric(namespace, name, dict.fromkeys(names, "?") | wanted)]
    return found
