"""The page of the command line, from the commands themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from eventscore_cli.main import cli
from eventscore_website.errors import WordsMissing
from eventscore_website.tables import code, table

_DEFAULT = re.compile(r"\s*\[default: ([^\]]+)\]")
"""What a help says of a default that no value is."""
_EXIT_CODES = (
    ("0", "done"),
    (
        "1",
        "the work could not be done; one message on standard error says what was expected, what came, where, and what to do",
    ),
    ("2", "the command line is wrong"),
    ("75", "training was stopped by SIGTERM and can be resumed"),
    ("130", "interrupted"),
)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its whole name, groups among them, in the order in which the command line lists them."""
    yield from _below("eventscore", cli)


def write(root: Path) -> str:
    """The page.

    Raises:
        WordsMissing: a command or an option has no help.

    """
    known = dict(commands())
    mute = [name for name, command in known.items() if not command.help]
    mute += [
        f"{name} {parameter.opts[0]}"
        for name, command in known.items()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    if mute:
        raise WordsMissing("commands and options", mute, "their help (cli/eventscore_cli)")
    parts = [_section(name, command) for name, command in known.items()]
    parts.append("## Exit codes\n\n" + table(["code", ""], _EXIT_CODES))
    return "\n".join(parts)


def _below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=name)
        for part in command.list_commands(context):
            below = command.get_command(context, part)
            if below is not None:
                yield from _below(f"{name} {part}", below)


def _section(name: str, command: click.Command) -> str:
    # With the settings of all commands: click keeps the help option that it makes first, for whoever asks the command later.
    context = click.Context(command, info_name=name, **cli.context_settings)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    text = f"## `{name}`\n\n```text\n{usage}\n```\n\n{_help(command.help or '')}\n"
    rows = [
        [
            code(", ".join([*option.opts, *option.secondary_opts])),
            _takes(option),
            _default(option, context),
            _meaning(option),
        ]
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
    ]
    return text + (f"\n{table(['option', 'takes', 'default', ''], rows)}" if rows else "")


def _help(text: str) -> str:
    """The help as Markdown: a paragraph that click leaves as it is written is shown so."""
    paragraphs = []
    for paragraph in inspect.cleandoc(text).replace("\f", "").split("\n\n"):
        if paragraph.startswith("\b\n"):
            paragraphs.append(f"```text\n{paragraph.removeprefix(chr(8)).strip(chr(10))}\n```")
        else:
            paragraphs.append(" ".join(paragraph.split()).replace("<", "&lt;"))
    return "\n\n".join(paragraphs)


def _takes(option: click.Option) -> str:
    if option.is_flag or option.count:
        return ""
    if isinstance(option.type, click.Choice):
        return ", ".join(code(choice) for choice in option.type.choices)
    several = ", several times" if option.multiple else ""
    return code(option.metavar or option.type.name.upper()) + several


def _default(option: click.Option, context: click.Context) -> str:
    if option.required:
        return "required"
    if said := _DEFAULT.search(option.help or ""):
        return said[1].replace("<", "&lt;")
    default = option.get_default(context, call=False)
    if option.is_flag or callable(default) or repr(default) == "Sentinel.UNSET":
        return ""
    return code("" if default in (None, ()) else default)


def _meaning(option: click.Option) -> str:
    environment = option.envvar if isinstance(option.envvar, str) else ""
    return _DEFAULT.sub("", option.help or "").strip().replace("<", "&lt;") + (
        f" Or `{environment}` in the environment." if environment else ""
    )
