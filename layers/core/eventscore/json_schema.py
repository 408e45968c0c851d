"""The contract for producers: a JSON Schema to build against, and an example event that fits it."""

from __future__ import annotations

from typing import Any

from eventscore.contract import Contract
from eventscore.contract_features import BooleanFeature, CategoryFeature, Feature, NumberFeature
from eventscore.contract_grammar import FLOAT32_MAX
from eventscore.decoding import ID_MAX_LENGTH

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ID = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": ID_MAX_LENGTH},
        {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    ]
}


def producer_schema(contract: Contract) -> dict[str, Any]:
    """The JSON Schema (2020-12) of an event: what it accepts, the function scores; what it refuses, the function rejects."""
    event = contract.event
    properties: dict[str, Any] = {
        event.id: {
            **_ID,
            "description": "identifies the event; comes back with its score; an integer is written without fraction or exponent",
        }
    }
    required = [event.id]
    if event.time is not None:
        properties[event.time] = {
            "type": "string",
            "format": "date-time",
            "description": "when the event happened, RFC 3339 with an offset",
        }
        required.append(event.time)
    if contract.own_rollout_key is not None:
        properties[contract.own_rollout_key] = {
            **_ID,
            "description": "decides which version scores the event in a rollout",
        }
        required.append(contract.own_rollout_key)
    for name, feature in contract.features.items():
        properties[name] = _feature_schema(feature)
        if feature.missing == "refuse":
            required.append(name)
    return {
        "$schema": _DIALECT,
        "title": f"An event for the model {contract.model.name}",
        "description": f"{contract.model.description} At most {event.max_bytes} bytes of UTF-8; no key twice.".strip(),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": event.extra_fields == "ignore",
    }


def example_event(contract: Contract) -> dict[str, Any]:
    """An event that fits the contract: numbers in the middle of their bounds, the first value of a closed list."""
    event = contract.event
    example: dict[str, Any] = {event.id: "example-1"}
    if event.time is not None:
        example[event.time] = "2026-11-21T10:15:00Z"
    if contract.own_rollout_key is not None:
        example[contract.own_rollout_key] = "customer-1"
    for name, feature in contract.features.items():
        match feature:
            case NumberFeature():
                example[name] = _middle(feature)
            case BooleanFeature():
                example[name] = True
            case CategoryFeature():
                example[name] = feature.values[0] if feature.values else "example"[: feature.max_length]
    return example


def _feature_schema(feature: Feature) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    match feature:
        case NumberFeature():
            unit = f" ({feature.unit})" if feature.unit else ""
            schema = {"type": "number", "minimum": feature.min, "maximum": feature.max}
            schema["description"] = f"{feature.description}{unit}".strip()
        case BooleanFeature():
            schema = {"type": "boolean", "description": feature.description}
        case CategoryFeature():
            schema = {
                "type": "string",
                "minLength": 1,
                "maxLength": feature.max_length,
                "description": feature.description,
            }
            if feature.values is not None and feature.unseen == "refuse":
                schema = {"enum": list(feature.values), "description": feature.description}
            elif feature.values is not None:
                schema["examples"] = list(feature.values)
    if not schema["description"]:
        del schema["description"]
    if feature.missing == "refuse":
        return schema
    described = {"description": schema.pop("description")} if "description" in schema else {}
    return {"anyOf": [schema, {"type": "null"}], **described}


def _middle(feature: NumberFeature) -> float:
    """A number that a reader takes for an example: the middle of the bounds, or one bound where the other is open."""
    low_open, high_open = feature.min == -FLOAT32_MAX, feature.max == FLOAT32_MAX
    if low_open and high_open:
        return 0.0
    if low_open:
        return feature.max
    if high_open:
        return feature.min
    middle = (feature.min + feature.max) / 2
    rounded = float(round(middle))
    return rounded if feature.min <= rounded <= feature.max else middle
