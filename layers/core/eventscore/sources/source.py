"""What the function asks of an event source."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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

    def response(self, invocation: Mapping[str, Any], returned: Collection[int]) -> BatchResponse:
        """The answer that makes the source send the records at the positions ``returned`` again."""
        ...


def item_failures(identifiers: Sequence[Any]) -> BatchResponse:
    """The partial batch response that names ``identifiers``."""
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}
