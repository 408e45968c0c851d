"""Every alarm has its page and every page its alarm; what a page has you type is spelled as AWS and we spell it."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import click
import pytest
from botocore import xform_name

from conftest import ROOT
from eventscore.signing import Ed25519Signer
from eventscore_cli.main import cli
from eventscore_local.ministack import CREDENTIALS, Ministack
from metric_names import MODEL, SERVICE, Metric, lines_of_the_function, log_lines, metric, of_lines, unknown
from test_alarms import acting, alarms, every

FOLDER = ROOT / "docs" / "runbooks"
INDEX = FOLDER / "index.md"
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md")) if path != INDEX}
HELPERS = INDEX.read_text(encoding="utf-8")
SECTIONS = ["What it means", "How to see it", "What to do", "How to undo it", "What was tried"]
STACK = alarms()
NAMES_OF_SERVICES = {"deploy": "codedeploy", "s3api": "s3"}
OF_EVERY_COMMAND = {"query", "output", "region"}
_COPIES = {"cp": {"recursive"}, "ls": set(), "sync": {"exclude", "include"}}


def page_of(alarm: dict[str, Any]) -> str:
    found = re.search(r"^Runbook: docs/runbooks/([a-z-]+)\.md$", alarm["AlarmDescription"], re.MULTILINE)
    assert found
    return found[1]


def alarms_on(page: str) -> set[str]:
    return set(re.findall(r"`<prefix>-([a-z0-9-]+)`", PAGES[page]))


def test_every_alarm_has_its_page_and_every_page_its_alarm() -> None:
    pages = {name: page_of(alarm) for name, alarm in every(STACK).items()}
    assert set(pages.values()) == set(PAGES)
    told_or_named = acting(STACK).keys() | {"RollOutUnderWay", "ChannelMove", "CodeDeployment"}
    for name in told_or_named:
        called = every(STACK)[name]["AlarmName"].removeprefix("eventscore-")
        assert called in alarms_on(pages[name]), f"{pages[name]}.md does not name {called}"
    named = {called for page in PAGES for called in alarms_on(page)}
    assert named == {every(STACK)[name]["AlarmName"].removeprefix("eventscore-") for name in told_or_named}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_the_same_things_in_the_same_order(page: str) -> None:
    assert re.findall(r"^## (.*)$", PAGES[page], re.MULTILINE) == SECTIONS


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_whether_its_alarm_pages(page: str) -> None:
    topics = {to for alarm in acting(STACK).values() if page_of(alarm) == page for to in alarm["AlarmActions"]}
    says = {
        frozenset({"<PageTopic>"}): "Pages",
        frozenset({"<TicketTopic>"}): "Opens a ticket",
        frozenset(): "Tells nobody",
    }
    third_line = PAGES[page].splitlines()[2]
    assert third_line.startswith(says[frozenset(topics)])
    suppressed = any("ActionsSuppressor" in alarm for alarm in acting(STACK).values() if page_of(alarm) == page)
    assert ("unless a [roll-out]" in third_line) == suppressed


def test_the_index_lists_every_page() -> None:
    assert set(re.findall(r"\]\(([a-z-]+)\.md\)", HELPERS)) == set(PAGES)


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    "path",
    [INDEX, *(FOLDER / f"{page}.md" for page in PAGES), ROOT / "docs" / "operating.md"],
    ids=lambda path: path.stem,
)
def test_every_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", path.read_text(encoding="utf-8"))
    assert links
    for target, anchor in links:
        there = path.parent / target if target else path
        assert there.exists(), f"{path.name} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{path.name} links to {target}#{anchor}"


def commands(word: str) -> Iterator[tuple[str, str]]:
    """The commands that begin with ``word`` on all pages, in fences and within the text, each with its page's name."""
    for page, text in {**PAGES, "index": HELPERS}.items():
        joined = text.replace("\\\n", " ")
        code = re.findall(r"`([^`\n]+)`", joined)
        fences = re.findall(r"^ *```(?:bash|sh)\n(.*?)^ *```", joined, re.MULTILINE | re.DOTALL)
        code += [line.strip() for block in fences for line in block.splitlines()]
        for line in code:
            for found in re.finditer(rf"(?:^|[|;&({{]\s*|\bdo ){word} ([^|;]*)", line):
                yield page, found[1].strip()


def test_every_command_of_aws_is_one_with_the_options_that_it_has() -> None:
    seen = 0
    for page, command in commands("aws"):
        service, operation, *_ = command.split()
        options = set(re.findall(r"(?<!\S)--([a-z][a-z0-9-]*)", command)) - OF_EVERY_COMMAND
        seen += 1
        if service == "s3":
            assert options <= _COPIES[operation], f"{page}: aws {command}"
            continue
        model = boto3.client(NAMES_OF_SERVICES.get(service, service)).meta.service_model  # type: ignore[call-overload]
        known = {xform_name(name, "-"): name for name in model.operation_names}
        assert operation in known, f"{page}: aws {command}"
        shape = model.operation_model(known[operation]).input_shape
        assert options <= {xform_name(name, "-") for name in shape.members}, f"{page}: aws {command}"
        missing = {xform_name(name, "-") for name in shape.required_members} - options
        assert not missing or "`" in command or command.count(" ") == 1, f"{page}: aws {command} wants {missing}"
    assert seen > 25


def test_every_command_of_eventscore_is_one_with_the_options_that_it_has() -> None:
    seen = 0
    for page, command in commands("eventscore"):
        words = shlex.split(command.replace('"$stack"', "stack"), comments=True)
        found: click.Command | None = cli
        while isinstance(found, click.Group) and words and not words[0].startswith("-"):
            name = words.pop(0)
            found = found.get_command(click.Context(found), name)
            assert found is not None, f"{page}: eventscore {command}"
        known = {option for parameter in found.params for option in parameter.opts}  # type: ignore[union-attr]
        assert {word for word in words if word.startswith("--")} <= known, f"{page}: eventscore {command}"
        seen += 1
    assert seen > 15


def test_what_a_page_has_you_look_for_is_what_the_function_says() -> None:
    messages = {line["message"] for line in log_lines()} | {"model loaded", "the contract's fallback rule answers"}
    sought = {found for text in PAGES.values() for found in re.findall(r'\$\.message = "([^"]*)"', text)}
    assert len(sought) >= 4
    assert [pattern for pattern in sought if not fnmatch.filter(messages, pattern)] == []


def test_what_a_page_has_you_measure_is_what_the_function_writes(
    tmp_path_factory: pytest.TempPathFactory, signer: Ed25519Signer
) -> None:
    emitted = of_lines(lines_of_the_function(tmp_path_factory.mktemp("store"), signer))
    asked: list[Metric] = []
    for _, command in commands("metric"):
        name, statistic, *more = command.split()
        if name == "NAME":
            continue
        assert statistic in ("Sum", "Average", "Maximum"), command
        dimensions = dict(re.findall(r"Name=(\w+),Value=(\w+)", " ".join(more).replace("$source", "sqs")))
        asked.append(metric("eventscore", name, {"model": MODEL, "service": SERVICE, **dimensions}))
    assert len(asked) > 20
    assert unknown(asked, emitted) == []


def test_a_page_that_names_a_test_names_one_that_is_there() -> None:
    named = {found for text in PAGES.values() for found in re.findall(r"`((?:tests|benchmarks)/[\w/]+\.py)", text)}
    assert len(named) > 8
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_a_version_that_a_page_names_is_in_the_model_store() -> None:
    named = {found for text in PAGES.values() for found in re.findall(r"\b\d{8}T\d{6}Z-[0-9a-f]{8}\b", text)}
    assert named
    assert named <= {path.name for path in (ROOT / "model_store").glob("*/versions/*")}


TEMPLATE = """
Resources:
  Queue: {Type: AWS::SQS::Queue}
Outputs:
  ScoreFunctionName: {Value: stack-score}
  ScoreLogGroupName: {Value: /aws/lambda/stack-score}
  ModelBucketName: {Value: models}
  ModelName: {Value: small}
  ServiceName: {Value: watched}
"""


@pytest.mark.emulator
@pytest.mark.timeout(300)
def test_the_functions_that_the_pages_use_work_in_a_shell() -> None:
    """ministack filters log lines by words only, so the pattern here is one."""
    if shutil.which("aws") is None or shutil.which("bash") is None:
        pytest.skip("the AWS command line is not installed")
    (block,) = re.findall(r"```bash\n(.*?)```", HELPERS, re.DOTALL)
    with Ministack(ROOT) as aws:
        aws.client("cloudformation").create_stack(StackName="eventscore", TemplateBody=TEMPLATE)
        logs = aws.client("logs")
        logs.create_log_group(logGroupName="/aws/lambda/stack-score")
        logs.create_log_stream(logGroupName="/aws/lambda/stack-score", logStreamName="one")
        event = {"timestamp": int(time.time() * 1000), "message": '{"message": "model not loaded"}'}
        logs.put_log_events(logGroupName="/aws/lambda/stack-score", logStreamName="one", logEvents=[event])
        dimensions = [{"Name": "model", "Value": "small"}, {"Name": "service", "Value": "watched"}]
        by_source = [*dimensions, {"Name": "source", "Value": "sqs"}]
        for of, value in ((dimensions, 7.0), (by_source, 5.0)):
            datum: Any = {"MetricName": "Received", "Dimensions": of, "Value": value, "Unit": "Count"}
            aws.client("cloudwatch").put_metric_data(Namespace="eventscore", MetricData=[datum])
        asked = (
            "metric Received Sum; metric Received Sum Name=source,Value=sqs; says loaded 1hours; echo $bucket $model"
        )
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{block}\n{asked}"],
            env={**os.environ, **CREDENTIALS, "AWS_ENDPOINT_URL": aws.endpoint_url},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    whole, of_sqs, said, names = done.stdout.strip().splitlines()
    assert (whole.split()[1], of_sqs.split()[1]) == ("7.0", "5.0")
    assert "model not loaded" in said
    assert names == "models small"
