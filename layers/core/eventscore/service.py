"""One batch from records to rest: every record is scored and delivered, rejected and delivered, or returned. Nothing else.

``received = scored + rejected + returned`` holds for every `BatchResult`, whatever the sinks do.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import repeat
from operator import attrgetter

import msgspec

from eventscore.delivery.rejection import rejection_messages
from eventscore.delivery.sink import HELD_BACK, AnswerMessage, AnyMessage, Lanes, Message, NotTaken, Sink
from eventscore.errors import ContractViolation
from eventscore.records import Record
from eventscore.scorer import Scorer
from eventscore.scoring import Answer, Outcome, timestamp
from eventscore.time_left import NO_LIMIT, TimeLeft

NOT_SCORED = "not scored: the invocation's time is nearly over"
_FIRST_GUESS_S = 100e-6
_MEASURABLE = 100
_SURELY_TAKEN = 65_536
"""Characters of an answer that every service of AWS takes: at four bytes each, the 256 KiB of the smallest."""


class BatchResult(msgspec.Struct, frozen=True):
    """Where the records of a batch ended. ``returned`` maps positions to reasons; ``rejected`` counts by reason."""

    received: int
    scored: int
    rejected: Counter[str]
    returned: dict[int, str]


class ScoringService:
    """Scores batches with whoever answers for their model, and delivers what comes of them. ``stopwatch`` counts seconds."""

    def __init__(
        self,
        sink: Sink,
        reject_queue: Sink,
        clock: Callable[[], datetime],
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._sink = sink
        self._reject_queue = reject_queue
        self._clock = clock
        self._stopwatch = stopwatch
        self._event_s = _FIRST_GUESS_S

    def process(
        self,
        scorer: Scorer,
        source: str,
        records: Sequence[Record],
        time_left: TimeLeft = NO_LIMIT,
        lanes: Lanes | None = None,
        held_back: Iterable[int] = (),
    ) -> BatchResult:
        """Score ``records``, which came from ``source`` (``sqs``, ``kinesis``, ``kafka``), and deliver the outcomes within the time left.

        ``lanes`` names each record's shard or partition, where the source has such: once a record is returned, its source comes back to all
        behind it, so nothing behind it is delivered any more where that can still be helped. ``held_back`` are positions that lie behind a
        record of another model that was returned already.
        """
        now = self._clock()
        outcomes = self._score(scorer, records, time_left, now)
        answers = list(map(type, outcomes)).count(Answer)
        if lanes is None and 0 < answers == len(records):
            # What `deliver_answers` does, and no book of the batch until the sink does not take something.
            failures = self._sink.deliver(_messages(outcomes, records, source), time_left, None)
            if not failures:
                return BatchResult(answers, answers, _NONE_REJECTED, {})
            batch = _Batch(self, scorer, source, records, time_left, lanes, now)
            batch.note(failures, range(answers))
            return batch.result(answers)
        batch = _Batch(self, scorer, source, records, time_left, lanes, now)
        if held_back:
            batch.returned.update(dict.fromkeys(held_back, HELD_BACK.reason))
        if len(outcomes) < len(records):
            batch.returned.update(dict.fromkeys(range(len(outcomes), len(records)), NOT_SCORED))
        scored: Sequence[int] = range(len(outcomes))
        rejected: Sequence[int] = ()
        if answers < len(outcomes):
            rejected = [place for place in scored if not isinstance(outcomes[place], Answer)]
            batch.violations = {place: outcomes[place] for place in rejected}  # type: ignore[misc] # those that are no answers
            scored = [place for place in scored if place not in batch.violations]
        if lanes is None or not rejected:
            batch.deliver_answers(outcomes, scored)
            if rejected:
                batch.deliver_rejections(rejected)
        else:
            # In three steps, so that neither a sink nor a reject queue that is down gets or lets through the same again at every try:
            # what lies before the first rejection of its lane, the rejections, and what lies behind.
            first: dict[Hashable, int] = {}
            for place in reversed(rejected):
                first[lanes[place]] = place
            ahead = [place for place in scored if place < first.get(lanes[place], math.inf)]
            behind = [place for place in scored if place > first.get(lanes[place], math.inf)]
            batch.deliver_answers(outcomes, ahead)
            batch.deliver_rejections(rejected)
            batch.deliver_answers(outcomes, behind)
        return batch.result(len(scored))

    def _score(self, scorer: Scorer, records: Sequence[Record], time_left: TimeLeft, now: datetime) -> list[Outcome]:
        """Score as many records as can be scored in half the time that is left; the other half is for delivering them.

        Nearly always all: one batch is one run. What a run costs per event is what it cost last.
        """
        whole, seconds = records, time_left.seconds()
        if seconds <= 2 * self._event_s * len(records):
            records = records[: int(seconds / (2 * self._event_s))]
        began = self._stopwatch()
        outcomes = scorer.score(list(map(_PAYLOAD, records)), now)
        if len(records) >= _MEASURABLE:
            self._event_s = (self._stopwatch() - began) / len(records)
        elif 0 < len(records) < len(whole):
            # Cut short for what was measured once: without another look each batch would be, for as long as the environment lives.
            self._event_s = min(self._event_s, (self._stopwatch() - began) / len(records))
        return outcomes


class _Batch:
    """Where each record of one batch stands."""

    def __init__(
        self,
        service: ScoringService,
        scorer: Scorer,
        source: str,
        records: Sequence[Record],
        time_left: TimeLeft,
        lanes: Lanes | None,
        now: datetime,
    ) -> None:
        self._sink = service._sink
        self._reject_queue = service._reject_queue
        self._scorer = scorer
        self._source = source
        self._records = records
        self._time_left = time_left
        self._lanes = lanes
        self._now = now
        self.returned: dict[int, str] = {}
        self.violations: dict[int, ContractViolation] = {}

    def deliver_answers(self, outcomes: Sequence[Outcome], places: Sequence[int]) -> None:
        """Deliver the answers at ``places``, and reject what is larger than the sink takes."""
        places = self._not_held_back(places)
        if not places:
            return
        answers = outcomes if len(places) == len(outcomes) else [outcomes[place] for place in places]
        records = self._records
        own = records if len(places) == len(records) else [records[place] for place in places]
        messages = _messages(answers, own, self._source)
        if self._lanes is None or max(len(message.body) for message in messages) <= _SURELY_TAKEN:
            self._deliver(messages, places)
        else:
            self._deliver_around_large(dict(zip(places, messages, strict=True)), self._lanes)

    def _deliver_around_large(self, messages: Mapping[int, AnyMessage], lanes: Lanes) -> None:
        """In steps, each large answer between what lies before it in its lane and what lies behind.

        Where it is rejected, and the reject queue is down, nothing behind it has gone out.
        """
        steps: dict[int, list[int]] = {}
        step_of: Counter[Hashable] = Counter()
        for place, message in messages.items():
            lane, is_large = lanes[place], len(message.body) > _SURELY_TAKEN
            steps.setdefault(step_of[lane] + is_large, []).append(place)
            step_of[lane] += 2 * is_large
        for _, places in sorted(steps.items()):
            free = self._not_held_back(places)
            if free:
                self._deliver([messages[place] for place in free], free)

    def _deliver(self, messages: Sequence[AnyMessage], places: Sequence[int]) -> None:
        self.note(self._sink.deliver(messages, self._time_left, self._lanes_of(places)), places)

    def note(self, failures: Mapping[int, NotTaken], places: Sequence[int]) -> None:
        """The sink did not take some of the answers at ``places``: reject what it never will, and return the others."""
        too_large: list[int] = []
        for index, failure in failures.items():
            place = places[index]
            if failure.permanent:
                self.violations[place] = ContractViolation("answer_too_large", f"its answer is {failure.reason}")
                too_large.append(place)
            else:
                self.returned[place] = failure.reason
        if too_large:
            self.deliver_rejections(sorted(too_large))

    def deliver_rejections(self, places: Sequence[int]) -> None:
        """Deliver the rejections of the records at ``places``; a record is rejected once all parts of it are taken."""
        messages: list[Message] = []
        owners: list[int] = []
        for place in self._not_held_back(places):
            parts = rejection_messages(
                self._records[place],
                self.violations[place],
                model=self._scorer.model,
                version=self._scorer.version,
                source=self._source,
                rejected_at=timestamp(self._now),
            )
            messages.extend(parts)
            owners.extend([place] * len(parts))
        if messages:
            failures = self._reject_queue.deliver(messages, self._time_left, self._lanes_of(owners))
            self.returned.update((owners[index], failure.reason) for index, failure in failures.items())

    def result(self, scored: int) -> BatchResult:
        """What became of all records; ``scored`` of them had an answer."""
        violations, returned = self.violations, self.returned
        if not (violations or returned):
            return BatchResult(len(self._records), scored, _NONE_REJECTED, {})
        rejected = Counter([violations[place].reason for place in violations if place not in returned])
        return BatchResult(
            received=len(self._records),
            scored=len(self._records) - rejected.total() - len(returned),
            rejected=rejected,
            returned=dict(sorted(returned.items())),
        )

    def _lanes_of(self, places: Iterable[int]) -> Lanes | None:
        lanes = self._lanes
        return None if lanes is None else [lanes[place] for place in places]

    def _not_held_back(self, places: Sequence[int]) -> Sequence[int]:
        """Those that nothing returned lies before, in their lane; the others are returned, too."""
        if self._lanes is None or not self.returned:
            return places
        lowest: dict[Hashable, int] = {}
        for place in self.returned:
            lowest[self._lanes[place]] = min(place, lowest.get(self._lanes[place], place))
        free = [place for place in places if place < lowest.get(self._lanes[place], math.inf)]
        held_back = set(places).difference(free)
        self.returned.update(dict.fromkeys(held_back, HELD_BACK.reason))
        return free


def _messages(answers: Sequence[Outcome], records: Sequence[Record], source: str) -> list[AnyMessage]:
    """The message of each answer, for the sink; ``records`` are what they answer."""
    # All encoded at once, one to a line; JSON has no line break inside a text: it stands there as an escape.
    bodies = _ENCODER.encode_lines(answers).decode().split("\n")
    # Behind the last line stands nothing: the last body is no message's.
    return list(map(AnswerMessage, bodies, answers, repeat(source), map(_ORIGIN, records)))  # type: ignore[arg-type] # answers only


_ORIGIN = attrgetter("origin")
_PAYLOAD = attrgetter("payload")
_NONE_REJECTED: Counter[str] = Counter()
_ENCODER = msgspec.json.Encoder()
