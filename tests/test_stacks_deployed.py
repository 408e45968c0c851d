"""The stacks of alarms and dashboards, deployed into ministack: what another reader of CloudFormation makes of them.

ministack's CloudFormation knows neither composite alarms nor metric math, so the alarms go in without those; and it checks no metric, no
dashboard and no policy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import WaiterError

from conftest import ROOT
from eventscore_local.ministack import Ministack
from metric_names import FUNCTION
from test_alarms import ALL_SOURCES, OF_THE_MODEL, alarms
from test_dashboards import QUEUES, stack

pytestmark = [pytest.mark.emulator, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def aws() -> Iterator[Ministack]:
    with Ministack(ROOT) as running:
        running.client("logs").create_log_group(logGroupName=f"/aws/lambda/{FUNCTION}")
        yield running


def deploy(aws: Ministack, name: str, template: str, parameters: dict[str, str]) -> dict[str, str]:
    """Deploy a template; the answer is the stack's outputs."""
    cloudformation, s3 = aws.client("cloudformation"), aws.client("s3")
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="template.yaml", Body=template.encode())
    where = (
        f"{aws.endpoint_url}/{name}/template.yaml"  # a template of more than 51,200 bytes is not taken in the request
    )
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    cloudformation.create_stack(StackName=name, TemplateURL=where, Parameters=given, Capabilities=["CAPABILITY_IAM"])
    with suppress(WaiterError):  # what went wrong is told by the events
        cloudformation.get_waiter("stack_create_complete").wait(
            StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    failed = [
        (event["LogicalResourceId"], event.get("ResourceStatusReason"))
        for event in events
        if event["ResourceStatus"] == "CREATE_FAILED"
    ]
    assert failed == []
    (made,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in made.get("Outputs", [])}


def test_the_dashboards_are_those_that_the_tests_have_read(aws: Ministack) -> None:
    template = (ROOT / "stacks" / "dashboards.yaml").read_text(encoding="utf-8")
    parameters = {**OF_THE_MODEL, **QUEUES}
    outputs = deploy(aws, "dashboards", template, parameters)
    assert set(outputs.values()) == {"eventscore-executive", "eventscore-on-call", "eventscore-debug"}
    for made in stack().of_type("AWS::CloudWatch::Dashboard").values():
        body = aws.client("cloudwatch").get_dashboard(DashboardName=made["DashboardName"])["DashboardBody"]
        expected = made["DashboardBody"].replace("123456789012", "000000000000")
        assert json.loads(body) == json.loads(expected)


def test_the_alarms_are_those_that_the_tests_have_read(aws: Ministack) -> None:
    expected = alarms()
    kept = {
        name: resource
        for name, resource in expected.template["Resources"].items()
        if resource["Type"] != "AWS::CloudWatch::CompositeAlarm" and "Metrics" not in resource["Properties"]
    }
    outputs = {
        name: output
        for name, output in expected.template["Outputs"].items()
        if output["Value"].get("Ref") in (None, *kept)
    }
    template = json.dumps({**expected.template, "Resources": kept, "Outputs": outputs})
    told = deploy(aws, "alarms", template, {**OF_THE_MODEL, **ALL_SOURCES})
    made: dict[str, Any] = {
        alarm["AlarmName"]: alarm for alarm in aws.client("cloudwatch").describe_alarms(MaxRecords=100)["MetricAlarms"]
    }
    of_the_stack = expected.of_type("AWS::CloudWatch::Alarm").items()
    watched = {alarm["AlarmName"]: alarm for name, alarm in of_the_stack if name in kept}
    assert len(watched) >= 10
    assert made.keys() == watched.keys()
    for name, alarm in watched.items():
        assert made[name]["AlarmDescription"] == alarm["AlarmDescription"], name
        assert int(made[name]["EvaluationPeriods"]) == int(alarm["EvaluationPeriods"]), name
        assert float(made[name]["Threshold"]) == float(alarm["Threshold"]), name
    topics = {arn for alarm in made.values() for arn in alarm.get("AlarmActions", [])}
    assert topics == {told["PageTopicArn"], told["TicketTopicArn"]}
    filters = aws.client("logs").describe_metric_filters(logGroupName=f"/aws/lambda/{FUNCTION}")["metricFilters"]
    assert {of["metricTransformations"][0]["metricName"] for of in filters} == {
        *("Timeouts", "OutOfMemory", "WatchedDecisions", "SketchedEvents"),
    }
