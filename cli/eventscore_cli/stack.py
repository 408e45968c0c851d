"""A deployed stack, as its CloudFormation outputs describe it: where its models are, whom it trusts, what its queues are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

_CONNECT_TIMEOUT_S, _READ_TIMEOUT_S = 3.0, 20.0
_UNFINISHED = {"CREATE_IN_PROGRESS", "REVIEW_IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "DELETE_IN_PROGRESS"}


class StackUnusable(click.ClickException):
    """The stack is not there, is not whole, or does not say what was asked of it."""


@dataclass(frozen=True)
class Stack:
    """A stack and its outputs. ``status`` is CloudFormation's word, ``reason`` what it says of a failure."""

    name: str
    region: str
    status: str
    reason: str
    outputs: Mapping[str, str]

    @property
    def has_failed(self) -> bool:
        """Whether its last operation did not end well; UPDATE_ROLLBACK_COMPLETE did: it is what it was before."""
        return "FAILED" in self.status or self.status in ("ROLLBACK_COMPLETE", "DELETE_COMPLETE")

    def output(self, name: str) -> str:
        """The output's value. Raises ``StackUnusable`` where there is none."""
        value = self.outputs.get(name)
        if not value:
            raise StackUnusable(
                f"stack {self.name}: expected an output {name}, got {', '.join(sorted(self.outputs)) or 'none'}; "
                "it was deployed from an older template, or without that part: deploy the template of this version (sam deploy)"
            )
        return value

    @property
    def store(self) -> str:
        """The model store, as ``--store`` takes it."""
        return f"s3://{self.output('ModelBucketName')}"

    @property
    def trusted_keys(self) -> str:
        """The public keys that the function trusts, commas between them."""
        return self.output("TrustedKeys")

    @property
    def models(self) -> tuple[str, ...]:
        """The models that the function scores with, the main one first."""
        more = (name.strip() for name in self.outputs.get("MoreModels", "").split(","))
        return (self.output("ModelName"), *(name for name in more if name))


def aws_client(service: str, attempts: int = 3) -> Any:
    """A client of ``service`` for a person at a terminal; region, profile and credentials are found as boto3 finds them."""
    from eventscore.aws import client  # botocore is loaded where AWS is asked for something

    return client(service, connect_timeout_s=_CONNECT_TIMEOUT_S, read_timeout_s=_READ_TIMEOUT_S, attempts=attempts)


def find_stack(name: str, cloudformation: Any = None) -> Stack:
    """The stack called ``name``, in whatever state it is.

    Raises:
        StackUnusable: there is no such stack in the region.

    """
    from botocore.exceptions import ClientError

    cloudformation = cloudformation or aws_client("cloudformation")
    region = str(cloudformation.meta.region_name)
    try:
        (found,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if "does not exist" not in str(error):
            raise
        raise StackUnusable(
            f"stack {name}: no such stack in {region}; name another (`aws cloudformation list-stacks`), "
            "or its region (AWS_DEFAULT_REGION) and account (AWS_PROFILE)"
        ) from None
    outputs = {output["OutputKey"]: output.get("OutputValue", "") for output in found.get("Outputs", ())}
    return Stack(found["StackName"], region, found["StackStatus"], found.get("StackStatusReason", ""), outputs)


def usable_stack(name: str, cloudformation: Any = None) -> Stack:
    """The stack called ``name``, whose outputs can be relied on.

    Raises:
        StackUnusable: there is none, it is not finished, or its last operation failed.

    """
    stack = find_stack(name, cloudformation)
    if stack.has_failed or stack.status in _UNFINISHED:
        why = f" ({stack.reason})" if stack.reason else ""
        raise StackUnusable(
            f"stack {name}: expected one that is deployed, got {stack.status}{why}; see `sam deploy` and its events"
        )
    return stack
