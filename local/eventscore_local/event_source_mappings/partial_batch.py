"""Which records of a batch have failed, by the function's response (`ReportBatchItemFailures`).

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html: a missing or empty list of failures is a
success; what cannot be understood fails the whole batch, for a record too many is better than an event lost.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar


class OrderedRecord(Protocol):
    """A record of a shard or partition."""

    @property
    def partition(self) -> str:
        """The shard's id, or `topic-partition`."""

    @property
    def position(self) -> int:
        """Sequence number or offset: grows within a partition."""


R = TypeVar("R", bound=OrderedRecord)


class ResponseMalformed(Exception):
    """The response says that something failed, but not what. Fails the whole batch."""


def reported_identifiers(response: bytes) -> list[object]:
    """The item identifiers in a response (JSON bytes), empty for a success. Raises ResponseMalformed."""
    if not response.strip():
        return []
    try:
        document = json.loads(response)
    except ValueError as error:
        raise ResponseMalformed(f"expected JSON, got {response[:80]!r}") from error
    if document is None:
        return []
    if not isinstance(document, dict):
        raise ResponseMalformed(f"expected an object or null, got {type(document).__name__}")
    failures = document.get("batchItemFailures")
    if failures is None:
        return []
    if not isinstance(failures, list):
        raise ResponseMalformed(f"expected a list of batchItemFailures, got {type(failures).__name__}")
    for failure in failures:
        if not isinstance(failure, dict) or not failure.get("itemIdentifier"):
            raise ResponseMalformed(f"expected an itemIdentifier in each of batchItemFailures, got {failure!r}")
    return [failure["itemIdentifier"] for failure in failures]


def failed_messages(message_ids: Sequence[str], response: bytes) -> set[str]:
    """SQS: ids of the messages that come back; all of them if the response names an unknown one or is malformed."""
    known = set(message_ids)
    try:
        failed = reported_identifiers(response)
    except ResponseMalformed:
        return known
    named = {identifier for identifier in failed if isinstance(identifier, str)}
    return named if len(named) == len({str(one) for one in failed}) and named <= known else known


@dataclass(frozen=True)
class KinesisIdentifier:
    """Reads `"itemIdentifier": "<sequence number>"`; all records of a batch are of one shard."""

    partition: str

    def read(self, identifier: object) -> tuple[str, int]:
        """Partition and position. Raises ResponseMalformed."""
        if isinstance(identifier, str) and identifier.isascii() and identifier.isdigit():
            return self.partition, int(identifier)
        raise ResponseMalformed(f"expected a sequence number, got {identifier!r}")


@dataclass(frozen=True)
class KafkaIdentifier:
    """Reads `"itemIdentifier": {"partition": "topic-0", "offset": 15}`."""

    def read(self, identifier: object) -> tuple[str, int]:
        """Partition and position. Raises ResponseMalformed."""
        if isinstance(identifier, dict):
            partition, offset = identifier.get("partition"), identifier.get("offset")
            if isinstance(partition, str) and isinstance(offset, int) and not isinstance(offset, bool):
                return partition, offset
        raise ResponseMalformed(f'expected {{"partition": "topic-0", "offset": 15}}, got {identifier!r}')


def records_to_retry(batch: Sequence[R], response: bytes, identifier: KinesisIdentifier | KafkaIdentifier) -> list[R]:
    """Kinesis, Kafka: of each partition, the records from its lowest failed one onward, in the batch's order.

    The whole batch if the response names an unknown record or is malformed.
    """
    known = {(record.partition, record.position) for record in batch}
    lowest: dict[str, int] = {}
    try:
        for item in reported_identifiers(response):
            partition, position = identifier.read(item)
            if (partition, position) not in known:
                return list(batch)
            lowest[partition] = min(position, lowest.get(partition, position))
    except ResponseMalformed:
        return list(batch)
    return [record for record in batch if record.partition in lowest and record.position >= lowest[record.partition]]
