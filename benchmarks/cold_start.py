"""How long a fresh process takes to its first scored event, beside what is written by hand today and beside the floor.

Example: python benchmarks/cold_start.py
         python benchmarks/cold_start.py --json --store model_store --model flight-delay

See docs/benchmarks.md for what the contestants are and how the time is taken.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import describe_machine

from eventscore.artifact import load_artifact
from eventscore.manifest import CONTRACT, GOLDEN, GRAPH
from eventscore.settings import MODEL, REJECT_QUEUE_URL, SINK, STORE, TRUSTED_KEYS
from eventscore.signing import Ed25519Verifier, parse_trusted_keys
from eventscore.store.folder import FolderStore
from eventscore.store.versions import LIVE, ModelVersions
from eventscore_cli.options import STACK_CONFIGURATION, stack_trusted_keys
from eventscore_local.function_configuration import FunctionConfiguration
from eventscore_local.layers import build_for_host, installed
from eventscore_local.ministack import CREDENTIALS, Ministack

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(__file__).with_name("cold_start_programs")
REPETITIONS = 11
BUCKET = "models"
_TIMEOUT_S = 60
_DISTRIBUTIONS = ("numpy", "onnxruntime", "boto3", "pydantic", "aws-lambda-powertools")


@dataclass(frozen=True)
class Model:
    """A version that was checked here once: what is scored, and what its score must be."""

    versions: ModelVersions
    version: str
    event: bytes
    score: float
    tolerance: float
    fields: Mapping[str, Sequence[str]]

    def key(self, file: str) -> str:
        """The key of one of the version's files."""
        return self.versions.key(self.version, file)


@dataclass(frozen=True)
class Contestant:
    """A program, and the environment of its process."""

    command: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Start:
    """One cold start: milliseconds from before the process was made to after its event was scored, and its own metrics."""

    ms: float
    parts_ms: Mapping[str, float]


def read_model(store: Path, name: str, trusted_keys: str) -> Model:
    """The live version of a model in a folder, verified, with its first golden event."""
    versions = ModelVersions(FolderStore(store), name)
    version = versions.resolve(LIVE)
    artifact = load_artifact(versions, version, Ed25519Verifier(parse_trusted_keys(trusted_keys)))
    golden = json.loads(versions.read_file(version, GOLDEN).splitlines()[0])
    fields = {"numbers": artifact.contract.numbers, "categories": artifact.contract.categories}
    event = json.dumps(golden["event"]).encode()
    return Model(versions, version, event, golden["score"], artifact.manifest.golden.tolerance, fields)


def all_contestants(
    aws: Ministack, model: Model, store: Path, trusted_keys: str, scratch: Path
) -> dict[str, Contestant]:
    """Upload the model, and lay out everything that the programs read.

    All run on the same interpreter without site-packages, with the function's layers and the managed runtime's packages.
    """
    _upload(aws, store, (model.key(file) for file in (GRAPH, CONTRACT, GOLDEN, "manifest.json", "manifest.sig")))
    _upload(aws, store, [f"{model.versions.model}/channels.json"])
    queue = aws.client("sqs").create_queue(QueueName="answers")["QueueUrl"]
    event, fields = scratch / "event.json", scratch / "fields.json"
    event.write_bytes(model.event)
    fields.write_text(json.dumps(model.fields), encoding="utf-8")
    graph = scratch / GRAPH
    graph.write_bytes((store / model.key(GRAPH)).read_bytes())
    function = scratch / "function"
    shutil.copytree(ROOT / "functions" / "score", function)
    layers = build_for_host(ROOT)
    # What the peer imports beside what both do, and the function's layers do not hold whole.
    of_the_peer = installed(ROOT, "peer", ("pydantic", "aws-lambda-powertools"))

    def contestant(program: str, *arguments: Path, code: Path = function, **variables: str) -> Contestant:
        variables = {**CREDENTIALS, "AWS_ENDPOINT_URL": aws.endpoint_url, **variables}
        configuration = FunctionConfiguration(code, layers.managed_runtime, layers.layers, variables)
        # -S: no site-packages; -B: nothing is written beside the programs. What the layers ship has its bytecode.
        command = (str(configuration.python), "-S", "-B", str(PROGRAMS / program), *map(str, (event, *arguments)))
        return Contestant(command, configuration.environment)

    settings = {STORE: f"s3://{BUCKET}", MODEL: model.versions.model, TRUSTED_KEYS: trusted_keys}
    deployed = {**settings, SINK: f"sqs:{queue}", REJECT_QUEUE_URL: queue}
    peer = {"PEER_BUCKET": BUCKET, "PEER_KEY": model.key(GRAPH), "PEER_FIELDS": json.dumps(model.fields)}
    return {
        "ours": contestant("ours.py", **settings),
        "peer": contestant("peer.py", code=of_the_peer, **peer),
        "floor": contestant("floor.py", graph, fields),
        "ours_with_sink": contestant("ours.py", **deployed),
        "ours_delivered": contestant("ours_delivered.py", **deployed),
    }


def _upload(aws: Ministack, store: Path, keys: Iterable[str]) -> None:
    s3 = aws.client("s3")
    if BUCKET not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=BUCKET)
    for key in keys:
        s3.put_object(Bucket=BUCKET, Key=key, Body=(store / key).read_bytes())


def start(name: str, contestant: Contestant, model: Model) -> Start:
    """Start a contestant once; raises ``RuntimeError`` unless it gives the event its golden score."""
    began_ns = time.monotonic_ns()  # one clock for all processes
    done = subprocess.run(
        contestant.command, env=dict(contestant.environment), capture_output=True, timeout=_TIMEOUT_S, check=False
    )
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        raise RuntimeError(f"{name} failed with status {done.returncode}:\n{(done.stdout + done.stderr).decode()}")
    answer = json.loads(lines[-1])
    if answer["score"] is None or not abs(answer["score"] - model.score) <= model.tolerance:
        raise RuntimeError(f"{name}: expected the golden score {model.score}, got {answer['score']}")
    return Start((answer["done_ns"] - began_ns) / 1e6, _cold_start_parts(lines[:-1]))


def _cold_start_parts(lines: Iterable[bytes]) -> dict[str, float]:
    for line in lines:
        document: Any = json.loads(line)
        if "ColdStart" in document:
            parts = {key.removeprefix("ColdStart").lower(): of for key, of in document.items() if key != "ColdStart"}
            return {key: _number(of) for key, of in parts.items() if "ColdStart" + key.title() in document}
    return {}


def _number(value: Any) -> float:
    return float(value[0] if isinstance(value, list) else value)


def measure(contestants: Mapping[str, Contestant], model: Model, repetitions: int) -> dict[str, list[Start]]:
    """Start all contestants in turn, once more than asked: the first round warms the page cache and is dropped."""
    starts: dict[str, list[Start]] = {name: [] for name in contestants}
    names = list(contestants)
    for repetition in range(repetitions + 1):
        first = repetition % len(names)
        for name in names[first:] + names[:first]:
            started = start(name, contestants[name], model)
            if repetition:
                starts[name].append(started)
    return starts


def result(starts: Mapping[str, Sequence[Start]]) -> dict[str, Any]:
    """Medians, milliseconds; ratios as the median of the ratios within each round; the parts that ours reports of itself."""

    def ratio(other: str) -> float:
        pairs = zip(starts["ours"], starts[other], strict=True)
        return round(statistics.median(ours.ms / theirs.ms for ours, theirs in pairs), 3)

    parts = {name for each in starts["ours"] for name in each.parts_ms}
    return {
        **{f"{name}_ms": round(statistics.median(each.ms for each in of), 1) for name, of in starts.items()},
        "ours_to_floor": ratio("floor"),
        "ours_to_peer": ratio("peer"),
        "parts_ms": {
            name: round(statistics.median(each.parts_ms[name] for each in starts["ours"]), 1)
            for name in sorted(parts, key=list(starts["ours"][0].parts_ms).index)
        },
    }


def table(figures: Mapping[str, Any], starts: Mapping[str, Sequence[Start]]) -> str:
    """The figures for people."""
    lines = []
    for name, of in starts.items():
        milliseconds = sorted(each.ms for each in of)
        lines.append(f"{name:<16}{figures[f'{name}_ms']:8.1f} ms   ({milliseconds[0]:.1f} to {milliseconds[-1]:.1f})")
    lines.append(f"\nours / floor {figures['ours_to_floor']:.2f}   ours / peer {figures['ours_to_peer']:.2f}")
    lines.append(
        "ours by its own metrics, ms: " + ", ".join(f"{name} {ms:g}" for name, ms in figures["parts_ms"].items())
    )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print one JSON object or a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help=f"default {REPETITIONS}")
    parser.add_argument("--store", type=Path, default=ROOT / "model_store", help="a folder, default model_store")
    parser.add_argument("--model", default="flight-delay", help="default flight-delay")
    parser.add_argument("--trusted-key", help=f"the key that signed it, default TrustedKeys in {STACK_CONFIGURATION}")
    options = parser.parse_args(arguments)
    if options.repetitions < 1:
        parser.error("expected at least 1 repetition")
    trusted_keys = options.trusted_key or stack_trusted_keys(ROOT / STACK_CONFIGURATION)
    if trusted_keys is None:
        parser.error(f"expected --trusted-key, or TrustedKeys in {STACK_CONFIGURATION}")
    if not options.json:
        print(describe_machine(_DISTRIBUTIONS))
        print(
            f"Fresh process to first scored event: median of {options.repetitions} starts, taken in turn (least to "
            "most), page cache warm.\n"
        )
    model = read_model(options.store, options.model, trusted_keys)
    with tempfile.TemporaryDirectory(prefix="eventscore-cold-start-") as scratch, Ministack(ROOT) as aws:
        contestants = all_contestants(aws, model, options.store, trusted_keys, Path(scratch))
        starts = measure(contestants, model, options.repetitions)
    figures = result(starts)
    print(json.dumps(figures) if options.json else table(figures, starts))


if __name__ == "__main__":
    main()
