"""What is wrong with a command line of the documentation, by the program's own word: None where nothing is."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import subprocess
from functools import cache
from typing import Any

import botocore.session
import click
from botocore import xform_name
from botocore.exceptions import UnknownServiceError

from conftest import ROOT
from eventscore_cli.main import cli

# Options of `aws` itself, and commands that botocore's models do not have because the command line makes them of others.
_AWS_OPTIONS = {
    *(
        "region",
        "profile",
        "query",
        "output",
        "endpoint-url",
        "debug",
        "color",
        "cli-input-json",
        "cli-input-yaml",
        "no-sign-request",
    ),
    *(
        "cli-binary-format",
        "cli-read-timeout",
        "no-cli-pager",
        "no-paginate",
        "max-items",
        "page-size",
        "starting-token",
    ),
}
_AWS_MADE = {
    "ecr get-login-password": set(),
    "s3 sync": {"exclude", "include", "delete", "dryrun", "sse", "only-show-errors", "exact-timestamps", "size-only"},
    "s3 cp": {"recursive", "exclude", "include", "sse", "dryrun", "only-show-errors", "metadata-directive"},
    "s3 mv": {"recursive", "exclude", "include", "dryrun"},
    "s3 ls": {"recursive", "human-readable", "summarize"},
    "s3 rm": {"recursive", "exclude", "include", "dryrun"},
    "logs tail": {"since", "follow", "format", "filter-pattern", "log-stream-names", "log-stream-name-prefix"},
    "cloudformation deploy": {
        "template-file",
        "stack-name",
        "parameter-overrides",
        "capabilities",
        "no-execute-changeset",
        "s3-bucket",
    },
}
_AWS_RENAMED = {"sns subscribe": {"notification-endpoint": "Endpoint"}}
"""Options that `aws` calls otherwise than the service does."""
_SERVICES = {"s3api": "s3", "configservice": "config", "deploy": "codedeploy"}


def mistake(call: list[str], *, whole: bool = True) -> str | None:
    """What is wrong with a call of a program that is known here; what is not ``whole`` may lack what the program needs."""
    program, *arguments = call
    match program.rsplit("/", 1)[-1]:
        case "eventscore":
            return _of_eventscore(arguments, whole=whole)
        case "aws":
            return _of_aws(arguments, whole=whole)
        case "make":
            return _of_make(arguments)
        case "sam":
            return _of_sam(arguments)
        case "python" | "python3":
            return _of_python(arguments)
    return None


def _of_eventscore(arguments: list[str], *, whole: bool) -> str | None:
    command: click.Command = cli
    # With its settings: click keeps the help option that it makes first, and the tests share the command.
    context = click.Context(cli, info_name="eventscore", **cli.context_settings)
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        below = command.get_command(context, name)
        if below is None:
            return f"{context.command_path} has no command {name}"
        command, context = below, click.Context(below, info_name=name, parent=context)
    try:
        command.make_context(command.name, arguments, parent=context.parent)
    except click.exceptions.Exit:
        return None  # --help, --version
    except click.UsageError as error:
        if not whole and isinstance(error, click.MissingParameter):
            return None
        # The files of an example need not be there.
        return None if "does not exist" in error.format_message() else error.format_message()
    return None


def _of_make(arguments: list[str]) -> str | None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    strange = [word for word in arguments if "=" not in word and not word.startswith("-") and word not in targets]
    return f"no target {', '.join(strange)}" if strange else None


def _options(arguments: list[str]) -> list[str]:
    return [word[2:].split("=")[0] for word in arguments if word.startswith("--")]


@cache
def _options_of_sam(*command: str) -> frozenset[str] | None:
    """What its help names; None where there is no such command."""
    sam = ROOT / ".tools" / "bin" / "sam"
    done = subprocess.run(
        [sam, *command, "--help"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "SAM_CLI_TELEMETRY": "0",
            "COLUMNS": "200",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return frozenset(re.findall(r"--([a-z0-9-]+)", done.stdout)) if done.returncode == 0 else None


def _of_sam(arguments: list[str]) -> str | None:
    words = list(
        itertools.takewhile(lambda word: re.fullmatch(r"[a-z-]+", word) and not word.startswith("-"), arguments)
    )
    command = words[: 2 if words[0] in ("local", "list", "remote") else 1]
    known = _options_of_sam(*command)
    if known is None:
        return f"sam has no command {' '.join(command)}"
    strange = [option for option in _options(arguments) if option not in known]
    return f"sam {' '.join(command)}: unknown options {', '.join(strange)}" if strange else None


def _of_python(arguments: list[str]) -> str | None:
    if not arguments or (arguments[0].startswith("-") and arguments[0] != "-m"):
        return None
    if arguments[0] == "-m":
        found = importlib.util.find_spec(arguments[1])
        return None if found else f"no module {arguments[1]}"
    script = ROOT / arguments[0]
    if not script.is_file():
        return f"no file {arguments[0]}"
    written = script.read_text(encoding="utf-8")
    strange = [option for option in _options(arguments) if f'"--{option}"' not in written]
    return f"{arguments[0]} has no option {', '.join(strange)}" if strange else None


@cache
def _service(name: str) -> Any:
    return botocore.session.get_session().get_service_model(_SERVICES.get(name, name))


def _of_aws(arguments: list[str], *, whole: bool) -> str | None:
    words = list(arguments)
    while words[:1] and words[0].startswith("--"):  # options of `aws` itself, each with a value
        words = words[2:]
    if not whole and (len(words) < 2 or words[1] == "..."):
        words = [*words[:1], "wait"]
    if len(words) < 2:
        return "expected a service and an operation"
    service, operation, *rest = words
    named = f"{service} {operation}"
    asked = [option for option in _options(rest) if option not in _AWS_OPTIONS]
    if named in _AWS_MADE:
        strange = set(asked) - _AWS_MADE[named]
        return f"aws {named}: unknown options {', '.join(sorted(strange))}" if strange else None
    if service == "s3":
        return f"aws s3 has no {operation} that is known here (tests/command_lines.py)"
    try:
        model = _service(service)
    except UnknownServiceError:
        return f"aws has no service {service}"
    if operation == "wait":
        return None
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    if operation not in operations:
        return f"aws {service} has no operation {operation}"
    shape = model.operation_model(operations[operation]).input_shape
    members = {xform_name(name, "-"): name for name in (shape.members if shape else {})} | _AWS_RENAMED.get(named, {})
    strange = [name for name in asked if name not in members and name.removeprefix("no-") not in members]
    if strange:
        return f"aws {named}: unknown options {', '.join(strange)}"
    given = {members.get(name) for name in asked}
    missing = set(shape.required_members if shape else ()) - given
    if whole and missing and not {"cli-input-json", "cli-input-yaml"} & set(_options(rest)):
        return f"aws {named}: {', '.join(sorted(missing))} is required"
    return None
