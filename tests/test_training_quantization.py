"""int8 recipes: the cheapest that keeps the gates is shipped, and none of them lets a score depend on its neighbours."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

import orders  # noqa: E402
from eventscore.columns import Columns  # noqa: E402
from eventscore.session import ScoringSession  # noqa: E402
from eventscore_training import train  # noqa: E402
from eventscore_training.config import NetworkConfig, QuantizationConfig  # noqa: E402
from eventscore_training.encoding import learn_encoding  # noqa: E402
from eventscore_training.export import build_graph  # noqa: E402
from eventscore_training.judges import judge_of  # noqa: E402
from eventscore_training.network import Network  # noqa: E402
from eventscore_training.quantization_search import Candidate, _choose, search_quantization  # noqa: E402
from eventscore_training.quantize import Recipe, layers_of, quantize  # noqa: E402
from eventscore_training.table import graph_inputs  # noqa: E402

pytestmark = pytest.mark.training

CONTRACT = orders.contract()
JUDGE = judge_of(CONTRACT)
TRAIN = orders.table("train")
VALIDATION = orders.table("validation", seed=1)
RECIPES = [
    Recipe(weights, ranges)  # type: ignore[arg-type]
    for weights in ("per-channel", "per-tensor")
    for ranges in ("min-max", "percentile", "entropy")
] + [Recipe(float_layers=("layer1",))]


def float_graph() -> onnx.ModelProto:
    torch.manual_seed(0)
    config = NetworkConfig(embedding_width=3, min_count=10, widths=(16, 8), dropout=0.0)
    encoding = learn_encoding(TRAIN, CONTRACT, config)
    network = Network(len(encoding.means) + len(encoding.flagged), encoding.vocabularies, config)
    return build_graph(CONTRACT, encoding, network.weights())


FP32 = float_graph()


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_no_recipe_lets_an_outlier_move_the_event_beside_it(recipe: Recipe) -> None:
    graph = quantize(FP32, CONTRACT, TRAIN.columns, 0, recipe)
    assert not {"DynamicQuantizeLinear", "MatMulInteger"} & {node.op_type for node in graph.graph.node}
    session = ScoringSession(graph.SerializeToString(), CONTRACT, "orders")
    alone = dict(graph_inputs(TRAIN.columns.head(1), CONTRACT))
    beside: Columns = dict(graph_inputs(TRAIN.columns.head(2), CONTRACT))
    expected = session.score(alone)[0]
    for outlier in ([10_000, 3.4e38, 120, 1], [0, -3.4e38, 0, 0]):
        beside["numbers"][1] = outlier
        assert session.score(beside)[0] == expected
    inputs: Columns = dict(graph_inputs(TRAIN.columns.head(300), CONTRACT))
    whole = session.score(inputs)
    for size in (1, 7, 100):
        parts = [
            session.score({name: values[at : at + size] for name, values in inputs.items()})
            for at in range(0, 300, size)
        ]
        assert (np.concatenate(parts) == whole).all()


def test_every_recipe_is_tried_and_told_beside_float32() -> None:
    found = search_quantization(FP32, CONTRACT, TRAIN, VALIDATION, QuantizationConfig(), 0, JUDGE)
    assert found.candidates[0].recipe == "float32"
    assert {each.recipe for each in found.candidates[1:]} >= {str(recipe) for recipe in RECIPES[:6]}
    assert [each.recipe for each in found.candidates if each.chosen] == [str(found.recipe)]
    for each in found.candidates[1:]:
        assert each.size_bytes > 1000
        assert 0 < each.latency_us < 1000
        assert 0 < each.mean_difference <= each.largest_difference < 0.05


def test_a_recipe_that_is_named_is_the_only_one_tried() -> None:
    config = QuantizationConfig(weights="per-tensor", ranges="percentile", float_layers=("layer2",))
    found = search_quantization(FP32, CONTRACT, TRAIN, VALIDATION, config, 0, JUDGE)
    assert found.recipe == Recipe("per-tensor", "percentile", ("layer2",))
    assert len(found.candidates) == 2


def test_a_layer_stays_in_float_where_no_whole_int8_graph_keeps_the_gate() -> None:
    gates = CONTRACT.gates.model_copy(update={"max_int8_row_difference": 1e-9})
    contract = CONTRACT.model_copy(update={"gates": gates})
    found = search_quantization(FP32, contract, TRAIN, VALIDATION, QuantizationConfig(ranges="min-max"), 0, JUDGE)
    assert [each.recipe.count("in float") for each in found.candidates[-2:]] == [1, 1]
    # Nothing keeps such a gate; the least harmful is there to be refused by name.
    assert not any(each.passed for each in found.candidates[1:])
    least = min(found.candidates[1:], key=lambda each: (each.loss, each.largest_difference))
    assert str(found.recipe) == least.recipe


def test_a_spent_budget_leaves_the_first_recipe() -> None:
    found = search_quantization(FP32, CONTRACT, TRAIN, VALIDATION, QuantizationConfig(budget_s=1e-9), 0, JUDGE)
    assert found.recipe == Recipe()
    assert len(found.candidates) == 2


def candidate(size: int, difference: float, passed: bool = True) -> Candidate:
    return Candidate("", size, 1.0, 0.0, difference, difference, passed)


def test_cheapest_first_and_among_equals_the_most_faithful() -> None:
    faithful, small, half = Recipe("per-channel"), Recipe("per-tensor"), Recipe(float_layers=("layer1",))

    def chosen(*tried: tuple[Recipe, Candidate]) -> Recipe:
        return _choose([(recipe, FP32, each) for recipe, each in tried])[0]

    assert chosen((faithful, candidate(1005, 0.1)), (small, candidate(1000, 0.2))) == faithful
    assert chosen((faithful, candidate(1100, 0.1)), (small, candidate(1000, 0.2))) == small
    assert chosen((half, candidate(900, 0.0)), (small, candidate(1000, 0.2))) == small
    assert chosen((half, candidate(3000, 0.0)), (small, candidate(1000, 0.2, passed=False))) == half


def test_layers_are_named_and_the_head_is_none_of_them() -> None:
    assert layers_of(FP32) == ("layer1", "layer2")
    kept = quantize(FP32, CONTRACT, TRAIN.columns, 0, Recipe(float_layers=("layer1",)))
    stored = {each.name for each in kept.graph.initializer}
    assert "layer1.weight" in stored
    assert "layer2.weight" not in stored


def test_the_search_makes_the_same_bytes_twice_and_tells_what_it_found(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    auto = {"quantization": {}, "fit": {"epochs": 1}}
    first, second = (train(orders.config(tmp_path_factory.mktemp("search"), auto)) for _ in range(2))
    assert (first.folder / "model.onnx").read_bytes() == (second.folder / "model.onnx").read_bytes()
    assert sum(each["chosen"] for each in first.report.quantization) == 1
    assert first.report.measured["max_int8_row_difference"] < 0.05
