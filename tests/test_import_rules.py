"""Who may import whom, checked by import-linter as `[tool.importlinter]` in pyproject.toml says it; and that it would find what it must."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parent.parent
LINTER = Path(sys.executable).with_name("lint-imports")
SOURCES = ("layers/core", "training", "cli", "local", "examples/flights", "website")
BAD_IMPORTS = {
    "Rooms: the command knows all, the core knows nobody": (
        "local/eventscore_local/emf.py",
        "import eventscore_flights.events",
    ),
    "Training and the local AWS know nothing of each other": (
        "training/eventscore_training/gates.py",
        "import eventscore_local.layers",
    ),
    "Serving never loads what training, the command or the tests need": (
        "layers/core/eventscore/columns.py",
        "import torch",
    ),
    "Only the command speaks to a person": ("examples/flights/eventscore_flights/prepare.py", "import rich"),
    "The core in layers: each module imports only those below it": (
        "layers/core/eventscore/errors.py",
        "import eventscore.contract",
    ),
    "Event sources know nothing of models": ("layers/core/eventscore/sources/sqs.py", "import eventscore.contract"),
    "Models know nothing of event sources": ("layers/core/eventscore/session.py", "import eventscore.sources.sqs"),
}


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run the linter over the packages of a tree."""
    path = ":".join(str(tree / source) for source in SOURCES)
    return subprocess.run(
        [LINTER, "--config", tree / "pyproject.toml", "--no-cache"],
        cwd=tree,
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages and pyproject.toml, to be spoiled."""
    for source in SOURCES:
        shutil.copytree(ROOT / source, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def add(file: Path, line: str) -> None:
    """Put an import behind the docstring and the imports that a file has."""
    file.write_text(f"{file.read_text()}\n{line}\n")


def test_every_import_is_a_legal_one() -> None:
    run = lint(ROOT)
    assert run.returncode == 0, run.stdout + run.stderr


def test_there_is_a_bad_import_here_for_each_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert [contract["name"] for contract in contracts] == list(BAD_IMPORTS)


@pytest.mark.parametrize("contract", BAD_IMPORTS)
def test_one_bad_import_breaks_its_contract(copy: Path, contract: str) -> None:
    file, line = BAD_IMPORTS[contract]
    add(copy / file, line)
    run = lint(copy)
    assert run.returncode == 1, run.stdout + run.stderr
    assert f"{contract} BROKEN" in run.stdout


def test_a_new_module_of_the_core_has_to_take_its_place_in_the_layers(copy: Path) -> None:
    (copy / "layers/core/eventscore/newcomer.py").write_text('"""New."""\n')
    run = lint(copy)
    assert run.returncode == 1
    assert "eventscore.newcomer" in run.stdout + run.stderr


def test_the_function_imports_the_core_and_nothing_else() -> None:
    imported = set()
    for node in ast.walk(ast.parse((ROOT / "functions/score/app.py").read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    assert imported == {"gc", "typing", "eventscore.function"}


def test_nothing_that_the_function_may_ever_load_needs_pydantic_which_is_not_in_its_layers() -> None:
    graph = grimp.build_graph(
        "eventscore", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )
    assert "pydantic" in graph.modules, "the contract's author needs it"
    ways = {
        module: graph.find_shortest_chain(importer=module, imported="pydantic")
        for module in graph.find_upstream_modules("eventscore.function") | {"eventscore.function"}
        if module.startswith("eventscore")
    }
    assert "eventscore.fallback_fit" in ways
    assert "eventscore.delivery.kafka" in ways
    assert {module: way for module, way in ways.items() if way is not None} == {}
