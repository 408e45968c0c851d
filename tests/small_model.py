"""A model small enough to reason about, as a version like any other: contract, graph, golden events, manifest, signature.

``score = sigmoid(0.01 * amount + 0.5 * balance' + is_new' + country' + channel')``: a missing balance counts as 2, a missing is_new
as 0; country counts 1 for FR, 2 for DE, -1 where missing, 0 where unseen; channel counts 0 for web and 1 for shop.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import TensorProto, helper

from eventscore.contract import Contract, parse_contract
from eventscore.manifest import CONTRACT, GOLDEN, GRAPH, FileEntry, GoldenTolerance, Manifest, Provenance, TableEntry
from eventscore.signing import Ed25519Signer
from eventscore.store.objects import ObjectStore
from eventscore.store.versions import ModelVersions

MODEL = "small"
CONTRACT_TOML = """\
format = 1

[model]
name = "small"
task = "binary"
description = "A small model for tests."

[event]
id = "order"
time = "at"
rollout_key = "customer"
max_bytes = 2000

[features.amount]
type = "number"
min = 0
max = 1000

[features.balance]
type = "number"
min = -100
max = 100
missing = "median"

[features.is_new]
type = "boolean"
missing = "median"

[features.country]
type = "category"
max_length = 12
missing = "own"

[features.channel]
type = "category"
values = ["web", "shop"]
unseen = "refuse"

[label]
field = "fraud"

[[decisions]]
name = "accept"
from = 0.0

[[decisions]]
name = "decline"
from = 0.9
"""
EVENT: dict[str, Any] = {
    "order": "o-1",
    "at": "2026-11-21T10:15:00Z",
    "customer": "c-1",
    "amount": 12.5,
    "balance": 1.0,
    "is_new": True,
    "country": "FR",
    "channel": "web",
}


def contract(toml: str = CONTRACT_TOML) -> Contract:
    """The small model's contract."""
    return parse_contract(toml.encode(), "small contract")


def event(**changes: Any) -> dict[str, Any]:
    """A good event; ``changes`` replace fields, and a field that is changed to ``...`` is left out."""
    return {name: value for name, value in {**EVENT, **changes}.items() if value is not ...}


def message(**changes: Any) -> bytes:
    """A good event as bytes, with ``changes`` as in :func:`event`."""
    return json.dumps(event(**changes)).encode()


def expected_score(fields: dict[str, Any]) -> float:
    """The formula of this module's docstring."""
    logit = 0.01 * fields["amount"]
    balance = fields.get("balance")
    logit += 0.5 * (2.0 if balance is None else balance)
    logit += float(fields.get("is_new") or False)
    country = fields.get("country")
    logit += -1.0 if country is None else {"FR": 1.0, "DE": 2.0}.get(country, 0.0)
    logit += {"web": 0.0, "shop": 1.0}[fields["channel"]]
    return 1 / (1 + math.exp(-logit))


def graph(bias: float = 0.0) -> bytes:
    """The graph; ``bias`` is added to the logit, which makes another version of it."""
    nodes = [
        helper.make_node("IsNaN", ["numbers"], ["gap"]),
        helper.make_node("Where", ["gap", "fill", "numbers"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["from_numbers"]),
        helper.make_node("Split", ["categories"], ["country", "channel"], axis=1, num_outputs=2),
        _vocabulary("country", ["FR", "DE", ""], [1.0, 2.0, -1.0]),
        _vocabulary("channel", ["web", "shop"], [0.0, 1.0]),
        helper.make_node("Add", ["country_value", "channel_value"], ["from_categories"]),
        helper.make_node("Cast", ["from_categories"], ["from_categories_64"], to=TensorProto.DOUBLE),
        helper.make_node("Add", ["from_numbers", "from_categories_64"], ["sum"]),
        helper.make_node("Add", ["sum", "bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
        helper.make_node("Cast", ["probability"], ["score_column"], to=TensorProto.FLOAT),
        helper.make_node("Squeeze", ["score_column", "axis"], ["score"]),
    ]
    constants = [
        helper.make_tensor("fill", TensorProto.DOUBLE, [3], [0.0, 2.0, 0.0]),
        helper.make_tensor("weights", TensorProto.DOUBLE, [3, 1], [0.01, 0.5, 1.0]),
        helper.make_tensor("bias", TensorProto.DOUBLE, [1], [bias]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
    ]
    body = helper.make_graph(
        nodes,
        "small",
        [
            helper.make_tensor_value_info("numbers", TensorProto.DOUBLE, ["n", 3]),
            helper.make_tensor_value_info("categories", TensorProto.STRING, ["n", 2]),
        ],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])],
        constants,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 4)]
    model: onnx.ModelProto = helper.make_model(body, opset_imports=opsets, ir_version=10)
    return bytes(model.SerializeToString())


def _vocabulary(name: str, keys: list[str], values: list[float]) -> onnx.NodeProto:
    return helper.make_node(
        "LabelEncoder",
        [name],
        [f"{name}_value"],
        domain="ai.onnx.ml",
        keys_strings=keys,
        values_floats=values,
        default_float=0.0,
    )


def golden() -> bytes:
    """Golden events with the scores that the formula gives."""
    events = [event(), event(balance=...), event(country=None, channel="shop"), event(country="unseen")]
    lines = [json.dumps({"event": each, "score": expected_score(each)}) for each in events]
    return "".join(f"{line}\n" for line in lines).encode()


def new_signer() -> Ed25519Signer:
    """A signer with a key of its own."""
    return Ed25519Signer(Ed25519PrivateKey.generate())


def files(bias: float = 0.0) -> dict[str, bytes]:
    """The files of a version, without manifest and signature."""
    golden_lines = golden()
    if bias:
        lines = [json.loads(line) for line in golden_lines.splitlines()]
        for line in lines:
            logit = math.log(line["score"] / (1 - line["score"])) + bias
            line["score"] = 1 / (1 + math.exp(-logit))
        golden_lines = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    return {GRAPH: graph(bias), CONTRACT: CONTRACT_TOML.encode(), GOLDEN: golden_lines}


def manifest(version: str, contents: dict[str, bytes]) -> Manifest:
    """The manifest of ``contents``."""
    return Manifest(
        model=MODEL,
        version=version,
        task="binary",
        created_at=datetime(2026, 11, 21, 10, 15, tzinfo=UTC),
        opset=21,
        files={name: FileEntry.of(content) for name, content in contents.items()},
        golden=GoldenTolerance(tolerance=1e-4, events=max(1, len(contents[GOLDEN].splitlines()))),
        metrics={"int8": {"roc_auc": 0.75}},
        provenance=Provenance(
            tables=(TableEntry(part="train", sha256="0" * 64, rows=10),),
            commit=None,
            libraries={},
            seed=1,
            device="cpu",
            configuration={},
        ),
    )


def publish(store: ObjectStore, signer: Ed25519Signer, version: str = "v1", bias: float = 0.0) -> ModelVersions:
    """Write a version of the small model and make it live."""
    versions = ModelVersions(store, MODEL)
    contents = files(bias)
    document = manifest(version, contents).to_bytes()
    versions.write(version, contents, document, signer.sign(document))
    versions.promote(version)
    return versions


def flip_byte(path: Path, position: int = -3) -> None:
    """Change one bit of one byte of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 0x01
    path.write_bytes(bytes(content))
