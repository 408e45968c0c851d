"""The Lambda function: wires settings, model, sources and sinks, and handles every kind of invocation.

Imports are in the order of a cold start. What stands at the top is light and begins to pull the model; what scores (numpy, ONNX
Runtime) is imported while the files are on their way.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

# numpy's OpenBLAS would start a thread for each processor when it is imported, and nothing here multiplies matrices with numpy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from eventscore.background import Background
from eventscore.errors import EventscoreError, SettingsInvalid
from eventscore.live_model import LiveModel
from eventscore.process_age import process_age_ms
from eventscore.served_manifest import PULLED_FILES
from eventscore.settings import REJECT_QUEUE_URL, SINK, Settings
from eventscore.signing import Ed25519Verifier
from eventscore.sources.recognise import is_direct, is_warm_up, recognise
from eventscore.stopwatch import Stopwatch
from eventscore.store.location import open_store_to_read
from eventscore.store.versions import ModelVersions
from eventscore.telemetry import Telemetry

if TYPE_CHECKING:
    from eventscore.artifact import Artifact
    from eventscore.records import Record
    from eventscore.service import ScoringService


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
        _check_queues(settings)
        telemetry = Telemetry(settings.model, environment)
        pulls = [Background(partial(_pull, settings))]

        def load() -> Artifact:
            pulling = pulls.pop() if pulls else Background(partial(_pull, settings))
            return _load(settings, telemetry, pulling)

        function = cls(LiveModel(load), _service(settings), telemetry)
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
        return self._batch(invocation)

    def _batch(self, invocation: Any) -> Any:
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
        result = self._service.process(artifact, source.name, records)
        origins = {position: records[position].origin for position in result.returned}
        self._telemetry.batch(source.name, artifact.version, result, _ms_since(began), origins)
        return source.response(invocation, result.returned)

    def _direct(self, events: list[Any]) -> list[dict[str, Any]]:
        import msgspec

        from eventscore.scoring import Answer, score_messages

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
        from eventscore.service import BatchResult

        reason = type(error).__name__
        result = BatchResult(len(records), 0, Counter(), dict.fromkeys(range(len(records)), reason))
        origins = {position: record.origin for position, record in enumerate(records)}
        self._telemetry.batch(source, "none", result, _ms_since(began), origins)


class _Pulled(NamedTuple):
    versions: ModelVersions
    version: str
    files: Mapping[str, bytes]
    watch: Stopwatch


def _pull(settings: Settings) -> _Pulled:
    watch = Stopwatch()
    with watch.part("connect"):
        versions = ModelVersions(open_store_to_read(settings.store), settings.model)
    with watch.part("pointer"):
        version = versions.resolve(settings.channel)
    with watch.part("pull"):
        files = versions.read_files(version, PULLED_FILES)
    return _Pulled(versions, version, files, watch)


def _load(settings: Settings, telemetry: Telemetry, pulling: Background[_Pulled]) -> Artifact:
    # Here, and not where the model is needed first: its imports take longer than the pull, and go on beside it.
    from eventscore.artifact import prove_pulled

    verifier = Ed25519Verifier(settings.trusted_keys)
    age, waiting = process_age_ms(), Stopwatch()
    with waiting.part("wait"):
        versions, version, files, watch = pulling.result()
    watch.parts_ms |= waiting.parts_ms
    if age is not None:
        watch.parts_ms["process"] = age
    artifact = prove_pulled(versions, version, files, verifier, watch)
    ready = process_age_ms()
    if ready is not None:
        watch.parts_ms["total"] = ready
    telemetry.cold_start(version, watch.parts_ms, artifact.signed_by)
    return artifact


def _check_queues(settings: Settings) -> None:
    if (settings.sink is None) != (settings.reject_queue_url is None):
        missing = SINK if settings.sink is None else REJECT_QUEUE_URL
        raise SettingsInvalid(missing, "a sink and a reject queue together, or neither (direct invocations only)", None)


def _service(settings: Settings) -> ScoringService | None:
    if settings.sink is None or settings.reject_queue_url is None:
        return None
    from eventscore.delivery.sqs import SqsSink
    from eventscore.service import ScoringService

    sqs = _sqs_client()
    sink = SqsSink(settings.sink.removeprefix("sqs:"), sqs)
    return ScoringService(sink, SqsSink(settings.reject_queue_url, sqs), lambda: datetime.now(UTC))


def _sqs_client() -> Any:
    """A client of SQS: plain where the environment is, with botocore's behind it."""
    from eventscore.aws import DeferredClient, client
    from eventscore.delivery.plain_sqs import PlainSqsClient
    from eventscore.plain_access import plain_access

    connect_timeout_s, read_timeout_s = 2.0, 5.0
    # Where somebody has loaded botocore already, it is what they want to send with.
    access = None if "botocore" in sys.modules else plain_access("sqs", os.environ)
    if access is not None:
        whole = DeferredClient("sqs", connect_timeout_s=connect_timeout_s, read_timeout_s=read_timeout_s, attempts=2)
        return PlainSqsClient(access, whole, connect_timeout_s=connect_timeout_s, read_timeout_s=read_timeout_s)
    from botocore.exceptions import NoRegionError

    try:
        return client("sqs", connect_timeout_s=connect_timeout_s, read_timeout_s=read_timeout_s)
    except NoRegionError:
        raise SettingsInvalid("AWS_DEFAULT_REGION", "the region of the queues (Lambda sets it)", None) from None


def _message(event: Any) -> bytes:
    """An event of a direct invocation as bytes again.

    The runtime has parsed it already; NaN, which it lets through, is written as NaN again and refused by the decoder. What cannot be
    written, for its depth or for an integer of thousands of digits, is replaced by something that the decoder refuses in its place.
    """
    import json

    try:
        return json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except RecursionError:
        return _TOO_NESTED
    except ValueError:
        return b"an integer of thousands of digits"


_TOO_NESTED = b'{"":' + b"[" * 2000 + b"]" * 2000 + b"}"


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
