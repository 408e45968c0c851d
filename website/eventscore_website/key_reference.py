"""The pages of the keys that people write: contract.toml and training.toml, from the models that read them."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, StringConstraints
from pydantic.fields import FieldInfo

from eventscore.contract import Contract, Decision, EventSection, ModelSection
from eventscore.contract_fallback import FallbackSection
from eventscore.contract_features import BooleanFeature, CategoryFeature, NumberFeature
from eventscore.contract_gates import Gates, GroupGates, SliceGates
from eventscore.contract_grammar import FLOAT32_MAX
from eventscore.contract_label import LabelSection
from eventscore_training.config import FitConfig, NetworkConfig, QuantizationConfig, TrainingConfig
from eventscore_training.config_steps import DistillConfig, PruneConfig
from eventscore_website.errors import WordsMissing
from eventscore_website.tables import code, table

Sections = Mapping[str, type[BaseModel]]
CONTRACT: Final[Sections] = {
    "at the top": Contract,
    "[model]": ModelSection,
    "[event]": EventSection,
    '[features.<field>], type = "number"': NumberFeature,
    '[features.<field>], type = "boolean"': BooleanFeature,
    '[features.<field>], type = "category"': CategoryFeature,
    "[label]": LabelSection,
    "[[decisions]]": Decision,
    "[fallback]": FallbackSection,
    "[gates]": Gates,
    "[gates.slices]": SliceGates,
    "[gates.groups]": GroupGates,
}
TRAINING: Final[Sections] = {
    "at the top": TrainingConfig,
    "[network]": NetworkConfig,
    "[fit]": FitConfig,
    "[distill]": DistillConfig,
    "[prune]": PruneConfig,
    "[quantization]": QuantizationConfig,
}
_PATTERNS: Final = {
    r"^[a-z0-9][a-z0-9._-]{0,62}$": "name of lower-case letters, digits, `.`, `_`, `-`",
    r"^[A-Za-z_][A-Za-z0-9_]{0,127}$": "name of a field: letters, digits, `_`",
    r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$": "name of letters, digits, spaces, `.`, `_`, `-`",
}
_NAMES: Final = {str: "string", int: "integer", float: "number", bool: "true or false", Path: "path"}
_BOUNDS: Final = ((Ge, "ge", "from"), (Gt, "gt", "above"), (Le, "le", "up to"), (Lt, "lt", "below"))
_LENGTHS: Final = ((MinLen, "min_length", "at least"), (MaxLen, "max_length", "at most"))


def write_contract(root: Path) -> str:
    """The page of contract.toml."""
    return _sections(CONTRACT, "layers/core/eventscore/contract*.py")


def write_training(root: Path) -> str:
    """The page of training.toml."""
    return _sections(TRAINING, "training/eventscore_training/config*.py")


def undescribed(sections: Sections) -> list[str]:
    """The keys without a description."""
    return [f"{name} {key}" for name, model in sections.items() for key, field in _keys(model) if not field.description]


def _sections(sections: Sections, where: str) -> str:
    if mute := undescribed(sections):
        raise WordsMissing("keys", mute, where)
    return "".join(
        f"\n## {code(name) if '[' in name else name.capitalize()}\n\n"
        + table(
            ["key", "takes", "default", "meaning"],
            [[code(key), takes(field), default(field), field.description or ""] for key, field in _keys(model)],
        )
        for name, model in sections.items()
    )


def _keys(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field


def takes(field: FieldInfo) -> str:
    """What a key accepts, in words."""
    return _type(field.annotation, tuple(field.metadata))


def default(field: FieldInfo) -> str:
    """What is taken where the key is left out, as TOML writes it."""
    if field.is_required():
        return "required"
    value = field.default
    if value is None or isinstance(value, BaseModel):
        return ""
    if isinstance(value, float) and abs(value) == FLOAT32_MAX:
        return "the least float32" if value < 0 else "the largest float32"
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, tuple):
        return code(list(value)) if value else ""
    return code(f'"{value}"' if isinstance(value, str | Path) else value)


def _type(annotation: Any, constraints: tuple[Any, ...] = ()) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], (*arguments[1:], *constraints))
    if origin is Literal:
        return ", ".join(code(f'"{value}"') for value in arguments)
    if origin in (Union, types.UnionType):
        kinds = dict.fromkeys(_type(kind, constraints) for kind in arguments if kind is not type(None))
        return " or ".join(kinds)
    if origin is tuple:
        return f"list of {_type(arguments[0])}" + _told(constraints, _LENGTHS)
    if origin is dict:
        return f"table of {_type(arguments[1])}" if not _is_section(arguments[1]) else "tables"
    if _is_section(annotation):
        return "table"
    if annotation.__name__ == "datetime":
        return "time with an offset"
    pattern = next((of.pattern for of in constraints if isinstance(of, StringConstraints) and of.pattern), None)
    if pattern is not None:
        return _PATTERNS.get(str(pattern)) or f"text: {code(pattern)}"
    return _NAMES[annotation] + _told(constraints, _BOUNDS) + _told(constraints, _LENGTHS)


def _told(constraints: tuple[Any, ...], kinds: Any) -> str:
    flat = [part for of in constraints for part in (getattr(of, "metadata", None) or [of])]
    told = [
        f" {words} {limit:g}" if abs(limit) < 1e6 else f" {words} {limit:,}"
        for kind, name, words in kinds
        for of in flat
        if isinstance(of, kind) and abs(limit := getattr(of, name)) < 2**31
    ]
    return "".join(told)


def _is_section(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in (annotation, *get_args(annotation)))
