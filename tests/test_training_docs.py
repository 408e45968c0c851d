"""What docs/training-on-aws.md says of the stack is so, and its SageMaker state is one that Step Functions and SageMaker would take."""

from __future__ import annotations

import json
import re
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

from cloudformation import load
from conftest import ROOT
from eventscore_training import batch
from test_training_stack import CASES, STACK

PAGE = (ROOT / "docs" / "training-on-aws.md").read_text(encoding="utf-8")


def stack() -> dict[str, Any]:
    return load(STACK)


def filled(value: Any) -> Any:
    """Parameters of a state as the service gets them: what is computed (``Name.$``) becomes a text."""
    if isinstance(value, dict):
        return {
            key.removesuffix(".$"): "computed" if key.endswith(".$") else filled(each) for key, each in value.items()
        }
    return value


def test_every_parameter_stands_on_the_page_with_its_default() -> None:
    for name, parameter in stack()["Parameters"].items():
        default = parameter.get("Default")
        told = "none" if default is None else str(default) or "empty"
        assert f"| `{name}` | {told} | " in PAGE, name


def test_every_outcome_stands_on_the_page() -> None:
    rows = set(re.findall(r"^\| `([a-z-]+)` \| (?:succeeds|fails)", PAGE, re.MULTILINE))
    assert rows == {case.outcome for case in CASES.values()}
    assert f"jobs/<execution>/{batch.RESULT}" in PAGE


def test_the_number_of_ways_that_were_run_is_the_one_that_is_told() -> None:
    assert len(CASES) == 13
    assert "thirteen ways through it" in PAGE


def test_the_sagemaker_state_fits_into_the_machine_and_into_sagemakers_api() -> None:
    [block] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    [(name, state)] = json.loads(block).items()
    states = stack()["Resources"]["StateMachine"]["Properties"]["Definition"]["States"]
    assert (state["Next"], state["Catch"]) == (states[name]["Next"], states[name]["Catch"])
    assert state["Resource"] == "arn:aws:states:::sagemaker:createTrainingJob.sync"
    operation = botocore.session.get_session().get_service_model("sagemaker").operation_model("CreateTrainingJob")
    report = ParamValidator().validate(filled(state["Parameters"]), operation.input_shape)
    assert not report.has_errors(), report.generate_report()
    assert {batch.DATA, batch.JOB} <= filled(state["Parameters"])["Environment"].keys()
    assert state["Parameters"]["AlgorithmSpecification"]["ContainerArguments"] == ["batch"]
