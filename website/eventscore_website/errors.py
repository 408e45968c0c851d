"""What can be wrong with the documentation.

WebsiteError
├── NavigationGap        a page stands in no navigation, or the navigation names a page that is not there
├── LinkBroken           a page links to a file that is not there
└── WordsMissing         something that the reference lists has no description
"""

from __future__ import annotations

from collections.abc import Collection


class WebsiteError(Exception):
    """The site cannot be made."""


class NavigationGap(WebsiteError):
    """Pages and navigation do not agree."""

    def __init__(self, unlisted: Collection[str], absent: Collection[str]) -> None:
        told = [f"docs/{page} stands nowhere in nav (zensical.toml): add it there" for page in sorted(unlisted)]
        told += [f"nav (zensical.toml) names {page}, and there is no such page: take it out" for page in sorted(absent)]
        super().__init__("; ".join(told))
        self.unlisted, self.absent = frozenset(unlisted), frozenset(absent)


class LinkBroken(WebsiteError):
    """A link leads nowhere."""

    def __init__(self, page: str, target: str) -> None:
        super().__init__(f"{page} links to {target}: expected a file of the repository, there is none")
        self.page, self.target = page, target


class WordsMissing(WebsiteError):
    """What the reference lists and cannot describe."""

    def __init__(self, what: str, names: Collection[str], where: str) -> None:
        super().__init__(f"{what} without a description: {', '.join(sorted(names))}; write one in {where}")
        self.names = frozenset(names)
