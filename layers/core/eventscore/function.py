"""The Lambda function: wires settings, model, sources and sinks, and handles every kind of invocation."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from eventscore.artifact import Artifact, load_artifact
from eventscore.errors import EventscoreError, SettingsInvalid
from eventscore.live_model import LiveModel
from eventscore.process_age import process_age_ms
from eventscore.records import Record
from eventscore.scoring import Answer, score_messages
from eventscore.service import BatchResult, ScoringService
from eventscore.settings import REJECT_QUEUE_URL, SINK, Settings
from eventscore.signing import Ed25519Verifier
from eventscore.sources.recognise import is_direct, is_warm_up, recognise
from eventscore.stopwatch import Stopwatch
from eventscore.store.location import open_store
from eventscore.store.versions import ModelVersions
from eventscore.telemetry import Telemetry
from eventscore.time_left import TimeLeft


class ScoreFunction:
    """Scores SQS, Kinesis and Kafka batches, lists of events, and answers warm-ups.

    ``service`` is None where the function has no sink and is only called directly.
    """

    def __init__(self, model: LiveModel, service: ScoringService | None, telemetry: Telemetry) -> None:
        self._model = model
        self._service = service
        self._telemetry = telemetry

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ScoreFunction:
        """The function as the environment configures it, with its model loaded if it can be had.

        A model that cannot be loaded does not end the cold start: the reason is logged and counted, and each
        invocation tries again, so that a repaired store needs no deployment.

        Raises:
            SettingsInvalid: the environment is incomplete.

        """
        settings = Settings.from_environment(environment)
        telemetry = Telemetry(settings.model, environment)
        function = cls(LiveModel(lambda: _load(settings, telemetry)), _service(settings), telemetry)
        with suppress(EventscoreError):  # told by telemetry; the first invocation tries again, and raises
            function._artifact()
        return function

    def __call__(self, invocation: Any, context: Any) -> Any:
        """Answer one invocation.

        A batch gets its partial batch response, a list of events a list of answers, a warm-up the version that is loaded.

        Raises:
            InvocationNotRecognised: nobody sends such a thing.
            ArtifactRefused, StoreError: there is no model to score with. The source keeps the whole batch.
            SettingsInvalid: a batch came, and no sink is configured.

        """
        if is_warm_up(invocation):
            artifact = self._artifact()
            return {"model": artifact.model, "version": artifact.version}
        if is_direct(invocation):
            return self._direct(invocation)
        return self._batch(invocation, TimeLeft.of(context))

    def _batch(self, invocation: Any, time_left: TimeLeft) -> Any:
        began = time.perf_counter()
        source = recognise(invocation)
        if self._service is None:
            raise SettingsInvalid(f"{SINK} and {REJECT_QUEUE_URL}", "both, to score a batch", None)
        records = source.records(invocation)
        try:
            artifact = self._artifact()
        except EventscoreError as error:
            self._returned_all(source.name, records, error, began)
            raise
        result = self._service.process(artifact, source.name, records, time_left, source.lanes(invocation))
        origins = {position: records[position].origin for position in result.returned}
        self._telemetry.batch(source.name, artifact.version, result, _ms_since(began), origins)
        return source.response(invocation, result.returned)

    def _direct(self, events: list[Any]) -> list[dict[str, Any]]:
        began = time.perf_counter()
        artifact = self._artifact()
        outcomes = score_messages(artifact, [_message(event) for event in events], datetime.now(UTC))
        answers: list[dict[str, Any]] = []
        for outcome in outcomes:
            if isinstance(outcome, Answer):
                answers.append(msgspec.to_builtins(outcome))
            else:
                rejected = {"reason": outcome.reason, "field": outcome.field, "detail": outcome.detail}
                answers.append({"rejected": rejected, "model": artifact.model, "version": artifact.version})
        scored = sum(isinstance(outcome, Answer) for outcome in outcomes)
        self._telemetry.direct(artifact.version, scored, len(outcomes) - scored, _ms_since(began))
        return answers

    def _artifact(self) -> Artifact:
        try:
            return self._model.get()
        except EventscoreError as error:
            self._telemetry.model_load_failed(error)
            raise

    def _returned_all(self, source: str, records: list[Record], error: Exception, began: float) -> None:
        reason = type(error).__name__
        result = BatchResult(len(records), 0, Counter(), dict.fromkeys(range(len(records)), reason))
        origins = {position: record.origin for position, record in enumerate(records)}
        self._telemetry.batch(source, "none", result, _ms_since(began), origins)


def _load(settings: Settings, telemetry: Telemetry) -> Artifact:
    watch = Stopwatch()
    age = process_age_ms()
    if age is not None:
        watch.parts_ms["process"] = age
    with watch.part("connect"):
        versions = ModelVersions(open_store(settings.store), settings.model)
    with watch.part("pointer"):
        version = versions.resolve(settings.channel)
    artifact = load_artifact(versions, version, Ed25519Verifier(settings.trusted_keys), watch)
    ready = process_age_ms()
    if ready is not None:
        watch.parts_ms["total"] = ready
    telemetry.cold_start(version, watch.parts_ms, artifact.signed_by)
    return artifact


def _service(settings: Settings) -> ScoringService | None:
    if settings.sink is None and settings.reject_queue_url is None:
        return None
    if settings.sink is None or settings.reject_queue_url is None:
        missing = SINK if settings.sink is None else REJECT_QUEUE_URL
        raise SettingsInvalid(missing, "a sink and a reject queue together, or neither (direct invocations only)", None)
    from eventscore.delivery.open_sinks import open_sinks  # only a function with a sink needs them

    sinks = open_sinks(settings.sink, settings.reject_queue_url, settings.idempotency_table)
    return ScoringService(*sinks, lambda: datetime.now(UTC))


def _message(event: Any) -> bytes:
    """An event of a direct invocation as bytes again.

    The runtime has parsed it already; NaN, which it lets through, is written as NaN again and refused by the decoder. What cannot be
    written, for its depth or for an integer of thousands of digits, is replaced by something that the decoder refuses in its place.
    """
    try:
        return json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except RecursionError:
        return _TOO_NESTED
    except ValueError:
        return b"an integer of thousands of digits"


_TOO_NESTED = b'{"":' + b"[" * 2000 + b"]" * 2000 + b"}"


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
