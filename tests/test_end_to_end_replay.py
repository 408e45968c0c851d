"""Events that a version's contract rejects are scored exactly once after the contract is mended, promoted, and they are replayed.

Real protocols: the function in Lambda's emulator, an SQS and a Kinesis mapping, ministack's S3, SQS, Kinesis and CloudFormation.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import small_model
from eventscore import aws as aws_sessions
from eventscore.manifest import CONTRACT
from eventscore.signing import Ed25519Signer
from eventscore.store.s3 import S3Store
from eventscore.store.versions import ModelVersions
from eventscore_flights.demo.stack import BUCKET, STREAM, DemoStack, function_variables, set_up
from eventscore_local.environment_pool import EnvironmentPool
from eventscore_local.event_source_mappings.batching import BatchLimits
from eventscore_local.event_source_mappings.kinesis import KinesisMapping
from eventscore_local.event_source_mappings.sqs import SqsMapping
from eventscore_local.function_configuration import FunctionConfiguration
from eventscore_local.layers import build_for_host
from eventscore_local.ministack import Ministack
from test_cli import Run, run

__all__ = ["run"]

pytestmark = [pytest.mark.emulator, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parent.parent
STACK = "scores"
DEADLINE_S = 90


@dataclass
class Loop:
    """The stack under its name, and what arrived in its queues."""

    aws: DemoStack
    store: S3Store
    signer: Ed25519Signer
    log: list[str]

    def until(self, what: Callable[[], bool]) -> None:
        end = time.monotonic() + DEADLINE_S
        while not what():
            assert time.monotonic() < end
            time.sleep(0.1)

    def depth(self, url: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(value) for value in found.values())

    def scored(self) -> list[dict[str, Any]]:
        """All answers, taken out of the sink."""
        found: list[dict[str, Any]] = []
        while messages := self.aws.sqs.receive_message(QueueUrl=self.aws.scores_url, MaxNumberOfMessages=10).get(
            "Messages", []
        ):
            for message in messages:
                self.aws.sqs.delete_message(QueueUrl=self.aws.scores_url, ReceiptHandle=message["ReceiptHandle"])
                found.append(json.loads(message["Body"]))
        return [answer for answer in found if answer["event_id"] != "nudge"]


@pytest.fixture
def loop(signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    layers = build_for_host(ROOT)
    log: list[str] = []
    with ExitStack() as running:
        aws = running.enter_context(Ministack(ROOT))
        monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
        aws_sessions._session.cache_clear()
        running.callback(aws_sessions._session.cache_clear)
        stack = set_up(aws)
        outputs = {
            "ModelBucketName": BUCKET,
            "ModelName": small_model.MODEL,
            "TrustedKeys": signer.public_key,
            "RejectQueueUrl": stack.rejects_url,
            "EventQueueUrl": stack.events_url,
            "EventDeadLetterQueueUrl": stack.dead_letters_url,
            "EventStreamName": STREAM,
        }
        template = {
            "Resources": {"Nothing": {"Type": "AWS::SQS::Queue"}},
            "Outputs": {name: {"Value": value} for name, value in outputs.items()},
        }
        aws.client("cloudformation").create_stack(StackName=STACK, TemplateBody=json.dumps(template))
        store = S3Store(BUCKET, "", stack.s3)
        small_model.publish(store, signer, "v1")
        variables = dict(function_variables(aws, stack, small_model.MODEL, signer.public_key))
        function = FunctionConfiguration(
            ROOT / "functions" / "score",
            layers.managed_runtime,
            layers.layers,
            {**variables, "EVENTSCORE_REFRESH_SECONDS": "1"},
        )
        pool = running.enter_context(EnvironmentPool(ROOT, function, 1, log.append))
        batch = BatchLimits(size=10)
        running.enter_context(SqsMapping(pool.invoke, stack.sqs, stack.events_url, batch=batch, concurrency=1))
        running.enter_context(KinesisMapping(pool.invoke, stack.kinesis, stack.stream_arn, batch=batch))
        yield Loop(stack, store, signer, log)


def mended(signer: Ed25519Signer, store: S3Store) -> None:
    """Publish and promote a version whose contract knows the channel that the first one does not."""
    contents = small_model.files(bias=0.5)
    text = contents[CONTRACT].decode()
    assert 'values = ["web", "shop"]' in text
    contents[CONTRACT] = text.replace('values = ["web", "shop"]', 'values = ["web", "shop", "phone"]').encode()
    versions = ModelVersions(store, small_model.MODEL)
    document = small_model.manifest("v2", contents).to_bytes()
    versions.write("v2", contents, document, signer.sign(document))
    versions.promote("v2")


def test_what_one_version_rejects_is_scored_exactly_once_after_the_next_was_promoted(run: Run, loop: Loop) -> None:
    count = 14
    bodies = [small_model.message(order=f"o-{number}", channel="phone") for number in range(count)]
    for number, body in enumerate(bodies):
        if number % 2:
            loop.aws.sqs.send_message(QueueUrl=loop.aws.events_url, MessageBody=body.decode())
        else:
            loop.aws.kinesis.put_record(StreamName=STREAM, Data=body, PartitionKey=f"c-{number}")
    loop.aws.sqs.send_message(QueueUrl=loop.aws.events_url, MessageBody="no event")
    loop.until(lambda: loop.depth(loop.aws.rejects_url) == count + 1)

    looked = run("replay", "rejected", "--stack", STACK, "--reason", "unknown_value")
    assert looked.code == 0
    assert f"{count} would be sent" in looked.out
    assert loop.depth(loop.aws.rejects_url) == count + 1

    # Before the contract is mended a replay comes to nothing but itself: what is rejected again is a new message, for another run.
    assert run("replay", "rejected", "--stack", STACK, "--reason", "unknown_value", "--limit", "3", "--send").code == 0
    loop.until(lambda: loop.depth(loop.aws.rejects_url) == count + 1)

    mended(loop.signer, loop.store)
    loop.until(lambda: any('"ModelLoaded"' in line for line in loop.log) or bool(_nudge(loop)))
    loop.scored()
    sent = run("replay", "rejected", "--stack", STACK, "--reason", "unknown_value", "--send", "--per-second", "200")
    assert (sent.code, sent.err) == (0, "")
    assert f"{count} sent, and removed from the queue" in sent.out
    answers: list[dict[str, Any]] = []
    loop.until(lambda: len(answers.extend(loop.scored()) or answers) >= count)  # type: ignore[func-returns-value]
    again = run("replay", "rejected", "--stack", STACK, "--reason", "unknown_value", "--send")
    assert again.code == 0
    assert "sent" not in again.out
    loop.until(lambda: loop.depth(loop.aws.events_url) == 0)
    answers += loop.scored()
    assert sorted(answer["event_id"] for answer in answers) == sorted(f"o-{number}" for number in range(count))
    assert {answer["version"] for answer in answers} == {"v2"}
    assert loop.depth(loop.aws.rejects_url) == 1, "what was not selected is where it was"


def _nudge(loop: Loop) -> None:
    """A warm environment looks for another version when an event comes by."""
    loop.aws.sqs.send_message(QueueUrl=loop.aws.events_url, MessageBody=small_model.message(order="nudge").decode())
