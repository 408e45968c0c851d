"""Doubles for the tests of the event source mappings: a function that is told what fails."""

import json
import threading
from collections.abc import Callable
from typing import Any

from eventscore_local.invocation import InvocationResult

Document = dict[str, Any]


class FakeFunction:
    """Invoked by a mapping: remembers every invocation and answers what `answer` makes of it."""

    def __init__(self, answer: Callable[[Document], object] = lambda _: None) -> None:
        self._answer = answer
        self._lock = threading.Lock()
        self.invocations: list[Document] = []

    def __call__(self, payload: bytes) -> InvocationResult:
        document = json.loads(payload)
        with self._lock:
            self.invocations.append(document)
        answer = self._answer(document)
        return answer if isinstance(answer, InvocationResult) else InvocationResult(json.dumps(answer).encode())


def report(*identifiers: object) -> Document:
    """A partial batch response."""
    return {"batchItemFailures": [{"itemIdentifier": one} for one in identifiers]}
