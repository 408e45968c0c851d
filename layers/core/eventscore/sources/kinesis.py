"""Kinesis: an invocation holds one shard, and everything from the lowest record that is named comes back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from eventscore.records import Record
from eventscore.sources.base64_payload import decode_payload
from eventscore.sources.source import BatchResponse, item_failures


class KinesisSource:
    """Kinesis data streams."""

    name = "kinesis"

    def records(self, invocation: Mapping[str, Any]) -> list[Record]:
        """The records: data decoded from base64, ``<shard id>:<sequence number>`` as origin, and the partition key."""
        return [
            Record(decode_payload(record["kinesis"]["data"]), record["eventID"], record["kinesis"].get("partitionKey"))
            for record in invocation["Records"]
        ]

    def lanes(self, invocation: Mapping[str, Any]) -> Sequence[str] | None:
        """One lane: an invocation holds one shard."""
        return ["shard"] * len(invocation["Records"])

    def response(self, invocation: Mapping[str, Any], returned: Collection[int]) -> BatchResponse:
        """Name the lowest returned record alone: the shard is read again from there."""
        if not returned:
            return item_failures([])
        return item_failures([invocation["Records"][min(returned)]["kinesis"]["sequenceNumber"]])
