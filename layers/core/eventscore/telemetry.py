"""What the function tells CloudWatch: metrics in the Embedded Metric Format, and structured logs through Powertools.

Dimensions are few (service, model, source, reason, error). What has many values (the version, record ids) is metadata, searchable
and free. What is counted by source, reason or error is counted for the whole model as well, which is what alarms look at.
Neither metrics nor logs hold anything of an event's content.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from eventscore.errors import EventscoreError
from eventscore.metric_lines import COUNT, MILLISECONDS, MetricDocument, MetricLines

if TYPE_CHECKING:
    from aws_lambda_powertools.logging import Logger

    from eventscore.service import BatchResult
    from eventscore.sketch import Sketch
    from eventscore.tracing import Trace, Tracing

NAMESPACE = "eventscore"
SERVICE = "eventscore"
OTHER_ERROR = "Other"
"""Stands in the dimension ``error`` for whatever is not an error of eventscore: their names would be without number."""
_DAYS = "None"
"""CloudWatch has no unit for days."""
_SECONDS_OF_A_DAY = 86_400
_LOGGED_ORIGINS = 10
_BATCH = {
    **dict.fromkeys(("Received", "Scored", "Rejected", "Returned", "BatchSize"), COUNT),
    "Latency": MILLISECONDS,
}


class UnderWay:
    """The invocation that is under way: what a reader of Powertools' logs looks for in every line of them."""

    def __init__(self, tracing: Tracing | None = None) -> None:
        self._context: Any = None
        self._invocations = 0
        self._tracing = tracing
        self.trace: Trace | None = None
        """Where the invocation is sampled for X-Ray."""

    def begins(self, context: Any) -> None:
        """Another invocation begins; ``context`` is Lambda's, None where nobody gave one."""
        self._context = context
        self._invocations += 1
        if self._tracing is not None:
            self.trace = self._tracing.sampled()

    @property
    def is_first(self) -> bool:
        """Whether it is the environment's first: Powertools calls that a cold start."""
        return self._invocations == 1

    def keys(self) -> dict[str, Any]:
        """By the names that Powertools' ``inject_lambda_context`` gives them; empty outside an invocation."""
        context = self._context
        if context is None:
            return {}
        return {
            "cold_start": self.is_first,
            "function_name": getattr(context, "function_name", None),
            "function_memory_size": getattr(context, "memory_limit_in_mb", None),
            "function_arn": getattr(context, "invoked_function_arn", None),
            "function_request_id": getattr(context, "aws_request_id", None),
        }


class Telemetry:
    """Emits metrics and logs for one model. Namespace and service come from Powertools' environment variables, or are ``eventscore``."""

    def __init__(self, model: str, environment: Mapping[str, str], under_way: UnderWay | None = None) -> None:
        self._under_way = under_way or UnderWay()
        self._model = model
        self._service = environment.get("POWERTOOLS_SERVICE_NAME") or SERVICE
        namespace = environment.get("POWERTOOLS_METRICS_NAMESPACE") or NAMESPACE
        self._batches: dict[tuple[str, str], MetricDocument] = {}
        self._lines = MetricLines(namespace, self._service, {"model": model}, environment)

    @cached_property
    def _logger(self) -> Logger:
        # Imported when there is something to log: the first event does not wait for it.
        from aws_lambda_powertools.logging import Logger

        return Logger(service=self._service)

    def batch(
        self, source: str, version: str, result: BatchResult, latency_ms: float, origins: Mapping[int, str]
    ) -> None:
        """One invocation's counts and latency; what was rejected by reason; a log line where something was returned."""
        rejected = result.rejected.total() if result.rejected else 0
        counts = (result.received, result.scored, rejected, len(result.returned), result.received, latency_ms)
        document = self._batches.get((source, version)) or self._of_batches(source, version)
        document.write(counts)
        if self._under_way.trace is not None:
            self._traced(self._under_way.trace, source, version, counts)
        if result.rejected:
            for reason, count in result.rejected.items():
                by_reason = {"source": source, "reason": reason}
                self._emit(by_reason, {"RejectedByReason": (COUNT, count)}, summed_over=("source",), version=version)
            self._log(
                "info",
                "records rejected",
                extra={"source": source, "version": version, "reasons": dict(result.rejected)},
            )
        if result.returned:
            some = list(result.returned.items())[:_LOGGED_ORIGINS]
            self._log(
                "warning",
                "records returned to their source",
                extra={
                    "source": source,
                    "version": version,
                    "returned": len(result.returned),
                    "reasons": sorted({reason for _, reason in some}),
                    "origins": [origins[position] for position, _ in some],
                },
            )

    def direct(self, version: str, scored: int, rejected: int, latency_ms: float) -> None:
        """One direct invocation: nothing of it can be returned to a source."""
        received = scored + rejected
        counts = (received, scored, rejected, 0, received, latency_ms)
        self._of_batches("direct", version).write(counts)
        if self._under_way.trace is not None:
            self._traced(self._under_way.trace, "direct", version, counts)

    def cold_start(self, version: str, parts_ms: Mapping[str, float], signed_by: str) -> None:
        """The model is loaded: how long each part of the cold start took.

        The line tells what a log line would, too: Powertools' logger would be imported for nothing else.
        """
        parts = {f"ColdStart{name.title()}": (MILLISECONDS, round(value, 3)) for name, value in parts_ms.items()}
        metrics = {"ColdStart": (COUNT, 1), **parts, **_age(version)}
        self._emit({}, metrics, version=version, signed_by=signed_by, message="model loaded")

    def restored(self, version: str) -> None:
        """An environment was started from its snapshot: that is what a cold start is with SnapStart."""
        self._emit({}, {"Restored": (COUNT, 1), **_age(version)}, version=version)

    def model_load_failed(
        self,
        error: Exception,
        version: str | None = None,
        serving: str | None = None,
        retry_in_s: float | None = None,
    ) -> None:
        """A version, or the pointer to it, cannot be had: the reason, as a metric to alarm on and a log line to read.

        ``serving`` is the version that answers meanwhile, None where none does.
        """
        name = type(error).__name__
        by_error = {"error": name if isinstance(error, EventscoreError) else OTHER_ERROR}
        self._emit(by_error, {"ModelLoadFailed": (COUNT, 1)}, summed_over=("error",))
        told = {"error": name, "reason": str(error), "version": version, "serving": serving}
        self._log("error", "model not loaded", extra={**told, "retry_in_s": retry_in_s})

    def model_loaded(self, version: str, replaced: str | None, parts_ms: Mapping[str, float], signed_by: str) -> None:
        """A version answers from now on, in an environment that was warm; ``replaced`` did before, None where nobody did."""
        self._emit({}, {"ModelLoaded": (COUNT, 1), **_age(version)}, version=version, replaced=replaced)
        parts = {name: round(value, 3) for name, value in parts_ms.items()}
        told = {"version": version, "replaced": replaced, "parts_ms": parts, "signed_by": signed_by}
        self._log("info", "model loaded", extra=told)

    def sketch(self, sketch: Sketch) -> None:
        """What a version has met since the last one, for whoever watches for drift: a log line that no log level suppresses."""
        line = {"level": "INFO", "message": "drift sketch", "service": self._service, "sketch": sketch}
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")

    def not_watched(self, error: Exception, version: str, retry_in_s: float | None) -> None:
        """A version answers, and what it meets cannot be counted."""
        self._emit({}, {"SketchFailed": (COUNT, 1)}, version=version, error=type(error).__name__)
        # Our own errors speak of files and bins. Others may quote an event.
        reason = str(error) if isinstance(error, EventscoreError) else type(error).__name__
        told = {"error": type(error).__name__, "reason": reason, "version": version, "retry_in_s": retry_in_s}
        self._log("warning", "no drift sketch", extra=told)

    def rule_answers(self, origin: str) -> None:
        """No version can be had: the fallback rule of the contract at ``origin`` answers from now on."""
        self._log("error", "the contract's fallback rule answers", extra={"contract": origin})

    def fallback(self, source: str, answers: int) -> None:
        """So many events were answered by the rule."""
        self._emit({"source": source}, {"FallbackAnswers": (COUNT, answers)}, summed_over=("source",))

    def _traced(self, trace: Trace, source: str, version: str, counts: tuple[float, ...]) -> None:
        """The same for X-Ray."""
        received, scored, rejected, returned, _, latency_ms = counts
        annotations: dict[str, str | float | bool] = {
            "ColdStart": self._under_way.is_first,
            "Model": self._model,
            "Version": version,
            "Source": source,
            "Received": received,
            "Scored": scored,
            "Rejected": rejected,
            "Returned": returned,
        }
        trace.scored(self._service, latency_ms, annotations)

    def _log(self, level: str, message: str, extra: Mapping[str, Any]) -> None:
        getattr(self._logger, level)(message, extra={**self._under_way.keys(), **extra})

    def _of_batches(self, source: str, version: str) -> MetricDocument:
        document = self._batches.get((source, version))
        if document is None:
            document = self._lines.document({"source": source}, _BATCH, {"version": version}, summed_over=("source",))
            # One version at a time answers, and a batch without a model has none.
            self._batches = {key: of for key, of in self._batches.items() if key[1] == version} | {
                (source, version): document
            }
        return document

    def _emit(
        self,
        dimensions: Mapping[str, str],
        metrics: Mapping[str, tuple[str, float]],
        summed_over: Collection[str] = (),
        **metadata: Any,
    ) -> None:
        self._lines.write(dimensions, metrics, metadata, summed_over)


def _age(version: str) -> dict[str, tuple[str, float]]:
    """How old the version is: its name begins with the time of its making. Nothing for a version that is named otherwise."""
    try:
        made = datetime.fromisoformat(version.partition("-")[0]).timestamp()
    except ValueError:
        return {}
    return {"ModelAgeDays": (_DAYS, round((time.time() - made) / _SECONDS_OF_A_DAY, 3))}
