"""One run: look through a queue, and send what is meant, each event at most once.

For each event, in this order: claim it in the journal, send it, write down that it was taken, delete its messages. A run that ends
anywhere leaves messages in the queue, and a journal that says of each whether it may be sent: before the claim it may; after the last
step but one it was, and only its messages are to be deleted; in between nobody knows, and it stays until somebody decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from eventscore_cli.replaying.account import Account, End
from eventscore_cli.replaying.event import Event, Parcel, Reader
from eventscore_cli.replaying.held_queue import HeldQueue
from eventscore_cli.replaying.journal import Journal, Standing
from eventscore_cli.replaying.selection import Selection
from eventscore_cli.replaying.targets import Fate, Outcome, Target

BATCH = 10
"""Events that are claimed and sent together: so many are in doubt at most where a run is killed."""
_TRIES = 5
_FIRST_WAIT_S = 0.2
_THREADS = 10
_LOOKS = 100
_FORESEEN = {Standing.FREE: End.WOULD_SEND, Standing.SENT: End.SENT_BEFORE, Standing.IN_DOUBT: End.IN_DOUBT}

Doubtful = Literal["leave", "send", "remove"]
Each = Callable[[Callable[[Event], Any], Sequence[Event]], list[Any]]


def side_by_side(work: Callable[[Event], Any], events: Sequence[Event]) -> list[Any]:
    """The work on each event, several at a time."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, events))


@dataclass
class _Open:
    """A parcel of which ``left`` events are not at rest yet."""

    parcel: Parcel
    left: int


@dataclass
class Replay:
    """``route`` names the target of an event, or says why there is none. ``journal`` None: nothing is known of earlier runs.

    ``stop`` is asked between two steps; ``per_second`` bounds the sending.
    """

    queue: HeldQueue
    reader: Reader
    selection: Selection
    route: Callable[[Event], Target | str]
    journal: Journal | None
    doubtful: Doubtful = "leave"
    limit: int | None = None
    per_second: float | None = None
    stop: Callable[[], bool] = lambda: False
    sleep: Callable[[float], None] = time.sleep
    seconds: Callable[[], float] = time.monotonic
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    each: Each = side_by_side
    account: Account = field(default_factory=Account)
    _pending: list[tuple[Event, Target, _Open]] = field(default_factory=list)
    _done: list[Parcel] = field(default_factory=list)
    _looked: list[tuple[Event, Target]] = field(default_factory=list)
    _foreseen: set[str] = field(default_factory=set)
    _counted: int = 0
    _paid: float = 0.0

    def run(self, *, send: bool) -> Account:
        """Look through the queue, and send where ``send`` says so. What is not deleted is visible again afterwards."""
        try:
            self._scan(send)
        finally:
            self.queue.release()
        return self.account

    def _scan(self, send: bool) -> None:
        for messages in self.queue.scan(self.clock()):
            if not messages:
                self._flush()  # a FIFO queue hands out no more of a group before this is deleted
            for held in messages:
                self.account.messages += 1
                oldest = self.account.oldest_message
                self.account.oldest_message = held.sent_at if oldest is None else min(oldest, held.sent_at)
                parcel = self.reader.add(held)
                if parcel is not None:
                    self._take(parcel, send)
            self.account.stopped = self.stop()
            if self.account.stopped or self._is_enough():
                break
        else:
            for parcel in self.reader.rest():
                self._take(parcel, send)
        self._flush()
        self._foresee()

    def _take(self, parcel: Parcel, send: bool) -> None:
        if parcel.events and not self.selection.takes(parcel.events[0]):
            self.account.unselected += len(parcel.events)
            return
        if self._is_enough():
            self.account.unselected += len(parcel.events)
            return
        if parcel.problem is not None:
            self._problem(parcel, send)
        open_parcel = _Open(parcel, len(parcel.events))
        for place, event in enumerate(parcel.events):
            if self._is_enough():
                self.account.unselected += len(parcel.events) - place
                return
            target = self.route(event)
            refusal = target if isinstance(target, str) else target.refusal(event)
            if refusal is not None or isinstance(target, str):
                self.account.end(event, End.LEFT, str(refusal))
            elif send:
                # The same record may be told of twice: the second has to see what became of the first.
                if len(self._pending) >= BATCH or any(event.identity == one.identity for one, _, _ in self._pending):
                    self._flush()
                if self.stop():
                    self.account.stopped = True
                    return
                self._pending.append((event, target, open_parcel))
                self._counted += 1
            else:
                self._looked.append((event, target))
                self._counted += 1
                if len(self._looked) >= _LOOKS:
                    self._foresee()

    def _is_enough(self) -> bool:
        """Whether ``limit`` events were sent, or would be. What went out before, is in doubt or cannot be sent does not count."""
        if self.limit is None or self._counted < self.limit:
            return False
        self._flush()
        self._foresee()
        return self._counted >= self.limit

    def _problem(self, parcel: Parcel, send: bool) -> None:
        leftover, journal = parcel.leftover_of, self.journal
        if leftover is not None and journal is not None and journal.standing(leftover) is Standing.SENT:
            if send:
                self.account.not_removed += self.queue.delete(parcel.held)
            return
        self.account.problem(str(parcel.problem), f"message {parcel.held[0].message_id}")

    def _foresee(self) -> None:
        """What would become of the events that were looked at."""
        looked, self._looked = self._looked, []
        journal = self.journal
        standings = [Standing.FREE] * len(looked)
        if journal is not None:
            standings = self.each(lambda event: journal.standing(event.identity), [event for event, _ in looked])
        for (event, target), standing in zip(looked, standings, strict=True):
            end = _FORESEEN[standing]
            if event.identity in self._foreseen:
                end = End.SENT_BEFORE  # for the message that told of it first
            elif end is End.IN_DOUBT and self.doubtful == "send":
                end = End.WOULD_SEND
            self._foreseen.add(event.identity)
            self._counted -= end is not End.WOULD_SEND
            self.account.end(event, end, target=target.name)

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if not pending:
            return
        assert self.journal is not None  # noqa: S101  the command sees to it
        self.queue.keep()
        self._pace(len(pending))
        standings = self._claim([event for event, _, _ in pending])
        free: dict[str, tuple[Target, list[tuple[Event, _Open]]]] = {}
        self._counted -= len(standings) - standings.count(Standing.FREE)
        for (event, target, of), standing in zip(pending, standings, strict=True):
            if standing is Standing.FREE:
                free.setdefault(target.name, (target, []))[1].append((event, of))
            elif standing is Standing.SENT:
                self._at_rest(event, of, End.SENT_BEFORE)
            elif self.doubtful == "remove":
                self.journal.close(event, "sent")
                self._at_rest(event, of, End.SENT_BEFORE)
            else:
                target.hold_back(event)
                self.account.end(event, End.IN_DOUBT)
        try:
            for target, claimed in free.values():
                self._send(self.journal, target, claimed)
        finally:
            self._remove()

    def _claim(self, events: Sequence[Event]) -> list[Standing]:
        journal = self.journal
        assert journal is not None  # noqa: S101

        def claim(event: Event) -> Standing | Exception:
            try:
                return journal.claim(event)
            except Exception as error:
                return error

        results = self.each(claim, events)
        failed = [result for result in results if isinstance(result, Exception)]
        if failed:  # nothing was sent, so nothing shall be in doubt
            for event, result in zip(events, results, strict=True):
                if result is Standing.FREE:
                    journal.close(event, "refused")
            raise failed[0]
        return results

    def _send(self, journal: Journal, target: Target, claimed: Sequence[tuple[Event, _Open]]) -> None:
        outcomes = self._tried(target, [event for event, _ in claimed])
        known = [
            (event, "sent" if outcome.fate is Fate.TAKEN else "refused")
            for (event, _), outcome in zip(claimed, outcomes, strict=True)
            if outcome.fate is not Fate.UNKNOWN
        ]
        try:
            self._write_down(journal, known)
        finally:
            # What was taken is to be deleted even where the journal cannot say so: its claim keeps it from being sent again.
            for (event, of), outcome in zip(claimed, outcomes, strict=True):
                if outcome.fate is Fate.TAKEN:
                    self._at_rest(event, of, End.SENT, target.name)
                elif outcome.fate is Fate.REFUSED:
                    self.account.end(event, End.REFUSED, outcome.why)
                else:
                    target.hold_back(event)
                    self.account.end(event, End.IN_DOUBT, f"in doubt: {outcome.why}")

    def _write_down(self, journal: Journal, known: Sequence[tuple[Event, str]]) -> None:
        states = {event.identity: state for event, state in known}

        def close(event: Event) -> None:
            journal.close(event, "sent" if states[event.identity] == "sent" else "refused")

        self.each(close, [event for event, _ in known])

    def _tried(self, target: Target, events: Sequence[Event]) -> list[Outcome]:
        """Send, and again what a throttle refused."""
        outcomes: dict[int, Outcome] = {}
        left = list(range(len(events)))
        for attempt in range(_TRIES):
            last = attempt == _TRIES - 1
            sent = target.send([events[place] for place in left], last=last)
            outcomes.update(zip(left, sent, strict=True))
            left = [place for place in left if outcomes[place].passes]
            if not left or last:
                break
            self.sleep(_FIRST_WAIT_S * 2**attempt)
            self.queue.keep()
        return [outcomes[place] for place in range(len(events))]

    def _at_rest(self, event: Event, of: _Open, end: End, target: str | None = None) -> None:
        self.account.end(event, end, target=target)
        of.left -= 1
        if of.left == 0 and of.parcel.problem is None:
            self._done.append(of.parcel)

    def _remove(self) -> None:
        """Delete what is at rest; the last message of a parcel goes when all others are gone."""
        done, self._done = self._done, []
        others = [held for parcel in done for held in parcel.held[:-1]]
        if left := self.queue.delete(others):
            self.account.not_removed += left
            done = [parcel for parcel in done if len(parcel.held) == 1]
        self.account.not_removed += self.queue.delete([parcel.held[-1] for parcel in done])

    def _pace(self, events: int) -> None:
        if self.per_second is None:
            return
        wait_s = self._paid - self.seconds()
        while wait_s > 0 and not self.stop():
            self.sleep(min(wait_s, 1.0))
            self.queue.keep()
            wait_s = self._paid - self.seconds()
        self._paid = max(self._paid, self.seconds()) + events / self.per_second
