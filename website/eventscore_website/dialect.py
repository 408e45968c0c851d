"""Markdown as the generator of the site reads it, where a git host reads more kindly: lists, and what belongs to their items."""

from __future__ import annotations

import re

_ITEM = re.compile(r"^(?P<indent> *)(?:[-*]|\d+\.) ")
_FENCE = re.compile(r"^ *(```+|~~~+)")


def translated(text: str) -> str:
    """The text of a page with an empty line before each list, and blocks of code below an item indented by four."""
    lines: list[str] = []
    fence = ""
    shift = 0
    in_a_list = False
    for line in text.split("\n"):
        if fence:
            lines.append(" " * shift + line if line else line)
            if line.strip() == fence:
                fence = ""
            continue
        item = _ITEM.match(line)
        before = lines[-1] if lines else ""
        if item and before.strip() and not in_a_list:
            lines.append("")
        if opened := _FENCE.match(line):
            indent = len(line) - len(line.lstrip(" "))
            fence = opened[1]
            shift = 4 - indent if in_a_list and 0 < indent < 4 else 0
        elif item:
            in_a_list, shift = True, 0
        elif line and not line.startswith(" ") and not before.strip():
            in_a_list, shift = False, 0
        else:
            shift = 0
        lines.append(" " * shift + line if line else line)
    return "\n".join(lines)
