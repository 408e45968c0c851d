"""What the README and the docs say is what happens: their commands are run, their tables compared with the code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from eventscore import settings
from eventscore.contract import parse_contract
from eventscore.violations import REASONS

README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    """The fenced blocks of the README in ``language``."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def run(command: str, folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def squeezed(text: str) -> list[str]:
    return [re.sub(r"\s+", " ", line).strip() for line in text.strip().splitlines()]


def session() -> list[tuple[str, str]]:
    """The commands of the README's session, each with the output that it shows."""
    (block,) = blocks("console")
    return [tuple(part.split("\n", 1)) for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]  # type: ignore[misc]


def test_the_session_of_the_readme_goes_as_it_shows(tmp_path: Path) -> None:
    for name in ("model_store", "events", "samconfig.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "build").mkdir()
    steps = session()
    assert len(steps) == 4
    for command, shown in steps:
        assert squeezed(run(command, tmp_path)) == squeezed(shown), command
    answer = json.loads((tmp_path / "build" / "scores.jsonl").read_text().splitlines()[0])
    (line,) = blocks("json")
    expected = json.loads(line)
    assert answer.pop("scored_at")
    del expected["scored_at"]
    assert answer.pop("score") == pytest.approx(expected.pop("score"), abs=1e-3)
    assert answer == expected


def test_the_contract_of_the_readme_takes_ten_lines() -> None:
    (contract,) = blocks("toml")
    assert parse_contract(contract.encode(), "README").model.name == "order-fraud"
    assert len(contract.strip().splitlines()) <= 10


def test_every_page_that_a_page_links_to_is_there() -> None:
    pages = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        ROOT / "events" / "README.md",
    ]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_security_model_names_policies_and_statements_that_the_stack_has() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    template = (ROOT / "template.yaml").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([A-Z]\w+)` \|", page, re.MULTILINE)
    assert len(named) >= 8
    for name in named:
        assert f"\n  {name}:\n" in template or f"Sid: {name}\n" in template, name


def test_the_two_commands_stand_at_the_top_of_the_readme() -> None:
    top = "\n".join(README.splitlines()[:8])
    assert "make demo" in top
    assert "make test" in top


def test_every_reason_and_every_setting_is_documented() -> None:
    contract = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    for reason, meaning in REASONS.items():
        assert f"| `{reason}` | {meaning} |" in contract
    function = (ROOT / "docs" / "function.md").read_text(encoding="utf-8")
    for name in (
        value for value in vars(settings).values() if isinstance(value, str) and value.startswith("EVENTSCORE_")
    ):
        if name not in (settings.PREFIX, settings.SIGNING_KEY):
            assert f"`{name}`" in function


def test_make_help_lists_the_commands_that_the_readme_and_contributing_name() -> None:
    listed = run("make help", ROOT)
    text = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"make ([a-z]+(?:-[a-z]+)?)\b", text)) & {
        "demo",
        "test",
        "setup",
        "setup-train",
        "check",
        "fix",
        "bench",
        "docs",
        "train-demo",
        "requirements",
    }
    assert len(named) >= 9
    for name in named:
        assert f"make {name} " in listed
