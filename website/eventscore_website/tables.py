"""Tables of a page in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; what stands in a cell is Markdown, in one line."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def code(text: object) -> str:
    """``text`` as code, whatever it holds; nothing for nothing."""
    written = str(text)
    if not written:
        return ""
    ticks = "``" if "`" in written else "`"
    return f"{ticks}{written}{ticks}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
