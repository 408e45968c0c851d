"""An EventBridge bus as a sink: each answer is an event that rules can match, by decision for example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from eventscore.delivery.backoff import Backoff
from eventscore.delivery.batched import BatchedSink
from eventscore.delivery.call_failure import CallFailure
from eventscore.delivery.in_turn import failures_in_turn
from eventscore.delivery.message_text import utf8_length, with_attributes
from eventscore.delivery.sink import AnyMessage

if TYPE_CHECKING:
    from mypy_boto3_events.client import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

SOURCE = "eventscore"
DETAIL_TYPE = "Event scored"


class EventBridgeSink(BatchedSink["PutEventsRequestEntryTypeDef"]):
    """Puts events of source ``eventscore`` and type ``Event scored`` on ``bus``: a name, or an ARN. Their detail is the answer."""

    name = "eventbridge"
    max_entries = 10
    # "The total entry size must be less than 256 KB."
    max_entry_bytes = max_call_bytes = 262_143

    def __init__(self, bus: str, client: EventBridgeClient, backoff: Backoff | None = None) -> None:
        super().__init__(backoff)
        self._bus = bus
        self._client = client

    def _entry(self, position: int, message: AnyMessage) -> PutEventsRequestEntryTypeDef:
        return {
            "Source": SOURCE,
            "DetailType": DETAIL_TYPE,
            "Detail": with_attributes(message),
            "EventBusName": self._bus,
        }

    def _size(self, entry: PutEventsRequestEntryTypeDef) -> int:
        return len(SOURCE) + len(DETAIL_TYPE) + utf8_length(entry.get("Detail", ""))

    def _call(self, entries: Sequence[PutEventsRequestEntryTypeDef]) -> Mapping[int, CallFailure]:
        return failures_in_turn(entries, self._client.put_events(Entries=entries)["Entries"])
