"""What the function tells of an invocation, and that nothing which cannot be told costs an event.

By the time there is something to tell the answers are out. An error here (a log level that nobody knows) would make the source
send the batch again, and again.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from eventscore.model_news import ModelNews, NotWatched, RuleAnswers, VersionLoaded
from eventscore.process_age import process_age_ms
from eventscore.scorer import NO_MODEL
from eventscore.telemetry import Telemetry

if TYPE_CHECKING:
    from eventscore.drift_watch import DriftWatch
    from eventscore.records import Record
    from eventscore.scorer import Scorer
    from eventscore.service import BatchResult


class Sketches:
    """Who counts what versions score, and how often that is told; ``clock`` answers seconds of wall time."""

    def __init__(self, every_s: float = 60.0, clock: Callable[[], float] = time.time) -> None:
        self.watches: list[DriftWatch] = []
        self.every_s = every_s
        self.clock = clock


class Telling:
    """``telemetry`` answers for each model who tells of it; ``news`` is where models leave what they have to tell. Never raises.

    ``began`` is what ``time.perf_counter`` said when the work began.
    """

    def __init__(self, telemetry: Callable[[str], Telemetry], news: deque[ModelNews]) -> None:
        self._telemetry = telemetry
        self._news = news

    def batch(
        self,
        model: str | None,
        source: str,
        version: str,
        records: Sequence[Record],
        result: BatchResult,
        began: float,
        *,
        by_rule: bool = False,
    ) -> None:
        """The records of one model in a batch are at rest; ``by_rule``: the contract's fallback rule answered."""
        try:  # and no context manager: this is on the path of every batch
            telemetry = self._telemetry(model or NO_MODEL)
            if by_rule:
                telemetry.fallback(source, result.scored)
            origins = {position: records[position].origin for position in result.returned} if result.returned else {}
            telemetry.batch(source, version, result, (time.perf_counter() - began) * 1000, origins)
        except Exception as error:
            _not_told(error)

    def direct(self, model: str | None, scorer: Scorer, scored: int, rejected: int, began: float) -> None:
        """The events of one model in a direct invocation are answered."""
        with _whatever_cannot_be_told():
            telemetry = self._telemetry(model or NO_MODEL)
            telemetry.direct(scorer.version, scored, rejected, (time.perf_counter() - began) * 1000)
            if scorer.is_rule:
                telemetry.fallback("direct", scored)

    def restored(self, scorer: Scorer) -> None:
        """The environment was started from its snapshot, and ``scorer`` answers in it."""
        with _whatever_cannot_be_told():
            self._telemetry(scorer.model).restored(scorer.version)

    def news(self) -> None:
        """What models have left since."""
        while self._news:
            news = self._news.popleft()
            with _whatever_cannot_be_told():
                self._tell_of(news)

    def sketches(self, sketches: Sketches, *, at_once: bool = False) -> None:
        """What is due, or all of it; who has nothing more to count is taken off the list."""
        watches, now, every_s = sketches.watches, sketches.clock(), 0 if at_once else sketches.every_s
        for watch in tuple(watches):
            if not watch.due(now, every_s):
                continue
            with _whatever_cannot_be_told():
                sketch = watch.take(now)
                if watch.is_over or watch.error is not None:
                    watches.remove(watch)
                if sketch is not None:
                    self._telemetry(watch.model).sketch(sketch)
                if watch.error is not None:
                    self._telemetry(watch.model).not_watched(watch.error, watch.version, None)

    def _tell_of(self, news: ModelNews) -> None:
        telemetry = self._telemetry(news.model)
        match news:
            case VersionLoaded(parts_ms=parts) if news.replaced is None and "process" in parts:
                ready = process_age_ms()
                total = {} if ready is None else {"total": ready}
                telemetry.cold_start(news.version, {**parts, **total}, news.signed_by)
            case VersionLoaded():
                telemetry.model_loaded(news.version, news.replaced, news.parts_ms, news.signed_by)
            case NotWatched():
                telemetry.not_watched(news.error, news.version, news.retry_in_s)
            case RuleAnswers():
                telemetry.rule_answers(news.origin)
            case _:
                telemetry.model_load_failed(news.error, news.version, news.serving, news.retry_in_s)


@contextmanager
def _whatever_cannot_be_told() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        _not_told(error)


def _not_told(error: Exception) -> None:
    # Whatever it is, its words are left out: they may quote an event. Where standard error does not take it either, nobody listens.
    with suppress(OSError, ValueError):
        print(f'{{"level":"ERROR","message":"telemetry failed","error":"{type(error).__name__}"}}', file=sys.stderr)
