"""What AWS holds for the demo: the bucket with the models, the queues, the stream; the same parts as in template.yaml."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventscore_local.ministack import CREDENTIALS, Ministack

BUCKET = "eventscore-models"
STREAM = "events"
TOPIC = "flights"
SHARDS = 2
FUNCTION_TIMEOUT_S = 10
VISIBILITY_TIMEOUT_S = 6 * FUNCTION_TIMEOUT_S
MAX_RECEIVE_COUNT = 3
RETRY_ATTEMPTS = 3


@dataclass(frozen=True)
class DemoStack:
    """Names of what was set up, and the clients to reach it."""

    sqs: Any
    kinesis: Any
    cloudwatch: Any
    s3: Any
    events_url: str
    dead_letters_url: str
    scores_url: str
    rejects_url: str
    stream_failures_url: str
    kafka_failures_url: str
    stream_arn: str


def set_up(aws: Ministack, visibility_timeout_s: int = VISIBILITY_TIMEOUT_S) -> DemoStack:
    """Make the bucket, the queues and the stream, and wait until the stream can be written to."""
    sqs, kinesis, s3 = aws.client("sqs"), aws.client("kinesis"), aws.client("s3")
    s3.create_bucket(Bucket=BUCKET)

    def queue(name: str, **attributes: str) -> str:
        return str(sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])

    dead_letters_url = queue("events-dead")
    arn = sqs.get_queue_attributes(QueueUrl=dead_letters_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": MAX_RECEIVE_COUNT})
    kinesis.create_stream(StreamName=STREAM, ShardCount=SHARDS)
    kinesis.get_waiter("stream_exists").wait(StreamName=STREAM, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    return DemoStack(
        sqs=sqs,
        kinesis=kinesis,
        cloudwatch=aws.client("cloudwatch"),
        s3=s3,
        events_url=queue("events", VisibilityTimeout=str(visibility_timeout_s), RedrivePolicy=redrive),
        dead_letters_url=dead_letters_url,
        scores_url=queue("scores"),
        rejects_url=queue("rejects"),
        stream_failures_url=queue("stream-failures"),
        kafka_failures_url=queue("kafka-failures"),
        stream_arn=kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]["StreamARN"],
    )


def sync_folder(s3: Any, folder: Path, bucket: str) -> int:
    """Copy ``folder`` to ``bucket``, key for path, as ``aws s3 sync folder s3://bucket`` does; the answer counts the files."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    for path in files:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        s3.put_object(Bucket=bucket, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes(), ContentType=kind)
    return len(files)


def function_variables(aws: Ministack, stack: DemoStack, model: str, trusted_keys: str) -> Mapping[str, str]:
    """The function's environment variables: those of template.yaml, and where this AWS is."""
    return {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": aws.endpoint_url,
        "EVENTSCORE_STORE": f"s3://{BUCKET}",
        "EVENTSCORE_MODEL": model,
        "EVENTSCORE_CHANNEL": "live",
        "EVENTSCORE_TRUSTED_KEYS": trusted_keys,
        "EVENTSCORE_SINK": f"sqs:{stack.scores_url}",
        "EVENTSCORE_REJECT_QUEUE_URL": stack.rejects_url,
        "POWERTOOLS_SERVICE_NAME": "score",
        "POWERTOOLS_METRICS_NAMESPACE": "eventscore",
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "ORT_DISABLE_TELEMETRY": "1",
        "PYDANTIC_DISABLE_PLUGINS": "__all__",
    }
