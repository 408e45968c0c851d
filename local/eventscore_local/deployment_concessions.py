"""What a template becomes so that the emulator takes it. Each concession has its reason; none is ever made for AWS."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eventscore_local.deployment_template import Template
from eventscore_local.errors import DeploymentFailed

NOT_EMULATED = ("AWS::Batch::", "AWS::CodeDeploy::", "AWS::CloudWatch::CompositeAlarm")
"""Beginnings of the resource types that ministack's CloudFormation refuses."""

_STAND_IN = {"Type": "AWS::CloudFormation::WaitConditionHandle"}
"""A resource that is nothing, but can be referred to."""

_BATCH_ACTIONS = {
    "sqs:SendMessage": "sqs:SendMessageBatch",
    "sqs:DeleteMessage": "sqs:DeleteMessageBatch",
    "sqs:ChangeMessageVisibility": "sqs:ChangeMessageVisibilityBatch",
}
"""On AWS the action of a single call covers its batch; ministack asks for an action that AWS does not know."""


@dataclass(frozen=True)
class Emulated:
    """A template that the emulator accepts, and the names of the resources that are left out of it, each with its type."""

    template: Template
    left_out: dict[str, str]


def emulated(template: Template, parameters: Mapping[str, str]) -> Emulated:
    """The template with a stand-in for each resource that the emulator cannot make, its conditions in words that it knows."""
    left_out = {
        name: resource["Type"] for name, resource in template["Resources"].items() if not _is_emulated(resource)
    }
    values = _values(template, parameters)
    numbers = {
        name: float(values[name]) if "." in values[name] else int(values[name])
        for name, of in template.get("Parameters", {}).items()
        if of["Type"] == "Number"
    }
    kept = {name: dict(_STAND_IN) if name in left_out else resource for name, resource in template["Resources"].items()}
    for resource in kept.values():
        if resource["Type"] == "AWS::Lambda::EventSourceMapping":
            resource["Properties"] = _with_numbers(resource["Properties"], numbers)
    conditions = _without_text_functions(template.get("Conditions", {}), values)
    made = {**template, "Conditions": conditions, "Resources": _with_batch_actions(kept)}
    return Emulated(_without_attributes(made, left_out), left_out)


def _values(template: Template, parameters: Mapping[str, str]) -> dict[str, str]:
    declared = template.get("Parameters", {})
    return {**{name: str(of["Default"]) for name, of in declared.items() if "Default" in of}, **parameters}


def _without_text_functions(node: Any, values: Mapping[str, str]) -> Any:
    """The node with the text itself in place of Fn::Select and Fn::Join: ministack's conditions take both for something else."""
    if isinstance(node, list):
        return [_without_text_functions(one, values) for one in node]
    if not isinstance(node, dict):
        return node
    match node:
        case {"Fn::Select": [index, parts]}:
            return _parts(parts, values)[int(index)]
        case {"Fn::Join": [str(separator), parts]}:
            return separator.join(_parts(parts, values))
    return {key: _without_text_functions(value, values) for key, value in node.items()}


def _parts(node: Any, values: Mapping[str, str]) -> list[str]:
    """A list in a condition: written out, a parameter that is a list, or a parameter that is split."""
    match node:
        case {"Fn::Split": [str(separator), {"Ref": str(name)}]}:
            return values[name].split(separator)
        case {"Ref": str(name)}:
            return values[name].split(",")
        case list():
            return [values[one["Ref"]] if isinstance(one, dict) else str(one) for one in node]
    raise DeploymentFailed(f"a condition of the template has a list that is not understood here: {node}")


def _with_numbers(node: Any, numbers: Mapping[str, float]) -> Any:
    """The node with a number for each Ref to a parameter of type Number: ministack's pollers compare what they find."""
    if isinstance(node, list):
        return [_with_numbers(one, numbers) for one in node]
    if not isinstance(node, dict):
        return node
    match node:
        case {"Ref": str(name)} if name in numbers:
            return numbers[name]
    return {key: _with_numbers(value, numbers) for key, value in node.items()}


def _with_batch_actions(node: Any) -> Any:
    """The node with a batch call's own action wherever a policy names the action that AWS asks for."""
    if isinstance(node, list):
        return [_with_batch_actions(one) for one in node]
    if not isinstance(node, dict):
        return node
    known = {key: _with_batch_actions(value) for key, value in node.items()}
    if "Effect" in known and "Action" in known:
        actions = [known["Action"]] if isinstance(known["Action"], str) else known["Action"]
        known["Action"] = [*actions, *(_BATCH_ACTIONS[one] for one in actions if one in _BATCH_ACTIONS)]
    return known


def _is_emulated(resource: dict[str, Any]) -> bool:
    if resource["Type"].startswith(NOT_EMULATED):
        return False
    # Metric math: the alarm is refused with its whole stack.
    return not (resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource.get("Properties", {}))


def _without_attributes(node: Any, left_out: Mapping[str, str]) -> Any:
    """The node, with the name in place of any attribute of a resource that is left out: a stand-in has none."""
    if isinstance(node, list):
        return [_without_attributes(one, left_out) for one in node]
    if not isinstance(node, dict):
        return node
    match node:
        case {"Fn::GetAtt": [str(name), str()]} if name in left_out:
            return f"{name} (left out)"
    return {key: _without_attributes(value, left_out) for key, value in node.items()}
