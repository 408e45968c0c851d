"""`eventscore versions`: what a store holds of a model."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table

from eventscore.errors import ArtifactRefused
from eventscore.manifest import MANIFEST, SIGNATURE, Manifest, parse_manifest
from eventscore.signing import Ed25519Verifier
from eventscore.store.location import open_store
from eventscore.store.versions import ModelVersions
from eventscore_cli.options import store_option, trusted_keys_option, verifier


@click.command()
@click.argument("model")
@store_option
@trusted_keys_option
def command(model: str, store: str, trusted_keys: Sequence[str]) -> None:
    """List the versions of MODEL: when they were made, how good they are, who signed them, which channel points at them.

    \b
    Example: eventscore versions flight-delay
    """
    versions = ModelVersions(open_store(store), model)
    names = versions.versions()
    if not names:
        raise click.ClickException(f"{versions.store.url} holds no version of {model!r}")
    trusted = verifier(trusted_keys)
    channels = versions.channels().versions
    table = Table(
        "version", "channels", "made", "ROC-AUC int8", "log loss", "size", "signature", box=None, pad_edge=False
    )
    for name in names:
        pointing = ", ".join(channel for channel, version in channels.items() if version == name)
        try:
            manifest, signed_by = _read(versions, name, trusted)
        except ArtifactRefused as error:
            table.add_row(name, pointing, "", "", "", "", f"[red]{type(error).__name__}[/red]")
            continue
        metrics = manifest.metrics.get("int8", {})
        size_bytes = sum(entry.size_bytes for entry in manifest.files.values())
        table.add_row(
            name,
            pointing,
            f"{manifest.created_at:%Y-%m-%d %H:%M}",
            _figure(metrics.get("roc_auc")),
            _figure(metrics.get("log_loss")),
            f"{size_bytes / 1e6:.2f} MB",
            f"{signed_by} trusted",
        )
    Console(width=None if Console().is_terminal else 160).print(table)


def _read(versions: ModelVersions, version: str, trusted: Ed25519Verifier) -> tuple[Manifest, str]:
    files = versions.read_files(version, (MANIFEST, SIGNATURE))
    key, signature_key = versions.key(version, MANIFEST), versions.key(version, SIGNATURE)
    signed_by = trusted.verify(files[MANIFEST], files[SIGNATURE], key=key, signature_key=signature_key)
    return parse_manifest(files[MANIFEST], key, model=versions.model, version=version), signed_by


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
