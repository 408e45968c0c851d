"""SAM's own translator, which lives in the sam command's environment: what CloudFormation gets of a template."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".tools/aws-sam-cli/bin/python"
_TRANSLATE = """
import json, sys
import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

path, *all_overrides = sys.argv[1:]
translated = []
for overrides in map(json.loads, all_overrides):
    template = yaml_parse(open(path, encoding="utf-8").read())
    for resource in template["Resources"].values():  # as `sam package` leaves them
        for key, prefix in (("CodeUri", "s3://built/"), ("ContentUri", "s3://built/"), ("Location", "https://s3.amazonaws.com/built/")):
            if key in resource.get("Properties", {}):
                resource["Properties"][key] = prefix + resource["Properties"][key]
    defaults = {name: made["Default"] for name, made in template["Parameters"].items() if "Default" in made}
    parameters = {name: str(value) for name, value in {**defaults, **overrides}.items()}  # as CloudFormation has them
    session = boto3.Session(region_name="us-east-1")
    translated.append(Translator({}, Parser(), boto_session=session).translate(template, parameters))
json.dump(translated, sys.stdout)
"""


def transform(path: Path, *overrides: dict[str, str]) -> list[dict[str, Any]]:
    """The template for each of these sets of parameters. Code lies in the bucket ``built``, by its folder's path."""
    if not PYTHON.is_file():
        pytest.skip("the sam command is not installed: make setup")
    run = subprocess.run(
        [PYTHON, "-c", _TRANSLATE, path, *map(json.dumps, overrides)],
        env=os.environ | {"AWS_DEFAULT_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[dict[str, Any]] = json.loads(run.stdout)
    return found
