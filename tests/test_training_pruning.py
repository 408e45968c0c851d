"""Pruning leaves the best members and the units that matter, in a network that is a smaller one and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import orders  # noqa: E402
from eventscore_training import train  # noqa: E402
from eventscore_training.config import FitConfig, NetworkConfig, TrainingConfig, parse_training_config  # noqa: E402
from eventscore_training.config_steps import PruneConfig  # noqa: E402
from eventscore_training.encoded import EncodedPart  # noqa: E402
from eventscore_training.encoding import learn_encoding  # noqa: E402
from eventscore_training.errors import ConfigInvalid  # noqa: E402
from eventscore_training.evaluate import log_loss  # noqa: E402
from eventscore_training.export import build_graph, with_logit  # noqa: E402
from eventscore_training.fit import fit, predict_logits  # noqa: E402
from eventscore_training.inference import run_graph  # noqa: E402
from eventscore_training.learn import check_steps  # noqa: E402
from eventscore_training.network import Network, build_network  # noqa: E402
from eventscore_training.prune import choose_members, keep_members, keep_units, member_logits, prune  # noqa: E402

pytestmark = pytest.mark.training

CONTRACT = orders.contract()
TABLE = orders.table(rows=1500)
SMALL = {"widths": (24, 16), "embedding_width": 3, "min_count": 10, "dropout": 0.1}
ENCODING = learn_encoding(TABLE, CONTRACT, NetworkConfig.model_validate(SMALL))
PART = EncodedPart(*ENCODING.encode(TABLE.columns, CONTRACT), TABLE.label)
SHAPES = [
    {"kind": kind, "norm": norm, **own}
    for kind, own in (("mlp", {}), ("tabm", {"members": 6}), ("tabm", {"members": 6, "adapt_inputs": False}))
    for norm in ("none", "batch", "layer")
]


def trained(**shape: Any) -> Network:
    torch.manual_seed(0)
    network = build_network(ENCODING, PART.numbers, NetworkConfig.model_validate(SMALL | shape))
    fit(network, PART, PART, FitConfig(epochs=3, batch_size=64, learning_rate=5e-3), seed=0)
    return network


def loss_of(network: Network) -> float:
    return log_loss(PART.label, 1 / (1 + np.exp(-predict_logits(network, PART).astype(np.float64))))


def test_members_are_chosen_for_what_they_are_together() -> None:
    label = np.array([1, 0, 1, 0], np.int8)
    good, other, noise = [2, -2, 1, -1], [1, -1, 2, -2], [-3, 3, -3, 3]
    logits = np.array([noise, good, noise, other], np.float32).T
    assert choose_members(logits, label, 2) == (1, 3)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape.values())))
def test_kept_members_answer_what_they_answered_before(shape: dict[str, Any]) -> None:
    if shape["kind"] != "tabm":
        pytest.skip("no members")
    network = trained(**shape)
    before = member_logits(network, PART)
    keep_members(network, (1, 4, 5))
    np.testing.assert_allclose(member_logits(network, PART), before[:, [1, 4, 5]], atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape.values())))
def test_units_that_send_nothing_on_go_first_and_cost_nothing(shape: dict[str, Any]) -> None:
    if shape["norm"] == "layer":
        pytest.skip("a layer norm looks at all units")
    network = trained(**shape)
    with torch.no_grad():
        network.hidden[1].weight[:, ::2] = 0
        network.head[:, 1::2] = 0
    before = predict_logits(network, PART)
    keep_units(network.eval(), PART, 0.5)
    assert [len(layer.weight) for layer in network.hidden] == [12, 8]
    np.testing.assert_allclose(predict_logits(network, PART), before, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(map(str, shape.values())))
def test_a_pruned_network_is_exported_as_any_other(shape: dict[str, Any]) -> None:
    members = 3 if shape["kind"] == "tabm" else None
    network = trained(**shape)
    pruned = prune(network, PART, PART, PruneConfig(members=members, units=0.75), lambda _: (1, 2.0))
    assert pruned.after.members == (3 if members else 0)
    assert pruned.after.widths == (18, 12)
    assert pruned.before.widths == (24, 16)
    assert pruned.before.log_loss == loss_of(network), "the network itself stays as it was"
    graph = with_logit(build_graph(CONTRACT, ENCODING, pruned.network.weights()))
    expected = predict_logits(pruned.network, PART)
    np.testing.assert_allclose(run_graph(graph, TABLE.columns, CONTRACT), expected, rtol=1e-4, atol=1e-4)


def test_the_best_members_of_many_lose_less_than_the_first_ones() -> None:
    network = trained(kind="tabm", members=6)
    with torch.no_grad():
        network.head[:3] += torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    chosen = prune(network, PART, PART, PruneConfig(members=2), lambda _: (1, 2.0))
    assert set(chosen.kept) <= {3, 4, 5}
    first = trained(kind="tabm", members=6)
    first.load_state_dict(network.state_dict())
    keep_members(first, (0, 1))
    assert chosen.after.log_loss < loss_of(first)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"prune": {}}, "expected members or units below 1"),
        ({"prune": {"members": 4}}, r"prune\.members belongs to network\.kind = 'tabm', and that is 'mlp'"),
        (
            {"network": {"kind": "tabm"}, "prune": {"members": 8}},
            r"expected fewer than network\.members, which is 8",
        ),
        ({"prune": {"unit": 0.5}}, r"prune\.unit: unknown key \(known here: members, units\)"),
    ],
)
def test_what_cannot_be_pruned_is_told(sections: dict[str, Any], said: str) -> None:
    tables = {"contract": "c", "train": "a", "validation": "b", "test": "c"}
    with pytest.raises(ConfigInvalid, match=said):
        parse_training_config({**tables, **sections}, "training.toml")


def test_a_step_for_binary_models_refuses_another_task() -> None:
    config = TrainingConfig.model_validate(
        {"contract": "c", "train": "a", "validation": "b", "test": "c", "prune": {"units": 0.5}, "distill": {}}
    )
    check_steps("binary", config)
    with pytest.raises(ConfigInvalid, match=r"(?s)distill: expected .* 'binary', got 'regression'.*prune: expected"):
        check_steps("regression", config)


def test_a_job_prunes_and_reports_what_it_cost_and_gained(tmp_path: Any) -> None:
    network = {"kind": "tabm", "members": 4, "widths": [16, 8], "min_count": 10}
    overrides = {"network": network, "prune": {"members": 2, "units": 0.5}}
    version = train(orders.config(tmp_path, overrides))
    told = version.report.pruning
    assert len(told["kept_members"]) == 2
    assert (told["before"]["widths"], told["after"]["widths"]) == ((16, 8), (8, 4))
    assert told["after"]["graph_bytes"] < told["before"]["graph_bytes"]
    assert "What pruning costs" in (version.folder / "report.html").read_text("utf-8")
