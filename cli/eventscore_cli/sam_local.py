"""`eventscore sam-local`: the built function in Lambda's own container, with every sample invocation."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from eventscore.errors import SettingsInvalid
from eventscore.settings import TRUSTED_KEYS
from eventscore_cli.options import STACK_CONFIGURATION, stack_trusted_keys


@click.command("sam-local")
@click.option(
    "--template",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("build/sam-local/template.yaml"),
    show_default=True,
    help="The template as `sam build` left it.",
)
def command(template: Path) -> None:
    """Run every file of events/ through `sam local invoke`, and account for each record.

    Needs Linux with Docker; `make sam-local` builds first. Lambda's container image runs the function and the layers
    as built; an AWS on this machine holds the model and the queues. Exit code 1 if a record was lost or came back.

    \b
    Example: eventscore sam-local --template build/sam-local/template.yaml
    """
    from eventscore_flights.sam_local import run_all

    root = Path.cwd()
    if not (root / "template.yaml").is_file():
        raise click.ClickException(f"{root} is no checkout of eventscore (no template.yaml); run sam-local in one")
    keys = stack_trusted_keys(root / STACK_CONFIGURATION)
    if keys is None:
        raise SettingsInvalid(TRUSTED_KEYS, f"TrustedKeys among the parameters in {STACK_CONFIGURATION}", None)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{'file':24} records scored rejected returned  reasons")
    complaints = []
    for result in run_all(root, template.resolve(), keys, sorted((root / "events").glob("*.json"))):
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(result.rejected.items()))
        counts = f"{result.records:7} {result.scored:6} {result.rejected.total():8} {result.returned:8}"
        console.print(f"{result.file:24} {counts}  {reasons}".rstrip())
        if result.complaint:
            complaints.append(f"{result.file}: {result.complaint}")
    if complaints:
        raise click.ClickException("; ".join(complaints))
