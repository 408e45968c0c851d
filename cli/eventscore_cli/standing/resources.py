"""What a stack is made of, the stacks inside it included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Resource:
    """One resource: its type, its name in the template, its id in the account."""

    type: str
    name: str
    id: str


def stack_resources(cloudformation: Any, stack: str) -> tuple[Resource, ...]:
    """All resources of the stack and of the stacks inside it."""
    found: list[Resource] = []
    for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack):
        for summary in page["StackResourceSummaries"]:
            resource = Resource(
                summary["ResourceType"], summary["LogicalResourceId"], summary.get("PhysicalResourceId", "")
            )
            found.append(resource)
            if resource.type == "AWS::CloudFormation::Stack" and resource.id:
                found += stack_resources(cloudformation, resource.id)
    return tuple(found)


def ids(resources: tuple[Resource, ...], *types: str) -> tuple[str, ...]:
    """The ids of those of some types."""
    return tuple(resource.id for resource in resources if resource.type in types and resource.id)
