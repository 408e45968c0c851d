"""Every kind of network becomes one graph: the same logits as torch, in int8 too, and the same bits alone and in any batch."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import onnx  # noqa: E402

import orders  # noqa: E402
from eventscore.columns import Columns  # noqa: E402
from eventscore.session import ScoringSession  # noqa: E402
from eventscore_training.config import NetworkConfig  # noqa: E402
from eventscore_training.encoded import EncodedPart  # noqa: E402
from eventscore_training.encoding import Encoding, learn_encoding  # noqa: E402
from eventscore_training.export import build_graph, with_logit  # noqa: E402
from eventscore_training.fit import predict_logits  # noqa: E402
from eventscore_training.inference import run_graph  # noqa: E402
from eventscore_training.network import Network, build_network  # noqa: E402
from eventscore_training.number_embedding import PiecewiseLinear, learn_edges  # noqa: E402
from eventscore_training.quantize import quantize  # noqa: E402
from eventscore_training.table import graph_inputs  # noqa: E402

pytestmark = pytest.mark.training

CONTRACT = orders.contract()
TRAIN = orders.table("train", rows=1200)
KINDS = ("mlp", "wide-and-deep", "tabm")
NUMBER_EMBEDDINGS = ("none", "piecewise-linear", "periodic")
NORMS = ("none", "batch", "layer")
ACTIVATIONS = ("relu", "leaky-relu", "gelu", "silu", "tanh")
SCALINGS = ("standard", "robust", "quantile")
Shape = tuple[str, str, str, str, str]
SHAPES: list[Shape] = [
    (*shape, SCALINGS[number % 3]) for number, shape in enumerate(product(KINDS, NUMBER_EMBEDDINGS, NORMS, ACTIVATIONS))
]


def config_of(shape: Shape, **more: Any) -> NetworkConfig:
    kind, number_embedding, norm, activation, scaling = shape
    adapted = activation in ("relu", "leaky-relu", "gelu")
    own: dict[str, Any] = {"members": 3, "adapt_inputs": adapted} if kind == "tabm" else {}
    own |= {"number_embedding_width": 3} if number_embedding != "none" else {}
    own |= {"bins": 5} if number_embedding == "piecewise-linear" else {}
    own |= {"frequencies": 3, "frequency_scale": 0.5} if number_embedding == "periodic" else {}
    document = {
        "kind": kind, "number_embedding": number_embedding, "norm": norm, "activation": activation, "scaling": scaling,
        "widths": (9, 6), "embedding_width": 3, "min_count": 10, "dropout": 0.1,
    }  # fmt: skip
    return NetworkConfig.model_validate(document | own | more)


def stirred(network: Network, numbers: np.ndarray, rows: np.ndarray) -> Network:
    """The network with every parameter moved off its first value, and statistics of its own in each batch norm."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        for embedding in network.embeddings:
            embedding.weight.mul_(3)
        network.train()
        for _ in range(3):
            network.member_logits(torch.from_numpy(numbers), torch.from_numpy(rows))
    return network


@cache
def built(shape: Shape) -> tuple[Encoding, Network, bytes, bytes, bytes]:
    """Encoding, network, its graph's logits, and its scores in fp32 and int8."""
    config = config_of(shape)
    encoding = learn_encoding(TRAIN, CONTRACT, config)
    numbers, rows = encoding.encode(TRAIN.columns, CONTRACT)
    torch.manual_seed(0)
    network = stirred(build_network(encoding, numbers, config), numbers, rows)
    fp32 = build_graph(CONTRACT, encoding, network.weights())
    int8 = quantize(fp32, CONTRACT, TRAIN.columns, seed=0)
    return encoding, network, with_logit(fp32), fp32.SerializeToString(), int8.SerializeToString()


def logits_of(encoding: Encoding, network: Network, table: pl.DataFrame) -> np.ndarray:
    return predict_logits(network, EncodedPart(*encoding.encode(table, CONTRACT), np.zeros(table.height, np.int8)))


def strange(seed: int, count: int) -> pl.DataFrame:
    """Rows with gaps, unseen values and numbers that training never saw."""
    random = np.random.default_rng(seed)

    def gaps(values: list[Any]) -> list[Any]:
        return [None if random.random() < 0.3 else value for value in values]

    weights = random.choice([-3.4e38, -1e9, -1.5, 0.0, 2.0, 1e-30, 7e5, 3.4e38], count) * random.random(count)
    data = {
        "amount": random.choice([0.0, 0.01, 99.5, 10_000.0], count).tolist(),
        "weight": weights.tolist(),
        "age": gaps(random.uniform(0, 120, count).tolist()),
        "gift": gaps(random.choice([0.0, 1.0], count).tolist()),
        "country": gaps(random.choice(["FR", "DE", "SE", "X1", "Ž", "nowhere"], count).tolist()),
        "channel": random.choice(["web", "shop"], count).tolist(),
    }
    types = {name: pl.String if name in CONTRACT.categories else pl.Float64 for name in CONTRACT.features}
    return pl.DataFrame(data, schema=types)


@settings(max_examples=60, deadline=None)
@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 10_000), count=st.integers(1, 40))
def test_the_graph_answers_what_the_network_answers(shape: Shape, seed: int, count: int) -> None:
    encoding, network, logit, _, _ = built(shape)
    table = strange(seed, count)
    expected = logits_of(encoding, network, table)
    np.testing.assert_allclose(run_graph(logit, table, CONTRACT), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number_embedding", NUMBER_EMBEDDINGS)
def test_every_shape_is_exported_exactly_and_scored_alike_alone_and_beside_an_outlier(
    kind: str, number_embedding: str
) -> None:
    inputs: Columns = dict(graph_inputs(TRAIN.columns.head(200), CONTRACT))
    inputs["numbers"][7] = [10_000, 3.4e38, 120, 1]
    for shape in SHAPES:
        if shape[:2] != (kind, number_embedding):
            continue
        encoding, network, logit, fp32, int8 = built(shape)
        expected = logits_of(encoding, network, TRAIN.columns)
        np.testing.assert_allclose(
            run_graph(logit, TRAIN.columns, CONTRACT), expected, rtol=1e-4, atol=1e-4, err_msg=str(shape)
        )
        for graph in (fp32, int8):
            session = ScoringSession(graph, CONTRACT, "orders")
            whole = session.score(inputs)
            assert np.isfinite(whole).all(), shape
            for size in (1, 2, 3, 7, 16, 33):
                parts = [
                    session.score({name: values[at : at + size] for name, values in inputs.items()})
                    for at in range(0, 200, size)
                ]
                assert (np.concatenate(parts) == whole).all(), (shape, size)


@pytest.mark.parametrize("shape", SHAPES[::7], ids="-".join)
def test_int8_stays_close_to_fp32_and_is_static(shape: Shape) -> None:
    *_, fp32, int8 = built(shape)
    apart = np.abs(run_graph(fp32, TRAIN.columns, CONTRACT) - run_graph(int8, TRAIN.columns, CONTRACT))
    assert apart.mean() < 0.02
    operators = {node.op_type for node in onnx.load_from_string(int8).graph.node}
    assert "QuantizeLinear" in operators
    assert not {"DynamicQuantizeLinear", "MatMulInteger", "DynamicQuantizeMatMul"} & operators


def test_an_ensemble_answers_the_mean_of_its_members_probabilities() -> None:
    network = built(("tabm", "none", "none", "relu", "standard"))[1].eval()
    numbers = torch.randn(50, 4 + 2)
    rows = torch.ones(50, 2, dtype=torch.int64)
    with torch.no_grad():
        mean = torch.sigmoid(network.member_logits(numbers, rows).double()).mean(dim=1)
        answered = torch.sigmoid(network(numbers, rows).double())
        network.head.mul_(1e4)
        assert torch.isfinite(network(numbers, rows)).all()
        network.head.mul_(1e-4)
    torch.testing.assert_close(answered, mean, rtol=1e-5, atol=1e-6)


def test_a_piecewise_linear_number_goes_through_its_bins_one_after_the_other() -> None:
    edges = learn_edges(np.linspace(0, 1, 5, dtype=np.float32)[:, None], 4)
    expanded = PiecewiseLinear(edges, 2).expand(torch.tensor([[-1.0], [0.0], [0.375], [1.0], [9.0]]))
    assert expanded.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [1, 0.5, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]


def test_robust_scaling_is_blind_to_an_outlier_and_quantiles_make_a_number_normal() -> None:
    frame = orders.frame(1200).with_columns(
        pl.when(pl.int_range(pl.len()) == 5).then(9_999.0).otherwise("amount").alias("amount")
    )
    table = orders.check_table(frame, CONTRACT, "train", "orders.parquet", "0" * 64)
    robust = learn_encoding(table, CONTRACT, NetworkConfig(scaling="robust"))
    assert robust.scales[0] == pytest.approx(
        learn_encoding(TRAIN, CONTRACT, NetworkConfig(scaling="robust")).scales[0], rel=0.01
    )
    amounts = learn_encoding(table, CONTRACT, NetworkConfig(scaling="quantile", clip_at=100)).encode(
        table.columns, CONTRACT
    )[0][:, 0]
    assert abs(amounts.mean()) < 0.05
    assert 0.9 < amounts.std() < 1.1


@pytest.mark.parametrize("number_embedding", ["none", "piecewise-linear"])
@pytest.mark.parametrize("scaling", ["quantile", "robust"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_lone_number_is_scored_alike_alone_and_in_a_batch(kind: str, scaling: str, number_embedding: str) -> None:
    contract = CONTRACT.model_copy(update={"features": {"weight": CONTRACT.features["weight"]}})
    config = NetworkConfig.model_validate(
        {"kind": kind, "scaling": scaling, "number_embedding": number_embedding, "widths": (8,)}
    )
    encoding = learn_encoding(TRAIN, contract, config)
    numbers, rows = encoding.encode(TRAIN.columns, contract)
    network = build_network(encoding, numbers, config)
    graph = build_graph(contract, encoding, network.weights())
    answered = run_graph(with_logit(graph), TRAIN.columns, contract)
    np.testing.assert_allclose(answered, predict_logits(network, EncodedPart(numbers, rows, TRAIN.label)), atol=1e-5)
    alone = [run_graph(with_logit(graph), TRAIN.columns[row : row + 1], contract)[0] for row in range(50)]
    assert alone == answered[:50].tolist()
