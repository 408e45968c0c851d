"""`eventscore contract`: check a contract, and print what producers need of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from eventscore.contract import load_contract
from eventscore.json_schema import example_event, producer_schema

_file = click.argument("file", type=click.Path(path_type=Path), metavar="CONTRACT")


@click.group()
def command() -> None:
    """Check a contract.toml; print the JSON Schema and an example event for producers."""


@command.command()
@_file
def check(file: Path) -> None:
    """Say whether CONTRACT is sound, and every mistake in it at once.

    \b
    Example: eventscore contract check model_store/flight-delay/contract.toml
    """
    contract = load_contract(file)
    decisions = ", ".join(f"{decision.name} from {decision.start:g}" for decision in contract.decisions) or "none"
    click.echo(f"{file}: sound")
    click.echo(f"  model      {contract.model.name} ({contract.model.task})")
    click.echo(f"  features   {len(contract.numbers)} numbers, {len(contract.categories)} categories")
    click.echo(f"  decisions  {decisions}")
    gates = _limits(contract.gates.model_dump(exclude_unset=True))
    click.echo(f"  gates      {', '.join(gates) or 'none'}")


def _limits(gates: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Each gate that the file sets, as it would be said: ``slices.min_roc_auc 0.7``."""
    told: list[str] = []
    for name, value in gates.items():
        if isinstance(value, dict):
            told += _limits(value, f"{prefix}{name}.")
        elif isinstance(value, bool):
            told += [f"{prefix}{name}"] if value else []
        elif value is not None:
            shown = (
                f"{value:g}" if isinstance(value, float | int) else value if isinstance(value, str) else "/".join(value)
            )
            told.append(f"{prefix}{name} {shown}")
    return told


@command.command()
@_file
def schema(file: Path) -> None:
    """Print the JSON Schema (2020-12) of an event: what it accepts, the function scores.

    \b
    Example: eventscore contract schema contract.toml > flight.schema.json
    """
    click.echo(json.dumps(producer_schema(load_contract(file)), indent=2, ensure_ascii=False))


@command.command()
@_file
def example(file: Path) -> None:
    """Print an example event that fits CONTRACT.

    \b
    Example: eventscore contract example contract.toml
    """
    click.echo(json.dumps(example_event(load_contract(file)), indent=2, ensure_ascii=False))
