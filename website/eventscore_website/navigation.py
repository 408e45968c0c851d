"""The navigation: every page stands in it once, and a ``*`` takes the pages of a folder."""

from __future__ import annotations

import fnmatch
import json
import re
import tomllib
from collections.abc import Collection
from typing import Any

from eventscore_website.errors import NavigationGap

_PATTERN = re.compile(r'"([^"\n]*\*[^"\n]*\.md)"')


def spelt_out(configuration: str, pages: Collection[str]) -> str:
    """The text of zensical.toml with the pages that each pattern in ``nav`` stands for, in the order of their names."""

    def of(pattern: str) -> str:
        found = fnmatch.filter(sorted(pages), pattern)
        # The page that introduces a folder stands before the others.
        found.sort(key=lambda page: not page.endswith("index.md"))
        return json.dumps(found)

    return _PATTERN.sub(lambda match: of(match[1]), configuration)


def compare(configuration: str, pages: Collection[str]) -> None:
    """Whether the navigation of a configuration without patterns names each of ``pages`` and nothing else.

    Raises:
        NavigationGap: it does not.

    """
    listed = set(_listed(tomllib.loads(configuration)["project"]["nav"]))
    if listed != set(pages):
        raise NavigationGap(set(pages) - listed, listed - set(pages))


def _listed(entry: Any) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in _listed(part)]
