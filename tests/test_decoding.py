"""From bytes to a typed event, or to the exact reason why not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

import small_model
from eventscore.decoding import Decoded, EventDecoder
from eventscore.delivery.rejection import rejection_messages
from eventscore.errors import ContractViolation
from eventscore.json_schema import example_event, producer_schema
from eventscore.records import Record
from eventscore.violations import REASONS

DECODER = EventDecoder(small_model.contract())
GOOD = small_model.message()


def violation(message: bytes | None, decoder: EventDecoder = DECODER) -> ContractViolation:
    with pytest.raises(ContractViolation) as refused:
        decoder.decode(message)
    assert refused.value.reason in REASONS
    return refused.value


def test_a_good_event_is_decoded() -> None:
    assert DECODER.decode(GOOD).event_id == "o-1"


@pytest.mark.parametrize(
    ("message", "reason", "field", "said"),
    [
        (None, "tombstone", None, "without content"),
        (b"", "tombstone", None, "without content"),
        (small_model.message(extra="x" * 2000), "too_large", None, "expected at most 2000 bytes, got 2"),
        (b"hello", "not_json", None, "invalid character"),
        (GOOD[:-1], "not_json", None, "truncated"),
        (GOOD + b" x", "not_json", None, "trailing characters"),
        (b"null", "not_an_object", None, "got null"),
        (b"[1]", "not_an_object", None, "got an array"),
        (b'"x"', "not_an_object", None, "got a string"),
        (small_model.message(amount=...), "missing_field", "amount", "expected a number from 0 to 1000; got nothing"),
        (small_model.message(amount=None), "missing_field", "amount", "expected a number from 0 to 1000; got null"),
        (small_model.message(order=...), "missing_field", "order", "got nothing"),
        (small_model.message(customer=...), "missing_field", "customer", "got nothing"),
        (small_model.message(amount="12"), "wrong_type", "amount", "expected a number from 0 to 1000; got a string"),
        (small_model.message(amount=True), "wrong_type", "amount", "got a boolean"),
        (small_model.message(amount=[1]), "wrong_type", "amount", "got an array"),
        (small_model.message(is_new=1), "wrong_type", "is_new", "expected true or false; got an integer"),
        (small_model.message(country=7), "wrong_type", "country", "expected a string of 1 to 12 characters"),
        (small_model.message(order=1.5), "wrong_type", "order", "got a number"),
        (small_model.message(at="yesterday"), "wrong_type", "at", "RFC 3339"),
        (small_model.message(at="2026-11-21T10:15:00"), "wrong_type", "at", "with an offset"),
        (
            small_model.message(amount=-0.5),
            "out_of_bounds",
            "amount",
            "expected a number from 0 to 1000; got one outside",
        ),
        (small_model.message(amount=1000.1), "out_of_bounds", "amount", "from 0 to 1000"),
        (small_model.message(country=""), "out_of_bounds", "country", "expected a string of 1 to 12 characters"),
        (small_model.message(country="x" * 13), "out_of_bounds", "country", "another length"),
        (small_model.message(order=""), "out_of_bounds", "order", "1 to 256 characters"),
        (small_model.message(order=2**63), "out_of_bounds", "order", ""),
        (small_model.message(channel="fax"), "unknown_value", "channel", "one of the 2 values"),
        (small_model.message(amount=float("nan")), "not_finite", None, "got NaN"),
        (small_model.message(amount=float("-inf")), "not_finite", None, "got -Infinity"),
        (GOOD.replace(b"12.5", b"1e999"), "out_of_bounds", "amount", "got one outside"),
        (GOOD.replace(b"12.5", b"9" * 400), "out_of_bounds", "amount", "got one outside"),
        (GOOD.replace(b'"FR"', b'"\xff"'), "wrong_encoding", None, "UTF-8"),
        (GOOD.decode().encode("utf-16"), "wrong_encoding", None, "UTF-16"),
        (GOOD.decode().encode("utf-16-le"), "wrong_encoding", None, "UTF-16-LE"),
        (b"\xef\xbb\xbf" + GOOD, "wrong_encoding", None, "byte order mark"),
        (b"\x1f\x8b\x08\x00", "wrong_encoding", None, "gzip"),
        (GOOD.replace(b'"FR"', b'"\\ud800"'), "not_json", None, "surrogate"),
        (GOOD[:-1] + b', "amount": 3}', "duplicate_key", "amount", "more than once"),
        (GOOD[:-1] + b', "order" : "o-2"}', "duplicate_key", "order", "more than once"),
        (GOOD[:-1] + b', "x": {"a": 1, "a": 2}}', "duplicate_key", "a", "more than once"),
        (GOOD[:-1] + b', "x": "\xff"}', "wrong_encoding", None, "UTF-8"),
        (GOOD[:-1] + b', "x": "\xed\xa0\x80"}', "wrong_encoding", None, "UTF-8"),
        (b'{"\xed\xa0\x80": 1, "\xed\xa0\x80": 2, ' + GOOD[1:], "wrong_encoding", None, "UTF-8"),
    ],
)
def test_each_way_to_break_the_contract_has_its_reason(
    message: bytes | None, reason: str, field: str | None, said: str
) -> None:
    refused = violation(message)
    assert (refused.reason, refused.field) == (reason, field)
    assert said in str(refused)


def test_a_nesting_bomb_is_refused_before_it_goes_off() -> None:
    roomy = EventDecoder(small_model.contract(small_model.CONTRACT_TOML.replace("2000", "1000000")))
    for bomb in (
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        GOOD[:-1] + b', "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ):
        assert violation(bomb, roomy).reason == "too_nested"


def test_the_reason_holds_nothing_of_the_event() -> None:
    secret = "4111-1111"
    for message in (
        small_model.message(amount=secret),
        small_model.message(country=secret * 3),
        small_model.message(channel=secret),
        small_model.message(at=secret),
    ):
        assert secret not in str(violation(message))


def test_fields_that_the_contract_does_not_name_are_ignored_or_refused_as_it_says() -> None:
    more = small_model.message(extra={"deep": [1, {"x": 2}]}, note="a:b\\c")
    assert DECODER.decode(more).event_id == "o-1"
    strict = EventDecoder(
        small_model.contract(
            small_model.CONTRACT_TOML.replace("[features.amount]", 'extra_fields = "refuse"\n[features.amount]')
        )
    )
    refused = violation(small_model.message(extra=1), strict)
    assert (refused.reason, refused.field) == ("unknown_field", "extra")


def test_an_integer_of_any_length_in_an_unnamed_field_does_not_stop_the_decoder() -> None:
    assert DECODER.decode(GOOD[:-1] + b', "x": ' + b"7" * 1500 + b"}").event_id == "o-1"


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "order": st.one_of(st.text(max_size=5), st.integers(-(2**64), 2**64), st.just(1.5), st.none()),
    "at": st.sampled_from(["2026-11-21T10:15:00Z", "2026-11-21T10:15:00+01:00", "2026-11-21 10:15", "", 3]),
    "customer": st.one_of(st.text(max_size=3), st.integers(0, 9), st.none()),
    "amount": st.one_of(st.floats(-10, 1010), st.integers(-1, 1001), st.none(), st.booleans(), st.text(max_size=2)),
    "balance": st.one_of(st.floats(-110, 110), st.none(), st.just("x")),
    "is_new": st.one_of(st.booleans(), st.none(), st.integers(0, 1)),
    "country": st.one_of(st.text(max_size=14), st.none(), st.integers()),
    "channel": st.one_of(st.sampled_from(["web", "shop", "fax", ""]), st.none()),
}
EVENTS = st.fixed_dictionaries({}, optional=VALUES) | st.fixed_dictionaries(
    {name: st.one_of(st.just(small_model.EVENT[name]), strategy) for name, strategy in VALUES.items()}
)
SCHEMA = Draft202012Validator(producer_schema(small_model.contract()), format_checker=FormatChecker(["date-time"]))


def refusal(message: bytes) -> ContractViolation | None:
    try:
        DECODER.decode(message)
    except ContractViolation as violation:
        return violation
    return None


def accepts(message: bytes) -> bool:
    return refusal(message) is None


# One thing a JSON Schema cannot say: it takes 1.0 for an integer, and as an id the function does not.
@given(EVENTS)
def test_the_function_accepts_exactly_what_the_schema_for_producers_accepts(event: dict[str, Any]) -> None:
    message = json.dumps(event).encode()
    assert accepts(message) == SCHEMA.is_valid(event)


def test_the_example_event_fits_the_contract_and_the_schema() -> None:
    example = example_event(small_model.contract())
    assert accepts(json.dumps(example).encode())
    SCHEMA.validate(example)


NAMES = st.sampled_from([*small_model.EVENT, "extra", "é:"])
STRINGS = st.text(alphabet='ab:"\\é{}', max_size=6)


@given(st.lists(st.tuples(NAMES, STRINGS), max_size=4), st.sampled_from([":", " : ", ": "]), st.booleans(), st.data())
def test_a_duplicate_key_is_found_whatever_the_strings_hold(
    more: list[tuple[str, str]], colon: str, ascii_only: bool, data: st.DataObject
) -> None:
    time = data.draw(
        st.sampled_from(["2026-11-21T10:15:00Z", "2026-11-21T10:15:00+00:00", "2026-11-21T10:15:00.123-05:30"])
    )
    fields: list[tuple[str, Any]] = [
        *small_model.event(at=time, country="a:b", balance=data.draw(st.sampled_from([None, 1, ...]))).items()
    ]
    fields += [(name, small_model.EVENT.get(name, value)) for name, value in more]
    fields = [(name, value) for name, value in fields if value is not ...]
    fields = data.draw(st.permutations(fields))
    text = ", ".join(
        f"{json.dumps(name, ensure_ascii=ascii_only)}{colon}{json.dumps(value, ensure_ascii=ascii_only)}"
        for name, value in fields
    )
    names = [name for name, _ in fields]
    message = f"{{{text}}}".encode()
    if len(set(names)) < len(names):
        assert violation(message).reason == "duplicate_key"
    else:
        assert DECODER.decode(message).event_id == "o-1"


@pytest.mark.parametrize("time", ["2026-11-21T10:15:00Z", "2026-11-21T10:15:00+00:00", "2026-11-21T10:15:00.5-05:30"])
@pytest.mark.parametrize("balance", [1, None, ...])
def test_a_flat_event_without_escapes_is_parsed_once(
    monkeypatch: pytest.MonkeyPatch, time: str, balance: object
) -> None:
    def slow(message: bytes) -> None:
        raise AssertionError("parsed again")

    monkeypatch.setattr("eventscore.decoding.first_duplicate", slow)
    DECODER.decode(small_model.message(at=time, balance=balance, order="a:b", country="x:y:z"))


@given(st.data())
def test_a_good_event_with_bytes_changed_or_put_in_is_an_event_or_a_reason(data: st.DataObject) -> None:
    message = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(message)))
        hostile = st.sampled_from(
            [b"\xed\xa0\x80", b'"x":1,"x":2,', b"\\ud800", b"\x00", b"NaN", b"[" * 50, b"\xef\xbb\xbf", b'"']
        )
        message[at : at + data.draw(st.integers(0, 2))] = data.draw(hostile | st.binary(max_size=3))
    refused = refusal(bytes(message))
    if refused is not None:
        # Whatever the reason, it can be told: a rejection must not fail for what it reports.
        assert refused.reason in REASONS
        rejection_messages(Record(b"", "m"), refused, model="m", version="v", source="sqs", rejected_at="now")


@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_whatever_the_bytes_there_is_an_event_or_a_reason(message: bytes) -> None:
    accepts(message)


def written(fields: list[tuple[str, Any]], colon: str, ascii_only: bool) -> bytes:
    """An object with its keys in this order, twice where they come twice."""
    texts = [(json.dumps(part, ensure_ascii=ascii_only) for part in field) for field in fields]
    return f"{{{', '.join(f'{name}{colon}{value}' for name, value in texts)}}}".encode()


MESSAGES = st.one_of(
    EVENTS.map(lambda event: json.dumps(event).encode()),
    st.builds(
        written,
        st.lists(st.sampled_from(sorted(VALUES)), max_size=2).flatmap(
            lambda twice: st.tuples(
                *(
                    st.tuples(st.just(name), st.just(small_model.EVENT[name]) | VALUES[name])
                    for name in [*small_model.EVENT, *twice]
                )
            ).map(list)
        ),
        st.sampled_from([":", " : "]),
        st.booleans(),
    ),
    st.sampled_from([None, b"", b"{}", GOOD[:-1], small_model.message(extra="x" * 2000), GOOD, GOOD, GOOD]),
)


def holds_a_key_twice(message: bytes) -> bool:
    found: list[bool] = []
    json.loads(message, object_pairs_hook=lambda pairs: found.append(len(dict(pairs)) < len(pairs)))
    return any(found)


@given(st.lists(MESSAGES, max_size=150))
def test_a_batch_is_decoded_as_its_messages_are_alone(messages: list[bytes | None]) -> None:
    decoded = DECODER.decode_all(messages)
    refused = decoded.refused
    assert len(decoded.ids) + len(refused) == len(messages)
    rows = list(zip(decoded.ids, *columns_of(decoded), strict=True))
    left = iter(rows)
    for position, message in enumerate(messages):
        alone = None if message is None else refusal(message)
        if position in refused:
            expected = violation(message)
            assert (refused[position].reason, str(refused[position])) == (expected.reason, str(expected))
        else:
            assert message is not None
            assert alone is None
            assert not holds_a_key_twice(message)
            one = DECODER.decode_all([message])
            assert repr(next(left)) == repr((one.ids[0], *(column[0] for column in columns_of(one))))


def columns_of(decoded: Decoded) -> list[list[Any]]:
    """The features' columns, as lists."""
    columns = decoded.table.columns
    return [column.tolist() for name in ("numbers", "categories") for column in columns[name].T]
