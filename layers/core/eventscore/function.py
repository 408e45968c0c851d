"""The function as Lambda calls it: every kind of invocation, what it is answered, and what is done when nobody waits any more.

Imports are in the order of a cold start. What stands at the top is light and begins to pull the model; what scores (numpy, ONNX
Runtime) is imported while the files are on their way.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

# numpy's OpenBLAS would start a thread for each processor when it is imported, and nothing here multiplies matrices with numpy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# msgspec looks for typing_extensions, which Powertools and pydantic need, for what Python's own typing has had since 3.11: 3 ms.
if not {"msgspec", "typing_extensions"} & sys.modules.keys():
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]  # an import of it fails
    __import__("msgspec")
    del sys.modules["typing_extensions"]

from eventscore.direct import answer_events
from eventscore.errors import RecordsReturned, SettingsInvalid
from eventscore.model_cache import Models, OneScorer
from eventscore.model_news import ModelNews
from eventscore.process_age import process_age_ms
from eventscore.refresher import Refresher
from eventscore.routing import Router
from eventscore.scorer import NO_VERSION, Scorer, VersionScorer
from eventscore.settings import PROVISIONED, REJECT_QUEUE_URL, SINK, SNAP_START, Settings
from eventscore.sources.recognise import HOLD_MS, is_direct, is_warm_up, recognise
from eventscore.sources.source import behind, item_failures
from eventscore.stopwatch import Stopwatch
from eventscore.telemetry import Telemetry, UnderWay
from eventscore.telling import Sketches, Telling
from eventscore.time_left import TimeLeft
from eventscore.wiring import model_cache, scoring_service, telemetry_by_model, tracing

_PATIENCE_S: Final = 5.0
"""How long an invocation whose events are delivered waits for a refresh that is due."""
_RESERVE_S: Final = 2.0
"""What must be left of the invocation's time behind that."""
_RESTORE_PATIENCE_S: Final = 7.0
"""How long a restored snapshot waits for it: Lambda gives restoring and hooks ten seconds together."""

if TYPE_CHECKING:
    from eventscore.artifact import Artifact
    from eventscore.drift_watch import DriftWatch
    from eventscore.records import Record
    from eventscore.service import BatchResult, ScoringService


class ScoreFunction:
    """Scores SQS, Kinesis and Kafka batches, lists of events, and answers warm-ups.

    ``service`` is None where the function has no sink and is only called directly. ``telemetry`` answers for each model who tells
    of it, ``news`` is where models leave what they have to tell. ``whole_batches`` names the sources whose
    mapping knows no partial batch response.
    """

    def __init__(
        self,
        models: Models,
        router: Router,
        service: ScoringService | None,
        telemetry: Callable[[str], Telemetry],
        news: deque[ModelNews],
        under_way: UnderWay | None = None,
        sketches: Sketches | None = None,
        whole_batches: Collection[str] = (),
    ) -> None:
        self._models = models
        self._router = router
        self._service = service
        self._news = news
        self._telling = Telling(telemetry, news)
        self._under_way = under_way or UnderWay()
        self._refresher = Refresher(models.held)
        self._whole_batches = whole_batches
        self._is_cold = True
        self._sketches = sketches or Sketches()

    @classmethod
    def of(
        cls,
        artifact: Artifact,
        service: ScoringService | None,
        telemetry: Telemetry,
        watch: DriftWatch | None = None,
    ) -> ScoreFunction:
        """A function that scores with one version, which is never looked after; ``watch`` counts what it scores."""
        router = Router((artifact.model,))
        scorer, sketches = VersionScorer(artifact), Sketches()
        if watch is not None:
            scorer.watch = watch
            sketches.watches.append(watch)
        return cls(OneScorer(scorer), router, service, lambda model: telemetry, deque(), sketches=sketches)

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
        under_way = UnderWay(tracing(environment))
        sketches = Sketches(settings.sketch_s, clock)
        models = model_cache(settings, clock, news.append, sketches.watches.append)
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
            sketches,
            settings.whole_batches,
        )
        if settings.initialization in (PROVISIONED, SNAP_START):
            function.load_all()
        else:
            function._load(settings.models[0])
        if settings.initialization == SNAP_START:
            from eventscore import snap_start

            snap_start.register(function.before_snapshot, function.after_restore)
        return function

    def __call__(self, invocation: Any, context: Any) -> Any:
        """Answer one invocation.

        A batch gets its partial batch response, a list of events a list of answers, a warm-up the version that is loaded; one with
        ``hold_ms`` is answered that much later, and learns which environment answered.

        Raises:
            InvocationNotRecognised: nobody sends such a thing.
            ArtifactRefused, StoreError: there is no model to score with. The source keeps the whole batch.
            RecordsReturned: so that a source without partial batch responses keeps the whole batch, too.
            SettingsInvalid: a batch came, and no sink is configured, or no model for its source.

        """
        self._refresher.invocation_begins()
        self._under_way.begins(context)
        if self._news:
            self._telling.news()
        if is_direct(invocation):
            answers = answer_events(invocation, self._router, self._scorer, self._telling)
            self._tell_sketches()
            self._refresher.start()  # the answers are on their way to somebody who waits for them
            return answers
        if is_warm_up(invocation):
            self._scorer(self._router.models[0])
            self._refresh(context)
            answer = self._warm()
            if HOLD_MS in invocation:
                from eventscore.holding import hold  # only a schedule that keeps several environments warm asks for it

                answer |= hold(invocation, TimeLeft.of(context))
            return answer
        try:
            return self._batch(invocation, TimeLeft.of(context))
        finally:  # also where it comes again: what brings it back may last for hours
            if self._sketches.watches:
                self._telling.sketches(self._sketches)
            self._refresh(context)

    def load_all(self) -> None:
        """Load every model before there are events: for provisioned concurrency, and for what goes into a snapshot. Never raises."""
        for model in self._router.models:
            self._load(model)

    def before_snapshot(self) -> None:
        """Load all that a snapshot shall hold, and leave nothing in it that every environment would tell of again. Never raises."""
        self.load_all()
        self._refresh(None)  # the baselines, too: no restored environment waits for them
        self._tell_sketches(at_once=True)

    def after_restore(self) -> None:
        """Catch up on what happened since the snapshot was taken, which may be weeks ago. Never raises."""
        import random

        for watch in self._sketches.watches:
            watch.began = self._sketches.clock()
        random.seed()  # every environment of this snapshot would wait the same random times
        self._refresher.invocation_begins()
        self._load(self._router.models[0])
        for live in self._models.held():
            live.look_at_once()
        self._refresh(None, _RESTORE_PATIENCE_S)
        for live in self._models.held():
            if live.serving is not None:
                self._telling.restored(live.serving)

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
            self._telling.batch(None, source.name, NO_VERSION, records, _all_returned(records, error), began)
            raise
        for model, positions in groups.items():
            began = time.perf_counter()
            own = records if len(groups) == 1 else [records[position] for position in positions]
            version, by_rule = NO_VERSION, False
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
                by_rule = scorer.is_rule
            self._telling.batch(model, source.name, version, own, result, began, by_rule=by_rule)
            if result.returned:
                returned |= {positions[position]: reason for position, reason in result.returned.items()}
        if failures and len(failures) == len(groups):
            raise failures[0]
        if returned and source.name in self._whole_batches:
            raise RecordsReturned(source.name, len(returned), len(records), tuple(sorted(set(returned.values()))))
        return source.response(invocation, returned) if returned else item_failures(())

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

    def _tell_sketches(self, *, at_once: bool = False) -> None:
        if self._sketches.watches:
            self._telling.sketches(self._sketches, at_once=at_once)

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
            if self._news:
                self._telling.news()
        return scorer

    def _cold_watch(self) -> Stopwatch:
        # Here, and not where it is needed first: its imports take longer than the pull, and go on beside it.
        import eventscore.artifact  # noqa: F401

        watch = Stopwatch()
        if (age := process_age_ms()) is not None:
            watch.parts_ms["process"] = age
        return watch

    def _refresh(self, context: Any, patience_s: float = _PATIENCE_S) -> None:
        """What is due is looked after while nobody waits: the events of this invocation are delivered."""
        if context is not None:
            patience_s = min(patience_s, context.get_remaining_time_in_millis() / 1000 - _RESERVE_S)
        if patience_s > 0:
            if self._refresher.start():
                self._refresher.wait(patience_s)
            if self._news:
                self._telling.news()


def _all_returned(records: Sequence[Record], error: Exception) -> BatchResult:
    from eventscore.service import BatchResult

    return BatchResult(len(records), 0, Counter(), dict.fromkeys(range(len(records)), type(error).__name__))
