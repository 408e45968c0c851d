"""Every command in the docs is run here, or marked with what runs it or what it needs; and each is one that its program takes."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import documented
from command_lines import mistake
from conftest import ROOT
from documented import DOCS, INDENTED, PAGES, Block, blocks, calls, inline_commands, shell_blocks
from orders_table import write_orders
from test_docs import blocks as of_the_readme
from test_docs import run

NEEDS = {"AWS", "AWS and Docker", "Docker", "a GPU", "a stack that runs", "a terminal of its own"}
"""What a command may need that this machine has not."""


def _with_a_contract(folder: Path) -> None:
    shutil.copy(ROOT / "model_store" / "flight-delay" / "contract.toml", folder)


def _with_orders(folder: Path) -> None:
    write_orders(folder)


FURNISHED: Mapping[str, Callable[[Path], object]] = {
    "docs/contract.md": _with_a_contract,
    "docs/your-own-data.md": _with_orders,
}
"""What lies in the folder before the commands of a page are run, besides the repository."""


def to_run(page: Path) -> list[Block]:
    return [block for block in shell_blocks(page) if block.marker in (None, "run by: make test")]


RUN = [page for page in DOCS if to_run(page)]


def checkout(folder: Path) -> Path:
    """The repository as it stands, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "build").mkdir()
    return folder


OWN_DATA = ROOT / "docs" / "your-own-data.md"


@pytest.fixture(scope="module")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where the commands of the page about one's own data were run, and what they said: it trains, and the README does the same."""
    return run_page(OWN_DATA, tmp_path_factory.mktemp("own-data"))


def run_page(page: Path, empty: Path) -> tuple[Path, str]:
    """The folder in which the commands of the page were run, and what they said."""
    folder = checkout(empty)
    FURNISHED.get(page.relative_to(ROOT).as_posix(), lambda folder: None)(folder)
    return folder, run("\n".join(block.commands for block in to_run(page)), folder)


@pytest.mark.training
@pytest.mark.parametrize("page", RUN, ids=[page.relative_to(ROOT).as_posix() for page in RUN])
def test_the_commands_of_a_page_run_one_after_the_other(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if page == OWN_DATA:
        request.getfixturevalue("own_data")
    else:
        run_page(page, tmp_path)


@pytest.mark.training
def test_your_own_data_becomes_a_published_model_by_the_commands_of_the_readme(own_data: tuple[Path, str]) -> None:
    """They are those of the page, which has more of them: each is run once for both."""
    folder, said = own_data
    (commands,) = of_the_readme("bash")
    of_the_page = iter("".join(block.commands for block in to_run(OWN_DATA)).splitlines())
    assert len(commands.strip().splitlines()) == 6
    for command in commands.strip().splitlines():
        assert command in of_the_page, (
            f"{OWN_DATA.name} does not run this, or not in the order of the README: {command}"
        )
    (shown,) = of_the_readme("text")
    assert set(shown.strip().splitlines()) <= set(said.splitlines())
    assert "live -> " in said
    (afterwards,) = of_the_readme("sh")
    assert "200 scored by order-fraud" in run(afterwards, folder)


@pytest.mark.parametrize("page", DOCS, ids=[page.relative_to(ROOT).as_posix() for page in DOCS])
def test_a_command_stands_in_a_fence_and_a_mark_says_what_runs_it(page: Path) -> None:
    for block in blocks(page):
        assert block.language != INDENTED, (
            f"{block.where}: write a fence (```sh for commands, ```text for what they say)"
        )
        if block.marker is None or block.language not in documented.SHELL or block in to_run(page):
            continue
        kind, _, what = block.marker.partition(": ")
        assert kind in ("needs", "run by"), f"{block.where}: expected needs or run by, got {kind}"
        if kind == "needs":
            assert what in NEEDS, f"{block.where}: expected one of {', '.join(sorted(NEEDS))}, got {what}"
        else:
            text = what_runs_it(what)
            assert text, f"{block.where}: there is no {what}"
            for word in told_of(block):
                assert word in text, f"{block.where}: {what} does not run {word}"


def what_runs_it(what: str) -> str:
    """The text of a target of the Makefile, of a test, or of the commands of a page that are run; empty where there is none."""
    if what.endswith(".md"):
        return "".join(block.commands for block in to_run(ROOT / what)) if ROOT / what in RUN else ""
    if what.startswith("make "):
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        found = re.search(rf"^{what[5:]}:.*\n(?:(?:\t.*)?\n)*", makefile, re.MULTILINE)
        return f"make {what[5:]} {found[0]}" if found else ""
    file, _, test = what.partition("::")
    text = (ROOT / file).read_text(encoding="utf-8") if (ROOT / file).is_file() else ""
    return text if not test or f"def {test}(" in text else ""


def told_of(block: Block) -> list[str]:
    """What a test or target must name to be one that runs the block: subcommands, programs of the benchmarks."""
    words = []
    for program, *arguments in calls(block.commands):
        if program == "eventscore":
            words.append(arguments[0])
        elif program.startswith("python") and arguments[0].endswith(".py"):
            words.append(Path(arguments[0]).stem)
    return words


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_each_command_line_is_one_that_its_program_takes(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "200")
    wrong = [
        f"{page.name}: {span}: {said}"
        for span in inline_commands(page)
        for call in calls(span)
        if (said := mistake(call, whole=False))
    ]
    wrong += [
        f"{block.where}: {' '.join(call)}: {said}"
        for block in shell_blocks(page)
        for call in calls(block.commands)
        if (said := mistake(call))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("eventscore publish runs/x --signing-kye k", "--signing-kye"),
        ("eventscore promot flight-delay VERSION", "no command promot"),
        ("eventscore score --model m", "Missing argument"),
        ('eventscore publish "$(eventscore trian x)" --signing-key k', "no command trian"),
        ("make demmo", "no target demmo"),
        ("for x in a b; do aws sqs recieve-message --queue-url $x; done", "no operation recieve-message"),
        ("aws sqs receive-message --queue u | cat", "unknown options queue"),
        ("aws sqs receive-message", "QueueUrl is required"),
        ("aws s3 sink a b", "no sink"),
        ("x=$(aws cloudformatoin describe-stacks)", "no service"),
        ("sam deploy --guide", "unknown options guide"),
        ("python benchmarks/throughput.py --jsn", "no option jsn"),
        ("python benchmarks/through.py", "no file"),
    ],
)
def test_a_wrong_command_line_is_found(line: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert said in "; ".join(filter(None, map(mistake, calls(line))))


def test_what_a_sentence_names_may_be_less_than_a_whole_command_and_not_another(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Ask `eventscore promote`, or `aws sqs send-mesage`; `model` is none.\n```sh\n# `make it`\n```\n")
    first, second = inline_commands(page)
    assert [mistake(call, whole=False) for call in calls(first)] == [None]
    assert [mistake(call) for call in calls(first)] != [None]
    assert [mistake(call, whole=False) for call in calls(second)] == ["aws sqs has no operation send-mesage"]


def test_what_is_only_indented_and_what_is_marked_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n    make demo\n\n- an item\n\n    its own text\n\n<!-- needs: AWS -->\n```sh\naws sts get-caller-identity\n```\n"
    )
    monkeypatch.setattr(documented, "ROOT", tmp_path)
    assert [(block.language, block.marker, block.line) for block in blocks(page)] == [
        ("sh", "needs: AWS", 10),
        (INDENTED, None, 3),
    ]
