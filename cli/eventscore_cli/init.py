"""`eventscore init`: a contract and a configuration to begin with, drafted from a table."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from eventscore.contract_grammar import Task


@click.command()
@click.argument("table", type=click.Path(path_type=Path), metavar="TABLE")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="COLUMN",
    help="The column with the truth; several times for several labels. Only --task anomaly does without.",
)
@click.option("--id", "event_id", required=True, metavar="COLUMN", help="The column that names an event.")
@click.option("--time", required=True, metavar="COLUMN", help="The column with the moment at which an event is scored.")
@click.option(
    "--task", type=click.Choice(get_args(Task)), help="What to learn. [default: what the label seems to ask for]"
)
@click.option("--name", metavar="MODEL", help="The model's name. [default: after the table]")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where the two files go. [default: here]",
)
def command(
    table: Path, labels: tuple[str, ...], event_id: str, time: str, task: Task | None, name: str | None, output: Path
) -> None:
    """Draft contract.toml and training.toml from TABLE (CSV or Parquet, one row per event).

    The label says what is learned: two values a probability, a few strings or integers one for each class, other numbers
    a number, several labels a probability for each; --task says otherwise. Types, bounds, vocabularies, gaps, decisions
    and gates come from the table, with a comment why. Columns that look like leaks (they know the label, or what is
    known only later), ids and free text are left out, with a warning each. The draft trains as it stands; it is yours
    to correct. Nothing is written over.

    \b
    Example: eventscore init orders.csv --label fraud --id order_id --time placed_at
    """
    from eventscore_training.draft import CONTRACT_FILE, TRAINING_FILE, draft

    files = [output / CONTRACT_FILE, output / TRAINING_FILE]
    for file in files:
        if file.exists():
            raise click.ClickException(f"{file}: already there, and never written over; name another --output")
    drafted = draft(table, labels, event_id, time, output, name, task)
    output.mkdir(parents=True, exist_ok=True)
    for file, text in zip(files, (drafted.contract, drafted.training), strict=True):
        file.write_text(text, encoding="utf-8")
    for warning in drafted.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(
        f"{files[0]}: {drafted.task}, {drafted.features} features from {drafted.rows:,} rows; read it, it says why each "
        "line is so"
    )
    click.echo(f"{files[1]}: train with `eventscore train {files[1]}`")
