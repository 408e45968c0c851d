"""The contract: what an event looks like and what it means, written by a person as one TOML file.

Everything else derives from it: the event decoder, the reader of the training table, the graph's inputs, the JSON Schema for
producers, the drift baseline. Unknown keys are errors, and every mistake is reported at once, in words (`contract_problems`).
"""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from eventscore.contract_problems import problems_of
from eventscore.errors import ContractInvalid

CONTRACT_FORMAT = 1
FLOAT32_MAX = 3.4028234663852886e38
"""Numbers are scaled in double precision and enter the network as float32: no event may hold more."""
DEFAULT_MAX_BYTES = 65_536
DEFAULT_MAX_LENGTH = 256

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
DecisionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$")]
Task = Literal["binary", "multiclass", "multilabel", "regression", "anomaly"]
Finite = Annotated[float, Field(allow_inf_nan=False, ge=-FLOAT32_MAX, le=FLOAT32_MAX)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelSection(_Table):
    """``[model]``: which model this is and what it answers."""

    name: Name
    task: Task
    description: str = ""


class EventSection(_Table):
    """``[event]``: which fields say what an event is, and what a message may look like.

    ``max_bytes`` bounds the size of a message. ``extra_fields`` says what becomes of fields that the contract does not name.
    """

    id: FieldName
    time: FieldName | None = None
    rollout_key: FieldName | None = None
    max_bytes: Annotated[int, Field(ge=2, le=6_000_000)] = DEFAULT_MAX_BYTES
    extra_fields: Literal["ignore", "refuse"] = "ignore"


class NumberFeature(_Table):
    """A JSON number. ``missing = "median"`` fills a gap with the training median and tells the network that it was one."""

    type: Literal["number"]
    min: Finite = -FLOAT32_MAX
    max: Finite = FLOAT32_MAX
    missing: Literal["refuse", "median"] = "refuse"
    unit: str = ""
    description: str = ""

    @model_validator(mode="after")
    def _bounds_do_not_cross(self) -> Self:
        if self.min >= self.max:
            raise ValueError(f"the bounds cross: expected min < max, got min = {self.min:g} and max = {self.max:g}")
        return self


class BooleanFeature(_Table):
    """JSON ``true`` or ``false``; the graph sees 1 or 0."""

    type: Literal["boolean"]
    missing: Literal["refuse", "median"] = "refuse"
    description: str = ""


class CategoryFeature(_Table):
    """A non-empty JSON string.

    A value that training did not see shares a learned row (``unseen = "shared"``), a gap has its own (``missing = "own"``).
    """

    type: Literal["category"]
    values: tuple[Annotated[str, StringConstraints(min_length=1)], ...] | None = Field(default=None, min_length=1)
    max_length: Annotated[int, Field(ge=1, le=10_000)] = DEFAULT_MAX_LENGTH
    missing: Literal["refuse", "own"] = "refuse"
    unseen: Literal["shared", "refuse"] = "shared"
    description: str = ""

    @field_validator("values", mode="before")
    @classmethod
    def _from_toml_array(cls, values: object) -> object:
        return tuple(values) if isinstance(values, list) else values

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


class LabelSection(_Table):
    """``[label]``: the column of the training table that holds the truth, and the value that counts as 1."""

    field: FieldName
    positive: bool | int | str = True

    @field_validator("positive", mode="before")
    @classmethod
    def _positive_is_a_value(cls, value: object) -> object:
        if not isinstance(value, bool | int | str):
            raise ValueError(f"expected true or false, an integer or a string; got {value!r}")
        return value


class Decision(_Table):
    """One decision band: ``name`` from the score ``from`` (inclusive) up to the next band.

    The costs say what an event in this band costs when it turns out positive or negative; only the report of a version reads them.
    """

    name: DecisionName
    start: Annotated[float, Field(alias="from", allow_inf_nan=False)]
    cost_if_positive: Finite | None = None
    cost_if_negative: Finite | None = None


class SliceGates(_Table):
    """``[gates.slices]``: the worst slice of the test part, by the values of each field, must still reach this."""

    fields: Annotated[tuple[FieldName, ...], Field(min_length=1)]
    min_roc_auc: Annotated[float, Field(ge=0, le=1)] | None = None
    max_calibration_error: Annotated[float, Field(gt=0, le=1)] | None = None
    min_rows: Annotated[int, Field(ge=1)] = 200

    @field_validator("fields", mode="before")
    @classmethod
    def _from_toml_array(cls, fields: object) -> object:
        return tuple(fields) if isinstance(fields, list) else fields


class GroupGates(_Table):
    """``[gates.groups]``: how far the groups of ``field`` may lie apart, where ``decision`` and the bands above it count as chosen.

    ``field`` may be any column of the test table, also one that is no feature.
    """

    field: FieldName
    decision: DecisionName
    max_rate_difference: Annotated[float, Field(ge=0, le=1)] | None = None
    max_true_positive_rate_difference: Annotated[float, Field(ge=0, le=1)] | None = None
    max_false_positive_rate_difference: Annotated[float, Field(ge=0, le=1)] | None = None
    min_rows: Annotated[int, Field(ge=1)] = 200


class Gates(_Table):
    """``[gates]``: what a version must reach before it may be published. A gate that is left out is not checked."""

    min_roc_auc: Annotated[float, Field(ge=0, le=1)] | None = None
    min_pr_auc: Annotated[float, Field(ge=0, le=1)] | None = None
    max_log_loss: Annotated[float, Field(gt=0)] | None = None
    max_calibration_error: Annotated[float, Field(gt=0, le=1)] | None = None
    max_int8_auc_loss: Annotated[float, Field(gt=0, le=1)] | None = None
    max_int8_row_difference: Annotated[float, Field(gt=0, le=1)] | None = None
    max_size_bytes: Annotated[int, Field(gt=0)] | None = None
    max_latency_us: Annotated[float, Field(gt=0)] | None = None
    not_worse_than_live: bool = False
    live_tolerance: Annotated[float, Field(ge=0, le=1)] = 0.0
    slices: SliceGates | None = None
    groups: GroupGates | None = None


class Contract(_Table):
    """A whole, consistent contract. Read one with :func:`load_contract` or :func:`parse_contract`."""

    format: int
    model: ModelSection
    event: EventSection
    features: dict[FieldName, Feature] = Field(min_length=1)
    label: LabelSection | None = None
    decisions: tuple[Decision, ...] = ()
    gates: Gates = Gates()

    @field_validator("format", mode="before")
    @classmethod
    def _format_is_known(cls, value: object) -> object:
        if type(value) is not int or value != CONTRACT_FORMAT:
            raise ValueError(f"expected {CONTRACT_FORMAT}; got {value!r}")
        return value

    @field_validator("decisions", mode="before")
    @classmethod
    def _from_toml_array(cls, decisions: object) -> object:
        return tuple(decisions) if isinstance(decisions, list) else decisions

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
        if self.label is None:
            if self.model.task != "anomaly":
                raise ValueError(f"label: missing: a {self.model.task} model learns from the column that [label] names")
            return self
        if self.label.field in self.features:
            raise ValueError(
                f"field {self.label.field!r} is the label and a feature; the network would read its answer"
            )
        if self.label.field in (event.id, event.time, event.rollout_key):
            raise ValueError(f"field {self.label.field!r} is the label and belongs to [event] too")
        return self

    @model_validator(mode="after")
    def _decisions_ascend(self) -> Self:
        starts = [decision.start for decision in self.decisions]
        names = [decision.name for decision in self.decisions]
        if len(set(names)) < len(names):
            raise ValueError(f"decisions: each needs a name of its own, got {', '.join(names)}")
        if any(later <= earlier for earlier, later in itertools.pairwise(starts)):
            raise ValueError(f"decisions: 'from' must ascend, got {', '.join(f'{start:g}' for start in starts)}")
        if self.model.task in ("binary", "anomaly") and starts and (starts[0] != 0 or starts[-1] >= 1):
            raise ValueError(
                f"decisions: the first must start at 0 and the last below 1, got {', '.join(f'{start:g}' for start in starts)}"
            )
        return self

    @model_validator(mode="after")
    def _gates_name_what_is_there(self) -> Self:
        slices, groups = self.gates.slices, self.gates.groups
        label = self.label.field if self.label else None
        named = [("slices", field) for field in (slices.fields if slices else ())]
        for section, field in [*named, ("groups", groups.field)] if groups else named:
            if field in (label, self.event.id):
                raise ValueError(
                    f"gates.{section}: field {field!r} is the {'label' if field == label else 'id'} and makes no groups of events"
                )
        names = [decision.name for decision in self.decisions]
        if groups and groups.decision not in names:
            raise ValueError(
                f"gates.groups.decision: expected one of the decisions ({', '.join(names) or 'none here'}), got {groups.decision!r}"
            )
        return self

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


_FEATURES: dict[str, type[_Table]] = {"number": NumberFeature, "category": CategoryFeature, "boolean": BooleanFeature}


def _known_keys() -> dict[str, tuple[str, ...]]:
    sections: dict[str, type[_Table]] = {
        "": Contract,
        "model": ModelSection,
        "event": EventSection,
        "label": LabelSection,
        "decisions": Decision,
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
