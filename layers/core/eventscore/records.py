"""What a source hands over: one record, whichever stream it came from."""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record of a batch.

    ``payload`` are the event's own bytes, None for a tombstone. ``origin`` names the record for good, in its source
    (``<message id>``, ``<shard>:<sequence number>``, ``<topic>-<partition>@<offset>``): answers and rejections carry it, so that every
    record can be followed to where it ended. ``key`` is what its order hangs on, as its source has it: a partition key, a FIFO queue's
    group, a Kafka record's key in base64.
    """

    payload: bytes | None
    origin: str
    key: str | None = None
