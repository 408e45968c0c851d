"""The contract: what an event looks like and what it means, written by a person as one TOML file.

Everything else derives from it: the event decoder, the reader of the training table, the graph's inputs, the JSON Schema for
producers, the drift baseline. Unknown keys are errors, and every mistake is reported at once, in words (`contract_problems`).
"""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from eventscore.contract_fallback import FallbackSection
from eventscore.contract_features import BooleanFeature, CategoryFeature, Feature, NumberFeature
from eventscore.contract_gates import Gates, GroupGates, SliceGates, gates_beside_the_task
from eventscore.contract_grammar import (
    DecisionName,
    FieldName,
    Finite,
    Name,
    Section,
    Task,
    list_as_tuple,
)
from eventscore.contract_label import LabelSection, label_beside_the_task
from eventscore.contract_problems import problems_of
from eventscore.errors import ContractInvalid
from eventscore.fallback_fit import fallback_beside_the_contract
from eventscore.served_contract import DEFAULT_MAX_BYTES, ServedContract, ServedFeature

CONTRACT_FORMAT = 1


class ModelSection(Section):
    """``[model]``: which model this is and what it answers."""

    name: Name = Field(description="The model's name, and its folder in the store.")
    task: Task = Field(description="What is learned, and what an answer says.")
    description: str = Field(default="", description="For the report and the schema.")


class EventSection(Section):
    """``[event]``: which fields say what an event is, and what a message may look like.

    ``max_bytes`` bounds the size of a message. ``extra_fields`` says what becomes of fields that the contract does not name.
    """

    id: FieldName = Field(
        description="The field that identifies an event: a string of 1 to 256 characters or a 64-bit integer. Comes back with the score."
    )
    time: FieldName | None = Field(
        default=None,
        description="The field with the event's time, RFC 3339 with an offset. One training table is split by it.",
    )
    rollout_key: FieldName | None = Field(
        default=None, description="The field by which a canary chooses its events; may be a feature or the id."
    )
    max_bytes: Annotated[int, Field(ge=2, le=6_000_000)] = Field(
        default=DEFAULT_MAX_BYTES, description="A larger message is rejected before it is parsed."
    )
    extra_fields: Literal["ignore", "refuse"] = Field(
        default="ignore",
        description='What becomes of fields that the contract does not name; `"refuse"` rejects the event.',
    )


class Decision(Section):
    """One decision band: ``name`` from the score ``from`` (inclusive) up to the next band.

    The costs say what an event in this band costs when it turns out positive or negative; only the report of a version reads them.
    """

    name: DecisionName = Field(description="The band's name, which an answer carries.")
    start: Annotated[float, Field(alias="from", allow_inf_nan=False)] = Field(
        description="The lowest score of the band. The first starts at 0 (of a regression: anywhere), the others ascend."
    )
    cost_if_positive: Finite | None = Field(
        default=None, description="What an event in the band costs when it turns out positive, for the report."
    )
    cost_if_negative: Finite | None = Field(default=None, description="What it costs when it turns out negative.")


class Contract(Section):
    """A whole, consistent contract. Read one with :func:`load_contract` or :func:`parse_contract`."""

    format: int = Field(description="1, the format of the file.")
    model: ModelSection = Field(description="The section `[model]`.")
    event: EventSection = Field(description="The section `[event]`.")
    features: dict[FieldName, Feature] = Field(
        min_length=1, description="A section `[features.<field>]` for each, whose order is that of the graph's columns."
    )
    label: LabelSection | None = Field(
        default=None, description="The section `[label]`; only an anomaly model may do without."
    )
    decisions: tuple[Decision, ...] = Field(default=(), description="Sections `[[decisions]]`: the bands of the score.")
    fallback: FallbackSection | None = Field(default=None, description="The section `[fallback]`.")
    gates: Gates = Field(default=Gates(), description="The section `[gates]`.")

    @field_validator("format", mode="before")
    @classmethod
    def _format_is_known(cls, value: object) -> object:
        if type(value) is not int or value != CONTRACT_FORMAT:
            raise ValueError(f"expected {CONTRACT_FORMAT}; got {value!r}")
        return value

    @field_validator("decisions", mode="before")
    @classmethod
    def _from_toml_array(cls, decisions: object) -> object:
        return list_as_tuple(decisions)

    @model_validator(mode="after")
    def _fields_have_one_meaning(self) -> Self:
        event = self.event
        if event.id in self.features:
            raise ValueError(
                f"field {event.id!r} is the event's id and a feature; an id that is learned by heart is a leak"
            )
        if event.time == event.id:
            raise ValueError(f"field {event.id!r} is named as the event's id and as its time")
        if event.time is not None and event.time in self.features:
            raise ValueError(
                f"field {event.time!r} is the event's time and a feature; give the network its parts (hour, weekday)"
            )
        if event.rollout_key is not None and event.rollout_key == event.time:
            raise ValueError(f"field {event.time!r} is named as the event's time and as its rollout key")
        problem = label_beside_the_task(self.label, self.model.task)
        if problem:
            raise ValueError(problem)
        for field in self.label_fields:
            if field in self.features:
                raise ValueError(f"field {field!r} is the label and a feature; the network would read its answer")
            if field in (event.id, event.time, event.rollout_key):
                raise ValueError(f"field {field!r} is the label and belongs to [event] too")
        return self

    @model_validator(mode="after")
    def _decisions_ascend(self) -> Self:
        starts = [decision.start for decision in self.decisions]
        names = [decision.name for decision in self.decisions]
        if len(set(names)) < len(names):
            raise ValueError(f"decisions: each needs a name of its own, got {', '.join(names)}")
        if any(later <= earlier for earlier, later in itertools.pairwise(starts)):
            raise ValueError(f"decisions: 'from' must ascend, got {', '.join(f'{start:g}' for start in starts)}")
        if self.model.task != "regression" and starts and (starts[0] != 0 or starts[-1] >= 1):
            raise ValueError(
                f"decisions: the first must start at 0 and the last below 1, got {', '.join(f'{start:g}' for start in starts)}"
            )
        if self.model.task not in ("binary", "anomaly") or self.label is None:
            for decision in self.decisions:
                if decision.cost_if_positive is not None or decision.cost_if_negative is not None:
                    raise ValueError(
                        f"decisions: {decision.name!r} has a cost, which belongs to a model whose label is positive or negative"
                    )
        return self

    @model_validator(mode="after")
    def _fallback_and_gates_name_what_is_there(self) -> Self:
        task, label = self.model.task, self.label
        bands = [(decision.name, decision.start) for decision in self.decisions]
        problem = fallback_beside_the_contract(self.fallback, task, self.outputs, bands, label)
        if problem := problem or gates_beside_the_task(self.gates, task, labelled=label is not None):
            raise ValueError(problem)
        slices, groups = self.gates.slices, self.gates.groups
        named = [("slices", field) for field in (slices.fields if slices else ())]
        for section, field in [*named, ("groups", groups.field)] if groups else named:
            if field in (*self.label_fields, self.event.id):
                raise ValueError(
                    f"gates.{section}: field {field!r} is the {'id' if field == self.event.id else 'label'} and makes no groups of events"
                )
        if groups and groups.decision not in dict(bands):
            named_bands = ", ".join(dict(bands)) or "none here"
            raise ValueError(
                f"gates.groups.decision: expected one of the decisions ({named_bands}), got {groups.decision!r}"
            )
        return self

    @property
    def label_fields(self) -> tuple[str, ...]:
        """The columns of the training table that hold the truth; none where an anomaly model has no label."""
        return self.label.columns if self.label else ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the columns of the graph's ``score``: the classes or the labels; empty where an event has one score."""
        if self.label is None:
            return ()
        return tuple(map(str, self.label.classes or self.label.fields or ()))

    @property
    def own_rollout_key(self) -> str | None:
        """The rollout key where it is a field of its own, neither the id nor a feature; else None."""
        key = self.event.rollout_key
        return None if key == self.event.id or key in self.features else key

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the number and boolean features: the columns of the graph's input ``numbers``, in this order."""
        return tuple(name for name, feature in self.features.items() if feature.type != "category")

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the category features: the columns of the graph's input ``categories``, in this order."""
        return tuple(name for name, feature in self.features.items() if feature.type == "category")


AnyFeature = NumberFeature | CategoryFeature | BooleanFeature | ServedFeature
AnyContract = Contract | ServedContract
"""A contract, whoever read it: what decodes, builds columns and scores takes the person's and the function's (`served_contract`)."""
_FEATURES: dict[str, type[Section]] = {"number": NumberFeature, "category": CategoryFeature, "boolean": BooleanFeature}


def _known_keys() -> dict[str, tuple[str, ...]]:
    sections: dict[str, type[Section]] = {
        "": Contract,
        "model": ModelSection,
        "event": EventSection,
        "label": LabelSection,
        "decisions": Decision,
        "fallback": FallbackSection,
        "gates": Gates,
        "gates.slices": SliceGates,
        "gates.groups": GroupGates,
    }
    return {
        name: tuple(field.alias or key for key, field in table.model_fields.items())
        for name, table in (sections | _FEATURES).items()
    }


def parse_contract(raw: bytes, origin: str) -> Contract:
    """Read a contract from the bytes of its TOML file; ``origin`` names them in errors.

    Raises:
        ContractInvalid: with one sentence for each mistake.

    """
    try:
        document = tomllib.loads(raw.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ContractInvalid(origin, (f"expected TOML: {error}",)) from None
    try:
        return Contract.model_validate(document)
    except ValidationError as error:
        raise ContractInvalid(origin, problems_of(error, _known_keys(), tuple(_FEATURES))) from None


def load_contract(path: Path) -> Contract:
    """Read the contract in the file ``path``.

    Raises:
        ContractInvalid: the file cannot be read, or with one sentence for each mistake in it.

    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ContractInvalid(str(path), (f"expected a contract file: {error.strerror}",)) from None
    return parse_contract(raw, str(path))
