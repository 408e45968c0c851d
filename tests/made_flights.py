"""Made flights and a small version for them, under the demo's own contract: no network, no real data, no training.

``score = sigmoid(4 * origin_late_rate_6h' - 2 + origin')``: a missing rate counts as 0.25; origin counts 0.5 for EWR, 0 for JFK and
-0.5 for LGA. A made flight is late as often as its score says.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random
from typing import Any

import onnx
import polars as pl
from onnx import TensorProto, helper

import small_model
from eventscore.contract import CategoryFeature, Contract, NumberFeature, load_contract
from eventscore.manifest import CONTRACT, GOLDEN, GRAPH, FileEntry
from eventscore.signing import Ed25519Signer
from eventscore.store.objects import ObjectStore
from eventscore.store.versions import ModelVersions

MODEL = "flight-delay"
VERSION = "20261121T101500Z-00000000"
CONTRACT_FILE = Path(__file__).resolve().parent.parent / "model_store" / MODEL / "contract.toml"
ORIGIN_LOGITS = {"EWR": 0.5, "JFK": 0.0, "LGA": -0.5}
RATE = "origin_late_rate_6h"


def contract() -> Contract:
    """The demo's contract."""
    return load_contract(CONTRACT_FILE)


def flights(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """``count`` rows as the prepared test table has them: every field of the event (None: a gap), the label; by departure."""
    random = Random(seed)
    features = contract().features.items()
    rows = []
    for number in range(count):
        departure = f"2013-11-{1 + number % 28:02d}T{number // 60 % 24:02d}:{number % 60:02d}:00Z"
        row: dict[str, Any] = {"flight_id": f"F{seed}-{number:05d}", "scheduled_departure": departure}
        for name, feature in features:
            gap = feature.missing != "refuse" and random.random() < 0.1
            match feature:
                case CategoryFeature(values=values):
                    value: Any = random.choice(values) if values else f"{name[:2].upper()}{random.randrange(30)}"
                case NumberFeature():
                    value = round(random.uniform(feature.min, feature.max), 3)
                case _:
                    value = random.random() < 0.5
            row[name] = None if gap else value
        row["late"] = random.random() < expected_score(row)
        rows.append(row)
    return sorted(rows, key=lambda row: str(row["scheduled_departure"]))


def event(row: dict[str, Any]) -> dict[str, Any]:
    """The event of a row: no label, gaps left out."""
    return {name: value for name, value in row.items() if value is not None and name != "late"}


def write_table(path: Path, count: int, seed: int = 0) -> Path:
    """Made flights as a Parquet file like the prepared test table."""
    pl.DataFrame(flights(count, seed), infer_schema_length=None).write_parquet(path)
    return path


def expected_score(row: dict[str, Any]) -> float:
    """The formula of this module's docstring."""
    rate = row.get(RATE)
    logit = 4 * (0.25 if rate is None else rate) - 2 + ORIGIN_LOGITS[row["origin"]]
    return 1 / (1 + math.exp(-logit))


def graph() -> bytes:
    """The formula as a graph."""
    known = contract()
    numbers, categories = known.numbers, known.categories
    nodes = [
        helper.make_node("Gather", ["numbers", "rate_index"], ["rate"], axis=1),
        helper.make_node("IsNaN", ["rate"], ["gap"]),
        helper.make_node("Where", ["gap", "fill", "rate"], ["filled"]),
        helper.make_node("Mul", ["filled", "weight"], ["weighted"]),
        helper.make_node("Gather", ["categories", "origin_index"], ["origin"], axis=1),
        helper.make_node(
            "LabelEncoder",
            ["origin"],
            ["origin_logit"],
            domain="ai.onnx.ml",
            keys_strings=list(ORIGIN_LOGITS),
            values_floats=list(ORIGIN_LOGITS.values()),
            default_float=0.0,
        ),
        helper.make_node("Cast", ["origin_logit"], ["origin_double"], to=TensorProto.DOUBLE),
        helper.make_node("Add", ["weighted", "origin_double"], ["sum"]),
        helper.make_node("Add", ["sum", "bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
        helper.make_node("Cast", ["probability"], ["score"], to=TensorProto.FLOAT),
    ]
    constants = [
        helper.make_tensor("rate_index", TensorProto.INT64, [], [numbers.index(RATE)]),
        helper.make_tensor("origin_index", TensorProto.INT64, [], [categories.index("origin")]),
        helper.make_tensor("fill", TensorProto.DOUBLE, [], [0.25]),
        helper.make_tensor("weight", TensorProto.DOUBLE, [], [4.0]),
        helper.make_tensor("bias", TensorProto.DOUBLE, [], [-2.0]),
    ]
    body = helper.make_graph(
        nodes,
        "made-flights",
        [
            helper.make_tensor_value_info("numbers", TensorProto.DOUBLE, ["n", len(numbers)]),
            helper.make_tensor_value_info("categories", TensorProto.STRING, ["n", len(categories)]),
        ],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])],
        constants,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 4)]
    model: onnx.ModelProto = helper.make_model(body, opset_imports=opsets, ir_version=10)
    return bytes(model.SerializeToString())


def files() -> dict[str, bytes]:
    """The files of the version, without manifest and signature."""
    golden = [{"event": event(row), "score": expected_score(row)} for row in flights(8, seed=1)]
    lines = "".join(f"{json.dumps(line)}\n" for line in golden).encode()
    return {GRAPH: graph(), CONTRACT: CONTRACT_FILE.read_bytes(), GOLDEN: lines}


def publish(store: ObjectStore, signer: Ed25519Signer) -> ModelVersions:
    """Write the version and make it live."""
    contents = files()
    manifest = small_model.manifest(VERSION, contents).model_copy(update={"model": MODEL})
    assert manifest.files[GRAPH] == FileEntry.of(contents[GRAPH])
    versions = ModelVersions(store, MODEL)
    document = manifest.to_bytes()
    versions.write(VERSION, contents, document, signer.sign(document))
    versions.promote(VERSION)
    return versions
