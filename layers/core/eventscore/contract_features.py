"""``[features]``: what the fields of an event hold, and what it means if one is missing or was never seen."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from eventscore.contract_grammar import FLOAT32_MAX, Finite, Section, list_as_tuple
from eventscore.served_contract import DEFAULT_MAX_LENGTH


class NumberFeature(Section):
    """A JSON number. ``missing = "median"`` fills a gap with the training median and tells the network that it was one."""

    type: Literal["number"] = Field(description="A JSON number, finite.")
    min: Finite = Field(default=-FLOAT32_MAX, description="The least number that is accepted.")
    max: Finite = Field(default=FLOAT32_MAX, description="The largest number that is accepted.")
    missing: Literal["refuse", "median"] = Field(
        default="refuse",
        description='`"refuse"` rejects an event without it; `"median"` fills the gap with the training median, and tells the network.',
    )
    unit: str = Field(default="", description="For the report and the schema.")
    description: str = Field(default="", description="For the report and the schema.")

    @model_validator(mode="after")
    def _bounds_do_not_cross(self) -> Self:
        if self.min >= self.max:
            raise ValueError(f"the bounds cross: expected min < max, got min = {self.min:g} and max = {self.max:g}")
        return self


class BooleanFeature(Section):
    """JSON ``true`` or ``false``; the graph sees 1 or 0."""

    type: Literal["boolean"] = Field(description="`true` or `false`; the graph sees 1 or 0.")
    missing: Literal["refuse", "median"] = Field(
        default="refuse",
        description='`"refuse"` rejects an event without it; `"median"` fills the gap with the training median, and tells the network.',
    )
    description: str = Field(default="", description="For the report and the schema.")


class CategoryFeature(Section):
    """A non-empty JSON string.

    A value that training did not see shares a learned row (``unseen = "shared"``), a gap has its own (``missing = "own"``).
    """

    type: Literal["category"] = Field(description="A non-empty JSON string.")
    values: tuple[Annotated[str, StringConstraints(min_length=1)], ...] | None = Field(
        default=None,
        min_length=1,
        description='The values that are known beforehand, a closed list with `unseen = "refuse"`.',
    )
    max_length: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=DEFAULT_MAX_LENGTH, description="The longest value that is accepted, in characters."
    )
    missing: Literal["refuse", "own"] = Field(
        default="refuse",
        description='`"refuse"` rejects an event without it; `"own"` makes a missing value a category of its own.',
    )
    unseen: Literal["shared", "refuse"] = Field(
        default="shared",
        description='A value that training did not see: `"shared"` lets it share a learned row, `"refuse"` rejects all but `values`.',
    )
    description: str = Field(default="", description="For the report and the schema.")

    @field_validator("values", mode="before")
    @classmethod
    def _from_toml_array(cls, values: object) -> object:
        return list_as_tuple(values)

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        if self.unseen == "refuse" and self.values is None:
            raise ValueError('unseen = "refuse" needs the list of values that are accepted: values = ["...", "..."]')
        for value in self.values or ():
            if len(value) > self.max_length:
                raise ValueError(f"value {value!r} is longer than max_length = {self.max_length}")
        if self.values is not None and len(set(self.values)) < len(self.values):
            twice = sorted({value for value in self.values if self.values.count(value) > 1})
            raise ValueError(f"values names {', '.join(map(repr, twice))} more than once")
        return self


Feature = Annotated[NumberFeature | CategoryFeature | BooleanFeature, Field(discriminator="type")]
