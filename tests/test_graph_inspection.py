"""What a graph may hold, told from its bytes: ONNX Runtime is never shown one that reads other files or runs foreign operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import onnxruntime
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import small_model
from eventscore.artifact import load_artifact
from eventscore.errors import GraphInvalid
from eventscore.graph_inspection import DOMAINS, inspect_graph
from eventscore.manifest import CONTRACT, GOLDEN, GRAPH
from eventscore.signing import Ed25519Signer, Ed25519Verifier
from eventscore.store.folder import FolderStore
from eventscore.store.versions import ModelVersions

GOOD = small_model.graph()
Spoil = Callable[[onnx.ModelProto], object]


def spoiled(spoil: Spoil) -> bytes:
    model = onnx.load_from_string(GOOD)
    spoil(model)
    return bytes(model.SerializeToString())


def outside(tensor: TensorProto) -> TensorProto:
    """The tensor with its data in another file."""
    tensor.ClearField("double_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../proc/self/environ")
    return tensor


def external_tensor() -> TensorProto:
    return outside(helper.make_tensor("secret", TensorProto.DOUBLE, [1], [0.0]))


def constant() -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], value=external_tensor())


def branch(node: onnx.NodeProto, depth: int = 1) -> onnx.NodeProto:
    """``node`` inside the branches of an If, ``depth`` deep."""
    for _ in range(depth):
        told = [helper.make_tensor_value_info("c", TensorProto.DOUBLE, [1])]
        other = helper.make_graph([], "other", [], told)  # in both branches, it would lie there 2 ** depth times
        node = helper.make_node(
            "If", ["condition"], ["c"], then_branch=other, else_branch=helper.make_graph([node], "body", [], told)
        )
    return node


def sparse() -> onnx.SparseTensorProto:
    indices = helper.make_tensor("at", TensorProto.INT64, [1], [0])
    return helper.make_sparse_tensor(external_tensor(), indices, [4])


FILES: dict[str, Spoil] = {
    "an initializer": lambda m: outside(m.graph.initializer[0]),
    "an initializer that says so, and no more": lambda m: setattr(m.graph.initializer[0], "data_location", 1),
    "an initializer that only names the place": lambda m: m.graph.initializer[0].external_data.add(key="location"),
    "a constant": lambda m: m.graph.node.append(constant()),
    "a constant in a branch": lambda m: m.graph.node.append(branch(constant(), 3)),
    "a list of tensors": lambda m: m.graph.node.append(helper.make_node("X", [], ["c"], tensors=[external_tensor()])),
    "a sparse initializer": lambda m: m.graph.sparse_initializer.append(sparse()),
    "a sparse constant": lambda m: m.graph.node.append(helper.make_node("Constant", [], ["c"], sparse_value=sparse())),
}
FOREIGN: dict[str, tuple[Spoil, str]] = {
    "a node": (lambda m: setattr(m.graph.node[0], "domain", "com.evil"), "operator IsNaN of domain 'com.evil'"),
    "one of ONNX Runtime's own": (lambda m: setattr(m.graph.node[0], "domain", "com.microsoft"), "'com.microsoft'"),
    "a node in a branch": (
        lambda m: m.graph.node.append(branch(helper.make_node("Evil", [], ["c"], domain="com.evil"), 2)),
        "operator Evil of domain 'com.evil'",
    ),
    "an import": (
        lambda m: m.opset_import.append(helper.make_opsetid("com.evil", 1)),
        "operators of domain 'com.evil'",
    ),
    "a function": (lambda m: m.functions.add(name="f", domain=""), "defines functions of its own"),
    "a training graph": (lambda m: m.training_info.add(), "holds a training graph"),
    "graphs without end": (lambda m: m.graph.node.append(branch(constant(), 20)), "graphs inside graphs"),
}


def test_the_graphs_that_are_made_here_pass() -> None:
    inspect_graph(GOOD, "key")
    root = Path(__file__).resolve().parent.parent
    committed = list(root.glob(f"model_store/*/versions/*/{GRAPH}"))
    assert committed
    for path in committed:
        inspect_graph(path.read_bytes(), "key")


@pytest.mark.parametrize("where", FILES)
def test_data_in_another_file_is_refused_wherever_it_hides(where: str) -> None:
    with pytest.raises(GraphInvalid, match=r"m/model.onnx: refused: the data of tensor '.*' lies in another file"):
        inspect_graph(spoiled(FILES[where]), "m/model.onnx")


@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_not_of_onnx_is_refused_wherever_it_hides(what: str) -> None:
    spoil, said = FOREIGN[what]
    with pytest.raises(GraphInvalid, match=f"m/model.onnx: refused: .*{said}"):
        inspect_graph(spoiled(spoil), "m/model.onnx")


@pytest.mark.parametrize(
    "raw",
    [b"", b"not a graph", b"\x00", GOOD[:-1], GOOD[: len(GOOD) // 2], GOOD + b"\x0f", GOOD + GOOD, b"\x80" * 100],
    ids=["nothing", "text", "zero", "one byte less", "half", "a byte more", "twice", "no end"],
)
def test_what_is_no_onnx_model_is_refused(raw: bytes) -> None:
    with pytest.raises(GraphInvalid, match="m/model.onnx: refused: expected an ONNX model"):
        inspect_graph(raw, "m/model.onnx")


def test_onnx_runtimes_own_format_is_refused_though_onnx_runtime_would_load_it(tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(GOOD, options, providers=["CPUExecutionProvider"])
    raw = (tmp_path / "model.ort").read_bytes()
    onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"])
    with pytest.raises(GraphInvalid, match="ONNX Runtime's own format"):
        inspect_graph(raw, "key")


def test_a_tag_that_a_reader_of_32_bits_takes_for_another_is_refused() -> None:
    tag = (7 << 3 | 2) | 1 << 35  # cut to 32 bits: the graph
    raw = bytes([*((tag >> shift & 0x7F) | 0x80 for shift in range(0, 35, 7)), tag >> 35])
    with pytest.raises(GraphInvalid, match="expected an ONNX model"):
        inspect_graph(GOOD + raw + b"\x00", "key")


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from graphs(inner) if inner.node else ()


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_whatever_passes_holds_nothing_foreign_by_the_reading_of_onnx_itself(changes: list[tuple[int, int]]) -> None:
    raw = bytearray(GOOD)
    for position, byte in changes:
        raw[position] = byte
    try:
        inspect_graph(bytes(raw), "key")
    except GraphInvalid:
        return
    try:
        model = onnx.load_from_string(bytes(raw))
    except DecodeError:
        return
    assert not model.functions
    for graph in graphs(model.graph):
        assert all(node.domain.encode() in DOMAINS for node in graph.node)
        tensors = [*graph.initializer, *(a.t for node in graph.node for a in node.attribute)]
        assert not any(t.external_data or t.data_location for t in tensors)


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_refused_in_words(raw: bytes) -> None:
    with pytest.raises(GraphInvalid, match="refused"):
        inspect_graph(raw, "key")


def test_a_signed_version_with_data_in_another_file_never_reaches_onnx_runtime(
    store_folder: Path, signer: Ed25519Signer, verifier: Ed25519Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reached(*_: object, **__: object) -> None:
        raise AssertionError("ONNX Runtime was shown the graph")

    contents = {
        GRAPH: spoiled(FILES["an initializer"]),
        CONTRACT: small_model.CONTRACT_TOML.encode(),
        GOLDEN: small_model.golden(),
    }
    versions = ModelVersions(FolderStore(store_folder), small_model.MODEL)
    document = small_model.manifest("v1", contents).to_bytes()
    versions.write("v1", contents, document, signer.sign(document))
    monkeypatch.setattr(onnxruntime, "InferenceSession", reached)
    with pytest.raises(GraphInvalid, match=r"small/versions/v1/model.onnx: refused: the data of tensor 'fill'"):
        load_artifact(versions, "v1", verifier)
