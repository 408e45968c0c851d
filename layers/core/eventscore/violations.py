"""Why a message is no event of its contract, as a reason code and a sentence without any of the event's values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NoReturn

from eventscore.errors import ContractViolation

if TYPE_CHECKING:
    from eventscore.contract import AnyContract

REASONS: Final = {
    "tombstone": "a message without content, as Kafka's compaction leaves",
    "too_large": "more bytes than event.max_bytes",
    "wrong_encoding": "not UTF-8",
    "not_json": "not JSON",
    "not_an_object": "JSON, but no object",
    "too_nested": "nested deeper than any event needs to be",
    "not_finite": "NaN or an infinity where JSON has only numbers",
    "duplicate_key": "a key that the object holds twice",
    "missing_field": "a required field is absent or null",
    "unknown_field": "a field that the contract does not name, where it refuses such",
    "wrong_type": "a field of another type than the contract says",
    "out_of_bounds": "a number outside its bounds, or a string too short or too long",
    "unknown_value": "a category outside its closed list",
    "unknown_model": "names no model of the function, where events name theirs",
    "answer_too_large": "a good event whose answer is larger than a sink takes",
    "score_not_finite": "a good event for which the version computes NaN or an infinity: a fault of the version",
}
"""Every reason for which an event is rejected, and what it means."""

_AT = re.compile(r"(?P<what>.*) - at `\$\.(?P<field>[^`]*)`$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>[^`]*)`")
_GOT = re.compile(r"Expected `(?P<expected>[^`]+)`, got `(?P<got>[^`]+)`")
_JSON_NAMES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "null": "null",
    "array": "an array",
    "object": "an object",
}


class ViolationReader:
    """Reads the decoder's error about a message of one contract."""

    def __init__(self, contract: AnyContract) -> None:
        self._expected = _expectations(contract)

    def read(self, error: Exception, message: bytes) -> ContractViolation:
        """The violation behind ``error``, which decoding ``message`` raised."""
        if isinstance(error, RecursionError):
            return ContractViolation("too_nested", "expected a flat object, got one nested too deeply to read")
        text = str(error)
        if at := _AT.match(text):
            return self._of_field(at["what"], at["field"])
        if missing := _MISSING.match(text):
            field = missing["field"]
            return ContractViolation(
                "missing_field", f"expected {self._expected.get(field, 'a value')}; got nothing", field
            )
        if unknown := _UNKNOWN.match(text):
            return ContractViolation(
                "unknown_field", "the contract names no such field (event.extra_fields)", unknown["field"]
            )
        if got := _GOT.match(text):
            return ContractViolation("not_an_object", f"expected a JSON object, got {_json_name(got['got'])}")
        return violation_of_bytes(message, text)

    def _of_field(self, what: str, field: str) -> ContractViolation:
        expected = self._expected.get(field, "a value")
        if got := _GOT.match(what):
            reason = "missing_field" if got["got"] == "null" else "wrong_type"
            return ContractViolation(reason, f"expected {expected}; got {_json_name(got['got'])}", field)
        if what.startswith("Invalid enum value"):
            return ContractViolation("unknown_value", f"expected {expected}; got another", field)
        if "RFC3339" in what or "timezone" in what or "datetime" in what:
            return ContractViolation("wrong_type", f"expected {expected}; got another string", field)
        if "length" in what:
            return ContractViolation("out_of_bounds", f"expected {expected}; got a string of another length", field)
        if "UTF-8" in what or "utf-8" in what:
            return ContractViolation("wrong_encoding", "expected UTF-8", field)
        return ContractViolation("out_of_bounds", f"expected {expected}; got one outside", field)


def violation_of_bytes(message: bytes, what: str) -> ContractViolation:
    """Why the bytes are no JSON at all, as ``what``, the decoder's message, has it: each of the usual mistakes has its own look."""
    import json  # only what is no JSON is looked at so closely

    if message[:2] == b"\x1f\x8b":
        return ContractViolation("wrong_encoding", "expected JSON in UTF-8, got what begins as gzip does")
    encoding = json.detect_encoding(message)
    if encoding == "utf-8-sig":
        return ContractViolation("wrong_encoding", "expected UTF-8 without a byte order mark")
    if encoding != "utf-8":
        return ContractViolation("wrong_encoding", f"expected UTF-8, got what looks like {encoding.upper()}")
    try:
        text = message.decode("utf-8")
    except UnicodeDecodeError as error:
        return ContractViolation("wrong_encoding", f"expected UTF-8; byte {error.start} is not")
    try:
        json.loads(text, parse_constant=_refuse_constant, parse_int=len, parse_float=len)
    except _NotFinite as error:
        return ContractViolation("not_finite", f"expected a finite number, got {error}")
    except RecursionError:
        return ContractViolation("too_nested", "expected a flat object, got one nested too deeply to read")
    except ValueError:
        pass
    return ContractViolation("not_json", f"expected JSON: {what.removeprefix('JSON is malformed: ')}")


class _NotFinite(Exception):
    pass


def _refuse_constant(constant: str) -> NoReturn:
    raise _NotFinite(constant)


def _json_name(name: str) -> str:
    return _JSON_NAMES.get(name, name)


def _expectations(contract: AnyContract) -> dict[str, str]:
    """For each field of an event, what it must hold, in words."""
    key = "a string of 1 to 256 characters or an integer"
    expected = {contract.event.id: key}
    if contract.event.rollout_key is not None:
        expected[contract.event.rollout_key] = key
    if contract.event.time is not None:
        expected[contract.event.time] = "a time as RFC 3339 writes it, with an offset (2026-11-21T10:15:00Z)"
    for name, feature in contract.features.items():
        if feature.type == "number":
            expected[name] = f"a number from {feature.min:g} to {feature.max:g}"
        elif feature.type == "boolean":
            expected[name] = "true or false"
        elif feature.values is not None and feature.unseen == "refuse":
            expected[name] = f"one of the {len(feature.values)} values that the contract lists"
        else:
            expected[name] = f"a string of 1 to {feature.max_length} characters"
    return expected
