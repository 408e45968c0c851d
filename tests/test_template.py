"""The stack promises what the function relies on: partial batches, time to retry, encryption, and no right too many."""

import base64
import json
import os
import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

import cloudformation
from cloudformation import Stack, as_list, properties, statements
from eventscore import settings
from eventscore.delivery import idempotency
from eventscore.store.folder import FolderStore
from eventscore.store.versions import CHANNEL_NAMES, ModelVersions
from eventscore.telemetry import Telemetry

ROOT = Path(__file__).parent.parent
MEBIBYTE = 2**20
KEY_ARN = "arn:aws:kms:us-east-1:123456789012:key/1234"
KINESIS_ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/events"
ALL_SOURCES = {
    "EnableSqs": "true",
    "EnableKinesis": "true",
    "EnableMsk": "true",
    "MskClusterArn": "arn:aws:kafka:us-east-1:123456789012:cluster/brokers/1234",
    "EnableSelfManagedKafka": "true",
    "SelfManagedKafkaBootstrapServers": "a:9096,b:9096",
    "SelfManagedKafkaSecretArn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:brokers",
}
ORDERED_QUEUES = ["SinkQueue", "RejectQueue", "StreamFailureQueue", "EventQueue", "EventDeadLetterQueue"]
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
    settings.WHOLE_BATCHES,
    "POWERTOOLS_SERVICE_NAME",
    "POWERTOOLS_METRICS_NAMESPACE",
    "POWERTOOLS_LOG_LEVEL",
    "ORT_DISABLE_TELEMETRY",
    "PYDANTIC_DISABLE_PLUGINS",
}


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return cloudformation.load(ROOT / "template.yaml")


def test_the_function_is_told_all_that_its_settings_read_and_nothing_else(template: dict[str, Any]) -> None:
    function = properties(template, "AWS::Serverless::Function")["ScoreFunction"]
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
    # Capacity is no part of a version, nor is the way to it; the digest stands for all of them.
    not_of_a_version = {
        "ReservedConcurrency",
        "ProvisionedConcurrency",
        "VersionDigest",
        "CodeDeployment",
        "CodeSigningConfigArn",
    }
    seen = set(cloudformation.referenced(function["Description"]))
    settings_of_a_version = {
        name for part, value in function.items() if part != "Description" for name in parameters_behind(template, value)
    }
    assert len(settings_of_a_version) > 20
    assert settings_of_a_version - not_of_a_version <= seen
    for name in seen:
        # Lambda publishes nothing for a function that did not change, and CloudFormation takes that for a failure.
        declared = template["Parameters"][name]
        other = next((str(one) for one in declared.get("AllowedValues", ()) if one != declared.get("Default")), "7")
        before, after = (
            Stack(template, **given).resources["ScoreFunction"]["Properties"] for given in ({}, {name: other})
        )
        assert before != after or Stack(template, **{name: other}).broken_rules(), name
        assert len(after["Description"]) <= 256
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
    stack = Stack(template, **ALL_SOURCES)
    for name, mapping in stack.of_type("AWS::Lambda::EventSourceMapping").items():
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"], name
        assert int(mapping["BatchSize"]) > 10
        assert int(mapping["MaximumBatchingWindowInSeconds"]) >= 1, "Lambda demands a window for more than 10 records"
        assert "EventCount" in mapping["MetricsConfig"]["Metrics"]


def test_streams_give_up_on_a_record_after_a_while_and_say_where_it_lies(template: dict[str, Any]) -> None:
    stack = Stack(template, StreamMaximumRecordAgeSeconds="600", **ALL_SOURCES)
    mappings = stack.of_type("AWS::Lambda::EventSourceMapping")
    assert len(mappings) == 4
    for name in mappings.keys() - {"SqsMapping"}:
        mapping = mappings[name]
        assert mapping["BisectBatchOnFunctionError"] is True
        assert mapping["MaximumRecordAgeInSeconds"] == "600"
        assert mapping["MaximumRetryAttempts"] == "-1", "what fails passes: broken events are rejected at the first try"
        assert mapping["DestinationConfig"] == {"OnFailure": {"Destination": "<StreamFailureQueue.Arn>"}}
        assert mapping["StartingPosition"] == "TRIM_HORIZON"


def test_kafka_without_provisioned_pollers_fails_whole_batches_because_it_knows_no_partial_ones(
    template: dict[str, Any],
) -> None:
    documented_for_provisioned_pollers = {
        "ProvisionedPollerConfig",
        "FunctionResponseTypes",
        "BisectBatchOnFunctionError",
        "MaximumRecordAgeInSeconds",
        "MaximumRetryAttempts",
        "DestinationConfig",
        "MetricsConfig",
    }
    for pollers, whole_batches in (("1", ""), ("0", "kafka")):
        stack = Stack(template, KafkaMinimumPollers=pollers, **ALL_SOURCES)
        for name in ("MskMapping", "SelfManagedKafkaMapping"):
            found = stack.resources[name]["Properties"].keys() & documented_for_provisioned_pollers
            assert found == (set() if whole_batches else documented_for_provisioned_pollers)
        variables = stack.resources["ScoreFunction"]["Properties"]["Environment"]["Variables"]
        assert variables["EVENTSCORE_WHOLE_BATCHES"] == whole_batches


def test_a_queue_is_read_with_a_bound_on_environments_or_by_pollers_of_its_own(template: dict[str, Any]) -> None:
    found = {
        pollers: Stack(template, SqsMinimumPollers=pollers).resources["SqsMapping"]["Properties"] for pollers in "05"
    }
    assert found["0"]["ScalingConfig"] == {"MaximumConcurrency": "10"}
    assert "ProvisionedPollerConfig" not in found["0"]
    assert found["5"]["ProvisionedPollerConfig"] == {"MinimumPollers": "5", "MaximumPollers": "10"}
    assert "ScalingConfig" not in found["5"]


def test_a_reader_of_the_stream_s_own_is_read_in_place_of_the_stream(template: dict[str, Any]) -> None:
    shared = Stack(template, EnableKinesis="true").resources
    assert shared["KinesisMapping"]["Properties"]["EventSourceArn"] == "<EventStream.Arn>"
    assert "EventStreamConsumer" not in shared
    own = Stack(template, EnableKinesis="true", EnableEnhancedFanOut="true", KinesisStreamArn=KINESIS_ARN).resources
    assert own["KinesisMapping"]["Properties"]["EventSourceArn"] == "<EventStreamConsumer>"
    assert own["EventStreamConsumer"]["Properties"]["StreamARN"] == KINESIS_ARN
    assert "EventStream" not in own


def test_filters_are_there_only_where_they_are_given(template: dict[str, Any]) -> None:
    pattern = '{"body":{"amount":[{"exists":true}]}}'
    filters = {"SqsMapping": "SqsFilter", "KinesisMapping": "KinesisFilter", "MskMapping": "KafkaFilter"}
    for name, parameter in filters.items():
        assert "FilterCriteria" not in Stack(template, **ALL_SOURCES).resources[name]["Properties"]
        mapping = Stack(template, **ALL_SOURCES, **{parameter: pattern}).resources[name]["Properties"]
        assert mapping["FilterCriteria"] == {"Filters": [{"Pattern": pattern}]}


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


@pytest.mark.parametrize("key", ["", KEY_ARN])
def test_all_that_holds_events_or_models_is_encrypted_with_the_key_that_is_given(
    template: dict[str, Any], key: str
) -> None:
    stack = Stack(template, KmsKeyArn=key, EnableIdempotency="true", EnableSnapStart="false", **ALL_SOURCES)
    queues = stack.of_type("AWS::SQS::Queue")
    assert len(queues) == 5
    for queue in queues.values():
        assert (queue.get("KmsMasterKeyId"), queue.get("SqsManagedSseEnabled")) == (
            (key, None) if key else (None, True)
        )
    [bucket] = stack.of_type("AWS::S3::Bucket").values()
    [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key} if key else {"SSEAlgorithm": "AES256"}
    assert rule["ServerSideEncryptionByDefault"] == default
    [stream] = stack.of_type("AWS::Kinesis::Stream").values()
    assert stream["StreamEncryption"] == {"EncryptionType": "KMS", "KeyId": key or "alias/aws/kinesis"}
    logs = stack.of_type("AWS::Logs::LogGroup")
    assert len(logs) == 3
    for made in (*logs.values(), *stack.of_type("AWS::Serverless::Function").values()):
        assert made.get("KmsKeyId", made.get("KmsKeyArn")) == (key or None)


def test_nothing_that_holds_events_or_models_answers_plain_http_or_the_public(template: dict[str, Any]) -> None:
    stack = Stack(template, **ALL_SOURCES)
    [queue_policy] = stack.of_type("AWS::SQS::QueuePolicy").values()
    assert queue_policy["Queues"] == [f"<{name}>" for name in ORDERED_QUEUES]
    assert set(ORDERED_QUEUES) == stack.of_type("AWS::SQS::Queue").keys()
    for guard in ("ModelBucket", "ModelBucketPolicy"):
        kept = (template["Resources"][guard]["DeletionPolicy"], template["Resources"][guard]["UpdateReplacePolicy"])
        assert kept == ("Retain", "Retain"), "a bucket that outlives the stack keeps what guards it"
    [bucket] = stack.of_type("AWS::S3::Bucket").values()
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    [bucket_policy] = stack.of_type("AWS::S3::BucketPolicy").values()
    for policy in (queue_policy, bucket_policy):
        [statement] = [made for made in statements(policy) if made.get("Sid") == "RefusePlainHttp"]
        assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert all(made["Effect"] == "Deny" for made in statements(policy)), "rights are given in roles only"


def test_versions_are_written_once_pointers_moved_from_what_was_seen_and_nothing_is_deleted(
    template: dict[str, Any],
) -> None:
    [policy] = Stack(template).of_type("AWS::S3::BucketPolicy").values()
    by_sid = {made["Sid"]: made for made in statements(policy)}
    # A multipart upload's parts have no condition to give; what makes the object has.
    makes_the_object = {"Bool": {"s3:ObjectCreationOperation": "true"}}
    once, moved, kept = (
        by_sid[sid] for sid in ("WriteAVersionOnce", "MoveAPointerThatWasSeen", "KeepWhatWasPublished")
    )
    assert (once["Action"], once["Resource"]) == ("s3:PutObject", "<ModelBucket.Arn>/*/versions/*")
    assert once["Condition"] == {"Null": {"s3:if-none-match": "true"}, **makes_the_object}
    assert (moved["Action"], moved["Resource"]) == ("s3:PutObject", "<ModelBucket.Arn>/*/channels.json")
    assert moved["Condition"] == {"Null": {"s3:if-none-match": "true", "s3:if-match": "true"}, **makes_the_object}
    assert set(kept["Action"]) == {"s3:DeleteObject", "s3:DeleteObjectVersion"}
    assert (kept["Resource"], "Condition" in kept) == ("<ModelBucket.Arn>/*", False)
    versions = ModelVersions(FolderStore(ROOT / "model_store"), "flight-delay")
    assert fnmatch(versions.key("v1", "model.onnx"), "*/versions/*")
    assert (ROOT / "model_store/flight-delay/channels.json").is_file()


def test_the_function_may_send_to_the_sinks_that_it_is_given_and_to_no_others(template: dict[str, Any]) -> None:
    role = properties(template, "AWS::IAM::Role")["ScoreRole"]
    sending = {"sqs:SendMessage", "kinesis:PutRecords", "events:PutEvents", "firehose:PutRecordBatch", "sns:Publish"}
    named = [made["Resource"] for made in statements(role) if set(as_list(made["Action"])) == sending]
    assert named == [{"Ref": "SinkArns"}]
    assert template["Parameters"]["SinkArns"]["Default"] == ""
    function = properties(template, "AWS::Serverless::Function")["ScoreFunction"]
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
        (["dynamodb:BatchGetItem", "dynamodb:BatchWriteItem"], {"Fn::GetAtt": ["IdempotencyTable", "Arn"]})
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
    function = properties(template, "AWS::Serverless::Function")["ScoreFunction"]
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


def test_a_schedule_warms_environments_only_where_nothing_else_does(template: dict[str, Any]) -> None:
    def is_warmed(**parameters: str) -> bool:
        resources = Stack(template, **parameters).resources
        made = {name for name in resources if name.startswith("WarmUp")}
        assert made in (
            set(),
            {f"WarmUp{kind}" for kind in ("Function", "FunctionRole", "LogGroup", "Schedule", "ScheduleRole")},
        )
        return bool(made)

    assert not is_warmed()
    assert not is_warmed(EnableSnapStart="false", ProvisionedConcurrency="2")
    assert not is_warmed(EnableSnapStart="false", EnableWarmUp="false")
    assert is_warmed(EnableSnapStart="false")
    stack = Stack(template, EnableSnapStart="false", WarmUpEnvironments="4")
    assert stack.resources["WarmUpSchedule"]["Properties"]["Target"]["Arn"] == "<WarmUpFunction.Arn>"
    variables = stack.resources["WarmUpFunction"]["Properties"]["Environment"]["Variables"]
    assert variables == {"FUNCTION": "<ScoreFunction.Alias>", "ENVIRONMENTS": "4"}


@pytest.mark.parametrize(
    ("folder", "name"), [("warm_up", "WarmUpFunction"), ("verify_version", "VerifyVersionFunction")]
)
def test_a_helper_gets_the_variables_that_it_reads(template: dict[str, Any], folder: str, name: str) -> None:
    function = template["Resources"][name]["Properties"]
    assert function["CodeUri"] == f"functions/{folder}"
    source = (ROOT / function["CodeUri"] / "app.py").read_text(encoding="utf-8")
    read = set(re.findall(r'environ(?:ment)?\["([A-Z_]+)"\]', source))
    assert read == function["Environment"]["Variables"].keys()


def test_traffic_moves_by_code_deploy_after_the_hook_and_comes_back_by_alarm(template: dict[str, Any]) -> None:
    def deployment(kind: str) -> tuple[Any, set[str]]:
        stack = Stack(template, CodeDeployment=kind)
        helpers = {"CodeDeployRole", "VerifyVersionFunction", "VerifyVersionRole", "VerifyVersionLogGroup"}
        alarms = set(stack.of_type("AWS::CloudWatch::Alarm"))
        assert (helpers <= stack.resources.keys()) == (kind != "none")
        return stack.resources["ScoreFunction"]["Properties"]["DeploymentPreference"], alarms

    none, no_alarms = deployment("none")
    assert (none["Enabled"], no_alarms) == ("false", set())
    at_once, too_late_for_alarms = deployment("AllAtOnce")
    assert (at_once["Enabled"], at_once["Hooks"]) == ("true", {"PreTraffic": "<VerifyVersionFunction>"})
    assert too_late_for_alarms == set()
    canary, alarms = deployment("Canary10Percent5Minutes")
    assert canary["Role"] == "<CodeDeployRole.Arn>"
    assert set(canary["Alarms"]) == {f"<{name}>" for name in alarms}
    assert len(alarms) == 3
    kinds = template["Parameters"]["CodeDeployment"]["AllowedValues"]
    assert template["Mappings"]["CodeDeployments"].keys() == set(kinds)
    assert template["Parameters"]["CodeDeployment"]["Default"] == "Canary10Percent5Minutes"


def test_alarms_that_take_a_deployment_back_watch_the_alias_and_a_metric_that_the_function_emits(
    template: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    stack = Stack(template)
    alarms = stack.of_type("AWS::CloudWatch::Alarm")
    for alarm in alarms.values():
        assert alarm["TreatMissingData"] == "notBreaching"
    for name in ("RollbackErrorsAlarm", "RollbackLatencyAlarm"):
        assert alarms[name]["Dimensions"] == [
            {"Name": "FunctionName", "Value": "<ScoreFunction>"},
            {"Name": "Resource", "Value": "<ScoreFunction>:live"},
        ]
    variables = stack.resources["ScoreFunction"]["Properties"]["Environment"]["Variables"]
    Telemetry(
        "m", {name: value for name, value in variables.items() if name != "POWERTOOLS_LOG_LEVEL"}
    ).model_load_failed(ValueError("no"))
    line = json.loads(capsys.readouterr().out.splitlines()[0])
    [told] = line["_aws"]["CloudWatchMetrics"]
    alarm = alarms["RollbackModelLoadAlarm"]
    assert (told["Namespace"], told["Metrics"][0]["Name"]) == (alarm["Namespace"], alarm["MetricName"])
    assert {made["Name"] for made in alarm["Dimensions"]} in [set(names) for names in told["Dimensions"]]
    assert line["service"] == "<AWS::StackName>" == stack.outputs["ServiceName"]
    assert told["Namespace"] == stack.outputs["MetricsNamespace"]


def test_the_function_s_log_filter_lets_metrics_through_at_every_level(template: dict[str, Any]) -> None:
    levels = template["Parameters"]["LogLevel"]["AllowedValues"]
    assert len(levels) == 4
    for level in levels:
        function = Stack(template, LogLevel=level).resources["ScoreFunction"]["Properties"]
        assert function["LoggingConfig"]["LogFormat"] == "JSON"
        # Lambda takes a line that names no level, as a metric's does, for INFO.
        assert function["LoggingConfig"]["ApplicationLogLevel"] == ("DEBUG" if level == "DEBUG" else "INFO")
        assert function["Environment"]["Variables"]["POWERTOOLS_LOG_LEVEL"] == level


def test_nested_stacks_are_given_parameters_that_they_have_and_all_that_they_need(template: dict[str, Any]) -> None:
    nested = properties(template, "AWS::Serverless::Application")
    assert nested.keys() == {"Alarms", "Dashboards", "Training"}
    for name, stack in nested.items():
        assert template["Resources"][name]["Condition"] == f"Use{name}"
        child = cloudformation.load(ROOT / stack["Location"])["Parameters"]
        needed = {parameter for parameter, declared in child.items() if "Default" not in declared}
        assert needed <= stack["Parameters"].keys() <= child.keys(), name
    made = {
        name
        for name, resource in Stack(template).resources.items()
        if resource["Type"] == "AWS::Serverless::Application"
    }
    assert made == {"Alarms", "Dashboards"}, "training costs nothing until somebody asks for it"


def test_the_dead_letters_of_an_existing_queue_are_watched_where_they_are_named(template: dict[str, Any]) -> None:
    arns = {name: f"arn:aws:sqs:us-east-1:123456789012:{name}" for name in ("theirs", "dead")}

    def watched(**parameters: str) -> set[str]:
        resources = Stack(template, **parameters).resources
        return {
            resources[name]["Properties"]["Parameters"]["EventDeadLetterQueueName"] for name in ("Alarms", "Dashboards")
        }

    assert watched() == {"<EventDeadLetterQueue.QueueName>"}
    assert watched(SqsQueueArn=arns["theirs"]) == {""}
    assert watched(SqsQueueArn=arns["theirs"], SqsDeadLetterQueueArn=arns["dead"]) == {"dead"}


def test_what_people_need_of_a_nested_stack_is_an_output_of_the_stack(template: dict[str, Any]) -> None:
    outputs = Stack(template, EnableTraining="true").outputs
    told = re.findall(r"<(\w+)\.Outputs\.(\w+)>", str(outputs))
    assert {name for name, _ in told} == {"Alarms", "Training"}
    for name, output in told:
        child = cloudformation.load(ROOT / template["Resources"][name]["Properties"]["Location"])
        assert output in child["Outputs"], f"{name} has no output {output}"
    assert not [value for value in Stack(template, EnableAlarms="false").outputs.values() if ".Outputs." in value]


def test_a_key_of_one_s_own_encrypts_the_training_s_bucket_and_logs_too(template: dict[str, Any]) -> None:
    given = Stack(template, EnableTraining="true", KmsKeyArn=KEY_ARN).resources["Training"]["Properties"]["Parameters"]
    assert {name for name, value in given.items() if value == KEY_ARN} == {
        *("ModelBucketKmsKeyArn", "BucketKmsKeyArn", "LogKmsKeyArn"),
    }


def test_every_parameter_is_told_of_in_the_docs(template: dict[str, Any]) -> None:
    page = (ROOT / "docs/deploying.md").read_text(encoding="utf-8")
    assert [name for name in template["Parameters"] if f"`{name}`" not in page] == []


def test_samconfig_gives_a_key_to_trust_and_parameters_that_can_be_deployed(template: dict[str, Any]) -> None:
    environments = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
    assert environments.keys() - {"version"} == {"default", "dev", "prod"}
    for name in environments.keys() - {"version"}:
        sections = environments[name]
        overrides = sections["global"]["parameters"]["parameter_overrides"]
        parameters = dict(override.split("=", maxsplit=1) for override in overrides)
        assert re.fullmatch(template["Parameters"]["TrustedKeys"]["AllowedPattern"], parameters["TrustedKeys"])
        assert Stack(template, **parameters).broken_rules() == []
        assert "CAPABILITY_AUTO_EXPAND" in sections["deploy"]["parameters"]["capabilities"], "for nested stacks"


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
    functions = {"ScoreFunction", "WarmUpFunction", "VerifyVersionFunction"}
    nested = {"Alarms", "Dashboards", "Training"}
    assert sizes.keys() == {*functions, *nested, "RuntimeLayer", "CoreLayer", "KafkaLayer"}
    for function in functions:
        assert [path.name for path in (built / function).iterdir()] == ["app.py"]
    assert (built / "CoreLayer/python/eventscore/__init__.py").is_file()
    assert sizes["RuntimeLayer"] + sizes["CoreLayer"] < 100 * MEBIBYTE
    assert (built / "KafkaLayer/python/confluent_kafka/__init__.py").is_file()
    assert sizes["KafkaLayer"] < 30 * MEBIBYTE
    assert sum(sizes.values()) < 250 * MEBIBYTE, "Lambda's limit for a function with its layers"
