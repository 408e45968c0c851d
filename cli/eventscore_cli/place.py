"""Where a command works: the store and the trusted keys that it was told, or those of a deployed stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from eventscore_cli.stack import Stack, StackUnusable, usable_stack

Command = TypeVar("Command", bound=Callable[..., Any])


def stack_option(command: Command) -> Command:
    """``--stack``: the deployed stack that says the rest."""
    return click.option(
        "--stack",
        metavar="NAME",
        help="A deployed stack, in place of --store and --trusted-key: its outputs say where the models are and whom it trusts.",
    )(command)


@dataclass(frozen=True)
class Place:
    """A store, whose signatures count there, and the stack that said so (None: the options did)."""

    store: str
    trusted_keys: Sequence[str]
    stack: Stack | None

    def model(self, named: str | None) -> str:
        """The model that is meant: the one that was named, or the stack's main one.

        Raises:
            StackUnusable: the stack's function has no such model.
            click.UsageError: none is named, and there is no stack to say it.

        """
        if self.stack is None:
            if named is None:
                raise click.UsageError("Missing argument 'MODEL' (only --stack knows it without)")
            return named
        known = self.stack.models
        if named is not None and named not in known:
            raise StackUnusable(
                f"stack {self.stack.name}: expected a model of its function ({', '.join(known)}), got {named}; its parameters "
                "Model and MoreModels say which it has"
            )
        return named or known[0]


def find_place(stack: str | None, store: str, trusted_keys: Sequence[str]) -> Place:
    """Where the command that is running works.

    Raises:
        StackUnusable: the stack cannot say.
        click.UsageError: the stack and another option say the same.

    """
    if stack is None:
        return Place(store, trusted_keys, None)
    context = click.get_current_context()
    for name, option in (("store", "--store"), ("trusted_keys", "--trusted-key")):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--stack says what {option} says; leave one of them out")
    deployed = usable_stack(stack)
    return Place(deployed.store, (deployed.trusted_keys,), deployed)
