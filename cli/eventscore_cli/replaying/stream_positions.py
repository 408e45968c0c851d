"""The failure queue of a stream: its messages name positions, and the records behind them are read from the stream again.

https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html, .../kafka-on-failure.html
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from botocore.exceptions import ClientError

from eventscore_cli.replaying.event import Event, Held, Parcel

_PER_CALL = 10_000


class StreamPositionReader:
    """Positions of Kinesis become events, with the keys that they had. Those of Kafka are named and left."""

    def __init__(self, kinesis: Any) -> None:
        self._kinesis = kinesis

    def add(self, held: Held) -> Parcel | None:
        """The records behind the message's position, as far as the stream still has them."""
        try:
            document = msgspec.json.decode(held.body)
            if "KafkaBatchInfo" in document:
                return Parcel((), (held,), _kafka(document["KafkaBatchInfo"]))
            info = document["KinesisBatchInfo"]
            wanted = int(info["batchSize"])
            reason = f"given up: {document.get('requestContext', {}).get('condition', 'unknown')}"
            at = _moment(document.get("timestamp")) or held.sent_at
            place = f"{info['shardId']} from {info['startSequenceNumber']} of {info['streamArn']}"
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError, AttributeError):
            return Parcel((), (held,), "no report of an event source mapping about records that it gave up")
        try:
            records = self._records(info, wanted)
        except ClientError as error:
            return Parcel((), (held,), f"{place}: cannot be read: {error}")
        events = tuple(
            Event(
                source="kinesis",
                origin=f"{info['shardId']}:{record['SequenceNumber']}",
                payload=bytes(record["Data"]),
                at=at,
                reason=reason,
                group=str(record["PartitionKey"]),
                home=str(info["streamArn"]),
            )
            for record in records
        )
        missing = wanted - len(events)
        problem = f"{place}: {missing} of {wanted} records are no longer in the stream" if missing > 0 else None
        return Parcel(events, (held,), problem)

    def rest(self) -> list[Parcel]:
        """Each message is whole."""
        return []

    def _records(self, info: Mapping[str, Any], wanted: int) -> list[Any]:
        first, last = int(info["startSequenceNumber"]), int(info["endSequenceNumber"])
        iterator = self._kinesis.get_shard_iterator(
            StreamName=str(info["streamArn"]).rpartition("/")[2],
            ShardId=info["shardId"],
            ShardIteratorType="AT_SEQUENCE_NUMBER",
            StartingSequenceNumber=info["startSequenceNumber"],
        )["ShardIterator"]
        found: list[Any] = []
        while iterator is not None and len(found) < wanted:
            answer = self._kinesis.get_records(ShardIterator=iterator, Limit=min(_PER_CALL, wanted - len(found)))
            for record in answer["Records"]:
                number = int(record["SequenceNumber"])
                if number > last:
                    return found
                if number >= first:
                    found.append(record)
                if number == last:
                    return found
            # Between two records a shard may answer with nothing for a while; at its end it says so.
            if not answer["Records"] and answer.get("MillisBehindLatest", 0) == 0:
                return found
            iterator = answer.get("NextShardIterator")
        return found


def _kafka(info: Mapping[str, Any]) -> str:
    places = ", ".join(
        f"{partition} offsets {records['firstRecordOffset']} to {records['lastRecordOffset']}"
        for partition, records in info["recordsInfo"].items()
    )
    return f"Kafka {places}: only a Kafka client can read them again (docs/replaying.md)"


def _moment(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
