"""What SAM makes of the template: a version of the function for every change of it, and an alias that everything calls."""

import json
from pathlib import Path
from typing import Any

import pytest

import cloudformation
from eventscore_local.ministack import Ministack
from sam_transform import transform

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "template.yaml"
KEY = "tgC7D5U/0O1ujc6akORwN+8LYBsAiMMGpefd1fcz+Qk="
pytestmark = [pytest.mark.sam, pytest.mark.timeout(300)]


def version_of(transformed: dict[str, Any]) -> str:
    [name] = [name for name, made in transformed["Resources"].items() if made["Type"] == "AWS::Lambda::Version"]
    return str(name)


def test_every_change_of_a_parameter_of_the_function_publishes_a_version() -> None:
    template = cloudformation.load(TEMPLATE)
    names = sorted(set(cloudformation.referenced(template["Resources"]["ScoreFunction"]["Properties"]["Description"])))
    assert len(names) > 20
    changes = []
    for name in names:
        declared = template["Parameters"][name]
        other = next((str(one) for one in declared.get("AllowedValues", ()) if one != declared.get("Default")), "7")
        changes.append({"TrustedKeys": KEY, name: other})
    before, again, *after = map(version_of, transform(TEMPLATE, {"TrustedKeys": KEY}, {"TrustedKeys": KEY}, *changes))
    assert before == again
    assert before not in after
    assert len(set(after)) == len(names)


def test_the_alias_moves_by_code_deploy_unless_that_is_off() -> None:
    canary, none = transform(TEMPLATE, {"TrustedKeys": KEY}, {"TrustedKeys": KEY, "CodeDeployment": "none"})
    policy = canary["Resources"]["ScoreFunctionAliaslive"]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
    hook = policy["BeforeAllowTrafficHook"]
    assert hook == {"Fn::If": ["UseCodeDeploy", {"Ref": "VerifyVersionFunction"}, {"Ref": "AWS::NoValue"}]}
    group = canary["Resources"]["ScoreFunctionDeploymentGroup"]["Properties"]
    assert group["DeploymentConfigName"]["Fn::Sub"][1] == {"ConfigName": "Canary10Percent5Minutes"}
    assert "UpdatePolicy" not in none["Resources"]["ScoreFunctionAliaslive"]
    assert not [made for made in none["Resources"].values() if made["Type"].startswith("AWS::CodeDeploy")]


@pytest.mark.emulator
def test_cloudformation_s_rules_stop_what_lambda_would_refuse() -> None:
    """ministack evaluates rules as CloudFormation does."""
    from botocore.exceptions import ClientError

    [transformed] = transform(TEMPLATE, {"TrustedKeys": KEY, "CodeDeployment": "none"})
    with Ministack(ROOT) as aws:
        s3 = aws.client("s3")
        s3.create_bucket(Bucket="built")
        s3.put_object(Bucket="built", Key="template.json", Body=json.dumps(transformed))
        given = {"TrustedKeys": KEY, "CodeDeployment": "none", "ProvisionedConcurrency": "2"}
        with pytest.raises(ClientError, match="Lambda has no provisioned concurrency for a function with SnapStart"):
            aws.client("cloudformation").create_stack(
                StackName="both",
                TemplateURL=f"{aws.endpoint_url}/built/template.json",
                Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
                Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            )
