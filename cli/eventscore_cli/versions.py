"""`eventscore versions`: what a store holds of a model."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table

from eventscore.errors import ArtifactRefused
from eventscore.manifest import Manifest
from eventscore.store.location import open_store
from eventscore.store.versions import ModelVersions
from eventscore_cli.options import store_option, trusted_keys_option, verifier
from eventscore_cli.place import find_place, stack_option
from eventscore_cli.signed_manifest import read_signed_manifest
from eventscore_training.figures import TITLES, compared_figures


@click.command()
@click.argument("model", required=False)
@store_option
@stack_option
@trusted_keys_option
def command(model: str | None, store: str, stack: str | None, trusted_keys: Sequence[str]) -> None:
    """List the versions of MODEL: when they were made, how good they are, who signed them, which channel points at them.

    With --stack MODEL may be left out: it is the stack's main model.

    \b
    Example: eventscore versions flight-delay
             eventscore versions --stack eventscore
    """
    place = find_place(stack, store, trusted_keys)
    model = place.model(model)
    versions = ModelVersions(open_store(place.store), model)
    names = versions.versions()
    if not names:
        raise click.ClickException(f"{versions.store.url} holds no version of {model!r}")
    trusted = verifier(place.trusted_keys)
    channels = versions.channels().versions
    found: dict[str, tuple[Manifest, str] | str] = {}
    for name in names:
        try:
            found[name] = read_signed_manifest(versions, name, trusted)
        except ArtifactRefused as error:
            found[name] = type(error).__name__
    figures = _figures([each[0] for each in found.values() if not isinstance(each, str)])
    main, *others = (TITLES[figure] for figure in figures)
    titles = (f"{main} int8", *others)
    table = Table("version", "channels", "made", *titles, "size", "signature", box=None, pad_edge=False)
    for name, read in found.items():
        pointing = ", ".join(channel for channel, version in channels.items() if version == name)
        if isinstance(read, str):
            table.add_row(name, pointing, "", *("" for _ in figures), "", f"[red]{read}[/red]")
            continue
        manifest, signed_by = read
        metrics = manifest.metrics.get("int8", {})
        size_bytes = sum(entry.size_bytes for entry in manifest.files.values())
        table.add_row(
            name,
            pointing,
            f"{manifest.created_at:%Y-%m-%d %H:%M}",
            *(_figure(metrics.get(figure)) for figure in figures),
            f"{size_bytes / 1e6:.2f} MB",
            f"{signed_by} trusted",
        )
    Console(width=None if Console().is_terminal else 160).print(table)


def _figures(manifests: Sequence[Manifest]) -> tuple[str, ...]:
    """The figures that judge the newest version's task; those of a binary model where no manifest can be read."""
    if not manifests:
        return tuple(figure.name for figure in compared_figures("binary"))
    newest = max(manifests, key=lambda each: each.created_at)
    metrics = newest.metrics.get("int8", {})
    labelled, quantile = "roc_auc" in metrics, 0.5 if "pinball_loss" in metrics else None
    return tuple(figure.name for figure in compared_figures(newest.task, labelled, quantile))


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"
