"""The training stack: what it costs when nothing trains, who may do what, and that every end of a training is announced."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cloudformation import as_list, load, properties, statements
from conftest import ROOT
from eventscore.store.versions import CHANNEL_NAMES
from eventscore_local.ministack import Ministack
from eventscore_training import batch, container

STACK = ROOT / "stacks" / "training.yaml"
MAY_NAME_ANY_RESOURCE = {
    # AWS Batch: DescribeJobs knows no resource.
    "batch:DescribeJobs",
    # Log deliveries and traces know none either; what Step Functions needs to write its log and its traces.
    *("logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery"),
    *("logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups"),
    *("xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets"),
}


@pytest.fixture(scope="module")
def stack() -> dict[str, Any]:
    return load(STACK)


def role(stack: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The statements of a role's policies."""
    return list(statements(stack["Resources"][name]["Properties"]["Policies"]))


def may(made: list[Mapping[str, Any]], action: str) -> list[str]:
    """The resources on which statements allow ``action``, as text."""
    return [json.dumps(one["Resource"]) for one in made if action in as_list(one["Action"])]


# --- what it costs


def test_no_machine_runs_while_nothing_trains(stack: dict[str, Any]) -> None:
    [environment] = properties(stack, "AWS::Batch::ComputeEnvironment").values()
    compute = environment["ComputeResources"]
    assert (compute["MinvCpus"], compute["MaxvCpus"]) == (0, {"Ref": "MaxVcpus"})
    assert "DesiredvCpus" not in compute
    assert compute["AllocationStrategy"]["Fn::If"][:2] == ["Spot", "SPOT_PRICE_CAPACITY_OPTIMIZED"]
    assert stack["Parameters"]["Purchase"]["Default"] == "SPOT"


def test_nothing_in_the_stack_is_paid_by_the_hour(stack: dict[str, Any]) -> None:
    by_the_hour = re.compile(
        r"AWS::(EC2::(Instance|NatGateway|VPCEndpoint|EIP)|SageMaker::|RDS::|ElastiCache::|EKS::|ECS::Service)"
    )
    assert [name for name, made in stack["Resources"].items() if by_the_hour.match(made["Type"])] == []


def test_training_can_be_switched_off_again_and_what_is_kept_stays_guarded(stack: dict[str, Any]) -> None:
    [repository] = properties(stack, "AWS::ECR::Repository").values()
    assert repository["EmptyOnDelete"] is True, "CloudFormation does not delete a repository with images in it"
    kept = {name for name, made in stack["Resources"].items() if made.get("DeletionPolicy") == "Retain"}
    assert kept == {"TrainingBucket", "TrainingBucketPolicy", "SigningKey"}


def test_nothing_starts_a_training_or_moves_a_channel_unless_it_is_asked_for(stack: dict[str, Any]) -> None:
    defaults = {name: parameter.get("Default") for name, parameter in stack["Parameters"].items()}
    assert (defaults["Schedule"], defaults["StartOnMarker"], defaults["StartOnEvent"]) == ("", "false", "false")
    assert defaults["AutoPromote"] == "false"
    conditions = {
        name: made.get("Condition")
        for name, made in stack["Resources"].items()
        if made["Type"] in ("AWS::Scheduler::Schedule", "AWS::Events::Rule", "AWS::Serverless::Function")
    }
    assert conditions == {
        "TrainingSchedule": "HasSchedule",
        "MarkerRule": "OnMarker",
        "RetrainRule": "OnEvent",
        "PromoteFunction": "Promotes",
    }
    assert stack["Parameters"]["PromoteChannel"]["AllowedValues"] == list(CHANNEL_NAMES)


# --- the machines


def test_machines_are_closed_encrypted_and_keep_their_credentials(stack: dict[str, Any]) -> None:
    [group] = properties(stack, "AWS::EC2::SecurityGroup").values()
    assert "SecurityGroupIngress" not in group
    assert [(out["IpProtocol"], out["FromPort"], out["ToPort"]) for out in group["SecurityGroupEgress"]] == [
        ("tcp", 443, 443)
    ]
    [template] = properties(stack, "AWS::EC2::LaunchTemplate").values()
    data = template["LaunchTemplateData"]
    assert (data["MetadataOptions"]["HttpTokens"], data["MetadataOptions"]["HttpPutResponseHopLimit"]) == (
        "required",
        1,
    )
    assert all(device["Ebs"]["Encrypted"] is True for device in data["BlockDeviceMappings"])
    assert "ECS_ENABLE_SPOT_INSTANCE_DRAINING=true" in data["UserData"]["Fn::Base64"]


@pytest.mark.parametrize(
    ("end", "action"),
    [
        ({"statusReason": "Host EC2 (instance i-0abc) terminated."}, "RETRY"),
        ({"exitCode": container.STOPPED}, "RETRY"),
        ({"reason": "CannotPullContainerError: timeout"}, "RETRY"),
        ({"exitCode": container.GATES_MISSED, "statusReason": "Essential container in task exited"}, "EXIT"),
        ({"exitCode": 1, "statusReason": "Essential container in task exited"}, "EXIT"),
        ({"exitCode": 137, "reason": "OutOfMemoryError: Container killed due to memory usage"}, "EXIT"),
    ],
    ids=str,
)
def test_batch_starts_again_what_spot_took_and_nothing_else(
    stack: dict[str, Any], end: dict[str, Any], action: str
) -> None:
    [job] = properties(stack, "AWS::Batch::JobDefinition").values()
    rules = job["RetryStrategy"]["EvaluateOnExit"]
    assert len(rules) <= 5, "AWS Batch takes five"
    assert job["RetryStrategy"]["Attempts"] == {"Ref": "Attempts"}

    def fits(rule: Mapping[str, Any]) -> bool:
        told = {"OnStatusReason": "statusReason", "OnReason": "reason", "OnExitCode": "exitCode"}
        return all(
            fnmatch.fnmatchcase(str(end.get(told[key], "")), pattern) for key, pattern in rule.items() if key in told
        )

    assert next(rule["Action"] for rule in rules if fits(rule)) == action


def test_the_job_is_told_what_the_container_reads(stack: dict[str, Any]) -> None:
    [job] = properties(stack, "AWS::Batch::JobDefinition").values()
    told = {each["Name"] for each in job["ContainerProperties"]["Environment"]}
    overridden = stack["Resources"]["StateMachine"]["Properties"]["Definition"]["States"]["Train"]["Parameters"]
    told |= {each["Name"] for each in overridden["ContainerOverrides"]["Environment"]}
    assert told == {
        *(batch.DATA, batch.JOB, "SM_HPS"),
        *(container.SIGNING_KEY, container.TRUSTED_KEYS, "AWS_DEFAULT_REGION"),
    }
    assert job["ContainerProperties"]["Command"] == ["batch"]
    assert job["ContainerProperties"]["Privileged"] is False


# --- who may do what


def test_every_action_is_named_and_only_what_knows_no_resource_has_all_of_them(stack: dict[str, Any]) -> None:
    seen = 0
    for name, made in stack["Resources"].items():
        if made["Type"] not in ("AWS::IAM::Role", "AWS::IAM::Policy"):
            continue
        for statement in statements(made):
            actions = as_list(statement["Action"])
            seen += len(actions)
            assert statement["Effect"] == "Allow", name
            assert not [action for action in actions if "*" in action], name
            if "*" in as_list(statement.get("Resource", "")):
                assert set(actions) <= MAY_NAME_ANY_RESOURCE, name
    assert seen > 40
    managed = [
        arn["Fn::Sub"]
        for made in properties(stack, "AWS::IAM::Role").values()
        for arn in made.get("ManagedPolicyArns", ())
    ]
    assert managed == ["arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"]


def test_the_trainer_writes_versions_once_and_moves_no_channel(stack: dict[str, Any]) -> None:
    job = role(stack, "JobRole")
    [versions, own] = sorted(may(job, "s3:PutObject"), key=len, reverse=True)
    assert versions == '{"Fn::Sub": "arn:${AWS::Partition}:s3:::${ModelBucketName}/${Model}/versions/*"}'
    assert own == '{"Fn::Sub": "${TrainingBucket.Arn}/jobs/*"}'
    [writing] = [made for made in job if "versions/*" in json.dumps(made["Resource"])]
    assert writing["Condition"] == {"Null": {"s3:if-none-match": "false"}}
    assert may(job, "s3:DeleteObject") == ['{"Fn::Sub": "${TrainingBucket.Arn}/jobs/*/checkpoints/*"}']
    [signing] = [made for made in job if "kms:Sign" in as_list(made["Action"])]
    assert signing["Condition"] == {
        "StringEquals": {"kms:SigningAlgorithm": "ED25519_SHA_512", "kms:MessageType": "RAW"}
    }


def test_who_moves_a_channel_signs_nothing_and_writes_no_version(stack: dict[str, Any]) -> None:
    promote = role(stack, "PromoteRole")
    assert may(promote, "s3:PutObject") == [
        '{"Fn::Sub": "arn:${AWS::Partition}:s3:::${ModelBucketName}/${Model}/channels.json"}'
    ]
    assert may(promote, "kms:Sign") == may(promote, "s3:DeleteObject") == []
    machine = role(stack, "MachineRole")
    assert [action for made in machine for action in as_list(made["Action"]) if action.startswith("s3:Put")] == []
    assert stack["Resources"]["MachineMayPromote"]["Condition"] == "Promotes"


# --- Step Functions


@pytest.fixture(scope="module")
def definition(stack: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """The state machine as CloudFormation fills it in."""
    machine = stack["Resources"]["StateMachine"]["Properties"]

    def filled(**values: str) -> dict[str, Any]:
        defaults = dict.fromkeys(machine["DefinitionSubstitutions"], "x")
        text = json.dumps(machine["Definition"])
        for name, value in (defaults | values).items():
            text = text.replace(f"${{{name}}}", value)
        assert "${" not in text
        made: dict[str, Any] = json.loads(text)
        return made

    return filled


def test_the_machine_knows_the_outcomes_that_the_job_writes(definition: Callable[..., dict[str, Any]]) -> None:
    compared = {
        each["StringEquals"]
        for choice in definition()["States"]["Gate"]["Choices"]
        for each in choice["And"]
        if each.get("Variable") == "$.said.result.outcome" and "StringEquals" in each
    }
    assert compared == {batch.PUBLISHED, batch.MISSED, batch.FAILED}


def test_no_way_through_the_machine_ends_without_the_announcement(definition: Callable[..., dict[str, Any]]) -> None:
    states = definition()["States"]
    ways: list[list[str]] = []

    def walk(way: list[str]) -> None:
        state = states[way[-1]]
        following = {each["Next"] for each in (*state.get("Choices", ()), *state.get("Catch", ()))}
        following |= {state[key] for key in ("Next", "Default") if key in state}
        if not following:
            ways.append(way)
        for name in following:
            assert name not in way, "a circle"
            walk([*way, name])

    walk([definition()["StartAt"]])
    assert len(ways) > 20
    assert {name for way in ways for name in way} == states.keys()
    assert all("Announce" in way for way in ways)
    tasks = {name: state for name, state in states.items() if state["Type"] == "Task"}
    assert all(state["Catch"][-1]["ErrorEquals"] == ["States.ALL"] for state in tasks.values())
    assert all(state["TimeoutSeconds"] > 0 and state["Retry"] for state in tasks.values())


RECLAIMED = json.dumps(
    {"Status": "FAILED", "StatusReason": "Host EC2 (instance i-0abc) terminated.", "Attempts": [{}] * 5}
)
BROKEN = json.dumps(
    {"Status": "FAILED", "StatusReason": "Essential container in task exited", "Container": {"ExitCode": 1}}
)
MISSED = json.dumps(
    {"Status": "FAILED", "StatusReason": "Essential container in task exited", "Container": {"ExitCode": 3}}
)
MOCKED: dict[str, dict[str, Any]] = {
    "JobDone": {"0": {"Return": {"Status": "SUCCEEDED"}}},
    "BatchSilentOnce": {
        "0": {"Throw": {"Error": "Batch.ServerException", "Cause": "try again"}},
        "1": {"Return": {"Status": "SUCCEEDED"}},
    },
    "JobReclaimed": {"0": {"Throw": {"Error": "States.TaskFailed", "Cause": RECLAIMED}}},
    "JobBroken": {"0": {"Throw": {"Error": "States.TaskFailed", "Cause": BROKEN}}},
    "JobMissed": {"0": {"Throw": {"Error": "States.TaskFailed", "Cause": MISSED}}},
    "JobTooLong": {"0": {"Throw": {"Error": "States.Timeout", "Cause": ""}}},
    "Moved": {"0": {"Return": {"Payload": {"channel": "live"}}}},
    "MovedBySomebodyElse": {"0": {"Throw": {"Error": "PointerMoved", "Cause": "another writer changed the channels"}}},
    "BusDown": {"0-9": {"Throw": {"Error": "EventBridge.InternalException", "Cause": "down"}}},
}
"""What AWS Batch, the promote function and, where it fails, EventBridge answer. SNS and the other events are ministack's own."""
PUBLISHED = {"outcome": "published", "model": "orders", "version": "v7", "figures": {"roc_auc": 0.75}, "run": "s3://x"}


class Case:
    """A way through the machine: what is mocked, what the job wrote, how the execution ends, and what is said."""

    def __init__(
        self,
        mocked: dict[str, str],
        result: object,
        ends: tuple[str, str | None],
        outcome: str,
        said: str,
        *,
        promote: bool = False,
    ) -> None:
        self.mocked, self.result, self.ends, self.outcome, self.said = mocked, result, ends, outcome, said
        self.machine = "promoting" if promote else "training"


DONE, FAILED, GATES = ("SUCCEEDED", None), ("FAILED", "TrainingFailed"), ("FAILED", "GatesMissed")
CASES = {
    "published": Case(
        {"Train": "JobDone"}, PUBLISHED, DONE, "published", "version v7 passed its gates and is published"
    ),
    "published-after-batch-was-silent": Case(
        {"Train": "BatchSilentOnce"}, PUBLISHED, DONE, "published", "version v7 passed its gates and is published"
    ),
    "promoted": Case(
        {"Train": "JobDone", "Promote": "Moved"},
        PUBLISHED,
        DONE,
        "promoted",
        "v7 passed its gates and is live now",
        promote=True,
    ),
    "not-promoted": Case(
        {"Train": "JobDone", "Promote": "MovedBySomebodyElse"},
        PUBLISHED,
        FAILED,
        "not-promoted",
        "could not be promoted - PointerMoved another writer",
        promote=True,
    ),
    "gates-missed": Case(
        {"Train": "JobMissed"},
        {"outcome": "gates-missed", "message": "min_roc_auc: expected at least 0.9"},
        GATES,
        "gates-missed",
        "min_roc_auc: expected at least 0.9",
    ),
    "gates-missed-promotes-nothing": Case(
        {"Train": "JobMissed"},
        {"outcome": "gates-missed", "message": "min_roc_auc: expected at least 0.9"},
        GATES,
        "gates-missed",
        "min_roc_auc: expected at least 0.9",
        promote=True,
    ),
    "broken": Case(
        {"Train": "JobBroken"},
        {"outcome": "failed", "message": "column 'amount': expected 0 to 1"},
        FAILED,
        "failed",
        "column 'amount': expected 0 to 1",
    ),
    "reclaimed-too-often": Case(
        {"Train": "JobReclaimed"}, {"outcome": "started"}, FAILED, "failed", "Host EC2 (instance i-0abc)"
    ),
    "never-started": Case({"Train": "JobReclaimed"}, None, FAILED, "failed", "Host EC2 (instance i-0abc)"),
    "too-long": Case({"Train": "JobTooLong"}, {"outcome": "started"}, FAILED, "failed", "States.Timeout"),
    "ends-well-and-says-nothing": Case({"Train": "JobDone"}, None, FAILED, "failed", "Batch gives no cause"),
    "says-nonsense": Case({"Train": "JobDone"}, ["what"], FAILED, "failed", "Batch gives no cause"),
    "published-and-the-bus-is-down": Case(
        {"Train": "JobDone", "Announce": "BusDown"},
        PUBLISHED,
        ("FAILED", "NotAnnounced"),
        "published",
        "version v7 passed its gates",
    ),
}


def results() -> dict[str, dict[str, Any]]:
    """What S3 answers for each case's result.json: as Step Functions hands an object on, its content as text in ``Body``."""
    missing = {"Throw": {"Error": "S3.NoSuchKeyException", "Cause": "The specified key does not exist."}}
    return {
        f"ResultOf-{name}": {"0": missing if case.result is None else {"Return": {"Body": json.dumps(case.result)}}}
        for name, case in CASES.items()
    }


class MockedBatch(Ministack):
    """ministack with answers for what it has not: AWS Batch's jobs, and S3's objects as Step Functions reads them.

    Waits between retries last an instant.
    """

    def __init__(self, root: Path, mocks: Path) -> None:
        super().__init__(root)
        self._mocks = mocks

    def _environment(self, scratch: Path) -> dict[str, str]:
        return super()._environment(scratch) | {"SFN_MOCK_CONFIG": str(self._mocks), "SFN_WAIT_SCALE": "0.001"}


class Machines:
    """Both machines on one ministack, and two queues that hear what they announce."""

    def __init__(self, aws: Ministack, definition: Callable[..., dict[str, Any]]) -> None:
        self.states, self.sqs = aws.client("stepfunctions"), aws.client("sqs")
        topic = aws.client("sns").create_topic(Name="news")["TopicArn"]
        self.events, self.notes = (self.sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("events", "notes"))
        arns = {
            url: self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            for url in (self.events, self.notes)
        }
        aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arns[self.notes])
        bus = aws.client("events")
        bus.put_rule(Name="news", EventPattern=json.dumps({"source": ["eventscore.training"]}))
        bus.put_targets(Rule="news", Targets=[{"Id": "queue", "Arn": arns[self.events]}])
        self.arns = {
            name: self.states.create_state_machine(
                name=name,
                roleArn="arn:aws:iam::000000000000:role/machine",
                definition=json.dumps(
                    definition(Model="orders", Bucket="training", Topic=topic, AutoPromote=promote, Channel="live")
                ),
            )["stateMachineArn"]
            for name, promote in (("training", "false"), ("promoting", "true"))
        }

    def heard(self, queue: str) -> list[Any]:
        """What a queue holds now; the message is deleted."""
        heard = []
        while messages := self.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                heard.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return heard


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, definition: Callable[..., dict[str, Any]]) -> Iterator[Machines]:
    mocks = tmp_path_factory.mktemp("mocks") / "mocks.json"
    cases: dict[str, dict[str, Any]] = {name: {"TestCases": {}} for name in ("training", "promoting")}
    for name, case in CASES.items():
        cases[case.machine]["TestCases"][name] = {**case.mocked, "Result": f"ResultOf-{name}"}
    mocks.write_text(json.dumps({"StateMachines": cases, "MockedResponses": MOCKED | results()}))
    with MockedBatch(ROOT, mocks) as aws:
        yield Machines(aws, definition)


@pytest.mark.emulator
@pytest.mark.parametrize("name", CASES)
def test_every_end_is_told_from_the_others_and_announced(machines: Machines, name: str) -> None:
    """ministack interprets the machine and sends the event and the notification; it asks for no rights."""
    case = CASES[name]
    started = machines.states.start_execution(
        stateMachineArn=f"{machines.arns[case.machine]}#{name}", name=name, input='["anything"]'
    )
    while (ended := machines.states.describe_execution(executionArn=started["executionArn"]))["status"] == "RUNNING":
        pass
    assert (ended["status"], ended.get("error")) == case.ends, ended.get("cause")

    [note] = machines.heard(machines.notes)
    assert note["Subject"] == f"eventscore training, {case.outcome}"
    news = json.loads(note["Message"])
    assert (news["outcome"], news["model"], news["execution"]) == (case.outcome, "orders", name)
    assert case.said in news["message"]
    assert news.get("version") == ("v7" if case.result is PUBLISHED else None)
    details = [event["detail"] for event in machines.heard(machines.events)]
    assert details == ([] if case.ends[1] == "NotAnnounced" else [news])


# --- tools


def test_cfn_lint_finds_no_fault() -> None:
    command = shutil.which("cfn-lint", path=str(ROOT / ".tools/aws-sam-cli/bin"))
    if command is None:
        pytest.skip("cfn-lint comes with the sam command: make setup")
    ended = subprocess.run([command, str(STACK)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
