"""All of a stack's status, read side by side, and what of it is not as it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from eventscore.signing import Ed25519Verifier, parse_trusted_keys
from eventscore.store.location import open_store
from eventscore.store.versions import LIVE
from eventscore_cli.stack import Stack
from eventscore_cli.standing.alarms import Alarms, alarms
from eventscore_cli.standing.channels import ChannelState, channel_states
from eventscore_cli.standing.figures import Figures, figures
from eventscore_cli.standing.function import (
    Deployment,
    FunctionState,
    MappingState,
    function_state,
    last_deployment,
    mapping_states,
)
from eventscore_cli.standing.part import Part, T, read_part
from eventscore_cli.standing.queues import MUST_BE_EMPTY, QUEUES, QueueState, queue_state
from eventscore_cli.standing.resources import Resource, ids, stack_resources


@dataclass(frozen=True)
class Standing:
    """Every part, readable or not. ``queues`` are by name, those that the stack has."""

    stack: Stack
    channels: Part[tuple[ChannelState, ...]]
    function: Part[FunctionState]
    deployment: Part[Deployment | None]
    mappings: Part[tuple[MappingState, ...]]
    queues: dict[str, Part[QueueState]]
    alarms: Part[Alarms]
    figures: Part[Figures]


def read_standing(stack: Stack, client: Callable[[str], Any], now: datetime, objective_percent: float) -> Standing:
    """Read everything about ``stack``; ``client`` makes a client of a service. Raises nothing that AWS says."""
    outputs = stack.outputs
    resources = read_part(lambda: stack_resources(client("cloudformation"), stack.name))

    def made_of() -> tuple[Resource, ...]:
        if resources.value is None:
            raise _NoResources(str(resources.unreadable))
        return resources.value

    def channels() -> tuple[ChannelState, ...]:
        trusted = Ed25519Verifier(parse_trusted_keys(stack.trusted_keys))
        return channel_states(open_store(stack.store), stack.models, trusted, now)

    def function() -> FunctionState:
        name = stack.output("ScoreFunctionName")
        return function_state(client("lambda"), name, outputs.get("ScoreFunctionAlias"))

    def deployment() -> Deployment | None:
        applications = ids(made_of(), "AWS::CodeDeploy::Application")
        groups = ids(made_of(), "AWS::CodeDeploy::DeploymentGroup")
        return last_deployment(client("codedeploy"), applications, groups) if applications and groups else None

    def mappings() -> tuple[MappingState, ...]:
        return mapping_states(client("lambda"), ids(made_of(), "AWS::Lambda::EventSourceMapping"))

    def ringing() -> Alarms:
        names = ids(made_of(), "AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
        return alarms(client("cloudwatch"), names)

    def last_hour() -> Figures:
        namespace, service = stack.output("MetricsNamespace"), stack.output("ServiceName")
        return figures(client("cloudwatch"), namespace, service, stack.models, now, objective_percent)

    def queue(name: str) -> Callable[[], QueueState]:
        return lambda: queue_state(client("sqs"), client("cloudwatch"), outputs, name, now)

    with ThreadPoolExecutor(8) as pool:

        def begin(work: Callable[[], T]) -> Callable[[], Part[T]]:
            return pool.submit(_readable, work).result

        parts = begin(channels), begin(function), begin(deployment), begin(mappings), begin(ringing), begin(last_hour)
        queues = {name: begin(queue(name)) for name, output in QUEUES.items() if outputs.get(output)}
        return Standing(
            stack,
            channels=parts[0](),
            function=parts[1](),
            deployment=parts[2](),
            mappings=parts[3](),
            queues={name: read() for name, read in queues.items()},
            alarms=parts[4](),
            figures=parts[5](),
        )


class _NoResources(Exception):
    """Nobody may say what the stack is made of."""


def _readable(work: Callable[[], T]) -> Part[T]:
    try:
        return read_part(work)
    except _NoResources as error:
        return Part(None, str(error))


def problems(standing: Standing) -> Iterator[str]:
    """What is not as it should be, one sentence each; what cannot be read is not known to be."""
    stack = standing.stack
    if stack.has_failed:
        yield f"the stack is in {stack.status}{f': {stack.reason}' if stack.reason else ''}"
    follows = stack.outputs.get("Channel") or LIVE
    for state in standing.channels.value or ():
        if state.refused is not None:
            what = "the function follows it" if state.channel == follows else "nobody follows it yet"
            yield f"{state.model}'s channel {state.channel} points at a version that is refused ({what}): {state.refused}"
    if standing.channels.value is not None:
        served = {state.model for state in standing.channels.value if state.channel == follows}
        for model in stack.models:
            if model not in served:
                yield f"{model}'s channel {follows} points at no version; publish one with --promote {follows}"
    function = standing.function.value
    if function is not None and function.state not in ("Active", "Inactive"):
        yield f"the function is {function.state}"
    if function is not None and function.last_update == "Failed":
        yield "the function's last update failed"
    if (deployment := standing.deployment.value) is not None and deployment.status == "Failed":
        yield f"the last code deployment failed: {deployment.why or deployment.id}"
    for mapping in standing.mappings.value or ():
        if mapping.state not in ("Enabled", "Enabling", "Creating", "Updating"):
            yield f"the mapping of {mapping.source} is {mapping.state}; nothing is read there"
        elif mapping.last_result and not mapping.last_result.startswith(("OK", "No records processed")):
            yield f"the mapping of {mapping.source} says: {mapping.last_result}"
    for name, part in standing.queues.items():
        if name in MUST_BE_EMPTY and part.value is not None and part.value.messages:
            yield f"{part.value.messages:,} {name}; see eventscore replay {MUST_BE_EMPTY[name]} --stack {stack.name}"
    for alarm in standing.alarms.value.ringing if standing.alarms.value else ():
        yield f"alarm {alarm.name}{f', see {alarm.runbook}' if alarm.runbook else ''}"
    for model, left in (standing.figures.value.budget_left if standing.figures.value else {}).items():
        if left < 0:
            yield f"{model} has spent its error budget of 30 days"
    for what, unreadable in unreadables(standing):
        yield f"{what} cannot be read: {unreadable}"


def unreadables(standing: Standing) -> Iterator[tuple[str, str]]:
    """The parts that cannot be read, and why."""
    parts: dict[str, Part[Any]] = {
        "channels": standing.channels,
        "function": standing.function,
        "deployments": standing.deployment,
        "mappings": standing.mappings,
        **{f"queue of {name}": part for name, part in standing.queues.items()},
        "alarms": standing.alarms,
        "figures": standing.figures,
    }
    for name, part in parts.items():
        if part.unreadable is not None:
            yield name, part.unreadable
