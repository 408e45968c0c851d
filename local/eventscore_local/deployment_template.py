"""CloudFormation templates as data: reading their YAML, and SAM's transform."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eventscore_local.errors import DeploymentFailed
from eventscore_local.isolated_tools import find_sam_python
from eventscore_local.ministack import REGION

Template = dict[str, Any]

_TRANSFORM = Path(__file__).with_name("sam_transform.py")
_TRANSFORM_TIMEOUT_S = 120


def read_template(path: Path) -> Template:
    """A template's YAML, short forms written out: ``!Ref X`` becomes ``{"Ref": "X"}``."""
    import yaml  # only where something is deployed

    class Loader(yaml.SafeLoader):
        """Knows CloudFormation's tags."""

    def intrinsic(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
        name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
        if isinstance(node, yaml.SequenceNode):
            return {name: loader.construct_sequence(node, deep=True)}
        if isinstance(node, yaml.MappingNode):
            return {name: loader.construct_mapping(node, deep=True)}
        value = str(node.value)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}

    def text(_: yaml.SafeLoader, node: yaml.Node) -> str:
        return str(node.value)

    Loader.add_multi_constructor("!", intrinsic)
    Loader.add_constructor("tag:yaml.org,2002:timestamp", text)  # a bare 2012-10-17 is a policy's version and no date
    template: Template = yaml.load(path.read_text(encoding="utf-8"), Loader)  # noqa: S506 - a SafeLoader
    return template


def transform(root: Path, template: Template, parameters: Mapping[str, str]) -> Template:
    """What CloudFormation makes of a SAM template. Raises DeploymentFailed, ToolMissing."""
    request = json.dumps({"template": template, "parameters": dict(parameters), "region": REGION})
    command = [str(find_sam_python(root)), "-I", str(_TRANSFORM)]
    try:
        done = subprocess.run(
            command, input=request, capture_output=True, text=True, timeout=_TRANSFORM_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeploymentFailed(f"SAM's transform did not run: {error}") from error
    if done.returncode != 0:
        raise DeploymentFailed(
            done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "SAM's transform failed"
        )
    transformed: Template = json.loads(done.stdout)
    return transformed
