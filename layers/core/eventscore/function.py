"""The function as Lambda calls it: every kind of invocation, what it is answered, and what is done when nobody waits any more.

Imports are in the order of a cold start. What stands at the top is light and begins to pull the model; what scores (numpy, ONNX
Runtime) is imported while the files are on their way.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

# numpy's OpenBLAS would start a thread for each processor when it is imported, and nothing here multiplies matrices with numpy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from eventscore.errors import SettingsInvalid
from eventscore.model_cache import Models, OneScorer
from eventscore.model_news import ModelNews, RuleAnswers, VersionLoaded
from eventscore.process_age import process_age_ms
from eventscore.refresher import Refresher
from eventscore.routing import Router
from eventscore.scorer import NO_MODEL, NO_VERSION, Scorer, VersionScorer
from eventscore.settings import PROVISIONED, REJECT_QUEUE_URL, SINK, SNAP_START, Settings
from eventscore.sources.recognise import is_direct, is_warm_up, recognise
from eventscore.sources.source import behind
from eventscore.stopwatch import Stopwatch
from eventscore.telemetry import Telemetry, UnderWay
from eventscore.time_left import TimeLeft
from eventscore.wiring import model_cache, scoring_service, telemetry_by_model

_PATIENCE_S: Final = 5.0
"""How long an invocation whose events are delivered waits for a refresh that is due."""
_RESERVE_S: Final = 2.0
"""What must be left of the invocation's time behind that."""
_RESTORE_PATIENCE_S: Final = 7.0
"""How long a restored snapshot waits for it: Lambda gives restoring and hooks ten seconds together."""

if TYPE_CHECKING:
    from eventscore.artifact import Artifact
    from eventscore.records import Record
    from eventscore.service import BatchResult, ScoringService


class ScoreFunction:
    """Scores SQS, Kinesis and Kafka batches, lists of events, and answers warm-ups.

    ``service`` is None where the function has no sink and is only called directly. ``telemetry`` answers for each model who tells
    of it, ``news`` is where models leave what they have to tell.
    """

    def __init__(
        self,
        models: Models,
        router: Router,
        service: ScoringService | None,
        telemetry: Callable[[str], Telemetry],
        news: deque[ModelNews],
        under_way: UnderWay | None = None,
    ) -> None:
        self._models = models
        self._router = router
        self._service = service
        self._telemetry = telemetry
        self._news = news
        self._under_way = under_way or UnderWay()
        self._refresher = Refresher(models.held)
        self._is_cold = True

    @classmethod
    def of(cls, artifact: Artifact, service: ScoringService | None, telemetry: Telemetry) -> ScoreFunction:
        """A function that scores with one version, which is never looked after."""
        router = Router((artifact.model,))
        return cls(OneScorer(VersionScorer(artifact)), router, service, lambda model: telemetry, deque())

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.time
    ) -> ScoreFunction:
        """The function as the environment configures it, with its first model loaded if it can be had.

        A model that cannot be loaded does not end the cold start: the reason is logged and counted, and each
        invocation tries again, so that a repaired store needs no deployment. ``clock`` answers seconds of wall time.

        Raises:
            SettingsInvalid: the environment is incomplete.

        """
        settings = Settings.from_environment(environment)
        news: deque[ModelNews] = deque()
        under_way = UnderWay()
        models = model_cache(settings, clock, news.append)
        models.prepare(settings.models[0])
        telemetry = telemetry_by_model(environment, under_way)
        telemetry(settings.models[0])  # what is wrong with its settings is an error of the cold start
        function = cls(
            models,
            Router(settings.models, settings.model_field, settings.model_sources),
            scoring_service(settings),
            telemetry,
            news,
            under_way,
        )
        if settings.initialization in (PROVISIONED, SNAP_START):
            function.load_all()
        else:
            function._load(settings.models[0])
        if settings.initialization == SNAP_START:
            from eventscore import snap_start

            snap_start.register(function.load_all, function.after_restore)
        return function

    def __call__(self, invocation: Any, context: Any) -> Any:
        """Answer one invocation.

        A batch gets its partial batch response, a list of events a list of answers, a warm-up the version that is loaded.

        Raises:
            InvocationNotRecognised: nobody sends such a thing.
            ArtifactRefused, StoreError: there is no model to score with. The source keeps the whole batch.
            SettingsInvalid: a batch came, and no sink is configured, or no model for its source.

        """
        self._refresher.invocation_begins()
        self._under_way.begins(context)
        self._tell_news()
        if is_direct(invocation):
            answers = self._direct(invocation)
            self._refresher.start()  # the answers are on their way to somebody who waits for them
            return answers
        if is_warm_up(invocation):
            self._scorer(self._router.models[0])
            self._refresh(context)
            return self._warm()
        response = self._batch(invocation, TimeLeft.of(context))
        self._refresh(context)
        return response

    def load_all(self) -> None:
        """Load every model before there are events: for provisioned concurrency, and for what goes into a snapshot. Never raises."""
        for model in self._router.models:
            self._load(model)

    def after_restore(self) -> None:
        """Catch up on what happened since the snapshot was taken, which may be weeks ago. Never raises."""
        import random

        random.seed()  # every environment of this snapshot would wait the same random times
        self._refresher.invocation_begins()
        self._load(self._router.models[0])
        for live in self._models.held():
            live.look_at_once()
        self._refresher.start()
        self._refresher.wait(_RESTORE_PATIENCE_S)
        self._tell_news()

    def _batch(self, invocation: Any, time_left: TimeLeft) -> Any:
        source = recognise(invocation)
        if self._service is None:
            raise SettingsInvalid(f"{SINK} and {REJECT_QUEUE_URL}", "both, to score a batch", None)
        records = source.records(invocation)
        lanes = source.lanes(invocation)
        returned: dict[int, str] = {}
        failures: list[Exception] = []
        began = time.perf_counter()
        try:
            groups = self._router.batch(invocation, records)
        except SettingsInvalid as error:
            self._tell_batch(NO_MODEL, source.name, NO_VERSION, records, _all_returned(records, error), began)
            raise
        for model, positions in groups.items():
            began = time.perf_counter()
            own = records if len(groups) == 1 else [records[position] for position in positions]
            version = NO_VERSION
            try:
                scorer = self._scorer(model)
            except Exception as error:  # told already; other models may answer
                failures.append(error)
                result = _all_returned(own, error)
            else:
                version = scorer.version
                own_lanes = lanes if lanes is None or own is records else [lanes[position] for position in positions]
                held_back = behind(returned, positions, lanes) if returned and lanes is not None else ()
                result = self._service.process(scorer, source.name, own, time_left, own_lanes, held_back)
                if scorer.is_rule:
                    with _whatever_cannot_be_told():
                        self._telemetry(scorer.model).fallback(source.name, result.scored)
            self._tell_batch(model or NO_MODEL, source.name, version, own, result, began)
            returned |= {positions[position]: reason for position, reason in result.returned.items()}
        if failures and len(failures) == len(groups):
            raise failures[0]
        return source.response(invocation, returned)

    def _tell_batch(
        self, model: str, source: str, version: str, records: Sequence[Record], result: BatchResult, began: float
    ) -> None:
        with _whatever_cannot_be_told():
            origins = {position: records[position].origin for position in result.returned}
            self._telemetry(model).batch(source, version, result, _ms_since(began), origins)

    def _direct(self, events: list[Any]) -> list[dict[str, Any]]:
        import msgspec

        from eventscore.scoring import Answer

        messages = [_message(event) for event in events]
        answers: list[dict[str, Any]] = [{}] * len(messages)
        for model, positions in self._router.direct(messages).items():
            began = time.perf_counter()
            scorer = self._scorer(model)
            outcomes = scorer.score([messages[position] for position in positions], datetime.now(UTC))
            scored = 0
            for position, outcome in zip(positions, outcomes, strict=True):
                if isinstance(outcome, Answer):
                    scored += 1
                    answers[position] = msgspec.to_builtins(outcome)
                else:
                    rejected = {"reason": outcome.reason, "field": outcome.field, "detail": outcome.detail}
                    answers[position] = {"rejected": rejected, "model": scorer.model, "version": scorer.version}
            telemetry = self._telemetry(model or NO_MODEL)
            telemetry.direct(scorer.version, scored, len(outcomes) - scored, _ms_since(began))
            if scorer.is_rule:
                telemetry.fallback("direct", scored)
        return answers

    def _warm(self) -> dict[str, Any]:
        """What is loaded: the first model, and where there are several, each that answers now."""
        first, *others = self._router.models
        scorer = self._scorer(first)
        answer: dict[str, Any] = {"model": scorer.model, "version": scorer.version}
        if scorer.is_rule:
            answer["fallback"] = True
        if others:
            answer["models"] = {live.model: live.serving.version for live in self._models.held() if live.serving}
        return answer

    def _load(self, model: str) -> None:
        with suppress(Exception):  # told by telemetry; the first invocation tries again, and raises
            self._scorer(model)

    def _scorer(self, model: str | None) -> Scorer:
        if model is None:
            return self._router.nobody
        try:
            scorer = self._models.get(model, self._cold_watch() if self._is_cold else None)
            self._is_cold = False
        finally:
            self._tell_news()
        return scorer

    def _cold_watch(self) -> Stopwatch:
        # Here, and not where it is needed first: its imports take longer than the pull, and go on beside it.
        import eventscore.artifact  # noqa: F401

        watch = Stopwatch()
        age = process_age_ms()
        if age is not None:
            watch.parts_ms["process"] = age
        return watch

    def _refresh(self, context: Any) -> None:
        """What is due is looked after while nobody waits: the events of this invocation are delivered."""
        patience_s = _PATIENCE_S
        if context is not None:
            patience_s = min(patience_s, context.get_remaining_time_in_millis() / 1000 - _RESERVE_S)
        if patience_s > 0:
            self._refresher.start()
            self._refresher.wait(patience_s)
            self._tell_news()

    def _tell_news(self) -> None:
        while self._news:
            with _whatever_cannot_be_told():
                self._tell_of(self._news.popleft())

    def _tell_of(self, news: ModelNews) -> None:
        telemetry = self._telemetry(news.model)
        match news:
            case VersionLoaded(parts_ms=parts) if news.replaced is None and "process" in parts:
                ready = process_age_ms()
                total = {} if ready is None else {"total": ready}
                telemetry.cold_start(news.version, {**parts, **total}, news.signed_by)
            case VersionLoaded():
                telemetry.model_loaded(news.version, news.replaced, news.parts_ms, news.signed_by)
            case RuleAnswers():
                telemetry.rule_answers(news.origin)
            case _:
                telemetry.model_load_failed(news.error, news.version, news.serving, news.retry_in_s)


@contextmanager
def _whatever_cannot_be_told() -> Iterator[None]:
    """What cannot be told (a log level that nobody knows) must not bring a batch back whose answers are out."""
    try:
        yield
    except Exception as error:  # any: its source would send the batch again, and again
        print(f'{{"level":"ERROR","message":"telemetry failed","error":"{type(error).__name__}"}}', file=sys.stderr)


def _all_returned(records: Sequence[Record], error: Exception) -> BatchResult:
    from eventscore.service import BatchResult

    reason = type(error).__name__
    return BatchResult(len(records), 0, Counter(), dict.fromkeys(range(len(records)), reason))


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
