"""What the function tells CloudWatch: metrics in the Embedded Metric Format and structured logs, both through Powertools.

Dimensions are few (service, model, source, reason). What has many values (the version, record ids) is metadata, searchable and free.
Neither metrics nor logs hold anything of an event's content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from eventscore.service import BatchResult

NAMESPACE = "eventscore"
SERVICE = "eventscore"
_LOGGED_ORIGINS = 10


class Telemetry:
    """Emits metrics and logs for one model. Namespace and service come from Powertools' environment variables, or are ``eventscore``."""

    def __init__(self, model: str, environment: Mapping[str, str]) -> None:
        self._model = model
        self._namespace = environment.get("POWERTOOLS_METRICS_NAMESPACE") or NAMESPACE
        self._service = environment.get("POWERTOOLS_SERVICE_NAME") or SERVICE
        self.logger = Logger(service=self._service)

    def batch(
        self, source: str, version: str, result: BatchResult, latency_ms: float, origins: Mapping[int, str]
    ) -> None:
        """One invocation's counts and latency; what was rejected by reason; a log line where something was returned."""
        self._emit(
            {"source": source},
            {
                "Received": (MetricUnit.Count, result.received),
                "Scored": (MetricUnit.Count, result.scored),
                "Rejected": (MetricUnit.Count, result.rejected.total()),
                "Returned": (MetricUnit.Count, len(result.returned)),
                "BatchSize": (MetricUnit.Count, result.received),
                "Latency": (MetricUnit.Milliseconds, latency_ms),
            },
            version=version,
        )
        for reason, count in result.rejected.items():
            self._emit(
                {"source": source, "reason": reason}, {"RejectedByReason": (MetricUnit.Count, count)}, version=version
            )
        if result.rejected:
            self.logger.info(
                "records rejected", extra={"source": source, "version": version, "reasons": dict(result.rejected)}
            )
        if result.returned:
            some = list(result.returned.items())[:_LOGGED_ORIGINS]
            self.logger.warning(
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
        self._emit(
            {"source": "direct"},
            {
                "Received": (MetricUnit.Count, scored + rejected),
                "Scored": (MetricUnit.Count, scored),
                "Rejected": (MetricUnit.Count, rejected),
                "Returned": (MetricUnit.Count, 0),
                "BatchSize": (MetricUnit.Count, scored + rejected),
                "Latency": (MetricUnit.Milliseconds, latency_ms),
            },
            version=version,
        )

    def cold_start(self, version: str, parts_ms: Mapping[str, float], signed_by: str) -> None:
        """The model is loaded: how long each part of the cold start took."""
        parts = {name: round(value, 3) for name, value in parts_ms.items()}
        self._emit(
            {},
            {
                "ColdStart": (MetricUnit.Count, 1),
                **{f"ColdStart{name.title()}": (MetricUnit.Milliseconds, value) for name, value in parts.items()},
            },
            version=version,
        )
        self.logger.info("model loaded", extra={"version": version, "parts_ms": parts, "signed_by": signed_by})

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
        self._emit({}, {"ModelLoadFailed": (MetricUnit.Count, 1)}, error=type(error).__name__)
        told = {"error": type(error).__name__, "reason": str(error), "version": version, "serving": serving}
        self.logger.error("model not loaded", extra={**told, "retry_in_s": retry_in_s})

    def model_loaded(self, version: str, replaced: str | None, parts_ms: Mapping[str, float], signed_by: str) -> None:
        """A version answers from now on, in an environment that was warm; ``replaced`` did before, None where nobody did."""
        self._emit({}, {"ModelLoaded": (MetricUnit.Count, 1)}, version=version, replaced=replaced)
        parts = {name: round(value, 3) for name, value in parts_ms.items()}
        told = {"version": version, "replaced": replaced, "parts_ms": parts, "signed_by": signed_by}
        self.logger.info("model loaded", extra=told)

    def rule_answers(self, origin: str) -> None:
        """No version can be had: the fallback rule of the contract at ``origin`` answers from now on."""
        self.logger.error("the contract's fallback rule answers", extra={"contract": origin})

    def fallback(self, source: str, answers: int) -> None:
        """So many events were answered by the rule."""
        self._emit({"source": source}, {"FallbackAnswers": (MetricUnit.Count, answers)})

    def _emit(
        self, dimensions: Mapping[str, str], metrics: Mapping[str, tuple[MetricUnit, float]], **metadata: Any
    ) -> None:
        document = EphemeralMetrics(namespace=self._namespace, service=self._service)
        document.add_dimension("model", self._model)
        for dimension, of in dimensions.items():
            document.add_dimension(dimension, of)
        for name, (unit, value) in metrics.items():
            document.add_metric(name=name, unit=unit, value=value)
        for key, what in metadata.items():
            document.add_metadata(key, what)
        document.flush_metrics()
