"""Reads CloudFormation templates: YAML with its own tags."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Reads ``!Ref X`` as ``{"Ref": X}``, ``!Sub`` and all others in the same way."""


def _tagged(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {suffix: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    return {suffix: loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else None}


_Loader.add_multi_constructor("!", _tagged)


def read_template(file: Path) -> dict[str, Any]:
    """The template as plain values; a tag becomes a mapping with one key."""
    document: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
    return document


def parameters_in(value: Any) -> list[str]:
    """Names that a value refers to, each once, in the order in which they stand: parameters and resources, no pseudo parameters."""
    return list(dict.fromkeys(name for name in _references(value) if not name.startswith("AWS::")))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, of in value.items():
            if key == "Ref":
                yield of
            elif key == "Sub":
                text, names = (of, {}) if isinstance(of, str) else of
                yield from (part.split("}")[0] for part in text.split("${")[1:] if part.split("}")[0] not in names)
                yield from _references(names)
            elif key == "If":
                yield from _references(of[1:])
            else:
                yield from _references(of)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)
