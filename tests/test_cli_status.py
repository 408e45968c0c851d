"""`eventscore status`: what it says of a stack that is well, of one that is not, and where it may not look."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import small_model
from deployed_stack import BUCKET, NAME, deploy, emulated_aws
from eventscore.signing import Ed25519Signer
from eventscore.store.location import open_store
from eventscore_cli.stack import Stack, aws_client
from eventscore_cli.standing.alarms import Alarms, alarms
from eventscore_cli.standing.figures import figures
from eventscore_cli.standing.function import (
    FunctionState,
    MappingState,
    function_state,
    last_deployment,
    mapping_states,
)
from eventscore_cli.standing.part import Part
from eventscore_cli.standing.resources import stack_resources
from eventscore_cli.standing.standing import Standing, problems, read_standing
from test_cli import Run, run

__all__ = ["run"]

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def _aws() -> Iterator[None]:
    with emulated_aws():
        yield


class Client:
    """Any service: an answer for each operation, or an error."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers

    def __getattr__(self, operation: str) -> Any:
        def call(**asked: Any) -> Any:
            answer = self._answers[operation]
            answer = answer(asked) if callable(answer) else answer
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def refused(operation: str, code: str = "AccessDeniedException") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "not authorized"}}, operation)


FUNCTION = {
    "MemorySize": 1769,
    "Timeout": 60,
    "Architectures": ["arm64"],
    "Runtime": "python3.13",
    "LastModified": "2026-11-21T10:00:00.000+0000",
    "State": "Active",
    "LastUpdateStatus": "Successful",
    "SnapStart": {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"},
}
ALARM = {
    "AlarmName": "scores-latency",
    "StateValue": "ALARM",
    "AlarmActions": ["arn:topic"],
    "AlarmDescription": "p95 is over its objective.\nLook at the sink first.\nRunbook: https://example.org/runbooks/latency.md",
    "StateUpdatedTimestamp": NOW,
}


def lambda_client(**changes: Any) -> Client:
    answers: dict[str, Any] = {
        "get_alias": {"FunctionVersion": "7", "RoutingConfig": {"AdditionalVersionWeights": {"8": 0.1}}},
        "get_function_configuration": FUNCTION,
        "get_provisioned_concurrency_config": refused("Get", "ProvisionedConcurrencyConfigNotFoundException"),
        "get_event_source_mapping": lambda asked: {
            "EventSourceArn": "arn:aws:sqs:us-east-1:1:events",
            "State": "Enabled",
            "LastProcessingResult": "OK",
            "UUID": asked["UUID"],
        },
    }
    return Client(**{**answers, **changes})


def clients(**more: Client) -> Any:
    """The emulated AWS, with a function and alarms that CloudFormation there does not make."""
    cloudformation = aws_client("cloudformation")

    class Resources:
        def get_paginator(self, _name: str) -> Any:
            class Pages:
                def paginate(self, StackName: str) -> Any:  # noqa: N803
                    kinds = {
                        "AWS::Lambda::EventSourceMapping": "uuid-1",
                        "AWS::CloudWatch::Alarm": "scores-latency",
                        "AWS::CodeDeploy::Application": "app",
                        "AWS::CodeDeploy::DeploymentGroup": "group",
                    }
                    if StackName == NAME:
                        inner = ("AWS::CloudFormation::Stack", "arn:inner")
                        yield {"StackResourceSummaries": [_summary(*inner)]}
                    else:
                        yield {"StackResourceSummaries": [_summary(*item) for item in kinds.items()]}

            return Pages()

        def __getattr__(self, name: str) -> Any:
            return getattr(cloudformation, name)

    def _summary(kind: str, identifier: str) -> dict[str, str]:
        return {"ResourceType": kind, "LogicalResourceId": "X", "PhysicalResourceId": identifier}

    given: dict[str, Any] = {
        "cloudformation": Resources(),
        "lambda": lambda_client(),
        "codedeploy": Client(
            list_deployments={"deployments": ["d-2", "d-1"]},
            get_deployment={"deploymentInfo": {"status": "Succeeded", "createTime": NOW}},
        ),
        "cloudwatch": aws_client("cloudwatch"),
        "sqs": aws_client("sqs"),
        **more,
    }
    return lambda service: given[service]


@pytest.fixture
def healthy(_aws: None, signer: Ed25519Signer) -> Stack:
    outputs = deploy(
        TrustedKeys=signer.public_key,
        ScoreFunctionName="score",
        ScoreFunctionAlias="arn:aws:lambda:x:1:function:score:live",
    )
    small_model.publish(open_store(f"s3://{BUCKET}"), signer)
    return Stack(NAME, "us-east-1", "UPDATE_COMPLETE", "", outputs)


def told(stack: Stack, client: Any) -> tuple[Standing, list[str]]:
    standing = read_standing(stack, client, datetime.now(UTC), 99.9)
    return standing, list(problems(standing))


def cloudwatch(received: int, returned: int, *alarms: Any) -> Client:
    """CloudWatch with the metrics of one source; moto knows no percentiles."""
    told = {"Received": received, "Scored": received - returned, "Returned": returned, "p50": 8, "p95": 12, "p99": 20}

    def answer(asked: Any) -> Any:
        results = []
        for query in asked["MetricDataQueries"]:
            stat = query["MetricStat"]
            of = {dimension["Name"]: dimension["Value"] for dimension in stat["Metric"]["Dimensions"]}
            assert (stat["Metric"]["Namespace"], of["service"], of["model"]) == ("eventscore", "score", "small")
            name = stat["Metric"]["MetricName"] if stat["Stat"] == "Sum" else stat["Stat"]
            known = told if of.get("source") == "sqs" else {} if "source" in of else {"ColdStart": 3}
            results.append({"Id": query["Id"], "Values": [known[name]] if known.get(name) else []})
        # In two pages, as many metrics come.
        half = len(results) // 2
        if "NextToken" in asked:
            return {"MetricDataResults": results[half:]}
        return {"MetricDataResults": results[:half], "NextToken": "more"}

    return Client(
        get_metric_data=answer, get_metric_statistics={"Datapoints": []}, describe_alarms={"MetricAlarms": alarms}
    )


def test_a_stack_that_is_well_has_nothing_to_look_at(healthy: Stack) -> None:
    quiet = cloudwatch(10_000, 4, {**ALARM, "StateValue": "OK"})
    standing, found = told(healthy, clients(cloudwatch=quiet))
    assert found == []
    (channel,) = standing.channels.value or ()
    assert (channel.channel, channel.version, channel.metrics) == ("live", "v1", {"roc_auc": 0.75})
    assert channel.signed_by is not None
    assert standing.function.value is not None
    assert (standing.function.value.version, standing.function.value.canary) == ("7", {"8": 0.1})
    assert standing.deployment.value is not None
    assert standing.deployment.value.id == "d-2"
    assert standing.figures.value is not None
    (row,) = standing.figures.value.sources
    assert (row.received, row.scored, row.rejected, row.returned) == (10_000, 9_996, 0, 4)
    assert row.latency_ms == {"p50": 8, "p95": 12, "p99": 20}
    assert standing.figures.value.cold_starts == {"small": 3}
    assert standing.figures.value.budget_left == {"small": pytest.approx(0.6)}
    assert standing.alarms.value == Alarms(1, ())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"get_function_configuration": {**FUNCTION, "State": "Failed"}}, "the function is Failed"),
        ({"get_function_configuration": {**FUNCTION, "LastUpdateStatus": "Failed"}}, "last update failed"),
        ({"get_event_source_mapping": {"State": "Disabled"}}, "the mapping of self-managed Kafka is Disabled"),
        (
            {"get_event_source_mapping": {"State": "Enabled", "LastProcessingResult": "PROBLEM: Function call failed"}},
            "PROBLEM: Function call failed",
        ),
    ],
)
def test_what_is_wrong_with_the_function_is_said(healthy: Stack, changes: dict[str, Any], said: str) -> None:
    _, found = told(healthy, clients(**{"lambda": lambda_client(**changes)}))
    assert [problem for problem in found if said in problem]


@pytest.mark.parametrize("says", ["OK", "OK - 3 records", "No records processed", ""])
def test_a_mapping_that_goes_well_is_nothing_to_look_at(healthy: Stack, says: str) -> None:
    mapping = {"State": "Enabled", "LastProcessingResult": says}
    _, found = told(healthy, clients(**{"lambda": lambda_client(get_event_source_mapping=mapping)}))
    assert found == []


def test_what_was_given_up_is_said_with_the_command_that_sends_it_back(healthy: Stack) -> None:
    for output in ("EventDeadLetterQueueUrl", "StreamFailureQueueUrl", "RejectQueueUrl"):
        boto3.client("sqs").send_message(QueueUrl=healthy.outputs[output], MessageBody="x")
    standing, found = told(healthy, clients())
    assert found == [
        f"1 dead letters; see eventscore replay dead --stack {NAME}",
        f"1 stream failures; see eventscore replay given-up --stack {NAME}",
    ], "what is rejected is no fault of the stack"
    rejected = standing.queues["rejected"].value
    assert rejected is not None
    assert rejected.waiting == 1


def test_an_alarm_is_said_with_its_runbook_and_readings_are_left_out(healthy: Stack) -> None:
    answer = {"MetricAlarms": [ALARM, {**ALARM, "AlarmName": "reading", "AlarmActions": []}], "CompositeAlarms": []}
    state = alarms(Client(describe_alarms=answer), ("scores-latency", "reading"))
    (alarm,) = state.ringing
    assert state.known == 1
    assert alarm.runbook == "https://example.org/runbooks/latency.md"
    assert alarm.says == "p95 is over its objective. Look at the sink first."
    standing, _ = told(healthy, clients())
    found = list(problems(dataclasses.replace(standing, alarms=Part(state, None))))
    assert found == ["alarm scores-latency, see https://example.org/runbooks/latency.md"]


def test_a_version_that_the_function_would_refuse_is_said_to_be_refused(healthy: Stack) -> None:
    stranger = {**healthy.outputs, "TrustedKeys": small_model.new_signer().public_key}
    standing, found = told(dataclasses.replace(healthy, outputs=stranger), clients())
    (channel,) = standing.channels.value or ()
    assert channel.signed_by is None
    assert channel.metrics == {}
    (problem,) = found
    assert "channel live points at a version that is refused (the function follows it)" in problem


def test_a_channel_that_points_nowhere_is_said(healthy: Stack) -> None:
    outputs = {**healthy.outputs, "Channel": "canary", "MoreModels": "other"}
    _, found = told(dataclasses.replace(healthy, outputs=outputs), clients())
    assert [problem.split(";")[0] for problem in found] == [
        "small's channel canary points at no version",
        "other's channel canary points at no version",
    ]


def test_a_budget_that_is_spent_and_a_stack_that_failed_are_said(healthy: Stack) -> None:
    failed = dataclasses.replace(healthy, status="UPDATE_ROLLBACK_FAILED", reason="no rights")
    _, found = told(failed, clients(cloudwatch=cloudwatch(1000, 10)))
    assert found == [
        "the stack is in UPDATE_ROLLBACK_FAILED: no rights",
        "small has spent its error budget of 30 days",
    ]


def test_a_part_that_may_not_be_read_says_so_and_the_others_stand(healthy: Stack) -> None:
    no_rights = Client(
        get_metric_data=refused("GetMetricData"),
        describe_alarms=refused("DescribeAlarms"),
        get_metric_statistics=refused("GetMetricStatistics"),
    )
    standing, found = told(healthy, clients(cloudwatch=no_rights))
    assert standing.channels.value is not None
    assert standing.queues["events"].value is not None
    assert standing.queues["events"].value.oldest_s is None
    assert len(found) == 2
    assert found[0].startswith("alarms cannot be read: AWS: DescribeAlarms is not allowed")
    assert found[1].startswith("figures cannot be read: AWS: GetMetricData is not allowed")


def test_a_stack_whose_resources_may_not_be_listed_still_shows_its_queues(healthy: Stack) -> None:
    class Refuses:
        def get_paginator(self, _name: str) -> Any:
            return Client(paginate=refused("ListStackResources"))

    standing, found = told(healthy, clients(cloudformation=Refuses()))  # type: ignore[arg-type] # a client like any
    assert {problem.split(" cannot")[0] for problem in found} == {"deployments", "mappings", "alarms"}
    assert standing.function.value is not None
    assert standing.queues["events"].value is not None


def test_the_command_prints_all_parts_and_ends_with_1_where_something_is_wrong(run: Run, healthy: Stack) -> None:
    ended = run("status", "--stack", NAME)
    assert ended.code == 1, "CloudFormation made no function here"
    for said in (
        "models",
        "live",
        "v1",
        "trusted",
        "roc_auc 0.75",
        "queues",
        "dead letters",
        "no events",
        "not healthy",
    ):
        assert said in ended.out
    assert "function cannot be read" in ended.out
    (document,) = run("status", "--stack", NAME, "--json").lines
    assert document["healthy"] is False
    assert document["channels"]["value"][0]["version"] == "v1"
    assert document["function"]["value"] is None
    assert document["function"]["unreadable"]
    assert run("status", "--stack", "nowhere").code == 1


def test_provisioned_concurrency_and_a_function_without_an_alias() -> None:
    ready = {
        "AvailableProvisionedConcurrentExecutions": 2,
        "RequestedProvisionedConcurrentExecutions": 3,
        "Status": "IN_PROGRESS",
    }
    client = lambda_client(get_provisioned_concurrency_config=ready)
    state = function_state(client, "score", "arn:aws:lambda:x:1:function:score:live")
    assert state.provisioned == "2 of 3 ready (IN_PROGRESS)"
    bare = function_state(client, "score", None)
    assert (bare.alias, bare.version, bare.provisioned) == (None, "$LATEST", None)
    assert isinstance(bare, FunctionState)


def test_no_deployment_is_none() -> None:
    assert last_deployment(Client(list_deployments={"deployments": []}), ("app",), ("group",)) is None
    assert last_deployment(Client(), (), ()) is None


def test_a_mapping_of_kafka_is_known_by_its_topics() -> None:
    client = Client(get_event_source_mapping={"State": "Enabled", "Topics": ["flights"]})
    assert mapping_states(client, ("u",)) == (MappingState("u", "self-managed Kafka (flights)", "Enabled", ""),)


@pytest.mark.usefixtures("_aws")
def test_resources_of_stacks_inside_the_stack_are_its_own() -> None:
    found = stack_resources(clients()("cloudformation"), NAME)
    assert {resource.id for resource in found} >= {"arn:inner", "uuid-1", "scores-latency"}


@pytest.mark.usefixtures("_aws")
def test_figures_that_nobody_told_are_not_there() -> None:
    found = figures(aws_client("cloudwatch"), "eventscore", "score", ("small",), NOW, 99.9)
    assert (found.sources, found.cold_starts, found.budget_left) == ((), {}, {})
