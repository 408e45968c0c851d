"""A sink behind calls that take many messages: within a service's limits, side by side, and item by item where one was not taken."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import msgspec

from eventscore.delivery.backoff import Backoff
from eventscore.delivery.call_failure import CallFailure, call_failure
from eventscore.delivery.sink import HELD_BACK, AnyMessage, Lanes, NotTaken
from eventscore.time_left import NO_LIMIT, TimeLeft

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 2.0, 5.0
"""The timeouts of a sink's client."""
_LONGEST_CALL_S = 2 * (CONNECT_TIMEOUT_S + READ_TIMEOUT_S)
"""Of a client that tries a second way once. A single call that has more time left than that needs no watching."""
_THREADS = 4
_STALLS = 2
_NOT_SENT = CallFailure("not sent: the sink does not answer", transient=True)
_NO_TIME = CallFailure("not sent: the invocation's time is over", transient=True)
_NO_ANSWER = CallFailure("no answer before the invocation's time was over", transient=True)

Entry = TypeVar("Entry")


class _Pending(msgspec.Struct, Generic[Entry], gc=False):
    position: int
    entry: Entry
    size: int


class BatchedSink(ABC, Generic[Entry]):
    """Sends messages in calls of many. A service says how: its limits, an entry, its size, a call.

    A call is one attempt without a client's retries (`PlainSqsClient` has botocore send once more where the plain way had no plain
    answer): what was not taken goes into the next round, item by item, after a wait with full jitter, as long as
    there is time and something moves.
    """

    name: ClassVar[str]
    max_entries: ClassVar[int]
    max_entry_bytes: ClassVar[int]
    max_call_bytes: ClassVar[int]

    def __init__(self, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or Backoff()

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        # One call takes a few milliseconds of waiting, and a batch of 1,000 events up to 100 of them. A first event needs no threads.
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(_THREADS, thread_name_prefix=f"{self.name}-sink")

    @abstractmethod
    def _entry(self, position: int, message: AnyMessage) -> Entry:
        """The message as the service wants it; ``position`` is unique in the delivery."""

    @abstractmethod
    def _size(self, entry: Entry) -> int:
        """The bytes that the service counts for the entry."""

    @abstractmethod
    def _call(self, entries: Sequence[Entry]) -> Mapping[int, CallFailure]:
        """Send; the answer maps the index of each entry that was not taken. May raise whatever the client raises."""

    def deliver(
        self, messages: Sequence[AnyMessage], time_left: TimeLeft = NO_LIMIT, lanes: Lanes | None = None
    ) -> Mapping[int, NotTaken]:
        """Send all; the answer maps the position of each message that the service did not take to the reason."""
        not_taken: dict[int, NotTaken] = {}
        pending: list[_Pending[Entry]] = []
        for position, message in enumerate(messages):
            entry = self._entry(position, message)
            size = self._size(entry)
            if size > self.max_entry_bytes:
                reason = f"too large: {size} bytes, {self.name} takes at most {self.max_entry_bytes}"
                not_taken[position] = NotTaken(reason, permanent=True)
            else:
                pending.append(_Pending(position, entry, size))
        idle = stalls = 0
        again: list[_Pending[Entry]] = []
        while again or pending:
            # In order nothing new goes out before what is tried again, for it may lie behind that.
            calls, pending = self._next(again + pending, within=len(again), in_order=lanes is not None)
            failed = self._send_side_by_side(calls, time_left)
            sent = [each for call in calls for each in call]
            again = [each for each in sent if each.position in failed and failed[each.position].transient]
            refused = {place: NotTaken(failure.reason) for place, failure in failed.items() if not failure.transient}
            not_taken |= refused
            if refused and lanes is not None:
                again, behind = _part(again, refused, lanes)
                pending, more = _part(pending, refused, lanes)
                not_taken.update((each.position, HELD_BACK) for each in behind + more)
            if not again:
                idle = 0
                continue
            idle = idle + 1 if len(failed) == len(sent) else 0
            stalls += any(failure.stalled for failure in failed.values())
            wait_s = self._backoff.wait_s(max(idle, 1))
            if idle >= self._backoff.tries or stalls >= _STALLS or time_left.seconds() <= wait_s:
                not_taken.update((each.position, NotTaken(failed[each.position].reason)) for each in again)
                not_taken.update((each.position, NotTaken(_NOT_SENT.reason)) for each in pending)
                break
            self._backoff.sleep(wait_s)
        return not_taken

    def _next(
        self, pending: Sequence[_Pending[Entry]], *, within: int, in_order: bool
    ) -> tuple[list[list[_Pending[Entry]]], list[_Pending[Entry]]]:
        """The calls of the next round, and what is left.

        A round takes the first ``within`` if there are any, or else all, or in order as many calls as go side by side.
        """
        calls: list[list[_Pending[Entry]]] = []
        taken = 0
        for call in self._calls(pending[: within or None]):
            if in_order and not within and len(calls) == _THREADS:
                break
            calls.append(call)
            taken += len(call)
        return calls, list(pending[taken:])

    def _calls(self, pending: Sequence[_Pending[Entry]]) -> Iterator[list[_Pending[Entry]]]:
        call: list[_Pending[Entry]] = []
        call_bytes = 0
        for each in pending:
            if call and (len(call) == self.max_entries or call_bytes + each.size > self.max_call_bytes):
                yield call
                call, call_bytes = [], 0
            call.append(each)
            call_bytes += each.size
        if call:
            yield call

    def _send_side_by_side(
        self, calls: Sequence[Sequence[_Pending[Entry]]], time_left: TimeLeft
    ) -> dict[int, CallFailure]:
        stalled = threading.Event()
        seconds = time_left.seconds()
        if len(calls) == 1 and seconds > _LONGEST_CALL_S:
            return self._send(calls[0], stalled, time_left)
        from concurrent.futures import wait

        # A call cannot be cut short, but it need not be waited for: what has no answer in time counts as not taken.
        under_way: list[Future[dict[int, CallFailure]]] = [
            self._threads.submit(self._send, call, stalled, time_left) for call in calls
        ]
        wait(under_way, timeout=None if seconds == float("inf") else seconds)
        failed: dict[int, CallFailure] = {}
        for call, future in zip(calls, under_way, strict=True):
            if future.done():
                failed |= future.result()
            else:
                future.cancel()
                failed.update((each.position, _NO_ANSWER) for each in call)
        return failed

    def _send(
        self, call: Sequence[_Pending[Entry]], stalled: threading.Event, time_left: TimeLeft
    ) -> dict[int, CallFailure]:
        # Once the service does not answer, what is left of the round is not tried: each try would take seconds.
        if stalled.is_set():
            return {each.position: _NOT_SENT for each in call}
        if time_left.seconds() <= 0:
            return {each.position: _NO_TIME for each in call}
        try:
            failed: Mapping[int, CallFailure] = self._call([each.entry for each in call])
        except Exception as error:  # whatever it was, the messages are not delivered, and that is all that counts
            failure = call_failure(error)
            if failure.stalled:
                stalled.set()
            failed = dict.fromkeys(range(len(call)), failure)
        return {call[index].position: failure for index, failure in failed.items()}


def _part(
    pending: Sequence[_Pending[Entry]], refused: Mapping[int, NotTaken], lanes: Lanes
) -> tuple[list[_Pending[Entry]], list[_Pending[Entry]]]:
    """Those that may still go out, and those that lie behind a refused one in their lane."""
    first: dict[Hashable, int] = {}
    for position in sorted(refused, reverse=True):
        first[lanes[position]] = position
    free: list[_Pending[Entry]] = []
    behind: list[_Pending[Entry]] = []
    for each in pending:
        (behind if each.position > first.get(lanes[each.position], each.position) else free).append(each)
    return free, behind
