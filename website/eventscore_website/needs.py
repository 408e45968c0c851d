"""What stands above a block of commands, as a comment: what it needs, or which target or test runs it."""

from __future__ import annotations

import re

NEEDS = re.compile(r"^<!-- needs: (?P<what>[^\n]+?) -->$", re.MULTILINE)


def shown(text: str) -> str:
    """The text of a page, in which a reader sees what the next block of commands needs."""
    return NEEDS.sub(lambda match: f'<p class="needs" markdown>*needs {match["what"]}*</p>', text)
