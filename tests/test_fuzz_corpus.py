"""The kept corpus of the fuzz target, replayed; and what an adversary would send first."""

from __future__ import annotations

import base64
import gzip
import json
import random
from pathlib import Path

import pytest

import small_model
from eventscore.artifact import Artifact
from eventscore.decoding import EventDecoder
from eventscore.errors import ContractViolation
from eventscore.scoring import Answer, score_messages
from eventscore.sources.recognise import recognise
from fuzzed_events import GOOD, NOW, EventCheck
from test_sources import kafka, kinesis

CORPUS = sorted((Path(__file__).parent / "fuzz/corpus").iterdir())
BASE = small_model.message()
MEBIBYTE = 2**20


def test_the_corpus_is_there() -> None:
    assert len(CORPUS) >= 50


def test_every_input_of_the_corpus_does_only_what_it_may(small_artifact: Artifact) -> None:
    check = EventCheck(small_artifact)
    for path in CORPUS:
        check.check(path.read_bytes())


def with_field(value: bytes) -> bytes:
    """A good event with one more field, which the contract does not name."""
    return BASE[:-1] + b', "x": ' + value + b"}"


ADVERSARIAL = {
    "a bomb of arrays": b"[" * 100_000 + b"]" * 100_000,
    "a bomb of objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a bomb in a field": with_field(b"[" * 100_000 + b"]" * 100_000),
    "a bomb that never closes": with_field(b'{"x":[' * 100_000),
    "a string of a mebibyte": with_field(b'"' + b"x" * MEBIBYTE + b'"'),
    "a string of a mebibyte as category": small_model.message(country="x" * MEBIBYTE),
    "a string of a mebibyte as id": small_model.message(order="x" * MEBIBYTE),
    "a string of a mebibyte of escapes": with_field(b'"' + b"\\u0041" * (MEBIBYTE // 6) + b'"'),
    "a key of a mebibyte": BASE[:-1] + b', "' + b"k" * MEBIBYTE + b'": 1}',
    "a hundred thousand keys": BASE[:-1] + b"".join(b', "k%d": 1' % n for n in range(100_000)) + b"}",
    "an integer of a mebibyte": with_field(b"9" * MEBIBYTE),
    "an integer of a mebibyte as amount": BASE.replace(b"12.5", b"9" * MEBIBYTE),
    "an integer of a mebibyte as id": BASE.replace(b'"o-1"', b"9" * MEBIBYTE),
    "an exponent without end": BASE.replace(b"12.5", b"1e" + b"9" * MEBIBYTE),
    "a fraction without end": BASE.replace(b"12.5", b"0." + b"3" * MEBIBYTE),
    "a duplicate key behind a mebibyte": with_field(b'"' + b"x" * MEBIBYTE + b'", "amount": 1'),
    "a duplicate key written with escapes": BASE[:-1] + b', "\\u0061mount": 1}',
    "a duplicate id": BASE[:-1] + b', "order": "o-2"}',
    "a lone surrogate as escape": with_field(b'"\\udfff"'),
    "a lone surrogate in bytes": with_field(b'"\xed\xbf\xbf"'),
    "a lone surrogate as key": BASE[:-1] + b', "\\ud800": 1}',
    "NaN": BASE.replace(b"12.5", b"NaN"),
    "-Infinity": BASE.replace(b"12.5", b"-Infinity"),
    "NaN in a field that nobody reads": with_field(b"NaN"),
    "overlong UTF-8": with_field(b'"\xc0\xaf"'),
    "latin-1": BASE.replace(b'"FR"', '"é"'.encode("latin-1")),
    "UTF-16": BASE.decode().encode("utf-16"),
    "UTF-32": BASE.decode().encode("utf-32-be"),
    "gzip that nobody announced": gzip.compress(BASE),
    "a gzip bomb": gzip.compress(b"\0" * 10 * MEBIBYTE),
    "zlib": b"x\x9c" + BASE,
    "base64 of an event": base64.b64encode(BASE),
    "a null byte behind the event": BASE + b"\0",
    "two events": BASE + BASE,
    "a line break and an event": BASE + b"\n" + BASE,
    "protobuf": b"\n\x03o-1\x12\x14",
    "avro with a schema id": b"\0\0\0\0\x07\x06o-1",
}


@pytest.fixture(scope="module")
def roomy() -> EventDecoder:
    """A decoder that lets events be as large as they like."""
    return EventDecoder(small_model.contract(small_model.CONTRACT_TOML.replace("2000", "6000000")))


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_what_an_adversary_sends_is_rejected_alone(small_artifact: Artifact, roomy: EventDecoder, name: str) -> None:
    hostile = ADVERSARIAL[name]
    alone = [score_messages(small_artifact, [good], NOW)[0] for good in GOOD]
    first, outcome, last = score_messages(small_artifact, [GOOD[0], hostile, GOOD[1]], NOW)
    assert [first, last] == alone
    assert isinstance(outcome, ContractViolation)
    harmless = {
        "a string of a mebibyte",
        "a string of a mebibyte of escapes",
        "a key of a mebibyte",
        "a hundred thousand keys",
    }
    harmless |= {"an integer of a mebibyte", "a fraction without end"}
    if name in harmless:  # nothing is wrong with it but its size, which the contract bounds
        assert outcome.reason == "too_large"
        roomy.decode(hostile)
    else:
        with pytest.raises(ContractViolation):
            roomy.decode(hostile)


def test_ten_thousand_categories_that_were_never_seen_are_scored_and_remembered_by_nobody(
    small_artifact: Artifact,
) -> None:
    unseen = [small_model.message(order=n + 1, country=f"c{n}") for n in range(10_000)]
    outcomes = score_messages(small_artifact, unseen, NOW)
    expected = small_model.expected_score(small_model.event(country="unseen"))
    assert {type(outcome) for outcome in outcomes} == {Answer}
    scores = {outcome.score for outcome in outcomes if isinstance(outcome, Answer)}
    assert len(scores) == 1, "all unseen values share one learned row"
    assert scores.pop() == pytest.approx(expected, abs=1e-6)


def test_base64_rubbish_costs_its_own_record_only(small_artifact: Artifact) -> None:
    chance = random.Random(7)
    for _ in range(200):
        rubbish = "".join(chance.choices("AZaz09+/=-_ \n\té\ud800", k=chance.randrange(1, 40)))
        for invocation in (kinesis(GOOD[0], b"x", GOOD[1]), kafka({"t-0": [GOOD[0], b"x", GOOD[1]]})):
            if "Records" in invocation:
                invocation["Records"][1]["kinesis"]["data"] = rubbish
            else:
                invocation["records"]["t-0"][1]["value"] = rubbish
            records = recognise(invocation).records(invocation)
            outcomes = score_messages(small_artifact, [record.payload for record in records], NOW)
            assert [isinstance(outcome, Answer) for outcome in outcomes] == [True, False, True]


def test_an_event_as_deep_and_large_as_it_may_be_is_an_event() -> None:
    decoder = EventDecoder(small_model.contract())
    deep = with_field(b"[" * 50 + b"]" * 50)
    assert decoder.decode(deep).event_id == "o-1"
    full = with_field(b'"%s"' % (b"x" * (2000 - len(with_field(b'""')))))
    assert len(full) == 2000
    assert decoder.decode(full).event_id == "o-1"
    assert json.loads(full)["order"] == "o-1"
