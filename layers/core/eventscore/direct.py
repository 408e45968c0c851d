"""Direct invocations: a list of events, answered with a list of answers in the same order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from eventscore.routing import Router
from eventscore.telling import Telling

if TYPE_CHECKING:
    from eventscore.scorer import Scorer


def answer_events(
    events: Sequence[Any], router: Router, scorer_of: Callable[[str | None], Scorer], telling: Telling
) -> list[dict[str, Any]]:
    """What each event is answered: its score, or why it was rejected. Raises what ``scorer_of`` raises for want of a model."""
    import msgspec

    from eventscore.scoring import Answer

    messages = [_message(event) for event in events]
    answers: list[dict[str, Any]] = [{}] * len(messages)
    for model, positions in router.direct(messages).items():
        began = time.perf_counter()
        scorer = scorer_of(model)
        outcomes = scorer.score([messages[position] for position in positions], datetime.now(UTC))
        scored = 0
        for position, outcome in zip(positions, outcomes, strict=True):
            if isinstance(outcome, Answer):
                scored += 1
                answers[position] = msgspec.to_builtins(outcome)
            else:
                rejected = {"reason": outcome.reason, "field": outcome.field, "detail": outcome.detail}
                answers[position] = {"rejected": rejected, "model": scorer.model, "version": scorer.version}
        telling.direct(model, scorer, scored, len(outcomes) - scored, began)
    return answers


def _message(event: Any) -> bytes:
    """An event of a direct invocation as bytes again.

    The runtime has parsed it already; NaN, which it lets through, is written as NaN again and refused by the decoder. What cannot be
    written, for its depth or for an integer of thousands of digits, is replaced by something that the decoder refuses in its place.
    """
    import json

    try:
        return json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except RecursionError:
        return _TOO_NESTED
    except ValueError:
        return b"an integer of thousands of digits"


_TOO_NESTED = b'{"":' + b"[" * 2000 + b"]" * 2000 + b"}"
