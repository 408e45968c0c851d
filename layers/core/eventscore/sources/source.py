"""What the function asks of an event source."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from eventscore.records import Record

BatchResponse = dict[str, list[dict[str, Any]]]
"""The partial batch response: ``{"batchItemFailures": [{"itemIdentifier": ...}]}``. Empty: the whole batch is done."""


class Source(Protocol):
    """One kind of event source mapping."""

    @property
    def name(self) -> str:
        """``sqs``, ``kinesis`` or ``kafka``: a dimension of the metrics."""
        ...

    def records(self, invocation: Mapping[str, Any]) -> list[Record]:
        """The invocation's records, in order."""
        ...

    def lanes(self, invocation: Mapping[str, Any]) -> Sequence[str] | None:
        """The lane of each record, in the order of `records`: the source comes back to all of a lane from its first returned record on.

        None where each record stands alone.
        """
        ...

    def response(self, invocation: Mapping[str, Any], returned: Collection[int]) -> BatchResponse:
        """The answer that makes the source send the records at the positions ``returned`` again."""
        ...


def item_failures(identifiers: Sequence[Any]) -> BatchResponse:
    """The partial batch response that names ``identifiers``."""
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers] if identifiers else []}


def behind(returned: Iterable[int], positions: Sequence[int], lanes: Sequence[str]) -> list[int]:
    """The places in ``positions`` of those that lie behind a returned position, in its lane: their source comes back to them."""
    lowest: dict[str, int] = {}
    for position in sorted(returned, reverse=True):
        lowest[lanes[position]] = position
    return [place for place, position in enumerate(positions) if position > lowest.get(lanes[position], position)]
