"""What the function reads of a version's contract, without pydantic, which costs a cold start more than ONNX Runtime does.

A contract is written by a person, and `eventscore.contract` tells that person every mistake in it. What the function reads was
judged when its version was made and is signed since: here it is read strictly, key by key, but no sentence is made of what is wrong.
Of what keys say together only that is looked at which would answer events wrongly: the contract of a fallback rule may come from
whoever deploys, unsigned. A test holds the two readings to each other.
"""

from __future__ import annotations

import tomllib
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from eventscore.errors import ContractInvalid

FLOAT32_MAX = 3.4028234663852886e38
"""Numbers are scaled in double precision and enter the network as float32: no event may hold more."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
DEFAULT_MAX_BYTES = 65_536
DEFAULT_MAX_LENGTH = 256

_Name = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,62}\Z")]
_FieldName = Annotated[str, Meta(pattern=r"\A[A-Za-z_][A-Za-z0-9_]{0,127}\Z")]
_DecisionName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}\Z")]
_Finite = Annotated[float, Meta(ge=-FLOAT32_MAX, le=FLOAT32_MAX)]
_Class = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Annotated[str, Meta(min_length=1, max_length=256)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class ServedModel(_Section, frozen=True):
    """``[model]``."""

    name: _Name
    task: Literal["binary", "multiclass", "multilabel", "regression", "anomaly"]
    description: str = ""


class ServedEvent(_Section, frozen=True):
    """``[event]``."""

    id: _FieldName
    time: _FieldName | None = None
    rollout_key: _FieldName | None = None
    max_bytes: Annotated[int, Meta(ge=2, le=6_000_000)] = DEFAULT_MAX_BYTES
    extra_fields: Literal["ignore", "refuse"] = "ignore"


class ServedNumber(_Section, frozen=True, tag_field="type", tag="number"):
    """A feature that is a number."""

    type: ClassVar[Literal["number"]] = "number"
    min: _Finite = -FLOAT32_MAX
    max: _Finite = FLOAT32_MAX
    missing: Literal["refuse", "median"] = "refuse"
    unit: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        if self.min >= self.max:
            raise ValueError("expected min < max")


class ServedBoolean(_Section, frozen=True, tag_field="type", tag="boolean"):
    """A feature that is true or false."""

    type: ClassVar[Literal["boolean"]] = "boolean"
    missing: Literal["refuse", "median"] = "refuse"
    description: str = ""


class ServedCategory(_Section, frozen=True, tag_field="type", tag="category"):
    """A feature that is a non-empty text."""

    type: ClassVar[Literal["category"]] = "category"
    values: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)] | None = None
    max_length: Annotated[int, Meta(ge=1, le=10_000)] = DEFAULT_MAX_LENGTH
    missing: Literal["refuse", "own"] = "refuse"
    unseen: Literal["shared", "refuse"] = "shared"
    description: str = ""

    def __post_init__(self) -> None:
        if self.unseen == "refuse" and self.values is None:
            raise ValueError('unseen = "refuse" needs values')


ServedFeature = ServedNumber | ServedCategory | ServedBoolean


class ServedLabel(_Section, frozen=True):
    """``[label]``."""

    field: _FieldName | None = None
    fields: Annotated[tuple[_FieldName, ...], Meta(min_length=2)] | None = None
    positive: bool | int | str = True
    classes: Annotated[tuple[_Class, ...], Meta(min_length=2)] | None = None
    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    min: _Finite | None = None
    max: _Finite | None = None
    unit: str = ""


class ServedDecision(_Section, frozen=True):
    """One decision band."""

    name: _DecisionName
    start: _Finite = msgspec.field(name="from")
    cost_if_positive: _Finite | None = None
    cost_if_negative: _Finite | None = None


class ServedFallback(_Section, frozen=True):
    """``[fallback]``."""

    score: _Finite | None = None
    decision: _DecisionName | None = None
    scores: dict[str, Annotated[float, Meta(ge=0, le=1)]] | None = None


class ServedContract(_Section, frozen=True):
    """A contract as the function needs it; the gates were for the training job."""

    format: Literal[1]
    model: ServedModel
    event: ServedEvent
    features: Annotated[dict[_FieldName, ServedFeature], Meta(min_length=1)]
    label: ServedLabel | None = None
    decisions: tuple[ServedDecision, ...] = ()
    fallback: ServedFallback | None = None
    gates: dict[str, Any] = {}

    def __post_init__(self) -> None:
        own = [field for field in (self.event.id, self.event.time) if field is not None]
        if len({*own, *self.features}) < len(own) + len(self.features) or self.event.rollout_key in own[1:]:
            raise ValueError("a field has two meanings")
        if bool(self.outputs) != (self.model.task in ("multiclass", "multilabel")):
            raise ValueError("the label is not one of the model's task")
        starts = [decision.start for decision in self.decisions]
        if starts != sorted(set(starts)) or len({decision.name for decision in self.decisions}) < len(starts):
            raise ValueError("decisions ascend, each with a name of its own")

    @property
    def label_fields(self) -> tuple[str, ...]:
        """The columns of a table that hold the truth; none where an anomaly model has no label."""
        if self.label is None:
            return ()
        return self.label.fields or ((self.label.field,) if self.label.field else ())

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


def parse_served_contract(raw: bytes, origin: str) -> ServedContract:
    """Read the contract of a version from the bytes of its TOML file; ``origin`` names them in errors.

    Raises:
        ContractInvalid: it cannot be read.

    """
    try:
        document = tomllib.loads(raw.removeprefix(_BYTE_ORDER_MARK).decode())
        return msgspec.convert(document, ServedContract)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ContractInvalid(origin, (str(error),)) from None
