"""The graph is the network: the same logits from raw fields, for gaps and unseen values too, alone and in any batch."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import orders  # noqa: E402
from eventscore.columns import Columns  # noqa: E402
from eventscore.session import ScoringSession  # noqa: E402
from eventscore_training.calibrate import Calibration, fit_calibration  # noqa: E402
from eventscore_training.config import NetworkConfig  # noqa: E402
from eventscore_training.encoded import EncodedPart  # noqa: E402
from eventscore_training.encoding import MISSING_ROW, SHARED_ROW, Encoding, learn_encoding  # noqa: E402
from eventscore_training.evaluate import log_loss  # noqa: E402
from eventscore_training.export import build_graph, fold_scores, with_logit  # noqa: E402
from eventscore_training.fit import predict_logits  # noqa: E402
from eventscore_training.inference import run_graph  # noqa: E402
from eventscore_training.network import Network, drop_values  # noqa: E402
from eventscore_training.quantize import quantize  # noqa: E402
from eventscore_training.table import graph_inputs  # noqa: E402
from eventscore_training.tasks.binary import BinaryMap  # noqa: E402

pytestmark = pytest.mark.training

CONTRACT = orders.contract()
TRAIN = orders.table("train")
CONFIG = NetworkConfig(widths=(16, 8), embedding_width=3, min_count=10)
ENCODING = learn_encoding(TRAIN, CONTRACT, CONFIG)


def new_network(encoding: Encoding = ENCODING, seed: int = 0) -> Network:
    """An untrained network whose embeddings matter."""
    torch.manual_seed(seed)
    inputs = len(encoding.means) + len(encoding.flagged)
    network = Network(inputs, encoding.vocabularies, CONFIG)
    with torch.no_grad():
        for embedding in network.embeddings:
            embedding.weight.mul_(10)
    return network


NETWORK = new_network()
FP32 = build_graph(CONTRACT, ENCODING, NETWORK.weights())
INT8 = quantize(FP32, CONTRACT, TRAIN.columns, seed=0)

rows = st.lists(
    st.fixed_dictionaries(
        {
            "amount": st.floats(0, 10_000),
            "weight": st.floats(-3.4e38, 3.4e38),
            "age": st.none() | st.floats(0, 120),
            "gift": st.none() | st.sampled_from([0.0, 1.0]),
            "country": st.none() | st.sampled_from(["FR", "DE", "SE", "X1", "Ž"]) | st.text(min_size=1, max_size=12),
            "channel": st.sampled_from(["web", "shop"]),
        }
    ),
    min_size=1,
    max_size=20,
)


def columns(drawn: list[dict[str, object]]) -> pl.DataFrame:
    types = {name: pl.String if name in CONTRACT.categories else pl.Float64 for name in CONTRACT.features}
    return pl.DataFrame(drawn, schema=types)


def logits_of(network: Network, table: pl.DataFrame) -> np.ndarray:
    numbers, encoded = ENCODING.encode(table, CONTRACT)
    return predict_logits(network, EncodedPart(numbers, encoded, np.zeros(table.height, np.int8)))


@settings(max_examples=60, deadline=None)
@given(rows)
def test_the_graph_answers_what_the_network_answers(drawn: list[dict[str, object]]) -> None:
    table = columns(drawn)
    answered = run_graph(with_logit(FP32), table, CONTRACT)
    np.testing.assert_allclose(answered, logits_of(NETWORK, table), rtol=1e-4, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_scores_are_probabilities_whatever_comes(drawn: list[dict[str, object]]) -> None:
    for graph in (FP32, INT8):
        scores = run_graph(graph.SerializeToString(), columns(drawn), CONTRACT)
        assert np.isfinite(scores).all()
        assert ((scores >= 0) & (scores <= 1)).all()


def test_gaps_and_unseen_values_have_rows_of_their_own() -> None:
    vocabulary = ENCODING.vocabularies[0]
    assert vocabulary.values[0] in ("FR", "DE", "ES", "IT", "SE")
    assert "X1" not in vocabulary.values
    encoded = vocabulary.rows_of(pl.Series(["FR", None, "X1", "never seen"]))
    assert encoded.tolist()[1:] == [MISSING_ROW, SHARED_ROW, SHARED_ROW]
    assert vocabulary.values[encoded[0] - 2] == "FR"


def test_a_gap_is_told_apart_from_the_median() -> None:
    event = {"amount": 10.0, "weight": 1.0, "age": None, "gift": 1.0, "country": "FR", "channel": "web"}
    median = ENCODING.medians[CONTRACT.numbers.index("age")]
    gap, filled = run_graph(with_logit(FP32), columns([event, {**event, "age": median}]), CONTRACT)
    assert gap != filled


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_score_is_the_same_bits_alone_and_beside_an_outlier(precision: str) -> None:
    graph = (FP32 if precision == "fp32" else INT8).SerializeToString()
    session = ScoringSession(graph, CONTRACT, "orders")
    inputs: Columns = dict(graph_inputs(TRAIN.columns.head(1000), CONTRACT))
    inputs["numbers"][7] = [10_000, 3.4e38, 120, 1]
    whole = session.score(inputs)
    for size in (1, 2, 3, 7, 16, 100, 333):
        parts = [
            session.score({name: values[start : start + size] for name, values in inputs.items()})
            for start in range(0, 1000, size)
        ]
        assert (np.concatenate(parts) == whole).all(), size


def test_the_graph_takes_an_empty_batch() -> None:
    for graph in (FP32, INT8):
        session = ScoringSession(graph.SerializeToString(), CONTRACT, "orders")
        assert session.score(dict(graph_inputs(TRAIN.columns.head(0), CONTRACT))).shape == (0,)


def test_int8_is_static_and_in_seven_bits() -> None:
    operators = [node.op_type for node in INT8.graph.node]
    assert "QuantizeLinear" in operators
    assert not {"DynamicQuantizeLinear", "MatMulInteger", "DynamicQuantizeMatMul"} & set(operators)
    weights = [each for each in INT8.graph.initializer if "weight_quantized" in each.name and each.dims]
    stored = [np.frombuffer(each.raw_data, np.int8) for each in weights if each.data_type == 3]
    assert stored
    assert all(np.abs(each.astype(int)).max() <= 64 for each in stored)


def test_int8_is_close_to_fp32() -> None:
    precisions = [run_graph(graph.SerializeToString(), TRAIN.columns, CONTRACT) for graph in (FP32, INT8)]
    assert np.abs(precisions[0] - precisions[1]).max() < 0.05


@pytest.mark.parametrize("kind", ["number", "category"])
def test_a_contract_of_one_kind_of_feature_needs_one_input(kind: str) -> None:
    features = {
        name: each for name, each in CONTRACT.features.items() if (each.type == "category") == (kind == "category")
    }
    contract = CONTRACT.model_copy(update={"features": features})
    table = orders.table()
    encoding = learn_encoding(table, contract, CONFIG)
    network = new_network(encoding)
    graph = quantize(build_graph(contract, encoding, network.weights()), contract, table.columns, seed=0)
    session = ScoringSession(graph.SerializeToString(), contract, "orders")
    assert session.score(dict(graph_inputs(table.columns, contract))).shape == (table.rows,)


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.3, 4), shift=st.floats(-2, 2), seed=st.integers(0, 1000))
def test_calibration_mends_logits_that_are_off(scale: float, shift: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    true_logit = random.normal(0, 1.5, 4000)
    label = (random.random(4000) < 1 / (1 + np.exp(-true_logit))).astype(np.int8)
    off = (true_logit - shift) / scale
    platt = fit_calibration(off, label, "platt")
    temperature = fit_calibration(off, label, "temperature")
    before = log_loss(label, 1 / (1 + np.exp(-off)))
    assert log_loss(label, platt.scores(off)) <= log_loss(label, temperature.scores(off)) + 1e-9
    assert log_loss(label, temperature.scores(off)) <= before + 1e-9
    assert platt.scale == pytest.approx(scale, rel=0.3)
    assert platt.shift == pytest.approx(shift, abs=0.3)


def test_calibration_is_folded_into_the_graph() -> None:
    logits = run_graph(with_logit(INT8), TRAIN.columns, CONTRACT).astype(np.float64)
    folded = fold_scores(INT8, BinaryMap(Calibration("platt", 1.5, -0.25)))
    scores = run_graph(folded.SerializeToString(), TRAIN.columns, CONTRACT)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-(1.5 * logits - 0.25))), atol=1e-6)
    assert (run_graph(with_logit(folded), TRAIN.columns, CONTRACT) == logits).all()


def test_dropped_values_become_unseen_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    encoded = torch.full((1000, 2), 5)
    dropped = drop_values(encoded, 0.3, generator)
    assert set(dropped.unique().tolist()) == {SHARED_ROW, 5}
    assert 0.25 < (dropped == SHARED_ROW).float().mean() < 0.35
    assert drop_values(encoded, 0.0, generator) is encoded
