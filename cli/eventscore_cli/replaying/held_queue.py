"""A queue whose messages are looked at: held while a run lasts, given back or deleted at its end, whatever else happens.

SQS has no way to look at a message without receiving it. What a run received stays invisible until the run ends, or it would be
received again and again; then all that is left becomes visible at once. Where the run is killed, that happens ``hold_s`` later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from eventscore_cli.replaying.event import Held

_PER_CALL = 10
_QUIET = 2
"""So many receives in a row without anything new end a scan: one may be empty while messages are there."""
_T = TypeVar("_T")


class HeldQueue:
    """The queue at ``url``. ``clock`` tells the time, in UTC; ``wait_s`` is how long a receive waits for messages."""

    def __init__(
        self, client: Any, url: str, clock: Callable[[], datetime], *, hold_s: int = 120, wait_s: int = 2
    ) -> None:
        self.url = url
        self._client = client
        self._clock = clock
        self._hold_s = hold_s
        self._wait_s = wait_s
        self._held: dict[str, tuple[Held, datetime]] = {}
        self._deleted: set[str] = set()

    def attributes(self) -> dict[str, str]:
        """The queue's own attributes."""
        return dict(self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])["Attributes"])

    def scan(self, before: datetime) -> Iterator[list[Held]]:
        """Messages that came before, each once; an empty list where none came for a moment. Ends when no more are to come."""
        quiet = 0
        while quiet < _QUIET:
            received = self._receive()
            new = [held for held in received if held.sent_at <= before]
            quiet = 0 if new else quiet + 1
            yield new
            self.keep()

    def _receive(self) -> list[Held]:
        answer = self._client.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=_PER_CALL,
            VisibilityTimeout=self._hold_s,
            WaitTimeSeconds=self._wait_s,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        received = [_held(message) for message in answer.get("Messages", ())]
        new = [held for held in received if held.message_id not in self._held and held.message_id not in self._deleted]
        until = self._clock() + timedelta(seconds=self._hold_s)
        # Of a message that came again the newest receipt counts.
        self._held.update({held.message_id: (held, until) for held in received})
        again = [held for held in received if held.message_id in self._deleted]
        if again:
            self.delete(again)
        return new

    def keep(self) -> None:
        """Hold on to what would become visible before long."""
        soon = self._clock() + timedelta(seconds=self._hold_s / 2)
        ending = [held for held, until in self._held.values() if until < soon]
        self._change_visibility(ending, self._hold_s)
        until = self._clock() + timedelta(seconds=self._hold_s)
        self._held.update({held.message_id: (held, until) for held in ending})

    def delete(self, messages: Sequence[Held]) -> int:
        """Delete the messages one call after the other, in their order; how many are left, which are held on to."""
        left = len(messages)
        for part in _tens(messages):
            entries = [{"Id": str(n), "ReceiptHandle": self._receipt(held)} for n, held in enumerate(part)]
            answer = self._client.delete_message_batch(QueueUrl=self.url, Entries=entries)
            failed = {int(entry["Id"]) for entry in answer.get("Failed", ())}
            for n, held in enumerate(part):
                if n not in failed:
                    self._held.pop(held.message_id, None)
                    self._deleted.add(held.message_id)
                    left -= 1
            if failed:
                break
        return left

    def release(self) -> None:
        """Make everything visible that is still held."""
        self._change_visibility([held for held, _ in self._held.values()], 0)
        self._held.clear()

    def _receipt(self, held: Held) -> str:
        return self._held[held.message_id][0].receipt if held.message_id in self._held else held.receipt

    def _change_visibility(self, messages: Sequence[Held], seconds: int) -> None:
        for part in _tens(messages):
            entries = [
                {"Id": str(n), "ReceiptHandle": self._receipt(held), "VisibilityTimeout": seconds}
                for n, held in enumerate(part)
            ]
            # What cannot be changed is visible already, or gone.
            self._client.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)


def _held(message: Any) -> Held:
    system = message.get("Attributes", {})
    return Held(
        message_id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        body=message["Body"],
        sent_at=datetime.fromtimestamp(int(system["SentTimestamp"]) / 1000, UTC),
        system=system,
        attributes=message.get("MessageAttributes", {}),
    )


def _tens(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), _PER_CALL):
        yield items[start : start + _PER_CALL]
