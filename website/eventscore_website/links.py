"""Links that leave docs/: on a git host they lead to the file, in the site to a page that shows it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from eventscore_website.errors import LinkBroken

LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#:]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".json": "json", ".sh": "sh", ".jsonl": "json"}
SHOWN = "repository"
"""The folder of the site where files of the repository are shown."""


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """``text`` with ``change`` made to whatever stands in no fenced block."""
    parts, at = [], 0
    for fence in _FENCE.finditer(text):
        parts += [change(text[at : fence.start()]), fence[0]]
        at = fence.end()
    return "".join([*parts, change(text[at:])])


class Shown:
    """The files of the repository that pages link to, each as a page of the site."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.pages: dict[str, str] = {}

    def rewritten(self, text: str, page: str, source: Path) -> str:
        """The text of ``page``, read from ``source``, with links that leave docs/ led to pages that show the files.

        Raises:
            LinkBroken: a link leads nowhere.

        """

        def lead(match: re.Match[str]) -> str:
            target = Path(os.path.normpath(source.parent / match[2]))
            if not target.is_relative_to(self._root) or not target.exists():
                raise LinkBroken(str(source.relative_to(self._root)), match[2])
            docs = self._root / "docs"
            if target.is_relative_to(docs) and target.is_file():
                to = target.relative_to(docs).as_posix()
            elif target.is_file():
                to = self._page_of(target)
            else:
                return match[1].removesuffix("](").lstrip("![")
            return f"{match[1]}{os.path.relpath(to, PurePosixPath(page).parent)}{match[3] or ''})"

        return outside_code(text, lambda part: LINK.sub(lead, part))

    def _page_of(self, file: Path) -> str:
        path = file.relative_to(self._root).as_posix()
        page = f"{SHOWN}/{path.removesuffix('.md')}.md"
        if page not in self.pages:
            text = file.read_text(encoding="utf-8")
            self.pages[page] = ""  # it may link to itself
            if file.suffix == ".md":
                self.pages[page] = self.rewritten(text, page, file)
            else:
                self.pages[page] = f"# {path}\n\n````{_LANGUAGES.get(file.suffix, 'text')}\n{text}\n````\n"
        return page
