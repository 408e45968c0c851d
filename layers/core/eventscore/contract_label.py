"""``[label]``: where the truth stands in the training table, and what an answer may say, task by task."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from eventscore.contract_grammar import FieldName, Finite, Section, Task, list_as_tuple, with_article

_KEYS: dict[Task, tuple[str, ...]] = {
    "binary": ("field", "positive"),
    "multiclass": ("field", "classes"),
    "multilabel": ("fields", "positive", "threshold"),
    "regression": ("field", "min", "max", "unit"),
    "anomaly": ("field", "positive"),
}
_REQUIRED: dict[Task, str] = {
    "binary": "field",
    "multiclass": "classes",
    "multilabel": "fields",
    "regression": "field",
    "anomaly": "field",
}
Class = Annotated[int, Field(ge=-(2**63), lt=2**63)] | Annotated[str, Field(min_length=1, max_length=256)]


class LabelSection(Section):
    """``[label]``: the column of the training table that holds the truth, or the columns; no event holds it.

    ``positive``: the value that counts as 1 (binary, multilabel, and the known anomalies). ``classes`` (multiclass): the values,
    in the order of the score's columns. ``fields`` (multilabel): a column for each label; an answer names those whose score
    reaches ``threshold``. ``min``, ``max`` and ``unit`` belong to the number that a regression predicts.
    """

    field: FieldName | None = Field(default=None, description="The column with the truth (all tasks but multilabel).")
    fields: Annotated[tuple[FieldName, ...], Field(min_length=2)] | None = Field(
        default=None, description="Multilabel: a column for each label."
    )
    positive: bool | int | str = Field(
        default=True, description="The value that counts as 1 (binary, multilabel, known anomalies)."
    )
    classes: Annotated[tuple[Class, ...], Field(min_length=2)] | None = Field(
        default=None, description="Multiclass: the values, in the order of the score's columns."
    )
    threshold: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.5, description="Multilabel: an answer names the labels whose score reaches it."
    )
    min: Finite | None = Field(
        default=None, description="Regression: the least value, which no row may leave and no score does."
    )
    max: Finite | None = Field(default=None, description="Regression: the largest value.")
    unit: str = Field(default="", description="Regression: for the report and the schema.")

    @field_validator("positive", mode="before")
    @classmethod
    def _positive_is_a_value(cls, value: object) -> object:
        if not isinstance(value, bool | int | str):
            raise ValueError(f"expected true or false, an integer or a string; got {value!r}")
        return value

    @field_validator("classes", mode="before")
    @classmethod
    def _classes_are_values(cls, values: object) -> object:
        for value in values if isinstance(values, list | tuple) else ():
            if isinstance(value, bool) or not isinstance(value, int | str):
                raise ValueError(f"expected strings or integers; got {value!r}")
        return list_as_tuple(values)

    @field_validator("fields", mode="before")
    @classmethod
    def _from_toml_array(cls, fields: object) -> object:
        return list_as_tuple(fields)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        for key, values in (("classes", self.classes), ("fields", self.fields)):
            # As they stand in an answer, where an integer's name is its digits.
            names = [str(value) for value in values or ()]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{key} names {', '.join(map(repr, twice))} more than once")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"the bounds cross: expected min < max, got min = {self.min:g} and max = {self.max:g}")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the training table that hold the truth."""
        return self.fields or ((self.field,) if self.field else ())


def label_beside_the_task(label: LabelSection | None, task: Task) -> str | None:
    """What is wrong with ``[label]`` for a model of this task, in one sentence; None where they fit."""
    if label is None:
        return (
            None
            if task == "anomaly"
            else f"label: missing: {with_article(task)} model learns from the column that [label] names"
        )
    known = _KEYS[task]
    strays = [key for key in LabelSection.model_fields if key in label.model_fields_set and key not in known]
    if strays:
        readers = [other for other, keys in _KEYS.items() if strays[0] in keys]
        return f"label.{strays[0]} belongs to {' or '.join(readers)} models, and this one is {task} (known here: {', '.join(known)})"
    missing = [key for key in (known[0], _REQUIRED[task]) if getattr(label, key) is None]
    if missing:
        return f"label.{missing[0]}: missing: {with_article(task)} model needs it (known here: {', '.join(known)})"
    return None
