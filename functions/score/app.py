"""The score function: what Lambda calls. Everything that it does is in the core layer."""

import gc
from typing import Any

gc.disable()  # what is imported stays: there is no garbage to look for, and looking takes 8 ms of a cold start

try:
    from eventscore.function import ScoreFunction

    _function = ScoreFunction.from_environment()
    gc.freeze()  # nor is it looked through again with each collection
finally:
    gc.enable()


def handler(event: Any, context: Any) -> Any:
    """Answer an SQS, Kinesis or Kafka batch, a list of events, or a warm-up."""
    return _function(event, context)
