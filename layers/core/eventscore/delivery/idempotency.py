"""Sends each event on once: a table remembers, by model and event id, which answers every sink took.

One pass over the table before a delivery (which of these are marked?), one after it (mark those that were taken). The mark comes after the
delivery, never before: an environment that dies in between has the event sent on twice, where a claim made before would have it lost, or
waiting for the claim to lapse. For the same reason a table that does not answer stops nothing: the batch is delivered as if unmarked.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Any, TypeVar

from eventscore.delivery.backoff import Backoff
from eventscore.delivery.batched import CONNECT_TIMEOUT_S
from eventscore.delivery.sink import AnyMessage, Lanes, NotTaken, Sink
from eventscore.errors import SettingsInvalid
from eventscore.time_left import NO_LIMIT, TimeLeft

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from mypy_boto3_dynamodb.client import DynamoDBClient

TABLE = "EVENTSCORE_IDEMPOTENCY_TABLE"
KEY, EXPIRES_AT = "event", "expires_at"
"""The table's attributes: its key, a string, and the moment in Unix seconds that its time to live reads."""
_READS, _WRITES = 100, 25
_ROUNDS = 3
_THREADS = 4
_HOURS = 24
READ_TIMEOUT_S = 1.0
_LONGEST_CALL_S = CONNECT_TIMEOUT_S + READ_TIMEOUT_S

_Answer = TypeVar("_Answer")


def parse_table(text: str) -> tuple[str, int]:
    """The table's name, and for how many seconds it remembers: ``<table>`` (a day) or ``<table>?hours=<n>``.

    Raises:
        SettingsInvalid: the text cannot be understood.

    """
    found = re.fullmatch(r"([A-Za-z0-9._-]{3,255})(?:\?hours=([1-9][0-9]{0,4}))?", text)
    if found is None:
        raise SettingsInvalid(TABLE, "<table> or <table>?hours=<how long an event is remembered>", text)
    return found[1], int(found[2] or _HOURS) * 3600


class OnceSink:
    """Hands on to ``sink`` what the table does not remember. ``clock`` answers Unix seconds."""

    def __init__(
        self,
        sink: Sink,
        table: str,
        client: DynamoDBClient,
        *,
        keep_s: int,
        clock: Callable[[], float],
        backoff: Backoff | None = None,
    ) -> None:
        self._sink = sink
        self._table = table
        self._client = client
        self._keep_s = keep_s
        self._clock = clock
        self._backoff = backoff or Backoff()

    def deliver(
        self, messages: Sequence[AnyMessage], time_left: TimeLeft = NO_LIMIT, lanes: Lanes | None = None
    ) -> Mapping[int, NotTaken]:
        """Deliver what is not marked; the answer maps the position of each message that a sink did not take.

        Of several messages of one event the first goes out, and the others share its fate.
        """
        keys = [_key(message) for message in messages]
        remembered = self._remembered(dict.fromkeys(key for key in keys if key is not None), time_left)
        first: dict[str, int] = {}
        going: list[int] = []
        for position, key in enumerate(keys):
            if key is None or (key not in remembered and first.setdefault(key, position) == position):
                going.append(position)
        failed: dict[int, NotTaken] = {}
        if going:
            answer = self._sink.deliver(
                [messages[position] for position in going],
                time_left,
                None if lanes is None else [lanes[position] for position in going],
            )
            failed = {going[index]: reason for index, reason in answer.items()}
        self._remember([key for key, position in first.items() if position not in failed], time_left)
        for position, key in enumerate(keys):
            if key is not None and (reason := failed.get(first.get(key, position))) is not None:
                failed[position] = reason
        return failed

    def _remembered(self, keys: Mapping[str, None], time_left: TimeLeft) -> set[str]:
        now = self._clock()

        def read(some: Sequence[str], failed: threading.Event) -> set[str]:
            found: set[str] = set()
            wanted: Any = {self._table: {"Keys": [{KEY: {"S": key}} for key in some], "ConsistentRead": True}}
            for _ in self._rounds(time_left, failed):
                try:
                    answer = self._client.batch_get_item(RequestItems=wanted)
                    found.update(
                        item[KEY]["S"]
                        for item in answer.get("Responses", {}).get(self._table, ())
                        # DynamoDB may take days to remove what has expired.
                        if float(item[EXPIRES_AT]["N"]) > now
                    )
                except Exception:  # whatever it was: unmarked, then: better twice than never
                    failed.set()
                    break
                wanted = answer.get("UnprocessedKeys")
                if not wanted:
                    break
            return found

        return set().union(*self._side_by_side(read, list(_parts(list(keys), _READS))))

    def _remember(self, keys: Sequence[str], time_left: TimeLeft) -> None:
        expires_at = {"N": str(int(self._clock()) + self._keep_s)}

        def write(some: Sequence[str], failed: threading.Event) -> None:
            marks: Any = {
                self._table: [{"PutRequest": {"Item": {KEY: {"S": key}, EXPIRES_AT: expires_at}}} for key in some]
            }
            for _ in self._rounds(time_left, failed):
                try:
                    marks = self._client.batch_write_item(RequestItems=marks).get("UnprocessedItems")
                except Exception:  # whatever it was: it is delivered; a redelivery will be sent on again
                    failed.set()
                    break
                if not marks:
                    break

        self._side_by_side(write, list(_parts(keys, _WRITES)))

    def _side_by_side(
        self, call: Callable[[Sequence[str], threading.Event], _Answer], parts: list[Sequence[str]]
    ) -> list[_Answer]:
        # Once a call failed, the table is not asked for the rest: each might wait for seconds.
        failed = threading.Event()
        if len(parts) < 2:
            return [call(part, failed) for part in parts]
        return list(self._threads.map(call, parts, repeat(failed)))

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor  # a batch of a few events needs no threads

        return ThreadPoolExecutor(_THREADS, thread_name_prefix="idempotency")

    def _rounds(self, time_left: TimeLeft, failed: threading.Event) -> Iterator[int]:
        """Tries for what a throttled table leaves unprocessed."""
        for done in range(_ROUNDS):
            if failed.is_set() or time_left.seconds() <= _LONGEST_CALL_S:
                return
            if done:
                wait_s = self._backoff.wait_s(done)
                if time_left.seconds() <= wait_s + _LONGEST_CALL_S:
                    return
                self._backoff.sleep(wait_s)
            yield done


def _key(message: AnyMessage) -> str | None:
    """Model and event id; the type of the id counts: 7 and "7" are two events."""
    answer = message.answer
    if answer is None:
        return None
    return f"{answer.model}#{'n' if isinstance(answer.event_id, int) else 's'}#{answer.event_id}"


def _parts(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]
