"""Optimisers, schedules, norms and checks by name: what each does, and what is said where a pair does not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import orders  # noqa: E402
from eventscore_training.config import FitConfig, NetworkConfig, parse_training_config  # noqa: E402
from eventscore_training.encoded import EncodedPart  # noqa: E402
from eventscore_training.encoding import learn_encoding  # noqa: E402
from eventscore_training.errors import ConfigInvalid, NothingLearned, TrainingDiverged  # noqa: E402
from eventscore_training.fit import fit  # noqa: E402
from eventscore_training.layers import Linear, initialise  # noqa: E402
from eventscore_training.network import Network, build_network  # noqa: E402
from eventscore_training.optimise import new_optimizer, rate_at  # noqa: E402
from eventscore_training.sanity import check_sanity  # noqa: E402
from eventscore_training.seeds import fit_seeds  # noqa: E402
from eventscore_training.tasks import BINARY  # noqa: E402

pytestmark = pytest.mark.training

CONTRACT = orders.contract()
TABLE = orders.table(rows=600)
SMALL = {"widths": (8,), "embedding_width": 3, "min_count": 10, "dropout": 0.0}
ENCODING = learn_encoding(TABLE, CONTRACT, NetworkConfig.model_validate(SMALL))
PART = EncodedPart(*ENCODING.encode(TABLE.columns, CONTRACT), TABLE.label)


def network(**more: Any) -> Network:
    torch.manual_seed(0)
    return build_network(ENCODING, PART.numbers, NetworkConfig.model_validate(SMALL | more))


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"network": {"members": 4}}, r"network: members belongs to kind = 'tabm', and kind is 'mlp'"),
        ({"network": {"bins": 4}}, r"bins belongs to number_embedding = 'piecewise-linear'"),
        (
            {"network": {"number_embedding": "periodic", "bins": 4}},
            r"number_embedding is 'periodic': nothing would read",
        ),
        ({"network": {"initialisation": "he", "activation": "tanh"}}, r"expected 'xavier' or 'auto'"),
        ({"fit": {"momentum": 0.5}}, r"fit: momentum belongs to optimizer = 'sgd', and optimizer is 'adamw'"),
        ({"fit": {"step_factor": 0.5}}, r"step_factor belongs to schedule = 'step'"),
        ({"network": {"activation": "swish"}}, r"network\.activation: expected 'relu', 'leaky-relu', 'gelu'"),
        ({"fit": {"optimizer": "lion"}}, r"fit\.optimizer: expected 'adamw', 'adam' or 'sgd'; got 'lion'"),
    ],
)
def test_a_choice_that_does_not_exist_or_does_not_fit_is_told(section: dict[str, Any], said: str) -> None:
    tables = {"contract": "c", "train": "a", "validation": "b", "test": "c"}
    with pytest.raises(ConfigInvalid, match=said):
        parse_training_config({**tables, **section}, "training.toml")


def test_a_configuration_survives_being_written_down() -> None:
    config = NetworkConfig(kind="tabm", members=4, number_embedding="periodic", frequencies=5)
    assert NetworkConfig.model_validate(config.model_dump()) == config
    assert FitConfig.model_validate(FitConfig().model_dump()) == FitConfig()


def test_the_learning_rate_warms_up_and_then_goes_as_told() -> None:
    cosine = rate_at(FitConfig(epochs=10, warm_up=0.1), 100)
    assert [cosine(0) < 0.02, cosine(99) > 0.98, abs(cosine(550) - 0.5) < 0.01, cosine(999) < 0.001] == [True] * 4
    assert all(cosine(step) >= cosine(step + 1) for step in range(100, 999))
    constant = rate_at(FitConfig(epochs=10, warm_up=0, schedule="constant"), 100)
    assert {constant(step) for step in (0, 500, 999)} == {1.0}
    step = rate_at(FitConfig(epochs=6, warm_up=0, schedule="step", step_epochs=2, step_factor=0.5), 100)
    assert [step(each) for each in (0, 199, 200, 399, 400)] == [1, 1, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(
    ("optimizer", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
@pytest.mark.parametrize("shape", ["mlp", "wide-and-deep", "tabm"])
def test_every_parameter_is_optimised_once_and_only_matrices_decay(optimizer: str, kind: type, shape: str) -> None:
    net = network(kind=shape, number_embedding="periodic", norm="layer")
    made = new_optimizer(net, FitConfig.model_validate({"optimizer": optimizer}))
    assert type(made) is kind
    taken = [id(parameter) for group in made.param_groups for parameter in group["params"]]
    assert sorted(taken) == sorted(id(parameter) for parameter in net.parameters())
    still = next(group for group in made.param_groups if group["weight_decay"] == 0)["params"]
    assert any(parameter is net.hidden[0].bias for parameter in still)
    assert not any(parameter is net.hidden[0].weight for parameter in still)


@pytest.mark.parametrize("kind", ["mlp", "wide-and-deep", "tabm"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_every_kind_learns_and_passes_the_sanity_check(kind: str, norm: str) -> None:
    net = network(kind=kind, norm=norm, widths=(32,), number_embedding="piecewise-linear")
    config = FitConfig(epochs=5, batch_size=64, learning_rate=0.01, evaluations_per_epoch=1)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    check_sanity(net, PART, config, seed=0)
    assert all((old == new).all() for old, new in zip(before, net.parameters(), strict=True))
    history = fit(net, PART, PART, config, seed=0)
    assert history.evaluations[history.best].figures["roc_auc"] > 0.75


def test_a_network_that_cannot_learn_by_heart_stops_the_job() -> None:
    with pytest.raises(
        NothingLearned, match=r"expected the network to learn 128 rows by heart.*Look at the learning rate"
    ):
        check_sanity(network(), PART, FitConfig(learning_rate=1e-7), seed=0)
    random = np.random.default_rng(0)
    same = EncodedPart(np.zeros_like(PART.numbers), np.ones_like(PART.rows), random.permutation(PART.label))
    assert check_sanity(network(), same, FitConfig(), seed=0) == 0.0


def test_a_noisy_table_of_few_features_is_no_broken_network() -> None:
    """Labels that are drawn by lot, over one number: hard to learn by heart, and no reason to stop a newcomer."""
    random = np.random.default_rng(3)
    noisy = replace(
        PART,
        numbers=np.repeat(random.normal(size=(2000, 1)).astype(np.float32), PART.numbers.shape[1], axis=1),
        rows=np.zeros((2000, PART.rows.shape[1]), PART.rows.dtype),
        label=random.integers(0, 2, 2000).astype(np.int8),
    )
    check_sanity(network(), noisy, FitConfig(), seed=0)


def test_a_number_that_is_not_finite_is_traced_to_its_layer_and_row() -> None:
    spoiled = EncodedPart(PART.numbers.copy(), PART.rows, PART.label)
    spoiled.numbers[3, 0] = np.nan
    with pytest.raises(TrainingDiverged, match=r"epoch 1, step 1: the encoded numbers of rows \d+ of the batch"):
        fit(network(), spoiled, PART, FitConfig(batch_size=1000), seed=0)
    net = network()
    with torch.no_grad():
        net.hidden[0].weight.fill_(3e38)
    with pytest.raises(TrainingDiverged, match=r"layer 'hidden\.0' answers no finite number for rows"):
        fit(net, PART, PART, FitConfig(batch_size=1000), seed=0)
    with torch.no_grad():
        net.hidden[0].weight.fill_(float("inf"))
    with pytest.raises(TrainingDiverged, match=r"the parameters 'hidden\.0\.weight' are not finite"):
        fit(net, PART, PART, FitConfig(batch_size=1000), seed=0)


def test_of_several_seeds_the_best_on_the_validation_part_is_kept() -> None:
    config = FitConfig(seeds=3, epochs=1, batch_size=64, evaluations_per_epoch=1, sanity=False)
    best = fit_seeds(
        lambda: build_network(ENCODING, PART.numbers, NetworkConfig.model_validate(SMALL)), PART, PART, config, seed=5
    )
    assert [result.seed for result in best.results] == [5, 6, 7]
    assert best.seed == min(best.results, key=lambda result: result.figures["log_loss"]).seed
    reached = best.history.evaluations[best.history.best].figures["log_loss"]
    assert reached == min(result.figures["log_loss"] for result in best.results)


def test_the_loss_of_an_ensemble_is_the_mean_of_its_members() -> None:
    answers, target = torch.randn(20, 3, 1), (torch.rand(20, 1) < 0.5).float()
    inputs = target, torch.zeros(20, 0), torch.zeros(20, 0)
    alone = [BINARY.loss(answers[:, [member]], *inputs) for member in range(3)]
    torch.testing.assert_close(BINARY.loss(answers, *inputs), torch.stack(alone).mean())


def test_balanced_classes_weigh_the_same() -> None:
    config = FitConfig(epochs=4, batch_size=64, learning_rate=0.01, class_weights="balanced")
    rare = np.flatnonzero((PART.label == 0) | (np.arange(len(PART.label)) % 5 == 0))
    few = EncodedPart(PART.numbers[rare], PART.rows[rare], PART.label[rare])
    net = network()
    fit(net, few, few, config, seed=0)
    with torch.no_grad():
        answered = torch.sigmoid(net(torch.from_numpy(few.numbers), torch.from_numpy(few.rows))).mean()
    assert answered > few.label.mean() + 0.1


@pytest.mark.parametrize(("activation", "deviation"), [("relu", (2 / 400) ** 0.5), ("tanh", 5 / 3 * (2 / 600) ** 0.5)])
def test_weights_start_as_the_activation_wants_them(activation: str, deviation: float) -> None:
    layer = Linear(400, 200)
    initialise(layer, activation, "auto")
    assert float(layer.weight.detach().std()) == pytest.approx(deviation, rel=0.03)
