"""A template as CloudFormation would see it for given parameters: a small evaluator for its conditions, rules and functions.

Read from the source, before SAM's transform. What only exists once a stack does (a resource's ARN, the account) is left as a readable
placeholder: ``<Queue>``, ``<Queue.Arn>``, ``<AWS::AccountId>``. Made for this repository's templates: what they do not use is an error.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from eventscore_local.deployment_template import Template, read_template

_VARIABLE = re.compile(r"\$\{([A-Za-z0-9:.]+)\}")


def load(path: Path) -> Template:
    """The template, with long forms of all functions."""
    return read_template(path)


def properties(template: Mapping[str, Any], kind: str) -> dict[str, Mapping[str, Any]]:
    """The properties of every resource of a type, by name; there is one at least."""
    found = {name: made["Properties"] for name, made in template["Resources"].items() if made["Type"] == kind}
    assert found, kind
    return found


def statements(node: object) -> Iterator[Mapping[str, Any]]:
    """Every policy statement anywhere below a node of a template."""
    if isinstance(node, Mapping):
        if "Effect" in node:
            yield node
        for child in node.values():
            yield from statements(child)
    elif isinstance(node, list):
        for child in node:
            yield from statements(child)


def as_list(value: Any) -> list[Any]:
    """What IAM takes alone or in a list."""
    return value if isinstance(value, list) else [value]


def referenced(node: object) -> Iterator[str]:
    """Every name that a part of a template refers to: of parameters, resources and conditions."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ("Ref", "Condition") and isinstance(value, str):
                yield value.split(".")[0]
            elif key == "Fn::GetAtt":
                yield value.split(".")[0] if isinstance(value, str) else value[0]
            elif key == "Fn::If":
                yield value[0]
                yield from referenced(value[1:])
            elif key == "Fn::Sub":
                text, own = (value, {}) if isinstance(value, str) else value
                yield from (name.split(".")[0] for name in _VARIABLE.findall(text) if name not in own)
                yield from referenced(own)
            else:
                yield from referenced(value)
    elif isinstance(node, list):
        for one in node:
            yield from referenced(one)


class _NoValue:
    """What ``AWS::NoValue`` stands for: the property is not there."""


_NO_VALUE = _NoValue()


class Stack:
    """The template for these parameters; the others have their defaults, or a placeholder, ``<TrustedKeys>``, where they have none.

    Pseudo parameters may be among them: ``**{"AWS::Region": "us-east-1"}``.
    """

    def __init__(self, template: Template, **parameters: str) -> None:
        self.template = template
        self._pseudo = {name: value for name, value in parameters.items() if name.startswith("AWS::")}
        unknown = parameters.keys() - self._pseudo.keys() - template["Parameters"].keys()
        assert not unknown, unknown
        self.parameters = {
            name: str(parameters.get(name, declared.get("Default", f"<{name}>")))
            for name, declared in template["Parameters"].items()
        }

    @cached_property
    def resources(self) -> dict[str, dict[str, Any]]:
        """Every resource that is made, by name."""
        return {
            name: self.value(resource)
            for name, resource in self.template["Resources"].items()
            if "Condition" not in resource or self.holds(resource["Condition"])
        }

    @cached_property
    def outputs(self) -> dict[str, Any]:
        """Every output that is given, by name."""
        return {
            name: self.value(output["Value"])
            for name, output in self.template["Outputs"].items()
            if "Condition" not in output or self.holds(output["Condition"])
        }

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of every resource of a type, by name."""
        return {name: made.get("Properties", {}) for name, made in self.resources.items() if made["Type"] == kind}

    def holds(self, condition: str) -> bool:
        """Whether a condition of the template holds."""
        return self._truth(self.template["Conditions"][condition])

    def broken_rules(self) -> list[str]:
        """What CloudFormation would answer instead of making the stack."""
        return [
            assertion["AssertDescription"].strip()
            for rule in self.template.get("Rules", {}).values()
            if "RuleCondition" not in rule or self._truth(rule["RuleCondition"])
            for assertion in rule["Assertions"]
            if not self._truth(assertion["Assert"])
        ]

    def value(self, node: Any) -> Any:
        """A part of the template with its functions evaluated; what depends on ``AWS::NoValue`` is left out."""
        if isinstance(node, list):
            return [found for one in node if (found := self.value(one)) is not _NO_VALUE]
        if not isinstance(node, Mapping):
            return node
        if len(node) == 1:
            [(name, argument)] = node.items()
            if name in ("Ref", "Condition") or name.startswith("Fn::"):
                return self._function(name, argument)
        evaluated = {
            key: self.value(value) for key, value in node.items() if key != "Condition" or isinstance(value, Mapping)
        }
        return {key: value for key, value in evaluated.items() if value is not _NO_VALUE}

    def _function(self, name: str, argument: Any) -> Any:
        match name:
            case "Ref":
                return self._reference(argument)
            case "Fn::GetAtt":
                return f"<{argument if isinstance(argument, str) else '.'.join(argument)}>"
            case "Fn::If":
                condition, held, otherwise = argument
                return self.value(held if self.holds(condition) else otherwise)
            case "Fn::Join":
                separator, parts = argument
                return separator.join(self.value(parts))
            case "Fn::Select":
                index, options = argument
                return self.value(options)[int(index)]
            case "Fn::Split":
                separator, text = argument
                return self.value(text).split(separator)
            case "Fn::FindInMap":
                table, row, column = self.value(argument)
                return self.template["Mappings"][table][row][column]
            case "Fn::Sub":
                text, own = (argument, {}) if isinstance(argument, str) else argument
                return _VARIABLE.sub(
                    lambda found: str(self.value(own[found[1]]) if found[1] in own else self._reference(found[1])), text
                )
        return self._truth({name: argument})

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name in self.parameters:
            text = self.parameters[name]
            return text.split(",") if self.template["Parameters"][name]["Type"] == "CommaDelimitedList" else text
        if not name.startswith("AWS::"):
            resource = self.template["Resources"][name.split(".", maxsplit=1)[0]]
            assert "Condition" not in resource or self.holds(resource["Condition"]), f"{name} is not made"
        return self._pseudo.get(name, f"<{name}>")

    def _truth(self, node: Any) -> bool:
        [(name, argument)] = node.items()
        match name:
            case "Condition":
                return self.holds(argument)
            case "Fn::Equals":
                left, right = self.value(argument)
                return bool(str(left) == str(right))
            case "Fn::Not":
                return not self._truth(argument[0])
            case "Fn::And":
                return all(self._truth(one) for one in argument)
            case "Fn::Or":
                return any(self._truth(one) for one in argument)
            case "Fn::Contains":
                options, wanted = self.value(argument)
                return wanted in options
        raise AssertionError(f"a function that these templates do not use: {name}")
