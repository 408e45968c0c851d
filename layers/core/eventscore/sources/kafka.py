"""Kafka, MSK and self-managed: records by partition, and each partition is read again from its lowest record that is named."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from eventscore.records import Record
from eventscore.sources.base64_payload import decode_payload
from eventscore.sources.source import BatchResponse, item_failures


class KafkaSource:
    """Topics of a Kafka cluster. Headers are left alone; a tombstone has no value."""

    name = "kafka"

    def records(self, invocation: Mapping[str, Any]) -> list[Record]:
        """The records of all partitions, partition after partition: value decoded from base64, ``<topic>-<partition>@<offset>``."""
        return [
            Record(
                None if record.get("value") is None else decode_payload(record["value"]),
                f"{partition}@{record['offset']}",
                record.get("key"),
            )
            for partition, record in _by_partition(invocation)
        ]

    def lanes(self, invocation: Mapping[str, Any]) -> Sequence[str] | None:
        """A lane for each partition."""
        return [partition for partition, _ in _by_partition(invocation)]

    def response(self, invocation: Mapping[str, Any], returned: Collection[int]) -> BatchResponse:
        """Name the lowest returned offset of each partition."""
        lowest: dict[str, int] = {}
        for position, (partition, record) in enumerate(_by_partition(invocation)):
            if position in returned:
                lowest[partition] = min(record["offset"], lowest.get(partition, record["offset"]))
        return item_failures([{"partition": partition, "offset": offset} for partition, offset in lowest.items()])


def _by_partition(invocation: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for partition, records in invocation["records"].items():
        for record in records:
            yield partition, record
