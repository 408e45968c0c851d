"""What makes a step fast changes nothing of what is learned: streaming, precision, compilation, dropout, an ensemble's matrices."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import orders  # noqa: E402
from eventscore_training import compilation  # noqa: E402
from eventscore_training.batches import Batches  # noqa: E402
from eventscore_training.compilation import LEAST_STEPS, compiled  # noqa: E402
from eventscore_training.config import FitConfig, NetworkConfig  # noqa: E402
from eventscore_training.dropout import Dropout  # noqa: E402
from eventscore_training.encoded import EncodedPart  # noqa: E402
from eventscore_training.encoding import learn_encoding  # noqa: E402
from eventscore_training.fit import FitHistory, fit  # noqa: E402
from eventscore_training.layers import Linear  # noqa: E402
from eventscore_training.network import Network, build_network, drop_values  # noqa: E402
from eventscore_training.optimise import new_optimizer  # noqa: E402
from eventscore_training.precision import choose_precision, in_precision  # noqa: E402
from eventscore_training.ranks import ALONE, Ranks  # noqa: E402

pytestmark = [
    pytest.mark.training,
    # torch's own, when its compiler is imported.
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
]

CPU = torch.device("cpu")
SHAPE = NetworkConfig(widths=(16, 8), embedding_width=3, min_count=10, dropout=0.2)
TABLE, CONTRACT = orders.table(rows=1000), orders.contract()
ENCODING = learn_encoding(TABLE, CONTRACT, SHAPE)
PART = EncodedPart(*ENCODING.encode(TABLE.columns, CONTRACT), TABLE.label)
ARRAYS = PART.numbers, PART.rows, PART.label.astype(np.float32)
ROW_BYTES = sum(array[:1].nbytes for array in ARRAYS)


def fitted(**settings: Any) -> tuple[Network, FitHistory]:
    config = FitConfig.model_validate({"epochs": 3, "batch_size": 96, "learning_rate": 0.01} | settings)
    torch.manual_seed(3)
    network = build_network(ENCODING, PART.numbers, SHAPE)
    return network, fit(network, PART, PART, config, seed=3)


def batches_of(memory_bytes: int | None, ranks: Ranks = ALONE) -> Batches:
    return Batches(ARRAYS, CPU, 96, memory_bytes, ranks)


@pytest.mark.parametrize("batches_in_memory", [0, 2, 3, 6])
def test_a_streamed_table_gives_the_same_weights_as_a_resident_one(batches_in_memory: int) -> None:
    limit = max(1, 96 * ROW_BYTES * batches_in_memory)
    streamed = batches_of(limit)
    assert (streamed.streamed, streamed.steps) == (True, 10)
    assert streamed.chunk_steps == max(1, batches_in_memory // 2)
    network, history = fitted()
    chunked, told = fitted(device_memory_bytes=limit)
    assert history == told
    torch.testing.assert_close(network.state_dict(), chunked.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("memory_bytes", [None, 5 * 96 * ROW_BYTES])
@pytest.mark.parametrize("first", [0, 3, 9, 10])
def test_an_epoch_holds_every_row_once_in_its_order(memory_bytes: int | None, first: int) -> None:
    order = torch.randperm(1000)
    batches = list(batches_of(memory_bytes).epoch(order, first))
    assert len(batches) == 10 - first
    assert [len(batch.tensors[0]) for batch in batches] == [batch.rows for batch in batches]
    if first < 10:
        assert batches[-1].rows == 96 + 40, "the remainder joins the last batch"
        for place, array in enumerate(ARRAYS):
            together = torch.cat([batch.tensors[place] for batch in batches])
            torch.testing.assert_close(together, torch.from_numpy(array)[order[first * 96 :]], rtol=0, atol=0)


@pytest.mark.parametrize("memory_bytes", [None, 2 * 96 * ROW_BYTES])
def test_processes_share_each_batch_without_gap_or_overlap(memory_bytes: int | None) -> None:
    order = torch.randperm(1000)
    shares = [list(batches_of(memory_bytes, Ranks(rank, 3, rank)).epoch(order)) for rank in range(3)]
    for whole, *parts in zip(batches_of(None).epoch(order), *shares, strict=True):
        assert sum(part.share for part in parts) == pytest.approx(1)
        assert [part.start for part in parts] == [0, whole.rows // 3, 2 * whole.rows // 3]
        together = torch.cat([part.tensors[0] for part in parts])
        torch.testing.assert_close(together, whole.tensors[0], rtol=0, atol=0)


def test_no_more_than_two_chunks_are_fetched_ahead_of_what_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    streamed = batches_of(2 * 96 * ROW_BYTES)
    fetched: list[range] = []
    fetch = streamed._fetch

    def watched(order: Any, steps: range) -> Any:
        fetched.append(steps)
        return fetch(order, steps)

    monkeypatch.setattr(streamed, "_fetch", watched)
    for learned, _ in enumerate(streamed.epoch(torch.randperm(1000)), 1):
        assert len(fetched) <= learned, "the chunk after this one is asked for only when this batch is done"
    assert fetched == [range(step, step + 1) for step in range(10)]


def test_each_process_drops_the_values_of_its_rows_as_one_process_would() -> None:
    rows = torch.full((10, 4), 5)
    whole = drop_values(rows, 0.5, torch.Generator().manual_seed(1))
    part = drop_values(rows[3:7], 0.5, torch.Generator().manual_seed(1), 3, 10)
    assert torch.equal(part, whole[3:7])
    assert 0 < int((whole == 5).sum()) < 40


def test_in_bfloat16_the_loss_is_float32_and_what_is_learned_is_as_good() -> None:
    network, history = fitted()
    halved, told = fitted(precision="bfloat16")
    assert {parameter.dtype for parameter in halved.parameters()} == {torch.float32}
    assert any(not torch.equal(a, b) for a, b in zip(network.parameters(), halved.parameters(), strict=True))
    assert told.evaluations[told.best].figures["roc_auc"] == pytest.approx(
        history.evaluations[history.best].figures["roc_auc"], abs=0.01
    )
    seen: list[torch.dtype] = []
    network.hidden[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    numbers, rows = torch.from_numpy(PART.numbers), torch.from_numpy(PART.rows)
    answer = in_precision(network.member_logits, torch.bfloat16, CPU)(numbers, rows)
    assert (seen, answer.dtype) == ([torch.bfloat16], torch.float32)


def test_a_cpu_is_left_at_float32_and_uncompiled_unless_told_otherwise() -> None:
    assert choose_precision(FitConfig(), CPU) == torch.float32
    assert choose_precision(FitConfig(precision="bfloat16"), CPU) == torch.bfloat16

    def loss_of(numbers: Any, rows: Any, truth: Any) -> Any:
        return numbers.sum()

    assert compiled(loss_of, FitConfig(), CPU, 100 * LEAST_STEPS) is loss_of
    assert compiled(loss_of, FitConfig(compile="never"), torch.device("cuda"), 100 * LEAST_STEPS) is loss_of
    assert compiled(loss_of, FitConfig(), torch.device("cuda"), LEAST_STEPS - 1) is loss_of
    assert compiled(loss_of, FitConfig(), torch.device("cuda"), LEAST_STEPS) is not loss_of
    assert compiled(loss_of, FitConfig(compile="always"), CPU, 1) is not loss_of


def test_only_batches_of_the_usual_size_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def compile_nothing(loss_of: Any, **_: Any) -> Any:
        def watched(*batch: Any) -> Any:
            sizes.append(len(batch[0]))
            return loss_of(*batch)

        return watched

    monkeypatch.setattr(compilation.torch, "compile", compile_nothing)
    network, history = fitted()
    assert not sizes
    same, told = fitted(compile="always")
    assert sizes == [96] * 27
    assert history == told
    torch.testing.assert_close(network.state_dict(), same.state_dict(), rtol=0, atol=0)


def test_a_compiler_that_fails_costs_speed_only_unless_it_must_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def no_compiler(_: Any, **__: Any) -> Any:
        def failing(*_: Any) -> Any:
            calls.append(1)
            raise torch._dynamo.exc.TorchDynamoException("no triton here")

        return failing

    monkeypatch.setattr(compilation.torch, "compile", no_compiler)
    fallen_back = compilation._Compiled(lambda numbers, rows, truth: numbers.sum(), CPU, must=False)
    with caplog.at_level(logging.WARNING):
        answers = [float(fallen_back(torch.ones(3), torch.ones(3), torch.ones(3))) for _ in range(2)]
    assert (answers, len(calls)) == ([3.0, 3.0], 1)
    assert "goes on without: no triton here" in caplog.text
    with pytest.raises(torch._dynamo.exc.TorchDynamoException):
        fitted(compile="always")


@pytest.mark.parametrize("p", [0.1, 0.5, 0.99999])
def test_dropout_drops_its_share_keeps_the_mean_and_passes_the_same_gradient(p: float) -> None:
    torch.manual_seed(0)
    x = torch.full((501, 401), 2.0, requires_grad=True)
    dropped = Dropout(p)(x)
    dropped.sum().backward()
    kept = dropped != 0
    rows = x.numel()
    assert float((~kept).float().mean()) == pytest.approx(p, abs=4 * (p * (1 - p) / rows) ** 0.5 + 1e-5)
    assert len(dropped[kept].unique()) <= 1
    assert float(dropped.detach()[kept].max()) == pytest.approx(2 / (1 - p), rel=0.4 if p > 0.9 else 1e-3)
    torch.testing.assert_close(x.grad, dropped.detach() / 2)
    # Neighbours come from the same random number, and still fall independently.
    for apart in (1, 2, 3, 401):
        both = (~kept).flatten().float()
        assert float((both[apart:] * both[:-apart]).mean()) == pytest.approx(p * p, abs=0.01)


def test_dropout_outside_training_changes_nothing() -> None:
    x = torch.randn(7, 3)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    torch.manual_seed(1)
    first = Dropout(0.5)(x)
    torch.manual_seed(1)
    assert torch.equal(Dropout(0.5)(x), first)


@pytest.mark.parametrize("first", [True, False])
def test_the_members_own_matrices_give_what_the_adapters_say(first: bool) -> None:
    torch.manual_seed(0)
    layer = Linear(5, 3, members=4, first=first)
    assert layer.inner is not None
    assert layer.outer is not None
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(11, 1 if first else 4, 5)
    expected = torch.nn.functional.linear(x * layer.inner, layer.weight) * layer.outer + layer.bias
    answer = layer(x)
    assert answer.shape == (11, 4, 3)
    torch.testing.assert_close(answer, expected)


def test_adam_runs_fused() -> None:
    for optimizer in ("adam", "adamw"):
        made = new_optimizer(fitted(epochs=1)[0], FitConfig.model_validate({"optimizer": optimizer}))
        assert all(group["fused"] for group in made.param_groups)
