"""What becomes of a template before the emulator sees it: read, transformed, and changed where the emulator would stumble."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from eventscore_local.deployment_concessions import NOT_EMULATED, emulated
from eventscore_local.deployment_packages import zip_archive
from eventscore_local.deployment_template import read_template, transform
from eventscore_local.errors import DeploymentFailed, ToolMissing


def template(resources: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {**sections, "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}, **resources}}


def test_short_forms_are_read_as_long_ones(tmp_path: Path) -> None:
    path = tmp_path / "template.yaml"
    path.write_text("A: !Ref X\nB: !GetAtt X.Arn\nC: !If [Own, !Sub '${X}', !Join ['', [a]]]\nD: 2012-10-17\n")
    assert read_template(path) == {
        "A": {"Ref": "X"},
        "B": {"Fn::GetAtt": ["X", "Arn"]},
        "C": {"Fn::If": ["Own", {"Fn::Sub": "${X}"}, {"Fn::Join": ["", ["a"]]}]},
        "D": "2012-10-17",
    }


def test_what_the_emulator_cannot_make_is_left_out_and_can_still_be_referred_to() -> None:
    alarm = {"Type": "AWS::CloudWatch::CompositeAlarm", "Properties": {"AlarmRule": "TRUE"}}
    math = {"Type": "AWS::CloudWatch::Alarm", "Properties": {"Metrics": []}}
    plain = {"Type": "AWS::CloudWatch::Alarm", "Properties": {"MetricName": "Scored"}}
    uses = {
        "Type": "AWS::SNS::Topic",
        "Properties": {
            "A": {"Ref": "Alarm"},
            "B": {"Fn::GetAtt": ["Alarm", "Arn"]},
            "C": {"Fn::GetAtt": ["Topic", "A"]},
        },
    }
    result = emulated(template({"Alarm": alarm, "Math": math, "Plain": plain, "Uses": uses}), {})
    assert result.left_out == {"Alarm": "AWS::CloudWatch::CompositeAlarm", "Math": "AWS::CloudWatch::Alarm"}
    made = result.template["Resources"]
    assert made["Alarm"] == made["Math"] == {"Type": "AWS::CloudFormation::WaitConditionHandle"}
    assert made["Plain"] == plain
    assert made["Uses"]["Properties"] == {
        "A": {"Ref": "Alarm"},
        "B": "Alarm (left out)",
        "C": {"Fn::GetAtt": ["Topic", "A"]},
    }


@pytest.mark.parametrize(("registry", "arns", "expected"), [("", "", ("", "")), ("arn:aws:glue", "a,b", ("arn", "ab"))])
def test_a_condition_on_a_part_of_a_parameter_is_decided_by_its_value(
    registry: str, arns: str, expected: tuple[str, str]
) -> None:
    conditions = {
        "Glue": {"Fn::Equals": [{"Fn::Select": [0, {"Fn::Split": [":", {"Ref": "Registry"}]}]}, "arn"]},
        "Sinks": {"Fn::Not": [{"Fn::Equals": [{"Fn::Join": ["", {"Ref": "Arns"}]}, ""]}]},
    }
    parameters = {"Registry": {"Type": "String", "Default": ""}, "Arns": {"Type": "CommaDelimitedList", "Default": ""}}
    given = {"Registry": registry, "Arns": arns}
    made = emulated(template({}, Parameters=parameters, Conditions=conditions), given).template["Conditions"]
    assert made["Glue"]["Fn::Equals"][0] == expected[0]
    assert made["Sinks"]["Fn::Not"][0]["Fn::Equals"][0] == expected[1]


def test_a_list_in_a_condition_that_is_not_understood_is_an_error_and_no_guess() -> None:
    conditions = {"Odd": {"Fn::Equals": [{"Fn::Select": [0, {"Fn::GetAZs": ""}]}, "a"]}}
    with pytest.raises(DeploymentFailed, match="Fn::GetAZs"):
        emulated(template({}, Conditions=conditions), {})


def test_a_mapping_gets_numbers_and_nothing_else_does() -> None:
    parameters = {"Most": {"Type": "Number", "Default": 10}, "Name": {"Type": "String", "Default": "7"}}
    properties = {"Scaling": {"Most": {"Ref": "Most"}}, "Name": {"Ref": "Name"}}
    mapping = {"Type": "AWS::Lambda::EventSourceMapping", "Properties": properties}
    other = {"Type": "AWS::SNS::Topic", "Properties": properties}
    made = emulated(template({"Mapping": mapping, "Other": other}, Parameters=parameters), {"Most": "3"}).template
    assert made["Resources"]["Mapping"]["Properties"] == {"Scaling": {"Most": 3}, "Name": {"Ref": "Name"}}
    assert made["Resources"]["Other"]["Properties"] == properties


def test_a_policy_that_allows_a_call_allows_its_batch() -> None:
    statement = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}
    role = {"Type": "AWS::IAM::Role", "Properties": {"Statement": [statement]}}
    (made,) = emulated(template({"Role": role}), {}).template["Resources"]["Role"]["Properties"]["Statement"]
    assert made["Action"] == ["sqs:SendMessage", "sqs:SendMessageBatch"]


def test_nothing_is_changed_that_needs_no_concession() -> None:
    whole = template(
        {}, Parameters={"Name": {"Type": "String"}}, Conditions={"Yes": {"Fn::Equals": ["a", {"Ref": "N"}]}}
    )
    result = emulated(whole, {})
    assert result.template == whole
    assert not result.left_out


def test_every_kind_that_is_left_out_is_one_that_the_stack_uses() -> None:
    """A concession that nothing needs any more would hide what the emulator has learned."""
    used = {
        resource["Type"]
        for path in [ROOT / "template.yaml", *(ROOT / "stacks").glob("*.yaml")]
        for resource in read_template(path)["Resources"].values()
    } | {"AWS::CodeDeploy::DeploymentGroup"}  # SAM makes it of the function's DeploymentPreference
    for kind in NOT_EMULATED:
        assert any(one.startswith(kind) for one in used), kind


def test_the_same_files_make_the_same_zip() -> None:
    first = zip_archive({"b.py": b"2", "a/c.py": b"1"})
    assert first == zip_archive({"a/c.py": b"1", "b.py": b"2"})
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.namelist() == ["a/c.py", "b.py"]


@pytest.mark.sam
def test_the_transform_knows_the_parameters_values_and_says_what_it_refuses() -> None:
    function = {
        "Type": "AWS::Serverless::Function",
        "Properties": {"Handler": "a.b", "Runtime": "python3.13", "CodeUri": "s3://bucket/key", "MemorySize": 256},
    }
    sam = template({"F": function}, Transform="AWS::Serverless-2016-10-31", Parameters={"Alias": {"Type": "String"}})
    function["Properties"]["AutoPublishAlias"] = {"Ref": "Alias"}
    made = transform(ROOT, sam, {"Alias": "live"})["Resources"]
    assert made["FAliaslive"]["Type"] == "AWS::Lambda::Alias"
    del function["Properties"]["Handler"]
    with pytest.raises(DeploymentFailed, match="SAM refuses the template: .*Handler"):
        transform(ROOT, sam, {"Alias": "live"})


def test_without_sam_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="make setup"):
        transform(tmp_path, template({}), {})
