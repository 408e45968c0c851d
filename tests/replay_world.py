"""Queues and a journal in memory, for a process that may die at any step: before it has its effect, or right after it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError

from eventscore.delivery.rejection import rejection_messages
from eventscore.errors import AlreadyPublished, ContractViolation, NotInStore, PointerMoved
from eventscore.records import Record
from eventscore.store.objects import StoredObject
from eventscore_cli.replaying.account import Account
from eventscore_cli.replaying.event import Event
from eventscore_cli.replaying.held_queue import HeldQueue
from eventscore_cli.replaying.journal import Journal
from eventscore_cli.replaying.rejects import RejectReader
from eventscore_cli.replaying.replay import Doubtful, Replay
from eventscore_cli.replaying.selection import Selection
from eventscore_cli.replaying.targets import SqsTarget

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class Died(BaseException):
    """The process is gone: nothing that it would do after this happens."""


class Life:
    """Counts the steps of a process across its boundary, and ends it at one of them."""

    def __init__(self, dies_at: int | None = None, *, after: bool = False) -> None:
        self.steps = 0
        self._dies_at = dies_at
        self._after = after
        self._dead = False

    def step(self, effect: Callable[[], Any]) -> Any:
        if self._dead:
            raise Died
        self.steps += 1
        if self.steps == self._dies_at:
            self._dead = True
            if self._after:
                effect()
            raise Died
        return effect()


class Stored:
    """What outlives a process: the journal's objects by key, and the queues by URL, messages by id in their order."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.queues: dict[str, dict[str, dict[str, Any]]] = {"rejects": {}, "events": {}, "events.fifo": {}}
        self.hidden: set[str] = set()
        self.undeletable: set[str] = set()
        """Messages that the queue fails to delete, for a while."""
        self._number = 0

    def put(self, queue: str, body: str, sent_at: datetime = NOW - timedelta(hours=1), **more: Any) -> str:
        self._number += 1
        message_id = f"m-{self._number}"
        self.queues[queue][message_id] = {
            "MessageId": message_id,
            "ReceiptHandle": message_id,
            "Body": body,
            "Attributes": {"SentTimestamp": str(int(sent_at.timestamp() * 1000))},
            **more,
        }
        return message_id

    def reject(self, payload: bytes | None, origin: str, reason: str = "unknown_value", **more: str) -> list[str]:
        """Put what the function would put into the reject queue; the ids of the messages."""
        told = {"model": "small", "version": "v1", "source": "sqs", "rejected_at": "2026-11-21T11:00:00.000Z", **more}
        violation = ContractViolation(reason, "said so")
        return [
            self.put("rejects", message.body)
            for message in rejection_messages(Record(payload, origin), violation, **told)
        ]

    def sent(self, queue: str = "events") -> list[str]:
        return [message["Body"] for message in self.queues[queue].values()]


class Store:
    """The journal's store, as one process sees it."""

    url = "memory"

    def __init__(self, stored: Stored, life: Life) -> None:
        self._objects = stored.objects
        self._life = life

    def read(self, key: str, max_bytes: int = 0) -> StoredObject:
        return self._life.step(lambda: self._read(key))  # type: ignore[no-any-return]

    def _read(self, key: str) -> StoredObject:
        if key not in self._objects:
            raise NotInStore(key)
        return StoredObject(self._objects[key], hashlib.sha256(self._objects[key]).hexdigest())

    def write_once(self, key: str, content: bytes) -> None:
        def effect() -> None:
            if key in self._objects:
                raise AlreadyPublished(key)
            self._objects[key] = content

        self._life.step(effect)

    def replace(self, key: str, content: bytes, expected: str | None) -> None:
        def effect() -> None:
            if self._read(key).etag != expected:
                raise PointerMoved(key)
            self._objects[key] = content

        self._life.step(effect)

    def read_if_changed(self, key: str, etag: str, max_bytes: int = 0) -> StoredObject | None:
        raise AssertionError("no journal asks for this")

    def list_names(self, prefix: str) -> tuple[str, ...]:
        raise AssertionError("no journal asks for this")


class Sqs:
    """SQS, as one process sees it. ``fate`` says what becomes of each message that is sent, None where it is taken."""

    def __init__(self, stored: Stored, life: Life, fate: Callable[[str], str | None] = lambda _body: None) -> None:
        self._stored = stored
        self._life = life
        self._fate = fate
        self.visibility: list[tuple[str, int]] = []
        self.calls: list[list[str]] = []

    def receive_message(self, *, QueueUrl: str, MaxNumberOfMessages: int, **_: Any) -> Any:  # noqa: N803
        def effect() -> Any:
            queue, hidden = self._stored.queues[QueueUrl], self._stored.hidden
            found = [message for key, message in queue.items() if key not in hidden][:MaxNumberOfMessages]
            hidden.update(message["MessageId"] for message in found)
            return {"Messages": found}

        return self._life.step(effect)

    def delete_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> Any:  # noqa: N803
        def effect() -> Any:
            failed = [entry for entry in Entries if entry["ReceiptHandle"] in self._stored.undeletable]
            for entry in Entries:
                if entry not in failed:
                    self._stored.queues[QueueUrl].pop(entry["ReceiptHandle"], None)
            return {"Failed": [{"Id": entry["Id"], "Code": "InternalError"} for entry in failed]}

        return self._life.step(effect)

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> Any:  # noqa: N803
        def effect() -> Any:
            for entry in Entries:
                self.visibility.append((entry["ReceiptHandle"], entry["VisibilityTimeout"]))
                if entry["VisibilityTimeout"] == 0:
                    self._stored.hidden.discard(entry["ReceiptHandle"])
            return {}

        return self._life.step(effect)

    def send_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> Any:  # noqa: N803
        def effect() -> Any:
            fates = {entry["Id"]: self._fate(entry["MessageBody"]) for entry in Entries}
            self.calls.append([entry["MessageBody"] for entry in Entries])
            for entry in Entries:
                if fates[entry["Id"]] in (None, "taken, and the answer is lost", "taken, and down"):
                    more = {"MessageAttributes": entry.get("MessageAttributes", {}), "entry": entry}
                    self._stored.put(QueueUrl, entry["MessageBody"], NOW + timedelta(seconds=1), **more)
            if any(fate is not None and "down" in fate for fate in fates.values()):
                raise ClientError({"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "Send")  # type: ignore[typeddict-item]
            if any(fate is not None and "lost" in fate for fate in fates.values()):
                raise ReadTimeoutError(endpoint_url="https://sqs")
            failed = [
                {"Id": key, "Code": "Throttled" if fate == "throttled" else "Bad", "SenderFault": fate != "throttled"}
                for key, fate in fates.items()
                if fate is not None
            ]
            return {"Successful": [{"Id": key} for key, fate in fates.items() if fate is None], "Failed": failed}

        return self._life.step(effect)


def in_turn(work: Callable[[Event], Any], events: Sequence[Event]) -> list[Any]:
    return [work(event) for event in events]


def run(
    stored: Stored,
    life: Life | None = None,
    fate: Callable[[str], str | None] = lambda _body: None,
    *,
    selection: Selection | None = None,
    doubtful: Doubtful = "leave",
    send: bool = True,
    target: str = "events",
    **more: Any,
) -> Account | None:
    """One run over the reject queue, all of whose messages are visible by now; None if the process died."""
    stored.hidden.clear()
    life = life or Life()
    sqs = Sqs(stored, life, fate)
    queue = HeldQueue(sqs, "rejects", lambda: NOW, wait_s=0)
    journal = Journal(Store(stored, life), lambda: NOW, send_doubtful=doubtful == "send")
    to = SqsTarget(sqs, target)
    replay = Replay(
        queue,
        more.pop("reader", None) or RejectReader(),
        selection or Selection(),
        lambda _event: to,
        journal,
        doubtful,
        **{"sleep": lambda _: None, "clock": lambda: NOW, "each": in_turn, **more},
    )
    try:
        return replay.run(send=send)
    except Died:
        return None
