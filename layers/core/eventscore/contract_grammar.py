"""What the sections of a contract share: strict frozen tables, and the kinds of names and numbers that stand in them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from eventscore.served_contract import FLOAT32_MAX

__all__ = [
    "FLOAT32_MAX",
    "DecisionName",
    "FieldName",
    "Finite",
    "Name",
    "Section",
    "Task",
    "list_as_tuple",
    "with_article",
]

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
DecisionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$")]
Task = Literal["binary", "multiclass", "multilabel", "regression", "anomaly"]
Finite = Annotated[float, Field(allow_inf_nan=False, ge=-FLOAT32_MAX, le=FLOAT32_MAX)]


class Section(BaseModel):
    """A table of the file: unknown keys are errors, types are not coerced, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def list_as_tuple(value: object) -> object:
    """TOML knows arrays only; what is frozen holds tuples."""
    return tuple(value) if isinstance(value, list) else value


def with_article(task: Task) -> str:
    """``a binary``, ``an anomaly``: for sentences."""
    return f"{'an' if task[0] in 'aeiou' else 'a'} {task}"
