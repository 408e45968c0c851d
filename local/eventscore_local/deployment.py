"""A stack in ministack: what `sam deploy` does, for the template as it stands and for this machine's Python."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventscore_local.deployment_concessions import emulated
from eventscore_local.deployment_packages import Packages
from eventscore_local.deployment_template import transform
from eventscore_local.errors import DeploymentFailed
from eventscore_local.layers import HostLayers
from eventscore_local.ministack import Ministack

_PACKAGES_BUCKET = "deployment-packages"
_TIMEOUT_S = 120.0
_CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]


@dataclass(frozen=True)
class Deployment:
    """A stack that stands. `left_out` names the resources that the emulator cannot make, each with its type."""

    stack: str
    outputs: dict[str, str]
    left_out: dict[str, str]
    changes: dict[str, str]
    """What a second deployment did to each resource that it touched: Add, Modify, Replace or Remove."""


class Deployer:
    """Deploys templates of a checkout into a running ministack.

    >>> Deployer(aws, root, build_for_host(root)).deploy("eventscore", {"TrustedKeys": key})  # doctest: +SKIP
    """

    def __init__(self, aws: Ministack, root: Path, layers: HostLayers) -> None:
        self._root = root
        self._cloudformation = aws.client("cloudformation")
        self._lambda = aws.client("lambda")
        self._s3 = aws.client("s3")
        self._s3.create_bucket(Bucket=_PACKAGES_BUCKET)
        self._packages = Packages(root, self._s3, _PACKAGES_BUCKET, aws.endpoint_url, layers)

    def deploy(self, stack: str, parameters: Mapping[str, str], template: str = "template.yaml") -> Deployment:
        """Make the stack, or bring it up to date, through a change set. Raises DeploymentFailed, BuildFailed, ToolMissing."""
        self._packages.left_out.clear()
        packaged = self._packages.package(self._root / template)
        whole = transform(self._root, packaged, parameters) if "Transform" in packaged else packaged
        result = emulated(whole, parameters)
        changes = self._execute(stack, result.template, parameters)
        self._await_functions(stack)
        (description,) = self._cloudformation.describe_stacks(StackName=stack)["Stacks"]
        outputs = {one["OutputKey"]: one["OutputValue"] for one in description.get("Outputs", [])}
        return Deployment(stack, outputs, {**result.left_out, **self._packages.left_out}, changes)

    def delete(self, stack: str) -> None:
        """Delete the stack; what it retains stays."""
        self._cloudformation.delete_stack(StackName=stack)
        self._wait(stack, "DELETE")

    def put_models(self, bucket: str, model_store: Path) -> None:
        """Copy a model store to the stack's bucket as its policy wants it: versions once, then pointers over those that were seen."""
        files = sorted(path for path in model_store.rglob("*") if path.is_file())
        for path in sorted(files, key=lambda path: path.name == "channels.json"):
            key = path.relative_to(model_store).as_posix()
            self._s3.put_object(Bucket=bucket, Key=key, Body=path.read_bytes(), **self._condition(bucket, key))

    def _condition(self, bucket: str, key: str) -> dict[str, str]:
        if key.endswith("/channels.json"):
            found = self._s3.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", [])
            if found:
                return {"IfMatch": found[0]["ETag"]}
        return {"IfNoneMatch": "*"}

    def _await_functions(self, stack: str) -> None:
        """Wait until every alias's version has its snapshot: before, Lambda refuses to invoke it."""
        resources = self._cloudformation.describe_stack_resources(StackName=stack)["StackResources"]
        for alias in (one["PhysicalResourceId"] for one in resources if one["ResourceType"] == "AWS::Lambda::Alias"):
            for _ in _until_timeout():
                version = self._lambda.get_function_configuration(FunctionName=alias)
                if version["State"] == "Active":
                    break
                if version["State"] == "Failed":
                    raise DeploymentFailed(f"{alias} cannot start: {version.get('StateReason')}")
            else:
                raise DeploymentFailed(f"{alias} was not ready within {_TIMEOUT_S:g} s")

    def _execute(self, stack: str, template: dict[str, Any], parameters: Mapping[str, str]) -> dict[str, str]:
        name = f"deployment-{time.time_ns()}"
        kind = "CREATE" if self._status(stack) is None else "UPDATE"
        self._cloudformation.create_change_set(
            StackName=stack,
            ChangeSetName=name,
            ChangeSetType=kind,
            TemplateURL=self._packages.put_template(template),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=_CAPABILITIES,
        )
        planned = self._planned(stack, name)
        if planned is None:
            return {}
        self._cloudformation.execute_change_set(StackName=stack, ChangeSetName=name)
        self._wait(stack, kind)
        return {change["LogicalResourceId"]: _kind(change) for change in planned}

    def _planned(self, stack: str, name: str) -> list[dict[str, Any]] | None:
        """The change set's changes; None where there are none."""
        for _ in _until_timeout():
            change_set = self._cloudformation.describe_change_set(StackName=stack, ChangeSetName=name)
            if change_set["Status"] == "CREATE_COMPLETE":
                return [one["ResourceChange"] for one in change_set.get("Changes", [])]
            if change_set["Status"] == "FAILED":
                reason = change_set.get("StatusReason", "")
                if "contain changes" in reason:
                    return None
                raise DeploymentFailed(f"the emulator refuses the template of {stack}: {reason}")
        raise DeploymentFailed(f"the change set of {stack} was not ready within {_TIMEOUT_S:g} s")

    def _wait(self, stack: str, kind: str) -> None:
        for _ in _until_timeout():
            status = self._status(stack)
            if status == f"{kind}_COMPLETE" or (kind == "DELETE" and status is None):
                return
            if status is not None and (status.endswith("FAILED") or "ROLLBACK" in status):
                raise DeploymentFailed(f"{stack} is {status}: {self._first_failure(stack)}")
        raise DeploymentFailed(f"{stack} was not {kind}_COMPLETE within {_TIMEOUT_S:g} s")

    def _status(self, stack: str) -> str | None:
        from botocore.exceptions import ClientError

        try:
            (description,) = self._cloudformation.describe_stacks(StackName=stack)["Stacks"]
        except ClientError:
            return None
        status: str = description["StackStatus"]
        return None if status in ("DELETE_COMPLETE", "REVIEW_IN_PROGRESS") else status

    def _first_failure(self, stack: str) -> str:
        events = self._cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
        failures = [one for one in reversed(events) if one["ResourceStatus"].endswith("FAILED")]
        return "; ".join(f"{one['LogicalResourceId']}: {one.get('ResourceStatusReason')}" for one in failures[:3])


def _until_timeout() -> Iterator[None]:
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        yield
        time.sleep(0.05)


def _kind(change: Mapping[str, Any]) -> str:
    replaced = change.get("Replacement") == "True"
    return "Replace" if change["Action"] == "Modify" and replaced else str(change["Action"])
