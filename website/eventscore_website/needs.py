"""What stands above a block of commands, as a comment: what it needs, or which target or test runs it."""

from __future__ import annotations

import re

OF_THE_PAGE = re.compile(r"^<!-- every command needs: (?P<what>[^\n]+?) -->$", re.MULTILINE)
NEEDS = re.compile(r"^<!-- needs: (?P<what>[^\n]+?) -->$", re.MULTILINE)


def shown(text: str) -> str:
    """The text of a page, in which a reader sees what the next block of commands needs."""
    text = OF_THE_PAGE.sub(
        lambda match: f'<p class="needs" markdown>*the commands of this page need {match["what"]}*</p>', text
    )
    return NEEDS.sub(lambda match: f'<p class="needs" markdown>*needs {match["what"]}*</p>\n', text)
