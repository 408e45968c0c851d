"""What the first event waits for: a fresh process with only what the layers ship, from nothing to a score."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import small_model
from eventscore.signing import Ed25519Signer
from eventscore.store.folder import FolderStore
from eventscore_flights.demo.stack import BUCKET, DemoStack, set_up, sync_folder
from eventscore_local.layers import HostLayers, build_for_host
from eventscore_local.ministack import CREDENTIALS, Ministack
from test_sources import sqs

ROOT = Path(__file__).resolve().parent.parent
HEAVY = (
    *(
        "torch",
        "pandas",
        "sklearn",
        "scipy",
        "click",
        "rich",
        "pydantic_settings",
        "polars",
        "onnx",
        "matplotlib",
        "jinja2",
    ),
    *("confluent_kafka", "moto", "requests"),
)
FOREIGN = (
    *HEAVY,
    "pytest",
    "eventscore_cli",
    "eventscore_flights",
    "eventscore_local",
    "eventscore_training",
    "eventscore_website",
)
PROBE = """
import importlib.util, json, os, sys

class Watch:
    telemetry_at_import = "onnxruntime was never imported"
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            Watch.telemetry_at_import = os.environ.get("ORT_DISABLE_TELEMETRY")

sys.meta_path.insert(0, Watch())
import app
answer = app.handler(json.loads(sys.argv[1]), None)
modules = sorted(sys.modules)
importable = [name for name in json.loads(sys.argv[2]) if importlib.util.find_spec(name)]
print(json.dumps({
    "probe": True, "answer": answer, "modules": modules, "importable": importable, "telemetry": Watch.telemetry_at_import,
}))
"""
NEEDED = {
    "eventscore",
    *(
        f"eventscore.{module}"
        for module in (
            *(
                "function",
                "settings",
                "live_model",
                "telemetry",
                "metric_lines",
                "process_age",
                "stopwatch",
                "errors",
                "time_left",
            ),
            *("sources", "sources.recognise", "sources.source", "sources.base64_payload", "background"),
            *("sources.sqs", "sources.kinesis", "sources.kafka", "records", "scoring"),
            *("store", "store.location", "store.objects", "store.versions"),
            *("artifact", "served_manifest", "served_contract", "signing", "digests"),
            *("decoding", "duplicate_keys", "violations", "columns", "session"),
            *("graph_inspection", "model_cache", "model_news", "refresher", "retry_schedule", "routing", "scorer"),
            *("direct", "sources.origin", "telling", "version_source", "wiring"),
        )
    ),
}
"""All of the core that scoring a direct event loads, beside the store; a module that joins them costs every cold start."""
OF_A_FOLDER = {"eventscore.store.folder"}
OF_A_BUCKET = {f"eventscore.{module}" for module in ("store.s3_reads", "plain_access", "plain_http", "signature_v4")}
OF_A_QUEUE = {f"eventscore.{module}" for module in ("service", "delivery", "delivery.sink", "delivery.rejection")}
OF_SQS = {"eventscore.aws"} | {
    f"eventscore.delivery.{module}"
    for module in ("open_sinks", "addresses", "sqs", "plain_sqs", "batched", "backoff", "call_failure", "message_text")
}
"""What a queue as sink loads; the module of every other sink is loaded where that one is configured."""
COSTLY = {
    *("boto3", "botocore", "pydantic", "pydantic_core", "aws_lambda_powertools", "logging"),
    *("concurrent", "dataclasses", "email", "http", "ssl", "urllib3"),
    "typing_extensions",
}
"""What a first score does not wait for: each of these costs between a tenth of numpy's import and twice all of it."""

COSTLY_BESIDE_A_BUCKET = {*COSTLY, "_hashlib", "hashlib", "hmac", "pathlib", "stringprep", "tempfile", "urllib"}
"""A folder takes some of them; what a function on Lambda reads is a bucket."""


@dataclass(frozen=True)
class ColdStart:
    """What a fresh process told of itself."""

    answer: Any
    modules: list[str]
    importable: list[str]
    telemetry: str
    home: Path

    @property
    def packages(self) -> set[str]:
        return {name.partition(".")[0] for name in self.modules}

    @property
    def core(self) -> set[str]:
        return {name for name in self.modules if name.partition(".")[0] == "eventscore"}


Start = Callable[[Mapping[str, str], Any], ColdStart]


@pytest.fixture(scope="module")
def host_layers() -> HostLayers:
    return build_for_host(ROOT)


@pytest.fixture
def start(host_layers: HostLayers, tmp_path: Path) -> Start:
    """Run the function's own app.py once, in a process that sees its layers and the managed runtime, and nothing else."""
    folders = [
        ROOT / "functions/score",
        *(layer / "python" for layer in host_layers.layers),
        host_layers.managed_runtime,
    ]
    home = tmp_path / "home"
    home.mkdir()

    def run(variables: Mapping[str, str], invocation: Any) -> ColdStart:
        ran = subprocess.run(
            [sys.executable, "-S", "-B", "-c", PROBE, json.dumps(invocation), json.dumps(FOREIGN)],
            env={"PYTHONPATH": os.pathsep.join(map(str, folders)), "HOME": str(home), "LANG": "C.UTF-8", **variables},
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        (told,) = [line for line in map(json.loads, ran.stdout.splitlines()) if line.pop("probe", False)]
        return ColdStart(**told, home=home)

    return run


@pytest.fixture
def folder_variables(tmp_path: Path, signer: Ed25519Signer) -> dict[str, str]:
    store = tmp_path / "model_store"
    small_model.publish(FolderStore(store), signer)
    return {
        "EVENTSCORE_STORE": str(store),
        "EVENTSCORE_MODEL": small_model.MODEL,
        "EVENTSCORE_TRUSTED_KEYS": signer.public_key,
    }


def test_the_first_score_from_a_folder_loads_nothing_that_it_does_not_need(
    start: Start, folder_variables: dict[str, str]
) -> None:
    cold = start(folder_variables, [small_model.EVENT])
    assert cold.answer[0]["score"] == pytest.approx(small_model.expected_score(small_model.EVENT), abs=1e-6)
    assert not cold.packages & {*HEAVY, *COSTLY}
    assert cold.importable == [], "the layers ship nothing of training, the command or the tests"
    assert cold.core == NEEDED | OF_A_FOLDER
    assert cold.telemetry == "1", "ONNX Runtime's telemetry is off before its import, though no variable says so"
    assert list(cold.home.iterdir()) == [], "nothing is written to the home folder"


def test_the_pull_begins_before_anything_heavy_is_imported(host_layers: HostLayers, tmp_path: Path) -> None:
    code = "import sys, eventscore.function; print(*sorted(sys.modules))"
    folders = [*(layer / "python" for layer in host_layers.layers), host_layers.managed_runtime]
    ran = subprocess.run(
        [sys.executable, "-S", "-B", "-c", code],
        env={"PYTHONPATH": os.pathsep.join(map(str, folders)), "HOME": str(tmp_path), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    packages = {name.partition(".")[0] for name in ran.stdout.split()}
    assert {"eventscore", "msgspec"} <= packages
    assert not packages & {*HEAVY, *COSTLY, "numpy", "onnxruntime", "cryptography"}


@dataclass(frozen=True)
class Aws:
    """An AWS on this machine with the small model in its bucket."""

    stack: DemoStack
    variables: dict[str, str]


@pytest.fixture
def aws(folder_variables: dict[str, str]) -> Iterator[Aws]:
    with Ministack(ROOT) as ministack:
        stack = set_up(ministack)
        sync_folder(stack.s3, Path(folder_variables["EVENTSCORE_STORE"]), BUCKET)
        variables = {
            **folder_variables,
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": ministack.endpoint_url,
            "EVENTSCORE_STORE": f"s3://{BUCKET}",
            "EVENTSCORE_SINK": f"sqs:{stack.scores_url}",
            "EVENTSCORE_REJECT_QUEUE_URL": stack.rejects_url,
        }
        yield Aws(stack, variables)


@pytest.mark.emulator
def test_the_first_score_from_a_bucket_loads_no_botocore_though_there_are_queues(start: Start, aws: Aws) -> None:
    cold = start(aws.variables, [small_model.EVENT])
    assert cold.answer[0]["score"] == pytest.approx(small_model.expected_score(small_model.EVENT), abs=1e-6)
    assert not cold.packages & {*HEAVY, *COSTLY_BESIDE_A_BUCKET}
    assert cold.core == NEEDED | OF_A_BUCKET | OF_A_QUEUE | OF_SQS
    assert cold.telemetry == "1"


@pytest.mark.emulator
def test_the_first_answer_is_in_its_queue_without_botocore(start: Start, aws: Aws) -> None:
    cold = start(aws.variables, sqs(small_model.message().decode()))
    assert cold.answer == {"batchItemFailures": []}
    (message,) = aws.stack.sqs.receive_message(QueueUrl=aws.stack.scores_url, MessageAttributeNames=["All"])["Messages"]
    assert json.loads(message["Body"])["event_id"] == "o-1"
    assert message["MessageAttributes"]["origin"] == {"DataType": "String", "StringValue": "m-0"}
    assert not cold.packages & {*HEAVY, *COSTLY_BESIDE_A_BUCKET}
    assert cold.importable == []
    assert cold.core == NEEDED | OF_A_BUCKET | OF_A_QUEUE | OF_SQS
    assert cold.telemetry == "1"


@pytest.mark.emulator
def test_a_queue_that_refuses_is_asked_again_by_botocore(start: Start, aws: Aws) -> None:
    aws.stack.sqs.delete_queue(QueueUrl=aws.stack.scores_url)
    cold = start(aws.variables, sqs(small_model.message().decode()))
    assert cold.answer == {"batchItemFailures": [{"itemIdentifier": "m-0"}]}
    assert "botocore" in cold.packages


@pytest.mark.emulator
def test_whoever_asks_for_more_than_the_plain_way_to_a_bucket_gets_botocore(start: Start, aws: Aws) -> None:
    variables = {
        name: of for name, of in aws.variables.items() if name not in ("EVENTSCORE_SINK", "EVENTSCORE_REJECT_QUEUE_URL")
    }
    cold = start({**variables, "AWS_USE_DUALSTACK_ENDPOINT": "false"}, [small_model.EVENT])
    assert cold.answer[0]["event_id"] == "o-1"
    assert "eventscore.store.s3" in cold.core
    assert "botocore" in cold.packages
