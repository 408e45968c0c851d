"""What a loaded graph holds in memory, in bytes for each byte of its file: the figure behind `Artifact.memory_bytes`.

    python benchmarks/model_memory.py [--json]

Weights alone, a vocabulary alone, and the committed model, each in a process of its own, many sessions of it, so that what the allocator
has free from before hardly counts. Linux only (it reads /proc).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parent.parent
MEBIBYTE = 2**20


def weights(width: int = 512) -> bytes:
    """Three dense layers in float32."""
    nodes, initializers, last = [helper.make_node("Cast", ["numbers"], ["x"], to=TensorProto.FLOAT)], [], "x"
    for layer in range(3):
        matrix = np.random.default_rng(layer).random((width, width), dtype=np.float32)
        initializers.append(onnx.numpy_helper.from_array(matrix, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], [f"h{layer}"]))
        last = f"h{layer}"
    return model(nodes, ("numbers", TensorProto.DOUBLE, width), last, initializers)


def vocabulary(values: int = 50_000) -> bytes:
    """A look-up of strings."""
    node = helper.make_node(
        "LabelEncoder",
        ["categories"],
        ["codes"],
        domain="ai.onnx.ml",
        keys_strings=[f"value-{number:08}" for number in range(values)],
        values_floats=[float(number) for number in range(values)],
    )
    return model([node], ("categories", TensorProto.STRING, 1), "codes", [])


def model(
    nodes: list[onnx.NodeProto], given: tuple[str, int, int], output: str, initializers: list[TensorProto]
) -> bytes:
    """The bytes of a graph."""
    name, kind, width = given
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, kind, ["n", width])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", None])],
        initializers,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def resident_bytes() -> int:
    """What this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def held(graph: bytes, sessions: int = 60) -> float:
    """Bytes of memory for each byte of the file, the mean over ``sessions``."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    kept = [ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])]
    before = resident_bytes()
    kept += [ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"]) for _ in range(sessions)]
    return (resident_bytes() - before) / sessions / len(graph)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    (committed,) = sorted(ROOT.glob("model_store/flight-delay/versions/*/model.onnx"))[-1:]
    graphs = {"weights": weights(), "vocabulary": vocabulary(), "flight-delay": committed.read_bytes()}
    for name, graph in graphs.items():
        with multiprocessing.get_context("spawn").Pool(1) as process:
            per_byte = process.apply(held, (graph,))
        figures = {"graph": name, "file_mib": round(len(graph) / MEBIBYTE, 2), "memory_per_byte": round(per_byte, 2)}
        print(
            json.dumps(figures) if as_json else f"{name:14}{figures['file_mib']:8} MiB  x {figures['memory_per_byte']}"
        )


if __name__ == "__main__":
    main()
