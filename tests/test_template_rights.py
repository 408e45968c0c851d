"""Every right that the stack gives to anybody, with the resource that it is for; and that the stack can be made in every combination."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

import cloudformation
from cloudformation import Stack, as_list, statements
from test_template import ALL_SOURCES, KEY_ARN

ROOT = Path(__file__).parent.parent
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret"
EVERYTHING = {
    **ALL_SOURCES,
    "SelfManagedKafkaSubnetId": "subnet-1",
    "SelfManagedKafkaSecurityGroupId": "sg-1",
    "EnableEnhancedFanOut": "true",
    "EnableSnapStart": "false",
    "EnableIdempotency": "true",
    "EnableKafkaSink": "true",
    "KafkaSinkSecretArn": f"{SECRET}:sink",
    "KafkaSchemaRegistryUri": "arn:aws:glue:us-east-1:123456789012:registry/events",
    "KmsKeyArn": KEY_ARN,
    "SourceKmsKeyArns": f"{KEY_ARN}-of-theirs",
    "SinkArns": "arn:aws:sqs:us-east-1:123456789012:scores",
    "SinkKmsKeyArns": f"{KEY_ARN}-of-the-sinks",
    "VpcSubnetIds": "subnet-1,subnet-2",
    "VpcSecurityGroupIds": "sg-1",
}
"""All that can be had at once: every role, with every right that it can have."""

BUCKET, OBJECTS, MAIN_MODEL = "<ModelBucket.Arn>", "<ModelBucket.Arn>/*", "<ModelBucket.Arn>/flight-delay/*"
KAFKA = "arn:aws:kafka:us-east-1:123456789012"
LOGS = "logs:CreateLogStream logs:PutLogEvents"
MAPPINGS = "arn:<AWS::Partition>:lambda:<AWS::Region>:<AWS::AccountId>:event-source-mapping:*"
DEPLOYMENTS = (
    "arn:<AWS::Partition>:codedeploy:<AWS::Region>:<AWS::AccountId>:deploymentgroup:"
    "<AWS::StackName>-ServerlessDeploymentApplication-*"
)
KEY = {KEY_ARN: "kms:Decrypt kms:GenerateDataKey"}
READ_MODELS = {OBJECTS: "s3:GetObject", BUCKET: "s3:ListBucket"}
INTERFACES = (
    "ec2:AssignPrivateIpAddresses ec2:CreateNetworkInterface ec2:DeleteNetworkInterface ec2:DescribeNetworkInterfaces "
    "ec2:DescribeSecurityGroups ec2:DescribeSubnets ec2:DescribeVpcs ec2:UnassignPrivateIpAddresses"
)
RIGHTS: dict[str, dict[str, str]] = {
    "ScoreRole": {
        "<ScoreLogGroup.Arn>": LOGS,
        MAIN_MODEL: "s3:GetObject",
        "<SinkQueue.Arn>": "sqs:SendMessage",
        "<RejectQueue.Arn>": "sqs:SendMessage",
        "<StreamFailureQueue.Arn>": "sqs:SendMessage",
        "arn:aws:sqs:us-east-1:123456789012:scores": (
            "events:PutEvents firehose:PutRecordBatch kinesis:PutRecords sns:Publish sqs:SendMessage"
        ),
        "<EventQueue.Arn>": "sqs:DeleteMessage sqs:GetQueueAttributes sqs:ReceiveMessage",
        "<EventStream.Arn>": (
            "kinesis:DescribeStream kinesis:DescribeStreamSummary kinesis:GetRecords kinesis:GetShardIterator "
            "kinesis:ListShards kinesis:SubscribeToShard"
        ),
        "<EventStreamConsumer>": "kinesis:SubscribeToShard",
        f"{KAFKA}:cluster/brokers/1234": (
            "kafka-cluster:Connect kafka-cluster:DescribeClusterDynamicConfiguration kafka:DescribeCluster "
            "kafka:DescribeClusterV2 kafka:GetBootstrapBrokers"
        ),
        f"{KAFKA}:topic/brokers/1234/events": "kafka-cluster:DescribeTopic kafka-cluster:ReadData",
        f"{KAFKA}:group/brokers/1234/<AWS::StackName>-score": "kafka-cluster:AlterGroup kafka-cluster:DescribeGroup",
        f"{SECRET}:brokers": "secretsmanager:GetSecretValue",
        f"{SECRET}:sink": "secretsmanager:GetSecretValue",
        "arn:aws:glue:us-east-1:123456789012:registry/events": "glue:GetRegistry glue:GetSchemaVersion",
        "arn:aws:glue:us-east-1:123456789012:schema/events/*": "glue:GetRegistry glue:GetSchemaVersion",
        "<IdempotencyTable.Arn>": "dynamodb:BatchGetItem dynamodb:BatchWriteItem",
        **KEY,
        f"{KEY_ARN}-of-theirs": "kms:Decrypt",
        f"{KEY_ARN}-of-the-sinks": "kms:Decrypt kms:GenerateDataKey",
        "*": f"{INTERFACES} xray:PutTelemetryRecords xray:PutTraceSegments",
    },
    "CodeDeployRole": {
        "<ScoreFunction.Arn>": "lambda:GetAlias lambda:GetProvisionedConcurrencyConfig lambda:UpdateAlias",
        "<ScoreFunction.Arn>:live": "lambda:GetAlias lambda:GetProvisionedConcurrencyConfig lambda:UpdateAlias",
        "<VerifyVersionFunction.Arn>": "lambda:InvokeFunction",
        "*": "cloudwatch:DescribeAlarms",
    },
    "VerifyVersionRole": {
        "<VerifyVersionLogGroup.Arn>": LOGS,
        MAIN_MODEL: "s3:GetObject",
        BUCKET: "s3:ListBucket",
        "<ScoreFunction.Arn>:*": "lambda:InvokeFunction",
        DEPLOYMENTS: ("codedeploy:PutLifecycleEventHookExecutionStatus"),
        KEY_ARN: "kms:Decrypt",
    },
    "WarmUpFunctionRole": {
        "<WarmUpLogGroup.Arn>": LOGS,
        "<ScoreFunction.Alias>": "lambda:InvokeFunction",
        KEY_ARN: "kms:Decrypt",
    },
    "WarmUpScheduleRole": {"<WarmUpFunction.Arn>": "lambda:InvokeFunction"},
    "PublishVersions": {"<ModelBucket.Arn>/*/versions/*": "s3:PutObject", **READ_MODELS, **KEY},
    "MoveChannels": {"<ModelBucket.Arn>/*/channels.json": "s3:PutObject", **READ_MODELS, **KEY},
    "ReadModels": {**READ_MODELS, KEY_ARN: "kms:Decrypt"},
    "OperateStack": {
        "<AWS::StackId>": "cloudformation:DescribeStacks cloudformation:ListStackResources",
        "<ScoreLogGroup.Arn>": "logs:FilterLogEvents logs:StartQuery",
        **dict.fromkeys(
            ("<ScoreFunction.Arn>", "<ScoreFunction.Arn>:live"),
            "lambda:GetAlias lambda:GetFunctionConfiguration lambda:GetProvisionedConcurrencyConfig lambda:InvokeFunction",
        ),
        MAPPINGS: "lambda:GetEventSourceMapping",
        DEPLOYMENTS: "codedeploy:GetDeployment codedeploy:ListDeployments",
        **READ_MODELS,
        "<ModelBucket.Arn>/_replays/*": "s3:PutObject",
        **dict.fromkeys(
            ("<RejectQueue.Arn>", "<EventDeadLetterQueue.Arn>", "<StreamFailureQueue.Arn>"),
            "sqs:ChangeMessageVisibility sqs:DeleteMessage sqs:GetQueueAttributes sqs:ReceiveMessage",
        ),
        "<SinkQueue.Arn>": "sqs:GetQueueAttributes",
        "<EventQueue.Arn>": "sqs:GetQueueAttributes sqs:GetQueueUrl sqs:SendMessage",
        "<EventStream.Arn>": (
            "kinesis:DescribeStreamSummary kinesis:GetRecords kinesis:GetShardIterator kinesis:ListShards kinesis:PutRecords"
        ),
        "*": "cloudwatch:DescribeAlarms cloudwatch:GetMetricData cloudwatch:GetMetricStatistics logs:GetQueryResults",
        **KEY,
    },
}
"""Who may do what to what, in a stack with everything: a right that is added is added here, too."""

WILDCARDS = {
    "*": {
        **dict.fromkeys(
            INTERFACES.split(), "EC2 gives interfaces no ARN before they exist; its Describe actions take none"
        ),
        "xray:PutTraceSegments": "X-Ray has no resources",
        "xray:PutTelemetryRecords": "X-Ray has no resources",
        "cloudwatch:DescribeAlarms": "asked for all alarms in one call",
        "cloudwatch:GetMetricData": "metrics have no resource",
        "cloudwatch:GetMetricStatistics": "metrics have no resource",
        "logs:GetQueryResults": "a query's id is all that it takes",
    },
    OBJECTS: {"s3:GetObject": "models, of the stack's own bucket"},
    MAIN_MODEL: {"s3:GetObject": "the files of the model that the function scores with"},
    "<ModelBucket.Arn>/*/versions/*": {"s3:PutObject": "a version's name is made when it is published"},
    "<ModelBucket.Arn>/*/channels.json": {"s3:PutObject": "of every model"},
    "<ModelBucket.Arn>/_replays/*": {"s3:PutObject": "a journal has an object for each event"},
    MAPPINGS: {"lambda:GetEventSourceMapping": "of this function alone, by the condition: a mapping's name is a UUID"},
    "<ScoreFunction.Arn>:*": {"lambda:InvokeFunction": "its versions: each deployment has another"},
    "arn:aws:glue:us-east-1:123456789012:schema/events/*": dict.fromkeys(
        ("glue:GetRegistry", "glue:GetSchemaVersion"), "the schemas of one registry"
    ),
    DEPLOYMENTS: {
        **dict.fromkeys(
            ("codedeploy:GetDeployment", "codedeploy:ListDeployments"), "SAM makes the application, and not always"
        ),
        "codedeploy:PutLifecycleEventHookExecutionStatus": "SAM makes the application, and not always",
    },
}
"""Every star in a resource, and why."""


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return cloudformation.load(ROOT / "template.yaml")


def rights(policies: object) -> dict[str, str]:
    """What is allowed: by resource its actions, in order."""
    allowed: dict[str, set[str]] = {}
    for statement in statements(policies):
        if statement["Effect"] == "Allow" and "Principal" not in statement:
            for resource in as_list(statement["Resource"]):
                allowed.setdefault(resource, set()).update(as_list(statement["Action"]))
    return {resource: " ".join(sorted(actions)) for resource, actions in allowed.items()}


def holders(stack: Stack) -> dict[str, dict[str, str]]:
    """The rights of every role and every managed policy."""
    roles = stack.of_type("AWS::IAM::Role")
    assert not any("ManagedPolicyArns" in role for role in roles.values()), "AWS's managed policies allow any resource"
    policies = {name: made["PolicyDocument"] for name, made in stack.of_type("AWS::IAM::ManagedPolicy").items()}
    return {
        name: rights(held)
        for name, held in ({name: role["Policies"] for name, role in roles.items()} | policies).items()
    }


def test_nobody_has_a_right_that_does_not_stand_here(template: dict[str, Any]) -> None:
    stack = Stack(template, **EVERYTHING)
    assert stack.broken_rules() == []
    assert holders(stack) == RIGHTS


def test_roles_and_policies_fit_into_what_iam_takes(template: dict[str, Any]) -> None:
    """docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html; blanks do not count. Real names are long."""
    longest = (
        "arn:aws-us-gov:dynamodb:us-gov-west-1:123456789012:table/"
        + "a-stack-with-a-long-name-ResourceName-1A2B3C4D5E6F"
    )
    stack = Stack(template, **EVERYTHING)
    for kind, held, most in (
        ("AWS::IAM::Role", "Policies", 10_240),
        ("AWS::IAM::ManagedPolicy", "PolicyDocument", 6_144),
    ):
        for name, made in stack.of_type(kind).items():
            documents = [of["PolicyDocument"] for of in made[held]] if held == "Policies" else [made[held]]
            text = re.sub(r"<[^>]+>", longest, json.dumps(documents, separators=(",", ":")))
            assert len(text) < most, name


def test_every_star_has_a_reason_and_no_action_has_one() -> None:
    starred = {
        (resource, action)
        for held in RIGHTS.values()
        for resource, actions in held.items()
        if "*" in resource
        for action in actions.split()
    }
    assert starred == {(resource, action) for resource, actions in WILDCARDS.items() for action in actions}
    assert not [actions for held in RIGHTS.values() for actions in held.values() if "*" in actions]


def test_without_its_options_the_function_has_few_rights(template: dict[str, Any]) -> None:
    held = holders(Stack(template, Tracing="PassThrough", EnableSqs="false"))
    assert held["ScoreRole"] == {
        "<ScoreLogGroup.Arn>": LOGS,
        MAIN_MODEL: "s3:GetObject",
        "<SinkQueue.Arn>": "sqs:SendMessage",
        "<RejectQueue.Arn>": "sqs:SendMessage",
        "*": "xray:PutTelemetryRecords xray:PutTraceSegments",
    }


def test_a_registry_is_glue_s_or_one_to_log_in_to(template: dict[str, Any]) -> None:
    url, secret = "https://registry.example.com", f"{SECRET}:registry"
    confluent = {"KafkaSchemaRegistryUri": url, "KafkaSchemaRegistrySecretArn": secret}
    held = holders(Stack(template, **{**EVERYTHING, **confluent}))["ScoreRole"]
    assert held[secret] == "secretsmanager:GetSecretValue"
    assert not [resource for resource in held if ":glue:" in resource]


def test_the_function_may_read_models_and_nobody_may_both_write_versions_and_move_channels(
    template: dict[str, Any],
) -> None:
    for parameters in ({}, {"MoreModels": "refunds", "ModelField": "scored_by"}):
        held = holders(Stack(template, **parameters))
        on_models = {
            name: {action for resource, actions in granted.items() if BUCKET in resource for action in actions.split()}
            for name, granted in held.items()
        }
        assert on_models["ScoreRole"] == {"s3:GetObject"}
        writing = {name: [key for key, actions in held[name].items() if "s3:PutObject" in actions] for name in held}
        assert {name: keys for name, keys in writing.items() if keys} == {
            "PublishVersions": ["<ModelBucket.Arn>/*/versions/*"],
            "MoveChannels": ["<ModelBucket.Arn>/*/channels.json"],
            "OperateStack": ["<ModelBucket.Arn>/_replays/*"],
        }


def test_the_code_of_the_function_gets_none_of_lambda_s_rights_in_the_vpc(template: dict[str, Any]) -> None:
    role = Stack(template, VpcSubnetIds="subnet-1", VpcSecurityGroupIds="sg-1").of_type("AWS::IAM::Role")["ScoreRole"]
    [policy] = [made for made in role["Policies"] if made["PolicyName"] == "have-an-address-in-the-vpc"]
    allowed, denied = policy["PolicyDocument"]["Statement"]
    assert (allowed["Effect"], denied["Effect"]) == ("Allow", "Deny")
    assert allowed["Action"] == denied["Action"]
    assert "lambda:SourceFunctionArn" in str(denied["Condition"])


def test_a_role_can_be_taken_by_one_service_only(template: dict[str, Any]) -> None:
    services = {
        name: role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["Service"]
        for name, role in Stack(template, **EVERYTHING).of_type("AWS::IAM::Role").items()
    }
    assert services == {
        "ScoreRole": "lambda.amazonaws.com",
        "VerifyVersionRole": "lambda.amazonaws.com",
        "WarmUpFunctionRole": "lambda.amazonaws.com",
        "WarmUpScheduleRole": "scheduler.amazonaws.com",
        "CodeDeployRole": "codedeploy.amazonaws.com",
    }


ON_OR_OFF = ("true", "false")
SOURCES = {
    "EnableSqs": ON_OR_OFF,
    "SqsQueueArn": ("", "arn:aws:sqs:us-east-1:123456789012:events"),
    "EnableKinesis": ON_OR_OFF,
    "EnableEnhancedFanOut": ON_OR_OFF,
    "KinesisStreamArn": ("", "arn:aws:kinesis:us-east-1:123456789012:stream/events"),
    "EnableMsk": ON_OR_OFF,
    "EnableSelfManagedKafka": ON_OR_OFF,
    "KafkaMinimumPollers": ("0", "1"),
}
SERVING = {
    "EnableSnapStart": ON_OR_OFF,
    "ProvisionedConcurrency": ("", "2"),
    "EnableWarmUp": ON_OR_OFF,
    "CodeDeployment": ("none", "AllAtOnce", "Canary10Percent5Minutes"),
    "KmsKeyArn": ("", KEY_ARN),
    "EnableIdempotency": ON_OR_OFF,
    "EnableKafkaSink": ON_OR_OFF,
}


@pytest.mark.parametrize("choices", [SOURCES, SERVING], ids=["sources", "serving"])
def test_every_combination_can_be_made_and_names_only_what_is_made(
    template: dict[str, Any], choices: dict[str, tuple[str, ...]]
) -> None:
    given = {name: value for name, value in ALL_SOURCES.items() if not name.startswith("Enable")}
    made = 0
    for values in itertools.product(*choices.values()):
        stack = Stack(template, **given, **dict(zip(choices, values, strict=True)))
        if stack.broken_rules():
            assert (stack.parameters["EnableSnapStart"], stack.parameters["ProvisionedConcurrency"]) == ("true", "2")
            continue
        named = set(re.findall(r"<([A-Za-z0-9]+)[.>]", json.dumps([stack.resources, stack.outputs])))
        assert named - {"TrustedKeys"} <= stack.resources.keys()
        made += 1
    assert made == {"sources": 2**8, "serving": 3 * 2 * 3 * 2**3}["sources" if choices is SOURCES else "serving"]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"ProvisionedConcurrency": "1"}, "no provisioned concurrency for a function with SnapStart"),
        ({"MoreModels": "refunds"}, "either ModelField or ModelSources"),
        ({"MoreModels": "refunds", "ModelField": "a", "ModelSources": "{}"}, "either ModelField or ModelSources"),
        ({"EnableMsk": "true"}, "MskClusterArn must be the ARN"),
        ({"EnableSelfManagedKafka": "true", "SelfManagedKafkaBootstrapServers": "a:1"}, "SelfManagedKafkaSecretArn"),
        ({"EnableSelfManagedKafka": "true", "SelfManagedKafkaSecretArn": "arn"}, "must name the brokers"),
        ({"SelfManagedKafkaSubnetId": "subnet-1"}, "SelfManagedKafkaSecurityGroupId must be, too"),
        ({"SqsBatchWindowSeconds": "0"}, "SqsBatchSize may be 10 at most"),
        ({"StreamBatchWindowSeconds": "0"}, "StreamBatchSize may be 10 at most"),
        ({"SqsMinimumPollers": "1"}, "at least 2 provisioned pollers"),
        ({"KafkaSchemaRegistryUri": "arn", "KafkaMinimumPollers": "0"}, "KafkaMinimumPollers must be 1 at least"),
        ({"SqsDeadLetterQueueArn": "arn:aws:sqs:us-east-1:123456789012:dead"}, "SqsDeadLetterQueueArn is that of"),
        ({"EnableTraining": "true", "TrainingVpcId": "vpc-1"}, "must say where the machines run"),
        ({"VpcSubnetIds": "subnet-1"}, "must be given together"),
        ({"VpcSecurityGroupIds": "sg-1"}, "must be given together"),
    ],
)
def test_what_cannot_be_deployed_is_refused_before_anything_is_made(
    template: dict[str, Any], parameters: dict[str, str], said: str
) -> None:
    """CloudFormation evaluates rules itself; here a small evaluator does (tests/cloudformation.py)."""
    broken = Stack(template, **parameters).broken_rules()
    assert len(broken) == 1
    assert said in broken[0]
    assert Stack(template, SqsBatchWindowSeconds="0", SqsBatchSize="10").broken_rules() == []
