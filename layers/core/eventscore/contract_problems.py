"""The mistakes in a contract, in words: what was expected, what came, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

KnownKeys = Mapping[str, Sequence[str]]
"""The keys of each section, and under a feature's type those of such a feature; under ``""`` the sections themselves."""


def problems_of(error: ValidationError, known_keys: KnownKeys, feature_types: Sequence[str]) -> tuple[str, ...]:
    """One sentence for each mistake that pydantic found, in the order in which the contract's sections are declared."""
    details = error.errors(include_url=False)
    faulty = {tuple(detail["loc"][:-1]) for detail in details}
    return tuple(
        _problem(dict(detail), known_keys, feature_types)
        for detail in details
        # A list of which every item is faulty is not too short as well.
        if not (detail["type"] == "too_short" and tuple(detail["loc"]) in faulty)
    )


def _problem(detail: dict[str, Any], known_keys: KnownKeys, feature_types: Sequence[str]) -> str:
    location = tuple(detail["loc"])
    kind, context = detail["type"], detail.get("ctx", {})
    # The discriminated union puts the feature's type behind its name; a reader of the file does not know that step.
    feature_type = str(location[2]) if len(location) > 2 and location[0] == "features" else ""
    if feature_type:
        location = (*location[:2], *location[3:])
    where = _where(location)
    if kind == "extra_forbidden":
        section = ".".join(map(str, location[:-1]))
        if section not in known_keys:
            section = str(location[0] if len(location) > 1 else "")
        known = known_keys.get(feature_type or section, ())
        return f"{where}: unknown key{_did_you_mean(str(location[-1]), known)}"
    if kind == "missing":
        return f"{where}: missing{_what_it_is(location)}"
    if kind == "union_tag_invalid":
        given = str(context.get("tag", ""))
        return (
            f"{where}.type: unknown type {given!r}{_did_you_mean(given, feature_types, or_list=False)}; "
            f"expected one of {', '.join(feature_types)}"
        )
    if kind == "union_tag_not_found":
        return f"{where}.type: missing; expected one of {', '.join(feature_types)}"
    if location and location[-1] == "[key]":
        return f"{_where(location[:-1])}: expected a field name of letters, digits and _, not starting with a digit"
    if kind == "value_error":
        message = str(context.get("error", detail["msg"]))
        return f"{where}: {message}" if where else message
    return f"{where}: {_expectation(kind, context, detail['msg'])}; got {_shown(detail.get('input'))}"


def _where(location: Sequence[Any]) -> str:
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step + 1}]"
        elif step != "[key]":
            path += f".{step}" if path else str(step)
    return path


def _what_it_is(location: Sequence[Any]) -> str:
    meanings = {
        ("format",): ': the contract\'s format, "format = 1" at the top of the file',
        ("model",): ": the section [model] with name and task",
        ("event",): ": the section [event] that names the id field",
        ("event", "id"): ": the field that identifies an event",
        ("features",): ": at least one [features.<field>]",
        ("label",): ": the section [label] that names the column with the truth",
    }
    return meanings.get(tuple(location), "")


def _expectation(kind: str, context: Mapping[str, Any], message: str) -> str:
    match kind:
        case "literal_error":
            return f"expected {context['expected']}"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "expected a table"
        case "tuple_type":
            return "expected a list"
        case "too_short":
            fewest = context["min_length"]
            return f"expected at least {fewest} {'entry' if fewest == 1 else 'entries'}"
        case "string_pattern_mismatch":
            return f"expected a name that matches {context['pattern']}"
        case _:
            said = message.replace("Input should be", "expected")
            return said[0].lower() + said[1:]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _did_you_mean(given: str, known: Sequence[str], *, or_list: bool = True) -> str:
    close = difflib.get_close_matches(given, known, n=1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (known here: {', '.join(known)})" if known and or_list else ""
