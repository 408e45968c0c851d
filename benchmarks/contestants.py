"""The three that are compared in the throughput benchmark: ours, what a careful engineer writes by hand, and the floor.

Each is called with an SQS invocation as Lambda's runtime hands it over, scores it, and keeps the answers of that invocation, as JSON
texts, in memory: no network. All load the same ``model.onnx`` into ONNX Runtime on one thread.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from operator import attrgetter
from typing import Annotated, Any, Protocol

import msgspec
import numpy as np
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from pydantic import AwareDatetime, BaseModel, Field, create_model
from workload import CATEGORIES, DECISIONS, HIGH, LOW, MODEL, NUMBERS, WITH_GAPS, Invocation

from eventscore.artifact import Artifact
from eventscore.delivery.sink import Message, NotTaken, Sink
from eventscore.delivery.sqs import SqsSink
from eventscore.drift_watch import DriftWatch
from eventscore.function import ScoreFunction
from eventscore.service import ScoringService
from eventscore.telemetry import Telemetry


class Contestant(Protocol):
    """Scores an invocation, then shows the answers of that invocation."""

    def __call__(self, invocation: Invocation) -> None:
        """Score the invocation."""

    def answers(self) -> list[bytes]:
        """The answers of the last invocation, JSON texts with ``event_id`` and ``score``, in the order of its records."""


class Ours:
    """The whole function; only the sink is in memory. With ``sqs_sink`` the real SQS sink, and only its client is in memory."""

    def __init__(self, artifact: Artifact, watch: DriftWatch, *, sqs_sink: bool = False) -> None:
        self._memory = _MemorySink()
        self._client = _MemorySqsClient()
        sink: Sink = SqsSink("https://sqs.invalid/answers", self._client) if sqs_sink else self._memory  # type: ignore[arg-type]
        self._sqs_sink = sqs_sink
        self._watch = watch
        service = ScoringService(sink, self._memory, lambda: datetime.now(UTC))
        self._function = ScoreFunction.of(artifact, service, Telemetry(artifact.model, {}), watch)

    def __call__(self, invocation: Invocation) -> None:
        """Answer as in the function: decode, validate, score, decide, encode, deliver, drift sketch, EMF."""
        self._client.bodies.clear()
        response = self._function(invocation, None)
        if response["batchItemFailures"]:
            raise RuntimeError(f"expected every record to be taken, {len(response['batchItemFailures'])} came back")
        if self._watch.error is not None:
            raise RuntimeError("expected every event to be counted") from self._watch.error

    def answers(self) -> list[bytes]:
        """What the sink was given."""
        # The sink's threads take turns as they like; scores are compared by event, not by place.
        bodies = self._client.bodies if self._sqs_sink else [message.body for message in self._memory.messages]
        return [body.encode() for body in bodies]


class _MemorySink:
    """Takes every message, and keeps those of the last delivery."""

    def __init__(self) -> None:
        self.messages: Sequence[Message] = ()

    def deliver(self, messages: Sequence[Message], *_: object) -> Mapping[int, NotTaken]:
        self.messages = messages
        return {}


class _MemorySqsClient:
    """Answers SendMessageBatch as SQS does when it takes everything."""

    def __init__(self) -> None:
        self.bodies: list[str] = []

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - as boto3
        del QueueUrl
        self.bodies.extend(entry["MessageBody"] for entry in Entries)
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries]}


class Peer:
    """What a careful engineer writes by hand: Powertools' batch processor, a pydantic model, one run per record, json."""

    def __init__(self, graph: bytes) -> None:
        self._session = one_thread_session(graph)
        self._event = _pydantic_event()
        self._numbers = attrgetter(*NUMBERS)
        self._categories = attrgetter(*CATEGORIES)
        self._processor = BatchProcessor(event_type=EventType.SQS)
        self._answers: list[str] = []

    def __call__(self, invocation: Invocation) -> None:
        """Score record by record; a record that raises would come back alone."""
        self._answers.clear()
        response = process_partial_response(
            event=dict(invocation), record_handler=self._score, processor=self._processor, context=None
        )
        if response["batchItemFailures"]:
            raise RuntimeError(f"expected every record to be taken, {len(response['batchItemFailures'])} came back")

    def _score(self, record: SQSRecord) -> None:
        event = self._event.model_validate_json(record.body)
        numbers = np.array([self._numbers(event)], dtype=np.float64)
        categories = np.array([[value or "" for value in self._categories(event)]], dtype=object)
        score = float(self._session.run(["score"], {"numbers": numbers, "categories": categories})[0][0])
        decision = next(name for name, start in reversed(DECISIONS) if score >= start)
        answer = {"event_id": event.event_id, "score": score, "decision": decision, "model": MODEL}  # type: ignore[attr-defined]
        self._answers.append(json.dumps(answer))

    def answers(self) -> list[bytes]:
        """What would be sent."""
        return [answer.encode() for answer in self._answers]


def _pydantic_event() -> type[BaseModel]:
    number, text = Annotated[float, Field(ge=LOW, le=HIGH)], Annotated[str, Field(min_length=1, max_length=32)]
    fields: dict[str, Any] = {"event_id": Annotated[str, Field(min_length=1)], "occurred_at": AwareDatetime}
    for names, kind in ((NUMBERS, number), (CATEGORIES, text)):
        fields |= {name: (kind | None, None) if name in WITH_GAPS else kind for name in names}
    return create_model("Event", **fields)


class FloorAnswer(msgspec.Struct, gc=False):
    """The least that an answer says."""

    event_id: str
    score: float


class Floor:
    """What no design in Python can do without: a typed decode, columns, one run per batch, a typed encode.

    No bounds, no decision, no metrics, nothing that could be rejected or returned.
    """

    def __init__(self, graph: bytes) -> None:
        self._session = one_thread_session(graph)
        self._decode = msgspec.json.Decoder(_msgspec_event()).decode
        self._encode = msgspec.json.Encoder().encode
        self._numbers = attrgetter(*NUMBERS)
        self._categories = attrgetter(*CATEGORIES)
        self._answers: list[bytes] = []

    def __call__(self, invocation: Invocation) -> None:
        """Score the whole batch at once."""
        decode, encode = self._decode, self._encode
        events = [decode(record["body"]) for record in invocation["Records"]]
        # The fastest of six ways that were tried; None becomes NaN.
        flat_numbers = chain.from_iterable(map(self._numbers, events))
        numbers = np.fromiter(flat_numbers, np.float64, len(events) * len(NUMBERS)).reshape(-1, len(NUMBERS))
        flat_categories = chain.from_iterable(map(self._categories, events))
        categories = np.fromiter(flat_categories, object, len(events) * len(CATEGORIES)).reshape(-1, len(CATEGORIES))
        scores = self._session.run(["score"], {"numbers": numbers, "categories": categories})[0].tolist()
        self._answers = [
            encode(FloorAnswer(event.event_id, score)) for event, score in zip(events, scores, strict=True)
        ]

    def answers(self) -> list[bytes]:
        """What would be sent."""
        return self._answers


def _msgspec_event() -> type[Any]:
    fields: list[Any] = [("event_id", str), ("occurred_at", datetime)]
    fields += [(name, float | None, None) if name in WITH_GAPS else (name, float) for name in NUMBERS]
    # A gap is "" from the start, which saves a look at each value.
    fields += [(name, str, "") if name in WITH_GAPS else (name, str) for name in CATEGORIES]
    return msgspec.defstruct("Event", fields, kw_only=True, gc=False)


def one_thread_session(graph: bytes) -> Any:
    """A session as all three use it."""
    # Here, because eventscore, which is imported by now, switches ONNX Runtime's telemetry off before it is imported.
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def check_agreement(contestants: Mapping[str, Contestant], invocation: Invocation, tolerance: float = 1e-6) -> None:
    """Let all score one invocation; raises ``RuntimeError`` unless all give every event the same score."""
    scores: dict[str, dict[str, float]] = {}
    for name, contestant in contestants.items():
        contestant(invocation)
        answers = [msgspec.json.decode(answer) for answer in contestant.answers()]
        scores[name] = {answer["event_id"]: answer["score"] for answer in answers}
    expected = {json.loads(record["body"])["event_id"] for record in invocation["Records"]}
    first, *others = scores
    for name in (first, *others):
        if scores[name].keys() != expected:
            raise RuntimeError(f"{name}: expected {len(expected)} answers, got {len(scores[name])}")
        worst = max(abs(scores[name][event] - scores[first][event]) for event in expected)
        if not worst <= tolerance:
            raise RuntimeError(f"{name} and {first} differ by {worst:g} on one event; what they do is not the same")
