"""The dead-letter queue of a queue of events: each message is the event as it was sent, with its attributes."""

from __future__ import annotations

from eventscore_cli.replaying.event import Event, Held, Parcel

REASON = "came back too often"


class DeadLetterReader:
    """Dead messages become events."""

    def add(self, held: Held) -> Parcel | None:
        """The event in the message."""
        event = Event(
            source="sqs",
            origin=held.message_id,
            payload=held.body.encode("utf-8", "surrogatepass"),
            at=held.sent_at,
            reason=REASON,
            attributes=held.attributes,
            group=held.system.get("MessageGroupId"),
            home=held.system.get("DeadLetterQueueSourceArn"),
        )
        return Parcel((event,), (held,))

    def rest(self) -> list[Parcel]:
        """Each message is whole."""
        return []
