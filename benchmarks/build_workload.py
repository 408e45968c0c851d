"""Builds the version that the throughput benchmark scores with: random weights, but otherwise made as the training job makes one.

A program of its own, `python benchmarks/build_workload.py FOLDER`, because it imports torch, and the process that is measured must
not. It writes a model store to FOLDER, one signed version live in it, and prints the public key that signed.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import workload
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventscore.contract import Contract, parse_contract
from eventscore.manifest import (
    BASELINE,
    CONTRACT,
    GOLDEN,
    GRAPH,
    FileEntry,
    GoldenTolerance,
    Manifest,
    Provenance,
    new_version,
)
from eventscore.signing import Ed25519Signer
from eventscore.store.folder import FolderStore
from eventscore.store.versions import ModelVersions
from eventscore_training.baseline import build_baseline
from eventscore_training.encoding import Encoding, Vocabulary
from eventscore_training.export import OPSET, build_graph
from eventscore_training.golden import golden_lines, golden_tolerance
from eventscore_training.inference import run_graph
from eventscore_training.network import LayerWeights, NetworkWeights
from eventscore_training.quantize import quantize
from eventscore_training.table import Table

WIDTHS = (256, 128, 64)
EMBEDDING_WIDTH = 16
_SEED = 20261121
_ROWS = 4_096
_GOLDEN_EVENTS = 64


def build(folder: Path) -> str:
    """Write the store to ``folder``; the answer is the public key, base64."""
    raw_contract = workload.contract_toml().encode()
    contract = parse_contract(raw_contract, "the throughput benchmark's contract")
    events = workload.make_events(_ROWS, _SEED)
    columns = _columns(events, contract)
    fp32 = build_graph(contract, _encoding(contract), _random_weights(contract))
    int8 = quantize(fp32, contract, columns, _SEED)
    graph = bytes(int8.SerializeToString())
    files = {
        GRAPH: graph,
        CONTRACT: raw_contract,
        GOLDEN: golden_lines(graph, events[:_GOLDEN_EVENTS], contract),
    }
    table = Table("validation", "made", "0" * 64, columns, columns, np.zeros(_ROWS, np.int8))
    scores = run_graph(graph, columns, contract)
    files[BASELINE] = json.dumps(build_baseline(columns, contract, scores, scores)).encode()
    created_at = datetime.now(UTC)
    manifest = Manifest(
        model=workload.MODEL,
        version=new_version(graph, created_at),
        task="binary",
        created_at=created_at,
        opset=OPSET,
        files={name: FileEntry.of(content) for name, content in files.items()},
        golden=GoldenTolerance(tolerance=golden_tolerance(graph, table, contract), events=_GOLDEN_EVENTS),
        metrics={},
        provenance=Provenance(tables=(), commit=None, libraries={}, seed=_SEED, device="cpu", configuration={}),
    )
    signer = Ed25519Signer(Ed25519PrivateKey.generate())
    document = manifest.to_bytes()
    versions = ModelVersions(FolderStore(folder), workload.MODEL)
    versions.write(manifest.version, files, document, signer.sign(document))
    versions.promote(manifest.version)
    return signer.public_key


def _columns(events: list[dict[str, Any]], contract: Contract) -> pl.DataFrame:
    types = {name: pl.String if name in contract.categories else pl.Float64 for name in contract.features}
    return pl.DataFrame({name: [event.get(name) for event in events] for name in types}, schema=types)


def _encoding(contract: Contract) -> Encoding:
    count = len(contract.numbers)
    return Encoding(
        medians=np.zeros(count),
        means=np.zeros(count),
        scales=np.full(count, 100.0),
        clip_at=3.0,
        flagged=tuple(at for at, name in enumerate(contract.numbers) if contract.features[name].missing == "median"),
        vocabularies=tuple(
            Vocabulary(name, workload.vocabulary(name), EMBEDDING_WIDTH) for name in contract.categories
        ),
    )


def _random_weights(contract: Contract) -> NetworkWeights:
    chance = np.random.default_rng(_SEED)
    encoding = _encoding(contract)

    def normal(*shape: int, scale: float) -> np.ndarray[Any, np.dtype[np.float32]]:
        return chance.normal(0, scale, shape).astype(np.float32)

    sizes = (encoding.width, *WIDTHS, 1)
    layers = [(normal(to, of, scale=(2 / of) ** 0.5), normal(to, scale=0.1)) for of, to in pairwise(sizes)]
    weight, bias = layers[-1]
    return NetworkWeights(
        embeddings=tuple(normal(each.rows, each.width, scale=1.0) for each in encoding.vocabularies),
        layers=tuple(LayerWeights(weight, bias) for weight, bias in layers[:-1]),
        head=(weight[None], bias[None]),  # of the one member
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python benchmarks/build_workload.py FOLDER")
    print(build(Path(sys.argv[1])))
