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


def of_task(task: str, label: str, gates: str = "") -> str:
    """The contract of another task, with another label and gates."""
    toml = small_model.CONTRACT_TOML.replace('task = "binary"', f'task = "{task}"')
    label_section = f"[label]\n{label}\n" if label else ""
    return toml.replace('[label]\nfield = "fraud"\n', label_section) + (f"\n[gates]\n{gates}\n" if gates else "")


@pytest.mark.parametrize(
    ("task", "label", "said"),
    [
        ("multiclass", 'field = "kind"', "label.classes: missing: a multiclass model needs it"),
        ("multiclass", 'classes = ["a", "b"]', "label.field: missing: a multiclass model needs it"),
        ("multiclass", 'field = "kind"\nclasses = ["a"]', "label.classes: expected at least 2"),
        ("multiclass", 'field = "kind"\nclasses = ["a", "a"]', "label: classes names 'a' more than once"),
        ("multiclass", 'field = "kind"\nclasses = [1, "1"]', "label: classes names '1' more than once"),
        (
            "multiclass",
            'field = "kind"\nclasses = [true, false]',
            "label.classes: expected strings or integers; got True",
        ),
        (
            "multiclass",
            'field = "kind"\nclasses = ["a", "b"]\npositive = 1',
            "label.positive belongs to binary or multilabel",
        ),
        (
            "binary",
            'field = "kind"\nclasses = ["a", "b"]',
            "label.classes belongs to multiclass models, and this one is binary",
        ),
        ("binary", "positive = 1", "label.field: missing: a binary model needs it"),
        ("multilabel", 'fields = ["late"]', "label.fields: expected at least 2"),
        ("multilabel", 'fields = ["late", "late"]', "label: fields names 'late' more than once"),
        ("multilabel", 'fields = ["late", "amount"]', "field 'amount' is the label and a feature"),
        ("multilabel", 'field = "late"', "label.field belongs to binary or multiclass or regression or anomaly"),
        ("multilabel", 'fields = ["late", "lost"]\nthreshold = 1.0', "label.threshold: expected less than 1"),
        ("regression", 'field = "minutes"\nmin = 3\nmax = 3', "label: the bounds cross: expected min < max"),
        ("regression", 'field = "minutes"\nthreshold = 0.5', "label.threshold belongs to multilabel models"),
        ("anomaly", "positive = 1", "label.field: missing: an anomaly model needs it"),
    ],
)
def test_a_label_that_does_not_fit_the_task_is_told(task: str, label: str, said: str) -> None:
    assert said in problems(of_task(task, label))


@pytest.mark.parametrize(
    ("task", "label", "gates", "said"),
    [
        ("regression", 'field = "minutes"', "min_roc_auc = 0.7", "gates.min_roc_auc is no gate of a regression model"),
        (
            "binary",
            'field = "fraud"',
            "max_rmse = 3.0",
            "gates.max_rmse is no gate of a binary model (known here: live_tol",
        ),
        (
            "anomaly",
            "",
            "min_roc_auc = 0.7",
            "gates.min_roc_auc compares scores with the truth, and the contract has no",
        ),
        ("anomaly", "", "not_worse_than_live = true", "gates.not_worse_than_live compares scores with the truth"),
        ("anomaly", 'field = "fraud"', "max_log_loss = 0.5", "gates.max_log_loss is no gate of an anomaly model"),
        (
            "binary",
            'field = "fraud"',
            "max_int8_row_difference = 1.5",
            "expected at most 1, a score of a binary model lies",
        ),
        (
            "regression",
            'field = "minutes"',
            '[gates.slices]\nfields = ["channel"]\nmin_roc_auc = 0.5',
            "gates.slices.min_roc_auc is no gate of a regression model (known here: max_mae, max_rmse)",
        ),
        (
            "multiclass",
            'field = "kind"\nclasses = ["a", "b"]',
            '[gates.groups]\nfield = "country"\ndecision = "decline"\nmax_true_positive_rate_difference = 0.1',
            "gates.groups.max_true_positive_rate_difference tells positives from negatives",
        ),
    ],
)
def test_a_gate_that_does_not_fit_the_task_is_told(task: str, label: str, gates: str, said: str) -> None:
    assert said in problems(of_task(task, label, gates))


@pytest.mark.parametrize(
    ("task", "label", "gates"),
    [
        (
            "multiclass",
            'field = "kind"\nclasses = [1, 2, 3]',
            "min_accuracy = 0.7\nmin_macro_f1 = 0.5\nmax_log_loss = 1.0",
        ),
        ("multilabel", 'fields = ["late", "lost"]', "min_macro_f1 = 0.5\nmin_roc_auc = 0.7"),
        (
            "regression",
            'field = "minutes"\nunit = "min"',
            "max_rmse = 10.0\nmin_r2 = 0.2\nmax_int8_row_difference = 2.0",
        ),
        ("anomaly", 'field = "fraud"', "min_roc_auc = 0.7\nmax_int8_auc_loss = 0.01\nnot_worse_than_live = true"),
        ("anomaly", "", "max_size_bytes = 100000\nmax_int8_row_difference = 0.1"),
    ],
)
def test_each_task_has_its_label_and_its_gates(task: str, label: str, gates: str) -> None:
    assert parse_contract(of_task(task, label, gates).encode(), "contract.toml").model.task == task


def test_a_cost_of_a_positive_event_belongs_to_a_model_that_tells_positives() -> None:
    toml = of_task("regression", 'field = "minutes"').replace("from = 0.9", "from = 0.9\ncost_if_positive = 3.0")
    assert "decisions: 'decline' has a cost, which belongs to a model whose label is positive or negative" in problems(
        toml
    )
