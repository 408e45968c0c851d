"""Reads a CloudFormation template as a stack would be made of it: parameters filled in, conditions decided, resources by kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Reads short forms as their long ones: ``!Ref X`` as ``{"Ref": "X"}``."""


def _intrinsic(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    if isinstance(node, yaml.MappingNode):
        return {name: loader.construct_mapping(node, deep=True)}
    assert isinstance(node, yaml.ScalarNode)
    return {name: loader.construct_scalar(node)}


_Loader.add_multi_constructor("!", _intrinsic)
_PSEUDO = {
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::StackName": "stack",
    "AWS::URLSuffix": "amazonaws.com",
}
NOTHING = object()
"""What ``AWS::NoValue`` stands for."""


class Stack:
    """The stack of the template at ``path`` with ``parameters``; those that are not given have their defaults."""

    def __init__(self, path: Path, parameters: Mapping[str, str]) -> None:
        self.template: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        declared = self.template["Parameters"]
        unknown = parameters.keys() - declared.keys()
        assert not unknown, f"{path.name} has no parameter {unknown}"
        defaults = {name: str(of["Default"]) for name, of in declared.items() if "Default" in of}
        self.parameters = {**defaults, **parameters}
        missing = declared.keys() - self.parameters.keys()
        assert not missing, f"{path.name} wants {missing}"

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of each resource of this kind that the stack makes, by its logical name."""
        return {
            name: self.value(resource.get("Properties", {}))
            for name, resource in self.template["Resources"].items()
            if resource["Type"] == kind and self.holds(resource.get("Condition"))
        }

    def holds(self, condition: str | None) -> bool:
        """Whether a condition of the template is true."""
        return condition is None or self._truth(self.template["Conditions"][condition])

    def value(self, node: Any) -> Any:
        """What CloudFormation makes of a value. An attribute of a resource is ``<name>.<attribute>``, a resource its name."""
        if isinstance(node, list):
            return [of for of in map(self.value, node) if of is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((key, of),) = node.items()
            if key == "Ref":
                return self._reference(of)
            if key == "Fn::Sub":
                return self._filled_in(of)
            if key == "Fn::GetAtt":
                return of if isinstance(of, str) else ".".join(of)
            if key == "Fn::If":
                return self.value(of[1] if self.holds(of[0]) else of[2])
            if key == "Fn::Join":
                return of[0].join(str(part) for part in self.value(of[1]))
        values = {key: self.value(of) for key, of in node.items()}
        return {key: of for key, of in values.items() if of is not NOTHING}

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NOTHING
        if name in _PSEUDO:
            return _PSEUDO[name]
        if name in self.parameters:
            return self.parameters[name]
        assert name in self.template["Resources"], f"nothing is called {name}"
        return name

    def _filled_in(self, of: Any) -> str:
        text, more = (of, {}) if isinstance(of, str) else (of[0], self.value(of[1]))

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in more:
                return str(more[name])
            resource, _, attribute = name.partition(".")
            if attribute:
                assert resource in self.template["Resources"], f"nothing is called {resource}"
                return name
            return str(self._reference(name))

        return re.sub(r"\$\{([^}]+)\}", value, text)

    def _truth(self, node: Any) -> bool:
        ((key, of),) = node.items()
        match key:
            case "Condition":
                return self.holds(of)
            case "Fn::Equals":
                one, other = self.value(of)
                return bool(one == other)
            case "Fn::Not":
                return not self._truth(of[0])
            case "Fn::And":
                return all(map(self._truth, of))
            case "Fn::Or":
                return any(map(self._truth, of))
        raise AssertionError(f"{key} is no condition")
