"""The page of the stack: parameters and outputs of the templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eventscore_website.tables import code, table
from eventscore_website.template import read_template

_BOUNDS = (
    ("MinValue", "at least"),
    ("MaxValue", "at most"),
    ("MinLength", "length at least"),
    ("MaxLength", "length at most"),
)


def templates(root: Path) -> dict[str, dict[str, Any]]:
    """The templates by their paths: the stack, then what is nested in it."""
    files = [root / "template.yaml", *sorted((root / "stacks").glob("*.yaml"))]
    return {file.relative_to(root).as_posix(): read_template(file) for file in files}


def undescribed(root: Path) -> list[str]:
    """Parameters and outputs without a description."""
    return [
        f"{path}: {name}"
        for path, template in templates(root).items()
        for section in ("Parameters", "Outputs")
        for name, entry in template.get(section, {}).items()
        if not entry.get("Description")
    ]


def write(root: Path) -> str:
    """The page."""
    return "".join(_template(path, template) for path, template in templates(root).items())


def _template(path: str, template: dict[str, Any]) -> str:
    text = f"\n## `{path}`\n\n{template.get('Description', '')}\n"
    if parameters := template.get("Parameters"):
        rows = [
            [code(name), _default(of), _accepts(of), _prose(of.get("Description", ""))]
            for name, of in parameters.items()
        ]
        text += f"\n### Parameters of `{path}`\n\n" + table(["parameter", "default", "takes", "meaning"], rows)
    if outputs := template.get("Outputs"):
        rows = [
            [code(name), of.get("Condition", ""), _prose(of.get("Description", ""))] for name, of in outputs.items()
        ]
        text += f"\n### Outputs of `{path}`\n\n" + table(["output", "there if", "meaning"], rows)
    return text


def _default(parameter: dict[str, Any]) -> str:
    if "Default" not in parameter:
        return "required"
    return code(parameter["Default"]) or "empty"


def _accepts(parameter: dict[str, Any]) -> str:
    if values := parameter.get("AllowedValues"):
        return ", ".join(code(value) for value in values)
    bounds = ", ".join(f"{words} {parameter[key]}" for key, words in _BOUNDS if key in parameter)
    return ", ".join(part for part in (parameter["Type"], bounds, code(parameter.get("AllowedPattern", ""))) if part)


def _prose(text: str) -> str:
    return text.replace("<", "&lt;")
