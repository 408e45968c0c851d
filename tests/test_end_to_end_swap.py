"""A warm function in Lambda's emulator follows a bucket: it takes a promoted version, and outlives a corrupt one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import small_model
from eventscore.signing import Ed25519Signer
from eventscore.store.s3 import S3Store
from eventscore_flights.demo.stack import BUCKET, DemoStack, function_variables, set_up
from eventscore_local.environment_pool import EnvironmentPool
from eventscore_local.function_configuration import FunctionConfiguration
from eventscore_local.layers import build_for_host
from eventscore_local.ministack import Ministack
from test_sources import sqs

pytestmark = [pytest.mark.emulator, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parent.parent
DEADLINE_S = 60


@dataclass
class Running:
    """One environment of the function, looking at its channel every second, and what it logs."""

    pool: EnvironmentPool
    stack: DemoStack
    store: S3Store
    log: list[str] = field(default_factory=list)

    def answers(self, *bodies: str) -> list[dict[str, Any]]:
        """Send a batch; the answers and rejections that came out."""
        result = self.pool.invoke(json.dumps(sqs(*bodies)).encode())
        assert result.error is None, result.error
        assert json.loads(result.payload) == {"batchItemFailures": []}
        out: list[dict[str, Any]] = []
        while len(out) < len(bodies):
            for url in (self.stack.scores_url, self.stack.rejects_url):
                for message in self.stack.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", ()):
                    self.stack.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                    out.append(json.loads(message["Body"]))
        return out

    def told(self, what: str) -> list[dict[str, Any]]:
        """The JSON lines with a key or a message so called."""
        lines = [json.loads(line) for line in list(self.log) if line.startswith("{")]
        return [line for line in lines if what in line or line.get("message") == what]


@pytest.fixture
def running(signer: Ed25519Signer) -> Iterator[Running]:
    layers = build_for_host(ROOT)
    log: list[str] = []
    with Ministack(ROOT) as aws:
        stack = set_up(aws)
        store = S3Store(BUCKET, "", stack.s3)
        small_model.publish(store, signer, "v1")
        variables = dict(function_variables(aws, stack, small_model.MODEL, signer.public_key))
        function = FunctionConfiguration(
            ROOT / "functions" / "score",
            layers.managed_runtime,
            layers.layers,
            {**variables, "EVENTSCORE_REFRESH_SECONDS": "1"},
        )
        with EnvironmentPool(ROOT, function, 1, log.append) as pool:
            yield Running(pool, stack, store, log)


def test_a_promoted_version_takes_over_while_the_function_is_warm_and_a_corrupt_one_never_does(
    running: Running, signer: Ed25519Signer
) -> None:
    good, poison = small_model.message().decode(), "no event"
    assert {body["version"] for body in running.answers(good, poison)} == {"v1"}

    small_model.publish(running.store, signer, "v2", bias=0.5)
    seen: list[str] = []
    until = time.monotonic() + DEADLINE_S
    while "v2" not in seen:
        assert time.monotonic() < until, seen
        versions = [body["version"] for body in running.answers(good, poison)]
        assert len(set(versions)) == 1, "one batch, one version"
        seen += versions
    assert seen == sorted(seen), "v1 until v2 was ready, and never again"
    (loaded,) = running.told("ModelLoaded")
    assert (loaded["version"], loaded["replaced"]) == ("v2", "v1")
    assert len(running.told("ColdStart")) == 1, "the environment was never started again"

    small_model.publish(running.store, signer, "v3", bias=1.0)
    key = f"{small_model.MODEL}/versions/v3/model.onnx"
    content = bytearray(running.store.read(key).content)
    content[len(content) // 2] ^= 1
    running.stack.s3.put_object(Bucket=BUCKET, Key=key, Body=bytes(content))
    until = time.monotonic() + DEADLINE_S
    while len(running.told("ModelLoadFailed")) < 2:
        assert time.monotonic() < until
        assert {body["version"] for body in running.answers(good, poison)} == {"v2"}
    failure = running.told("model not loaded")[0]
    assert (failure["version"], failure["serving"], failure["error"]) == ("v3", "v2", "DigestMismatch")
    assert key in failure["reason"]
    assert {body["version"] for body in running.answers(good, poison)} == {"v2"}
