"""Answers of models whose events have several scores: a class of many, or labels that do not exclude each other."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import small_model
from eventscore.artifact import Artifact, prove
from eventscore.contract import Contract, parse_contract
from eventscore.errors import ArtifactRefused, GoldenMismatch, GraphInvalid, ManifestInvalid
from eventscore.manifest import CONTRACT, GOLDEN, GRAPH, parse_manifest
from eventscore.scoring import Answer, score_messages, timestamp
from eventscore.served_manifest import parse_served_manifest

TOML = """\
format = 1
[model]
name = "small"
task = "{task}"
[event]
id = "order"
[features.amount]
type = "number"
[features.weight]
type = "number"
[label]
{label}
[[decisions]]
name = "unsure"
from = 0.0
[[decisions]]
name = "sure"
from = 0.75
"""
CLASSES = TOML.format(task="multiclass", label='field = "kind"\nclasses = ["card", "cash", 3]')
LABELS = TOML.format(task="multilabel", label='fields = ["late", "lost", "torn"]\nthreshold = 0.7')
NOW = datetime(2026, 11, 21, 10, 15, tzinfo=UTC)


def graph(last: str, columns: int = 3) -> bytes:
    """``last`` (Softmax or Sigmoid) of ``amount``, ``weight`` and 0."""
    nodes = [
        helper.make_node("MatMul", ["numbers", "weights"], ["logits"]),
        helper.make_node(last, ["logits"], ["wide"], **({"axis": 1} if last == "Softmax" else {})),
        helper.make_node("Cast", ["wide"], ["score"], to=TensorProto.FLOAT),
    ]
    weights = np.eye(2, columns)
    body = helper.make_graph(
        nodes,
        "several",
        [helper.make_tensor_value_info("numbers", TensorProto.DOUBLE, ["n", 2])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", columns])],
        [helper.make_tensor("weights", TensorProto.DOUBLE, weights.shape, weights.ravel().tolist())],
    )
    model: onnx.ModelProto = helper.make_model(body, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return bytes(model.SerializeToString())


def golden(score: object) -> bytes:
    return json.dumps({"event": {"order": "g", "amount": 0.0, "weight": 0.0}, "score": score}).encode()


def proved(toml: str, last: str, score: object, columns: int = 3) -> Artifact:
    files = {GRAPH: graph(last, columns), CONTRACT: toml.encode(), GOLDEN: golden(score)}
    task = parse_contract(toml.encode(), "contract").model.task
    manifest = small_model.manifest("v1", files).model_copy(update={"task": task})
    return prove(manifest, files, "someone", lambda name: name)


def answers(artifact: Artifact, *rows: tuple[float, float]) -> list[Answer]:
    messages = [
        json.dumps({"order": number, "amount": amount, "weight": weight}).encode()
        for number, (amount, weight) in enumerate(rows)
    ]
    outcomes = score_messages(artifact, messages, NOW)
    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    return [outcome for outcome in outcomes if isinstance(outcome, Answer)]


def test_a_class_of_many_is_answered_with_the_likeliest_and_the_probability_of_each() -> None:
    artifact = proved(CLASSES, "Softmax", [1 / 3, 1 / 3, 1 / 3])
    card, third = answers(artifact, (4.0, 1.0), (-1.0, -1.0))
    assert card.label == "card"
    assert card.decision == "sure"
    assert third.label == "3"
    assert third.decision == "unsure"
    assert isinstance(card.scores, dict)
    assert list(card.scores) == ["card", "cash", "3"]
    assert sum(card.scores.values()) == pytest.approx(1, abs=1e-6)
    assert card.score == card.scores["card"]
    assert card.labels is msgspec.UNSET


def test_labels_that_reach_the_threshold_are_named_and_all_have_their_score() -> None:
    artifact = proved(LABELS, "Sigmoid", [0.5, 0.5, 0.5])
    both, none = answers(artifact, (1.0, 2.0), (0.8, -3.0))
    assert both.labels == ("late", "lost")
    assert both.decision == "sure"
    assert none.labels == ()
    assert none.decision == "unsure"
    assert isinstance(both.scores, dict)
    assert both.score == both.scores["lost"] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)
    assert both.label is msgspec.UNSET


def test_an_answer_without_several_scores_says_nothing_of_them(small_artifact: Artifact) -> None:
    outcome = score_messages(small_artifact, [small_model.message()], NOW)[0]
    assert set(json.loads(msgspec.json.encode(outcome))) == {
        "event_id",
        "score",
        "decision",
        "model",
        "version",
        "scored_at",
    }


def test_several_scores_are_the_same_alone_and_in_a_batch() -> None:
    artifact = proved(CLASSES, "Softmax", [1 / 3, 1 / 3, 1 / 3])
    rows = [(float(a), float(b)) for a, b in np.random.default_rng(0).normal(size=(50, 2))]
    alone = [replace_id(answers(artifact, row)[0], number) for number, row in enumerate(rows)]
    assert alone == answers(artifact, *rows)


def replace_id(answer: Answer, event_id: int) -> Answer:
    return msgspec.structs.replace(answer, event_id=event_id)


@pytest.mark.parametrize(
    ("score", "columns", "error", "said"),
    [
        ([1 / 3, 1 / 3, 0.5], 3, GoldenMismatch, "must score 0.500000"),
        ([1 / 3, 1 / 3], 3, GraphInvalid, "golden event 1 names 2 scores, the contract 3"),
        (1 / 3, 3, GraphInvalid, "golden event 1 names 1 scores, the contract 3"),
        ([0.25] * 4, 4, GraphInvalid, r"answer \[\('score', 'tensor\(float\)', 3\)\]"),
    ],
)
def test_a_version_whose_scores_do_not_fit_its_contract_is_refused(
    score: object, columns: int, error: type[ArtifactRefused], said: str
) -> None:
    with pytest.raises(error, match=said):
        proved(CLASSES, "Softmax", score, columns)


def test_a_graph_with_columns_is_refused_where_an_event_has_one_score() -> None:
    one = TOML.format(task="regression", label='field = "minutes"')
    with pytest.raises(GraphInvalid, match=r"answer \[\('score', 'tensor\(float\)', None\)\]"):
        proved(one, "Softmax", 0.5)


def _contract(task: str, label: str, more: str = "") -> Contract:
    return parse_contract((TOML.format(task=task, label=label) + more).encode(), "contract.toml")


def test_the_contract_names_the_columns_of_the_score_and_of_the_truth() -> None:
    classes, labels = (parse_contract(toml.encode(), "contract.toml") for toml in (CLASSES, LABELS))
    assert (classes.outputs, classes.label_fields) == (("card", "cash", "3"), ("kind",))
    assert (labels.outputs, labels.label_fields) == (("late", "lost", "torn"), ("late", "lost", "torn"))
    number = _contract("regression", 'field = "minutes"\nmin = 0\nunit = "min"')
    assert (number.outputs, number.label_fields) == ((), ("minutes",))


def test_golden_scores_may_differ_by_more_than_a_half_only_where_they_are_no_probabilities() -> None:
    document = json.loads(small_model.manifest("v1", small_model.files()).to_bytes())
    document["golden"]["tolerance"] = 2.0
    for read in (parse_manifest, parse_served_manifest):
        with pytest.raises(ManifestInvalid, match=r"expected less than 0\.5, got 2"):
            read(json.dumps(document).encode(), "key", model="small", version="v1")
    document["task"] = "regression"
    for read in (parse_manifest, parse_served_manifest):
        assert read(json.dumps(document).encode(), "key", model="small", version="v1").golden.tolerance == 2.0


@given(
    st.datetimes(
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))])
    )
)
def test_a_time_is_told_in_utc_to_the_millisecond_that_has_passed(moment: datetime) -> None:
    assume(datetime(2, 1, 1, tzinfo=UTC) < moment < datetime(9998, 1, 1, tzinfo=UTC))
    in_utc = moment.astimezone(UTC)
    expected = in_utc.replace(tzinfo=None).isoformat(timespec="milliseconds")
    assert timestamp(moment) == f"{expected}Z"
