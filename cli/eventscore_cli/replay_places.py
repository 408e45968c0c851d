"""Where a replay reads and sends: from a stack's outputs, or from what the options name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import click

from eventscore_cli.replaying.dead_letters import DeadLetterReader
from eventscore_cli.replaying.event import Event, Reader
from eventscore_cli.replaying.rejects import RejectReader
from eventscore_cli.replaying.stream_positions import StreamPositionReader
from eventscore_cli.replaying.targets import KinesisTarget, SqsTarget, Target
from eventscore_cli.stack import Stack, aws_client

What = Literal["rejected", "dead", "given-up"]
OUTPUTS: dict[What, str] = {
    "rejected": "RejectQueueUrl",
    "dead": "EventDeadLetterQueueUrl",
    "given-up": "StreamFailureQueueUrl",
}
JOURNAL = "_replays"
"""The journal's folder in the model bucket; no model can be called so."""


def queue_url(what: What, stack: Stack | None, queue: str | None) -> str:
    """The queue to read. Raises ``UsageError`` where nobody names it."""
    if queue is not None:
        return queue
    if stack is None:
        raise click.UsageError("expected --stack NAME, or --queue URL")
    return stack.output(OUTPUTS[what])


def journal_location(stack: Stack | None, journal: str | None) -> str | None:
    """The store that the journal is in; None where nobody names it."""
    if journal is not None:
        return journal
    return None if stack is None else f"{stack.store}/{JOURNAL}"


def reader(what: What) -> Reader:
    """Who reads the messages."""
    if what == "rejected":
        return RejectReader()
    return DeadLetterReader() if what == "dead" else StreamPositionReader(aws_client("kinesis"))


@dataclass
class Router:
    """Where each event goes: ``to`` if it is given, else where it came from. ``read`` is the queue that is read."""

    stack: Stack | None
    to: str | None
    read: str
    clients: Callable[..., Any] = aws_client
    _targets: dict[str, Target] = field(default_factory=dict)

    def __call__(self, event: Event) -> Target | str:
        """The target, or why there is none."""
        address = self._address(event)
        if address is None:
            return f"came from {event.source}, and nobody says where to send that; choose with --to (docs/replaying.md)"
        target = self._targets.get(address)
        if target is None:
            target = self._targets[address] = self._open(address)
        return target

    def _address(self, event: Event) -> str | None:
        if self.to is not None:
            return self._named(self.to)
        if event.home is not None:
            return event.home
        output = {"sqs": "EventQueueUrl", "kinesis": "EventStreamName"}.get(event.source)
        found = self.stack.outputs.get(output) if self.stack is not None and output is not None else None
        return f"{event.source}:{found}" if found else None

    def _named(self, to: str) -> str:
        scheme, _, rest = to.partition(":")
        if scheme not in ("sqs", "kinesis"):
            raise click.UsageError(
                f"--to: expected sqs, kinesis (the stack's own), sqs:<queue url> or kinesis:<stream>, got {to}"
            )
        if rest:
            return to
        if self.stack is None:
            raise click.UsageError(f"--to {to}: expected {to}:<which>, as there is no --stack that knows it")
        return f"{scheme}:{self.stack.output('EventQueueUrl' if scheme == 'sqs' else 'EventStreamName')}"

    def _open(self, address: str) -> Target:
        # Once, and never again by itself: a call without an answer may have been taken.
        if address.startswith("kinesis:"):
            return KinesisTarget(self.clients("kinesis", 1), address.partition(":")[2].rpartition("/")[2])
        if address.startswith("arn:") and ":kinesis:" in address:
            return KinesisTarget(self.clients("kinesis", 1), address.rpartition("/")[2])
        sqs = self.clients("sqs", 1)
        if address.startswith("arn:"):
            *_, account, name = address.split(":")
            url = sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]
        else:
            url = address.partition(":")[2]
        if url.rstrip("/") == self.read.rstrip("/"):
            raise click.UsageError(f"{url} is the queue that is read; what is sent there would never end")
        return SqsTarget(sqs, url)
