"""Where a batch comes from: what a configuration may call its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def source_names(invocation: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the source of a batch, the narrowest first: the Kafka topic, then the ARN. A cluster of one's own has no ARN."""
    by_partition = invocation.get("records")
    if isinstance(by_partition, Mapping):
        topics = {partition.rpartition("-")[0] for partition in by_partition}  # <topic>-<partition>
        names = tuple(topics) if len(topics) == 1 else ()
        return (*names, *_texts(invocation.get("eventSourceArn")))
    records = invocation.get("Records") or [{}]
    return _texts(records[0].get("eventSourceARN"))


def _texts(value: object) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else ()
