"""A stack as CloudFormation tells of it: real outputs of a template that makes nothing but a bucket and queues."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
from moto import mock_aws

from eventscore import aws

NAME = "scores"
BUCKET = "scores-models"


@contextmanager
def emulated_aws() -> Iterator[None]:
    """An empty AWS at the boundary of the process. Sessions that began outside it are forgotten."""
    aws._session.cache_clear()
    with mock_aws():
        yield
    aws._session.cache_clear()


def deploy(outputs: Mapping[str, str | None] | None = None, **told: str) -> Mapping[str, str]:
    """Deploy the stack: outputs as the template names them, ``told`` over them, and those that are None left out."""
    names = {
        "RejectQueueUrl": "Rejects",
        "EventQueueUrl": "Events",
        "EventDeadLetterQueueUrl": "Dead",
        "StreamFailureQueueUrl": "Failures",
        "SinkQueueUrl": "Sink",
    }
    resources: dict[str, Any] = {name: {"Type": "AWS::SQS::Queue"} for name in names.values()}
    resources["Events"]["Properties"] = {
        "RedrivePolicy": {"deadLetterTargetArn": {"Fn::GetAtt": ["Dead", "Arn"]}, "maxReceiveCount": 5}
    }
    resources["Stream"] = {"Type": "AWS::Kinesis::Stream", "Properties": {"ShardCount": 2}}
    resources["Models"] = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": BUCKET}}
    values: dict[str, Any] = {output: {"Ref": resource} for output, resource in names.items()}
    values |= {
        "ModelBucketName": {"Ref": "Models"},
        "EventStreamName": {"Ref": "Stream"},
        "ModelName": "small",
        "MoreModels": "",
        "Channel": "live",
        "MetricsNamespace": "eventscore",
        "ServiceName": "score",
        **(outputs or {}),
        **told,
    }
    template = {
        "Resources": resources,
        "Outputs": {name: {"Value": value} for name, value in values.items() if value is not None},
    }
    cloudformation = boto3.client("cloudformation")
    cloudformation.create_stack(StackName=NAME, TemplateBody=json.dumps(template))
    (stack,) = cloudformation.describe_stacks(StackName=NAME)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
