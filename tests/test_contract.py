"""The contract: one strict TOML file, and one sentence for every mistake in it."""

from __future__ import annotations

from pathlib import Path

import pytest

import small_model
from eventscore.contract import load_contract, parse_contract
from eventscore.errors import ContractInvalid


def problems(toml: str) -> str:
    with pytest.raises(ContractInvalid) as refused:
        parse_contract(toml.encode(), "contract.toml")
    return str(refused.value)


def changed(old: str, new: str) -> str:
    assert old in small_model.CONTRACT_TOML
    return problems(small_model.CONTRACT_TOML.replace(old, new, 1))


def test_a_contract_names_the_columns_of_the_graph_in_the_order_of_the_file() -> None:
    contract = small_model.contract()
    assert contract.numbers == ("amount", "balance", "is_new")
    assert contract.categories == ("country", "channel")


def test_a_contract_cannot_be_changed_once_read() -> None:
    with pytest.raises(Exception, match="frozen"):
        small_model.contract().event.id = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max_bytes", "max_byte", "event.max_byte: unknown key (did you mean 'max_bytes'?)"),
        ("[label]", "[labels]", "labels: unknown key (did you mean 'label'?)"),
        ('type = "number"', 'type = "numbr"', "features.amount.type: unknown type 'numbr' (did you mean 'number'?)"),
        ('type = "number"\n', "", "features.amount.type: missing; expected one of number, category, boolean"),
        ("max = 1000", "max = -1", "features.amount: the bounds cross: expected min < max, got min = 0 and max = -1"),
        ("max = 1000", 'max = "1000"', "features.amount.max: expected a valid number; got '1000'"),
        ("max = 1000", "max = inf", "features.amount.max: expected a finite number; got inf"),
        ('id = "order"', 'id = "order"\nid = "other"', "expected TOML: Cannot overwrite a value"),
        ('id = "order"', 'id = ["order", "other"]', "event.id: expected a valid string; got ['order', 'other']"),
        ('id = "order"\n', "", "event.id: missing: the field that identifies an event"),
        ('id = "order"', 'id = "amount"', "field 'amount' is the event's id and a feature"),
        ('time = "at"', 'time = "order"', "field 'order' is named as the event's id and as its time"),
        ('time = "at"', 'time = "amount"', "field 'amount' is the event's time and a feature"),
        ('field = "fraud"', 'field = "amount"', "field 'amount' is the label and a feature"),
        ('field = "fraud"', 'field = "order"', "field 'order' is the label and belongs to [event] too"),
        ('rollout_key = "customer"', 'rollout_key = "at"', "the event's time and as its rollout key"),
        ('task = "binary"', 'task = "ranking"', "model.task: expected 'binary', 'multiclass'"),
        ('name = "small"', 'name = "Small Model"', "model.name: expected a name that matches"),
        ('values = ["web", "shop"]\n', "", 'unseen = "refuse" needs the list of values'),
        ('["web", "shop"]', '["web", "web"]', "features.channel: values names 'web' more than once"),
        ('["web", "shop"]', "[]", "features.channel.values: expected at least 1 entry; got ()"),
        ('missing = "own"', 'missing = "median"', "features.country.missing: expected 'refuse' or 'own'; got 'median'"),
        ('missing = "median"', 'missing = "own"', "features.balance.missing: expected 'refuse' or 'median'; got 'own'"),
        ("[features.amount]", '[features."the amount"]', "features.the amount: expected a name that matches"),
        ("from = 0.9", "from = 0.0", "decisions: 'from' must ascend, got 0, 0"),
        ("from = 0.9", "from = 1.5", "decisions: the first must start at 0 and the last below 1"),
        ("from = 0.0", "from = 0.1", "decisions: the first must start at 0"),
        ("from = 0.9", "form = 0.9", "decisions[2].form: unknown key (did you mean 'from'?)"),
        ('name = "decline"', 'name = "accept"', "decisions: each needs a name of its own"),
        ("format = 1", "format = 2", "format: expected 1; got 2"),
        ("format = 1", "format = true", "format: expected 1; got True"),
        ('["web", "shop"]', "[1, 2]", "features.channel.values[2]: expected a valid string; got 2"),
        (
            'field = "fraud"',
            'field = "fraud"\npositive = 1.5',
            "label.positive: expected true or false, an integer or a string; got 1.5",
        ),
        ("[event]\n", "[[event]]\n", "event: expected a table; got ["),
        ("from = 0.0", "start = 0.0", "decisions[1].start: unknown key"),
        ("format = 1\n", "", 'format: missing: the contract\'s format, "format = 1"'),
        ("max_bytes = 2000", "max_bytes = true", "event.max_bytes: expected a valid integer; got True"),
        ("[label]", "[gates]\nmin_roc = 0.9\n[label]", "gates.min_roc: unknown key (did you mean 'min_roc_auc'?)"),
    ],
)
def test_each_mistake_has_its_sentence(old: str, new: str, said: str) -> None:
    assert said in changed(old, new)


def test_a_byte_order_mark_does_no_harm() -> None:
    assert parse_contract(b"\xef\xbb\xbf" + small_model.CONTRACT_TOML.encode(), "contract.toml").model.name == "small"


def test_all_mistakes_are_told_at_once() -> None:
    text = problems("format = 1\n[model]\nname = 'x'\ntask = 'y'\n[event]\nidd = 'a'\n")
    assert text.count("\n  - ") == 4
    for part in ("contract.toml", "model.task", "event.id: missing", "event.idd: unknown key", "features: missing"):
        assert part in text


def test_a_model_that_learns_from_a_label_must_name_it() -> None:
    toml = small_model.CONTRACT_TOML.replace('[label]\nfield = "fraud"\n', "")
    assert "label: missing: a binary model learns from the column that [label] names" in problems(toml)
    assert parse_contract(toml.replace('"binary"', '"anomaly"').encode(), "contract.toml").label is None


def test_bytes_that_are_no_toml_are_refused_with_the_place() -> None:
    assert "at line 1" in problems("format = = 1")
    with pytest.raises(ContractInvalid, match="expected TOML"):
        parse_contract(b"\xff\xfe", "contract.toml")


def test_a_contract_that_is_not_there_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(ContractInvalid, match="nowhere.toml"):
        load_contract(tmp_path / "nowhere.toml")
