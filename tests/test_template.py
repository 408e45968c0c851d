"""The stack promises what the function relies on: partial batches, time to retry, encryption, and no right too many."""

import base64
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import cloudformation
from cloudformation import Stack
from eventscore import settings
from eventscore.delivery import idempotency
from eventscore.store.versions import CHANNEL_NAMES

ROOT = Path(__file__).parent.parent
MEBIBYTE = 2**20
ENVIRONMENT = {
    settings.STORE,
    settings.MODEL,
    settings.MODEL_FIELD,
    settings.MODEL_SOURCES,
    settings.MODEL_MEMORY_MB,
    settings.REFRESH_SECONDS,
    settings.MAX_FILE_MB,
    settings.FALLBACK_CONTRACTS,
    settings.CHANNEL,
    settings.TRUSTED_KEYS,
    settings.SINK,
    settings.IDEMPOTENCY_TABLE,
    settings.REJECT_QUEUE_URL,
    "POWERTOOLS_SERVICE_NAME",
    "POWERTOOLS_METRICS_NAMESPACE",
    "POWERTOOLS_LOG_LEVEL",
    "ORT_DISABLE_TELEMETRY",
    "PYDANTIC_DISABLE_PLUGINS",
}
MAY_NAME_ANY_RESOURCE = {
    # X-Ray has no resources.
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
    # Network interfaces in a VPC: EC2 knows no narrower resource before they exist.
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
}


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return cloudformation.load(ROOT / "template.yaml")


def properties(template: Mapping[str, Any], kind: str) -> dict[str, Mapping[str, Any]]:
    """The properties of every resource of a type, by name."""
    found = {name: made["Properties"] for name, made in template["Resources"].items() if made["Type"] == kind}
    assert found, kind
    return found


def statements(node: object) -> Iterator[Mapping[str, Any]]:
    """Every policy statement anywhere below a node of the template."""
    if isinstance(node, Mapping):
        if "Effect" in node:
            yield node
        for child in node.values():
            yield from statements(child)
    elif isinstance(node, list):
        for child in node:
            yield from statements(child)


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_the_function_is_told_all_that_its_settings_read_and_nothing_else(template: dict[str, Any]) -> None:
    [function] = properties(template, "AWS::Serverless::Function").values()
    assert function["Environment"]["Variables"].keys() == ENVIRONMENT
    assert (function["Handler"], function["Runtime"]) == ("app.handler", "python3.13")
    assert (ROOT / function["CodeUri"] / "app.py").is_file()


def test_no_key_is_trusted_by_default(template: dict[str, Any]) -> None:
    assert "Default" not in template["Parameters"]["TrustedKeys"]
    assert [name for name, parameter in template["Parameters"].items() if "Default" not in parameter] == ["TrustedKeys"]


def test_snap_start_and_provisioned_concurrency_exclude_each_other(template: dict[str, Any]) -> None:
    by_default = Stack(template)
    assert by_default.broken_rules() == []
    assert by_default.resources["ScoreFunction"]["Properties"]["SnapStart"] == {"ApplyOn": "PublishedVersions"}
    assert "ProvisionedConcurrencyConfig" not in by_default.resources["ScoreFunction"]["Properties"]
    provisioned = Stack(template, EnableSnapStart="false", ProvisionedConcurrency="3")
    assert provisioned.broken_rules() == []
    function = provisioned.resources["ScoreFunction"]["Properties"]
    assert function["SnapStart"] == {"ApplyOn": "None"}
    assert function["ProvisionedConcurrencyConfig"] == {"ProvisionedConcurrentExecutions": "3"}
    [refusal] = Stack(template, EnableSnapStart="true", ProvisionedConcurrency="3").broken_rules()
    assert "EnableSnapStart=false" in refusal


def test_every_parameter_of_the_function_makes_another_version(template: dict[str, Any]) -> None:
    """SAM names a version by what stands in the function, but for the values of parameters: those it sees in the description only."""
    function = template["Resources"]["ScoreFunction"]["Properties"]
    # Capacity is no part of a version; the digest stands for all of them.
    not_of_a_version = {"ReservedConcurrency", "ProvisionedConcurrency", "VersionDigest"}
    seen = set(cloudformation.referenced(function["Description"]))
    settings_of_a_version = {
        name for part, value in function.items() if part != "Description" for name in parameters_behind(template, value)
    }
    assert len(settings_of_a_version) > 20
    assert settings_of_a_version - not_of_a_version <= seen
    assert (
        Stack(template).resources["ScoreFunction"]["Properties"]["Description"] == "Scores every event of its sources"
    )
    assert all(
        template["Resources"][name]["Properties"]["PublishLambdaVersion"] for name in ("RuntimeLayer", "CoreLayer")
    )


def parameters_behind(template: dict[str, Any], node: object) -> set[str]:
    """The parameters that a part of the template hangs on, through conditions, too."""
    names = set(cloudformation.referenced(node))
    for name in names & template["Conditions"].keys():
        names |= parameters_behind(template, template["Conditions"][name])
    return names & template["Parameters"].keys()


def test_the_function_follows_any_channel_that_a_store_knows(template: dict[str, Any]) -> None:
    assert template["Parameters"]["Channel"]["AllowedValues"] == list(CHANNEL_NAMES)


def test_every_source_stands_behind_a_condition_and_reports_single_failures(template: dict[str, Any]) -> None:
    mappings = properties(template, "AWS::Lambda::EventSourceMapping")
    assert mappings.keys() == {"SqsMapping", "KinesisMapping", "MskMapping", "SelfManagedKafkaMapping"}
    for name, mapping in mappings.items():
        assert template["Resources"][name]["Condition"] == f"Use{name.removesuffix('Mapping')}"
        assert mapping["FunctionName"] == {"Ref": "ScoreFunction.Alias"}
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["BatchSize"] > 10
        assert mapping["MaximumBatchingWindowInSeconds"] >= 1, "Lambda demands a window for more than 10 records"


def test_streams_give_up_on_a_record_after_a_while_and_say_where_it_lies(template: dict[str, Any]) -> None:
    failures = {"Destination": {"Fn::GetAtt": "StreamFailureQueue.Arn"}}
    for name, mapping in properties(template, "AWS::Lambda::EventSourceMapping").items():
        if name == "SqsMapping":
            continue
        assert mapping["BisectBatchOnFunctionError"] is True
        assert mapping["MaximumRecordAgeInSeconds"] == {"Ref": "StreamMaximumRecordAgeSeconds"}
        assert "MaximumRetryAttempts" not in mapping
        assert mapping["DestinationConfig"]["OnFailure"] == failures
        assert mapping["StartingPosition"] == "TRIM_HORIZON"
        if "Kafka" in name or "Msk" in name:
            assert "ProvisionedPollerConfig" in mapping, "partial batch responses are documented for these only"


def test_avro_and_protobuf_on_kafka_reach_the_function_as_json(template: dict[str, Any]) -> None:
    mappings = properties(template, "AWS::Lambda::EventSourceMapping")
    for name, section in (
        ("MskMapping", "AmazonManagedKafkaEventSourceConfig"),
        ("SelfManagedKafkaMapping", "SelfManagedKafkaEventSourceConfig"),
    ):
        condition, registry, otherwise = mappings[name][section]["SchemaRegistryConfig"]["Fn::If"]
        assert (condition, otherwise) == ("UseSchemaRegistry", {"Ref": "AWS::NoValue"})
        assert registry["EventRecordFormat"] == "JSON", "the function reads nothing else"
        assert registry["SchemaRegistryURI"] == {"Ref": "KafkaSchemaRegistryUri"}
        assert registry["SchemaValidationConfigs"] == [{"Attribute": "VALUE"}]


def test_a_message_stays_invisible_for_six_timeouts_and_then_goes_to_the_dead_letters(template: dict[str, Any]) -> None:
    allowed = template["Parameters"]["TimeoutSeconds"]["AllowedValues"]
    assert len(allowed) > 3
    for timeout_s in allowed:
        stack = Stack(template, TimeoutSeconds=str(timeout_s))
        queue = stack.of_type("AWS::SQS::Queue")["EventQueue"]
        assert stack.resources["ScoreFunction"]["Properties"]["Timeout"] == str(timeout_s)
        assert queue["VisibilityTimeout"] == 6 * timeout_s
        assert queue["RedrivePolicy"]["deadLetterTargetArn"] == "<EventDeadLetterQueue.Arn>"


def test_all_that_holds_events_or_models_is_encrypted_and_refuses_plain_http(template: dict[str, Any]) -> None:
    queues = properties(template, "AWS::SQS::Queue")
    assert all(queue["SqsManagedSseEnabled"] is True for queue in queues.values())
    [queue_policy] = properties(template, "AWS::SQS::QueuePolicy").values()
    assert all(name in str(queue_policy["Queues"]) for name in queues)
    [bucket] = properties(template, "AWS::S3::Bucket").values()
    assert "BucketEncryption" in bucket
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    [stream] = properties(template, "AWS::Kinesis::Stream").values()
    assert stream["StreamEncryption"]["EncryptionType"] == "KMS"
    [bucket_policy] = properties(template, "AWS::S3::BucketPolicy").values()
    for policy in (queue_policy, bucket_policy):
        [statement] = statements(policy)
        assert statement["Effect"] == "Deny"
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_roles_name_every_action_and_every_resource(template: dict[str, Any]) -> None:
    for role in properties(template, "AWS::IAM::Role").values():
        assert "ManagedPolicyArns" not in role, "AWS's managed policies allow any resource"
        for statement in statements(role["Policies"]):
            actions = set(as_list(statement["Action"]))
            assert not any("*" in action for action in actions)
            if statement["Resource"] == "*":
                assert actions <= MAY_NAME_ANY_RESOURCE


def test_the_function_may_send_to_the_sinks_that_it_is_given_and_to_no_others(template: dict[str, Any]) -> None:
    role = properties(template, "AWS::IAM::Role")["ScoreRole"]
    sending = {"sqs:SendMessage", "kinesis:PutRecords", "events:PutEvents", "firehose:PutRecordBatch", "sns:Publish"}
    named = [made["Resource"] for made in statements(role) if set(as_list(made["Action"])) == sending]
    assert named == [{"Ref": "SinkArns"}]
    assert template["Parameters"]["SinkArns"]["Default"] == ""
    [function] = properties(template, "AWS::Serverless::Function").values()
    own = {"Fn::If": ["OwnSink", {"Fn::Sub": "sqs:${SinkQueue}"}, {"Ref": "Sink"}]}
    assert function["Environment"]["Variables"]["EVENTSCORE_SINK"] == {"Fn::Join": [";", [own, {"Ref": "MoreSinks"}]]}


def test_the_table_of_sent_events_is_the_one_that_the_function_reads(template: dict[str, Any]) -> None:
    [table] = properties(template, "AWS::DynamoDB::Table").values()
    assert table["KeySchema"] == [{"AttributeName": idempotency.KEY, "KeyType": "HASH"}]
    assert table["TimeToLiveSpecification"] == {"AttributeName": idempotency.EXPIRES_AT, "Enabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["SSESpecification"] == {"SSEEnabled": True}
    role = properties(template, "AWS::IAM::Role")["ScoreRole"]
    on_it = [made for made in statements(role) if "dynamodb" in str(made["Action"])]
    assert [(made["Action"], made["Resource"]) for made in on_it] == [
        (["dynamodb:BatchGetItem", "dynamodb:BatchWriteItem"], {"Fn::GetAtt": "IdempotencyTable.Arn"})
    ]


def test_the_kafka_client_is_carried_only_where_it_is_asked_for(template: dict[str, Any]) -> None:
    assert template["Parameters"]["EnableKafkaSink"]["Default"] == "false"
    assert template["Resources"]["KafkaLayer"]["Condition"] == "UseKafkaSink"
    carried = {
        wanted: Stack(template, EnableKafkaSink=wanted).resources["ScoreFunction"]["Properties"]["Layers"]
        for wanted in ("false", "true")
    }
    assert carried == {
        "false": ["<RuntimeLayer>", "<CoreLayer>"],
        "true": ["<RuntimeLayer>", "<CoreLayer>", "<KafkaLayer>"],
    }


def test_the_function_reads_its_own_model_and_writes_no_object(template: dict[str, Any]) -> None:
    role = properties(template, "AWS::IAM::Role")["ScoreRole"]
    on_s3 = [made for made in statements(role) if any(action.startswith("s3:") for action in as_list(made["Action"]))]
    only_its_own = ["UseMoreModels", {"Fn::Sub": "${ModelBucket.Arn}/*"}, {"Fn::Sub": "${ModelBucket.Arn}/${Model}/*"}]
    assert [(made["Action"], made["Resource"]) for made in on_s3] == [("s3:GetObject", {"Fn::If": only_its_own})]


def test_the_parameters_of_the_models_have_the_defaults_of_the_settings(template: dict[str, Any]) -> None:
    [function] = properties(template, "AWS::Serverless::Function").values()
    defaults = {name: parameter.get("Default") for name, parameter in template["Parameters"].items()}
    variables = {
        name: str(defaults[value["Ref"]])
        for name, value in function["Environment"]["Variables"].items()
        if name.startswith(settings.PREFIX) and isinstance(value, dict) and defaults.get(value.get("Ref")) is not None
    }
    assert len(variables) == 7
    key = base64.b64encode(bytes(32)).decode()
    needed = {settings.STORE: "s3://b", settings.MODEL: "m", settings.TRUSTED_KEYS: key}
    from_environment = settings.Settings.from_environment
    assert from_environment({**needed, **variables}) == from_environment(needed)


def test_the_scheduler_sends_what_the_function_knows_as_a_warm_up(template: dict[str, Any]) -> None:
    [schedule] = properties(template, "AWS::Scheduler::Schedule").values()
    event = (ROOT / "events/warm-up.json").read_text(encoding="utf-8")
    assert yaml.safe_load(schedule["Target"]["Input"]) == yaml.safe_load(event)


def test_every_parameter_is_told_of_in_the_docs(template: dict[str, Any]) -> None:
    page = (ROOT / "docs/deploying.md").read_text(encoding="utf-8")
    assert [name for name in template["Parameters"] if f"`{name}`" not in page] == []


def test_samconfig_gives_a_key_to_trust() -> None:
    settings = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
    overrides = settings["default"]["global"]["parameters"]["parameter_overrides"]
    assert [override.split("=")[0] for override in overrides] == ["TrustedKeys"]


def sam(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the sam command that `make setup` installs, or the one on PATH."""
    command = shutil.which("sam", path=f"{ROOT / '.tools/bin'}{os.pathsep}{os.environ.get('PATH', '')}")
    if command is None:
        pytest.skip("the sam command is not installed: make setup")
    return subprocess.run(
        [command, *arguments],
        cwd=ROOT,
        env=os.environ | {"SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.sam
@pytest.mark.timeout(300)
def test_sam_and_cfn_lint_find_no_fault() -> None:
    validate = sam("validate", "--lint")
    assert validate.returncode == 0, validate.stdout + validate.stderr


@pytest.mark.sam
@pytest.mark.timeout(300)
def test_sam_builds_the_function_and_layers_that_lambda_accepts(tmp_path: Path) -> None:
    build = sam("build", "--build-dir", str(tmp_path / "build"), "--cache-dir", str(tmp_path / "cache"))
    assert build.returncode == 0, build.stdout + build.stderr
    built = tmp_path / "build"
    sizes = {
        folder.name: sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for folder in built.iterdir()
        if folder.is_dir()
    }
    assert sizes.keys() == {"ScoreFunction", "RuntimeLayer", "CoreLayer", "KafkaLayer"}
    assert [path.name for path in (built / "ScoreFunction").iterdir()] == ["app.py"]
    assert (built / "CoreLayer/python/eventscore/__init__.py").is_file()
    assert sizes["RuntimeLayer"] + sizes["CoreLayer"] < 100 * MEBIBYTE
    assert (built / "KafkaLayer/python/confluent_kafka/__init__.py").is_file()
    assert sizes["KafkaLayer"] < 30 * MEBIBYTE
    assert sum(sizes.values()) < 250 * MEBIBYTE, "Lambda's limit for a function with its layers"
