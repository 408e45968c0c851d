"""The whole stack in ministack, exercised from its queue to its sink, with the policies of AWS enforced.

What runs: `template.yaml` after SAM's own transform, with SnapStart and the alias; the layers, built for this machine's Python; the function
in a process of the emulator, over TLS, with the rights of its role and no more; ministack's own SQS and Kinesis mappings.

What ministack does not emulate, found by trying (docs/local-deployment.md has the list):
the key `s3:if-none-match` of a bucket policy; composite alarms and metric math through CloudFormation; CodeDeploy and Batch; metrics out of
log lines (put by `eventscore_local.emf` here); Kinesis mappings that honour a partial response. The account's root user is exempt from
bucket and queue policies, which it is not on AWS: the policies are tried by a user.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from conftest import ROOT
from eventscore_local.deployment import Deployer, Deployment
from eventscore_local.emf import MetricForwarder
from eventscore_local.layers import build_for_host
from eventscore_local.ministack import REGION, Ministack
from test_local_emulators import below, is_alive, listening_addresses, wait_for

pytestmark = pytest.mark.emulator

STACK = "eventscore"
MODEL_STORE = ROOT / "model_store"
(VERSION,) = (MODEL_STORE / "flight-delay" / "versions").iterdir()
GOLDEN = [json.loads(line) for line in (VERSION / "golden.jsonl").read_text().splitlines()]
TOLERANCE = json.loads((VERSION / "manifest.json").read_text())["golden"]["tolerance"]


def trusted_key() -> str:
    """The key among the parameters that `sam deploy` uses."""
    settings = tomllib.loads((ROOT / "samconfig.toml").read_text())
    (found,) = {
        one.removeprefix("TrustedKeys=")
        for environment in settings.values()
        if isinstance(environment, dict)
        for command in environment.values()
        for one in command.get("parameters", {}).get("parameter_overrides", [])
        if one.startswith("TrustedKeys=")
    }
    return str(found)


PARAMETERS = {"TrustedKeys": trusted_key(), "EnableKinesis": "true"}


@dataclass
class Stand:
    """The emulator, the deployer, and the stack in it."""

    aws: Ministack
    deployer: Deployer
    deployment: Deployment
    stack: ExitStack
    lines: list[str] = field(default_factory=list)

    def __getitem__(self, output: str) -> str:
        return self.deployment.outputs[output]

    def messages(self, output: str, count: int) -> list[dict[str, Any]]:
        """`count` messages of a queue, taken from it; fewer if no more come within a while."""
        sqs = self.aws.client("sqs")
        taken: list[dict[str, Any]] = []

        def enough() -> bool:
            answer = sqs.receive_message(QueueUrl=self[output], MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in answer.get("Messages", []):
                taken.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=self[output], ReceiptHandle=message["ReceiptHandle"])
            return len(taken) >= count

        wait_for(enough)
        return taken

    def depth(self, output: str) -> int:
        """How many messages a queue holds, visible or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.aws.client("sqs").get_queue_attributes(QueueUrl=self[output], AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def log_lines(self) -> list[str]:
        """All that the function has written."""
        pages = self.aws.client("logs").get_paginator("filter_log_events")
        found = pages.paginate(logGroupName=self["ScoreLogGroupName"]).build_full_result()
        return [one["message"] for one in found["events"]]


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    layers = build_for_host(ROOT)
    with ExitStack() as stack:
        aws = stack.enter_context(Ministack(ROOT, import_path=layers.managed_runtime, guarded=True))
        deployer = Deployer(aws, ROOT, layers)
        deployment = deployer.deploy(STACK, PARAMETERS)
        deployer.put_models(deployment.outputs["ModelBucketName"], MODEL_STORE)
        yield Stand(aws, deployer, deployment, stack)


def flight(number: int, **changes: Any) -> dict[str, Any]:
    event: dict[str, Any] = {**GOLDEN[number]["event"], "flight_id": f"flight-{number}"}
    return {name: value for name, value in {**event, **changes}.items() if value is not ...}


# ---------------------------------------------------------------------------------------------- from the queue to the sink


def test_events_sent_to_the_queue_are_scored_by_the_deployed_function_and_reach_the_sink(stand: Stand) -> None:
    sqs = stand.aws.client("sqs")
    for number in range(20):
        sqs.send_message(QueueUrl=stand["EventQueueUrl"], MessageBody=json.dumps(flight(number)))
    scored = {one["event_id"]: one for one in stand.messages("SinkQueueUrl", 20)}
    assert scored.keys() == {f"flight-{number}" for number in range(20)}
    assert {one["version"] for one in scored.values()} == {VERSION.name}
    for number in range(20):
        assert scored[f"flight-{number}"]["score"] == pytest.approx(GOLDEN[number]["score"], abs=TOLERANCE)
    assert wait_for(lambda: stand.depth("EventQueueUrl") == 0), "what is scored is gone from its queue"


def test_poison_is_rejected_with_its_reason_and_its_bytes_while_its_neighbours_are_scored(stand: Stand) -> None:
    sqs = stand.aws.client("sqs")
    broken = {
        "not_json": "{",
        "missing_field": json.dumps(flight(1, origin=...)),
        "wrong_type": json.dumps(flight(2, distance="far")),
    }
    bodies = [json.dumps(flight(3)), *broken.values(), json.dumps(flight(4))]
    entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
    assert not sqs.send_message_batch(QueueUrl=stand["EventQueueUrl"], Entries=entries).get("Failed")
    rejected = stand.messages("RejectQueueUrl", 3)
    assert {one["reason"]: one["body"] for one in rejected} == broken
    assert {one["event_id"] for one in stand.messages("SinkQueueUrl", 2)} == {"flight-3", "flight-4"}
    assert wait_for(lambda: stand.depth("EventQueueUrl") == 0)
    assert stand.depth("EventDeadLetterQueueUrl") == 0, "poison is not retried"


def test_records_of_the_stream_are_scored_too(stand: Stand) -> None:
    kinesis = stand.aws.client("kinesis")
    for number in range(5, 10):
        kinesis.put_record(
            StreamName=stand["EventStreamName"], Data=json.dumps(flight(number)).encode(), PartitionKey=str(number)
        )
    scored = {one["event_id"] for one in stand.messages("SinkQueueUrl", 5)}
    assert scored == {f"flight-{number}" for number in range(5, 10)}
    assert stand.depth("StreamFailureQueueUrl") == 0


def test_what_the_schedule_sends_keeps_an_environment_warm(stand: Stand) -> None:
    scheduler = stand.aws.client("scheduler")
    schedules = [one["Name"] for one in scheduler.list_schedules()["Schedules"] if one["Name"].startswith(STACK)]
    assert schedules
    for name in schedules:
        target = scheduler.get_schedule(Name=name)["Target"]
        answer = stand.aws.client("lambda").invoke(
            FunctionName=target["Arn"], Payload=target.get("Input", "{}").encode()
        )
        assert "FunctionError" not in answer, answer["Payload"].read()
        print(answer["Payload"].read())


# ------------------------------------------------------------------------------------------------------------ policies


@pytest.fixture(scope="module")
def administrator(stand: Stand) -> Callable[[str], Any]:
    """Clients of a user whom IAM allows everything: what is refused, the resource's own policy refuses."""
    iam = stand.aws.client("iam")
    iam.create_user(UserName="administrator")
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName="administrator", PolicyName="all", PolicyDocument=json.dumps(everything))
    key = iam.create_access_key(UserName="administrator")["AccessKey"]
    session = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name=REGION)

    def client(service: str) -> Any:
        return session.client(  # type: ignore[call-overload]
            service,
            endpoint_url=stand.aws.endpoint_url,
            verify=str(stand.aws.certificate),
            config=Config(retries={"total_max_attempts": 1}),
        )

    return client


def over_plain_http(client: Any) -> Any:
    """The client, whose requests look as if they had come in without TLS: the emulator believes a proxy's header."""

    def say_so(request: Any, **_: Any) -> None:
        request.headers["X-Forwarded-Proto"] = "http"

    client.meta.events.register("before-sign.*.*", say_so)
    return client


def refusal(call: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def test_the_bucket_and_the_queues_refuse_plain_http(stand: Stand, administrator: Callable[[str], Any]) -> None:
    bucket, pointer = stand["ModelBucketName"], "flight-delay/channels.json"
    assert administrator("s3").get_object(Bucket=bucket, Key=pointer)["ContentLength"] > 0
    assert refusal(over_plain_http(administrator("s3")).get_object, Bucket=bucket, Key=pointer) == "AccessDenied"
    for queue in (name for name in stand.deployment.outputs if name.endswith("QueueUrl")):
        plain = over_plain_http(administrator("sqs"))
        administrator("sqs").get_queue_attributes(QueueUrl=stand[queue], AttributeNames=["QueueArn"])
        assert "AccessDenied" in refusal(plain.send_message, QueueUrl=stand[queue], MessageBody="{}"), queue
        assert "AccessDenied" in refusal(plain.receive_message, QueueUrl=stand[queue]), queue


def test_the_function_may_only_read_its_model_and_only_send_to_its_queues(stand: Stand) -> None:
    role = stand.aws.client("iam").simulate_principal_policy


# -------------------------------------------------------------------------------------------------------------- alarms


def test_zz_log(stand: Stand) -> None:
    print("\n".join(stand.log_lines()))
    forwarder = MetricForwarder(stand.aws.client("cloudwatch"))
    for line in stand.log_lines():
        forwarder.add(line)
    assert forwarder.flush() > 0
    for p in stand.aws.client("cloudwatch").get_paginator("list_metrics").paginate(Namespace="eventscore"):
        for m in p["Metrics"]: print(m["MetricName"], m["Dimensions"])
