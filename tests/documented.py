"""The blocks of commands of the documentation: what stands in them, what marks them, and the programs that they call."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT

DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "events" / "README.md", *DOCS]
SHELL = ("sh", "bash", "console")
INDENTED = "indented"
_FENCE = re.compile(
    r"(?:^<!-- (?P<marker>[a-z ]+: [^\n]*?) -->\n\n?)?^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=indent)```[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
_INDENTED = re.compile(r"(?:(?<=\n\n)|\A)(?:(?: {4}|\t)[^\n]*\S[^\n]*\n(?:\n(?= {4}))?)+")
_OF_THE_PAGE = re.compile(r"^<!-- every command (?P<marker>needs: [^\n]*?) -->$", re.MULTILINE)
_ITEM = re.compile(r"^ *(?:[-*]|\d+\.) +", re.MULTILINE)
_HEREDOC = re.compile(r"<<-?['\"]?(\w+)['\"]?([^\n]*)\n.*?^\s*\1$", re.MULTILINE | re.DOTALL)
_WORDS_BEFORE = {"do", "then", "else", "if", "while", "until", "time", "!", "exec", "nohup", "sudo", "{"}


@dataclass(frozen=True)
class Block:
    """Commands of a page. ``marker`` is what the comment above it says (``needs: AWS``), if there is one."""

    page: str
    line: int
    language: str
    text: str
    marker: str | None = None

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> str:
        """What is typed: of a session without what it answers."""
        if self.language != "console":
            return self.text
        return "".join(f"{line[2:]}\n" for line in self.text.splitlines() if line.startswith("$ "))


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in whatever language, and those that are only `INDENTED`."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    of_the_page = _OF_THE_PAGE.search(text)
    marker = of_the_page["marker"] if of_the_page else None
    found = [
        Block(
            name,
            text.count("\n", 0, match.start("language")) + 1,
            match["language"],
            re.sub(f"(?m)^{match['indent']}", "", match["text"]),
            match["marker"] or marker,
        )
        for match in _FENCE.finditer(text)
    ]
    bare = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), text)
    for match in _INDENTED.finditer(bare):
        # What is indented below an item of a list belongs to it, unless it is indented by four more.
        items = _ITEM.findall(bare[: match.start()].rstrip().rsplit("\n\n", 1)[-1])
        found_at = len(match[0]) - len(match[0].lstrip(" "))
        if not items or found_at >= len(items[-1]) + 4:
            found.append(
                Block(
                    name,
                    bare.count("\n", 0, match.start()) + 1,
                    INDENTED,
                    re.sub(f"(?m)^ {{{found_at}}}", "", match[0]),
                )
            )
    return found


def shell_blocks(page: Path) -> list[Block]:
    """Those that hold commands; an indented one does if it begins with a program that the docs call."""
    return [
        block
        for block in blocks(page)
        if block.language in SHELL or (block.language == INDENTED and _begins(block.text))
    ]


def _begins(text: str) -> bool:
    words = [word for word in text.split() if "=" not in word and word != "nice"]
    return bool(words) and words[0].rsplit("/", 1)[-1] in {
        "eventscore",
        "make",
        "aws",
        "sam",
        "python",
        "pip",
        "pytest",
        "torchrun",
        "docker",
        "curl",
    }


def inline_commands(page: Path) -> list[str]:
    """Commands within the sentences of a page."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)
    return [span for span in spans if re.match(r"(?:eventscore|aws|make|sam|python) [a-z-]", span)]


def calls(text: str) -> Iterator[list[str]]:
    """The programs that a script calls, each with its arguments: of pipes, lists and substitutions, too."""
    text = _HEREDOC.sub(r"\2", text).replace("\\\n", " ")
    for line in text.splitlines():
        yield from _calls_of(line)


def _calls_of(line: str) -> Iterator[list[str]]:
    line, inner = _without_substitutions(line)
    for part in inner:
        yield from _calls_of(part)
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();|&<>")
    lexer.wordchars += "$@:=,%+{}[]^!*?~./-"
    lexer.whitespace_split = True
    call: list[str] = []
    redirected = False
    for word in [*lexer, ";"]:
        if set(word) <= set("();|&"):
            if called := _called(call):
                yield called
            call = []
        elif set(word) <= set("<>"):
            redirected = True
            if call and call[-1].isdigit():
                call.pop()
        elif redirected:
            redirected = False
        else:
            call.append(word)


def _called(words: list[str]) -> list[str]:
    while words and (words[0] in _WORDS_BEFORE or re.match(r"^[A-Za-z_]\w*=", words[0])):
        words = words[1:]
    return words


def _without_substitutions(line: str) -> tuple[str, list[str]]:
    """The line with a word in the place of each ``$(...)``, and what stood in them."""
    inner = []
    while (start := line.find("$(")) >= 0:
        depth, end = 0, start + 1
        for end in range(start + 1, len(line)):
            depth += {"(": 1, ")": -1}.get(line[end], 0)
            if depth == 0:
                break
        inner.append(line[start + 2 : end])
        line = f"{line[:start]}SUBSTITUTED{line[end + 1 :]}"
    return line, inner
