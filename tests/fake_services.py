"""Services that take batches of messages, in memory: their answers have AWS's shape, and a script says what they refuse."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError

from eventscore.delivery.backoff import Backoff
from eventscore.delivery.batched import BatchedSink
from eventscore.delivery.eventbridge import EventBridgeSink
from eventscore.delivery.firehose import FirehoseSink
from eventscore.delivery.kinesis import KinesisSink
from eventscore.delivery.sink import Message
from eventscore.delivery.sns import SnsSink
from eventscore.delivery.sqs import SqsSink

Verdict = str | None
"""What becomes of an entry: None it is taken; ``throttled``, ``refused``; ``unavailable``, ``timeout``, ``denied`` end the whole call."""


def origin_of(entry: Any) -> str:
    """The origin of the message behind an entry of any service."""
    attributes = entry.get("MessageAttributes") if isinstance(entry, dict) else None
    if attributes:
        return str(attributes["origin"]["StringValue"])
    body = entry.get("Data", entry.get("Detail"))
    return str(json.loads(body)["origin"])


class FakeService:
    """The client of all services at once. ``verdict`` is asked for each origin, and how often it was tried before."""

    def __init__(self, verdict: Callable[[str, int], Verdict] = lambda _origin, _tries: None) -> None:
        self.verdict = verdict
        self.calls: list[list[Any]] = []
        self.taken: list[str] = []
        self.tries: dict[str, int] = {}
        self._lock = threading.Lock()

    def send_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> Any:  # noqa: N803
        return self._with_ids(Entries)

    def publish_batch(self, *, TopicArn: str, PublishBatchRequestEntries: Sequence[Any]) -> Any:  # noqa: N803
        return self._with_ids(PublishBatchRequestEntries)

    def put_records(self, *, StreamName: str, Records: Sequence[Any]) -> Any:  # noqa: N803
        return {"Records": self._in_turn(Records, "ProvisionedThroughputExceededException")}

    def put_record_batch(self, *, DeliveryStreamName: str, Records: Sequence[Any]) -> Any:  # noqa: N803
        return {"RequestResponses": self._in_turn(Records, "ServiceUnavailableException")}

    def put_events(self, *, Entries: Sequence[Any]) -> Any:  # noqa: N803
        return {"Entries": self._in_turn(Entries, "ThrottlingException")}

    def _with_ids(self, entries: Sequence[Any]) -> Any:
        verdicts = self._judge(entries)
        failed = [
            {"Id": entry["Id"], "Code": verdict, "SenderFault": verdict == "refused"}
            for entry, verdict in zip(entries, verdicts, strict=True)
            if verdict
        ]
        taken = [{"Id": entry["Id"]} for entry, verdict in zip(entries, verdicts, strict=True) if not verdict]
        return {"Successful": taken, "Failed": failed}

    def _in_turn(self, entries: Sequence[Any], throttled: str) -> list[dict[str, str]]:
        codes = {"throttled": throttled, "refused": "InvalidArgument"}
        return [
            {"ErrorCode": codes[verdict], "ErrorMessage": verdict} if verdict else {}
            for verdict in self._judge(entries)
        ]

    def _judge(self, entries: Sequence[Any]) -> list[Verdict]:
        with self._lock:
            self.calls.append(list(entries))
            origins = [origin_of(entry) for entry in entries]
            verdicts = []
            for origin in origins:
                verdicts.append(self.verdict(origin, self.tries.get(origin, 0)))
                self.tries[origin] = self.tries.get(origin, 0) + 1
            if "timeout" in verdicts:
                raise ReadTimeoutError(endpoint_url="https://service")
            for word, status in (("unavailable", 503), ("denied", 403)):
                if word in verdicts:
                    error = {"Error": {"Code": word}, "ResponseMetadata": {"HTTPStatusCode": status}}
                    raise ClientError(error, "Send")  # type: ignore[arg-type] # as much of it as anybody reads
            self.taken += [origin for origin, verdict in zip(origins, verdicts, strict=True) if verdict is None]
            return verdicts


SINKS: dict[str, Callable[[Any, Backoff], BatchedSink[Any]]] = {
    "sqs": lambda client, backoff: SqsSink("https://queue", client, backoff),
    "fifo": lambda client, backoff: SqsSink("https://queue.fifo", client, backoff),
    "sns": lambda client, backoff: SnsSink("arn:aws:sns:us-east-1:123456789012:scores", client, backoff),
    "kinesis": lambda client, backoff: KinesisSink("scores", client, backoff),
    "firehose": lambda client, backoff: FirehoseSink("scores", client, backoff),
    "eventbridge": lambda client, backoff: EventBridgeSink("scores", client, backoff),
}


class Waits:
    """A backoff that waits in no time, and remembers what it would have waited. ``remaining_s`` goes down by it."""

    def __init__(self, remaining_s: float = 60.0, chance: float = 1.0) -> None:
        self.remaining_s = remaining_s
        self.waited: list[float] = []
        self.backoff = Backoff(chance=lambda: chance, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.remaining_s -= seconds


class Answer:
    """As much of an answer as a sink asks for."""

    def __init__(self, event_id: str | int, decision: str | None = None, version: str = "v1") -> None:
        self.event_id, self.decision, self.version, self.model = event_id, decision, version, "small"


def message(number: int, *, decision: str | None = None, size: int = 0) -> Message:
    """The answer to event ``e-<number>``, whose origin is ``o-<number>``, padded by ``size`` characters."""
    body = json.dumps({"event_id": f"e-{number}", "pad": "x" * size})
    return Message(body, {"source": "sqs", "origin": f"o-{number}"}, Answer(f"e-{number}", decision))
