"""The site: every page can be found, no link leads nowhere, and the reference has words for everything that the code has."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from pydantic import BaseModel

from conftest import ROOT
from eventscore.violations import REASONS
from eventscore_website import (
    command_reference,
    key_reference,
    metric_reference,
    navigation,
    setting_reference,
    stack_reference,
)
from eventscore_website.errors import LinkBroken, NavigationGap, WordsMissing
from eventscore_website.links import Shown
from eventscore_website.pages import write_pages

ZENSICAL = ROOT / ".tools" / "bin" / "zensical"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the generator of the site reads, of the repository as it stands."""
    folder = tmp_path_factory.mktemp("build")
    write_pages(ROOT, folder)
    return folder


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    assert ZENSICAL.exists(), "expected the site's generator in .tools/bin: make setup-docs"
    command = [ZENSICAL, "build", "--strict", "--clean", "--config-file", folder / "zensical.toml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(written: Path) -> None:
    done = build(written)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = sorted((written / "site").rglob("*.html"))
    assert len(pages) >= len(list((ROOT / "docs").rglob("*.md")))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|img|iframe)[^>]*src=[\"']?(?:https?:)?//", text), page
        assert not re.findall(r"<link[^>]*(?:stylesheet|preconnect|preload)[^>]*href=[\"']?(?:https?:)?//", text), page


@pytest.mark.parametrize(
    "line", ["[no page](nowhere.md)", "[no anchor](contract.md#nowhere)", "[no anchor here](#nowhere)"]
)
def test_a_link_that_leads_nowhere_stops_the_build(written: Path, tmp_path: Path, line: str) -> None:
    copy = shutil.copytree(written, tmp_path / "build", ignore=shutil.ignore_patterns("site", ".cache"))
    page = copy / "docs" / "index.md"
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    assert build(copy).returncode != 0


def small(folder: Path, nav: str, **pages: str) -> Path:
    """A repository with pages and nothing else."""
    (folder / "website").mkdir()
    (folder / "website" / "site.css").touch()
    (folder / "zensical.toml").write_text(f"[project]\nnav = {nav}\n")
    for name, text in pages.items():
        file = folder / "docs" / f"{name.replace('__', '/')}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def test_a_page_that_cannot_be_found_and_a_name_without_a_page_are_told(tmp_path: Path) -> None:
    root = small(tmp_path, '["index.md", {"Gone" = "gone.md"}]', index="# Index", lost="# Lost")
    with pytest.raises(NavigationGap, match=r"docs/lost\.md stands nowhere.*names gone\.md") as told:
        write_pages(root, tmp_path / "build")
    assert (told.value.unlisted, told.value.absent) == ({"lost.md"}, {"gone.md"})


def test_a_star_takes_the_pages_of_a_folder_the_introduction_first(tmp_path: Path) -> None:
    root = small(tmp_path, '[{"All" = "all/*.md"}]', all__b="# B", all__a="# A", all__index="# All")
    write_pages(root, tmp_path / "build")
    assert '["all/index.md", "all/a.md", "all/b.md"]' in (tmp_path / "build" / "zensical.toml").read_text()
    assert navigation.spelt_out('["x.md"]', ["x.md"]) == '["x.md"]'


def test_a_link_out_of_the_docs_leads_to_a_page_that_shows_the_file(tmp_path: Path) -> None:
    root = small(
        tmp_path,
        '["a/deep.md"]',
        a__deep="[the *code*](../../run.py) and [more](../../MORE.md#top)\n```\n[x](gone.md)\n```\n",
    )
    (root / "run.py").write_text("print('```')\n")
    (root / "MORE.md").write_text("# Top\n[back](docs/a/deep.md), [again](MORE.md), [a folder](docs)\n")
    write_pages(root, tmp_path / "build")
    docs = tmp_path / "build" / "docs"
    assert (
        (docs / "a" / "deep.md")
        .read_text()
        .startswith("[the *code*](../repository/run.py.md) and [more](../repository/MORE.md#top)")
    )
    assert "print('```')" in (docs / "repository" / "run.py.md").read_text()
    assert (docs / "repository" / "MORE.md").read_text() == "# Top\n[back](../a/deep.md), [again](MORE.md), a folder\n"


@pytest.mark.parametrize("target", ["../gone.py", "gone.md", "../../outside.py"])
def test_a_link_to_a_file_that_is_not_there_is_told(tmp_path: Path, target: str) -> None:
    root = small(tmp_path, '["index.md"]', index=f"[x]({target})")
    with pytest.raises(LinkBroken, match=rf"docs/index\.md links to {re.escape(target)}"):
        Shown(root).rewritten(f"[x]({target})", "index.md", root / "docs" / "index.md")


def test_what_a_block_needs_can_be_read_in_the_site(written: Path) -> None:
    assert "*needs AWS*" in (written / "docs" / "artifact.md").read_text()
    assert "needs: AWS" not in (written / "docs" / "artifact.md").read_text()


def page(written: Path, name: str) -> str:
    return (written / "docs" / "reference" / f"{name}.md").read_text(encoding="utf-8")


def test_the_reference_has_every_command_setting_metric_reason_and_parameter(written: Path) -> None:
    for name, command in command_reference.commands():
        assert f"\n## `{name}`\n" in page(written, "commands")
        for parameter in command.params:
            assert (
                not isinstance(parameter, click.Option)
                or parameter.hidden
                or parameter.opts[0] in page(written, "commands")
            )
    for setting in setting_reference.declared():
        assert f"| `{setting}` |" in page(written, "settings")
    for metric in metric_reference.emitted():
        assert f"| `{metric}` |" in page(written, "metrics")
    for reason in REASONS:
        assert f"| `{reason}` |" in page(written, "reasons")
    for template in stack_reference.templates(ROOT).values():
        for name in {**template.get("Parameters", {}), **template.get("Outputs", {})}:
            assert f"| `{name}` |" in page(written, "stack")


@pytest.mark.parametrize(
    ("name", "sections"), [("contract", key_reference.CONTRACT), ("training", key_reference.TRAINING)]
)
def test_the_reference_has_every_key_of_every_section(
    written: Path, name: str, sections: key_reference.Sections
) -> None:
    listed = page(written, name)
    for section, model in sections.items():
        part = listed.split(f"\n## {f'`{section}`' if '[' in section else section.capitalize()}\n", 1)[1].split(
            "\n## "
        )[0]
        for key, field in model.model_fields.items():
            assert f"| `{field.alias or key}` |" in part
    # A table within a table has a section of its own.
    named = {model.__name__ for model in sections.values()}
    fields = [field for model in sections.values() for field in model.model_fields.values()]
    inner = {name for field in fields for name in inner_models(field.annotation)}
    assert inner
    assert inner <= named


def inner_models(annotation: Any) -> set[str]:
    """The models that an annotation is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation.__name__}
    return {name for part in get_args(annotation) for name in inner_models(part)}


def test_a_setting_a_metric_a_key_and_an_option_without_words_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Keys(BaseModel):
        mute: int = 1

    with monkeypatch.context() as without:
        without.setattr(setting_reference, "WORDS", {})
        with pytest.raises(WordsMissing, match="EVENTSCORE_STORE"):
            setting_reference.write(ROOT)
    with monkeypatch.context() as without:
        without.setattr(metric_reference, "WORDS", {"Received": "x"})
        with pytest.raises(WordsMissing, match="Latency"):
            metric_reference.write(ROOT)
    assert key_reference.undescribed({"[keys]": Keys}) == ["[keys] mute"]
    with monkeypatch.context() as without:
        mute = click.Group(
            "eventscore", help="x", commands={"do": click.Command("do", params=[click.Option(["--mute"])])}
        )
        without.setattr(command_reference, "cli", mute)
        with pytest.raises(WordsMissing, match="eventscore do, eventscore do --mute"):
            command_reference.write(ROOT)


def test_no_words_are_left_of_what_is_gone() -> None:
    assert setting_reference.WORDS.keys() == setting_reference.declared()
    assert metric_reference.WORDS.keys() == metric_reference.emitted().keys()


def test_each_part_of_a_cold_start_that_the_core_times_has_words() -> None:
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "layers" / "core").rglob("*.py"))
    parts = set(re.findall(r'\.part\("(\w+)"\)', code)) | set(re.findall(r'parts_ms\["(\w+)"\]', code))
    assert len(parts) >= 6
    assert {f"ColdStart{part.title()}" for part in parts} <= metric_reference.WORDS.keys()


def anchors(text: str) -> set[str]:
    """The anchors that a git host gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = [
        re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    ]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_anchor_is_there_on_a_git_host_too() -> None:
    seen = 0
    for file in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target, anchor in re.findall(r"\]\(([^)\s#:]*)#([^)\s]+)\)", file.read_text(encoding="utf-8")):
            to = (file.parent / target).resolve() if target else file
            if to.suffix != ".md" or to.parent.name == "reference":
                continue  # the reference is written where the site is built, whose strict build knows its anchors
            seen += 1
            assert anchor in anchors(to.read_text(encoding="utf-8")), f"{file.relative_to(ROOT)}: {target}#{anchor}"
    assert seen > 20


def test_every_parameter_and_output_of_the_templates_says_what_it_is() -> None:
    assert stack_reference.undescribed(ROOT) == []
