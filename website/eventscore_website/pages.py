"""The folder that the site is made of: the pages of docs/, the reference, and the files that pages link to."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from eventscore_website import (
    command_reference,
    dialect,
    key_reference,
    metric_reference,
    navigation,
    needs,
    reason_reference,
    setting_reference,
    stack_reference,
)
from eventscore_website.links import Shown

Writer = Callable[[Path], str]
REFERENCE: Mapping[str, Writer] = {
    "commands": command_reference.write,
    "contract": key_reference.write_contract,
    "training": key_reference.write_training,
    "settings": setting_reference.write,
    "metrics": metric_reference.write,
    "reasons": reason_reference.write,
    "stack": stack_reference.write,
}
"""What is written from the code, by the name that a page calls it by."""
_FROM_THE_CODE = re.compile(r"^<!-- from the code: (?P<what>[a-z]+) -->.*$", re.MULTILINE)


def write_pages(root: Path, build: Path) -> list[str]:
    """Write ``build``/docs and ``build``/zensical.toml from the repository at ``root``; the names of the pages.

    Raises:
        WebsiteError: a link leads nowhere, a page stands in no navigation, or something has no description.

    """
    root, docs = root.resolve(), root.resolve() / "docs"
    linked = Shown(root)
    pages = {
        name: dialect.translated(needs.shown(linked.rewritten(page.read_text(encoding="utf-8"), name, page)))
        for page in sorted(docs.rglob("*.md"))
        for name in [page.relative_to(docs).as_posix()]
    }
    pages = {name: _with_the_reference(text, root) for name, text in pages.items()}
    configuration = navigation.spelt_out((root / "zensical.toml").read_text(encoding="utf-8"), pages)
    navigation.compare(configuration, pages)
    target = build / "docs"
    for made in (target, build / "site"):  # a page that is gone must not stay
        shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(docs, target, ignore=shutil.ignore_patterns("*.md"))
    for name, text in {**pages, **linked.pages}.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(text, encoding="utf-8")
    (target / "assets").mkdir(exist_ok=True)
    shutil.copy(root / "website" / "site.css", target / "assets")
    (build / "zensical.toml").write_text(configuration, encoding="utf-8")
    return [*pages, *linked.pages]


def _with_the_reference(text: str, root: Path) -> str:
    """The text of a page with what is written from the code in the place that it keeps for it."""
    return _FROM_THE_CODE.sub(lambda match: REFERENCE[match["what"]](root), text)
