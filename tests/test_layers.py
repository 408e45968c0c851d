"""The runtime layer holds all that scoring loads and little else, on the machine that tests it and for Lambda."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUNTIME = ROOT / "layers/runtime"
MEBIBYTE = 2**20

pytestmark = [pytest.mark.sam, pytest.mark.timeout(300)]

WORK = """
import json, sys
import numpy, onnxruntime, msgspec
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
[score] = session.run(None, {
    "categories": numpy.array([["EWR"], ["?"]], dtype=object), "numbers": numpy.ones((2, 4), numpy.float32)
})
assert numpy.unique(score).size == 2, score
assert numpy.nanmedian(numpy.array([1.0, numpy.nan, 3.0])) == 2.0

class Event(msgspec.Struct):
    distance: float
assert msgspec.json.decode(b'{"distance": 1.5}', type=Event) == Event(1.5)

Logger(service="score").info("scored", extra={"events": 2})
metrics = Metrics(namespace="eventscore", service="score")
metrics.add_metric("scored", MetricUnit.Count, 2)
metrics.flush_metrics()

key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(sys.argv[2]))
key.verify(bytes.fromhex(sys.argv[3]), b"manifest")
try:
    key.verify(bytes.fromhex(sys.argv[3]), b"Manifest")
except InvalidSignature:
    print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def make(target: str, artifacts: Path, *variables: str, folder: Path = RUNTIME) -> str:
    """Run a target of the layer's makefile into ``artifacts``; answer what it printed."""
    run = subprocess.run(
        ["make", "-s", "-C", folder, target, f"ARTIFACTS_DIR={artifacts}", f"PYTHON={sys.executable}", *variables],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def host_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layer for this machine and this Python, trimmed as the one for Lambda."""
    artifacts = tmp_path_factory.mktemp("host-layer")
    make("host", artifacts)
    return artifacts / "python"


@pytest.fixture
def vocabulary_network(tmp_path: Path) -> Path:
    """A string looked up in a vocabulary, added to a quantized product: the kinds of node that a version's graph has."""
    onnx = pytest.importorskip("onnx", reason="the graph is made with onnx, of the train extra")
    import numpy as np
    from onnx import TensorProto as Tensor
    from onnx import helper

    constants = [
        onnx.numpy_helper.from_array(np.array(value, dtype), name)
        for name, value, dtype in [
            ("x_scale", 0.01, np.float32),
            ("x_zero", 128, np.uint8),
            ("w", [[50], [60], [70], [80]], np.int8),
            ("w_scale", 0.01, np.float32),
            ("w_zero", 0, np.int8),
        ]
    ]
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["categories"],
            ["codes"],
            domain="ai.onnx.ml",
            keys_strings=["EWR", "JFK"],
            values_int64s=[1, 2],
            default_int64=0,
        ),
        helper.make_node("Cast", ["codes"], ["code"], to=Tensor.FLOAT),
        helper.make_node("QuantizeLinear", ["numbers", "x_scale", "x_zero"], ["x_q"]),
        helper.make_node("DequantizeLinear", ["x_q", "x_scale", "x_zero"], ["x_dq"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_dq"]),
        helper.make_node("MatMul", ["x_dq", "w_dq"], ["product"]),
        helper.make_node("Add", ["product", "code"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "vocabulary-network",
        [
            helper.make_tensor_value_info("categories", Tensor.STRING, ["n", 1]),
            helper.make_tensor_value_info("numbers", Tensor.FLOAT, ["n", 4]),
        ],
        [helper.make_tensor_value_info("score", Tensor.FLOAT, ["n", 1])],
        constants,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_a_process_with_only_the_trimmed_layer_does_all_that_scoring_needs(
    host_layer: Path, vocabulary_network: Path, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    public, signature = private.public_key().public_bytes_raw(), private.sign(b"manifest")
    run = subprocess.run(
        [sys.executable, "-S", "-W", "error", "-c", WORK, vocabulary_network, public.hex(), signature.hex()],
        env={
            "PYTHONPATH": str(host_layer),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ORT_DISABLE_TELEMETRY": "1",
            "HOME": str(tmp_path),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == "", "a library that warns at import would do so in the log of every cold start"
    assert '"onnxruntime"' in run.stdout
    assert '"cffi"' not in run.stdout


def test_the_layer_brings_its_bytecode_because_lambda_cannot_write_it(host_layer: Path) -> None:
    tag = sys.implementation.cache_tag
    bytecode = host_layer / f"numpy/__pycache__/__init__.{tag}.pyc"
    assert int.from_bytes(bytecode.read_bytes()[4:8], "little") == 0b01, "unchecked-hash: no modification times"


def test_the_layer_keeps_licences_and_versions(host_layer: Path) -> None:
    for package in host_layer.glob("*.dist-info"):
        assert (package / "METADATA").is_file()
        assert [path for path in package.rglob("*") if "LICEN" in path.name.upper()] or "onnxruntime" in package.name
    assert (host_layer / "onnxruntime/ThirdPartyNotices.txt").is_file()


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_the_lambda_layers_are_at_most_90_mib_with_their_bytecode(architecture: str, tmp_path: Path) -> None:
    # Bytecode of whatever Python runs here: what matters is that it is there, and its size.
    bytecode = f"LAMBDA_PYTHON={sys.executable}"
    make("build-RuntimeLayer", tmp_path / "runtime", f"ARCHITECTURE={architecture}", bytecode)
    make("build-CoreLayer", tmp_path / "core", bytecode, folder=ROOT / "layers/core")
    machine = {"arm64": "aarch64", "x86_64": "x86_64"}[architecture]
    assert list(tmp_path.glob(f"runtime/python/onnxruntime/capi/*.cpython-313-{machine}-linux-gnu.so"))
    for module in ("runtime/python/numpy/__init__.py", "core/python/eventscore/function.py"):
        source = tmp_path / module
        assert list(source.parent.glob(f"__pycache__/{source.stem}.*.pyc"))
    assert size_bytes(tmp_path) <= 90 * MEBIBYTE


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    run = subprocess.run(
        ["make", "-s", "-C", RUNTIME, "build-RuntimeLayer", "ARCHITECTURE=riscv", f"ARTIFACTS_DIR={tmp_path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert "expected arm64 or x86_64" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_core_layer_is_the_package_without_stale_bytecode(tmp_path: Path) -> None:
    subprocess.run(
        ["make", "-s", "-C", ROOT / "layers/core", "build-CoreLayer", f"ARTIFACTS_DIR={tmp_path}", "LAMBDA_PYTHON="],
        check=True,
        capture_output=True,
    )
    source = ROOT / "layers/core"
    shipped = {path.relative_to(tmp_path / "python") for path in tmp_path.rglob("*") if path.is_file()}
    assert shipped == {
        path.relative_to(source)
        for path in (source / "eventscore").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_trimming_leaves_files_alone_that_share_a_link_with_the_layer(tmp_path: Path) -> None:
    """Installers link files from their cache into a folder; cutting a library through the link would damage the cache."""
    library = next(path for path in Path(sys.prefix).rglob("_rust.abi3.so") if path.is_file())
    cached = tmp_path / "cache.so"
    cached.write_bytes(library.read_bytes())
    layer = tmp_path / "python"
    layer.mkdir()
    os.link(cached, layer / "linked.so")
    subprocess.run([sys.executable, RUNTIME / "trim.py", layer], check=True, capture_output=True)
    assert cached.read_bytes() == library.read_bytes()
    assert (layer / "linked.so").stat().st_size < cached.stat().st_size
