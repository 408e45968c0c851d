"""The function: what its alias points at, how it is configured, its last code deployment, and the mappings that feed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FunctionState:
    """``alias`` None: the stack has none. ``canary`` is the share of another version that is being tried, by version."""

    name: str
    alias: str | None
    version: str
    canary: dict[str, float]
    memory_mb: int
    timeout_s: int
    architecture: str
    runtime: str
    snap_start: str
    provisioned: str | None
    last_modified: str
    state: str
    last_update: str


@dataclass(frozen=True)
class Deployment:
    """A code deployment: its id, its state in CodeDeploy's words, when it began, why it failed."""

    id: str
    status: str
    began: str
    why: str


@dataclass(frozen=True)
class MappingState:
    """An event source mapping, in Lambda's words."""

    id: str
    source: str
    state: str
    last_result: str


def function_state(client: Any, name: str, alias_arn: str | None) -> FunctionState:
    """The function as its alias has it, or its latest code where there is no alias."""
    alias, version, canary = None, "$LATEST", {}
    if alias_arn:
        alias = alias_arn.rpartition(":")[2]
        found = client.get_alias(FunctionName=name, Name=alias)
        version = found["FunctionVersion"]
        canary = dict(found.get("RoutingConfig", {}).get("AdditionalVersionWeights", {}))
    told = client.get_function_configuration(FunctionName=name, Qualifier=version)
    snap_start = told.get("SnapStart", {})
    applied = snap_start.get("ApplyOn", "None")
    return FunctionState(
        name=name,
        alias=alias,
        version=version,
        canary=canary,
        memory_mb=told["MemorySize"],
        timeout_s=told["Timeout"],
        architecture=told.get("Architectures", ["x86_64"])[0],
        runtime=told.get("Runtime", ""),
        snap_start="off" if applied == "None" else snap_start.get("OptimizationStatus", applied),
        provisioned=None if alias is None else _provisioned(client, name, alias),
        last_modified=told["LastModified"],
        state=told.get("State", "Active"),
        last_update=told.get("LastUpdateStatus", "Successful"),
    )


def _provisioned(client: Any, name: str, alias: str) -> str | None:
    from botocore.exceptions import ClientError

    try:
        found = client.get_provisioned_concurrency_config(FunctionName=name, Qualifier=alias)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("ProvisionedConcurrencyConfigNotFoundException", "NotFound"):
            return None
        raise
    ready = found.get("AvailableProvisionedConcurrentExecutions", 0)
    return f"{ready} of {found['RequestedProvisionedConcurrentExecutions']} ready ({found['Status']})"


def last_deployment(client: Any, applications: tuple[str, ...], groups: tuple[str, ...]) -> Deployment | None:
    """The newest deployment of the stack's code; None if there was none, or the stack does not use CodeDeploy."""
    for application in applications[:1]:
        for group in groups[:1]:
            found = client.list_deployments(applicationName=application, deploymentGroupName=group)["deployments"]
            if found:
                told = client.get_deployment(deploymentId=found[0])["deploymentInfo"]
                why = told.get("errorInformation", {}).get("message", "")
                return Deployment(found[0], told["status"], str(told["createTime"]), why)
    return None


def mapping_states(client: Any, uuids: tuple[str, ...]) -> tuple[MappingState, ...]:
    """The stack's event source mappings."""
    states = []
    for uuid in uuids:
        told = client.get_event_source_mapping(UUID=uuid)
        topics = ", ".join(told.get("Topics", ()))
        source = told.get("EventSourceArn") or "self-managed Kafka"
        name = source.rpartition(":")[2] + (f" ({topics})" if topics else "")
        states.append(MappingState(uuid, name, told.get("State", ""), told.get("LastProcessingResult", "")))
    return tuple(states)
