"""`eventscore status`: how a deployed stack is."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime

import click
from rich.console import Console

from eventscore_cli.stack import aws_client, find_stack
from eventscore_cli.standing.standing import problems, read_standing
from eventscore_cli.status_screen import show


@click.command()
@click.option("--stack", required=True, metavar="NAME", help="The deployed stack.")
@click.option(
    "--objective",
    type=click.FloatRange(50, 100, max_open=True),
    default=99.9,
    show_default=True,
    help="How many of a hundred events shall be scored or rejected at the first try: what the error budget is made of.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(stack: str, objective: float, as_json: bool) -> int:
    """Show how a stack is: models and channels, the function, what feeds it, queues, the last hour, alarms.

    A part that cannot be read says why, and the others stand. Exit code 0 if all is well, 1 if not: the last lines say
    what. Region, profile and credentials are found as boto3 finds them.

    \b
    Example: eventscore status --stack eventscore
    """
    now = datetime.now(UTC)
    standing = read_standing(find_stack(stack), aws_client, now, objective)
    found = tuple(problems(standing))
    if as_json:
        document = {"healthy": not found, "problems": found, "at": now, **dataclasses.asdict(standing)}
        click.echo(json.dumps(document, default=lambda value: value.isoformat()))
    else:
        show(Console(width=None if Console().is_terminal else 160), standing, found)
    return 1 if found else 0
