"""A record of a Kinesis shard or a Kafka partition, ready for an invocation."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """`partition` is the shard's id or `topic-partition`; `position` grows within it; `sequence` is it as the source
    writes it; `json` the record as it stands in the payload; `arrived_at` Unix seconds.
    """

    partition: str
    position: int
    sequence: str
    json: bytes
    arrived_at: float
