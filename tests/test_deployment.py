"""The whole stack in ministack, exercised from its queue to its sink, with the policies of AWS enforced.

What runs: `template.yaml` after SAM's own transform, with SnapStart and the alias; the layers, built for this machine's Python; the
function in a process of the emulator, over TLS, with the rights of its role and no more; ministack's own SQS and Kinesis mappings.

What ministack does not emulate, found by trying (docs/local-deployment.md has the list): the keys `s3:if-none-match` and `s3:if-match` of
the bucket policy; composite alarms and metric math through CloudFormation; CodeDeploy and Batch; metrics out of log lines and of queues
(`deployment_metrics` puts them); Kinesis mappings that honour a partial response. The account's root user is exempt from bucket and
queue policies, which it is not on AWS: the policies are tried by a user.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from conftest import ROOT
from eventscore_local.deployment import Deployer, Deployment
from eventscore_local.deployment_metrics import StackMetrics
from eventscore_local.layers import build_for_host
from eventscore_local.ministack import REGION, Ministack
from test_local_emulators import below, is_alive, listening_addresses

pytestmark = pytest.mark.emulator

STACK = "eventscore"
TIMEOUT_S = 60.0
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


# Two environments at once: each unpacks the layers anew.
PARAMETERS = {
    "TrustedKeys": trusted_key(),
    "EnableKinesis": "true",
    "SqsMaximumConcurrency": "2",
    # The other stack has them.
    "EnableAlarms": "false",
    "EnableDashboards": "false",
}


def until(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true within a while; not asked again once it is, since asking may take messages away."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


WHOLE = {"TrustedKeys": trusted_key(), "EnableSnapStart": "false"}


@dataclass
class Stand:
    """The emulator, the deployer, and the stack in it."""

    aws: Ministack
    deployer: Deployer
    deployment: Deployment
    stack: ExitStack

    def __getitem__(self, output: str) -> str:
        return self.deployment.outputs[output]

    def url(self, queue: str) -> str:
        """A queue's URL, by the name of its output, or as it is."""
        return queue if "://" in queue else self[queue]

    def send(self, *bodies: str) -> None:
        """Put up to ten messages into the queue of events."""
        entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
        answer = self.aws.client("sqs").send_message_batch(QueueUrl=self["EventQueueUrl"], Entries=entries)
        assert not answer.get("Failed")

    def messages(self, queue: str, count: int) -> list[dict[str, Any]]:
        """`count` messages of a queue, taken from it; fewer if no more come within a while."""
        sqs, url = self.aws.client("sqs"), self.url(queue)
        taken: list[dict[str, Any]] = []

        def enough() -> bool:
            answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in answer.get("Messages", []):
                taken.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            return len(taken) >= count

        until(enough)
        return taken

    def depth(self, output: str) -> int:
        """How many messages a queue holds, visible or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.aws.client("sqs").get_queue_attributes(QueueUrl=self[output], AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def lines_of(self, log_group: str) -> list[str]:
        """All that was written to a log group."""
        pages = self.aws.client("logs").get_paginator("filter_log_events")
        found = pages.paginate(logGroupName=log_group).build_full_result()
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
    for start in (0, 10):
        stand.send(*(json.dumps(flight(number)) for number in range(start, start + 10)))
    scored = {one["event_id"]: one for one in stand.messages("SinkQueueUrl", 20)}
    assert scored.keys() == {f"flight-{number}" for number in range(20)}
    assert {one["version"] for one in scored.values()} == {VERSION.name}
    for number in range(20):
        assert scored[f"flight-{number}"]["score"] == pytest.approx(GOLDEN[number]["score"], abs=TOLERANCE)
    assert until(lambda: stand.depth("EventQueueUrl") == 0), "what is scored is gone from its queue"


def test_poison_is_rejected_with_its_reason_and_its_bytes_while_its_neighbours_are_scored(stand: Stand) -> None:
    broken = {
        "not_json": "{",
        "missing_field": json.dumps(flight(1, origin=...)),
        "wrong_type": json.dumps(flight(2, distance="far")),
    }
    stand.send(json.dumps(flight(3)), *broken.values(), json.dumps(flight(4)))
    rejected = stand.messages("RejectQueueUrl", 3)
    assert {one["reason"]: base64.b64decode(one["payload"]).decode() for one in rejected} == broken
    assert {one["event_id"] for one in stand.messages("SinkQueueUrl", 2)} == {"flight-3", "flight-4"}
    assert until(lambda: stand.depth("EventQueueUrl") == 0)
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


# ------------------------------------------------------------------------------------------------------------ policies


Client = Callable[[str], Any]


def user(stand: Stand, name: str, **policy: Any) -> Client:
    """Clients of a new user with one policy: `PolicyDocument` of its own, or `PolicyArn`."""
    iam = stand.aws.client("iam")
    iam.create_user(UserName=name)
    if "PolicyArn" in policy:
        iam.attach_user_policy(UserName=name, **policy)
    else:
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=json.dumps(policy["PolicyDocument"]))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    session = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name=REGION)

    def client(service: str) -> Any:
        return session.client(  # type: ignore[call-overload]
            service,
            endpoint_url=stand.aws.endpoint_url,
            verify=str(stand.aws.certificate),
            config=Config(retries={"total_max_attempts": 1}),
        )

    return client


@pytest.fixture(scope="module")
def administrator(stand: Stand) -> Client:
    """A user whom IAM allows everything: what is refused, the resource's own policy refuses."""
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    return user(stand, "administrator", PolicyDocument=everything)


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


def test_the_bucket_and_the_queues_refuse_plain_http(stand: Stand, administrator: Client) -> None:
    bucket, pointer = stand["ModelBucketName"], "flight-delay/channels.json"
    assert administrator("s3").get_object(Bucket=bucket, Key=pointer)["ContentLength"] > 0
    assert refusal(over_plain_http(administrator("s3")).get_object, Bucket=bucket, Key=pointer) == "AccessDenied"
    for queue in (name for name in stand.deployment.outputs if name.endswith("QueueUrl")):
        plain = over_plain_http(administrator("sqs"))
        administrator("sqs").get_queue_attributes(QueueUrl=stand[queue], AttributeNames=["QueueArn"])
        assert "AccessDenied" in refusal(plain.send_message, QueueUrl=stand[queue], MessageBody="{}"), queue
        assert "AccessDenied" in refusal(plain.receive_message, QueueUrl=stand[queue]), queue


def test_nobody_deletes_what_was_published(stand: Stand, administrator: Client) -> None:
    """The bucket's policy refuses a write without If-None-Match, too, but not here: the emulator does not know the keys
    `s3:if-none-match`, `s3:if-match` and `s3:ObjectCreationOperation`, by which the policy tells such a write."""
    s3, bucket = administrator("s3"), stand["ModelBucketName"]
    key = f"flight-delay/versions/{VERSION.name}/model.onnx"
    found = s3.head_object(Bucket=bucket, Key=key)
    assert refusal(s3.delete_object, Bucket=bucket, Key=key) == "AccessDenied"
    assert refusal(s3.delete_object, Bucket=bucket, Key=key, VersionId=found["VersionId"]) == "AccessDenied"
    taken = refusal(s3.put_object, Bucket=bucket, Key=key, Body=b"another", IfNoneMatch="*")
    assert taken == "PreconditionFailed", "this is what S3 itself says"
    assert s3.head_object(Bucket=bucket, Key=key)["ETag"] == found["ETag"]


def test_who_publishes_moves_no_channel_and_who_moves_one_publishes_nothing(stand: Stand) -> None:
    bucket, pointer = stand["ModelBucketName"], "flight-delay/channels.json"
    publisher = user(stand, "publisher", PolicyArn=stand["PublishVersionsPolicyArn"])("s3")
    mover = user(stand, "mover", PolicyArn=stand["MoveChannelsPolicyArn"])("s3")
    reader = user(stand, "reader", PolicyArn=stand["ReadModelsPolicyArn"])("s3")
    seen = reader.get_object(Bucket=bucket, Key=pointer)
    content, etag = seen["Body"].read(), seen["ETag"]
    new = {"Bucket": bucket, "Key": "flight-delay/versions/new/model.onnx", "Body": b"graph", "IfNoneMatch": "*"}
    moved = {"Bucket": bucket, "Key": pointer, "Body": content, "IfMatch": etag}
    assert [refusal(one.put_object, **new) for one in (reader, mover)] == ["AccessDenied"] * 2
    assert [refusal(one.put_object, **moved) for one in (reader, publisher)] == ["AccessDenied"] * 2
    publisher.put_object(**new)
    mover.put_object(**moved)


def test_who_operates_sees_the_rejected_events_and_may_send_them_back_but_moves_no_channel(stand: Stand) -> None:
    operator = user(stand, "operator", PolicyArn=stand["OperateStackPolicyArn"])
    operator("sqs").receive_message(QueueUrl=stand["RejectQueueUrl"])
    operator("sqs").get_queue_attributes(QueueUrl=stand["EventQueueUrl"], AttributeNames=["QueueArn"])
    assert "AccessDenied" in refusal(operator("sqs").receive_message, QueueUrl=stand["SinkQueueUrl"])
    pointer = {"Bucket": stand["ModelBucketName"], "Key": "flight-delay/channels.json"}
    seen = operator("s3").get_object(**pointer)
    assert (
        refusal(operator("s3").put_object, Body=seen["Body"].read(), IfMatch=seen["ETag"], **pointer) == "AccessDenied"
    )


# ---------------------------------------------------------------------------------------------------- before new traffic


def test_the_hook_before_traffic_scores_the_golden_events_through_the_deployed_version(stand: Stand) -> None:
    """CodeDeploy is not emulated: the hook is called as it would call it, and cannot tell it how it went."""
    resources = stand.aws.client("cloudformation").describe_stack_resources(StackName=STACK)["StackResources"]
    names = {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in resources}
    event = json.dumps({"DeploymentId": "d-1", "LifecycleEventHookExecutionId": "e-1"})
    stand.aws.client("lambda").invoke(FunctionName=names["VerifyVersionFunction"], Payload=event.encode())
    lines = stand.lines_of(names["VerifyVersionLogGroup"])
    (told,) = [json.loads(line) for line in lines if '"version verified"' in line]
    assert told["status"] == "Succeeded", told
    assert told["details"][0].startswith(f"flight-delay {VERSION.name}: {len(GOLDEN)} golden events")


# ------------------------------------------------------------------------------- all of it, without snapshots; its alarms


@pytest.fixture(scope="module")
def whole(stand: Stand) -> Stand:
    """Another stack, with alarms and dashboards, warmed by the clock in place of a snapshot; no model in its bucket yet."""
    return Stand(stand.aws, stand.deployer, stand.deployer.deploy("whole", WHOLE), stand.stack)


def test_a_model_that_cannot_be_loaded_and_a_dead_event_set_their_alarms_off_and_page(whole: Stand) -> None:
    sqs, cloudwatch = whole.aws.client("sqs"), whole.aws.client("cloudwatch")
    pager = sqs.create_queue(QueueName="pager")["QueueUrl"]
    pager_arn = sqs.get_queue_attributes(QueueUrl=pager, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=["whole-model-load-failed"])["MetricAlarms"]
    (topic,) = alarm["AlarmActions"]
    may_send = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:*",
        "Resource": pager_arn,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [may_send]})
    sqs.set_queue_attributes(QueueUrl=pager, Attributes={"Policy": policy})
    whole.aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=pager_arn)

    refused = whole.aws.client("lambda").invoke(FunctionName=whole["ScoreFunctionAlias"], Payload=b"[]")
    assert refused.get("FunctionError"), "there is no model"
    sqs.send_message(QueueUrl=whole["EventDeadLetterQueueUrl"], MessageBody="an event that came back too often")
    StackMetrics(whole.aws, whole.deployment).collect()

    def in_alarm() -> set[str]:
        return {one["AlarmName"] for one in cloudwatch.describe_alarms(StateValue="ALARM")["MetricAlarms"]}

    expected = {"whole-model-load-failed", "whole-dead-letters"}
    assert until(lambda: expected <= in_alarm()), in_alarm()
    pages: dict[str, dict[str, Any]] = {}

    def paged() -> bool:
        for one in whole.messages(pager, 1):
            alarm = json.loads(one["Message"])
            if alarm["NewStateValue"] == "ALARM":
                pages[alarm["AlarmName"]] = alarm
        return expected <= pages.keys()

    assert until(paged), pages
    for name, alarm in pages.items():
        assert f"{name.removeprefix('whole-')}.md" in alarm["AlarmDescription"], "it says where its runbook is"


def test_the_schedule_keeps_an_environment_warm_once_there_is_a_model(whole: Stand) -> None:
    whole.deployer.put_models(whole["ModelBucketName"], MODEL_STORE)
    scheduler = whole.aws.client("scheduler")
    schedules = [one["Name"] for one in scheduler.list_schedules()["Schedules"] if one["Name"].startswith("whole-")]
    assert schedules
    for schedule in schedules:
        target = scheduler.get_schedule(Name=schedule)["Target"]
        answer = whole.aws.client("lambda").invoke(
            FunctionName=target["Arn"], Payload=target.get("Input", "{}").encode()
        )
        content = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, content
        assert {name: content[name] for name in ("asked", "warm")} == {"asked": 1, "warm": 1}


def test_another_parameter_changes_what_it_should_and_replaces_nothing(whole: Stand) -> None:
    def mapping() -> dict[str, Any]:
        mappings = whole.aws.client("lambda").list_event_source_mappings()["EventSourceMappings"]
        queue = whole["EventQueueUrl"].rpartition("/")[2]
        (found,) = (one for one in mappings if one["EventSourceArn"].endswith(f":{queue}"))
        return dict(found)

    before = mapping()
    assert whole.deployer.deploy("whole", WHOLE).changes == {}, "the same again is no change"
    again = whole.deployer.deploy("whole", {**WHOLE, "SqsMaximumConcurrency": "3"})
    assert again.changes == {"SqsMapping": "Modify"}
    assert again.outputs == whole.deployment.outputs
    concurrency = [one["ScalingConfig"]["MaximumConcurrency"] for one in (before, mapping())]
    assert concurrency == [10, 3]
    assert mapping()["UUID"] == before["UUID"]


def test_a_deleted_stack_leaves_its_models_and_nothing_else(whole: Stand) -> None:
    whole.deployer.delete("whole")
    queues = whole.aws.client("sqs").list_queues().get("QueueUrls", [])
    assert not [url for url in queues if "/whole-" in url]
    assert not whole.aws.client("cloudwatch").describe_alarms(AlarmNamePrefix="whole-")["MetricAlarms"]
    kept = whole.aws.client("s3").list_objects_v2(Bucket=whole["ModelBucketName"])["Contents"]
    assert len(kept) == sum(path.is_file() for path in MODEL_STORE.rglob("*"))


def test_the_training_stack_is_made_but_for_batch(stand: Stand) -> None:
    parameters = {
        "Model": "flight-delay",
        "ModelBucketName": stand["ModelBucketName"],
        "TrustedKeys": trusted_key(),
        "VpcId": "vpc-1",
        "SubnetIds": "subnet-1",
    }
    training = stand.deployer.deploy("training", parameters, "stacks/training.yaml")
    assert set(training.left_out.values()) == {
        "AWS::Batch::ComputeEnvironment",
        "AWS::Batch::JobDefinition",
        "AWS::Batch::JobQueue",
    }
    machine = stand.aws.client("stepfunctions").describe_state_machine(
        stateMachineArn=training.outputs["StateMachineArn"]
    )
    assert machine["status"] == "ACTIVE"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_emulator_listens_on_loopback_only_and_leaves_no_process_behind(stand: Stand) -> None:
    started = below(os.getpid())
    assert len(started) >= 3, "the leash, the emulator, and the function"
    assert listening_addresses(started) == {"0100007F"}
    stand.stack.close()
    assert until(lambda: not any(is_alive(pid) for pid in started))


def test_the_command_keeps_a_stack_until_it_is_interrupted_and_others_find_it(tmp_path: Path) -> None:
    file = tmp_path / "local-stack.env"
    eventscore = [sys.executable, "-m", "eventscore_cli"]
    command = [*eventscore, "local-stack", "--parameter", "EnableDashboards=false", "--environment-file", str(file)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        told = []
        for line in process.stdout:
            told.append(line)
            if line.startswith("Ctrl-C ends it."):
                break
        assert any(line.split()[:1] == ["ModelBucketName"] for line in told), told
        variables = dict(line.removeprefix("export ").split("=", 1) for line in file.read_text().splitlines())
        found = subprocess.run(
            [*eventscore, "versions", "flight-delay", "--stack", STACK],
            cwd=ROOT,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
    assert found.returncode == 0, found.stderr
    assert VERSION.name in found.stdout
    assert process.returncode == 0
    assert said.endswith("the stack is gone\n")
    assert not file.exists()
