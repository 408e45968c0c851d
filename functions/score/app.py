"""The score function: what Lambda calls. Everything that it does is in the core layer."""

from typing import Any

from eventscore.function import ScoreFunction

_function = ScoreFunction.from_environment()


def handler(event: Any, context: Any) -> Any:
    """Answer an SQS, Kinesis or Kafka batch, a list of events, or a warm-up."""
    return _function(event, context)
