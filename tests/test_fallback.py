"""The contract's fallback rule: what may stand there, and what an event is answered with while no version can be had."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import small_model
from eventscore.artifact import Artifact
from eventscore.contract import Contract, parse_contract
from eventscore.errors import ContractInvalid, ContractViolation
from eventscore.fallback import FallbackRule
from eventscore.scoring import Answer, score_messages
from test_several_scores import CLASSES, LABELS, TOML, proved

NOW = datetime(2026, 11, 21, 10, 15, tzinfo=UTC)
REGRESSION = TOML.format(task="regression", label='field = "minutes"\nmin = -5.0\nmax = 60.0')
BINARY = TOML.format(task="binary", label='field = "late"')


def with_rule(toml: str, rule: str) -> Contract:
    return parse_contract(f"{toml}[fallback]\n{rule}\n".encode(), "c.toml")


def answer(contract: Contract) -> dict[str, object]:
    message = json.dumps({"order": 7, "amount": 1.0, "weight": 2.0}).encode()
    (outcome,) = FallbackRule(contract, "here").score([message], NOW)
    answered: dict[str, object] = msgspec.json.decode(msgspec.json.encode(outcome))
    return answered


@pytest.mark.parametrize(
    ("toml", "rule", "told"),
    [
        (BINARY, "score = 0.8", {"score": 0.8, "decision": "sure"}),
        (BINARY, 'decision = "sure"', {"score": 0.75, "decision": "sure"}),
        (BINARY, 'decision = "unsure"\nscore = 0.5', {"score": 0.5, "decision": "unsure"}),
        (REGRESSION, "score = -4.5", {"score": -4.5, "decision": "unsure"}),
        (
            CLASSES,
            "scores = {3 = 0.1, card = 0.8, cash = 0.1}",
            {
                "score": 0.8,
                "decision": "sure",
                "label": "card",
                "scores": {"card": 0.8, "cash": 0.1, "3": 0.1},
            },
        ),
        (
            LABELS,
            "scores = {late = 0.7, lost = 0.1, torn = 0.9}",
            {
                "score": 0.9,
                "decision": "sure",
                "labels": ["late", "torn"],
                "scores": {"late": 0.7, "lost": 0.1, "torn": 0.9},
            },
        ),
        (
            LABELS,
            "scores = {late = 0.0, lost = 0.0, torn = 0.0}",
            {"score": 0.0, "decision": "unsure", "labels": [], "scores": {"late": 0.0, "lost": 0.0, "torn": 0.0}},
        ),
    ],
)
def test_the_rule_of_each_task_answers_as_a_version_of_it_would(toml: str, rule: str, told: dict[str, object]) -> None:
    assert answer(with_rule(toml, rule)) == {
        "event_id": 7,
        "model": "small",
        "version": "none",
        "scored_at": "2026-11-21T10:15:00.000Z",
        "fallback": True,
        **told,
    }


def test_an_answer_of_the_rule_has_the_fields_that_an_answer_of_a_version_has_and_the_mark() -> None:
    for toml, last, score in ((CLASSES, "Softmax", [1 / 3] * 3), (LABELS, "Sigmoid", [0.5] * 3)):
        artifact = proved(toml, last, score)
        message = json.dumps({"order": 7, "amount": 0.0, "weight": 0.0}).encode()
        (by_version,) = score_messages(artifact, [message], NOW)
        names = artifact.contract.outputs
        scores = ", ".join(f"{name} = {value}" for name, value in zip(names, score, strict=True))
        by_rule = answer(with_rule(toml, f"scores = {{{scores}}}"))
        assert [*msgspec.json.decode(msgspec.json.encode(by_version)), "fallback"] == list(by_rule)
        assert isinstance(by_version, Answer)
        for field in ("decision", "label", "labels"):
            assert by_rule.get(field, msgspec.UNSET) == (
                list(told) if isinstance(told := getattr(by_version, field), tuple) else told
            )


@pytest.mark.parametrize(
    ("toml", "rule", "said"),
    [
        (BINARY, "", "fallback: expected a score, or a decision whose band it is taken from"),
        (BINARY, "score = 1.5", "fallback.score: expected a number from 0 to 1, got 1.5"),
        (BINARY, "score = nan", r"fallback.score: .*finite"),
        (
            BINARY,
            'decision = "maybe"',
            r"fallback.decision: expected one of the decisions \(unsure, sure\), got 'maybe'",
        ),
        (
            BINARY,
            'decision = "sure"\nscore = 0.1',
            "the score 0.1 lies in the band 'unsure', and the decision is 'sure'",
        ),
        (
            BINARY,
            "scores = {a = 1.0}",
            "fallback.scores belongs to multiclass or multilabel models, and this one is binary",
        ),
        (BINARY, "scroe = 0.1", r"fallback.scroe: unknown key \(did you mean 'score'\?\)"),
        (REGRESSION, "score = 61.0", "fallback.score: expected a number from -5.0 to 60.0, got 61"),
        (CLASSES, "score = 0.5", "fallback.score: a multiclass model has several; give scores"),
        (
            CLASSES,
            'decision = "sure"',
            "fallback.scores: missing: a multiclass model needs a score for each of card, cash, 3",
        ),
        (CLASSES, "scores = {card = 1.0}", "expected a score for each of card, cash, 3, got card"),
        (CLASSES, "scores = {3 = 0.5, card = 0.8, cash = 0.1}", "expected probabilities that add up to 1, got 1.4"),
        (LABELS, "scores = {late = 1.1, lost = 0.1, torn = 0.9}", "fallback.scores.late: .*less than or equal to 1"),
    ],
)
def test_a_rule_that_does_not_fit_is_told(toml: str, rule: str, said: str) -> None:
    with pytest.raises(ContractInvalid, match=said):
        with_rule(toml, rule)


MESSAGES = st.sampled_from(
    [None, b"", b"no json", small_model.message(amount=-1), small_model.message(order=...), small_model.message()]
)
RULE = with_rule(small_model.CONTRACT_TOML, "score = 0.25")


@given(st.lists(MESSAGES, max_size=8))
def test_the_rule_rejects_exactly_what_a_version_rejects_and_for_the_same_reasons(
    small_artifact: Artifact, messages: list[bytes | None]
) -> None:
    by_version = score_messages(small_artifact, messages, NOW)
    by_rule = FallbackRule(RULE, "here").score(messages, NOW)
    assert len(by_rule) == len(messages)
    for one, other in zip(by_version, by_rule, strict=True):
        if isinstance(one, ContractViolation):
            assert isinstance(other, ContractViolation)
            assert (one.reason, one.field, one.detail) == (other.reason, other.field, other.detail)
        else:
            assert isinstance(other, Answer)
            assert (other.event_id, other.score, other.fallback) == (one.event_id, 0.25, True)
            assert one.fallback is msgspec.UNSET
