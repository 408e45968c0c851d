"""The command's entry: the list of commands, and what becomes of an error.

Exit codes: 0 done, 1 the work could not be done (one message on standard error, no traceback), 2 the command line is wrong,
75 training was stopped by SIGTERM and can be resumed, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from importlib import metadata

import click

from eventscore.errors import EventscoreError
from eventscore_cli.aws_problems import aws_problem
from eventscore_local.errors import LocalError

_COMMANDS = {
    "init": "eventscore_cli.init",
    "contract": "eventscore_cli.contract",
    "train": "eventscore_cli.train",
    "tune": "eventscore_cli.tune",
    "keys": "eventscore_cli.keys",
    "publish": "eventscore_cli.publish",
    "versions": "eventscore_cli.versions",
    "promote": "eventscore_cli.promote",
    "status": "eventscore_cli.status",
    "replay": "eventscore_cli.replay",
    "score": "eventscore_cli.score",
    "cost": "eventscore_cli.cost",
    "demo": "eventscore_cli.demo",
    "local-stack": "eventscore_cli.local_stack",
    "sam-local": "eventscore_cli.sam_local",
}


class _Commands(click.Group):
    """Imports a command's module when it is asked for: `contract check` need not wait for torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(module).command
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(metadata.version("eventscore"), prog_name="eventscore")
def cli() -> None:
    """Score every event of a stream with a neural network on AWS Lambda.

    \b
    The way of a model:
      eventscore init table.csv --label ...       a contract to begin with, drafted from your table
      eventscore contract check contract.toml     is the contract sound?
      eventscore train training.toml              a run: an unsigned version, its report, its gates
      eventscore tune training.toml --budget 10m --storage t.log    a better configuration
      eventscore keys new signing.pem             once: the key that signs your versions
      eventscore publish runs/<version>           sign it, and write it to the model store
      eventscore promote <model> <version>        make it the one that answers

    \b
    And of a stack, once it is deployed:
      eventscore status --stack NAME              how is it?
      eventscore replay rejected --stack NAME     send events back after a fix

    \b
    Ask any command for --help. To see the whole thing run on this machine: eventscore demo
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and end the process with its exit code."""
    try:
        code = cli.main(args=None if arguments is None else list(arguments), standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (EventscoreError, LocalError) as error:
        click.echo(f"Error: {error}", err=True)  # as click writes its own
        sys.exit(1)
    except BrokenPipeError:
        # The reader went away (`eventscore ... | head`); the interpreter must not complain of it while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        problem = aws_problem(error)
        if problem is None:
            raise
        click.echo(f"Error: {problem}", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
