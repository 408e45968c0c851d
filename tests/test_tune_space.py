"""What a search may draw: for each task and configuration only what its training job accepts, and the best comes back as a file."""

from __future__ import annotations

import random
import tomllib
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import orders
from eventscore.contract import Contract
from eventscore_training.config import TrainingConfig, parse_training_config
from eventscore_training.tasks import check_task
from eventscore_training.tune import Tuned
from eventscore_training.tune_space import AsItIs, Objective, changes_of, draw_values, objective_of, tried
from eventscore_training.tuned_text import tuned_text

pytestmark = pytest.mark.training

LABEL = '[label]\nfield = "returned"\npositive = 1\n'
SEVERAL = {LABEL: '[label]\nfields = ["returned", "gone"]\npositive = 1\n', '"binary"': '"multilabel"'}
ANOMALY = {'"binary"': '"anomaly"'}
UNKNOWN = {**ANOMALY, LABEL: ""}
CONTRACTS: dict[str, dict[str, str]] = {
    "binary": {},
    "multiclass": {LABEL: '[label]\nfield = "returned"\nclasses = [0, 1]\n', '"binary"': '"multiclass"'},
    "multilabel": SEVERAL,
    "regression": {LABEL: '[label]\nfield = "returned"\n', '"binary"': '"regression"'},
    "anomaly": ANOMALY,
    "unlabelled": UNKNOWN,
}


class Chance:
    """Draws evenly, and remembers what was offered."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.offered: dict[str, set[Any]] = {}

    def one_of(self, name: str, choices: tuple[Any, ...], own: Any) -> Any:
        self.offered.setdefault(name, set()).update({*choices, own})
        return self._random.choice(sorted({*choices, own}))

    def between(self, name: str, least: float, most: float, own: float) -> float:
        return self._random.choice([least, most, own or least])


def configuration(**changes: Any) -> TrainingConfig:
    document = {"contract": Path("c.toml"), "table": Path("t.csv"), "validation_share": 0.2, "test_share": 0.2}
    return parse_training_config({**document, **changes}, "a test")


CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ensemble": {"network": {"kind": "tabm", "members": 24, "adapt_inputs": False}},
    "bins": {"network": {"number_embedding": "piecewise-linear", "number_embedding_width": 3, "bins": 5}},
    "waves": {"network": {"number_embedding": "periodic", "frequencies": 3, "frequency_scale": 2.0}},
    "he": {"network": {"initialisation": "he"}},
    "tanh": {"network": {"activation": "tanh", "initialisation": "xavier"}},
    "pruned": {"network": {"kind": "tabm", "members": 6}, "prune": {"members": 5}},
    "taught": {"network": {"kind": "tabm", "members": 16, "widths": [128]}, "distill": {"members": 16, "widths": [64, 96]}},
    "no-decay": {"fit": {"weight_decay": 0, "embedding_weight_decay": 0}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("task", "name"),
    [
        (task, name)
        for task in CONTRACTS
        for name in CONFIGURATIONS
        # An anomaly model is an mlp.
        if task not in ("anomaly", "unlabelled") or "kind" not in CONFIGURATIONS[name].get("network", {})
    ],
)
def test_whatever_is_drawn_the_job_accepts_and_so_it_does_the_file(tmp_path: Path, task: str, name: str) -> None:
    contract, config = orders.contract(CONTRACTS[task]), configuration(**CONFIGURATIONS[name])
    objective = Objective("roc_auc", True, named=True) if task == "anomaly" else objective_of(contract, config)
    file = tmp_path / "training.toml"
    file.write_text(_written(CONFIGURATIONS[name]))
    seen: dict[str, set[Any]] = {}
    for seed in range(60):
        changes = changes_of(draw_values(Chance(seed), config, contract, objective), config, objective)
        drawn = tried(config, changes)
        check_task(contract, drawn)
        text = tuned_text(file, file.with_name("tuned.toml"), Tuned(changes, objective.name, 0.5, None, 1))
        read = parse_training_config(tomllib.loads(text), "tuned")
        assert (read.network, read.fit) == (drawn.network, drawn.fit)
        for key, value in drawn.network.model_dump().items():
            seen.setdefault(key, set()).add(value)
    assert seen["activation"] >= {"relu", "gelu", "silu"}
    assert seen["norm"] == {"none", "batch", "layer"}
    assert seen["number_embedding"] == {"none", "piecewise-linear", "periodic"}
    if contract.model.task != "anomaly" and name not in ("pruned", "taught"):
        assert seen["kind"] == {"mlp", "tabm", "wide-and-deep"}


def _written(document: dict[str, Any]) -> str:
    plain = {"contract": "c.toml", "table": "t.csv", "validation_share": 0.2, "test_share": 0.2}
    lines = [f"{key} = {_toml(value)}" for key, value in plain.items()]
    for section, values in document.items():
        lines += [f"[{section}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
    return "\n".join(lines)


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_first_draw_is_the_configuration_itself(name: str) -> None:
    config = configuration(**CONFIGURATIONS[name])
    contract = orders.contract()
    objective = objective_of(contract, config)
    same = tried(config, changes_of(draw_values(AsItIs(), config, contract, objective), config, objective))
    assert same.network == config.network
    if name == "no-decay":
        assert (same.fit.weight_decay, same.fit.embedding_weight_decay) == (1e-4, 1e-3)  # 0 has no logarithm
    else:
        assert same.fit == config.fit


@pytest.mark.parametrize(
    ("task", "fit", "name", "higher_is_better"),
    [
        ("binary", {}, "log_loss", False),
        ("binary", {"select_by": "roc_auc"}, "roc_auc", True),
        ("multiclass", {}, "log_loss", False),
        ("multiclass", {"select_by": "macro_f1"}, "macro_f1", True),
        ("multilabel", {}, "log_loss", False),
        ("regression", {}, "rmse", False),
        ("regression", {"loss": "mae"}, "mae", False),
        ("regression", {"loss": "quantile", "quantile": 0.9}, "pinball_loss", False),
        ("unlabelled", {}, "reconstruction_error", False),
    ],
)
def test_the_search_is_for_what_selects_the_weights(
    task: str, fit: dict[str, Any], name: str, higher_is_better: bool
) -> None:
    objective = objective_of(orders.contract(CONTRACTS[task]), configuration(fit=fit))
    assert objective == Objective(name, higher_is_better)
    assert objective.best([1.0, 3.0, 2.0]) == (3.0 if higher_is_better else 1.0)


def test_an_anomaly_model_that_knows_anomalies_is_searched_by_how_well_it_ranks_them(tmp_path: Path) -> None:
    text = orders.CONTRACT_TOML.replace('"binary"', '"anomaly"')
    config = orders.config(tmp_path, contract_text=text)
    contract: Contract = orders.contract(ANOMALY)
    objective = objective_of(contract, config)
    assert objective == Objective("roc_auc", True, named=True)
    changes = changes_of(draw_values(AsItIs(), config, contract, objective), config, objective)
    assert tried(config, changes).fit.select_by == "roc_auc"
    # What an event is made of changes what its reconstruction costs, so without known anomalies it stays.
    chance = Chance(0)
    draw_values(chance, config, orders.contract(UNKNOWN), Objective("reconstruction_error", False))
    assert not {"network.scaling", "network.min_count", "network.bottleneck"} & set(chance.offered)
    assert "network.dropout" in chance.offered


def test_a_contract_without_numbers_or_categories_is_not_asked_about_them() -> None:
    contract, config = orders.contract(), configuration()
    objective = objective_of(contract, config)
    numbers = {name: feature for name, feature in contract.features.items() if feature.type == "number"}
    categories = {name: feature for name, feature in contract.features.items() if feature.type == "category"}
    for features, absent in ((numbers, "network.embedding_width"), (categories, "network.scaling")):
        chance = Chance(0)
        draw_values(chance, config, contract.model_copy(update={"features": features}), objective)
        assert absent not in chance.offered
        assert "network.widths" in chance.offered
